from __future__ import annotations

from tests.unit.server.kit import on_loop, serving

from p2pal.server.config import ServerConfig
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode, State


@on_loop
async def test_messages_travel_both_ways() -> None:
    async with serving() as kit:
        _, sender, receiver = await kit.pair()
        await sender.send(wire.Append(0, b"to you", 1))
        assert await sender.expect(wire.Appended) == wire.Appended(1, 0)
        assert await receiver.expect(wire.Message) == wire.Message(1, 0, b"to you")
        await receiver.send(wire.Append(0, b"to me"))
        assert await receiver.expect(wire.Appended) == wire.Appended(1, 0)
        assert await sender.expect(wire.Message) == wire.Message(1, 0, b"to me")


@on_loop
async def test_the_log_is_read_from_the_cursor_on() -> None:
    async with serving() as kit:
        created = await kit.create()
        joined = await kit.join(created.slot)
        sender, receiver = await kit.hello(created.token), await kit.hello(joined.token)
        await sender.expect(wire.Served)
        for n in range(4):
            await sender.send(wire.Append(n, b"%d" % n, 1))
        await receiver.expect(wire.Message)
        await receiver.ws.close()
        assert await sender.expect(wire.Peer) == wire.Peer(online=True)
        assert await sender.expect(wire.Peer) == wire.Peer(online=False)
        again = await kit.hello(joined.token, {1: 2})
        assert [(await again.expect(wire.Message)).index for _ in range(2)] == [2, 3]
        await sender.send(wire.Append(4, b"4", 1))
        assert (await again.expect(wire.Message)).index == 4


@on_loop
async def test_a_cursor_past_the_end_is_refused() -> None:
    async with serving() as kit:
        created = await kit.create()
        joined = await kit.join(created.slot)
        receiver = await kit.hello(joined.token, {1: 1})
        assert await receiver.close_code() == CloseCode.PROTOCOL


@on_loop
async def test_the_last_word_before_a_release_still_arrives() -> None:
    async with serving() as kit:
        _, sender, receiver = await kit.pair()
        await sender.send(wire.Append(0, b"wrong", 1))
        await sender.send(wire.Release(1, "wrong-code"))
        assert (await receiver.expect(wire.Message)).body == b"wrong"
        assert (await receiver.expect(wire.Released)).reason == "wrong-code"
        assert await receiver.close_code() == CloseCode.RELEASED


@on_loop
async def test_accept_and_complete() -> None:
    async with serving() as kit:
        created, sender, receiver = await kit.pair()
        await sender.send(wire.Accept(1))
        while (state := await receiver.expect(wire.StateChanged)).state is not State.ACTIVE:
            pass
        assert state.attempt == 1
        await sender.send(wire.Complete())
        assert (await receiver.expect(wire.StateChanged)).state is State.COMPLETED
        assert await receiver.close_code() == CloseCode.OVER
        assert await sender.close_code() == CloseCode.OVER
        late = await kit.hello(created.token)
        assert (await late.expect(wire.Welcome)).state is State.COMPLETED
        assert await late.close_code() == CloseCode.OVER


@on_loop
async def test_a_refused_command_leaves_the_socket_open() -> None:
    async with serving() as kit:
        _, sender, receiver = await kit.pair()
        await sender.send(wire.Append(5, b"x", 1))
        assert (await sender.expect(wire.Error)).code == "gap"
        await receiver.send(wire.Accept(1))
        assert (await receiver.expect(wire.Error)).code == "forbidden"
        await sender.send(wire.Append(0, b"x", 1))
        assert await sender.expect(wire.Appended) == wire.Appended(1, 0)


@on_loop
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


@on_loop
async def test_turn_is_offered_after_the_accept() -> None:
    ice = (wire.IceServer(["stun:h:1"]), wire.IceServer(["turn:h:2"], "u", "p"))
    async with serving(ServerConfig(port=0, ice_servers=ice)) as kit:
        created, sender, _ = await kit.pair()
        assert created.ice_servers == [ice[0]]
        await sender.send(wire.AskIce())
        assert (await sender.expect(wire.Ice)).servers == [ice[0]]
        await sender.send(wire.Accept(1))
        await sender.send(wire.AskIce())
        assert (await sender.expect(wire.Ice)).servers == list(ice)
