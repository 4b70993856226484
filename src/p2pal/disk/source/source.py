"""The sender's disk: the tree behind the command line's arguments, walked once and read as asked.

Nothing is hashed or opened beforehand. A file is sent as it is when its turn comes; one that is written to meanwhile is
never sent half old, half new (:mod:`p2pal.disk.source.reader`), and one that has another size by then fails.

When an earlier transfer goes on, the walk is that one's listing, looked at again (:mod:`p2pal.disk.source.relist`), and
pieces whose leaves are known need not be read for them (:mod:`p2pal.disk.source.leaf_cache`).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, Self

from p2pal.checkpoint.records import Listing, TopRecord, Tops
from p2pal.disk.fs.directory import OPEN_READ, Directory, Tree
from p2pal.disk.fs.identities import Identities, Identity3, in_range, version_of
from p2pal.disk.fs.names import free_name, is_part_name
from p2pal.disk.fs.os_errors import error_text
from p2pal.disk.fs.root import open_root
from p2pal.disk.sink.preflight import check_current_directory
from p2pal.disk.source.exclusion import Exclusion
from p2pal.disk.source.leaf_cache import FileLeaves, LeafStore, can_be_trusted
from p2pal.disk.source.reader import RESIZED, read_pieces
from p2pal.disk.source.relist import Relisting, check_tops
from p2pal.disk.source.report import FindingKind, Findings
from p2pal.disk.source.selection import ListedNames, Selection
from p2pal.disk.source.walk import SPECIAL, Walk, WalkFailed
from p2pal.errors import UsageError
from p2pal.ranges import RangeSet
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.ops import ReadFailed, ReadJob, SourceResult
from p2pal.wire.transfer import Entry, Reason, name_text

_TOPS_IN_A_RECORD: Final = 1000

CHANGED_SINCE: Final = "it is no file any more"
LEFT_OUT: Final = "left out by the sender for good"


class Source:
    """The files, directories and links that were named on the command line, and all below them.

    A symbolic link that was named is followed; one inside a tree never is: it travels as a link.
    :meth:`walk` runs first and once; :meth:`read` any time after it. One thread at a time, but for :meth:`forget`.

    Args:
        paths: The arguments.
        recursive: Whether directories may be sent.
        skip_errors: Whether an argument that cannot be sent is only reported by :meth:`walk`.
        one_file_system: Whether directories where another file system is mounted are sent without their contents.
        exclusion: What is left out.
        listed: Further names, relative to the current directory, which keep the directories that they have.
        clock: Gives the time in seconds since the epoch.

    Attributes:
        known_leaves: Leaves that need not be computed again.
        given_up: Entries that a person does not want any more: they are not read.
        findings: What a person should know of what is sent; complete once :meth:`walk` has ended.
        changed: Files of a restored source that are not the ones that were listed first.
        vanished: Files of a restored source that cannot be sent any more, and why. Both are known once :meth:`walk`
            has ended.

    Raises:
        UsageError: If an argument is missing, special, cannot be read, or is a directory without ``recursive``, or
            nothing is left, or all of it is left out by patterns.
        DiskError: If an argument is relative and the current directory is gone.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        recursive: bool,
        skip_errors: bool = False,
        one_file_system: bool = False,
        exclusion: Exclusion | None = None,
        listed: Sequence[str | os.PathLike[str]] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not paths and not listed:
            raise UsageError("nothing to send was named")
        if not all(map(os.path.isabs, (*paths, *listed))):
            check_current_directory()
        self._begin({}, None, clock)
        self._skip_errors = skip_errors
        self._one_file_system = one_file_system
        self._exclusion = exclusion or Exclusion()
        failures = []
        for path in paths:
            failure = self._add(os.fspath(path), recursive=recursive)
            if failure is not None:
                failures.append(failure)
        names = ListedNames()
        for path in listed:
            failure = self._add_listed(os.fspath(path), names, recursive=recursive)
            if failure is not None:
                failures.append(failure)
        if failures and (not skip_errors or len(failures) == len(paths) + len(listed)):
            raise failures[0]
        self._exclude_tops()

    @classmethod
    def restored(
        cls,
        tops: Iterable[TopRecord],
        listing: Iterable[tuple[Entry, Identity3]],
        leaves: Mapping[int, Mapping[int, bytes]],
        leaves_at: Mapping[int, float],
        *,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Return the source of an earlier session, from its checkpoint.

        :meth:`walk` yields the entries that were listed then, in their order; see :mod:`p2pal.disk.source.relist`.

        Args:
            tops: The arguments.
            listing: The entries, and (device, inode, ctime_ns) of each when it was listed. Read by :meth:`walk`.
            leaves: By entry and piece. Those of files that are no longer the same are left aside.
            leaves_at: When the first of each entry's leaves was hashed, seconds since the epoch.
            clock: Gives the time in seconds since the epoch.

        Raises:
            CheckpointError: If these cannot have been arguments; from :meth:`walk`, if the entries do not fit them.
        """
        source = cls.__new__(cls)
        source._begin(check_tops(tops), Relisting(listing, leaves, leaves_at), clock)
        return source

    def _begin(self, tops: dict[bytes, TopRecord], earlier: Relisting | None, clock: Callable[[], float]) -> None:
        self._tops = tops
        self._earlier = earlier
        self._clock = clock
        self._skip_errors = True
        self._one_file_system = False
        self._exclusion = Exclusion()
        self._selection = Selection()
        self.findings = Findings()
        self._failures: dict[bytes, WalkFailed] = {}
        self._tree = Tree(self._open_top)
        self._seen = Identities()
        self.changed: set[int] = set() if earlier is None else earlier.changed
        self.vanished: dict[int, str] = {} if earlier is None else earlier.vanished
        self.known_leaves = LeafStore()
        self.given_up = RangeSet()

    @property
    def names(self) -> list[bytes]:
        """The top-level names that can be sent."""
        return [name for name in self._tops if name not in self._failures]

    def _add(self, path: str, *, recursive: bool) -> UsageError | None:
        """Take an argument; return why it cannot be sent.

        Raises:
            UsageError: If it is empty. That is nobody's file, and would be taken for the current directory.
        """
        if not path:
            raise UsageError("an empty name was given to send", hint="a variable may not be set")
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
        if error is None and is_part_name(name):
            error = UsageError(f"{path} has a name that p2pal uses for unfinished files", hint="rename it to send it")
        if error is None and (text := _unreadable(path, directory=directory)):
            error = UsageError(f"{path}: {text}", hint="see who may read it, or leave it out")
        if error is not None:
            text = error.message.removeprefix(f"{path}: ").removeprefix(f"{path} is ")
            self._fail(name, text, directory=directory)
            return error
        name = free_name(self._tops.__contains__, name, directory=directory)
        self._tops[name] = TopRecord(name, os.fsencode(os.path.abspath(path)), directory)
        return None

    def _fail(self, name: bytes, text: str, *, directory: bool = False) -> None:
        key = b"/%d" % len(self._tops)  # no name that another argument could have
        self._failures[key] = WalkFailed(name_text(name), Reason.READ, text)
        self._tops[key] = TopRecord(key, b"", directory)

    def _add_listed(self, path: str, names: ListedNames, *, recursive: bool) -> UsageError | None:
        """Take a name of a list, which keeps the directories that it has; return why it cannot be sent.

        Args:
            path: The name. One that is absolute, or leads out of the current directory, is an argument like others.
            names: What is known of the list.
            recursive: Whether it may be a directory.
        """
        normal = os.path.normpath(path) if path else path
        first, _, rest = normal.partition(os.sep)
        if os.path.isabs(normal) or first in {"", ".", ".."}:
            return self._add(path, recursive=recursive)
        try:
            names.check(normal, recursive=recursive)
        except UsageError as error:
            self._fail(os.fsencode(normal), error.message.removeprefix(f"{normal}: "))
            return error
        if first not in names.tops:
            failure = self._add(first, recursive=True)
            if failure is not None:
                return failure
            names.tops[first] = next(reversed(self._tops))
            if rest:
                self._selection.restrict(names.tops[first])
        if rest:
            self._selection.add(names.tops[first] + b"/" + os.fsencode(rest.replace(os.sep, "/")))
        else:
            self._selection.take_all(names.tops[first])
        return None

    def _exclude_tops(self) -> None:
        for top in list(self._tops.values()):
            if top.name not in self._failures and self._exclusion.excludes(top.name, directory=top.directory):
                self.findings.add(FindingKind.EXCLUDED, top.name, left_out=True)
                del self._tops[top.name]
        if not self._tops:
            raise UsageError("everything that was named is left out by a pattern", hint="see --exclude")

    def _open_top(self, name: bytes) -> Directory:
        return open_root(self._tops[name].path)

    # The walk

    def walk(self) -> Iterator[Entry | WalkFailed]:
        """Yield every entry, parents before children, a directory's children in the order of their bytes.

        The position of an entry among the entries yielded is its index in the offer: :meth:`read` counts on it.
        Memory grows by 24 bytes for each entry, and by the names of the directories that are open at one time.
        """
        if self._earlier is not None:
            yield from self._earlier.walk(self._tops, self._tree, self._seen, self.known_leaves)
            return
        walk = Walk(
            self._tree,
            self._seen,
            self.findings,
            one_file_system=self._one_file_system,
            skip_errors=self._skip_errors,
            exclusion=self._exclusion,
            selection=self._selection,
        )
        yield from walk.run(self._tops, self._failures)

    # For the checkpoint

    def tops_records(self) -> Iterator[Tops]:
        """Yield the arguments that can be sent, as a checkpoint keeps them."""
        tops = (top for name, top in self._tops.items() if name not in self._failures)
        while some := list(islice(tops, _TOPS_IN_A_RECORD)):
            yield Tops(some)

    def listing_records(self, manifest: Manifest) -> Iterator[Listing]:
        """Yield all entries as a checkpoint keeps them.

        Args:
            manifest: What :meth:`walk` yielded, all of it.
        """
        return self._seen.listings(manifest)

    # Reading

    def read(self, job: ReadJob) -> Iterator[SourceResult]:
        """Yield a job's blocks, the leaf after each piece, and at last FileRead; or ReadFailed, and nothing after it.

        Blocks. The job's index must be the position at which :meth:`walk` yielded the entry.
        """
        if job.index in self.given_up:
            yield ReadFailed(job.index, Reason.DECLINED, LEFT_OUT)
            return
        gone = self.vanished.get(job.index)
        if gone is not None:
            yield ReadFailed(job.index, Reason.READ, gone)
            return
        try:
            fd = self._open(job.entry.path)
        except OSError as error:
            yield ReadFailed(job.index, Reason.READ, error_text(error))
            return
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                yield ReadFailed(job.index, Reason.CHANGED, CHANGED_SINCE)
            elif found.st_size != job.entry.size:
                yield ReadFailed(job.index, Reason.CHANGED, RESIZED)
            else:
                yield from read_pieces(fd, found, job, self._known(job, found), clock=self._clock)
        finally:
            os.close(fd)

    def _known(self, job: ReadJob, found: os.stat_result) -> FileLeaves | None:
        """Return what may be believed of the file's leaves; None where nothing is to be remembered.

        Of a repair: what was said of them.
        """
        if job.again:
            return self.known_leaves.find(job.index)
        if job.entry.size <= job.piece_size:
            return None
        now = self._clock()
        known = self.known_leaves.of(job.index, job.piece_size, now)
        if not self._is_listed(job, found) or not can_be_trusted(found, known.at):
            known.restart(now)
        return known

    def forget(self, index: int) -> None:
        """Drop the leaves of a file that was judged. Any thread may say so, also while the file is read."""
        self.known_leaves.forget(index)

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
        same_times = in_range(found.st_mtime_ns) == job.entry.mtime_ns
        return same_times and found.st_size == job.entry.size and version_of(found) == self._seen[job.index]

    def identity(self, index: int) -> Identity3:
        """Return (device, inode, ctime_ns) of an entry as the walk saw it; size and mtime are in the entry."""
        return self._seen[index]

    def close(self) -> None:
        """Close the directories that are kept open."""
        self._tree.close()


def _unreadable(path: str, *, directory: bool) -> str:
    """Return why an argument cannot be read; empty if it can. It is only opened."""
    try:
        if directory:
            os.scandir(path).close()
        else:
            os.close(os.open(path, OPEN_READ))
    except OSError as error:
        return error_text(error)
    return ""
