"""Two peers over a real server and real WebRTC connections: streams, cuts, farewells."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.peer.kit import MAX_PAYLOAD, PATIENCE, Owner, cut, pair, payloads

from p2pal.errors import ConnectionImpossible, P2palError, PeerLost, ProtocolError
from p2pal.peer.peer import WINDOW
from p2pal.wire.signal import Answer, Bye, Hello, encode


def forge(owner: Owner) -> None:
    """Let the server forge a message of this side."""
    signaling = owner.peer._signaling
    assert signaling._mailbox is not None
    assert signaling._conversation is not None
    signaling._mailbox.append(signaling._conversation.attempt, encode(Bye("forged")))


async def test_payloads_go_both_ways_in_order() -> None:
    there, back = payloads(300), payloads(200, 2)
    left, right = Owner(there), Owner(back)
    async with pair(left, right) as (running, _):
        await right.until(lambda: len(right.received) == len(there))
        await left.until(lambda: len(left.received) == len(back))
        assert right.received == there
        assert left.received == back
        await running.linked()
        assert left.paths == right.paths == ["direct, host udp"]
        assert left.peer.link.path == "direct, host udp"
        assert left.peer.link.linked
        assert left.retries == right.retries == []


@pytest.mark.parametrize("by_left", [True, False])
async def test_a_farewell_ends_both_sides(by_left: bool) -> None:
    left, right = Owner(payloads(20)), Owner()
    async with pair(left, right) as (running, _):
        await right.until(lambda: len(right.received) == 20)
        closer, other = (left, right) if by_left else (right, left)
        await closer.peer.close(3, "a reason")
        assert await running.end() == [None, None]
        assert other.closed == (3, "a reason")
        assert closer.closed is None
        assert not closer.peer.writable
        await closer.peer.close()  # once more changes nothing


async def test_what_was_sent_arrives_before_the_farewell() -> None:
    sent = payloads(100)
    left, right = Owner(sent), Owner()
    async with pair(left, right) as (running, _):
        await left.until(lambda: not left.to_send)
        await left.peer.close()
        assert await running.end() == [None, None]
        assert right.received == sent


@pytest.mark.parametrize("by_left", [True, False])
@pytest.mark.parametrize("cuts", [1, 3])
async def test_a_lane_that_ends_is_replaced_and_nothing_is_lost_or_repeated(by_left: bool, cuts: int) -> None:
    there, back = payloads(1500, most=20_000), payloads(500, 2, most=20_000)
    left, right = Owner(there), Owner(back)
    async with pair(left, right):
        for turn in range(cuts):
            at = (turn + 1) * len(there) // (cuts + 1)
            await right.until(lambda at=at: len(right.received) >= at)  # type: ignore[misc]
            await left.until(lambda: left.peer.link.linked)
            await right.until(lambda: right.peer.link.linked)
            side = left if by_left else right
            cut(side)
        await right.until(lambda: len(right.received) >= len(there))
        await left.until(lambda: len(left.received) >= len(back))
        assert right.received == there
        assert left.received == back
        assert len(left.retries) >= cuts
        assert left.peer.link.negotiator.generation >= cuts + 1


async def test_without_retries_a_lost_lane_ends_both_sides() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right, max_retries=0) as (running, _):
        await running.linked()
        cut(right)
        ended = await running.end()
        assert [type(error) for error in ended] == [PeerLost, PeerLost]


async def test_a_peer_that_is_not_read_holds_the_sender_back() -> None:
    count = 3 * WINDOW // MAX_PAYLOAD
    left, right = Owner([bytes(MAX_PAYLOAD)] * count), Owner(consume=False)
    async with pair(left, right):
        await right.until(lambda: len(right.received) * MAX_PAYLOAD > WINDOW // 2)

        def stands_still() -> bool:
            return not left.peer.writable and len(right.received) == taken

        for _ in range(3000):  # until nothing has moved for a while
            taken = len(right.received)
            await asyncio.sleep(0.02)
            if stands_still():
                break
        assert len(right.received) * MAX_PAYLOAD <= WINDOW * 1.1
        held = len(right.received)
        right.consume = True
        right.peer.consumed(held)
        await right.until(lambda: len(right.received) == count)


async def test_a_server_that_goes_away_is_not_missed_while_linked() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, place):
        await running.linked()
        await place.kit.server.stop()
        left.to_send.extend(payloads(50))
        left.peer_turn(())
        await right.until(lambda: len(right.received) == 50)


async def test_a_side_that_is_cancelled_says_goodbye() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        running.runs[1].cancel()
        async with asyncio.timeout(PATIENCE):
            await running.runs[0]
        assert left.closed == (1, "interrupted")


@pytest.mark.parametrize(
    "message",
    [Hello(max_frame=65_536, window=1 << 20), Answer(7, "sdp"), Answer(1, "twice")],
)
async def test_a_peer_that_breaks_the_rules_of_the_link_ends_the_session(message: Hello | Answer) -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        right.peer._mail(message)
        ended = await running.end()
        assert isinstance(ended[0], ProtocolError)
        assert right.closed == (1, "protocol")


async def test_a_message_with_a_bad_seal_costs_a_linked_peer_its_mailbox_only() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        forge(right)
        await left.until_true(lambda: not left.peer._signaling.at_home)
        assert left.moved == 1
        left.to_send.extend(payloads(50))
        left.peer_turn(())
        await right.until(lambda: len(right.received) == 50)


async def test_a_message_with_a_bad_seal_ends_what_is_not_linked() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        forge(right)
        assert isinstance((await running.end())[0], ProtocolError)


async def test_what_arrives_at_the_other_side_makes_failures_no_longer_count() -> None:
    there = payloads(900)
    left, right = Owner(there), Owner()
    async with pair(left, right, max_retries=1):
        for turn in range(4):
            await right.until(lambda at=(turn + 1) * 180: len(right.received) >= at)  # type: ignore[misc]
            await left.until(lambda: left.peer.link.linked)
            await right.until(lambda: right.peer.link.linked)
            cut(left)
        await right.until(lambda: len(right.received) == len(there))
        assert right.received == there
        assert len(left.retries) == left.back == 4


@pytest.mark.parametrize(
    ("code", "error"),
    [(ConnectionImpossible.code, PeerLost), (PeerLost.code, PeerLost), ("whatever", None)],
)
async def test_a_farewell_by_mail_tells_why(code: str, error: type[P2palError] | None) -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        right.peer._mail(Bye(code))
        (ended,) = await asyncio.gather(running.runs[0], return_exceptions=True)
        if error is None:
            assert ended is None
            assert left.closed == (1, "whatever")
        else:
            assert isinstance(ended, error)


async def test_sending_before_there_is_a_session_is_a_mistake() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        with pytest.raises(RuntimeError):
            left.peer.send([b"too early"])
        assert left.peer.unacked_bytes == 0
        assert not left.peer.link.linked
        left.peer.consumed(0)
        await running.linked()


async def test_time_that_nobody_looked_at_is_no_silence_but_a_reason_to_ask() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        heard = left.peer.link.lanes.heard_at
        left.peer._on_timer(slept=True)
        await left.until_true(lambda: left.peer.link.lanes.heard_at > heard)
        assert left.peer.link.lanes.heard
        assert left.silences == []
