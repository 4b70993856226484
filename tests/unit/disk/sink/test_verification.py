from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.disk.disk import file_entry
from tests.unit.disk.sessions import PIECE, Kept

from p2pal.transfer import ops

DATA = os.urandom(3 * PIECE)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """A file whose first two pieces were left by a session that was killed."""
    made = Kept(tmp_path, [file_entry(b"x", DATA)])
    made.begin(0)
    for piece in (0, 1):
        made.piece(0, piece, DATA)
    made.stop()
    part = made.out / f".p2pal-{made.journal.id[:8]}-0.part"
    os.utime(part)
    return made


def test_each_piece_is_looked_at_and_then_it_is_over(kept: Kept) -> None:
    part = kept.out / f".p2pal-{kept.journal.id[:8]}-0.part"
    with part.open("r+b") as content:
        content.seek(PIECE + 5)
        content.write(b"edited")
    resume, _ = kept.look()
    kept.sink.execute(ops.Begin(0, kept.entries[0], PIECE, resume.claims[0]))
    verifying = kept.sink._verifying
    verifying.wait()  # for those that are complete but for this: none
    verifying.wait(ended=False)
    ((file, bad, over),) = verifying.look()
    assert (file.index, bad, over) == (0, [1], True)
    assert verifying.look() == []
    assert not file.unverified
    kept.stop()


def test_of_a_file_that_ended_nothing_more_is_heard(kept: Kept) -> None:
    resume, _ = kept.look()
    kept.sink.execute(ops.Begin(0, kept.entries[0], PIECE, resume.claims[0]))
    kept.do(ops.Discard(0))
    assert kept.sink._verifying.look() == []
    kept.stop()
