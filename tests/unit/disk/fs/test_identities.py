from __future__ import annotations

import os
from pathlib import Path

import msgspec
from tests.unit.disk.disk import directory_entry, file_entry

from p2pal.disk.fs.identities import Identities, in_range, version_of
from p2pal.transfer.manifest import Manifest
from p2pal.wire.transfer import Entry


def test_an_identity_is_device_inode_and_change_time(tmp_path: Path) -> None:
    found = tmp_path.stat()
    assert version_of(found) == (found.st_dev, found.st_ino, found.st_ctime_ns)


def test_negative_numbers_and_far_times_fit_a_checkpoint() -> None:
    found = os.stat_result((0o100644, -1, -2, 1, 0, 0, 0, 0, 0, 0), {"st_ctime_ns": 2**80})
    assert version_of(found) == (2**64 - 2, 2**64 - 1, 2**63 - 1)
    assert in_range(-(2**80)) == -(2**63 - 1)


def test_identities_are_kept_by_index() -> None:
    kept = Identities()
    assert [kept.append((1, 2, -3)), kept.append((2**64 - 1, 0, 2**62))] == [0, 1]
    assert (len(kept), kept[0], kept[1]) == (2, (1, 2, -3), (2**64 - 1, 0, 2**62))


def test_listings_hold_every_entry_in_order() -> None:
    manifest, kept = Manifest(), Identities()
    entries = [directory_entry(b"top"), *(file_entry(b"top/%d" % number, b"x") for number in range(7))]
    for number, entry in enumerate(entries):
        manifest.append(entry)
        kept.append((1, number, number))
    records = list(kept.listings(manifest, 3))
    assert [(record.first, len(record.identities)) for record in records] == [(0, 3), (3, 3), (6, 2)]
    assert [each for record in records for each in record.identities] == [(1, n, n) for n in range(8)]
    encoded = b"".join(msgspec.msgpack.encode(entry) for entry in entries)
    assert b"".join(record.entries for record in records) == encoded
    assert (
        msgspec.msgpack.decode(records[0].entries[: len(msgspec.msgpack.encode(entries[0]))], type=Entry) == entries[0]
    )
    assert not list(kept.listings(Manifest()))
