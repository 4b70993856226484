from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Iterator

import aiohttp
import pytest
from tests.unit.server.kit import Kit, serving

from p2pal.server import logs
from p2pal.server.config import ServerConfig
from p2pal.server.http.app import Server
from p2pal.server.ws import hub
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    before = logs.LOGGER.handlers[:], logs.LOGGER.level, logs.LOGGER.propagate
    stream = io.StringIO()
    logs.configure("text", stream)
    yield stream
    logs.LOGGER.handlers[:], logs.LOGGER.level, logs.LOGGER.propagate = before


async def test_many_sockets_are_closed_one_part_after_the_other() -> None:
    server = Server(ServerConfig(port=0, drain=80))  # two seconds between two parts
    await server.start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        kit = Kit(server, session)
        others = [await kit.hello((await kit.create()).token)]
        for _ in range((hub.AT_ONCE - 1) // 2):
            others += (await kit.pair())[1:]
        _, sender, receiver = await kit.pair()  # the last socket of the first part, and the only one of the second
        stopping = asyncio.gather(server.stop(), *(each.close_code() for each in others))
        first, second = await sender.close_code(), asyncio.create_task(receiver.expect(wire.PeerPresence))
        assert first == CloseCode.GOING_AWAY
        assert await second == wire.PeerPresence(online=False), "who is not closed yet is served"
        assert await receiver.close_code() == CloseCode.GOING_AWAY
        assert (await stopping)[1:] == [CloseCode.GOING_AWAY] * (hub.AT_ONCE - 1)


def test_clients_that_do_not_answer_a_close_are_not_waited_for(stream: io.StringIO) -> None:
    async def run() -> None:
        async with serving(ServerConfig(port=0, drain=1000)) as kit:
            reader, writer = await asyncio.open_connection("127.0.0.1", kit.server.port)
            writer.write(
                b"GET /api/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            assert b"101" in await reader.readline()
            await kit.server.stop()
            writer.close()

    asyncio.run(run())
    said = stream.getvalue()
    assert "event=stopping sockets=1" in said
    assert re.search("event=socket-closed .* code=1001 ", said)
    assert "sockets-cut" not in said
    assert said.count("event=stopped sockets=1") == 1
