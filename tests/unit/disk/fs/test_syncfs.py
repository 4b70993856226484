"""One system call for many small files: used where it is known to be good, and never trusted when it fails."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pal.disk.fs import syncfs
from p2pal.disk.fs.syncfs import MOST_DIRTY, sync_together

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="syncfs is Linux's")


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    yield opened
    os.close(opened)


class FailingLibc:
    """The real one, but syncfs tells of an error."""

    def __init__(self, real: ctypes.CDLL) -> None:
        self.fstatfs = real.fstatfs

    def syncfs(self, _fd: int) -> int:
        return -1


@LINUX
def test_the_real_call_works_on_a_file_system_that_is_known(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    libc = syncfs._libc()
    assert libc is not None
    kind = syncfs._file_system(libc, fd)
    assert kind != 0
    monkeypatch.setattr(syncfs, "_KNOWN", frozenset({kind}))
    monkeypatch.setattr(syncfs, "_dirty", lambda: MOST_DIRTY)
    assert sync_together(fd)


@LINUX
def test_a_failure_is_told(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    libc = syncfs._libc()
    assert libc is not None
    monkeypatch.setattr(syncfs, "_KNOWN", frozenset({syncfs._file_system(libc, fd)}))
    monkeypatch.setattr(syncfs, "_dirty", lambda: 0)
    monkeypatch.setattr(syncfs, "_libc", lambda: FailingLibc(libc))
    assert not sync_together(fd)


@LINUX
def test_a_file_system_that_is_not_known_is_left_alone(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncfs, "_KNOWN", frozenset())
    assert not sync_together(fd)


@LINUX
def test_a_bad_descriptor_is_no_known_file_system() -> None:
    libc = syncfs._libc()
    assert libc is not None
    assert syncfs._file_system(libc, -1) == 0


def test_other_programs_unsaved_data_is_not_waited_for(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncfs, "_dirty", lambda: MOST_DIRTY + 1)
    assert not sync_together(fd)


def test_without_the_call_nothing_is_done(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncfs, "_libc", lambda: None)
    assert not sync_together(fd)


@LINUX
def test_the_system_tells_what_is_unsaved() -> None:
    assert 0 <= syncfs._dirty() < sys.maxsize


def test_a_system_that_does_not_tell_is_taken_for_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(os, "open", missing)
    assert syncfs._dirty() == sys.maxsize
