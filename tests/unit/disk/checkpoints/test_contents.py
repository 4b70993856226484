"""One opened checkpoint: the session's beginning, and a listing that is complete or an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.disk.kept import Kept
from tests.unit.transfer.records import ID, MIB, begun, entries_of, header, leaves, listing

from p2pal.checkpoint.codec import encode
from p2pal.checkpoint.records import CheckpointRecord, Claimed, Dropped, Listing, Stopped
from p2pal.checkpoint.replay import ReceiveState
from p2pal.disk.checkpoints.store import OpenedCheckpoint
from p2pal.errors import CheckpointError


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def state_of(opened: OpenedCheckpoint) -> ReceiveState:
    assert isinstance(opened.state, ReceiveState)
    return opened.state


def test_trust_lasts_until_the_transfer_goes_on(kept: Kept) -> None:
    path = kept.closed(begun(1), Claimed(1, 0, leaves(1)), Stopped(1, (7, 70), MIB, 1, 1))
    before = path.read_bytes()
    opened = kept.store.open(ID, "receive")
    opened.journal.close()
    assert path.read_bytes() == before  # who only looked changed nothing
    opened = kept.store.open(ID, "receive")
    assert opened.begin()
    assert state_of(opened).claims[1].trusted
    opened.journal.close()
    assert not state_of(kept.store.open(ID, "receive")).claims[1].trusted


ENTRIES = entries_of(100)


@pytest.mark.parametrize(
    "records",
    [
        [],
        [listing(0, ENTRIES[:99])],
        [listing(0, ENTRIES[:50]), listing(51, ENTRIES[51:])],
        [listing(1, ENTRIES[1:])],
        [listing(0, ENTRIES + ENTRIES[:1])],
        [Listing(0, b"\xc1" * 500, [(1, 1, 1)] * 100)],
        [Listing(0, b"\x91" * 5000, [(1, 1, 1)] * 100)],
        [Listing(0, listing(0, ENTRIES).entries, [(1, 1, 1)] * 99)],
        [Listing(0, listing(0, ENTRIES).entries[:-1], [(1, 1, 1)] * 100)],
    ],
)
def test_a_listing_that_is_not_complete_is_an_error(kept: Kept, records: list[CheckpointRecord]) -> None:
    kept.closed(*records, role="send")
    opened = kept.store.open(ID, "send")
    with pytest.raises(CheckpointError, match="damaged"):
        list(opened.listing())


def test_a_damaged_listing_is_found_out(kept: Kept) -> None:
    path = kept.closed(listing(0, ENTRIES), Dropped(1), role="send")
    data = bytearray(path.read_bytes())
    data[len(b"p2pal-cp" + encode(header("send"))) + 100] ^= 1
    path.write_bytes(data)
    opened = kept.store.open(ID, "send")
    with pytest.raises(CheckpointError, match="damaged") as caught:
        list(opened.listing())
    assert str(path) in caught.value.message
    assert "p2pal checkpoint delete" in caught.value.hint
