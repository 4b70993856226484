"""Where entries may be made: paths from the peer turned into directories and names, and what may stand there.

One place decides for files, directories and links alike, so that no operation has a laxer way to a path than another.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import Final

from p2pal.errors import DiskError, ProtocolError
from p2pal.files.failures import STANDS_THERE, error_text
from p2pal.files.finisher import Replaceable, file_before, known_file, link_before, settle_name
from p2pal.files.names import check_path, part_name
from p2pal.files.placement import Place, Placement, Policy
from p2pal.files.renames import Identity
from p2pal.files.rooted import Directory, Tree, open_root
from p2pal.wire.transfer import Entry, Reason

_CLOCK_WAIT: Final = 0.05


class Targets:
    """The places of one transfer's entries below the root directory. For one thread.

    Args:
        placement: Where the top-level entries go; resolved.
        tag: Eight characters (0-9, a-z) that name this transfer's unfinished files.
        umask: Permission bits never given.

    Raises:
        DiskError: If the root directory cannot be made or opened, or is not the one that the person was asked about.
    """

    def __init__(self, placement: Placement, tag: str, umask: int) -> None:
        placement.prepare()
        try:
            self._root = open_root(os.fsencode(placement.root))
        except OSError as error:
            raise DiskError(f"{placement.root} cannot be used: {error_text(error)}") from error
        if placement.root_identity not in (None, self._root.identity):
            self._root.release()
            message = f"{placement.root} is another directory than a moment ago"
            raise DiskError(message, hint="look who else writes there, and choose another directory with -out")
        self._placement = placement
        self._tag = tag
        self._umask = umask
        self._tree = Tree(self._open_top, limit=32)
        self._refused: dict[bytes, Reason] = {}
        self._directories: set[Identity] = set()
        self._consent_time = self._filesystem_time() if placement.merges else 0

    def _open_top(self, name: bytes) -> Directory:
        return self._root.open_directory(self._place(name).name)

    def _place(self, top: bytes) -> Place:
        place = self._placement.place(top)
        if place is None:
            raise ProtocolError("the other side sent an entry that it did not offer")
        return place

    def _merges(self, path: bytes) -> bool:
        return self._place(path.split(b"/", 1)[0]).policy is Policy.MERGE

    def _filesystem_time(self) -> int:
        """Return the file system's own time now (ns); what this transfer makes later has a later ctime.

        The clock behind ctime ticks (4 ms is common), so this waits for the next tick; coarser ones (FAT) are not
        waited for.
        """
        name = part_name(self._tag, "clock")
        try:
            fd = self._root.create(name)
        except OSError:  # the root need not be writable where all goes into a directory in it
            return time.time_ns()
        try:
            first = latest = os.fstat(fd).st_ctime_ns
            give_up = time.monotonic() + _CLOCK_WAIT
            while latest <= first and time.monotonic() < give_up:
                self._root.set_file_attributes(fd, name, 0o600, time.time_ns())
                latest = os.fstat(fd).st_ctime_ns
        finally:
            os.close(fd)
            self._root.remove(name)
        return first

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
        parent, slash, name = path.rpartition(b"/")
        if not slash:
            return self._root.retain(), self._place(name).name
        return self._tree.directory(parent), name

    def replaceable(self, path: bytes) -> Replaceable | None:
        """Return which file may be replaced at this path; None if none may."""
        place = self._place(path.split(b"/", 1)[0])
        if place.policy is Policy.MERGE:
            return file_before(self._consent_time)
        if place.policy is Policy.REPLACE and place.replaces is not None and b"/" not in path:
            return known_file(place.replaces, place.ctime_ns)
        return None

    def make_directory(self, path: bytes) -> bool:
        """Make a directory, or find one that may be merged into: True if it was made.

        A second entry for the same directory is refused: on a file system that ignores case, two trees would mix.

        Raises:
            OSError: If it cannot be.
        """
        parent, name = self.locate(path)
        try:
            made = True
            try:
                parent.make_directory(name)
            except FileExistsError:
                if not self._merges(path):
                    raise
                made = False
            found = parent.status(name)
            if found is None or not stat.S_ISDIR(found.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, STANDS_THERE)
            identity = (found.st_dev, found.st_ino)
            if identity in self._directories:
                raise FileExistsError(errno.EEXIST, STANDS_THERE)
            self._directories.add(identity)
        finally:
            parent.release()
        return made

    def refuse(self, path: bytes, reason: Reason) -> None:
        """Let nothing be made below a directory that could not be made."""
        self._refused[path] = reason

    def make_link(self, index: int, entry: Entry) -> list[Directory]:
        """Make a link; return the directory to be synced and released.

        Raises:
            OSError: If it cannot be made.
        """
        directory, name = self.locate(entry.path)
        try:
            found = directory.status(name)
            if found is None:
                directory.make_link(name, entry.target)
            elif not (stat.S_ISLNK(found.st_mode) and directory.read_link(name) == entry.target):
                replaceable = link_before(self._consent_time)
                if not self._merges(entry.path) or not replaceable(found):
                    raise FileExistsError(errno.EEXIST, STANDS_THERE)
                part = part_name(self._tag, index)
                directory.make_link(part, entry.target)
                try:
                    settle_name(directory, part, name, replaceable)
                except OSError:
                    directory.remove(part)
                    raise
        except BaseException:
            directory.release()
            raise
        return [directory]

    def finish_directory(self, _index: int, entry: Entry) -> list[Directory]:
        """Set a directory's mode and time; return the directories to be synced and released.

        Raises:
            OSError: If it cannot be done.
        """
        directory = self._tree.directory(entry.path)
        try:
            directory.set_attributes(entry.mode & 0o777 & ~self._umask, entry.mtime_ns)
            parent, _ = self.locate(entry.path)
        except BaseException:
            directory.release()
            raise
        return [directory, parent]

    def close(self) -> None:
        """Close all directories."""
        self._tree.close()
        self._root.release()
