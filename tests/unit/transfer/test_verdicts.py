"""Wants and verdicts: complete, and never larger than a payload."""

from __future__ import annotations

import pytest

from p2pal.transfer.verdicts import Replies
from p2pal.wire.transfer import MIN_PAYLOAD, Reason, Record, Verdict, Verdicts, Want, WantPieces, decode_payload

LIMITS = (MIN_PAYLOAD, 64_529)


def drain(replies: Replies, limit: int) -> list[Record]:
    records: list[Record] = []
    while (payload := replies.take()) is not None:
        data = b"".join(payload)
        assert len(data) <= limit
        records += decode_payload(data)
    return records


def test_what_is_lacking_is_asked_for() -> None:
    pieces = WantPieces(3, [(0, 2), (4, 5)], 7)
    cases: list[tuple[list[tuple[int, int] | WantPieces], Want]] = [
        ([], Want([], [])),
        ([(0, 5)], Want([(0, 5)], [])),
        ([(0, 3), pieces, (4, 5)], Want([(0, 3), (4, 5)], [pieces])),
    ]
    for lacking, want in cases:
        replies = Replies(MIN_PAYLOAD)
        replies.want(lacking)
        assert drain(replies, MIN_PAYLOAD) == [want]


@pytest.mark.parametrize("limit", LIMITS)
def test_what_is_much_takes_several_wants_that_ascend(limit: int) -> None:
    replies = Replies(limit)
    ranges = [(piece, piece + 1) for piece in range(0, 2 * replies.max_ranges, 2)]
    far = [(2**40 + start, 2**40 + stop) for start, stop in ranges]
    lacking: list[tuple[int, int] | WantPieces] = []
    for index in range(0, 9000, 3):
        lacking += [(index, index + 2), WantPieces(index + 2, [ranges, far, []][index % 9 // 3], index)]
    replies.want(lacking)
    wants = [record for record in drain(replies, limit) if isinstance(record, Want)]
    assert [want.last for want in wants] == [False] * (len(wants) - 1) + [True]
    named = [sorted([*(each[0] for each in want.whole), *(each.entry for each in want.pieces)]) for want in wants]
    assert [index for each in named for index in each] == [
        each[0] if isinstance(each, tuple) else each.entry for each in lacking
    ]
    assert [each for want in wants for each in want.pieces] == [
        each for each in lacking if isinstance(each, WantPieces)
    ]


def test_many_ranges_fit_the_bounds_of_a_want() -> None:
    replies = Replies(64_529)
    replies.want((index, index + 1) for index in range(0, 5000, 2))
    assert [len(want.whole) for want in drain(replies, 64_529) if isinstance(want, Want)] == [1024, 1024, 452]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("text", ["", "no", "\U0001f600" * 400, "\udcff" * 5])
def test_verdicts_leave_in_order_in_batches(limit: int, text: str) -> None:
    replies = Replies(limit)
    for index in range(9_000_000, 9_005_000):
        replies.judge(index, Reason.BATCH if text else None, text)
    replies.flush()
    replies.flush()
    records = drain(replies, limit)
    verdicts = [each for record in records if isinstance(record, Verdicts) for each in record.verdicts]
    assert [each.entry for each in verdicts] == list(range(9_000_000, 9_005_000))
    assert len(records) < len(verdicts)
    assert verdicts[0] == (
        Verdict(9_000_000, True) if not text else Verdict(9_000_000, False, Reason.BATCH, verdicts[0].text)
    )
