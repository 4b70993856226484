from __future__ import annotations

from p2pal.server.stores.slots import Slots


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
