"""Where entries may be made: paths from the peer turned into directories and names, and what may stand there.

One place decides for files, directories and links alike, so that no operation has a laxer way to a path than another.
"""

from __future__ import annotations

import contextlib
import errno
import stat
from collections.abc import Callable

from p2pal.checkpoint.replay import ReceiveState
from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.free_names import Announce, own_name, place_beside
from p2pal.disk.fs.locator import Locator
from p2pal.disk.fs.names import check_path, part_name
from p2pal.disk.fs.os_errors import STANDS_THERE
from p2pal.disk.fs.rename import Identity, identity_from
from p2pal.disk.sink.placement import Place, Placement, Policy
from p2pal.disk.sink.replacement import Replaceable, file_before, known_file, link_before, settle_name, untouched_file
from p2pal.errors import ProtocolError
from p2pal.wire.transfer import Entry, Reason

Renaming = Callable[[int, Identity, Identity], None]
"""Hears of a link that is about to replace another: its entry, which link it is, and which one it replaces."""


class Targets:
    """The places of one transfer's entries below the root directory. For one thread.

    Args:
        placement: Where the top-level entries go; resolved.
        tag: Eight characters (0-9, a-z) that name this transfer's unfinished files.
        umask: Permission bits never given.
        resume: What earlier sessions of this transfer left, if there were any: the directories that they made are
            made again by being found, and a file of theirs may be replaced if the source has a newer one.

    Raises:
        DiskError: If the root directory cannot be made or opened, or is not the one that the person was asked about.
    """

    def __init__(self, placement: Placement, tag: str, umask: int, resume: ReceiveState | None = None) -> None:
        self._root = placement.open_root()
        self._placement = placement
        self._tag = tag
        self._umask = umask
        self._names = {} if resume is None else dict(resume.names)
        self._renamed: dict[bytes, bytes] = {}  # top-level entries, in this session
        self._locator = Locator(self._root, lambda top: self._place(top).name, self._names, limit=32)
        self._refused: dict[bytes, Reason] = {}
        self._directories: set[Identity] = set()
        self._resume = resume
        self._ours: set[bytes] = set()
        self._consent_time = placement.consent_time(self._root, tag)

    def _place(self, top: bytes) -> Place:
        place = self._placement.place(top)
        if place is None:
            raise ProtocolError("the other side sent an entry that it did not offer")
        return place

    def _merges(self, path: bytes) -> bool:
        return self._place(path.split(b"/", 1)[0]).policy is Policy.MERGE

    def judge(self, path: bytes) -> tuple[Reason, str] | None:
        """Say why an entry cannot be made at this path; None if it may be tried.

        Raises:
            ProtocolError: If its top-level entry was not offered.
        """
        text = check_path(path)
        if text is not None:
            return Reason.NAME, text
        self._place(path.split(b"/", 1)[0])
        if self._refused:
            position = path.find(b"/")
            while position >= 0:
                reason = self._refused.get(path[:position])
                if reason is not None:
                    return reason, "its directory could not be made"
                position = path.find(b"/", position + 1)
        return None

    def locate(self, path: bytes) -> tuple[Directory, bytes]:
        """Return the directory (for the caller to release) and the final name of an entry.

        Raises:
            ProtocolError: If its top-level entry was not offered.
            OSError: If its directory is missing, a link, or no directory.
        """
        return self._locator.locate(path)

    def replaceable(self, index: int, path: bytes) -> Replaceable | None:
        """Return which file may be replaced by this entry; None if none may."""
        wrong = self._placement.wrong.get(path)
        if wrong is not None:
            return known_file(*wrong)
        placed = None if self._resume is None else self._resume.placed.get(index)
        if placed is not None:
            return untouched_file(placed)
        place = self._place(path.split(b"/", 1)[0])
        if place.policy is Policy.MERGE:
            return file_before(self._consent_time)
        if place.policy is Policy.REPLACE and place.replaces is not None and b"/" not in path:
            return known_file(place.replaces, place.ctime_ns)
        return None

    def make_directory(self, path: bytes, announce: Announce) -> Identity | None:
        """Make a directory, or find one that may be merged into: returns which it is if it is ours, None if found.

        One that an earlier session made is ours, too: at the top the one that was recorded, or an empty one, below
        any. A second entry for the same directory gets one of its own: on a file system that ignores case, two trees
        would mix.

        Args:
            path: The directory.
            announce: Hears of another name, before it is made, if something else has its own.

        Raises:
            OSError: If it cannot be.
        """
        parent, name = self.locate(path)
        try:
            ours, name = self._make_or_find(parent, path, name, announce)
            found = parent.status(name)
            if found is None or not stat.S_ISDIR(found.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, STANDS_THERE)
            identity = identity_from(found)
            self._directories.add(identity)
        finally:
            parent.release()
        if b"/" not in path:
            self._ours.add(path)
        return identity if ours else None

    def _make_or_find(self, parent: Directory, path: bytes, name: bytes, announce: Announce) -> tuple[bool, bytes]:
        """Make a directory under its own name, or find it, or make it beside what stands there.

        Returns:
            Whether it is ours, and its name.
        """
        if path in self._ours:  # offered twice, which an honest sender does not
            raise FileExistsError(errno.EEXIST, STANDS_THERE)
        with contextlib.suppress(FileExistsError):
            parent.make_directory(name)
            return True, name
        found = parent.status(name)
        if found is not None and stat.S_ISDIR(found.st_mode) and identity_from(found) not in self._directories:
            if self._adopts(path, parent, name):
                return True, name
            if self._merges(path):
                return False, name
        name = place_beside(parent, path, name, parent.make_directory, announce, is_directory=True)
        self._rename(path, name)
        return True, name

    def _rename(self, path: bytes, name: bytes) -> None:
        if b"/" in path:
            self._names[path] = name
        else:
            self._renamed[path] = name
            self._placement.rename(path, name)

    def other_name(self, path: bytes) -> bytes | None:
        """Return the name of an entry that did not get the one that was meant, because that was taken."""
        name = self._names.get(path) or self._renamed.get(path)
        return None if name == own_name(path) else name

    def to_be_recorded(self, path: bytes) -> bool:
        """Say whether a later session must be told that a directory is ours; others it finds below such ones."""
        return b"/" not in path or self._merges(path)

    def _adopts(self, path: bytes, parent: Directory, name: bytes) -> bool:
        """Say whether a directory that stands there was made by an earlier session."""
        if self._resume is None:
            return False
        found = parent.status(name)
        if found is None or not stat.S_ISDIR(found.st_mode):
            return False
        if self._resume.made.get(path) == identity_from(found):
            return True
        if self._merges(path):
            return False
        if b"/" in path:
            return True  # its top-level directory was judged before
        directory = parent.open_directory(name)
        try:
            return not directory.names()
        finally:
            directory.release()

    def gone(self, path: bytes) -> bool:
        """Say whether the directory that everything, or this entry, goes into was taken away while it was in use."""
        with contextlib.suppress(OSError):
            top, slash, _ = path.partition(b"/")
            if self._root.gone():
                return True
            place = self._placement.place(top)
            if slash and place is not None and top in self._ours:
                return self._root.status(place.name) is None
        return False

    def refuse(self, path: bytes, reason: Reason) -> None:
        """Let nothing be made below a directory that could not be made."""
        self._refused[path] = reason

    def make_link(
        self, index: int, entry: Entry, announce: Announce, renaming: Renaming | None = None
    ) -> list[Directory]:
        """Make a link; return the directory to be synced and released.

        Args:
            index: The entry's.
            entry: The link.
            announce: Hears of another name, before it is made, if something else has its own.
            renaming: Called before an older link is replaced.

        Raises:
            OSError: If it cannot be made.
        """
        directory, name = self.locate(entry.path)
        try:
            try:
                self._make_link(directory, name, index, entry, renaming)
            except FileExistsError:

                def put(free: bytes) -> None:
                    directory.make_link(free, entry.target)
                    directory.set_link_time(free, entry.mtime_ns)

                self._rename(entry.path, place_beside(directory, entry.path, name, put, announce))
        except BaseException:
            directory.release()
            raise
        return [directory]

    def _make_link(
        self, directory: Directory, name: bytes, index: int, entry: Entry, renaming: Renaming | None
    ) -> None:
        """Make a link under this name, or find it, or let it replace what may be replaced.

        Raises:
            FileExistsError: If something else has the name.
            OSError: If it cannot be made.
        """
        found = directory.status(name)
        if found is None:
            directory.make_link(name, entry.target)
            directory.set_link_time(name, entry.mtime_ns)
        elif not (stat.S_ISLNK(found.st_mode) and directory.read_link(name) == entry.target):
            replaceable = link_before(self._consent_time)
            if not self._merges(entry.path) or not replaceable(found):
                raise FileExistsError(errno.EEXIST, STANDS_THERE)
            part = part_name(self._tag, index)
            self._make_part_link(directory, part, entry.target)
            try:
                directory.set_link_time(part, entry.mtime_ns)
                made = directory.status(part)
                if made is not None and renaming is not None:
                    renaming(index, identity_from(made), identity_from(found))
                settle_name(directory, part, name, replaceable)
            except OSError:
                directory.remove(part)
                raise

    def _make_part_link(self, directory: Directory, part: bytes, target: bytes) -> None:
        """Make a link under a part file's name, or find the one that an earlier session made."""
        try:
            directory.make_link(part, target)
        except FileExistsError:
            found = directory.status(part)
            if self._resume is None or found is None or not stat.S_ISLNK(found.st_mode):
                raise
            if directory.read_link(part) != target:
                raise

    def finish_directory(self, entry: Entry, *, writable: bool = False) -> list[Directory]:
        """Set a directory's mode and time; return the directories to be synced and released.

        Args:
            entry: The directory.
            writable: Its owner may write into it whatever its mode says: more is to come.

        Raises:
            OSError: If it cannot be done.
        """
        directory = self._locator.directory(entry.path)
        try:
            mode = entry.mode & 0o777 & ~self._umask
            directory.set_attributes(mode | (stat.S_IRWXU if writable else 0), entry.mtime_ns)
            parent, _ = self.locate(entry.path)
        except BaseException:
            directory.release()
            raise
        return [directory, parent]

    def close(self) -> None:
        """Close all directories."""
        self._locator.close()
