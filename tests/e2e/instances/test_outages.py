"""Redis goes away and comes back: frozen, restarted, or empty."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import pytest
from tests.e2e.instances.balancer import Balancer
from tests.e2e.instances.conftest import Start
from tests.e2e.instances.kit import PATIENCE, Client, clients, visiting
from tests.redis_kit import RedisServer
from tests.unit.server.kit import Visitor

from p2pal.errors import CodeUnknown
from p2pal.rendezvous import events as e
from p2pal.rendezvous.client import RendezvousClient
from p2pal.wire import rendezvous as wire

OUTAGE: Final = 10.0
"""Seconds that have to be survived."""


class Frozen:
    """It answers nothing for a while."""

    def __init__(self, redis: RedisServer) -> None:
        self._redis = redis

    def begin(self) -> None:
        self._redis.freeze()

    def end(self) -> None:
        self._redis.thaw()


class Restarted(Frozen):
    """It is killed, and started again with all that it had acknowledged."""

    def begin(self) -> None:
        self._redis.kill()

    def end(self) -> None:
        self._redis.start()


@asynccontextmanager
async def outage(kind: Frozen) -> AsyncIterator[None]:
    """Let Redis be away for 10 seconds, and for as long as the block takes."""
    await asyncio.to_thread(kind.begin)
    try:
        rest = asyncio.create_task(asyncio.sleep(OUTAGE))
        yield
        await rest
    finally:
        await asyncio.to_thread(kind.end)


async def ask(visitor: Visitor, method: str, path: str, body: object = None) -> tuple[int, dict[str, str], Any]:
    """Return the status, the headers and the body of an answer, which must be JSON."""
    data = None if body is None else msgspec.json.encode(body)
    async with (
        asyncio.timeout(PATIENCE),
        visitor.session.request(method, visitor.url + path, data=data) as response,
    ):
        return response.status, dict(response.headers), msgspec.json.decode(await response.read())


async def answers(visitor: Visitor, path: str, status: int) -> None:
    """Wait until a path is answered with that status."""
    async with asyncio.timeout(PATIENCE):
        while (await ask(visitor, "GET", path))[0] != status:  # noqa: ASYNC110 - another process says it
            await asyncio.sleep(0.05)


def said(client: Client) -> list[type[e.MailboxEvent]]:
    return [type(event) for event in client.told]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Frozen, Restarted])
async def test_ten_seconds_without_redis(
    lasting_redis: RedisServer, start: Start, kind: Callable[[RedisServer], Frozen]
) -> None:
    instances = start(lasting_redis, 2)
    with Balancer(instances.ports) as balancer:
        async with (
            visiting(instances) as visitors,
            clients(balancer.url) as (sender, receiver),
            RendezvousClient(balancer.url) as server,
        ):
            waiting = await server.create(600.0)
            sitting = Client(server.mailbox("send", waiting.token))
            await sitting.until(lambda: bool(sitting.told))
            sender.mailbox.append(1, b"before")
            receiver.mailbox.append(1, b"before")
            await sender.gets(1)

            async with outage(kind(lasting_redis)):
                for n in range(10):
                    sender.mailbox.append(1, b"during %d" % n)
                    receiver.mailbox.append(1, b"during %d" % n)
                sender.mailbox.accept(1)
                for visitor in visitors:
                    await is_unavailable(visitor)

            for visitor in visitors:
                await answers(visitor, "/readyz", 200)
                await visitor.create()
            sender.mailbox.append(1, b"after")
            receiver.mailbox.append(1, b"after")
            everything = [b"before", *(b"during %d" % n for n in range(10)), b"after"]
            for client in (sender, receiver):
                await client.gets(len(everything))
                assert client.got == everything
                await client.until(lambda client=client: client.active)  # type: ignore[misc]
                assert e.AttemptReleased not in said(client)

            # Who had nothing to say kept its socket, and its transfer.
            assert e.ServerOffline not in said(sitting)
            await server.join(waiting.slot)
            joined = await server.join(waiting.slot)
            late = Client(server.mailbox("receive", joined.token))
            await sitting.until(lambda: e.AttemptServed in said(sitting))
            sender.mailbox.complete()
            await receiver.until(lambda: receiver.over)
            await sitting.close()
            await late.close()


async def is_unavailable(visitor: Visitor) -> None:
    """It lives, is not ready, and refuses everything that needs Redis, for now."""
    await answers(visitor, "/readyz", 503)
    assert (await ask(visitor, "GET", "/healthz"))[0] == 200
    requests = [
        ("/api/transfer", {"ttl": 60}),
        ("/api/join", {"slot": 1}),
        ("/api/meet", {"rendezvous_id": "m" * 26, "role": "send"}),
    ]
    for path, body in requests:
        status, headers, answer = await ask(visitor, "POST", path, body)
        assert (status, answer["error"]["code"]) == (503, "unavailable")
        assert int(headers["Retry-After"]) >= 1
        assert headers["Content-Type"].startswith("application/json")


async def test_a_redis_that_forgot_everything(redis: RedisServer, start: Start) -> None:
    instances = start(redis, 2)
    with Balancer(instances.ports) as balancer:
        async with visiting(instances) as visitors, clients(balancer.url) as (sender, receiver):
            await asyncio.to_thread(redis.stop)
            await asyncio.to_thread(redis.start)
            for client in (sender, receiver):
                await client.until(lambda client=client: client.over)  # type: ignore[misc]
                assert isinstance(client.ended, CodeUnknown)
            for visitor in visitors:
                await answers(visitor, "/readyz", 200)
            created, one, other = await visitors[0].pair()
            await one.send(wire.Append(0, b"again", 1))
            assert (await other.expect(wire.LogMessage)).body == b"again"
            status, _ = await visitors[1].request(
                "DELETE", f"/api/transfer/{created.rendezvous_id}", token=created.token
            )
            assert status == 204


async def test_an_instance_that_starts_before_its_redis(redis: RedisServer, start: Start) -> None:
    redis.stop()
    async with visiting(start(redis, 1)) as visitors:
        await is_unavailable(visitors[0])
        await asyncio.to_thread(redis.start)
        await answers(visitors[0], "/readyz", 200)
        await visitors[0].pair()


async def test_a_redis_that_has_no_memory_left(redis: RedisServer, start: Start) -> None:
    """It goes on with what it has, and refuses what is new."""

    async with visiting(start(redis, 1)) as visitors:
        _, sender, receiver = await visitors[0].pair()
        redis.client.config_set("maxmemory", 1)
        end = asyncio.get_running_loop().time() + 5.0  # longer than it takes until the next sign of life
        while asyncio.get_running_loop().time() < end:
            status, headers, answer = await ask(visitors[0], "POST", "/api/transfer", {"ttl": 60})
            assert (status, answer["error"]["code"]) == (503, "full")
            assert int(headers["Retry-After"]) >= 1
            await asyncio.sleep(0.2)  # a minute's allowance is not to be used up
        redis.client.config_set("maxmemory", 0)
        await visitors[0].create()
        await sender.send(wire.Append(0, b"it goes on", 1))
        assert (await receiver.expect(wire.LogMessage)).body == b"it goes on"
