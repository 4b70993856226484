"""What is in Redis: nothing without an end, no secret, and no connection for each transfer."""

from __future__ import annotations

from typing import Any, Final

from tests.e2e.instances.conftest import Start
from tests.e2e.instances.kit import Hopper, Talk, visiting
from tests.redis_kit import RedisServer

from p2pal.rendezvous import events as e
from p2pal.wire import rendezvous as wire

DAY_MS: Final = 86_400_000


def all_end(redis: RedisServer) -> dict[bytes, int]:
    """Check that every key there is will be forgotten by itself, and soon; return how soon (milliseconds)."""
    lifetimes = redis.lifetimes()
    assert lifetimes
    assert {key: left for key, left in lifetimes.items() if not 0 <= left < DAY_MS} == {}
    assert {key for key in lifetimes if not key.startswith(b"p2pal:")} == set()
    return lifetimes


async def test_every_key_ends_by_itself_at_every_step(redis: RedisServer, start: Start) -> None:
    async with visiting(start(redis, 2)) as visitors:
        all_end(redis)
        talk = await Talk(visitors).start()
        all_end(redis)
        await talk.say(talk.sender)
        await talk.say(talk.receiver)
        await talk.settle()
        all_end(redis)
        talk.sender.delivery.accept(1)
        await talk.sender.flush()
        await talk.sender.until(lambda: talk.sender.delivery.settled)
        all_end(redis)
        knocking = await visitors[0].join(talk.created.slot)
        knocker = Hopper("receive", knocking.token)
        await knocker.hop(visitors[0])
        await talk.sender.hears(e.AttemptKnocked(2))
        all_end(redis)
        talk.sender.delivery.release(1, "moved")
        await talk.sender.flush()
        await talk.sender.hears(e.AttemptServed(2))
        all_end(redis)
        await talk.sender.leave()
        await talk.sender.hop(visitors[1])
        await knocker.leave()
        all_end(redis)
        for role in ("receive", "send"):
            meeting = {"rendezvous_id": "m" * 26, "role": role, "ttl": 60}
            assert (await visitors[0].post("/api/meet", meeting))[0] == 201
            all_end(redis)
        for _ in range(3):  # refused, and counted
            assert (await visitors[1].post("/api/join", {"slot": 12_345}))[0] == 404
        all_end(redis)
        status, _ = await visitors[0].request(
            "DELETE", f"/api/transfer/{talk.created.rendezvous_id}", token=talk.created.token
        )
        assert status == 204
        all_end(redis)
        await talk.end()
        await knocker.end()
        assert max(left for key, left in all_end(redis).items() if b":instances" not in key) < 600_000


async def test_nothing_stays_longer_than_its_rest(redis: RedisServer, start: Start) -> None:
    """Finished, given up, expired and abandoned: in the end there is nothing but who is alive."""

    instances = start(redis, 1)
    async with visiting(instances) as visitors:
        _, sender, receiver = await visitors[0].pair()
        await sender.send(wire.ClientAccept(1))
        await sender.expect(wire.StateChanged)
        await sender.send(wire.ClientComplete())
        await sender.close_code()
        await receiver.close_code()
        _, given_up, _ = await visitors[0].pair()
        await given_up.ws.close()
        await visitors[0].create()
        instances.kill(0)
        redis.pass_time(60.0 + 300.0 + 10.0, keep=":instances")
        assert {key for key in redis.names() if b":instances" not in key} == set()
        redis.pass_time(3600.0)
        assert redis.names() == set()


async def test_no_secret_is_in_redis(redis: RedisServer, start: Start) -> None:
    async with visiting(start(redis, 2)) as visitors:
        talk = await Talk(visitors).start()
        await talk.say(talk.sender)
        await talk.settle()
        knocking = await visitors[0].join(talk.created.slot)
        meeting: dict[str, Any] = {"rendezvous_id": "m" * 26, "role": "send", "ttl": 60}
        _, met = await visitors[0].post("/api/meet", meeting)
        tokens = [talk.created.token, talk.receiver.token, knocking.token, met["token"]]
        kept = redis.contents()
        everything = b"\n".join(part for item in kept.items() for part in item)
        assert b"s 0" in everything  # what was said is there, as it came: it is sealed by the peers
        for token in tokens:
            assert token.rpartition(".")[2].encode() not in everything
        await talk.end()


async def test_the_connections_to_redis_do_not_grow_with_the_transfers(redis: RedisServer, start: Start) -> None:
    async with visiting(start(redis, 2)) as visitors:
        talk = await Talk(visitors).start()
        client: Any = redis.client
        before, channels = redis.connections(), client.pubsub_channels()
        assert len(before) <= 2 * 3
        assert len(channels) == 2
        created = [await visitors[n % 2].create(600.0) for n in range(50)]
        sockets = [await visitors[(n // 2) % 2].hello(each.token) for n, each in enumerate(created)]
        for socket in sockets:
            await socket.expect(wire.Welcome)
        assert redis.connections().keys() == before.keys()
        assert sorted(client.pubsub_channels()) == sorted(channels)
        for n, each in enumerate(created):
            joined = await visitors[n % 2].join(each.slot)
            sockets.append(await visitors[n % 2].hello(joined.token))
            await sockets[-1].expect(wire.PeerPresence)
        assert redis.connections().keys() == before.keys()
        assert sorted(client.pubsub_channels()) == sorted(channels)
        await talk.end()
