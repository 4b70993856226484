from __future__ import annotations

import pytest
import webrtc

from p2pal.app.options import MAX_CHUNK_KIB, MIN_CHUNK_KIB, ConnectOptions, SendOptions
from p2pal.errors import UsageError
from p2pal.lanes.webrtc.connection import MAX_MESSAGE, allow_loopback
from p2pal.wire.frames import DATA_HEADER
from p2pal.wire.transfer import CHUNK_OVERHEAD


@pytest.mark.parametrize(
    "settings",
    [
        {"server": "example.org"},
        {"server": "http://"},
        {"server": "http://["},
        {"max_retries": -1},
        {"retry_backoff": -0.1},
    ],
)
def test_what_cannot_work_is_refused_at_once(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        ConnectOptions(**settings)  # type: ignore[arg-type]


STUN = [
    "stun:a",
    "stun:a_b.example.org:3478",
    "stun:192.0.2.1:65535",
    "stuns:[2001:db8::1]:5349",
    "stun:[fe80::1%eth0]",
    "stuns:[::1]",
]
TURN = ["turn:a", "turn:a:3478?transport=udp", "turns:[::1]:5349?transport=tcp", "turns:a.example.org."]


def engine_takes(server: webrtc.RTCIceServer) -> bool:
    allow_loopback()  # what the first connection chooses holds for those of all tests
    try:
        webrtc.RTCPeerConnection(webrtc.RTCConfiguration(ice_servers=[server])).close()
    except webrtc.PythonWebRTCExceptionBase:
        return False
    return True


@pytest.mark.parametrize("url", STUN)
def test_stun_servers_that_the_engine_can_use(url: str) -> None:
    assert ConnectOptions(stun=(url,)).stun == (url,)
    assert engine_takes(webrtc.RTCIceServer(urls=[url]))


@pytest.mark.parametrize("url", TURN)
def test_turn_servers_that_the_engine_can_use(url: str) -> None:
    user = "ü" * 254
    assert ConnectOptions(turn=(url,), turn_user=user, turn_pass="secret").turn == (url,)
    assert engine_takes(webrtc.RTCIceServer(urls=[url], username=user, credential="secret"))


WRONG = [
    "", "a", "a:3478", ":", "{}", "{}:", "{}::3478", "{}:a:", "{}:a:0", "{}:a:65536", "{}:a:b", "{}:a:3478:1",
    "{}://a", "{}:::1", "{}:[::1", "{}:[zz]", "{}:[1.2.3.4]", "{}:[]", "{}:ü.example.org", "{}:a b", "{}:a/b",
    "{}:%61", "{}:a?", "{}:[::1%a b]", "{}:a?transport=tls", "{}:a?transport=UDP", "{}:user:secret@a", "{}:a\x1b",
    "{}:a\n", "http://a", "{}:" + "a" * 300,
]  # fmt: skip


@pytest.mark.parametrize("url", [*(url.format("stun") for url in WRONG), "turn:a", "stun:a?transport=udp", "STUN:a"])
def test_other_stun_servers_are_refused_and_the_shape_told(url: str) -> None:
    with pytest.raises(UsageError, match="-stun takes a STUN URL") as caught:
        ConnectOptions(stun=("stun:a", url))
    assert "stun:HOST:PORT" in caught.value.hint
    assert "secret" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("url", [*(url.format("turn") for url in WRONG), "stun:a", "TURN:a"])
def test_other_turn_servers_are_refused_and_the_shape_told(url: str) -> None:
    with pytest.raises(UsageError, match="-turn takes a TURN URL") as caught:
        ConnectOptions(turn=("turn:a", url), turn_user="user", turn_pass="secret")
    assert "turn:HOST:PORT" in caught.value.hint
    assert "secret" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(("user", "password"), [("", ""), ("user", ""), ("", "secret"), ("ü" * 255, "secret")])
def test_turn_needs_credentials_that_the_engine_can_use(user: str, password: str) -> None:
    with pytest.raises(UsageError, match="-turn") as caught:
        ConnectOptions(turn=("turn:a",), turn_user=user, turn_pass=password)
    assert "secret" not in f"{caught.value} {caught.value.hint}"
    assert ConnectOptions(turn_user=user, turn_pass=password).turn == ()


@pytest.mark.parametrize("settings", [{"chunk_kib": 3}, {"chunk_kib": 256}, {"words": 1}, {"words": 9}])
def test_the_ranges_are_kept(settings: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"must be from \d+ to \d+"):
        SendOptions(**settings)  # type: ignore[arg-type]


def test_the_largest_chunk_fits_the_engines_largest_message() -> None:
    SendOptions(chunk_kib=MIN_CHUNK_KIB)
    SendOptions(chunk_kib=MAX_CHUNK_KIB)
    assert MAX_CHUNK_KIB * 1024 + CHUNK_OVERHEAD + DATA_HEADER + 16 <= MAX_MESSAGE


@pytest.mark.parametrize(
    ("server", "shown"),
    [
        ("http://localhost:8080", "http://localhost:8080"),
        ("https://example.org/sub", "https://example.org/sub"),
        ("https://ann@example.org/sub", "https://example.org/sub"),
        ("https://ann:p%40ss@[::1]:9/", "https://[::1]:9/"),
        ("https://ann:p@ss@example.org", "https://example.org"),
    ],
)
def test_the_servers_address_is_shown_without_user_and_password(server: str, shown: str) -> None:
    assert ConnectOptions(server=server).shown_server == shown


@pytest.mark.parametrize(
    ("server", "here"),
    [
        ("http://localhost:8080", True),
        ("http://127.0.0.1:9", True),
        ("http://127.7.7.7", True),
        ("http://[::1]:8080", True),
        ("https://example.org", False),
        ("http://192.0.2.7:8080", False),
        ("http://localhost.example.org", False),
    ],
)
def test_a_server_on_this_machine_is_known(server: str, here: bool) -> None:
    assert ConnectOptions(server=server).on_this_machine is here
    assert ConnectOptions(server=server, only_loopback=True).on_this_machine
