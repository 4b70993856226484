"""The walk: every entry behind the command line's arguments, once, and what a person should know of them.

Nothing is opened but directories, and no link inside a tree is followed (:mod:`p2pal.disk.fs.directory`).
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from p2pal.checkpoint.records import TopRecord
from p2pal.disk.fs.directory import Directory, Tree
from p2pal.disk.fs.identities import PERMISSIONS, Identities, in_range, version_of
from p2pal.disk.fs.names import MAX_NAME, check_link, is_part_name
from p2pal.disk.fs.os_errors import error_text
from p2pal.disk.source.exclusion import GITIGNORE, MAX_GITIGNORE, Exclusion
from p2pal.disk.source.report import FindingKind, Findings
from p2pal.disk.source.selection import Selection
from p2pal.wire.transfer import MAX_PATH, Entry, EntryKind, Reason, name_text

SPECIAL: Final = "neither a file, a directory nor a link"
NOT_PERMITTED: Final = "Permission denied"


@dataclass(frozen=True, slots=True)
class WalkFailed:
    """Something that cannot be sent: its name, why, and a text for the log."""

    name: str
    reason: Reason
    text: str


@dataclass(slots=True)
class _Open:
    """A directory in work: its path, the names that are left (the next one last), and its file system."""

    path: bytes
    names: list[bytes]
    device: int


class Walk:
    """One walk.

    Args:
        tree: Opens the directories.
        seen: Gets the identity of every entry.
        findings: Gets what a person should know.
        one_file_system: Of a directory where another file system is mounted only the directory itself is listed.
        skip_errors: A file that may not be read is listed all the same; it fails when it is read, and may be had later.
            Otherwise it is a failure at once: it would stop the batch anyway.
        exclusion: What is left out.
        selection: What is sent of trees whose files were named one by one.
    """

    def __init__(
        self,
        tree: Tree,
        seen: Identities,
        findings: Findings,
        *,
        one_file_system: bool,
        skip_errors: bool,
        exclusion: Exclusion,
        selection: Selection,
    ) -> None:
        self._tree = tree
        self._seen = seen
        self._findings = findings
        self._one_file_system = one_file_system
        self._skip_errors = skip_errors
        self._exclusion = exclusion
        self._selection = selection
        self._stack: list[_Open] = []

    def run(
        self, tops: Mapping[bytes, TopRecord], failures: Mapping[bytes, WalkFailed]
    ) -> Iterator[Entry | WalkFailed]:
        """Yield every entry, parents before children, a directory's children in the order of their bytes.

        Args:
            tops: The arguments.
            failures: Those of them that cannot be sent, and why.
        """
        for top in list(tops.values()):
            failure = failures.get(top.name)
            if failure is not None:
                yield failure
            elif top.directory:
                yield from self._tree_of(top)
            else:
                yield self._named_file(top)

    def _named_file(self, top: TopRecord) -> Entry | WalkFailed:
        try:
            found = os.stat(top.path)
        except OSError as error:
            return WalkFailed(name_text(top.name), Reason.READ, error_text(error))
        return self._entry(top.name, found)

    def _tree_of(self, top: TopRecord) -> Iterator[Entry | WalkFailed]:
        try:
            found = os.stat(top.path)
        except OSError as error:
            yield WalkFailed(name_text(top.name), Reason.READ, error_text(error))
            return
        yield self._enter(top.name, found)
        while self._stack:
            current = self._stack[-1]
            if not current.names:
                self._exclusion.leave(self._stack.pop().path)
                continue
            name = current.names.pop()
            child = current.path + b"/" + name
            if not self._selection.takes(child):
                continue
            if is_part_name(name):
                self._findings.add(FindingKind.RESERVED_NAME, child, left_out=True)
                continue
            if len(child) > MAX_PATH or len(name) > MAX_NAME:
                yield WalkFailed(name_text(child), Reason.NAME, "the path is too long")
                continue
            try:
                result = self._visit(current, name, child)
            except OSError as error:
                result = WalkFailed(name_text(child), Reason.READ, error_text(error))
            if result is not None:
                yield result

    def _visit(self, parent: _Open, name: bytes, child: bytes) -> Entry | WalkFailed | None:
        """Return what one name in a directory is; None if it vanished since the directory was read."""
        directory = self._tree.directory(parent.path)
        try:
            found = directory.status(name)
            if found is None:
                return None
            mode = found.st_mode
            if self._exclusion and self._exclusion.excludes(child, directory=stat.S_ISDIR(mode)):
                self._findings.add(FindingKind.EXCLUDED, child, left_out=True)
                return None
            if stat.S_ISDIR(mode):
                return self._visit_directory(parent, child, found)
            target = directory.read_link(name) if stat.S_ISLNK(mode) else b""
            readable = not stat.S_ISREG(mode) or _is_readable(found) or directory.may_read(name)
        finally:
            directory.release()
        return self._entry(child, found, target, readable=readable)

    def _visit_directory(self, parent: _Open, path: bytes, found: os.stat_result) -> Entry | WalkFailed:
        if found.st_dev != parent.device:
            self._findings.add(FindingKind.FILE_SYSTEM, path, left_out=self._one_file_system)
            if self._one_file_system:  # the directory is there, and empty: as rsync and tar have it
                return self._entry(path, found)
        return self._enter(path, found)

    def _enter(self, path: bytes, found: os.stat_result) -> Entry | WalkFailed:
        """Read a directory's names; a directory that cannot be read is not offered at all."""
        try:
            directory = self._tree.directory(path)
            try:
                names = directory.names()
                if self._exclusion.git and GITIGNORE in names:
                    self._exclusion.enter(path, _read_start(directory, GITIGNORE))
            finally:
                directory.release()
        except OSError as error:
            return WalkFailed(name_text(path), Reason.READ, error_text(error))
        names.sort(reverse=True)
        self._stack.append(_Open(path, names, found.st_dev))
        return self._entry(path, found)

    def _entry(
        self, path: bytes, found: os.stat_result, target: bytes = b"", *, readable: bool = True
    ) -> Entry | WalkFailed:
        mode, mtime_ns = found.st_mode, in_range(found.st_mtime_ns)
        size = 0
        if stat.S_ISREG(mode):
            kind, size = EntryKind.FILE, found.st_size
        elif stat.S_ISDIR(mode):
            kind = EntryKind.DIRECTORY
        elif stat.S_ISLNK(mode):
            kind = EntryKind.LINK
            if check_link(path, target) is not None:
                self._findings.add(FindingKind.OUTWARD_LINK, path)
        else:
            return WalkFailed(name_text(path), Reason.READ, SPECIAL)
        if not readable:
            if not self._skip_errors:
                return WalkFailed(name_text(path), Reason.READ, NOT_PERMITTED)
            self._findings.add(FindingKind.UNREADABLE, path)
        if mtime_ns != found.st_mtime_ns:
            self._findings.add(FindingKind.DATE, path)
        self._seen.append(version_of(found))
        return Entry(path, kind, size, mode & PERMISSIONS, mtime_ns, target)


def _read_start(directory: Directory, name: bytes) -> bytes:
    """Return the beginning of a file; nothing if it cannot be read, or is a link, which git does not follow either."""
    try:
        found = directory.status(name)
        if found is None or not stat.S_ISREG(found.st_mode):
            return b""
        with open(directory.open_read(name), "rb", buffering=0) as file:
            return file.read(MAX_GITIGNORE)
    except OSError:  # it fails as a file as well, and that is told
        return b""


def _is_readable(found: os.stat_result) -> bool:
    """Say whether a file may be read, as far as its status tells without asking the system; False for: ask it."""
    if sys.platform == "win32":
        return True  # there only opening it tells
    user = os.geteuid()
    return user == 0 or (found.st_uid == user and bool(found.st_mode & stat.S_IRUSR))
