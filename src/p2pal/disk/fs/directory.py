"""Directories as handles: nothing below a root can be reached through a link, however it got there or when.

A path from the peer is never given to the system as a whole. Each part is opened relative to its parent's descriptor
with ``O_DIRECTORY | O_NOFOLLOW`` (:mod:`p2pal.disk.fs.handle_directory`), so a link in its place is an error, not a
detour, also when it was swapped in a moment ago; and a directory that was opened stays the same directory whatever is
done to its name. Everything in it is made, read, renamed and removed relative to that descriptor.

Where the system has no such calls, :mod:`p2pal.disk.fs.path_directory` does the next best behind the same interface;
:mod:`p2pal.disk.fs.root` chooses.
"""

from __future__ import annotations

import abc
import errno
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import ClassVar, Final

from p2pal.disk.fs.rename import Identity, identity_from

_BINARY: Final[int] = getattr(os, "O_BINARY", 0)
_NONBLOCK: Final[int] = getattr(os, "O_NONBLOCK", 0)

NO_FOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)
ONLY_DIRECTORY: Final[int] = getattr(os, "O_DIRECTORY", 0)
OPEN_PART: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_FOLLOW | _BINARY
OPEN_AGAIN: Final = os.O_RDWR | NO_FOLLOW | _NONBLOCK | _BINARY
OPEN_READ: Final = os.O_RDONLY | _NONBLOCK | _BINARY
"""Not blocking: a fifo that was swapped in must not hang the reader. It means nothing to a regular file."""

_NO_SUCH_ATTRIBUTE: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})

_count_lock: Final = threading.Lock()


def _find_full_sync() -> Callable[[int], object] | None:
    """Return what flushes the medium's own cache, where fsync(2) does not: on macOS, F_FULLFSYNC."""
    if sys.platform == "darwin":
        import fcntl

        return lambda fd: fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    return None


_FULL_SYNC: Final = _find_full_sync()


def sync_file(fd: int, full_sync: Callable[[int], object] | None = _FULL_SYNC) -> None:
    """Return once what is behind a descriptor is on the medium: a file's data and metadata, a directory's names.

    Args:
        fd: The file's, open for writing (Windows syncs no other), or the directory's.
        full_sync: Does it where fsync(2) does not.

    Raises:
        OSError: If that failed; what was written since the last success may be lost.
    """
    if full_sync is not None:
        try:
            full_sync(fd)
        except OSError as error:  # not every file system has it
            if error.errno not in {errno.ENOTSUP, errno.EINVAL, errno.ENOTTY}:
                raise
        else:
            return
    os.fsync(fd)


def sync_data(fd: int) -> None:
    """Return once a file's data is on the medium, and its size with it. Raises OSError."""
    if sys.platform == "linux":
        os.fdatasync(fd)
    else:
        sync_file(fd)


class _WhereSupported:
    """Set a mode or a time, or do without: a file system that has no such thing (FAT) is no reason to lose a file."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if isinstance(error, OSError):
            return error.errno in _NO_SUCH_ATTRIBUTE
        return isinstance(error, OverflowError)  # a time that the platform cannot express


where_supported: Final = _WhereSupported()  # one for all: it is entered twice for each file


class Directory(abc.ABC):
    """An open directory. Methods take one name in it, never a path, and never follow a link of that name.

    Counted: whoever gets one from :meth:`open_directory` or from a :class:`Tree` calls :meth:`release` when done.
    All methods raise OSError.

    Attributes:
        identity: Which directory it is.
        closes_first: Whether a file must be closed before it is renamed, replaced or removed, and before it gets its
            mode and time: so on Windows, which refuses the former, and dates a file anew when what was written to it
            is flushed.
    """

    __slots__ = ("_users", "identity")

    closes_first: ClassVar[bool]

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._users = 1

    def retain(self) -> Directory:
        """Count one more user. Safe from any thread."""
        with _count_lock:
            self._users += 1
        return self

    def release(self) -> None:
        """Count one user less; the last one closes the handle. Safe from any thread."""
        with _count_lock:
            self._users -= 1
            last = self._users == 0
        if last:
            self._close()

    @abc.abstractmethod
    def _close(self) -> None: ...

    @abc.abstractmethod
    def open_directory(self, name: bytes) -> Directory:
        """Open a directory in this one. NotADirectoryError, or ELOOP, if it is a link or something else."""

    @abc.abstractmethod
    def names(self) -> list[bytes]:
        """Return all names, in no order, without ``.`` and ``..``."""

    @abc.abstractmethod
    def status(self, name: bytes) -> os.stat_result | None:
        """Return what stands under a name, a link as itself, or None if nothing does."""

    @abc.abstractmethod
    def create(self, name: bytes) -> int:
        """Make a new file (0600) and return its descriptor, for reading and writing."""

    @abc.abstractmethod
    def open_part(self, name: bytes) -> int:
        """Open an unfinished file again, for reading and writing; the caller checks that it is the same one."""

    @abc.abstractmethod
    def open_read(self, name: bytes) -> int:
        """Return a descriptor that reads a file. The caller checks that it is a regular one."""

    @abc.abstractmethod
    def may_read(self, name: bytes) -> bool:
        """Say whether this process may read a file, where the system tells that without opening it; else True."""

    @abc.abstractmethod
    def make_directory(self, name: bytes) -> None:
        """Make a new directory (0700)."""

    @abc.abstractmethod
    def make_link(self, name: bytes, target: bytes) -> None:
        """Make a new symbolic link."""

    @abc.abstractmethod
    def read_link(self, name: bytes) -> bytes:
        """Return where a symbolic link points."""

    @abc.abstractmethod
    def remove(self, name: bytes) -> None:
        """Remove a file or link."""

    @abc.abstractmethod
    def rename_new(self, source: bytes, target: bytes) -> None:
        """Rename a file; FileExistsError if something stands at ``target``."""

    @abc.abstractmethod
    def rename_over(self, source: bytes, target: bytes, allowed: Identity) -> None:
        """Rename a file and replace ``target``; FileExistsError if that is no longer the file ``allowed``."""

    @abc.abstractmethod
    def set_file_attributes(self, fd: int, name: bytes, mode: int, mtime_ns: int) -> None:
        """Set a file's permission bits and modification time, where the file system has them.

        ``fd`` is its descriptor; where :attr:`closes_first` it is not looked at, and the file should be closed.
        """

    @abc.abstractmethod
    def set_link_time(self, name: bytes, mtime_ns: int) -> None:
        """Set a symbolic link's own modification time, where system and file system have one."""

    @abc.abstractmethod
    def set_attributes(self, mode: int, mtime_ns: int) -> None:
        """Set this directory's own permission bits and modification time, where the file system has them."""

    @abc.abstractmethod
    def sync(self) -> None:
        """Return once the names in it are on the medium."""

    @abc.abstractmethod
    def gone(self) -> bool:
        """Say whether this directory was removed while it was open."""

    def has(self, name: bytes, identity: Identity) -> bool:
        """Say whether this very file stands under that name."""
        found = self.status(name)
        return found is not None and identity_from(found) == identity


class Tree:
    """The directories below some named ones, opened part by part; the last used stay open.

    For one thread, but any may close it: a walk does not end at once. The directories that it gives out may be
    released by any, too.

    Args:
        open_top: Opens the directory for a path's first part.
        limit: Directories kept open.
        name_of: Returns the name on disk of a directory below, by its path; without it that is the path's last part.
    """

    def __init__(
        self,
        open_top: Callable[[bytes], Directory],
        *,
        limit: int = 64,
        name_of: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._open_top = open_top
        self._name_of = name_of
        self._limit = limit
        self._open: OrderedDict[bytes, Directory] = OrderedDict()
        self._closed = False
        self._lock = threading.Lock()

    def directory(self, path: bytes) -> Directory:
        """Return the directory at ``path`` (its parts divided by ``/``), to be released by the caller.

        Raises:
            OSError: If a part is missing, a link, or no directory.
        """
        with self._lock:
            return self._find(path)

    def _find(self, path: bytes) -> Directory:
        found = self._open.get(path)
        if found is not None:
            self._open.move_to_end(path)
            return found.retain()
        missing = []
        current: Directory | None = None
        rest = path
        while current is None and rest:
            rest, slash, name = rest.rpartition(b"/")
            missing.append(name)
            if slash:
                current = self._open.get(rest)
        if current is not None:
            current.retain()
        for name in reversed(missing):
            rest = rest + b"/" + name if rest else name
            current = self._descend(current, rest, name)
            self._keep(rest, current)
        if current is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return current

    def _descend(self, parent: Directory | None, path: bytes, name: bytes) -> Directory:
        """Open the child; the parent's use ends here."""
        if parent is None:
            return self._open_top(name)
        try:
            return parent.open_directory(name if self._name_of is None else self._name_of(path))
        finally:
            parent.release()

    def _keep(self, path: bytes, directory: Directory) -> None:
        if self._closed:
            return
        self._open[path] = directory.retain()
        if len(self._open) > self._limit:
            self._open.popitem(last=False)[1].release()

    def close(self) -> None:
        """Close what is kept open, and keep nothing open from now on."""
        with self._lock:
            self._closed = True
            release_all(self._open.values())
            self._open.clear()


def release_all(directories: Iterable[Directory]) -> None:
    """Release each once."""
    for directory in directories:
        directory.release()
