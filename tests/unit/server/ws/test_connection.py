"""A real server and raw sockets: what RFC 6455 allows and what it does not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.server.kit import Kit, serving

from p2pal.rate_limit import Rate
from p2pal.server.address_limiter import AddressLimiter
from p2pal.server.config import AddressLimits, ServerConfig
from p2pal.server.ws.connection import LOST
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode

UPGRADE = (
    b"GET /api/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG, CONT = 1, 2, 8, 9, 10, 0


def frame(opcode: int, body: bytes = b"", *, fin: bool = True, mask: bool = True) -> bytes:
    """A frame as a client sends it."""
    first = bytes((0x80 * fin | opcode,))
    size = len(body)
    length = (
        bytes((0x80 * mask | size,))
        if size < 126
        else struct.pack("!BH", 0x80 * mask | 126, size)
        if size < 1 << 16
        else struct.pack("!BQ", 0x80 * mask | 127, size)
    )
    if not mask:
        return first + length + body
    key = os.urandom(4)
    return first + length + key + bytes(byte ^ key[n % 4] for n, byte in enumerate(body))


class Wire:
    """A client that says exactly what a test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def next(self) -> tuple[int, bytes]:
        """Return the next frame's opcode and body."""
        async with asyncio.timeout(20):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(size)

    async def repeat(self, frames: bytes, pause: float = 0.0) -> None:
        """Send the same until the connection is gone."""
        async with asyncio.timeout(60):
            while True:
                self.writer.write(frames)
                await self.writer.drain()
                await asyncio.sleep(pause)

    async def closes(self) -> int:
        """Return the code with which the server closes, and see the connection end."""
        while (got := await self.next())[0] != CLOSE:
            pass
        self.send(frame(CLOSE, got[1][:2]))
        async with asyncio.timeout(20):
            assert await self.reader.read() == b""
        return int.from_bytes(got[1][:2])


@asynccontextmanager
async def speaking(kit: Kit) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", kit.server.port)
    try:
        writer.write(UPGRADE)
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head  # RFC 6455, section 1.3
        assert b"\r\nX-Request-ID: " in head
        yield Wire(reader, writer)
    finally:
        writer.close()


async def hello(kit: Kit) -> bytes:
    return wire.encoder.encode(wire.ClientHello((await kit.create()).token))


async def test_a_message_in_fragments_with_a_ping_between_them() -> None:
    async with serving() as kit, speaking(kit) as client:
        text = await hello(kit)
        client.send(frame(TEXT, text[:5], fin=False), frame(PING, b"there?"), frame(CONT, b"", fin=False))
        client.send(frame(CONT, text[5:]))
        assert await client.next() == (PONG, b"there?")
        opcode, body = await client.next()
        assert (opcode, isinstance(wire.server_decoder.decode(body), wire.Welcome)) == (TEXT, True)


async def test_a_frame_that_comes_byte_by_byte() -> None:
    async with serving() as kit, speaking(kit) as client:
        for byte in frame(TEXT, await hello(kit)):
            client.writer.write(bytes((byte,)))
            await client.writer.drain()
        assert (await client.next())[0] == TEXT


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param([frame(TEXT, b"x", mask=False)], 1002, id="unmasked"),
        pytest.param([frame(CONT, b"x")], 1002, id="continues nothing"),
        pytest.param([frame(TEXT, b"x", fin=False), frame(TEXT, b"y")], 1002, id="two messages in each other"),
        pytest.param([frame(3, b"x")], 1002, id="reserved opcode"),
        pytest.param([frame(PING, b"x" * 126)], 1002, id="long ping"),
        pytest.param([b"\xc1" + frame(TEXT, b"x")[1:]], 1002, id="compressed"),
        pytest.param([frame(TEXT, b"x" * (wire.MAX_FRAME + 1))], 1009, id="too large"),
        pytest.param([frame(TEXT, b"x" * wire.MAX_FRAME, fin=False), frame(CONT, b"x")], 1009, id="too large in parts"),
        pytest.param([b"\x81\xff" + b"\xff" * 12], 1009, id="length of 64 bits"),
        pytest.param([frame(BINARY, b"x")], CloseCode.PROTOCOL, id="binary"),
        pytest.param([frame(TEXT, b"\xff\xfe")], CloseCode.PROTOCOL, id="no UTF-8"),
        pytest.param(
            [frame(TEXT, b'{"type":"hello","token":"' + b"\xc3(" * 10 + b'"}')], CloseCode.PROTOCOL, id="bad UTF-8"
        ),
        pytest.param([frame(TEXT, b"[" * 50_000)], CloseCode.PROTOCOL, id="deep"),
        pytest.param([frame(TEXT, b"")], CloseCode.PROTOCOL, id="empty"),
        pytest.param([frame(CLOSE, b"\x03\xe8")], 1000, id="closes"),
        pytest.param([frame(CLOSE, b"\x03")], 1002, id="closes badly"),
    ],
)
async def test_what_ends_a_connection(frames: list[bytes], code: int) -> None:
    async with serving() as kit, speaking(kit) as client:
        client.send(*frames)
        assert await client.closes() == code


async def test_a_client_that_is_silent_is_pinged_and_cut_and_one_that_answers_is_not() -> None:
    async with serving(ServerConfig(port=0, heartbeat=1.6, drain=0.2)) as kit, speaking(kit) as client:
        client.send(frame(TEXT, await hello(kit)))
        assert (await client.next())[0] == TEXT
        for _ in range(3):
            assert await client.next() == (PING, b"")
            client.send(frame(PONG))
        assert await client.next() == (PING, b"")
        async with asyncio.timeout(20):  # no answer: cut, without a word
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await client.next()


async def test_who_never_says_hello_is_closed() -> None:
    async with serving(ServerConfig(port=0, hello_timeout=0.1)) as kit, speaking(kit) as client:
        assert await client.closes() == CloseCode.HELLO_TIMEOUT


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(frame(PING), id="pings"),
        pytest.param(frame(PONG, b"x" * 125), id="pongs"),
        pytest.param(frame(TEXT, b"{", fin=False) + frame(CONT, fin=False) * 50_000, id="fragments"),
        pytest.param(frame(TEXT, b"{"), id="nonsense"),
    ],
)
@pytest.mark.parametrize("greeted", [True, False])
async def test_a_flood_of_tiny_frames_ends_in_a_close_and_holds_up_nobody(flood: bytes, greeted: bool) -> None:
    async with serving() as kit, speaking(kit) as client:
        if greeted:
            client.send(frame(TEXT, await hello(kit)))
        client.send(flood * max(1, 200_000 // len(flood)))
        assert (await kit.request("GET", "/healthz"))[0] == 200
        while (got := await client.next())[0] != CLOSE:
            pass
        assert int.from_bytes(got[1]) == CloseCode.PROTOCOL


async def test_a_close_is_not_put_off_by_talking_on() -> None:
    async with serving() as kit, speaking(kit) as client:
        client.send(frame(BINARY, b"x"))
        while (await client.next())[0] != CLOSE:
            pass
        with pytest.raises(ConnectionError):
            await client.repeat(frame(PING, b"still here"), pause=0.01)


async def test_who_reads_nothing_costs_no_memory_by_asking_for_answers() -> None:
    async with serving(ServerConfig(port=0, send_timeout=0.5)) as kit, speaking(kit) as client:
        client.send(frame(TEXT, await hello(kit)))
        with pytest.raises(ConnectionError):
            await client.repeat(frame(PING, b"x" * 125) * 100)


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(frame(TEXT, b"{", fin=False) + frame(CONT, fin=False) * 900, id="fragments"),
        pytest.param(frame(CLOSE, b"\x03\xe8") + frame(PING) * 900, id="after a close"),
        pytest.param(frame(TEXT, b" " * 60_000, fin=False), id="one large message"),
    ],
)
def test_what_waits_to_be_read_stays_small(flood: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    genuine = AddressLimiter.buffer

    def buffer(limiter: AddressLimiter, change: int) -> bool:
        nonlocal most
        within = genuine(limiter, change)
        most = max(most, limiter.buffered)
        return within

    monkeypatch.setattr(AddressLimiter, "buffer", buffer)

    async def run() -> None:
        async with serving() as kit, speaking(kit) as client:
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(3):
                    for _ in range((4 << 20) // len(flood)):
                        client.send(flood)
                        await client.writer.drain()

    asyncio.run(run())
    assert 0 < most < 400_000


async def test_frames_of_one_address_are_read_in_turn_and_late_ones_all_the_same() -> None:
    addresses = AddressLimits(frames=Rate(50, 1.0))
    async with serving(ServerConfig(port=0, drain=0.2, addresses=addresses)) as kit, speaking(kit) as client:
        for number in range(120):
            client.send(frame(PING, b"%d" % number))
        for number in range(120):
            assert await client.next() == (PONG, b"%d" % number)


@pytest.mark.parametrize(
    "change",
    [
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"Connection: keep-alive, Upgrade", b"Connection: keep-alive"),
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8"),
        (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Key: short"),
        (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"X: y"),
    ],
)
async def test_what_is_no_upgrade_is_refused_and_the_connection_can_be_used_on(change: tuple[bytes, bytes]) -> None:
    async with serving() as kit:
        reader, writer = await asyncio.open_connection("127.0.0.1", kit.server.port)
        writer.write(UPGRADE.replace(*change))
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        writer.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=8))
async def test_no_bytes_do_harm(parts: list[bytes]) -> None:
    async with serving() as kit:
        async with speaking(kit) as client:
            client.send(*parts, frame(CLOSE, b"\x03\xe8"))
            client.writer.write_eof()
            async with asyncio.timeout(20):
                await client.reader.read()
        _, sender, _ = await kit.pair()  # it serves on
        await sender.ws.close()


def test_a_connection_that_is_just_gone_has_the_code_of_the_rfc() -> None:
    assert LOST == 1006
