"""Consent, wants and verdicts: complete, and never larger than a payload."""

from __future__ import annotations

import pytest

from p2pal.transfer.replies import Replies
from p2pal.wire.transfer import MIN_PAYLOAD, Accept, Reason, Record, Verdict, Verdicts, Want, decode_payload

LIMITS = (MIN_PAYLOAD, 64_529)


def drain(replies: Replies, limit: int) -> list[Record]:
    records: list[Record] = []
    while (payload := replies.take()) is not None:
        data = b"".join(payload)
        assert len(data) <= limit
        records += decode_payload(data)
    return records


@pytest.mark.parametrize(
    ("count", "skipped", "ranges"),
    [
        (5, [], [(0, 5)]), (0, [], []), (3, [0, 1, 2], []), (5, [0], [(1, 5)]), (5, [4], [(0, 4)]),
        (5, [1, 2, 4], [(0, 1), (3, 4)]),
    ],
)  # fmt: skip
def test_consent_asks_for_all_but_what_is_skipped(
    count: int, skipped: list[int], ranges: list[tuple[int, int]]
) -> None:
    replies = Replies(MIN_PAYLOAD)
    replies.consent(bytes(32), count, skipped)
    assert drain(replies, MIN_PAYLOAD) == [Accept(bytes(32)), Want(ranges, [])]


@pytest.mark.parametrize("limit", LIMITS)
def test_many_ranges_take_several_wants(limit: int) -> None:
    replies = Replies(limit)
    replies.consent(bytes(32), 9_000_000, range(1, 9_000_000, 1000))
    wants = [record for record in drain(replies, limit) if isinstance(record, Want)]
    assert [want.last for want in wants] == [False] * (len(wants) - 1) + [True]
    assert [each for want in wants for each in want.whole][1:3] == [(2, 1001), (1002, 2001)]
    assert sum(len(want.whole) for want in wants) == 9001


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
