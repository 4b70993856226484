"""Exactly the part files of a transfer go, and what stays is reported."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.unit.disk.kept import Kept, identity
from tests.unit.transfer.records import begun, finishing

from p2pal.checkpoint.records import Begun, CheckpointRecord, Finishings, PlaceRecord, Places
from p2pal.checkpoint.replay import ReceiveState
from p2pal.disk.checkpoints import cleanup
from p2pal.disk.checkpoints.cleanup import Cleaned, remove_parts
from p2pal.disk.fs.handle_directory import HandleDirectory


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def clean(
    kept: Kept, *records: CheckpointRecord, places: tuple[PlaceRecord, ...] = (PlaceRecord(b"top", b"top", "NEW"),)
) -> Cleaned:
    state = ReceiveState(kept.header())
    for record in (Places(list(places)), *records):
        state.apply(record)
    return remove_parts(kept.header(), state)


def test_part_files_go_wherever_they_are(kept: Kept) -> None:
    deep, first = kept.part(0, "top/a/b/c/file")
    shallow, second = kept.part(1, "top/file")
    (kept.out / "top" / "file").write_bytes(b"another entry that is complete")
    (kept.out / "top" / ".p2pal-zzzzzzzz-0.part").write_bytes(b"of another transfer")
    cleaned = clean(kept, first, second)
    assert cleaned == Cleaned(parts=2, size=20)
    assert not deep.exists()
    assert not shallow.exists()
    assert sorted(os.listdir(kept.out / "top")) == [".p2pal-zzzzzzzz-0.part", "a", "file"]


def test_a_top_level_file_has_its_part_file_in_the_root(kept: Kept) -> None:
    part, record = kept.part(0, "single.bin")
    cleaned = clean(kept, record, places=(PlaceRecord(b"single.bin", b"single (1).bin", "NEW"),))
    assert cleaned.parts == 1
    assert not part.exists()


def test_a_top_level_directory_may_have_another_name_here(kept: Kept) -> None:
    part, found = kept.part(0, "top (1)/file")
    record = Begun(0, found.part, 100, 0, b"top/file")
    assert clean(kept, record, places=(PlaceRecord(b"top", b"top (1)", "NEW"),)).parts == 1
    assert not part.exists()


def test_what_is_gone_already_is_no_matter(kept: Kept) -> None:
    part, record = kept.part(0)
    part.unlink()
    assert clean(kept, record) == Cleaned()
    shutil.rmtree(kept.out / "top")
    assert clean(kept, record) == Cleaned()


def test_without_part_files_the_directory_is_not_even_opened(kept: Kept) -> None:
    header = kept.header()
    kept.out.rmdir()
    assert remove_parts(header, ReceiveState(header)) == Cleaned()


def test_a_directory_that_is_gone_or_another_is_left_alone(kept: Kept) -> None:
    part, record = kept.part(0)
    header, state = kept.header(), ReceiveState(kept.header())
    for each in (Places([PlaceRecord(b"top", b"top", "NEW")]), record):
        state.apply(each)
    moved = kept.path / "moved"
    kept.out.rename(moved)
    assert "cannot be opened" in remove_parts(header, state).left[0][1]
    shutil.copytree(moved, kept.out)
    assert "another directory" in remove_parts(header, state).left[0][1]
    assert part.exists()
    assert (moved / "top" / part.name).exists()


def test_another_file_under_the_part_files_name_stays(kept: Kept) -> None:
    part, record = kept.part(0)
    aside = part.with_name("aside")
    part.rename(aside)
    part.write_bytes(b"someone else's")
    cleaned = clean(kept, record)
    assert cleaned.left == [("top/0", "another file has the name of its part file")]
    assert part.read_bytes() == b"someone else's"
    assert aside.exists()


def test_the_replaced_file_of_a_half_done_exchange_goes(kept: Kept) -> None:
    new, record = kept.part(0, "top/file", b"the new one")
    (kept.out / "top" / "file").write_bytes(b"the old one")
    old = identity(kept.out / "top" / "file")
    ready = Finishings([finishing(0, part=record.part, replaces=old)])
    swap = kept.path / "swap"
    new.rename(swap)
    (kept.out / "top" / "file").rename(new)
    assert clean(kept, record, ready).left  # the new file does not stand: the old one is not to be lost
    assert new.read_bytes() == b"the old one"
    swap.rename(kept.out / "top" / "file")
    assert clean(kept, record, Finishings([finishing(0, part=record.part, replaces=(1, 1))])).left
    assert clean(kept, record).left
    assert clean(kept, record, ready).parts == 1
    assert os.listdir(kept.out / "top") == ["file"]
    assert (kept.out / "top" / "file").read_bytes() == b"the new one"


def test_a_file_whose_place_is_not_known_is_reported(kept: Kept) -> None:
    part, record = kept.part(0)
    assert clean(kept, record, places=()).left == [("top/0", "the checkpoint does not say where it is")]
    assert part.exists()


def test_what_cannot_be_removed_is_reported(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    part, record = kept.part(0)
    other, second = kept.part(1, "top/deeper/1")
    remove = HandleDirectory.remove

    def fail(self: HandleDirectory, name: bytes) -> None:
        if name == os.fsencode(part.name):
            raise PermissionError(13, "Permission denied")
        remove(self, name)

    monkeypatch.setattr(HandleDirectory, "remove", fail)
    cleaned = clean(kept, record, second)
    assert cleaned.left == [("top/0", "Permission denied")]
    assert cleaned.parts == 1
    assert not other.exists()


def test_the_report_is_bounded(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "MAX_REPORTED", 2)
    cleaned = clean(kept, *[begun(number, path=b"elsewhere/%d" % number) for number in range(5)])
    assert (len(cleaned.left), cleaned.left_more) == (2, 3)
