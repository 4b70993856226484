"""The sender's disk: the tree behind the command line's arguments, walked once and read as asked.

Nothing is hashed or opened beforehand. What the walk saw of a file is compared when it is read: a file that was
replaced or written in between, or while it is read, fails and is never sent half old, half new.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from p2pal.errors import UsageError
from p2pal.files.failures import error_text
from p2pal.files.names import MAX_NAME, free_name, is_part_name
from p2pal.files.reading import read_pieces
from p2pal.files.rooted import OPEN_READ, Directory, Tree, open_root
from p2pal.transfer.ops import ReadFailed, ReadJob, SourceResult
from p2pal.wire.transfer import MAX_PATH, Entry, Kind, Reason, name_text

_PERMISSIONS: Final = 0o777
_TIME_LIMIT: Final = 2**62
_MASK: Final = 2**64 - 1

CHANGED_SINCE: Final = "the file is not the one that was listed"
SPECIAL: Final = "neither a file, a directory nor a link"


@dataclass(frozen=True, slots=True)
class WalkFailed:
    """Something that cannot be sent: its name, why, and a text for the log."""

    name: str
    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class _Top:
    """A command-line argument: the name it travels under, where it is, what it is (or why it cannot be sent)."""

    name: bytes
    path: bytes
    directory: bool
    failure: str = ""


class Source:
    """The files, directories and links that were named on the command line, and all below them.

    A symbolic link that was named is followed; one inside a tree never is: it travels as a link.
    :meth:`walk` runs first and once; :meth:`read` any time after it. One thread at a time.

    Args:
        paths: The arguments.
        recursive: Whether directories may be sent.
        skip_errors: Whether an argument that cannot be sent is only reported by :meth:`walk`.

    Raises:
        UsageError: If an argument is missing, special, or a directory without ``recursive``, or nothing is left.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]], *, recursive: bool, skip_errors: bool = False) -> None:
        if not paths:
            raise UsageError("nothing to send was named")
        self._tops: dict[bytes, _Top] = {}
        failures = []
        for path in paths:
            failure = self._add(os.fspath(path), recursive=recursive)
            if failure is not None:
                failures.append(failure)
        if failures and (not skip_errors or len(failures) == len(paths)):
            raise failures[0]
        self._tree = Tree(self._open_top)
        self._devices = array("Q")
        self._inodes = array("Q")
        self._ctimes = array("q")

    @property
    def names(self) -> list[bytes]:
        """The top-level names that can be sent."""
        return [top.name for top in self._tops.values() if not top.failure]

    def _add(self, path: str, *, recursive: bool) -> UsageError | None:
        """Take an argument; return why it cannot be sent."""
        name = os.fsencode(os.path.basename(path.rstrip("/" + os.sep)))
        if name in {b"", b".", b".."}:
            name = os.fsencode(os.path.basename(os.path.realpath(path))) or b"root"
        error: UsageError | None = None
        mode = 0
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError) as problem:
            text = error_text(problem) if isinstance(problem, OSError) else "no such name"
            error = UsageError(f"{path}: {text}", hint="check the name, or leave it out")
        directory = stat.S_ISDIR(mode)
        if error is None and directory and not recursive:
            error = UsageError(f"{path} is a directory", hint="use -r to send directories")
        if error is None and not directory and not stat.S_ISREG(mode):
            error = UsageError(f"{path} is {SPECIAL}", hint="only files and directories can be sent")
        name = free_name(self._tops.__contains__, name, directory=directory)
        place = os.fsencode(os.path.abspath(path))
        self._tops[name] = _Top(name, place, directory, error.message if error else "")
        return error

    def _open_top(self, name: bytes) -> Directory:
        return open_root(self._tops[name].path)

    # The walk

    def walk(self) -> Iterator[Entry | WalkFailed]:
        """Yield every entry, parents before children, a directory's children in the order of their bytes.

        The position of an entry among the entries yielded is its index in the offer: :meth:`read` counts on it.
        Memory grows by 24 bytes for each entry, and by the names of the directories that are open at one time.
        """
        for top in list(self._tops.values()):
            if top.failure:
                yield WalkFailed(name_text(top.name), Reason.READ, top.failure)
            elif top.directory:
                yield from self._walk_tree(top)
            else:
                yield self._named_file(top)

    def _named_file(self, top: _Top) -> Entry | WalkFailed:
        try:
            found = os.stat(top.path)
        except OSError as error:
            return WalkFailed(name_text(top.name), Reason.READ, error_text(error))
        return self._entry(top.name, found, b"")

    def _walk_tree(self, top: _Top) -> Iterator[Entry | WalkFailed]:
        stack: list[tuple[bytes, list[bytes]]] = []
        try:
            found = os.stat(top.path)
        except OSError as error:
            yield WalkFailed(name_text(top.name), Reason.READ, error_text(error))
            return
        yield self._enter(top.name, found, stack)
        while stack:
            path, names = stack[-1]
            if not names:
                stack.pop()
                continue
            name = names.pop()
            if is_part_name(name):
                continue
            child = path + b"/" + name
            if len(child) > MAX_PATH or len(name) > MAX_NAME:
                yield WalkFailed(name_text(child), Reason.NAME, "the path is too long")
                continue
            try:
                result = self._visit(path, name, child, stack)
            except OSError as error:
                result = WalkFailed(name_text(child), Reason.READ, error_text(error))
            if result is not None:
                yield result

    def _visit(
        self, path: bytes, name: bytes, child: bytes, stack: list[tuple[bytes, list[bytes]]]
    ) -> Entry | WalkFailed | None:
        """Return what one name in a directory is; None if it vanished since the directory was read."""
        directory = self._tree.directory(path)
        try:
            found = directory.status(name)
            if found is None:
                return None
            if stat.S_ISDIR(found.st_mode):
                return self._enter(child, found, stack)
            target = directory.read_link(name) if stat.S_ISLNK(found.st_mode) else b""
        finally:
            directory.release()
        return self._entry(child, found, target)

    def _enter(self, path: bytes, found: os.stat_result, stack: list[tuple[bytes, list[bytes]]]) -> Entry | WalkFailed:
        """Read a directory's names; a directory that cannot be read is not offered at all."""
        try:
            directory = self._tree.directory(path)
            try:
                names = directory.names()
            finally:
                directory.release()
        except OSError as error:
            return WalkFailed(name_text(path), Reason.READ, error_text(error))
        names.sort(reverse=True)
        stack.append((path, names))
        return self._entry(path, found, b"")

    def _entry(self, path: bytes, found: os.stat_result, target: bytes) -> Entry | WalkFailed:
        mode = found.st_mode
        size = 0
        if stat.S_ISREG(mode):
            kind, size = Kind.FILE, found.st_size
        elif stat.S_ISDIR(mode):
            kind = Kind.DIRECTORY
        elif stat.S_ISLNK(mode):
            kind = Kind.LINK
        else:
            return WalkFailed(name_text(path), Reason.READ, SPECIAL)
        self._devices.append(found.st_dev & _MASK)
        self._inodes.append(found.st_ino & _MASK)
        self._ctimes.append(_in_range(found.st_ctime_ns))
        return Entry(path, kind, size, mode & _PERMISSIONS, _in_range(found.st_mtime_ns), target)

    # Reading

    def read(self, job: ReadJob) -> Iterator[SourceResult]:
        """Yield a job's blocks, the leaf after each piece, and at last FileRead; or ReadFailed, and nothing after it.

        Blocks. The job's index must be the position at which :meth:`walk` yielded the entry.
        """
        try:
            fd = self._open(job.entry.path)
        except OSError as error:
            yield ReadFailed(job.index, Reason.READ, error_text(error))
            return
        try:
            found = os.fstat(fd)
            if not self._is_listed(job, found):
                yield ReadFailed(job.index, Reason.CHANGED, CHANGED_SINCE)
                return
            yield from read_pieces(fd, found, job)
        finally:
            os.close(fd)

    def _open(self, path: bytes) -> int:
        parent, slash, name = path.rpartition(b"/")
        if not slash:
            return os.open(self._tops[name].path, OPEN_READ)
        directory = self._tree.directory(parent)
        try:
            return directory.open_read(name)
        finally:
            directory.release()

    def _is_listed(self, job: ReadJob, found: os.stat_result) -> bool:
        entry, index = job.entry, job.index
        return (
            stat.S_ISREG(found.st_mode)
            and found.st_size == entry.size
            and _in_range(found.st_mtime_ns) == entry.mtime_ns
            and found.st_ino & _MASK == self._inodes[index]
            and found.st_dev & _MASK == self._devices[index]
        )

    def identity(self, index: int) -> tuple[int, int, int]:
        """Return (device, inode, ctime_ns) of an entry as the walk saw it; size and mtime are in the entry."""
        return self._devices[index], self._inodes[index], self._ctimes[index]

    def close(self) -> None:
        """Close the directories that are kept open."""
        self._tree.close()


def _in_range(nanoseconds: int) -> int:
    return max(-_TIME_LIMIT, min(_TIME_LIMIT, nanoseconds))
