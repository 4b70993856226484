"""Directories behind descriptors: openat(2) and its relatives, never following a link."""

# ruff: noqa: ARG002, D102 - the methods and their arguments are described once, at Directory

from __future__ import annotations

import os
import sys
from typing import Final

from p2pal.disk.fs.directory import (
    NO_FOLLOW,
    ONLY_DIRECTORY,
    OPEN_AGAIN,
    OPEN_PART,
    OPEN_READ,
    Directory,
    sync_file,
    where_supported,
)
from p2pal.disk.fs.rename import RENAMES, Identity, identity_from

assert sys.platform != "win32"  # noqa: S101 - never imported there, and so checked by mypy for the rest only

_EFFECTIVE_IDS: Final = os.access in os.supports_effective_ids
_LINK_TIMES: Final = os.utime in os.supports_dir_fd and os.utime in os.supports_follow_symlinks


class HandleDirectory(Directory):
    """A directory behind a descriptor (openat(2) and its relatives)."""

    __slots__ = ("_fd",)

    closes_first = False

    def __init__(self, fd: int) -> None:
        found = os.fstat(fd)
        super().__init__(identity_from(found))
        self._fd = fd

    @classmethod
    def adopt(cls, fd: int) -> HandleDirectory:
        """Return the directory behind a descriptor, which now belongs to it."""
        try:
            return cls(fd)
        except OSError:
            os.close(fd)
            raise

    def _close(self) -> None:
        os.close(self._fd)

    def open_directory(self, name: bytes) -> Directory:
        return HandleDirectory.adopt(os.open(name, os.O_RDONLY | ONLY_DIRECTORY | NO_FOLLOW, dir_fd=self._fd))

    def names(self) -> list[bytes]:
        return [os.fsencode(name) for name in os.listdir(self._fd)]

    def status(self, name: bytes) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def create(self, name: bytes) -> int:
        return os.open(name, OPEN_PART, 0o600, dir_fd=self._fd)

    def open_part(self, name: bytes) -> int:
        return os.open(name, OPEN_AGAIN, dir_fd=self._fd)

    def open_read(self, name: bytes) -> int:
        return os.open(name, OPEN_READ | NO_FOLLOW, dir_fd=self._fd)

    def may_read(self, name: bytes) -> bool:
        return os.access(name, os.R_OK, dir_fd=self._fd, effective_ids=_EFFECTIVE_IDS)

    def make_directory(self, name: bytes) -> None:
        os.mkdir(name, 0o700, dir_fd=self._fd)

    def make_link(self, name: bytes, target: bytes) -> None:
        os.symlink(target, name, dir_fd=self._fd)

    def read_link(self, name: bytes) -> bytes:
        return os.readlink(name, dir_fd=self._fd)

    def remove(self, name: bytes) -> None:
        os.unlink(name, dir_fd=self._fd)

    def rename_new(self, source: bytes, target: bytes) -> None:
        RENAMES.new(self._fd, source, target)

    def rename_over(self, source: bytes, target: bytes, allowed: Identity) -> None:
        RENAMES.over(self._fd, source, target, allowed)

    def set_file_attributes(self, fd: int, name: bytes, mode: int, mtime_ns: int) -> None:
        _set(fd, mode, mtime_ns)

    def set_link_time(self, name: bytes, mtime_ns: int) -> None:
        if _LINK_TIMES:
            with where_supported:
                os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=self._fd, follow_symlinks=False)

    def set_attributes(self, mode: int, mtime_ns: int) -> None:
        _set(self._fd, mode, mtime_ns)

    def sync(self) -> None:
        sync_file(self._fd)

    def gone(self) -> bool:
        return os.fstat(self._fd).st_nlink == 0


def _set(fd: int, mode: int, mtime_ns: int) -> None:
    with where_supported:
        os.fchmod(fd, mode)
    with where_supported:
        os.utime(fd, ns=(mtime_ns, mtime_ns))
