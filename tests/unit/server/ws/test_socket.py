from __future__ import annotations

import asyncio

from tests.unit.server.deaf import deaf_kit
from tests.unit.server.kit import serving

from p2pal.server.config import ServerConfig
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode, State


async def test_messages_travel_both_ways() -> None:
    async with serving() as kit:
        _, sender, receiver = await kit.pair()
        await sender.send(wire.Append(0, b"to you", 1))
        assert await sender.expect(wire.Appended) == wire.Appended(1, 0)
        assert await receiver.expect(wire.LogMessage) == wire.LogMessage(1, 0, b"to you")
        await receiver.send(wire.Append(0, b"to me"))
        assert await receiver.expect(wire.Appended) == wire.Appended(1, 0)
        assert await sender.expect(wire.LogMessage) == wire.LogMessage(1, 0, b"to me")


async def test_the_log_is_read_from_the_cursor_on() -> None:
    async with serving() as kit:
        created = await kit.create()
        joined = await kit.join(created.slot)
        sender, receiver = await kit.hello(created.token), await kit.hello(joined.token)
        await sender.expect(wire.Served)
        for n in range(4):
            await sender.send(wire.Append(n, b"%d" % n, 1))
        await receiver.expect(wire.LogMessage)
        await receiver.ws.close()
        assert await sender.expect(wire.PeerPresence) == wire.PeerPresence(online=True)
        assert await sender.expect(wire.PeerPresence) == wire.PeerPresence(online=False)
        again = await kit.hello(joined.token, {1: 2})
        assert [(await again.expect(wire.LogMessage)).index for _ in range(2)] == [2, 3]
        await sender.send(wire.Append(4, b"4", 1))
        assert (await again.expect(wire.LogMessage)).index == 4


async def test_a_cursor_past_the_end_is_refused() -> None:
    async with serving() as kit:
        created = await kit.create()
        joined = await kit.join(created.slot)
        receiver = await kit.hello(joined.token, {1: 1})
        assert await receiver.close_code() == CloseCode.PROTOCOL


async def test_the_last_word_before_a_release_still_arrives() -> None:
    async with serving() as kit:
        _, sender, receiver = await kit.pair()
        await sender.send(wire.Append(0, b"wrong", 1))
        await sender.send(wire.Release(1, "wrong-code"))
        assert (await receiver.expect(wire.LogMessage)).body == b"wrong"
        assert (await receiver.expect(wire.Released)).reason == "wrong-code"
        assert await receiver.close_code() == CloseCode.RELEASED


async def test_accept_and_complete() -> None:
    async with serving() as kit:
        created, sender, receiver = await kit.pair()
        await sender.send(wire.ClientAccept(1))
        while (state := await receiver.expect(wire.StateChanged)).state is not State.ACTIVE:
            pass
        assert state.attempt == 1
        await sender.send(wire.ClientComplete())
        assert (await receiver.expect(wire.StateChanged)).state is State.COMPLETED
        assert await receiver.close_code() == CloseCode.OVER
        assert await sender.close_code() == CloseCode.OVER
        late = await kit.hello(created.token)
        assert (await late.expect(wire.Welcome)).state is State.COMPLETED
        assert await late.close_code() == CloseCode.OVER


async def test_a_refused_command_leaves_the_socket_open() -> None:
    async with serving() as kit:
        _, sender, receiver = await kit.pair()
        await sender.send(wire.Append(5, b"x", 1))
        assert (await sender.expect(wire.Error)).code == "gap"
        await receiver.send(wire.ClientAccept(1))
        assert (await receiver.expect(wire.Error)).code == "forbidden"
        await sender.send(wire.Append(0, b"x", 1))
        assert await sender.expect(wire.Appended) == wire.Appended(1, 0)


async def test_the_newer_socket_of_a_token_wins() -> None:
    async with serving() as kit:
        created = await kit.create()
        first = await kit.hello(created.token)
        await first.expect(wire.Welcome)
        second = await kit.hello(created.token)
        await second.expect(wire.Welcome)
        assert await first.close_code() == CloseCode.REPLACED
        await second.send(wire.AskIce())
        await second.expect(wire.Ice)


async def test_turn_is_offered_after_the_accept() -> None:
    ice = (wire.IceServer(["stun:h:1"]), wire.IceServer(["turn:h:2"], "u", "p"))
    async with serving(ServerConfig(port=0, ice_servers=ice)) as kit:
        created, sender, _ = await kit.pair()
        assert created.ice_servers == [ice[0]]
        await sender.send(wire.AskIce())
        assert (await sender.expect(wire.Ice)).servers == [ice[0]]
        await sender.send(wire.ClientAccept(1))
        await sender.send(wire.AskIce())
        assert (await sender.expect(wire.Ice)).servers == list(ice)


async def test_who_missed_something_is_told_once_where_everything_stands() -> None:
    async with deaf_kit() as (kit, store):
        _, sender, receiver = await kit.pair()
        store.deaf = True
        for n in range(3):
            await receiver.send(wire.Append(n, b"%d" % n))
        await store.until(lambda: store.lost >= 6)
        store.deaf = False
        # The gap is seen before anybody says so, and is not told.
        await receiver.send(wire.Append(3, b"3"))
        assert [(await sender.expect(wire.LogMessage)).index for _ in range(4)] == [0, 1, 2, 3]
        assert (await receiver.expect(wire.Appended)).index == 3
        store.missed()
        assert [(await receiver.expect(wire.Appended)).index for _ in range(4)] == [0, 1, 2, 3]
        await receiver.send(wire.Append(4, b"4"))
        assert (await sender.expect(wire.LogMessage)).index == 4, "nothing came twice"


async def test_who_missed_the_end_is_told_and_closed() -> None:
    async with deaf_kit() as (kit, store):
        _, sender, receiver = await kit.pair()
        store.deaf = True
        await sender.send(wire.Release(1, "wrong-code"))
        await store.until(lambda: store.lost >= 3)
        store.deaf = False
        store.missed()
        assert (await receiver.expect(wire.Released)).reason == "wrong-code"
        assert await receiver.close_code() == CloseCode.RELEASED
        assert (await sender.expect(wire.Released)).attempt == 1


async def test_a_welcome_that_was_missed_comes_first_all_the_same() -> None:
    async with deaf_kit() as (kit, store):
        created = await kit.create()
        store.deaf = True
        sender = await kit.hello(created.token)
        await store.until(lambda: store.lost >= 1)
        store.deaf = False
        joined = await kit.join(created.slot)
        await kit.hello(joined.token)
        store.missed()
        assert isinstance(await sender.receive(), wire.Welcome)
        assert (await sender.expect(wire.Served)).attempt == 1


async def test_what_is_missed_while_being_attached_again_is_made_up_for_too() -> None:
    async with deaf_kit() as (kit, store):
        _, sender, receiver = await kit.pair()
        store.deaf = True
        await receiver.send(wire.Append(0, b"0"))
        await store.until(lambda: store.lost >= 2)
        store.deaf = False
        store.slow, store.deaf_first = asyncio.Event(), True
        store.missed()
        await store.until(lambda: store.waiting == 2)
        store.missed()  # while both are being attached again, and what they are told then is lost
        store.slow.set()
        assert (await sender.expect(wire.LogMessage)).index == 0
        assert (await receiver.expect(wire.Appended)).index == 0


async def test_a_replaced_socket_that_missed_it_is_closed_and_not_the_newer_one() -> None:
    async with deaf_kit() as (kit, store):
        created = await kit.create()
        first = await kit.hello(created.token)
        await first.expect(wire.Welcome)
        store.deaf = True
        second = await kit.hello(created.token)
        await store.until(lambda: store.lost >= 2)
        store.deaf = False
        store.missed()
        await second.expect(wire.Welcome)
        assert await first.close_code() == CloseCode.REPLACED
        await second.send(wire.AskIce())
        await second.expect(wire.Ice)


async def test_a_command_whose_outcome_is_unknown_is_carried_out_twice_and_told_once() -> None:
    async with deaf_kit() as (kit, store):
        store.doubtful = True
        created, sender, receiver = await kit.pair()
        await sender.send(wire.Append(0, b"a", 1))
        await sender.send(wire.ClientAccept(1))
        told = [await sender.receive()]
        while not (isinstance(told[-1], wire.StateChanged) and told[-1].state is State.ACTIVE):
            told.append(await sender.receive())
        assert not any(isinstance(each, wire.Error | wire.Welcome | wire.Served) for each in told)
        assert (await receiver.expect(wire.LogMessage)).index == 0
        await sender.send(wire.ClientComplete())
        assert await sender.close_code() == await receiver.close_code() == CloseCode.OVER
        late = await kit.hello(created.token)
        assert (await late.expect(wire.Welcome)).state is State.COMPLETED
