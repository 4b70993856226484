"""Two live peers whose mailbox goes away, and who meet again; over a real server and real WebRTC connections."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.peer.kit import Owner, Rendezvous, pair
from tests.unit.peer.test_peer import forge, payloads
from tests.unit.server.kit import on_loop

from p2pal.rendezvous.events import Served
from p2pal.server.app import Server
from p2pal.server.config import ServerConfig
from p2pal.wire.signal import Bye


def met(owner: Owner) -> bool:
    """Whether this side talks to the other at a meeting place."""
    signaling = owner.peer._signaling
    conversation = signaling._conversation
    return not signaling.at_home and conversation is not None and conversation.fresh


async def both_met(left: Owner, right: Owner) -> None:
    await left.until_true(lambda: met(left) and met(right))


def cut(owner: Owner) -> None:
    """Close this side's lanes."""
    for connection in list(owner.peer._connections.values()):
        connection.close()


async def goes_on(left: Owner, right: Owner, count: int = 50) -> None:
    """Send something more, and see it arrive."""
    sent, before = payloads(count), len(right.received)
    left.to_send.extend(sent)
    left.peer_turn()
    await right.until(lambda: len(right.received) == before + count)
    assert right.received[before:] == sent


async def restart(place: Rendezvous) -> Server:
    """Stop the server, and start one that knows nothing at the same address."""
    port = int(place.kit.server.url.rpartition(":")[2])
    await place.kit.server.stop()
    server = Server(ServerConfig(port=port, drain=0.2))
    await server.start()
    return server


@pytest.mark.parametrize("by_left", [True, False])
def test_after_a_restart_of_the_server_both_meet_again_and_mend_the_link(by_left: bool) -> None:
    @on_loop
    async def meeting() -> None:
        left, right = Owner(), Owner()
        async with pair(left, right) as (running, place):
            await running.linked()
            server = await restart(place)
            try:
                await both_met(left, right)
                assert left.moved == right.moved == 0  # what the server forgot is free for nobody
                for _ in range(2):
                    cut(left if by_left else right)
                    await goes_on(left, right)
                assert left.back == 2
            finally:
                for run in running.runs:
                    run.cancel()
                await running.end()
                await server.stop()

    meeting()


@on_loop
async def test_a_link_that_falls_while_the_server_is_down_comes_back_with_it() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, place):
        await running.linked()
        await place.kit.server.stop()
        await left.until_true(lambda: not left.peer._signaling._here and not right.peer._signaling._here)
        cut(right)
        await left.until(lambda: left.waits == ["network"])
        server = Server(ServerConfig(port=int(place.kit.server.url.rpartition(":")[2]), drain=0.2))
        await server.start()
        try:
            await goes_on(left, right)
            assert left.waits[-1] == ""
        finally:
            for run in running.runs:
                run.cancel()
            await running.end()
            await server.stop()


@on_loop
async def test_an_attempt_that_is_let_go_leaves_the_code_to_others() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, place):
        await running.linked()
        place.sender.release(1, "gone")
        await both_met(left, right)
        assert (left.moved, right.moved) == (1, 0)
        await place.join()
        while not isinstance(event := await place.sender.get(), Served):
            pass
        assert event.attempt == 2
        cut(left)
        await goes_on(left, right)


@on_loop
async def test_who_knocks_while_the_lane_is_alive_is_sent_away() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, place):
        await running.linked()
        with pytest.raises(Exception, match="someone else has joined"):
            await place.guess()
        assert left.peer._signaling.at_home
        assert left.moved == 0


@on_loop
async def test_who_knocks_while_nothing_is_heard_gets_the_mailbox() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, place):
        await running.linked()
        (lane,) = left.peer._lanes
        left.peer._silent.add(lane)
        await place.join()
        await left.until(lambda: left.moved == 1)
        await both_met(left, right)


@pytest.mark.parametrize("by_left", [True, False])
def test_what_the_server_forges_at_the_meeting_place_ends_that_attempt_only(by_left: bool) -> None:
    @on_loop
    async def meeting() -> None:
        left, right = Owner(), Owner()
        async with pair(left, right) as (running, place):
            await running.linked()
            place.sender.release(1, "gone")
            await both_met(left, right)
            attempt = conversation(left)
            forge(left if by_left else right)
            await left.until_true(lambda: met(left) and met(right) and conversation(left) > attempt)
            assert conversation(left) == conversation(right)
            cut(left)
            await goes_on(left, right)

    meeting()


def conversation(owner: Owner) -> int:
    """The attempt in which this side talks."""
    current = owner.peer._signaling._conversation
    return 0 if current is None else current.attempt


@pytest.mark.parametrize("by_left", [True, False])
def test_a_log_that_is_full_is_followed_by_another(by_left: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pal.wire.rendezvous.MAX_MESSAGES", 40)

    @on_loop
    async def filling() -> None:
        left, right = Owner(), Owner()
        async with pair(left, right) as (running, _):
            await running.linked()
            talker = left if by_left else right
            for _turn in range(2):
                before = talker.peer._signaling._conversation
                for _message in range(41):
                    talker.peer._negotiator._exchange.local_candidate("candidate", "0", 0)
                talker.peer._wake()
                await left.until_true(
                    lambda: met(left) and met(right) and talker.peer._signaling._conversation is not before  # noqa: B023
                )
            cut(left)
            await goes_on(left, right)

    filling()


@on_loop
async def test_a_farewell_by_mail_comes_through_the_meeting_place_too() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, place):
        await running.linked()
        place.sender.release(1, "gone")
        await both_met(left, right)
        right.peer._mail(Bye("whatever"))
        await asyncio.gather(running.runs[0])
        assert left.closed == (1, "whatever")


@on_loop
async def test_a_side_that_ends_at_the_meeting_place_says_so() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, place):
        await running.linked()
        place.sender.release(1, "gone")
        await both_met(left, right)
        left.peer._lanes.clear()  # nothing can be said there
        running.runs[0].cancel()
        await asyncio.gather(running.runs[1])
        assert right.closed == (1, "interrupted")
