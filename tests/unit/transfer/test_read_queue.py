"""What is read next: order, limits, and what may be asked for."""

from __future__ import annotations

import tracemalloc

import pytest

from p2pal.errors import ProtocolError
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.read_queue import BEGUN, CLOSED, FAILED, JUDGED, MAX_JOBS, MAX_READ_AHEAD, Reading
from p2pal.wire.pieces import MAX_REPAIRS, piece_size
from p2pal.wire.transfer import MAX_WANTED_RANGES, Entry, EntryKind, Want, WantPieces

MIB = 1 << 20


def reading(*sizes: int | None) -> tuple[Reading, bytearray]:
    """Return a plan for files of these sizes; None is a directory."""
    manifest = Manifest()
    status = bytearray()
    for number, size in enumerate(sizes):
        kind = EntryKind.DIRECTORY if size is None else EntryKind.FILE
        manifest.append(Entry(b"%d" % number, kind, size or 0))
        status.append(kind)
    return Reading(manifest, status), status


def indices(plan: Reading) -> list[int]:
    return [job.index for job in plan.ready]


def test_files_are_read_in_order_and_directories_passed_over() -> None:
    plan, status = reading(1, None, 3 * MIB, None, 0)
    plan.want(Want([(0, 5)], []))
    plan.fill(0, files=True)
    assert [(job.index, job.first, job.stop, job.again) for job in plan.ready] == [
        (0, 0, 1, False), (2, 0, 3, False), (4, 0, 0, False)
    ]  # fmt: skip
    assert plan.owed == 3 * MIB + 1
    assert [bool(each & BEGUN) for each in status] == [True, False, True, False, True]
    assert not plan.exhausted
    plan.flights.clear()
    assert plan.exhausted


def test_only_what_is_wanted_is_read() -> None:
    plan, status = reading(*[1] * 6)
    status[4] |= JUDGED
    plan.want(Want([(1, 2)], [], last=False))
    plan.want(Want([(3, 6)], []))
    plan.fill(0, files=True)
    assert indices(plan) == [1, 3, 5]


def test_jobs_are_bounded_in_count_and_bytes() -> None:
    plan, _ = reading(*[1] * 1000)
    plan.want(Want([(0, 1000)], []))
    plan.fill(0, files=True)
    assert len(plan.ready) == MAX_JOBS
    plan, _ = reading(*[20 * MIB] * 5)
    plan.want(Want([(0, 5)], []))
    plan.fill(0, files=True)
    assert len(plan.ready) == 2
    plan.fill(MAX_READ_AHEAD, files=True)
    assert len(plan.ready) == 2


def test_no_file_is_begun_when_the_sender_says_so_but_repairs_are() -> None:
    plan, status = reading(1, 1)
    status[0] |= BEGUN | CLOSED
    plan.want(Want([(1, 2)], []))
    plan.want_again(0, 0)
    plan.fill(0, files=False)
    assert [(job.index, job.again) for job in plan.ready] == [(0, True)]
    plan.fill(0, files=True)
    assert indices(plan) == [0, 1]


def test_wants_of_single_files_cost_no_memory() -> None:
    plan, _ = reading(*[1] * 10_000)
    wants = [
        Want([(index, index + 1) for index in range(first, first + 2000, 2)], []) for first in range(0, 10_000, 2000)
    ]
    tracemalloc.start()
    try:
        for want in wants:
            plan.want(want)
        assert tracemalloc.get_traced_memory()[0] < 20_000
    finally:
        tracemalloc.stop()
    plan.fill(0, files=True)
    assert indices(plan) == list(range(0, 2 * MAX_JOBS, 2))


def test_nothing_more_is_read_once_it_is_cleared() -> None:
    plan, _ = reading(*[1] * (MAX_JOBS + 1))
    plan.want(Want([(0, MAX_JOBS + 1)], []))
    plan.fill(0, files=True)
    plan.clear()
    plan.fill(0, files=True)
    assert plan.exhausted
    assert not plan.ready


@pytest.mark.parametrize(
    "ranges", [[(0, 4)], [(1, 1)], [(2, 1)], [(0, 2), (1, 3)], [(2, 3), (0, 1)], [(0, 2**24 % 10**7)]]
)
def test_wants_ascend_within_the_offer(ranges: list[tuple[int, int]]) -> None:
    plan, _ = reading(1, 1, 1)
    with pytest.raises(ProtocolError, match="not offered"):
        plan.want(Want(ranges, []))


def test_wants_ascend_from_one_to_the_next() -> None:
    plan, _ = reading(1, 1, 1)
    plan.want(Want([(1, 2)], [], last=False))
    with pytest.raises(ProtocolError, match="not offered"):
        plan.want(Want([(0, 1)], []))


def test_single_pieces_are_not_to_be_had_without_proof() -> None:
    plan, _ = reading(1)
    with pytest.raises(ProtocolError, match="resume"):
        plan.want(Want([], [part(0, (0, 1))]))


@pytest.mark.parametrize(
    ("index", "piece"), [(0, 0), (1, 2), (1, 2**50), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (9, 0)]
)
def test_repairs_are_of_pieces_that_were_sent(index: int, piece: int) -> None:
    plan, status = reading(5, 2 * MIB, None, 5, 5, 0, 5)
    status[1] |= BEGUN | CLOSED
    status[3] |= BEGUN | CLOSED | JUDGED
    status[4] |= BEGUN | FAILED
    status[5] |= BEGUN | CLOSED
    status[6] |= BEGUN
    with pytest.raises(ProtocolError, match="cannot miss"):
        plan.want_again(index, piece)


def test_a_piece_of_the_file_in_work_may_be_repaired_once_it_was_read() -> None:
    plan, _ = reading(3 * MIB)
    plan.want(Want([(0, 1)], []))
    plan.fill(0, files=True)
    plan.flights[0].take_block(0, 2 * MIB)
    plan.flights[0].take_piece(0)
    plan.flights[0].take_piece(1)
    plan.want_again(0, 1)
    with pytest.raises(ProtocolError):
        plan.want_again(0, 2)


def test_a_piece_is_repaired_once_and_only_so_many_are() -> None:
    size = piece_size(2**40)
    plan, status = reading((MAX_REPAIRS - 1) * size, 5, 5)
    status[:] = bytes([BEGUN | CLOSED]) * 3
    for piece in range(MAX_REPAIRS - 1):
        plan.want_again(0, piece)
    with pytest.raises(ProtocolError):
        plan.want_again(0, 0)
    plan.want_again(1, 0)
    with pytest.raises(ProtocolError):
        plan.want_again(2, 0)


def test_repairs_of_what_failed_meanwhile_are_not_read() -> None:
    plan, status = reading(5)
    status[0] |= BEGUN | CLOSED
    plan.want_again(0, 0)
    status[0] |= JUDGED
    plan.fill(0, files=True)
    assert not plan.ready


def part(entry: int, *pieces: tuple[int, int], head: int = 0) -> WantPieces:
    return WantPieces(entry, list(pieces), head)


def test_of_a_file_in_parts_the_wanted_pieces_are_read() -> None:
    plan, status = reading(1, 5 * MIB + 7, 1, 3 * MIB)
    plan.want(Want([(0, 1), (2, 3)], [part(1, (1, 2), (4, 6), head=9)], last=False), resumed=True)
    plan.want(Want([], [part(3)]), resumed=True)
    plan.fill(0, files=True)
    assert [(job.index, job.first, job.stop, job.wanted, job.head) for job in plan.ready] == [
        (0, 0, 1, None, 0), (1, 0, 6, ((1, 2), (4, 6)), 9), (2, 0, 1, None, 0), (3, 0, 3, (), 0)
    ]  # fmt: skip
    assert [flight.left for flight in plan.flights] == [1, 2 * MIB + 7 - 9, 1, 0]
    assert plan.owed == 2 * MIB + 9 - 9
    assert plan.there == 3 * MIB + 9 + 3 * MIB
    assert all(each & BEGUN for each in status)


def test_a_flight_follows_the_wanted_pieces() -> None:
    plan, _ = reading(5 * MIB)
    plan.want(Want([], [part(0, (1, 2), (4, 5), head=9)]), resumed=True)
    plan.fill(0, files=True)
    (flight,) = plan.flights
    for offset in (0, MIB, 4 * MIB):
        with pytest.raises(RuntimeError):
            flight.take_block(offset, 1)
    with pytest.raises(RuntimeError):
        flight.take_block(MIB + 9, MIB)
    flight.take_block(MIB + 9, MIB - 9)
    assert [flight.will_send(piece) for piece in range(5)] == [False, True, False, False, True]
    flight.take_piece(1)
    flight.take_block(4 * MIB, MIB)
    flight.take_piece(4)
    flight.take_piece(0)
    assert not any(flight.will_send(piece) for piece in range(5))
    assert flight.left == 0


@pytest.mark.parametrize(
    "want",
    [
        Want([], [part(9, (0, 1))]), Want([], [part(1, (0, 1))]), Want([], [part(2, (0, 1))]),
        Want([], [part(0, (0, 6))]), Want([], [part(0, (1, 1))]), Want([], [part(0, (0, 2), (1, 3))]),
        Want([], [part(0, (2, 3), (0, 1))]), Want([], [part(0, (0, 1), head=MIB)]), Want([], [part(0, head=1)]),
        Want([], [part(0, (4, 5), head=7)]), Want([(0, 1)], [part(0, (0, 1))]), Want([], [part(0), part(0)]),
        Want([], [part(3), part(0)]), Want([], [part(4)]),
    ],
)  # fmt: skip
def test_pieces_are_wanted_as_they_are(want: Want) -> None:
    plan, status = reading(4 * MIB + 7, MIB, None, 2 * MIB, 2 * MIB)
    status[4] |= JUDGED
    with pytest.raises(ProtocolError):
        plan.want(want, resumed=True)


def test_pieces_ascend_from_one_want_to_the_next() -> None:
    for second in (Want([(1, 2)], []), Want([], [part(1)])):
        plan, _ = reading(2 * MIB, 2 * MIB, 2 * MIB)
        plan.want(Want([], [part(1, (0, 1))], last=False), resumed=True)
        with pytest.raises(ProtocolError):
            plan.want(second, resumed=True)


def test_single_pieces_are_bounded() -> None:
    size = piece_size(2**40)
    plan, _ = reading(*[2048 * size] * (MAX_WANTED_RANGES // 1024 + 1))
    ranges = [(piece, piece + 1) for piece in range(0, 2048, 2)]
    for index in range(MAX_WANTED_RANGES // 1024):
        plan.want(Want([], [WantPieces(index, ranges)], last=False), resumed=True)
    with pytest.raises(ProtocolError, match="more single pieces"):
        plan.want(Want([], [part(MAX_WANTED_RANGES // 1024)]), resumed=True)


def test_any_piece_of_a_file_in_parts_may_be_damaged_but_those_to_come() -> None:
    plan, status = reading(4 * MIB, 4 * MIB)
    plan.want(Want([], [part(0, (1, 3)), part(1, (1, 2))]), resumed=True)
    plan.fill(0, files=True)
    for piece in (1, 2, 4):
        with pytest.raises(ProtocolError):
            plan.want_again(0, piece)
    plan.want_again(0, 0)
    plan.flights[0].take_block(MIB, 2 * MIB)
    plan.flights[0].take_piece(1)
    plan.want_again(0, 1)
    with pytest.raises(ProtocolError, match="cannot miss"):
        plan.want_again(1, 0)
    plan.flights.popleft()
    status[0] |= CLOSED
    plan.want_again(0, 2)
    plan.want_again(1, 3)
    plan.fill(0, files=True)
    assert [(job.index, job.first) for job in plan.ready if job.again] == [(0, 0), (0, 1), (0, 2), (1, 3)]
