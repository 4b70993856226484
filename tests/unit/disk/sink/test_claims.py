from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.disk.disk import file_entry
from tests.unit.disk.sessions import PIECE, Kept

from p2pal.checkpoint.codec import decode
from p2pal.checkpoint.records import Begun, CheckpointRecord, Claimed, Stopped, Unclaimed
from p2pal.disk.sink import claims
from p2pal.transfer import ops
from p2pal.wire.pieces import leaf

DATA = os.urandom(3 * PIECE)


def told(kept: Kept) -> list[CheckpointRecord]:
    """Return what the checkpoint says after header and places."""
    return list(decode(kept.journal.path.read_bytes()))[2:]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 3600.0)
    made = Kept(tmp_path, [file_entry(b"x", DATA), file_entry(b"small", b"1")])
    made.begin(0)
    return made


def test_nothing_is_claimed_before_it_is_time(kept: Kept) -> None:
    kept.piece(0, 0, DATA)
    assert kept.sink.next_poll() is not None
    assert [type(record) for record in told(kept)] == [Begun]
    kept.do(ops.Suspend(0))
    assert kept.sink.next_poll() is None
    assert [type(record) for record in told(kept)] == [Begun, Claimed, Stopped]
    kept.stop()


def test_what_is_verified_is_claimed_with_its_leaf(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "SYNC_BYTES", PIECE)
    for piece in range(2):
        kept.piece(0, piece, DATA)
    kept.sink._working._files[0].settle()
    assert told(kept)[1:] == [Claimed(0, 0, leaf(DATA[:PIECE]))]  # the second came after the sync began
    kept.do(ops.ResetPiece(0, 0))
    assert told(kept)[-1] == Unclaimed(0, 0, 1)
    kept.do(ops.ResetPiece(0, 1))  # was never claimed
    assert told(kept)[-1] == Unclaimed(0, 0, 1)
    kept.stop()


def test_of_a_file_of_one_piece_no_part_is_claimed(kept: Kept) -> None:
    kept.begin(1)
    kept.do(ops.Write(1, 0, b"1"))
    assert kept.sink.next_poll() is None
    kept.stop()
