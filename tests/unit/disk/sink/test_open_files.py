from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.disk.disk import file_entry, part_files
from tests.unit.disk.sessions import PIECE, Kept

from p2pal.disk.sink import open_files
from p2pal.errors import ProtocolError

DATA = os.urandom(2 * PIECE)


def test_what_comes_for_a_failed_file_is_dropped_and_for_one_that_never_began_an_attack(tmp_path: Path) -> None:
    kept = Kept(tmp_path, [file_entry(b"x", DATA), file_entry(b"y", DATA)])
    kept.begin(0)
    files = kept.sink._working
    assert 0 in files
    assert files.find(0) is not None
    files.fail(0)
    assert files.find(0) is None
    assert part_files(kept.out) == []
    with pytest.raises(ProtocolError):
        files.find(1)
    kept.stop()


def test_a_part_file_stays_if_it_can_be_gone_on_with(tmp_path: Path) -> None:
    kept = Kept(tmp_path, [file_entry(b"x", DATA), file_entry(b"y", DATA)])
    for index in (0, 1):
        kept.begin(index)
    kept.piece(0, 0, DATA)
    for index in (0, 1):
        records = kept.sink._working.suspend(index)
        assert bool(records) is (index == 0)
    assert len(part_files(kept.out)) == 1
    kept.sink._working.drop(0)
    assert part_files(kept.out) == []
    kept.stop()


def test_many_open_files_are_closed_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "MAX_OPEN", 2)
    kept = Kept(tmp_path, [file_entry(b"x", DATA), file_entry(b"y", DATA)])
    for index in (0, 1):
        kept.begin(index)
    files = kept.sink._working
    assert files.make_room() == []
    assert [files._files[index].fd for index in (0, 1)] == [-1, -1]
    kept.piece(0, 0, DATA)
    assert files._files[0].fd >= 0
    kept.stop()
