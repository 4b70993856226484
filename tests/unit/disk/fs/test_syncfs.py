"""One system call for many small files: used where it is known to be good, and never trusted when it fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pal.disk.fs.syncfs import MOST_DIRTY, SystemCalls, file_system, load, sync_together, unsaved_bytes

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="syncfs is Linux's")


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    yield opened
    os.close(opened)


@pytest.fixture
def calls() -> SystemCalls:
    found = load()
    assert found is not None
    return found


class FailingCalls:
    """The real ones, but syncfs tells of an error."""

    def __init__(self, real: SystemCalls) -> None:
        self.fstatfs = real.fstatfs

    def syncfs(self, _fd: int) -> int:
        return -1


@LINUX
def test_the_real_call_works_on_a_file_system_that_is_known(fd: int, calls: SystemCalls) -> None:
    kind = file_system(calls, fd)
    assert kind != 0
    assert sync_together(fd, known=frozenset({kind}), unsaved=lambda: MOST_DIRTY)


@LINUX
def test_a_failure_is_told(fd: int, calls: SystemCalls) -> None:
    known = frozenset({file_system(calls, fd)})
    assert not sync_together(fd, calls=FailingCalls(calls), known=known, unsaved=lambda: 0)


@LINUX
def test_a_file_system_that_is_not_known_is_left_alone(fd: int) -> None:
    assert not sync_together(fd, known=frozenset(), unsaved=lambda: 0)


@LINUX
def test_a_bad_descriptor_is_no_known_file_system(calls: SystemCalls) -> None:
    assert file_system(calls, -1) == 0


@LINUX
def test_other_programs_unsaved_data_is_not_waited_for(fd: int, calls: SystemCalls) -> None:
    assert not sync_together(fd, known=frozenset({file_system(calls, fd)}), unsaved=lambda: MOST_DIRTY + 1)


def test_without_the_call_nothing_is_done(fd: int) -> None:
    assert not sync_together(fd, calls=None, unsaved=lambda: 0)


@LINUX
def test_the_system_tells_what_is_unsaved() -> None:
    assert 0 <= unsaved_bytes() < sys.maxsize


def test_a_system_that_does_not_tell_is_taken_for_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(os, "open", missing)
    assert unsaved_bytes() == sys.maxsize
