from __future__ import annotations

import pytest

from p2pal.errors import UsageError
from p2pal.rendezvous.transport import MAX_PAUSE, Address, pause, retry_after


def test_urls_follow_the_base_path_and_scheme() -> None:
    address = Address("https://user:secret@example.org/base/?q=1#f")
    assert str(address) == "https://example.org/base"
    assert str(address.http("join")) == "https://user:secret@example.org/base/api/join"
    assert str(address.http("transfer", "id", bare=True)) == "https://example.org/base/api/transfer/id"
    assert str(address.websocket()) == "https://user:secret@example.org/base/api/ws"
    assert str(Address("http://h:81").websocket()) == "http://h:81/api/ws"


@pytest.mark.parametrize("url", ["", "example.org", "ftp://h", "http://", "http://h:99999", "http://[::1", "http:///x"])
def test_what_is_no_server(url: str) -> None:
    with pytest.raises(UsageError):
        Address(url)


@pytest.mark.parametrize(
    ("url", "local"),
    [("http://localhost:1", True), ("http://127.0.0.9", True), ("http://[::1]:5", True), ("http://10.0.0.1", False)],
)
def test_loopback_is_known(url: str, local: bool) -> None:
    assert Address(url).local is local


def test_credentials_are_not_in_the_error() -> None:
    error = Address("http://user:secret@h").unreachable(ConnectionRefusedError("secret"))
    assert str(error).startswith("cannot reach the signaling server at http://h: connection refused")
    assert "secret" not in str(error)


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_the_environment_names_the_proxy(proxied: pytest.MonkeyPatch) -> None:
    assert Address("https://example.org").proxy() is None
    proxied.setenv("https_proxy", "http://proxy.example:3128")
    assert Address("https://example.org").proxy() == "http://proxy.example:3128"
    assert Address("http://example.org").proxy() is None
    proxied.setenv("no_proxy", "example.org")
    assert Address("https://example.org").proxy() is None


@pytest.mark.parametrize("url", ["http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]:8080"])
def test_a_server_on_this_machine_is_reached_without_a_proxy(proxied: pytest.MonkeyPatch, url: str) -> None:
    proxied.setenv("http_proxy", "http://proxy.example:3128")
    assert Address(url).proxy() is None


def test_a_proxy_of_a_kind_that_cannot_be_used_is_passed_over(proxied: pytest.MonkeyPatch) -> None:
    proxied.setenv("http_proxy", "socks5://proxy.example:1080")
    assert Address("http://example.org").proxy() is None


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("0", 0.0), ("12", 12.0), (" 7 ", 7.0), ("86400", 86_400.0)],
)
def test_when_a_server_wants_to_be_asked_again(said: str, seconds: float) -> None:
    assert retry_after({"Retry-After": said}) == seconds


@pytest.mark.parametrize(
    "said",
    ["", "-5", "1e3", "1.5", "soon", "inf", "nan", "86401", "1000000000", "9" * 5000, "\u0665", "+5", "0x10",
     "Wed, 21 Oct 2026 07:28:00 GMT"],
)  # fmt: skip
def test_odd_wishes_are_none(said: str) -> None:
    assert retry_after({"Retry-After": said}) is None
    assert retry_after({}) is None


def test_pauses_spread_and_are_bounded() -> None:
    own = {pause(4.0, None) for _ in range(200)}
    assert len(own) > 100
    assert all(2.0 <= seconds <= 4.0 for seconds in own)
    asked = {pause(0.25, 8.0) for _ in range(200)}
    assert len(asked) > 100
    assert all(8.0 <= seconds <= 10.0 for seconds in asked)
    assert pause(0.25, 3600.0) == MAX_PAUSE
    assert 3.0 <= pause(6.0, 1.0) <= 6.0
