"""A real file system of which any operation may fail, be cut short, or be the last before the power goes.

What the sink and the journal ask of the system goes through :class:`FaultyDisk`, which counts the operations, does them
for real, and remembers what of them is durable. After a power cut it puts the directories into a state that a file
system may leave: of each file what was synced, and any of the blocks written since, or zeros in their place; of each
directory what was synced, and some of the operations since, in order; of the journal any length from what was synced.
Names that go are moved aside until then, so that files come back as the very inodes that they were.
"""

from __future__ import annotations

import contextlib
import os
import random
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from p2pal.disk.checkpoints import journal
from p2pal.disk.fs import directory, handle_directory, rename
from p2pal.disk.fs.rename import RENAMES, Renames
from p2pal.disk.sink import group_commit, part_file

BLOCK: Final = 64 << 10


class PowerCut(BaseException):
    """Nothing runs any more."""


class _File:
    """What of a file is durable, and what was written since: (offset, bytes), or (size, None) for a cut."""

    def __init__(self) -> None:
        self.durable = bytearray()
        self.writes: list[tuple[int, bytes | None]] = []


class _Names:
    """What of a directory is durable, and what was done since: names with their inodes, None for none."""

    def __init__(self) -> None:
        self.durable: dict[bytes, int] = {}
        self.changes: list[dict[bytes, int | None]] = []

    def settle(self, count: int) -> None:
        for change in self.changes[:count]:
            for name, inode in change.items():
                if inode is None:
                    self.durable.pop(name, None)
                else:
                    self.durable[name] = inode
        del self.changes[:count]


def apply(content: bytearray, write: tuple[int, bytes | None]) -> None:
    offset, data = write
    if data is None:
        del content[offset:]
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


class FaultyDisk:
    """The operations of one session.

    Args:
        root: The directory that is written to.
        aside: An empty directory beside it, on the same file system.
        fault: What happens at operation ``at``: ``cut``, ``short``, or an errno.
        at: Which operation.

    Attributes:
        count: Operations so far.
        dead: The power is gone.
    """

    def __init__(self, root: Path, aside: Path, fault: str | int, at: int) -> None:
        self.count = 0
        self.dead = False
        self.struck = False
        self._root = root
        self._aside = os.open(aside, os.O_RDONLY)
        self._aside_path = aside
        self._fault = fault
        self._at = at
        self._lock = threading.RLock()
        self._files: dict[int, _File] = {}
        self._names: dict[int, _Names] = {}
        self._parents: dict[int, tuple[int, bytes]] = {}
        self._journal_synced = -1
        self._scan(root)

    def _scan(self, path: Path) -> None:
        """Take what stands there for durable."""
        names = self._names[path.stat().st_ino] = _Names()
        for each in os.scandir(path):
            names.durable[os.fsencode(each.name)] = each.inode()
            if each.is_dir(follow_symlinks=False):
                self._parents[each.inode()] = (path.stat().st_ino, os.fsencode(each.name))
                self._scan(Path(each.path))

    @contextlib.contextmanager
    def operation(self) -> Iterator[bool]:
        """Count one operation; yields whether it is to be cut short. Only one at a time."""
        with self._lock:
            if self.dead:
                raise PowerCut
            struck = self.count == self._at
            self.count += 1
            if struck:
                self.struck = True
                if self._fault == "cut":
                    self.dead = True
                    raise PowerCut
                if isinstance(self._fault, int):
                    raise OSError(self._fault, os.strerror(self._fault))
            yield struck

    # Files

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        with self.operation() as short:
            part = bytes(data)[: max(1, len(data) // 2)] if short else bytes(data)
            written = os.pwrite(fd, part, offset)
            self._file(fd).writes.append((offset, part[:written]))
            return written

    def ftruncate(self, fd: int, size: int) -> None:
        with self.operation():
            os.ftruncate(fd, size)
            self._file(fd).writes.append((size, None))

    def _file(self, fd: int) -> _File:
        inode = os.fstat(fd).st_ino
        found = self._files.get(inode)
        if found is None:
            found = self._files[inode] = _File()
            with open(f"/proc/self/fd/{fd}", "rb") as file:  # from an earlier session: what is there is durable
                found.durable[:] = file.read()
        return found

    def fsync(self, fd: int) -> None:
        with self.operation():
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                self._settle(os.fstat(fd).st_ino, None)
            else:
                file = self._file(fd)
                for write in file.writes:
                    apply(file.durable, write)
                file.writes.clear()

    def sync_together(self, _fd: int) -> bool:
        try:
            return self._sync_together()
        except OSError:
            return False

    def _sync_together(self) -> bool:
        with self.operation() as short:
            if short:
                return False
            for file in self._files.values():
                for write in file.writes:
                    apply(file.durable, write)
                file.writes.clear()
            for names in self._names.values():
                names.settle(len(names.changes))
            return True

    def _settle(self, inode: int, until: bytes | None) -> None:
        """Make a directory's names durable, its own above it first: all, or those up to one that was made."""
        if inode in self._parents:
            self._settle(*self._parents[inode])
        names = self._names[inode]
        count = len(names.changes)
        if until is not None:
            count = max((position + 1 for position, each in enumerate(names.changes) if each.get(until)), default=0)
        names.settle(count)

    # Names

    def open(self, name: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if not flags & os.O_CREAT or dir_fd is None:
            return os.open(name, flags, mode, dir_fd=dir_fd)
        with self.operation():
            fd = os.open(name, flags, mode, dir_fd=dir_fd)
            self._files[os.fstat(fd).st_ino] = _File()
            self._note(dir_fd, {name: os.fstat(fd).st_ino})
            return fd

    def mkdir(self, name: bytes, mode: int = 0o777, *, dir_fd: int) -> None:
        with self.operation():
            os.mkdir(name, mode, dir_fd=dir_fd)
            inode = self._inode(dir_fd, name)
            self._names[inode] = _Names()
            self._parents[inode] = (os.fstat(dir_fd).st_ino, name)
            self._note(dir_fd, {name: inode})

    def symlink(self, target: bytes, name: bytes, *, dir_fd: int) -> None:
        with self.operation():
            os.symlink(target, name, dir_fd=dir_fd)
            self._note(dir_fd, {name: self._inode(dir_fd, name)})

    def unlink(self, name: bytes, *, dir_fd: int) -> None:
        with self.operation():
            self._put_aside(dir_fd, name)
            self._note(dir_fd, {name: None})

    def rename_with_flags(self, source_fd: int, source: bytes, target_fd: int, target: bytes, flags: int) -> int:
        with self.operation():
            first, second = self._inode(source_fd, source), self._inode(target_fd, target)
            call = RENAMES.call
            assert call is not None
            result = call(source_fd, source, target_fd, target, flags)
            if result == 0:
                self._note(source_fd, {source: second if flags == RENAMES.exchange else None, target: first})
            return result

    def _put_aside(self, directory: int, name: bytes) -> None:
        os.rename(name, str(self._inode(directory, name)), src_dir_fd=directory, dst_dir_fd=self._aside)

    def _inode(self, directory: int, name: bytes) -> int:
        try:
            return os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino
        except FileNotFoundError:
            return 0

    def _note(self, directory: int, change: dict[bytes, int | None]) -> None:
        self._names[os.fstat(directory).st_ino].changes.append(change)

    # The journal

    def journal_pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        with self.operation() as short:
            self._journal_synced = os.fstat(fd).st_size if self._journal_synced < 0 else self._journal_synced
            part = bytes(data)[: max(1, len(data) // 2)] if short else bytes(data)
            return os.pwrite(fd, part, offset)

    def journal_fdatasync(self, fd: int) -> None:
        with self.operation():
            self._journal_synced = os.fstat(fd).st_size

    # After the cut

    def lose(self, rng: random.Random, journal_path: Path) -> None:
        """Leave what a file system may leave."""
        size = journal_path.stat().st_size
        if 0 <= self._journal_synced < size:
            os.truncate(journal_path, rng.randint(self._journal_synced, size))
        for parent, directories, files in os.walk(os.fsencode(self._root), topdown=False):
            for name in directories + files:
                path = os.path.join(parent, name)
                os.rename(path, os.path.join(os.fsencode(self._aside_path), b"%d" % os.lstat(path).st_ino))
        self._rebuild(rng, self._root.stat().st_ino, os.fsencode(self._root))

    def _rebuild(self, rng: random.Random, inode: int, path: bytes) -> None:
        names = self._names[inode]
        names.settle(rng.choice((0, len(names.changes), rng.randint(0, len(names.changes)))))
        for name, child in names.durable.items():
            target = os.path.join(path, name)
            os.rename(os.path.join(os.fsencode(self._aside_path), b"%d" % child), target)
            if child in self._names:
                self._rebuild(rng, child, target)
            elif child in self._files and self._files[child].writes:
                self._lose_content(rng, self._files[child], target)

    def _lose_content(self, rng: random.Random, file: _File, path: bytes) -> None:
        content = file.durable
        for offset, data in file.writes:
            if data is None:
                if rng.random() < 0.5:
                    apply(content, (offset, None))
                continue
            for start in range(0, len(data), BLOCK):
                block = data[start : start + BLOCK]
                fate = rng.random()
                if fate < 0.4:
                    apply(content, (offset + start, block))
                elif fate < 0.7:
                    apply(content, (offset + start, bytes(len(block))))
        with open(path, "r+b") as left:
            left.truncate(0)
            left.write(content)

    def close(self) -> None:
        os.close(self._aside)
        for each in self._aside_path.iterdir():
            each.rmdir() if each.is_dir() and not each.is_symlink() else each.unlink()


class _System:
    """The module ``os`` with some of its functions replaced."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


@contextlib.contextmanager
def on(disk: FaultyDisk) -> Iterator[None]:
    """Let sink and journal work on this disk."""
    files = _System(
        open=disk.open, ftruncate=disk.ftruncate, fsync=disk.fsync, mkdir=disk.mkdir,
        symlink=disk.symlink, unlink=disk.unlink,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for module in (part_file, directory, handle_directory, rename):
            patch.setattr(module, "os", files)
        if RENAMES.call is not None:
            patch.setattr(
                handle_directory, "RENAMES", Renames(disk.rename_with_flags, RENAMES.no_replace, RENAMES.exchange)
            )
        patch.setattr(group_commit, "sync_together", disk.sync_together)
        patch.setattr(group_commit, "LEAST_FILES", 3)
        patch.setattr(journal, "sync_data", disk.journal_fdatasync)
        patch.setattr(journal, "write_some", disk.journal_pwrite)
        patch.setattr(part_file, "write_some", disk.pwrite)
        yield
