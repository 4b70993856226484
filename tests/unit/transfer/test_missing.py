"""What is asked for when a transfer goes on: what is lacking, whatever the claims say."""

from __future__ import annotations

import pytest
from tests.sim.stages import MIB, claim, manifest_of

from p2pal.checkpoint.records import Claim, Resume
from p2pal.ranges import RangeSet
from p2pal.transfer.missing import Lacking, Part, part_of
from p2pal.wire.pieces import piece_size
from p2pal.wire.transfer import MAX_WANTED_RANGES, Entry, EntryKind, WantPieces

SIZE = 4 * MIB + 7


@pytest.mark.parametrize(
    ("there", "wanted", "head", "done"),
    [
        (claim(0, 1), ((2, 5),), 0, 2 * MIB),
        (claim(1, 3), ((0, 1), (2, 3), (4, 5)), 0, 2 * MIB),
        (claim(1, piece=0, head=9), ((0, 1), (2, 5)), 9, MIB + 9),
        (claim(0, 1, 2, 3, piece=4, head=6), ((4, 5),), 6, 4 * MIB + 6),
        (claim(piece=0, head=MIB - 1), ((0, 5),), MIB - 1, MIB - 1),
        (claim(0, 1, 2, 3, 4), (), 0, SIZE),
    ],
)
def test_what_is_lacking_is_wanted(there: Claim, wanted: tuple[tuple[int, int], ...], head: int, done: int) -> None:
    assert part_of(there, SIZE, 1024) == Part(there, wanted, head, done)


@pytest.mark.parametrize(
    ("there", "kept"),
    [
        (claim(0, 5, 6), claim(0)),
        (claim(0, piece=2, head=9), claim(0)),
        (claim(0, piece=1, head=MIB), claim(0)),
        (claim(0, piece=1, head=-1), claim(0)),
        (claim(0, 1, 2, 3, piece=4, head=7), claim(0, 1, 2, 3)),
        (claim(0, 1, 2, 3, 4, piece=5, head=1), claim(0, 1, 2, 3, 4)),
        (Claim((1, 1), {0: bytes(32), 1: bytes(31), -1: bytes(32)}), Claim((1, 1), {0: bytes(32)})),
    ],
)
def test_what_makes_no_sense_is_dropped(there: Claim, kept: Claim) -> None:
    part = part_of(there, SIZE, 1024)
    assert part is not None
    assert part.claim == kept
    assert part == part_of(kept, SIZE, 1024)


@pytest.mark.parametrize(("there", "size"), [(claim(0), MIB), (claim(0), 0), (claim(), SIZE), (claim(7), SIZE)])
def test_a_file_of_one_piece_or_of_which_nothing_is_there_is_wanted_whole(there: Claim, size: int) -> None:
    assert part_of(there, size, 1024) is None


def test_when_the_ranges_do_not_suffice_the_rest_comes_in_one() -> None:
    part = part_of(claim(0, 2, 4, 6, piece=1, head=3), 8 * MIB, 2)
    assert part == Part(claim(0, 2, piece=1, head=3), ((1, 2), (3, 8)), 3, 2 * MIB + 3)


FILE = Entry(b"f", EntryKind.FILE, 3 * MIB)
ENTRIES = [
    Entry(b"d", EntryKind.DIRECTORY), FILE, FILE, FILE, Entry(b"l", EntryKind.LINK, target=b"d"),
    Entry(b"e", EntryKind.DIRECTORY), FILE, FILE,
]  # fmt: skip


def lacking(resume: Resume | None, skip: tuple[int, ...] = (), entries: list[Entry] = ENTRIES) -> Lacking:
    return Lacking(manifest_of(entries), bytes(entry.kind for entry in entries), skip, resume, 1024)


def test_a_new_transfer_lacks_everything_but_what_is_skipped() -> None:
    assert list(lacking(None).wants()) == [(0, 8)]
    found = lacking(None, (0, 1, 4))
    assert list(found.wants()) == [(2, 4), (5, 8)]
    assert list(found.declined) == [(0, 2), (4, 5)]
    assert (found.files, found.bytes) == (0, 0)


def test_what_stands_is_not_wanted_but_directories_are() -> None:
    found = lacking(Resume(RangeSet([(0, 2), (4, 7), (7, 99)]), RangeSet(), {}))
    assert list(found.done) == [(1, 2), (4, 5), (6, 8)]
    assert list(found.wants()) == [(0, 1), (2, 4), (5, 6)]
    assert (found.files, found.bytes) == (3, 9 * MIB)


def test_claims_split_the_ranges() -> None:
    claims = {1: claim(0), 3: claim(0, 1, 2), 7: claim(1), 0: claim(0), 4: claim(0), 99: claim(0), 6: claim(0)}
    found = lacking(Resume(RangeSet(), RangeSet([(6, 7), (9, 12)]), claims))
    assert list(found.wants()) == [
        (0, 1), WantPieces(1, [(1, 3)]), (2, 3), WantPieces(3, []), (4, 6), WantPieces(7, [(0, 1), (2, 3)])
    ]  # fmt: skip
    assert found.bytes == 5 * MIB
    assert list(found.declined) == [(6, 7)]


def test_what_stands_is_neither_declined_nor_claimed() -> None:
    found = lacking(Resume(RangeSet([(1, 3)]), RangeSet([(1, 2)]), {2: claim(0)}), (2, 3))
    assert list(found.done) == [(1, 3)]
    assert list(found.declined) == [(3, 4)]
    assert found.parts == {}


def test_the_ranges_of_all_files_together_are_bounded() -> None:
    each = piece_size(2**40)
    big = Entry(b"f", EntryKind.FILE, 2048 * each)
    leaves = dict.fromkeys(range(0, 2048, 2), bytes(32))
    count = MAX_WANTED_RANGES // 1024 + 1
    claims = {index: Claim((1, 1), leaves) for index in range(count)}
    found = lacking(Resume(RangeSet(), RangeSet(), claims), (), [big] * count)
    assert list(found.wants())[-1] == (count - 1, count)
    assert len(found.parts) == count - 1
