"""The two peers of a transfer on different instances, and going from one to another."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest
from tests.e2e.instances.balancer import Balancer
from tests.e2e.instances.conftest import Start
from tests.e2e.instances.kit import GONE_WITHIN, Hopper, Talk, visiting
from tests.e2e.kit import until
from tests.redis_kit import RedisServer
from tests.unit.server.kit import Visitor

from p2pal.rendezvous import events as e
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode, State


async def test_the_two_sides_of_a_transfer_on_two_instances(redis: RedisServer, start: Start) -> None:
    async with visiting(start(redis, 2)) as visitors:
        talk = await Talk(visitors).start()
        sender, receiver = talk.sender, talk.receiver
        await sender.hears(e.PeerOnline(True))
        await receiver.hears(e.PeerOnline(True))
        for _ in range(20):
            await talk.say(sender)
            await talk.say(receiver)
        await talk.settle()
        sender.delivery.accept(1)
        await sender.flush()
        await receiver.until(
            lambda: any(isinstance(x, e.StateReported) and x.state is State.ACTIVE for x in receiver.told)
        )

        third = await visitors[1].join(talk.created.slot)
        knocking = Hopper("receive", third.token)
        await knocking.hop(visitors[1])
        await sender.hears(e.AttemptKnocked(2))
        sender.delivery.release(2, "busy")
        await sender.flush()
        await knocking.hears(e.AttemptReleased(2, "busy"))
        await knocking.until(lambda: knocking.closed == CloseCode.RELEASED)

        await receiver.leave()
        await sender.hears(e.PeerOnline(False))
        await receiver.hop(visitors[0])
        await talk.say(sender)
        await talk.settle()
        sender.delivery.complete()
        await sender.flush()
        for side in (sender, receiver):
            await side.until(lambda side=side: side.delivery.over == "completed")  # type: ignore[misc]
            await side.until(lambda side=side: side.closed == CloseCode.OVER)  # type: ignore[misc]
        await talk.end()
        await knocking.end()


async def test_a_release_on_one_instance_serves_the_next_on_another(redis: RedisServer, start: Start) -> None:
    async with visiting(start(redis, 3)) as visitors:
        talk = await Talk(visitors).start()
        second = await visitors[2].join(talk.created.slot)
        waiting = Hopper("receive", second.token)
        await waiting.hop(visitors[2])
        await waiting.until(lambda: bool(waiting.told))
        talk.sender.delivery.release(1, "wrong-code")
        await talk.sender.flush()
        await talk.receiver.hears(e.AttemptReleased(1, "wrong-code"))
        await talk.receiver.until(lambda: talk.receiver.closed == CloseCode.RELEASED)
        await talk.sender.hears(e.AttemptServed(2))
        await talk.sender.append(b"to the second", 2)
        await waiting.until(lambda: waiting.got == [b"to the second"])
        await waiting.append(b"from the second", 2)
        await talk.sender.until(lambda: talk.sender.got == [b"from the second"])
        waiting.delivery.leave()
        await waiting.flush()
        await talk.sender.hears(e.AttemptReleased(2, "left"))
        await talk.end()
        await waiting.end()


async def test_the_end_of_a_transfer_reaches_the_other_instance(redis: RedisServer, start: Start) -> None:
    async with visiting(start(redis, 2)) as visitors:
        talk = await Talk(visitors).start()
        status, _ = await visitors[1].request(
            "DELETE", f"/api/transfer/{talk.created.rendezvous_id}", token=talk.created.token
        )
        assert status == 204
        for side in (talk.sender, talk.receiver):
            await side.until(lambda side=side: side.closed == CloseCode.OVER)  # type: ignore[misc]
            assert side.delivery.over == "aborted"
        await talk.end()


async def test_time_ends_a_transfer_on_every_instance(redis: RedisServer, start: Start) -> None:
    async with visiting(start(redis, 2)) as visitors:
        created = await visitors[0].create(2.0)
        joined = await visitors[1].join(created.slot)
        sender, receiver = await visitors[1].hello(created.token), await visitors[0].hello(joined.token)
        codes = tuple(await asyncio.gather(sender.close_code(), receiver.close_code()))
        assert codes == (CloseCode.EXPIRED, CloseCode.EXPIRED)
        status, body = await visitors[0].post("/api/join", {"slot": created.slot})
        assert (status, body["error"]["code"]) == (410, "expired")
        status, body = await visitors[0].request("GET", f"/api/transfer/{created.rendezvous_id}", token=created.token)
        assert (status, body["state"]) == (200, "aborted")


async def test_a_silent_receiver_is_released_from_the_other_instance(redis: RedisServer, start: Start) -> None:
    async with visiting(start(redis, 2)) as visitors:
        talk = await Talk(visitors).start()
        await talk.sender.hears(e.AttemptReleased(1, "silent"))
        await talk.receiver.hears(e.AttemptReleased(1, "silent"))
        await talk.end()


async def test_a_newer_socket_replaces_one_on_another_instance(redis: RedisServer, start: Start) -> None:
    async with visiting(start(redis, 2)) as visitors:
        created = await visitors[0].create()
        first = await visitors[0].hello(created.token)
        await first.expect(wire.Welcome)
        second = await visitors[1].hello(created.token)
        await second.expect(wire.Welcome)
        assert await first.close_code() == CloseCode.REPLACED
        joined = await visitors[0].join(created.slot)
        receiver = await visitors[0].hello(joined.token)
        assert (await second.expect(wire.Served)).attempt == 1  # the end of the first one was no end of this one
        await receiver.expect(wire.PeerPresence)


async def test_a_hello_that_comes_late_replaces_nothing(redis: RedisServer, start: Start) -> None:
    """A client gives up on an instance that does not answer, and goes to another; then the first one wakes up."""

    instances = start(redis, 2)
    async with visiting(instances) as visitors:
        created = await visitors[0].create()
        with Balancer(instances.ports[:1]) as way:
            late = await Visitor(way.url, visitors[0].session).socket()
            instances[0].signal(signal.SIGSTOP)
            before = way.passed
            await late.send(wire.ClientHello(created.token, turn=1))
            await asyncio.to_thread(until, lambda: way.passed > before, "the hello on its way")
            way.cut()
        sender = await visitors[1].socket()
        await sender.send(wire.ClientHello(created.token, turn=2))
        await sender.expect(wire.Welcome)
        instances[0].signal(signal.SIGCONT)
        await asyncio.to_thread(instances[0].says, "event=socket-closed")
        joined = await visitors[0].join(created.slot)
        receiver = await visitors[0].hello(joined.token)
        assert (await sender.expect(wire.Served)).attempt == 1
        await receiver.expect(wire.PeerPresence)


async def test_a_meeting_on_two_instances(redis: RedisServer, start: Start) -> None:
    meeting = "m" * 26
    async with visiting(start(redis, 2)) as visitors:

        async def meet(at: Visitor, role: str) -> dict[str, Any]:
            status, body = await at.post("/api/meet", {"rendezvous_id": meeting, "role": role, "ttl": 60})
            assert status == 201, body
            return body

        receiver, sender = await meet(visitors[1], "receive"), await meet(visitors[0], "send")
        there, here = await visitors[1].hello(receiver["token"]), await visitors[0].hello(sender["token"])
        assert (await here.expect(wire.Served)).attempt == 1
        await here.send(wire.Append(0, b"nonce", 1))
        assert (await there.expect(wire.LogMessage)).body == b"nonce"
        again = await meet(visitors[0], "receive")
        assert (await here.expect(wire.Released)) == wire.Released(1, "renewed")
        assert await there.close_code() == CloseCode.RELEASED
        there = await visitors[0].hello(again["token"])
        assert (await here.expect(wire.Served)).attempt == 2


@pytest.mark.parametrize("seed", range(6))
async def test_hopping_loses_and_repeats_nothing(redis: RedisServer, start: Start, seed: int) -> None:
    async with visiting(start(redis, 3)) as visitors:
        talk = await Talk(visitors, seed).start()
        await talk.say(talk.receiver)  # so that it is not taken for silent
        for _ in range(150):
            side = talk.chance.choice((talk.sender, talk.receiver))
            match talk.chance.choice(("say", "say", "say", "hop", "leave", "hear")):
                case "say":
                    await talk.say(side)
                case "hop":
                    await side.hop(talk.chance.choice(visitors), rudely=talk.chance.random() < 0.5)
                case "leave":
                    await side.leave()
                case "hear" if side.told and talk.chance.random() < 0.2:
                    await talk.settle_for(side)
        for side in (talk.sender, talk.receiver):
            await side.hop(talk.chance.choice(visitors))
        await talk.settle()
        assert talk.sender.told.count(e.AttemptServed(1)) == 1
        assert not any(isinstance(event, e.AttemptReleased) for event in talk.sender.told + talk.receiver.told)
        await talk.end()


async def test_an_instance_is_killed_and_its_peers_come_back_elsewhere(redis: RedisServer, start: Start) -> None:
    instances = start(redis, 2)
    async with visiting(instances) as visitors:
        talk = await Talk(visitors).start(0, 0)
        await talk.say(talk.sender)
        await talk.say(talk.receiver)
        instances.kill(0)
        for side in (talk.sender, talk.receiver):
            await talk.say(side)
            await side.until(lambda side=side: not side.connected)  # type: ignore[misc]
        for side in (talk.receiver, talk.sender):
            await side.hop(visitors[1])
            await talk.say(side)
        await talk.settle()
        await talk.sender.until(lambda: talk.sender.peer_online)
        await talk.end()


async def test_the_sockets_of_a_killed_instance_count_as_closed(redis: RedisServer, start: Start) -> None:
    instances = start(redis, 2)
    async with visiting(instances) as visitors:
        talk = await Talk(visitors).start(0, 1)
        await talk.say(talk.receiver)
        await talk.settle()
        instances.kill(1)
        await talk.sender.hears(e.PeerOnline(False), GONE_WITHIN)
        await talk.receiver.hop(visitors[0])
        await talk.say(talk.sender)
        await talk.settle()
        await talk.end()


async def test_a_killed_instance_holds_no_place_in_the_queue(redis: RedisServer, start: Start) -> None:
    """A receiver that waited there is released when its time without a socket is over, not kept for ever."""

    instances = start(redis, 2)
    async with visiting(instances) as visitors:
        talk = await Talk(visitors).start(0, 0)
        await talk.say(talk.receiver)
        await talk.settle()
        waiting = await visitors[1].join(talk.created.slot)
        socket = await visitors[1].hello(waiting.token)
        await socket.expect(wire.Welcome)
        instances.kill(1)
        talk.sender.delivery.release(1, "moved")
        await talk.sender.flush()
        await talk.sender.hears(e.AttemptReleased(2, "silent"), 60.0)
        await talk.end()


async def test_a_transfer_outlives_all_instances(redis: RedisServer, start: Start) -> None:
    instances = start(redis, 2)
    async with visiting(instances) as visitors:
        talk = await Talk(visitors).start()
        await talk.say(talk.sender)
        await talk.say(talk.receiver)
        await talk.settle()
        instances.kill(0)
        instances.kill(1)
        for index in (0, 1):
            instances.restart(index)
    async with visiting(instances) as visitors:
        await talk.sender.hop(visitors[1])
        await talk.receiver.hop(visitors[1])
        await talk.say(talk.sender)
        await talk.say(talk.receiver)
        await talk.settle()
        await talk.end()


@pytest.mark.parametrize("frozen", [0, 1])
@pytest.mark.parametrize("seconds", [6.0, 11.0])
async def test_an_instance_that_stands_still_for_a_while_harms_nobody(
    redis: RedisServer, start: Start, frozen: int, seconds: float
) -> None:
    """Longer than others take to count it as dead, or nearly: awake again it knows neither that, nor what they did."""

    instances = start(redis, 2)
    async with visiting(instances) as visitors:
        created = await visitors[0].create()
        joined = await visitors[1].join(created.slot)
        sender, receiver = Hopper("send", created.token), Hopper("receive", joined.token)
        await sender.hop(visitors[0])
        await receiver.hop(visitors[1])
        await sender.hears(e.AttemptServed(1))
        await receiver.append(b"there")  # or it would be released for its silence
        await sender.until(lambda: sender.got == [b"there"])
        instances[frozen].signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        instances[frozen].signal(signal.SIGCONT)
        for each, other in ((sender, receiver), (receiver, sender)):
            for n in range(3):
                await each.append(b"%d" % n)
            await other.until(lambda other=other: other.got[-3:] == [b"0", b"1", b"2"])  # type: ignore[misc]
            await each.until(lambda each=each: each.delivery.settled)  # type: ignore[misc]
        assert sender.connected
        assert receiver.connected
        await sender.end()
        await receiver.end()


async def test_a_redis_that_is_emptied_in_passing_is_noticed(redis: RedisServer, start: Start) -> None:
    instances = start(redis, 1)
    async with visiting(instances) as visitors:
        created = await visitors[0].create()
        sender = await visitors[0].hello(created.token)
        await sender.expect(wire.Welcome)
        redis.flush()
        assert await sender.close_code() == wire.CloseCode.UNAUTHORISED


async def test_a_key_that_is_no_transfer_harms_no_other(redis: RedisServer, start: Start) -> None:
    instances = start(redis, 1)
    async with visiting(instances) as visitors:
        spoilt, fine = await visitors[0].create(), await visitors[0].create()
        waiting = await visitors[0].hello(fine.token)
        await waiting.expect(wire.Welcome)
        redis.client.set(f"p2pal:transfer:{{{spoilt.rendezvous_id}}}", "no hash")
        assert (await visitors[0].post("/api/join", {"slot": spoilt.slot}))[0] == 503
        joined = await visitors[0].join(fine.slot)
        receiver = await visitors[0].hello(joined.token)
        assert (await waiting.expect(wire.Served)).attempt == 1
        await receiver.expect(wire.PeerPresence)
