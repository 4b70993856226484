"""Counting ends."""

from __future__ import annotations

from p2pal.transfer.events import Finished
from p2pal.transfer.tally import Tally
from p2pal.wire.transfer import Reason


def test_files_and_others_are_counted_apart() -> None:
    tally = Tally()
    assert tally.finished(9.0) == Finished(0, 0, 0, 0, 0, 0.0)
    tally.began = 2.0
    tally.left_out = 7
    for is_file, reason in ((True, None), (True, None), (False, None), (True, Reason.DECLINED), (False, Reason.NAME)):
        tally.add(is_file, reason)
    assert tally.finished(9.5) == Finished(3, 2, 2, 1, 7, 7.5, given_up=1)
