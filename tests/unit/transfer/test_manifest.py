"""The manifest: what goes in comes out, counted and digested."""

from __future__ import annotations

import hashlib
import tempfile
from typing import BinaryIO, cast

import msgspec
import pytest

from p2pal.transfer.manifest import RECENT, Manifest
from p2pal.wire import transfer as wire
from p2pal.wire.transfer import MAX_FILE_SIZE, Entry, EntryKind, OfferPart

ENTRIES = [
    Entry(b"d", EntryKind.DIRECTORY, mode=0o700, mtime_ns=-5),
    Entry(b"d/a", EntryKind.FILE, 10),
    Entry(b"d/\xff\xfe", EntryKind.FILE, 2**40, mtime_ns=2**61),
    Entry(b"d/l", EntryKind.LINK, target=b"a"),
]


def filled() -> Manifest:
    manifest = Manifest()
    assert [manifest.append(entry) for entry in ENTRIES] == [0, 1, 2, 3]
    return manifest


def test_entries_come_back_in_any_order_while_more_go_in() -> None:
    with tempfile.SpooledTemporaryFile(max_size=64) as store:
        manifest = Manifest(cast("BinaryIO", store))
        for entry in ENTRIES * 5:
            manifest.append(entry)
            assert manifest[0] == ENTRIES[0]
            assert manifest[len(manifest) - 1] == entry
        assert list(manifest) == ENTRIES * 5


def test_it_counts_files_and_bytes() -> None:
    manifest = filled()
    assert (len(manifest), manifest.files, manifest.total) == (4, 2, 2**40 + 10)


@pytest.mark.parametrize("index", [-1, 4])
def test_there_is_nothing_beyond(index: int) -> None:
    with pytest.raises(IndexError):
        filled()[index]


def test_the_digest_is_over_lengths_and_encodings() -> None:
    expected = hashlib.sha256(b"\x02")
    for entry in ENTRIES:
        data = msgspec.msgpack.encode(entry)
        expected.update(len(data).to_bytes(4, "big") + data)
    manifest = filled()
    assert manifest.digest() == expected.digest() == manifest.digest()
    manifest.append(ENTRIES[0])
    assert manifest.digest() != expected.digest()


def test_encoded_runs_make_offer_parts() -> None:
    manifest = filled()
    count, data = manifest.encoded(1, 100, 1000)
    assert count == 3
    assert list(wire.decode_payload(wire.offer_part(1, count, data))) == [OfferPart(1, ENTRIES[1:])]


def test_encoded_runs_keep_their_limits_but_hold_one_entry_at_least() -> None:
    manifest = filled()
    assert manifest.encoded(0, 2, 1000)[0] == 2
    assert manifest.encoded(0, 100, 1)[0] == 1
    assert manifest.encoded(3, 100, 1)[0] == 1
    length = len(manifest.encoded(0, 2, 1000)[1])
    assert manifest.encoded(0, 100, length)[0] == 2
    assert manifest.encoded(0, 100, length - 1)[0] == 1


@pytest.mark.parametrize("count", [1, 15, 16, 300, 4096])
def test_offer_parts_of_every_length_decode(count: int) -> None:
    manifest = Manifest()
    for _ in range(count):
        manifest.append(ENTRIES[0])
    taken, data = manifest.encoded(0, 4096, 1 << 20)
    assert taken == count
    (part,) = wire.decode_payload(wire.offer_part(0, taken, data))
    assert isinstance(part, OfferPart)
    assert len(part.entries) == count


def test_it_holds_no_more_than_the_protocol_can_say(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest()
    manifest.append(Entry(b"a", EntryKind.FILE, MAX_FILE_SIZE))
    with pytest.raises(ValueError, match="at most 9,223,372,036,854,775,807 bytes"):
        manifest.append(Entry(b"b", EntryKind.FILE, 1))
    monkeypatch.setattr("p2pal.transfer.manifest.MAX_ENTRIES", 1)
    with pytest.raises(ValueError, match="at most 1 entries"):
        manifest.append(Entry(b"b", EntryKind.FILE, 0))


def test_all_entries_come_in_order_whatever_else_is_looked_up_meanwhile() -> None:
    entries = [Entry(b"%d" % number * 50, EntryKind.FILE, number) for number in range(2000)]
    manifest = Manifest()
    for entry in entries[:1900]:
        manifest.append(entry)
    found = []
    for entry in manifest:
        found.append(entry)
        if len(found) == 600:
            assert manifest[3] == entries[3]
            for more in entries[1900:]:
                manifest.append(more)
    assert found == entries
    assert list(Manifest()) == []


def test_entries_are_the_same_however_often_they_are_looked_up_and_few_are_kept() -> None:
    manifest = Manifest()
    count = 2 * RECENT + 10
    for number in range(count):
        manifest.append(Entry(b"%d" % number, EntryKind.FILE, number))
    for index in (*range(count), *reversed(range(count)), *range(0, count, 7)):
        assert manifest[index] == Entry(b"%d" % index, EntryKind.FILE, index)
    assert len(manifest._recent) == RECENT
