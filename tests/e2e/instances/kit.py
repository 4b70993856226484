"""Several ``p2pal server`` processes on one Redis, and the clients that go from one to another."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
from tests.e2e.kit import Server, environment
from tests.redis_kit import RedisServer
from tests.unit.server.kit import Visitor

from p2pal.errors import P2palError
from p2pal.rendezvous import events as e
from p2pal.rendezvous.client import RendezvousClient
from p2pal.rendezvous.delivery import Delivery
from p2pal.rendezvous.mailbox import Mailbox
from p2pal.role import Role
from p2pal.wire import rendezvous as wire

PATIENCE: Final = 30.0
GONE_WITHIN: Final = 20.0
"""Seconds after which the others know that an instance is dead: its sign of life is 8 seconds old at most."""


class Instances:
    """Processes on one Redis, numbered from 0.

    Args:
        redis: The Redis.
        folder: Where their output goes.
        count: How many to start.
        flags: What each is started with.
    """

    def __init__(self, redis: RedisServer, folder: Path, count: int, flags: tuple[str, ...] = ()) -> None:
        self._redis = redis
        self._folder = folder
        self._flags = flags
        self._count = count
        self._started: list[Server] = []
        self._current: list[Server] = []

    def __enter__(self) -> Self:
        try:
            for _ in range(self._count):
                self._current.append(self._start())
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()
        if kind is not None:
            for server in self._started:
                print(server.said)

    def __getitem__(self, index: int) -> Server:
        return self._current[index]

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self._current]

    def kill(self, index: int) -> None:
        """End one without a last word."""
        self._current[index].signal(signal.SIGKILL)
        self._current[index].wait()

    def restart(self, index: int) -> Server:
        """Start another process in the place of one that has ended, on a port of its own."""
        assert not self._current[index].running
        self._current[index] = self._start()
        return self._current[index]

    def end(self) -> None:
        for server in self._started:
            server.end()

    def _start(self) -> Server:
        place = self._folder / f"instance-{len(self._started)}"
        server = Server(place, *self._flags, env=environment(REDIS_URL=self._redis.url))
        self._started.append(server)
        return server


@asynccontextmanager
async def visiting(instances: Instances) -> AsyncIterator[list[Visitor]]:
    """One visitor at each instance."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield [Visitor(f"http://127.0.0.1:{port}", session) for port in instances.ports]


class Hopper:
    """One side of a transfer, on whatever instance it is told to be; under it is the client's own delivery.

    Args:
        role: ``send`` or ``receive``.
        token: Its token.
    """

    def __init__(self, role: Role, token: str) -> None:
        self.delivery = Delivery(role)
        self.got: list[bytes] = []
        self.told: list[e.MailboxEvent] = []
        self.closed: int | None = None
        self.token = token
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._failure: BaseException | None = None
        self._welcomed = False
        self._abandoned: list[aiohttp.ClientWebSocketResponse] = []

    @property
    def connected(self) -> bool:
        """It has a socket that is open, as far as it knows."""
        return self._reader is not None and not self._reader.done()

    @property
    def peer_online(self) -> bool:
        """What it was told last of the other side."""
        told = [event.online for event in self.told if isinstance(event, e.PeerOnline)]
        return bool(told) and told[-1]

    async def hop(self, visitor: Visitor, *, rudely: bool = False) -> None:
        """Leave the instance where it is, and say hello to another.

        ``rudely``: the old socket stays open and is not read any more, as after a change of the network.
        """
        await self.leave(rudely=rudely)
        self.closed = None
        self._ws = await visitor.session.ws_connect(visitor.url + "/api/ws")
        hello = wire.ClientHello(self.token, self.delivery.connected())
        await self._ws.send_str(wire.encoder.encode(hello).decode())
        self._welcomed = False
        self._reader = asyncio.create_task(self._read(self._ws))
        await self.until(lambda: self._welcomed or not self.connected)  # hellos on their way have no order

    async def leave(self, *, rudely: bool = False) -> None:
        """Lose the socket; what was under way is lost with it."""
        ws, reader = self._ws, self._reader
        self._ws = self._reader = None
        self.delivery.disconnected()
        if reader is not None:
            reader.cancel()
            await asyncio.wait((reader,))
        if ws is not None and not ws.closed:
            if rudely:
                self._abandoned.append(ws)
            else:
                await ws.close()

    async def end(self) -> None:
        """Leave, and close the sockets that were left open."""
        await self.leave()
        for ws in self._abandoned:
            await ws.close()

    async def flush(self) -> None:
        """Send what waits, if there is a socket."""
        if self._ws is None or self._ws.closed:
            return
        with suppress(ConnectionError):  # the reader sees the end too
            for message in self.delivery.outputs():
                await self._ws.send_str(wire.encoder.encode(message).decode())

    async def append(self, body: bytes, attempt: int = 1) -> None:
        self.delivery.append(attempt, body)
        await self.flush()

    async def until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait for something that the server tells."""
        async with asyncio.timeout(seconds):
            while not condition():
                if self._failure is not None:
                    raise self._failure
                self._changed.clear()
                await self._changed.wait()

    async def hears(self, event: e.MailboxEvent, seconds: float = PATIENCE) -> None:
        await self.until(lambda: event in self.told, seconds)

    async def _read(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        try:
            while (received := await ws.receive()).type is aiohttp.WSMsgType.TEXT:
                self._welcomed = True
                self.delivery.handle(wire.server_decoder.decode(received.data))
                events = self.delivery.events()
                self.told += events
                self.got += [event.body for event in events if isinstance(event, e.PeerMessage)]
                await self.flush()
                self._changed.set()
            self.closed = received.data if received.type is aiohttp.WSMsgType.CLOSE else None
        except ConnectionError:
            pass
        except Exception as error:  # noqa: BLE001 - told to who waits
            self._failure = error
        finally:
            self._changed.set()


class Talk:
    """Both sides of one transfer, and what each has said.

    Args:
        visitors: One for each instance.
        seed: For what is left to chance.
    """

    def __init__(self, visitors: list[Visitor], seed: int = 0) -> None:
        self.visitors = visitors
        self.chance = random.Random(seed)
        self.sent: dict[Hopper, list[bytes]] = {}
        self.created: wire.Created
        self.sender: Hopper
        self.receiver: Hopper

    async def start(self, sender_at: int = 0, receiver_at: int = 1) -> Self:
        """Create on one instance and join on another; both have a socket, and the attempt is served."""
        self.created = await self.visitors[sender_at].create()
        joined = await self.visitors[receiver_at].join(self.created.slot)
        self.sender, self.receiver = Hopper("send", self.created.token), Hopper("receive", joined.token)
        self.sent = {self.sender: [], self.receiver: []}
        await self.sender.hop(self.visitors[sender_at])
        await self.receiver.hop(self.visitors[receiver_at])
        await self.sender.hears(e.AttemptServed(1))
        await self.receiver.until(lambda: bool(self.receiver.told))
        return self

    async def say(self, side: Hopper) -> None:
        """Append the next message of that side."""
        body = b"%s %d" % (b"s" if side is self.sender else b"r", len(self.sent[side]))
        self.sent[side].append(body)
        await side.append(body)

    async def settle_for(self, side: Hopper) -> None:
        """Wait until that side, if it has a socket, knows that all of its messages are kept."""
        if side.connected:
            await side.until(lambda: side.delivery.settled or not side.connected)

    async def settle(self) -> None:
        """Wait until everything that was said has arrived, once and in order, and is acknowledged."""
        for side, other in ((self.sender, self.receiver), (self.receiver, self.sender)):
            await other.until(lambda side=side, other=other: len(other.got) >= len(self.sent[side]))  # type: ignore[misc]
            assert other.got == self.sent[side]
            await side.until(lambda side=side: side.delivery.settled)  # type: ignore[misc]

    async def end(self) -> None:
        await self.sender.end()
        await self.receiver.end()


class Client:
    """One side of a transfer with the mailbox that p2pal itself has: it comes back by itself.

    Args:
        mailbox: The mailbox.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.told: list[e.MailboxEvent] = []
        self.got: list[bytes] = []
        self.ended: BaseException | None = None
        self.over = False
        self._changed = asyncio.Event()
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._listen())]

    async def until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait for something that the mailbox tells."""
        async with asyncio.timeout(seconds):
            while not condition():
                if self.ended is not None:
                    raise self.ended
                self._changed.clear()
                await self._changed.wait()

    async def hears(self, event: e.MailboxEvent, seconds: float = PATIENCE) -> None:
        await self.until(lambda: event in self.told, seconds)

    async def gets(self, count: int, seconds: float = PATIENCE) -> None:
        """Wait until so many messages have arrived."""
        await self.until(lambda: len(self.got) >= count, seconds)

    @property
    def active(self) -> bool:
        """It was told that the attempt is accepted."""
        return any(isinstance(event, e.StateReported) and event.state is wire.State.ACTIVE for event in self.told)

    async def close(self) -> None:
        await self.mailbox.close()
        await asyncio.wait(self._tasks)

    async def _run(self) -> None:
        try:
            await self.mailbox.run()
        except P2palError as error:
            self.ended = error
        finally:
            self.over = True
            self._changed.set()

    async def _listen(self) -> None:
        with suppress(P2palError):
            while True:
                event = await self.mailbox.get()
                self.told.append(event)
                if isinstance(event, e.PeerMessage):
                    self.got.append(event.body)
                self._changed.set()


@asynccontextmanager
async def clients(url: str) -> AsyncIterator[tuple[Client, Client]]:
    """Two clients of one transfer, whose attempt is served."""
    async with RendezvousClient(url) as server:
        created = await server.create(600.0)
        joined = await server.join(created.slot)
        pair = Client(server.mailbox("send", created.token)), Client(server.mailbox("receive", joined.token))
        try:
            await pair[0].hears(e.AttemptServed(1))
            await pair[1].until(lambda: bool(pair[1].told))
            yield pair
        finally:
            for client in pair:
                await client.close()
