from __future__ import annotations

import pytest

from p2pal.errors import UsageError
from p2pal.rendezvous.transport import MAX_PAUSE, ServerUrl, pause, retry_after


def test_urls_follow_the_base_path_and_scheme() -> None:
    address = ServerUrl("https://user:secret@example.org/base/?q=1#f")
    assert str(address) == "https://example.org/base"
    assert str(address.http("join")) == "https://user:secret@example.org/base/api/join"
    assert str(address.http("transfer", "id", bare=True)) == "https://example.org/base/api/transfer/id"
    assert str(address.websocket()) == "https://user:secret@example.org/base/api/ws"
    assert str(ServerUrl("http://h:81").websocket()) == "http://h:81/api/ws"


@pytest.mark.parametrize("url", ["", "example.org", "ftp://h", "http://", "http://h:99999", "http://[::1", "http:///x"])
def test_what_is_no_server(url: str) -> None:
    with pytest.raises(UsageError):
        ServerUrl(url)


@pytest.mark.parametrize(
    ("url", "local"),
    [("http://localhost:1", True), ("http://127.0.0.9", True), ("http://[::1]:5", True), ("http://10.0.0.1", False)],
)
def test_loopback_is_known(url: str, local: bool) -> None:
    assert ServerUrl(url).local is local


def test_credentials_are_not_in_the_error() -> None:
    error = ServerUrl("http://user:secret@h").unreachable(ConnectionRefusedError("secret"))
    assert str(error).startswith("cannot reach the signaling server at http://h: connection refused")
    assert "secret" not in str(error)


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_the_environment_names_the_proxy(proxied: pytest.MonkeyPatch) -> None:
    assert ServerUrl("https://example.org").proxy() is None
    proxied.setenv("https_proxy", "http://proxy.example:3128")
    assert str(ServerUrl("https://example.org").proxy()) == "http://proxy.example:3128"
    assert ServerUrl("http://example.org").proxy() is None
    proxied.setenv("no_proxy", "example.org")
    assert ServerUrl("https://example.org").proxy() is None


@pytest.mark.parametrize("url", ["http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]:8080"])
def test_a_server_on_this_machine_is_reached_without_a_proxy(proxied: pytest.MonkeyPatch, url: str) -> None:
    proxied.setenv("http_proxy", "http://proxy.example:3128")
    assert ServerUrl(url).proxy() is None


@pytest.mark.parametrize(
    "named", ["gopher://proxy.example:70", "http://u:secret@", "socks5://h:99999", "http://h/secret"]
)
def test_a_proxy_that_cannot_be_used_is_an_error_and_not_passed_over(proxied: pytest.MonkeyPatch, named: str) -> None:
    proxied.setenv("ALL_PROXY", named)
    with pytest.raises(UsageError, match=r"the proxy of \$ALL_PROXY cannot be used") as caught:
        ServerUrl("http://example.org").proxy()
    assert "secret" not in str(caught.value)
    assert ServerUrl("http://127.0.0.1:1").proxy() is None


@pytest.mark.parametrize("scheme", ["socks5h", "http"])
def test_what_reads_a_request_in_clear_may_answer_it(proxied: pytest.MonkeyPatch, scheme: str) -> None:
    proxied.setenv("ALL_PROXY", f"{scheme}://proxy.example:1")
    assert (ServerUrl("http://example.org").plain_proxy() is not None) == (scheme == "http")
    assert ServerUrl("https://example.org").plain_proxy() is None


@pytest.mark.parametrize(
    ("url", "shown", "asked"),
    [
        ("HTTP://Example.org", "http://example.org", "http://example.org/api/join"),
        ("HTTPS://example.org/p2pal/", "https://example.org/p2pal", "https://example.org/p2pal/api/join"),
        ("http://example.org:80/a/b", "http://example.org/a/b", "http://example.org/a/b/api/join"),
        ("http://[::1]:8080", "http://[::1]:8080", "http://[::1]:8080/api/join"),
        ("http://[2001:DB8::1]/x/", "http://[2001:db8::1]/x", "http://[2001:db8::1]/x/api/join"),
        ("http://[fe80::1%25eth0]:1", "http://[fe80::1%eth0]:1", "http://[fe80::1%eth0]:1/api/join"),
        ("http://[fe80::1%eth0]:1", "http://[fe80::1%eth0]:1", "http://[fe80::1%eth0]:1/api/join"),
        ("http://192.0.2.1:1/", "http://192.0.2.1:1", "http://192.0.2.1:1/api/join"),
        ("http://b\u00fccher.example/", "http://xn--bcher-kva.example", "http://xn--bcher-kva.example/api/join"),
    ],
)
def test_schemes_prefixes_slashes_and_ipv6(url: str, shown: str, asked: str) -> None:
    address = ServerUrl(url)
    assert str(address) == shown
    assert str(address.http("join")) == asked


@pytest.mark.parametrize(
    ("location", "to_tls"),
    [
        ("https://example.org/api/ws", True),
        ("https://elsewhere.example/", False),
        ("http://127.0.0.1:22/", False),
        ("//[", False),
        ("", False),
    ],
)
def test_where_a_redirect_leads_to(location: str, to_tls: bool) -> None:
    error = ServerUrl("http://example.org").redirects(301, {"Location": location})
    assert ("redirects to https://" in str(error)) is to_tls
    assert "127.0.0.1" not in str(error)
    assert "elsewhere" not in str(error)
    assert not ServerUrl("https://example.org").leads_to_tls({"Location": location})


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("http://192.168.77.4:1", True),
        ("http://[fd00:77::4]:1", True),
        ("http://169.254.3.4:1", True),
        ("http://127.0.0.1:1", False),
        ("http://example.org", False),
        ("http://[2001:db8::1]", True),
    ],
)
def test_a_wrong_address_of_the_senders_says_to_try_the_next(proxied: pytest.MonkeyPatch, url: str, near: bool) -> None:
    error = ServerUrl(url).unreachable(TimeoutError())
    assert ("try the next one" in str(error)) is near


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
