"""A peer that knows the code and makes the other side look for better paths again and again."""

from __future__ import annotations

from tests.unit.peer.kit import Owner, pair, payloads
from tests.unit.server.kit import on_loop

from p2pal.wire.signal import BETTER, Offer, Retry


@on_loop
async def test_a_receiver_that_asks_for_better_paths_all_the_time_gets_few_connections() -> None:
    there = payloads(2000)
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        for _ in range(200):
            right.peer._mail(Retry(right.peer._negotiator.generation, BETTER))
        left.to_send.extend(there)
        left.peer_turn()
        await left.until_true(lambda: left.peer._negotiator.generation > 1)
        await right.until(lambda: len(right.received) == len(there))
        assert right.received == there
        assert len(left.peer.lanes.connections) <= 2
        assert left.peer._negotiator.generation <= 3
        assert (left.retries, left.silences) == ([], [])


@on_loop
async def test_a_sender_that_offers_better_paths_all_the_time_gets_two_connections() -> None:
    there = payloads(500)
    left, right = Owner(), Owner()
    most = 0
    async with pair(left, right) as (running, _):
        await running.linked()

        def count() -> None:
            nonlocal most
            most = max(most, len(right.peer.lanes.connections))

        right.on_payload = count
        for generation in range(10, 60):
            left.peer._mail(Offer(generation, generation, "v=0", 1))
        left.to_send.extend(there)
        left.peer_turn()
        # The description cannot be used: this ends the session, in order, and nothing piles up before.
        _, ended = await running.end()
        assert getattr(ended, "code", "") == "protocol"
        count()
        assert most <= 2
