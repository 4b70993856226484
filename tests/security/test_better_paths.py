"""A peer that knows the code and makes the other side look for better paths again and again."""

from __future__ import annotations

import pytest
from tests.unit.peer.kit import Owner, pair, payloads

from p2pal.lanes.base import DescribedConnection
from p2pal.link.offer_answer import MAX_OFFERS
from p2pal.wire.signal import BETTER, Answer, Candidate, Offer, Retry, SignalMessage

FLOOD = range(10, 160)
"""The generations of what is offered."""


async def test_a_receiver_that_asks_for_better_paths_all_the_time_gets_few_connections() -> None:
    there = payloads(2000)
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        for _ in range(200):
            right.peer._mail(Retry(right.peer.link.negotiator.generation, BETTER))
        left.to_send.extend(there)
        left.peer_turn(())
        await left.until_true(lambda: left.peer.link.negotiator.generation > 1)
        await right.until(lambda: len(right.received) == len(there))
        assert right.received == there
        assert len(left.peer.link.engine.connections) <= 2
        assert left.peer.link.negotiator.generation <= 3
        assert (left.retries, left.silences) == ([], [])


class Counted(dict[int, DescribedConnection]):
    """Connections by generation; knows how many there were in all, and at once at most."""

    made = most = 0

    def __setitem__(self, generation: int, connection: DescribedConnection) -> None:
        super().__setitem__(generation, connection)
        self.made += 1
        self.most = max(self.most, len(self))


async def test_a_sender_that_offers_better_paths_all_the_time_gets_two_connections() -> None:
    there = payloads(500)
    left, right = Owner(), Owner()
    offers: list[Offer] = []
    async with pair(left, right) as (running, _):
        mail, take = left.peer._signaling.send, left.peer.link.negotiator.handle_message

        def send(message: SignalMessage) -> None:
            offers.extend([message] if isinstance(message, Offer) else [])
            mail(message)

        def take_what_is_not_of_the_flood(message: Offer | Answer | Candidate | Retry, now: float) -> None:
            if message.generation not in FLOOD:
                take(message, now)

        left.peer._signaling.send = send  # type: ignore[method-assign]
        left.peer.link.negotiator.handle_message = take_what_is_not_of_the_flood  # type: ignore[method-assign]
        connections = right.peer.link.engine.connections = Counted()
        await running.linked()
        for generation in FLOOD:
            left.peer._mail(Offer(generation, generation, offers[0].sdp, beside=offers[0].generation))
        left.to_send.extend(there)
        left.peer_turn(())
        await right.until_true(lambda: right.peer.link.negotiator.generation == FLOOD[-1])
        await right.until(lambda: len(right.received) == len(there))
        assert right.received == there
        assert 1 < connections.made < 2 * MAX_OFFERS, "it was in a hurry"
        assert connections.most <= 3, "that in use, the newest, and one that is being closed"
        assert right.peer.link.negotiator.in_use == offers[0].generation
        assert (right.retries, right.silences) == ([], [])


UNREADABLE = ["v=0", "", "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"]


@pytest.mark.parametrize("sdp", UNREADABLE)
async def test_a_sender_whose_better_path_cannot_be_read_ends_that_try_alone(sdp: str) -> None:
    there = payloads(300)
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        connections = right.peer.link.engine.connections = Counted()
        await running.linked()
        for generation in FLOOD:
            left.peer._mail(Offer(generation, generation, sdp, beside=1))
        left.to_send.extend(there)
        left.peer_turn(())
        await right.until_true(lambda: right.peer.link.negotiator.generation == FLOOD[-1])
        await right.until_true(lambda: connections.made > 1 and len(connections) == 1)
        await right.until(lambda: len(right.received) == len(there))
        assert right.received == there
        assert connections.most <= 3
        assert right.peer.link.negotiator.in_use == 1
        assert (right.retries, right.silences) == ([], [])
        await right.until_true(lambda: right.peer.link.engine._beside == set())  # the newest try may just begin


@pytest.mark.parametrize("sdp", UNREADABLE)
async def test_a_receiver_whose_answer_to_a_better_path_cannot_be_read_ends_that_try_alone(sdp: str) -> None:
    there = payloads(300)
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        connections = left.peer.link.engine.connections = Counted()
        await running.linked()
        mail = right.peer._signaling.send

        def answer_nonsense(message: SignalMessage) -> None:
            mail(Answer(message.generation, sdp) if isinstance(message, Answer) else message)

        right.peer._signaling.send = answer_nonsense  # type: ignore[method-assign]
        left.peer.link._on_networks()
        await left.until_true(lambda: connections.made == 2 and len(connections) == 1)
        left.to_send.extend(there)
        left.peer_turn(())
        await right.until(lambda: len(right.received) == len(there))
        assert right.received == there
        assert left.peer.link.negotiator.in_use == 1
        assert (left.retries, left.silences) == ([], [])
