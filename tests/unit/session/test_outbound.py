"""What waits, what goes next, what is forgotten."""

from __future__ import annotations

import pytest

from p2pal.errors import ProtocolError
from p2pal.session.outbound import Outbound
from p2pal.wire.frames import Ack, encode_data


def filled(count: int, edge: int = 8) -> Outbound:
    outbound = Outbound(edge, edge)
    for number in range(count):
        outbound.queue(bytes([number]) * 10)
    return outbound


def take(outbound: Outbound) -> list[int]:
    """Send everything that may go, and return the numbers."""
    numbers = []
    while (found := outbound.next()) is not None:
        number, frame = found
        assert frame == encode_data(number, bytes([number]) * 10)
        outbound.took(number, len(frame))
        numbers.append(number)
    return numbers


def test_frames_go_in_order_up_to_the_edge() -> None:
    outbound = filled(12)
    assert outbound.queued == outbound.unacked == 120
    assert take(outbound) == list(range(8))
    assert (outbound.queued, outbound.unacked) == (40, 120)
    outbound.acknowledge(Ack(3, 11))
    assert take(outbound) == [8, 9, 10]
    assert outbound.unacked == 90


def test_a_lost_frame_goes_first_and_needs_no_credit() -> None:
    outbound = filled(12)
    take(outbound)
    outbound.lost([5, 2])
    outbound.lost([4])
    assert take(outbound) == [2, 4, 5]


def test_what_was_acknowledged_meanwhile_does_not_go_again() -> None:
    outbound = filled(8)
    take(outbound)
    outbound.lost([2, 3, 4, 5])
    outbound.acknowledge(Ack(3, 8, [(4, 5)]))
    assert take(outbound) == [3, 5]
    outbound.lost([0, 4])
    assert take(outbound) == []


def test_ranges_and_old_acknowledgements_count_once() -> None:
    outbound = filled(8)
    take(outbound)
    late = Ack(1, 8, [(2, 4)])
    outbound.acknowledge(Ack(2, 8, [(3, 5), (6, 7)]))
    assert outbound.unacked == 30
    outbound.acknowledge(late)
    outbound.acknowledge(late)
    assert outbound.unacked == 30 - 10
    outbound.acknowledge(Ack(8, 16))
    outbound.acknowledge(late)
    assert outbound.unacked == 0


def test_the_edge_never_shrinks() -> None:
    outbound = filled(20)
    take(outbound)
    outbound.acknowledge(Ack(4, 12))
    outbound.acknowledge(Ack(2, 8))
    assert take(outbound) == [8, 9, 10, 11]


@pytest.mark.parametrize("ack", [Ack(5, 8), Ack(0, 8, [(1, 5)]), Ack(2**63 - 1, 2**63)])
def test_what_was_never_sent_cannot_be_acknowledged(ack: Ack) -> None:
    outbound = filled(8, edge=4)
    take(outbound)
    with pytest.raises(ProtocolError, match="never sent"):
        outbound.acknowledge(ack)


def test_the_window_cannot_be_wider_than_agreed() -> None:
    outbound = filled(8)
    take(outbound)
    with pytest.raises(ProtocolError, match="wider than agreed"):
        outbound.acknowledge(Ack(2, 11))
