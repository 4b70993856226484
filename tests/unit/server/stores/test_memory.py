"""What bounds the memory of this process: the rest is the contract of every store (``tests/contract``)."""

from __future__ import annotations

import pytest

from p2pal.server import state as s
from p2pal.server.config import Limits
from p2pal.server.state import SENDER, Denied
from p2pal.server.stores.memory import MemoryStore, Slots

LIMITS = Limits(rest=20.0)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def made(clock: Clock) -> MemoryStore:
    return MemoryStore(LIMITS, max_transfers=40, max_bytes=200_000, clock=clock)


async def served(store: MemoryStore) -> s.Rendezvous:
    transfer, _ = await store.create(60.0)
    await store.join(transfer.slot)
    await store.execute(transfer.id, s.Attach(SENDER, f"{store.instance}.A"))
    return await store.execute(transfer.id, s.Attach(1, f"{store.instance}.B"))


async def test_the_bytes_of_all_logs_are_bounded() -> None:
    clock = Clock()
    store = made(clock)
    transfer = await served(store)
    for n in range(3):
        await store.execute(transfer.id, s.AppendMessage(1, 1, n, bytes(60_000)))
    with pytest.raises(Denied, match="log is full"):
        await store.execute(transfer.id, s.AppendMessage(1, 1, 3, bytes(60_000)))
    await store.execute(transfer.id, s.ReleaseAttempt(SENDER, 1))
    transfer = await served(store)
    await store.execute(transfer.id, s.AppendMessage(1, 1, 0, bytes(60_000)))


async def test_the_number_of_transfers_is_bounded() -> None:
    clock = Clock()
    store = made(clock)
    for n in range(20):
        await store.meet(f"{'m' * 25}{chr(97 + n)}", 5.0, sender=True)
    slots = {(await store.create(60.0))[0].slot for _ in range(20)}
    for attempt in (store.create(60.0), store.meet("n" * 26, 5.0, sender=True)):
        with pytest.raises(Denied) as caught:
            await attempt
        assert caught.value.code == "full"
    await store.meet("m" * 25 + "a", 5.0, sender=False)
    clock.now += 5.0
    store.sweep()
    clock.now += LIMITS.rest
    store.sweep()
    assert (await store.create(60.0))[0].slot not in slots


async def test_slots_are_short_and_free_again_after_their_rest() -> None:
    clock = Clock()
    store = made(clock)
    over = set()
    for _ in range(10):
        transfer, _ = await store.create(60.0)
        await store.execute(transfer.id, s.Delete(SENDER))
        over.add(transfer.slot)
    assert max(over) <= 25
    clock.now += LIMITS.rest
    store.sweep()
    assert {(await store.create(60.0))[0].slot for _ in range(26)} & over


def test_slots_are_small_distinct_and_in_no_order() -> None:
    slots = Slots()
    taken = [slots.take() for _ in range(200)]
    assert len(set(taken)) == 200
    assert max(taken) < 200 + 16
    assert taken != sorted(taken)


def test_freed_slots_come_back_before_larger_ones() -> None:
    slots = Slots()
    taken = [slots.take() for _ in range(100)]
    for slot in taken:
        slots.free(slot)
    again = [slots.take() for _ in range(100)]
    assert len(set(again)) == 100
    assert max(again) <= 100 + 16
