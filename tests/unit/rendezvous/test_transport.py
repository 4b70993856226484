from __future__ import annotations

import pytest

from p2pal.errors import UsageError
from p2pal.rendezvous.transport import Address, cause


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


def test_causes_are_in_words() -> None:
    assert cause(TimeoutError()) == "no answer in time"
    assert cause(ConnectionResetError()) == "the connection was lost"
    assert cause(OSError(101, "x")) == "no network route to it"
    assert cause(Exception("raw")) == "the connection failed or its answer is not HTTP"


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
