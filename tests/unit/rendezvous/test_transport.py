from __future__ import annotations

import pytest

from p2pal.errors import UsageError
from p2pal.rendezvous.transport import Address, cause


def test_urls_follow_the_base_path_and_scheme() -> None:
    address = Address("https://user:secret@example.org/base/?q=1#f")
    assert str(address) == "https://example.org/base"
    assert str(address.http("join")) == "https://user:secret@example.org/base/api/join"
    assert str(address.http("transfer", "id", bare=True)) == "https://example.org/base/api/transfer/id"
    assert str(address.websocket()) == "wss://user:secret@example.org/base/api/ws"
    assert str(Address("http://h:81").websocket()) == "ws://h:81/api/ws"


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
