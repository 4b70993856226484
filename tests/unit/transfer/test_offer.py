"""The reader of offers: what it takes, what it refuses, what it sums up."""

from __future__ import annotations

import pytest

from p2pal.errors import ProtocolError
from p2pal.transfer.events import OfferComplete, TopEntry
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.offer import MAX_TOPS, OfferReader
from p2pal.wire.transfer import Entry, EntryKind, OfferEnd, OfferPart

DIRECTORY = Entry(b"d", EntryKind.DIRECTORY)


def read(*entries: Entry) -> OfferComplete:
    manifest = Manifest()
    reader = OfferReader(manifest, bytearray())
    for number, entry in enumerate(entries):
        reader.add(OfferPart(number, [entry]))
    return reader.end(OfferEnd(len(entries), manifest.files, manifest.total, manifest.digest(), 3))


def test_the_summary_is_by_top_level_entry() -> None:
    complete = read(
        Entry(b"b", EntryKind.FILE, 5), DIRECTORY, Entry(b"d/x", EntryKind.FILE, 7), Entry(b"d/e", EntryKind.DIRECTORY),
        Entry(b"d/e/y", EntryKind.FILE, 8), Entry(b"l", EntryKind.LINK, target=b"b"),
        Entry(b"d/e/l", EntryKind.LINK, target=b"y"),
    )  # fmt: skip
    tops = [
        TopEntry(b"b", EntryKind.FILE, 1, 5),
        TopEntry(b"d", EntryKind.DIRECTORY, 2, 15),
        TopEntry(b"l", EntryKind.LINK, 0, 0),
    ]
    assert complete == OfferComplete(7, 3, 20, tops, 0, 3)


def test_only_so_many_top_level_entries_are_described() -> None:
    complete = read(*(Entry(b"%d" % number, EntryKind.FILE, 1) for number in range(MAX_TOPS + 7)))
    assert (len(complete.tops), complete.more, complete.total) == (MAX_TOPS, 7, MAX_TOPS + 7)


def test_hidden_names_are_described_behind_any_number_of_others() -> None:
    others = [Entry(b"%d" % number, EntryKind.FILE, 1) for number in range(MAX_TOPS + 7)]
    complete = read(*others, Entry(b".ssh", EntryKind.DIRECTORY), Entry(b".ssh/authorized_keys", EntryKind.FILE, 9))
    assert complete.tops[-1] == TopEntry(b".ssh", EntryKind.DIRECTORY, 1, 9)
    assert (len(complete.tops), complete.more) == (MAX_TOPS + 1, 7)


@pytest.mark.parametrize("path", [b"...", b"a.", b".a", b"..a", b"a..b", b" ", b"\n", b"\\", b"c:", b"\xff"])
def test_odd_names_are_the_sinks_business(path: bytes) -> None:
    assert read(Entry(path, EntryKind.FILE, 1)).files == 1


def test_a_part_must_be_the_next() -> None:
    reader = OfferReader(Manifest(), bytearray())
    with pytest.raises(ProtocolError, match="gap"):
        reader.add(OfferPart(1, [DIRECTORY]))
    reader.add(OfferPart(0, [DIRECTORY]))
    with pytest.raises(ProtocolError, match="gap"):
        reader.add(OfferPart(0, [DIRECTORY]))


def test_kinds_are_kept_by_index() -> None:
    kinds = bytearray()
    OfferReader(Manifest(), kinds).add(
        OfferPart(0, [DIRECTORY, Entry(b"l", EntryKind.LINK, target=b"d"), Entry(b"f", EntryKind.FILE)])
    )
    assert kinds == bytes((EntryKind.DIRECTORY, EntryKind.LINK, EntryKind.FILE))
