"""Which connection goes through which proxy, and the way through it."""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.proxies import NAME, VARIABLES, proxy

from p2pal import proxies
from p2pal.connect_failure import ConnectFailure
from p2pal.hosts import NotReached
from p2pal.proxies import (
    Proxy,
    UnusableProxy,
    advice,
    connect_through,
    is_excepted,
    parse_proxy,
    proxy_for,
    veil,
    why_proxy_answers,
)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*VARIABLES, "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def shown(scheme: str, host: str, port: int = 443) -> str | None:
    found = proxy_for(scheme, host, port)
    return None if found is None else str(found)


def test_the_proxy_is_the_environments(environment: pytest.MonkeyPatch) -> None:
    assert shown("https", "example.org") is None
    environment.setenv("all_proxy", "socks5://proxy.test:1080")
    assert shown("https", "example.org") == "socks5://proxy.test:1080"
    environment.setenv("https_proxy", "http://proxy.test:3128")
    assert shown("https", "example.org") == "http://proxy.test:3128"
    assert shown("http", "example.org") == "socks5://proxy.test:1080"
    environment.setenv("no_proxy", "example.org")
    assert shown("https", "example.org") is None
    assert shown("https", "other.org") == "http://proxy.test:3128"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "a.localhost"])
def test_this_machine_is_reached_without(environment: pytest.MonkeyPatch, host: str) -> None:
    environment.setenv("ALL_PROXY", "socks5h://proxy.test:1080")
    assert shown("http", host) is None


@pytest.mark.parametrize("name", ["all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY"])
def test_small_and_capital_letters(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, "SOCKS5H://Proxy.test")
    found = proxy_for("https", "example.org", 443)
    assert found is not None
    assert (str(found), found.kind, found.variable) == ("socks5h://proxy.test:1080", "socks5", name)
    environment.setenv("NO_PROXY", "example.org:443")
    assert shown("https", "example.org") is None
    assert shown("https", "example.org", 444) is not None


def test_small_letters_win(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", "http://capital.test:1")
    environment.setenv("all_proxy", "http://small.test:1")
    assert shown("http", "example.org") == "http://small.test:1"
    environment.setenv("all_proxy", "")
    assert shown("http", "example.org") is None, "an empty one switches it off, as for other programs"


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        ({"http": "http://proxy.test:1", "https": "http://proxy.test:2"}, "http://proxy.test:2"),
        ({"socks": "http://proxy.test:3"}, "socks5h://proxy.test:3"),
        ({"http": "http://proxy.test:1"}, None),
        ({}, None),
    ],
)
def test_the_systems_settings_count_where_the_environment_names_none(
    environment: pytest.MonkeyPatch, settings_: dict[str, str], expected: str | None
) -> None:
    environment.setattr(proxies, "getproxies", lambda: settings_)
    environment.setattr(proxies, "proxy_bypass", lambda host: host == "near.test")
    assert shown("https", "example.org") == expected
    assert shown("https", "near.test") is None
    environment.setenv("https_proxy", "http://own.test:1")
    assert shown("https", "near.test") == "http://own.test:1"


def test_what_may_hide_this_machine_is_found(environment: pytest.MonkeyPatch) -> None:
    assert veil() is None
    for name, url, found in (
        ("HTTPS_PROXY", "http://proxy.test:1", False),
        ("HTTP_PROXY", "socks5h://proxy.test:1", True),
        ("HTTPS_PROXY", "gopher://proxy.test:1", True),
        ("NO_PROXY", "*", False),
    ):
        environment.setenv(name, url)
        assert (veil() is not None) == found


@pytest.mark.parametrize(
    ("text", "url", "kind", "login"),
    [
        ("proxy.test:3128", "http://proxy.test:3128", "http", ("", "")),
        ("user:secret@proxy.test:3128", "http://proxy.test:3128", "http", ("user", "secret")),
        ("HTTP://proxy.test/", "http://proxy.test:80", "http", ("", "")),
        ("HTTPS://proxy.test", "https://proxy.test:443", "https", ("", "")),
        (" socks5h://proxy.test:9050 ", "socks5h://proxy.test:9050", "socks5", ("", "")),
        ("socks://127.0.0.1:1080/", "socks://127.0.0.1:1080", "socks5", ("", "")),
        ("socks4a://[::1]", "socks4a://[::1]:1080", "socks4", ("", "")),
        ("socks5://me:p%40ss%2F@[fd00::1]:1", "socks5://[fd00::1]:1", "socks5", ("me", "p@ss/")),
        ("socks5://me@proxy.test.:1", "socks5://proxy.test:1", "socks5", ("me", "")),
    ],
)
def test_urls_of_proxies(text: str, url: str, kind: str, login: tuple[str, str]) -> None:
    found = parse_proxy(text)
    assert (str(found), found.kind, (found.username, found.password)) == (url, kind, login)
    assert found.veils == kind.startswith("socks")
    assert "secret" not in repr(found) + found.named


@pytest.mark.parametrize(
    "text",
    ["", "://", "http://", "gopher://h:70", "http://h:99999", "http://h:0", "http://h:secret", "http://[::1", "ftp://h",
     "http://u:se/cret@h:1", "http://h/path", "http://h?x", "socks5://u:secret@a..b:1", "http://h o:1", "http://h\n:1"],
)  # fmt: skip
def test_what_is_no_url_of_a_proxy(text: str) -> None:
    with pytest.raises(UnusableProxy) as caught:
        parse_proxy(text, "ALL_PROXY")
    assert caught.value.variable == "ALL_PROXY"
    assert "secret" not in repr(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60))
def test_any_text_is_a_proxy_or_an_error(text: str) -> None:
    try:
        found = parse_proxy(text)
    except UnusableProxy:
        return
    assert found.host
    assert 0 < found.port < 65536


@pytest.mark.parametrize(
    ("exceptions", "host", "port", "excepted"),
    [
        ("*", "example.org", 1, True),
        ("example.org", "example.org", 1, True),
        ("example.org", "EXAMPLE.org.", 1, True),
        ("example.org", "a.b.example.org", 1, True),
        (".example.org", "a.example.org", 1, True),
        ("*.example.org", "a.example.org", 1, True),
        ("example.org", "notexample.org", 1, False),
        ("a.test, example.org", "example.org", 1, True),
        ("a.test example.org", "example.org", 1, True),
        ("example.org:8080", "example.org", 8080, True),
        ("example.org:8080", "example.org", 80, False),
        ("example.org:99999999999999999999", "example.org", 80, False),
        ("192.0.2.1", "192.0.2.1", 1, True),
        ("192.0.2.1", "192.0.2.10", 1, False),
        ("192.0.2.0/24", "192.0.2.10", 1, True),
        ("192.0.2.0/24", "192.0.3.10", 1, False),
        ("192.0.2.1:80", "192.0.2.1", 80, True),
        ("2.1", "192.0.2.1", 1, False),
        ("fd00::/8", "fd00:77::4", 1, True),
        ("fd00:77::4", "fd00:77:0::4", 1, True),
        ("[fd00:77::4]:80", "fd00:77::4", 80, True),
        ("[fd00:77::4]:80", "fd00:77::4", 81, False),
        ("fd00:77::4", "fe80::1%eth0", 1, False),
        ("", "example.org", 1, False),
        (",, .", "example.org", 1, False),
    ],
)
def test_what_no_proxy_names(exceptions: str, host: str, port: int, excepted: bool) -> None:
    assert is_excepted(exceptions, host, port) is excepted


async def answers(sock: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("scheme", ["http", "socks", "socks5", "socks5h", "socks4", "socks4a"])
@pytest.mark.parametrize("login", ["", "me:p@ss/word"])
async def test_the_way_through(scheme: str, login: str) -> None:
    """The proxy looks the name up: ours would not find it."""
    if login and scheme.startswith("socks4"):
        pytest.skip("SOCKS4 has no passwords")

    async def hello(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async with (
        await asyncio.start_server(hello, "127.0.0.1", 0) as server,
        proxy("http" if scheme == "http" else "socks", login=login) as near,
    ):
        port = server.sockets[0].getsockname()[1]
        user, _, password = login.partition(":")
        way = Proxy(scheme, "127.0.0.1", near.port, user, password)
        assert await answers(await connect_through(way, NAME, port, 5.0)) == b"hello"
        assert near.asked == [(NAME, port)]


@pytest.mark.parametrize(
    ("scheme", "refusal", "login", "why"),
    [
        ("http", 403, "", ConnectFailure.PROXY_REFUSED),
        ("http", 407, "", ConnectFailure.PROXY_LOGIN),
        ("http", 0, "me:secret", ConnectFailure.PROXY_LOGIN),
        ("http", 503, "", ConnectFailure.PROXY_CANNOT),
        ("socks5h", 2, "", ConnectFailure.PROXY_REFUSED),
        ("socks5h", 4, "", ConnectFailure.PROXY_CANNOT),
        ("socks5h", 5, "", ConnectFailure.PROXY_CANNOT),
        ("socks5h", 0, "me:secret", ConnectFailure.PROXY_LOGIN),
        ("socks4", 91, "", ConnectFailure.PROXY_REFUSED),
    ],
)
@pytest.mark.parametrize("user", ["", "me"])
async def test_a_proxy_that_does_not_connect_us(
    scheme: str, refusal: int, login: str, why: ConnectFailure, user: str
) -> None:
    async with proxy("http" if scheme == "http" else "socks", login=login, refusal=refusal) as near:
        way = Proxy(scheme, "127.0.0.1", near.port, user, "secret2" if user else "")
        with pytest.raises(NotReached) as caught:
            await connect_through(way, NAME, 1, 5.0)
    assert caught.value.why is why
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


async def test_a_proxy_that_is_not_there_or_silent() -> None:
    async with proxy("socks", silent=True) as near:
        for way, why in (
            (Proxy("socks5", "127.0.0.1", near.port), ConnectFailure.PROXY_SILENT),
            (Proxy("socks5", "127.0.0.1", 1), ConnectFailure.PROXY_SILENT),
            (Proxy("https", "127.0.0.1", 1), ConnectFailure.PROXY_TLS),
        ):
            with pytest.raises(NotReached) as caught:
                await connect_through(way, NAME, 1, 0.1)
            assert caught.value.why is why


async def test_a_proxy_whose_name_does_not_resolve() -> None:
    loop = asyncio.get_running_loop()

    async def nobody(*_arguments: object, **_named: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    loop.getaddrinfo = nobody  # type: ignore[method-assign, assignment]
    with pytest.raises(NotReached) as caught:
        await connect_through(Proxy("socks5h", "proxy.test", 1), NAME, 1, 5.0)
    assert caught.value.why is ConnectFailure.PROXY_NOT_RESOLVED


def test_what_to_do_names_the_proxy_and_no_password() -> None:
    way = parse_proxy("socks5h://me:secret@proxy.test:9050", "ALL_PROXY")
    for why in ConnectFailure:
        told = advice(way, why)
        assert "socks5h://proxy.test:9050 of $ALL_PROXY" in told
        assert "$NO_PROXY" in told
        assert "secret" not in told
    assert "of the system's settings" in advice(parse_proxy("http://proxy.test"), ConnectFailure.PROXY_SILENT)


@pytest.mark.parametrize(
    ("status", "why"),
    [(407, ConnectFailure.PROXY_LOGIN), (502, ConnectFailure.PROXY_CANNOT), (403, ConnectFailure.PROXY_REFUSED)],
)
def test_what_an_answer_instead_of_a_tunnel_means(status: int, why: ConnectFailure) -> None:
    assert why_proxy_answers(status) is why
