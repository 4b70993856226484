"""Directories where the system has no directory handles (Windows): checked paths behind the same interface.

Before each use every part of the path below the root is looked at without following it: it must still be the very
directory that was opened first, and neither a symbolic link nor a junction or another thing that stands for a place
elsewhere. That refuses links that stand in the way. It is weaker than handles in one respect: a process on this machine
that swaps a directory for a link within the microseconds between look and use wins. The sender alone cannot: links of
the payload are made last.

What else differs on Windows is in :mod:`p2pal.disk.fs.windows_calls`.
"""

# ruff: noqa: ARG002, D102 - the methods and their arguments are described once, at Directory

from __future__ import annotations

import errno
import os
import stat

from p2pal.disk.fs.directory import OPEN_AGAIN, OPEN_PART, OPEN_READ, Directory, where_supported
from p2pal.disk.fs.rename import Identity, identity_from
from p2pal.disk.fs.windows_calls import (
    is_elsewhere,
    link_from_system,
    link_to_system,
    long_path,
    make_writable,
    patiently,
)


def _plain_directory(path: bytes) -> Identity:
    """Return the identity of a real directory.

    Raises:
        OSError: If it is missing, a link, a junction, or no directory.
    """
    found = os.lstat(path)
    if is_elsewhere(found):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return identity_from(found)


class PathDirectory(Directory):
    """A directory known by its path and its identity."""

    __slots__ = ("_parent", "_path", "_put")

    closes_first = True

    def __init__(self, path: bytes, identity: Identity, parent: PathDirectory | None) -> None:
        super().__init__(identity)
        self._path = path
        self._parent = parent
        self._put: set[Identity] = set() if parent is None else parent._put

    @classmethod
    def root(cls, path: bytes) -> PathDirectory:
        """Return the directory that a person named; links in its path are followed, once."""
        real = os.path.realpath(path)
        return cls(real, _plain_directory(real), None)

    def _join(self, name: bytes) -> bytes:
        """Return the path of a name in this directory after checking every part above it."""
        self._check()
        return long_path(os.path.join(self._path, name))

    def _check(self) -> None:
        checked: PathDirectory | None = self
        while checked is not None:
            if _plain_directory(long_path(checked._path)) != checked.identity:
                raise NotADirectoryError(errno.ENOTDIR, "another directory took its place")
            checked = checked._parent

    def _close(self) -> None:
        """Nothing is held."""

    def open_directory(self, name: bytes) -> Directory:
        path = self._join(name)
        return PathDirectory(os.path.join(self._path, name), _plain_directory(path), self)

    def names(self) -> list[bytes]:
        self._check()
        return os.listdir(long_path(self._path))

    def status(self, name: bytes) -> os.stat_result | None:
        path = self._join(name)
        try:
            return os.lstat(path)
        except FileNotFoundError:
            return None

    def create(self, name: bytes) -> int:
        return os.open(self._join(name), OPEN_PART, 0o600)

    def open_part(self, name: bytes) -> int:
        return self._open_file(name, OPEN_AGAIN)

    def open_read(self, name: bytes) -> int:
        return self._open_file(name, OPEN_READ)

    def may_read(self, name: bytes) -> bool:
        return True

    def _open_file(self, name: bytes, flags: int) -> int:
        path = self._join(name)
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.ELOOP, "it is no regular file")
        fd = os.open(path, flags)
        opened = os.fstat(fd)
        if identity_from(opened) != identity_from(found):
            os.close(fd)
            raise OSError(errno.ELOOP, "another file took its place")
        return fd

    def make_directory(self, name: bytes) -> None:
        os.mkdir(self._join(name), 0o700)

    def make_link(self, name: bytes, target: bytes) -> None:
        path = self._join(name)
        # Windows has links to files and links to directories; what is missing counts as a file.
        directory = os.path.isdir(long_path(os.path.normpath(os.path.join(self._path, target))))
        os.symlink(link_to_system(target), path, target_is_directory=directory)

    def read_link(self, name: bytes) -> bytes:
        return link_from_system(os.readlink(self._join(name)))

    def remove(self, name: bytes) -> None:
        path = self._join(name)
        make_writable(path)
        patiently(lambda: os.unlink(path))

    def rename_new(self, source: bytes, target: bytes) -> None:
        old, new = self._join(source), self._join(target)
        if os.path.lexists(new):  # Windows' own rename refuses too; elsewhere this look is all there is
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        patiently(lambda: os.rename(old, new))

    def rename_over(self, source: bytes, target: bytes, allowed: Identity) -> None:
        old, new = self._join(source), self._join(target)
        found = os.lstat(new)
        if identity_from(found) != allowed or stat.S_ISDIR(found.st_mode) or allowed in self._put:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        # What takes a name over takes its creation time over (NTFS), which is all that would tell it from older files.
        made = os.lstat(old)
        make_writable(new)
        patiently(lambda: os.replace(old, new))
        self._put.add(identity_from(made))

    def set_file_attributes(self, fd: int, name: bytes, mode: int, mtime_ns: int) -> None:
        _set(self._join(name), mode, mtime_ns)

    def set_link_time(self, name: bytes, mtime_ns: int) -> None:
        path = self._join(name)
        if os.utime in os.supports_follow_symlinks:
            with where_supported:
                os.utime(path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)

    def set_attributes(self, mode: int, mtime_ns: int) -> None:
        self._check()
        _set(long_path(self._path), mode, mtime_ns)

    def gone(self) -> bool:
        return not os.path.lexists(long_path(self._path))

    def sync(self) -> None:
        """Windows has no fsync for directories; NTFS journals its names."""


def _set(path: bytes, mode: int, mtime_ns: int) -> None:
    with where_supported:
        os.utime(path, ns=(mtime_ns, mtime_ns))
    with where_supported:
        os.chmod(path, mode)
