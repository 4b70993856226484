"""Two stores on one Redis, as two instances have them; what one store does is in ``tests/contract``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import pytest
from tests.contract.benches import Bench, running
from tests.redis_kit import RedisServer
from tests.redis_kit import running as running_redis

from p2pal.errors import UsageError
from p2pal.rate_limit import Rate
from p2pal.server import state as s
from p2pal.server.config import Limits
from p2pal.server.state import SENDER, Denied
from p2pal.server.stores.redis import RedisStore
from p2pal.server.stores.redis.connections import ALIVE
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import State

T = TypeVar("T")


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(one_server: RedisServer) -> RedisServer:
    one_server.flush()
    return one_server


class Instance(Bench):
    """A store, and whether it runs."""

    def __init__(self, redis: RedisServer, limits: Limits, prefix: str) -> None:
        super().__init__(RedisStore(redis.url, limits, prefix=prefix))
        self.life = AsyncExitStack()

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def missed(self, name: str) -> bool:
        return any(effect == s.Missed(self.socket(name)) for _, effect in self.heard)


@asynccontextmanager
async def instances(
    redis: RedisServer, count: int = 2, *, limits: Limits | None = None, prefix: str = "p2pal"
) -> AsyncIterator[list[Instance]]:
    async with AsyncExitStack() as stack:
        made = [Instance(redis, limits or Limits(), prefix) for _ in range(count)]
        for instance in made:
            await stack.enter_async_context(instance.life)
            await instance.life.enter_async_context(running(instance.store))
        yield made


async def served(here: Instance, there: Instance) -> s.Rendezvous:
    """A transfer whose sender is here and whose receiver is there."""
    transfer, _ = await here.store.create(60.0)
    await there.store.join(transfer.slot)
    await here.store.execute(transfer.id, s.Attach(SENDER, here.socket("A")))
    await there.store.execute(transfer.id, s.Attach(1, there.socket("B")))
    await here.hears(transfer.id, s.Tell(here.socket("A"), wire.Served(1)))
    return transfer


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Do it until the store can: as sockets do, also where others took every turn."""
    async with asyncio.timeout(20.0):
        while True:
            try:
                return await attempt()
            except Denied as denied:
                if denied.code != "unavailable":
                    raise
            await asyncio.sleep(0.01)


def messages(instance: Instance, name: str) -> list[tuple[int, bytes]]:
    told = [effect for _, effect in instance.heard if isinstance(effect, s.Tell)]
    told = [effect for effect in told if effect.socket == instance.socket(name)]
    return [(each.message.index, each.message.body) for each in told if isinstance(each.message, wire.LogMessage)]


async def test_what_is_said_reaches_the_other_instance_in_order(redis: RedisServer) -> None:
    async with instances(redis) as (here, there):
        transfer = await served(here, there)

        async def say(instance: Instance, who: int) -> None:
            for n in range(100):
                append = s.AppendMessage(who, 1, n, b"%d:%d" % (who, n))
                await patiently(partial(instance.store.execute, transfer.id, append))

        await asyncio.gather(say(here, SENDER), say(there, 1))
        await here.until(lambda: len(messages(here, "A")) == 100)
        await there.until(lambda: len(messages(there, "B")) == 100)
        assert messages(here, "A") == [(n, b"1:%d" % n) for n in range(100)]
        assert messages(there, "B") == [(n, b"0:%d" % n) for n in range(100)]
        assert not here.missed("A")
        assert not there.missed("B")
        sockets = {effect.socket for _, effect in here.heard if isinstance(effect, s.Tell | s.CloseSocket)}
        assert sockets == {here.socket("A")}


async def test_a_lost_publication_is_noticed(redis: RedisServer) -> None:
    async with instances(redis) as (here, there):
        transfer = await served(here, there)
        client: Any = redis.client
        client.client_kill_filter(_type="pubsub")
        await here.until(lambda: here.missed("A"))
        await there.until(lambda: there.missed("B"))
        async with asyncio.timeout(20.0):
            for instance in (here, there):
                await instance.store.available()
        for instance, who, name in ((here, SENDER, "A"), (there, 1, "B")):
            await instance.store.execute(transfer.id, s.Attach(who, instance.socket(name), {1: 0}, again=True))
        await here.store.execute(transfer.id, s.AppendMessage(SENDER, 1, 0, b"it goes on"))
        await there.until(lambda: messages(there, "B") == [(0, b"it goes on")])


async def test_redis_may_forget_the_scripts(redis: RedisServer) -> None:
    async with instances(redis) as (here, there):
        transfer = await served(here, there)
        redis.client.script_flush()
        await here.store.execute(transfer.id, s.AppendMessage(SENDER, 1, 0, b"it goes on"))
        await there.until(lambda: messages(there, "B") == [(0, b"it goes on")])


async def test_no_slot_is_given_out_twice(redis: RedisServer) -> None:
    async with instances(redis) as both:
        made = await asyncio.gather(*(both[n % 2].store.create(60.0) for n in range(120)))
        slots = [transfer.slot for transfer, _ in made]
        assert len(set(slots)) == 120
        assert sum(slot <= 999 for slot in slots) >= 100
        for transfer, _ in made:
            assert (await both[0].store.join(transfer.slot))[0].id == transfer.id


async def test_slots_grow_when_there_is_no_room(redis: RedisServer) -> None:
    async with instances(redis, 1) as (here,):
        for slot in range(1, 100):
            redis.client.set(f"p2pal:slot:{slot}", "somebody", px=60_000)
        transfer, _ = await here.store.create(60.0)
        assert 100 <= transfer.slot <= 999


async def test_a_slot_is_reserved_before_there_is_a_transfer(redis: RedisServer) -> None:
    """A crash between the two leaves nothing but a slot, which ends as if there were one."""

    async with instances(redis, 1) as (here,):
        client: Any = redis.client
        client.acl_setuser("default", enabled=True, nopass=True, commands=["-evalsha", "-eval"])
        try:
            with pytest.raises(Denied, match="cannot reach its store"):
                await here.store.create(60.0)
        finally:
            client.acl_setuser("default", enabled=True, nopass=True, commands=["+evalsha", "+eval"])
        left = redis.lifetimes("p2pal:slot:")
        assert len(left) == 1
        assert 0 < next(iter(left.values())) <= (60 + 300 + 10) * 1000
        assert redis.names("p2pal:transfer:") == set()
        await patiently(partial(here.store.create, 60.0))


async def test_two_prefixes_know_nothing_of_each_other(redis: RedisServer) -> None:
    async with instances(redis, 1, prefix="one") as (one,), instances(redis, 1, prefix="two") as (two,):
        transfer, token = await one.store.create(60.0)
        for call in (two.store.load(transfer.id), two.store.join(transfer.slot), two.store.authorise(token)):
            with pytest.raises(Denied):
                await call
        assert all(name.startswith((b"one:", b"two:")) for name in redis.names())


async def test_joins_and_steps_at_the_same_time_on_two_instances(redis: RedisServer) -> None:
    async with instances(redis) as both:
        transfer, _ = await both[0].store.create(60.0)
        joins = await asyncio.gather(*(both[n % 2].store.join(transfer.slot) for n in range(8)))
        assert sorted(number for _, number, _ in joins) == list(range(1, 9))
        await both[0].store.execute(transfer.id, s.Attach(SENDER, both[0].socket("A")))
        await both[1].store.execute(transfer.id, s.Attach(1, both[1].socket("B")))
        appends = [both[n % 2].store.execute(transfer.id, s.AppendMessage(1, 1, 0, b"%d" % n)) for n in range(6)]
        ends = await asyncio.gather(*appends, return_exceptions=True)
        assert [end.code for end in ends if isinstance(end, Denied)] == ["conflict"] * 5
        await both[0].until(lambda: len(messages(both[0], "A")) == 1)
        kept = int(messages(both[0], "A")[0][1])
        assert isinstance(ends[kept], s.Rendezvous)


async def test_the_sockets_of_an_instance_that_died_count_as_closed(redis: RedisServer) -> None:
    async with instances(redis) as (here, there):
        transfer = await served(here, there)
        await there.store.execute(transfer.id, s.AppendMessage(1, 1, 0, b"so that it is not silent"))
        await there.life.aclose()
        await here.until(lambda: (here.socket("A"), False) in peers(here), 3 * ALIVE)
        assert (await here.store.load(transfer.id)).attempts[0].socket == ""


def peers(instance: Instance) -> list[tuple[str, bool]]:
    told = [effect for _, effect in instance.heard if isinstance(effect, s.Tell)]
    return [(each.socket, each.message.online) for each in told if isinstance(each.message, wire.PeerPresence)]


async def test_everything_is_gone_in_the_end(redis: RedisServer) -> None:
    """In real time: Redis itself forgets, with nobody there who could tell it to."""

    limits = Limits(rest=0.5, join_grace=0.5, offline_grace=0.5)
    async with instances(redis, limits=limits) as (here, there):
        finished = await served(here, there)
        await here.store.execute(finished.id, s.AcceptAttempt(SENDER, 1))
        await here.store.execute(finished.id, s.CompleteTransfer(SENDER))
        deleted = await served(here, there)
        await here.store.execute(deleted.id, s.Delete(SENDER))
        for owner in ("", "somebody"):
            abandoned, _ = await here.store.create(1.0, owner)
            await there.store.join(abandoned.slot)
            await here.store.meet("m" * 26, 1.0, sender=True, owner=owner)
        assert -1 not in redis.lifetimes().values()
    async with asyncio.timeout(30.0):
        while {name for name in redis.names() if b":instances" not in name}:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.1)


async def test_what_is_broken_in_redis_breaks_nothing_else(redis: RedisServer) -> None:
    async with instances(redis, 1) as (here,):
        first, token = await here.store.create(60.0)
        second, _ = await here.store.create(60.0)
        await here.store.execute(second.id, s.Attach(SENDER, here.socket("A")))
        client: Any = redis.client
        client.hset(f"p2pal:transfer:{{{first.id}}}", "state", b"\xff\x00nonsense")
        with pytest.raises(Denied, match="no such transfer"):
            await here.store.authorise(token)
        for channel in client.pubsub_channels():
            client.publish(channel, b"\xff\x00nonsense")
        assert (await here.store.load(second.id)).state is State.PENDING
        await here.store.join(second.slot)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1", "redis://127.0.0.1:port"])
async def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        RedisStore(url)


async def test_an_allowance_outlives_a_clock_that_goes_back(redis: RedisServer) -> None:
    async with instances(redis, 1) as (here,):
        rate = Rate(2, 60.0)
        assert await here.store.spend("create", "192.0.2.1", rate) == 0.0
        ahead = int(redis.client.get("p2pal:rate:create:192.0.2.1")) + 3_600_000_000  # type: ignore[arg-type]
        redis.client.set("p2pal:rate:create:192.0.2.1", ahead)
        assert 0 < await here.store.spend("create", "192.0.2.1", rate) <= 31.0


async def renewed(redis: RedisServer, rendezvous_id: str, times: int) -> None:
    """Return once the key of a transfer was given a later end so often."""
    client: Any = redis.client
    key = f"p2pal:transfer:{{{rendezvous_id}}}"
    ends: list[int] = [client.pexpiretime(key)]
    async with asyncio.timeout(30.0):
        while len(ends) <= times:
            await asyncio.sleep(0.01)
            end: int = client.pexpiretime(key)
            assert end >= ends[-1] > 0  # less for a key that is gone, or that would stay
            if end > ends[-1]:
                ends.append(end)


async def test_a_full_redis_ends_no_living_transfer_and_what_ends_can_end(redis: RedisServer) -> None:
    limits = Limits(rest=0.5)
    async with instances(redis, limits=limits) as (here, there):
        transfer, _ = await here.store.create(1.0)
        await there.store.join(transfer.slot)
        await here.store.execute(transfer.id, s.Attach(SENDER, here.socket("A")))
        await there.store.execute(transfer.id, s.Attach(1, there.socket("B")))
        await here.store.execute(transfer.id, s.AcceptAttempt(SENDER, 1))
        redis.client.config_set("maxmemory", "1")
        try:
            append = s.AppendMessage(SENDER, 1, 0, b"no room")
            with pytest.raises(Denied, match="full"):
                await here.store.execute(transfer.id, append)
            await renewed(redis, transfer.id, 5)
            assert not [effect for _, effect in here.heard + there.heard if isinstance(effect, s.CloseSocket)]
            assert (await here.store.load(transfer.id)).state is State.ACTIVE
            await here.store.execute(transfer.id, s.CompleteTransfer(SENDER))
            await there.hears(transfer.id, s.CloseSocket(there.socket("B"), wire.CloseCode.OVER))
        finally:
            redis.client.config_set("maxmemory", "0")
