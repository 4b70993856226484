from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from p2pal.app.options import DEFAULT_SERVER, ConnectOptions
from p2pal.cli import config, logs
from p2pal.errors import UsageError
from p2pal.lanes.ice_servers import RelayUse

STUN = "stun:stun.l.google.com:19302"


def connect(**changed: Any) -> ConnectOptions:
    flags: dict[str, Any] = {
        "server": None,
        "max_retries": 3,
        "retry_backoff": 1.0,
        "wait": 600.0,
        "stun": STUN,
        "turn": (),
        "turn_user": None,
        "turn_pass": None,
        "relay_only": False,
        "no_relay": False,
        "lane": (),
    }
    assert set(flags) == set(config.CONNECTION_FLAGS)
    return config.connect_options(**flags | changed)


def test_the_defaults_are_the_apps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("P2PAL_ONLY_LOOPBACK", raising=False)
    assert connect() == ConnectOptions()


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (None, DEFAULT_SERVER),
        ("", DEFAULT_SERVER),
        ("https://example.org/", "https://example.org"),
        ("http://[::1]:80/sub/", "http://[::1]:80/sub"),
    ],
)
def test_server(given: str | None, used: str) -> None:
    assert connect(server=given).server == used


@pytest.mark.parametrize(
    "given",
    [
        "example.org",
        "ws://example.org",
        "http://",
        "http://:80",
        "http://a:99999",
        "http://a:x",
        "http://u:p@a",
        "http://u:secret@a:99999",
        "ftp://u:secret@a",
        "http://a?x=1",
        "http://a#x",
        "http://[",
        "http://a\x1b",
        "http://a b",
        "file:///etc",
    ],
)
def test_server_refuses_the_rest(given: str) -> None:
    with pytest.raises(UsageError, match="-server takes") as caught:
        connect(server=given)
    assert str(caught.value).isprintable()
    assert "secret" not in str(caught.value)


def test_stun_can_be_switched_off() -> None:
    assert connect(stun="none").stun is None
    assert connect(stun="stun:192.0.2.1:3478").stun == ("stun:192.0.2.1:3478",)
    with pytest.raises(UsageError, match="-stun takes a STUN URL"):
        connect(stun="http://x")


def test_turn_needs_its_scheme_and_credentials() -> None:
    urls = ("turn:a:3478", "turns:b:5349?transport=tcp")
    options = connect(turn=urls, turn_user="u", turn_pass="hunter22")
    assert options.turn == urls
    assert "hunter22" not in repr(options)
    assert logs.redact("hunter22") == "[hidden]"
    with pytest.raises(UsageError, match="-turn needs credentials"):
        connect(turn=urls, turn_user="u")
    with pytest.raises(UsageError, match="-turn takes a TURN URL"):
        connect(turn=("stun:a",), turn_user="u", turn_pass="hunter22")


def test_what_relays_may_carry() -> None:
    assert connect().relay is RelayUse.ALLOWED
    assert connect(relay_only=True).relay is RelayUse.ONLY
    assert connect(no_relay=True).relay is RelayUse.NEVER
    with pytest.raises(UsageError, match="--relay-only and --no-relay exclude each other"):
        connect(relay_only=True, no_relay=True)
    with pytest.raises(UsageError, match="-turn and --no-relay exclude each other"):
        connect(turn=("turn:a",), turn_user="u", turn_pass="hunter22", no_relay=True)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ((), ("udp", "webrtc")),
        (("auto", "udp"), ("udp", "webrtc")),
        (("udp",), ("udp",)),
        (("webrtc",) * 2, ("webrtc",)),
    ],
)
def test_kinds_of_lanes(given: tuple[str, ...], used: tuple[str, ...]) -> None:
    assert connect(lane=given).lanes == used


def test_datagrams_alone_hide_nothing() -> None:
    with pytest.raises(UsageError, match="--relay-only and -lane udp exclude each other"):
        connect(lane=("udp",), relay_only=True)
    assert connect(lane=("webrtc",), relay_only=True).relay is RelayUse.ONLY
    with pytest.raises(UsageError, match="-lane takes auto, udp or webrtc"):
        ConnectOptions(lanes=("quic",))


@pytest.mark.parametrize(("value", "only"), [("1", True), ("0", False), ("", False)])
def test_only_loopback(monkeypatch: pytest.MonkeyPatch, value: str, only: bool) -> None:
    monkeypatch.setenv("P2PAL_ONLY_LOOPBACK", value)
    assert connect().only_loopback is only


def test_retries_without_end_and_the_time_to_wait() -> None:
    assert connect(max_retries=None).max_retries is None
    assert connect(wait=90.0).wait == 90.0


def test_our_own_files_are_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("P2PAL_HOME", raising=False)
    assert config.home() is None
    monkeypatch.setenv("P2PAL_HOME", "")
    assert config.home() is None
    monkeypatch.setenv("P2PAL_HOME", str(tmp_path))
    assert config.home() == tmp_path
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("P2PAL_HOME", "own")
    assert config.home() == tmp_path / "own"
