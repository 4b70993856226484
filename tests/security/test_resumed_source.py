"""A sender that goes on: its tree or its checkpoint was tampered with meanwhile, and nothing else gets out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.disk.disk import data_of, digest_of, job_for, walk_of

from p2pal.checkpoint.records import TopRecord
from p2pal.disk.source.source import Source
from p2pal.errors import CheckpointError
from p2pal.transfer import ops
from p2pal.wire.transfer import Entry, EntryKind

MIB = 1 << 20
SECRET = b"s" * (2 * MIB)
MUCH_LATER = 2.0**33


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A directory with a file that looks, to the nanosecond, like the one in the tree."""
    path = tmp_path / "secret"
    path.mkdir()
    (path / "x").write_bytes(SECRET)
    os.utime(path / "x", ns=(0, 0))
    return path


@pytest.fixture
def top(tmp_path: Path) -> Path:
    path = tmp_path / "top"
    (path / "d").mkdir(parents=True)
    (path / "d" / "x").write_bytes(b"o" * (2 * MIB))
    os.utime(path / "d" / "x", ns=(0, 0))
    return path


def listed(top: Path) -> tuple[list[TopRecord], list[tuple[Entry, tuple[int, int, int]]]]:
    source = Source([top], recursive=True)
    entries, _ = walk_of(source)
    tops = [each for record in source.tops_records() for each in record.tops]
    listing = [(entry, source.identity(index)) for index, entry in enumerate(entries)]
    source.close()
    return tops, listing


def nothing_leaves(source: Source, entries: list[Entry]) -> bool:
    return all(
        not data_of(source.read(job_for(index, entry)))
        for index, entry in enumerate(entries)
        if entry.kind is EntryKind.FILE
    )


@pytest.mark.parametrize("swapped", ["file", "directory"])
@pytest.mark.parametrize("when", ["before the walk", "after the walk"])
def test_a_link_in_the_place_of_a_file_or_its_directory_is_not_followed(
    top: Path, secret: Path, tmp_path: Path, swapped: str, when: str
) -> None:
    tops, listing = listed(top)
    source = Source.restored(tops, listing, {}, {})
    entries: list[Entry] = []
    if when == "after the walk":
        entries, _ = walk_of(source)
        assert not source.vanished
        source.close()
    if swapped == "file":
        (top / "d" / "x").unlink()
        (top / "d" / "x").symlink_to(secret / "x")
    else:
        (top / "d").rename(tmp_path / "moved")
        (top / "d").symlink_to(secret)
    if when == "before the walk":
        entries, _ = walk_of(source)
        assert list(source.vanished) == [2]
    assert entries == [entry for entry, _ in listing]
    assert nothing_leaves(source, entries)


@pytest.mark.parametrize(
    "path", [b"top/../secret/x", b"top/d/../../secret/x", b"../secret/x", b"/secret/x", b"secret/x"]
)
def test_an_edited_listing_does_not_lead_out_of_its_arguments(top: Path, secret: Path, path: bytes) -> None:
    tops, listing = listed(top)
    found = (secret / "x").stat()
    identity = (found.st_dev, found.st_ino, found.st_ctime_ns)
    listing[2] = (Entry(path, EntryKind.FILE, found.st_size, 0o644, 0), identity)
    source = Source.restored(tops, listing, {}, {})
    with pytest.raises(CheckpointError):
        list(source.walk())


def test_forged_leaves_of_a_replaced_file_are_not_believed(top: Path) -> None:
    """Somebody who can write the tree puts another file there, with the same size and time."""
    tops, listing = listed(top)
    (top / "d" / "y").write_bytes(SECRET)
    os.utime(top / "d" / "y", ns=(0, 0))
    (top / "d" / "y").rename(top / "d" / "x")
    source = Source.restored(tops, listing, {2: {0: b"f" * 32, 1: b"f" * 32}}, {2: MUCH_LATER})
    entries, _ = walk_of(source)
    assert source.changed == {2}
    results = list(source.read(ops.ReadJob(2, entries[2], MIB, 0, 2, wanted=())))
    assert results[-1] == ops.FileRead(2, digest_of(SECRET))


def test_impossible_numbers_in_the_leaves_cost_no_memory(top: Path) -> None:
    tops, listing = listed(top)
    forged = {2**62: b"f" * 32, -5: b"f" * 32, 2: b"f" * 32, 1: b"f" * 31}
    source = Source.restored(tops, listing, {2: forged, 0: {0: b"f" * 32}, 99: {0: b"f" * 32}}, {2: MUCH_LATER})
    entries, _ = walk_of(source)
    assert not len(source.known_leaves)
    results = list(source.read(job_for(2, entries[2])))
    assert results[-1] == ops.FileRead(2, digest_of(b"o" * (2 * MIB)))
