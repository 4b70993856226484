"""Order, duplicates, and the window's edge."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.errors import ProtocolError
from p2pal.session.inbound import Inbound


def payload(number: int) -> memoryview:
    return memoryview(str(number).encode())


@settings(max_examples=200, deadline=None)
@given(st.permutations(list(range(20))), st.lists(st.integers(0, 19), max_size=20))
def test_any_order_with_duplicates_gives_the_order(order: list[int], again: list[int]) -> None:
    inbound = Inbound(20)
    got: list[memoryview] = []
    arrived: set[int] = set()
    for position, number in enumerate(order):
        for candidate in (number, *again[position : position + 1]):
            result = inbound.receive(candidate, payload(candidate))
            assert (result is None) == (candidate in arrived)
            arrived.add(candidate)
            got += result or ()
        past_gap = {number for start, stop in inbound.ranges() for number in range(start, stop)}
        assert past_gap | set(range(inbound.next)) == arrived
        assert inbound.has_gap == bool(past_gap)
    assert got == [payload(number) for number in range(20)]
    assert inbound.ranges() == []


def test_a_frame_past_the_announced_edge_is_an_error() -> None:
    inbound = Inbound(8)
    assert inbound.receive(7, payload(7)) == ()
    with pytest.raises(ProtocolError, match="past the window"):
        inbound.receive(8, payload(8))


def test_the_edge_follows_what_is_consumed_once_announced() -> None:
    inbound = Inbound(8)
    for number in range(8):
        inbound.receive(number, payload(number))
    assert inbound.consume(1) is False
    assert inbound.edge == 9
    with pytest.raises(ProtocolError):
        inbound.receive(8, payload(8))
    assert inbound.consume(1) is True
    inbound.announced = inbound.edge
    assert inbound.receive(9, payload(9)) == ()


@pytest.mark.parametrize("count", [-1, 3])
def test_only_what_was_delivered_can_be_consumed(count: int) -> None:
    inbound = Inbound(8)
    inbound.receive(0, payload(0))
    inbound.receive(1, payload(1))
    with pytest.raises(ValueError, match="more payloads consumed"):
        inbound.consume(count)


def test_no_more_ranges_than_an_ack_holds() -> None:
    inbound = Inbound(1000)
    for number in range(1, 200, 2):
        inbound.receive(number, payload(number))
    assert inbound.ranges() == [(number, number + 1) for number in range(1, 65, 2)]
