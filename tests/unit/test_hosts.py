"""Where a host is, the way there, and why it was not reached."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable

import pytest

from p2pal.connect_failure import ConnectFailure
from p2pal.hosts import NotReached, connect_failure, connect_to, is_loopback


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "localhost.example.org", "192.0.2.1", "2001:db8::1", "0.0.0.0", "127.0.0.1.example.org"]
)
def test_others(host: str) -> None:
    assert not is_loopback(host)


def multiple(*texts: str) -> OSError:
    """What asyncio makes of an error for each address."""
    return OSError(f"Multiple exceptions: {', '.join(texts)}")


REFUSED = "[Errno {}] Connect call failed ('{}', 1)"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (TimeoutError(), ConnectFailure.NO_ANSWER),
        (OSError(errno.ETIMEDOUT, "x"), ConnectFailure.NO_ANSWER),
        (socket.gaierror(socket.EAI_NONAME, "x"), ConnectFailure.NOT_RESOLVED),
        (UnicodeError("label too long"), ConnectFailure.UNUSABLE_NAME),
        (OSError(errno.ECONNREFUSED, "x"), ConnectFailure.REFUSED),
        (OSError(errno.ENETUNREACH, "x"), ConnectFailure.NO_ROUTE),
        (OSError(errno.EHOSTUNREACH, "x"), ConnectFailure.NO_ROUTE),
        (ConnectionResetError(), ConnectFailure.LOST),
        (OSError(errno.EPIPE, "x"), ConnectFailure.LOST),
        (OSError(errno.EMFILE, "x"), ConnectFailure.NO_SOCKET),
        (OSError(), ConnectFailure.FAILED),
        (ssl.SSLError(1, "\x1b[2J"), ConnectFailure.NO_HANDSHAKE),
        (ssl.SSLCertVerificationError(1, "x"), ConnectFailure.UNTRUSTED),
        (NotReached(ConnectFailure.PROXY_SILENT), ConnectFailure.PROXY_SILENT),
        (
            multiple(REFUSED.format(errno.ECONNREFUSED, "::1"), REFUSED.format(errno.ECONNREFUSED, "127.0.0.1")),
            ConnectFailure.REFUSED,
        ),
        (
            multiple(REFUSED.format(errno.ENETUNREACH, "2001:db8::1"), REFUSED.format(errno.ECONNREFUSED, "192.0.2.1")),
            ConnectFailure.REFUSED,
        ),
        (multiple("[WinError 1225] The remote computer refused", "[WinError 1225] The remote"), ConnectFailure.REFUSED),
        (
            multiple(REFUSED.format(errno.ECONNREFUSED, "a"), REFUSED.format(errno.ETIMEDOUT, "b")),
            ConnectFailure.FAILED,
        ),
        (multiple("what", "ever"), ConnectFailure.FAILED),
    ],
)
def test_why_a_host_was_not_reached(error: OSError | ValueError, why: ConnectFailure) -> None:
    assert connect_failure(error) is why


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("localhost", ConnectFailure.REFUSED),
        ("a..b", ConnectFailure.UNUSABLE_NAME),
        ("x" * 64, ConnectFailure.UNUSABLE_NAME),
    ],
)
async def test_what_connecting_raises_is_understood(host: str, why: ConnectFailure) -> None:
    with pytest.raises((OSError, ValueError)) as caught:
        await connect_to(host, 1)
    assert isinstance(caught.value, OSError | ValueError)
    assert connect_failure(caught.value) is why


async def test_two_addresses_that_refuse_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a name has an address of each family."""

    def two(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 1)) for address in ("127.0.0.1", "127.0.0.2")]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with pytest.raises(OSError, match="Multiple") as caught:
        await asyncio.open_connection("two.test", 1)
    assert connect_failure(caught.value) is ConnectFailure.REFUSED


def test_the_words_are_those_of_the_error() -> None:
    assert str(NotReached(ConnectFailure.LOST)) == ConnectFailure.LOST.words == "the connection was lost"


@pytest.mark.parametrize("module", ["asyncio", "uvloop"])
def test_a_host_is_reached_on_any_loop(module: str) -> None:
    loop: Callable[[], asyncio.AbstractEventLoop] = pytest.importorskip(module).new_event_loop

    async def through() -> None:
        async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"here")
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            reader, writer = await connect_to("127.0.0.1", server.sockets[0].getsockname()[1])
            async with asyncio.timeout(10):
                assert await reader.read() == b"here"
            writer.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(through())


async def test_an_address_that_swallows_everything_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a name has an address of IPv6, which leads nowhere."""

    loop = asyncio.get_running_loop()
    swallowed: list[str] = []
    sock_connect = loop.sock_connect

    async def connect(sock: socket.socket, address: tuple[str, int]) -> None:
        if address[0] == "127.0.0.3":
            swallowed.append(address[0])
            await loop.create_future()
        await sock_connect(sock, address)

    async def both(_host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in ("127.0.0.3", "127.0.0.1")]

    monkeypatch.setattr(loop, "sock_connect", connect)
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(loop, "getaddrinfo", both)
        async with asyncio.timeout(10):
            _, writer = await connect_to("relay.test", port)
        assert writer.get_extra_info("peername") == ("127.0.0.1", port)
        assert swallowed == ["127.0.0.3"]
        writer.close()
