"""Where the entries of an offer go: decided once for each top-level entry, before anything is written.

``out`` means what it means to cp and scp: an existing directory is written into; otherwise a single top-level entry
gets exactly that path, and several get a new directory of that name. Nothing that exists is replaced without consent:
the new entry stands beside it as ``name (1)``. With consent, a file replaces exactly the file that was there when the
person agreed, and a directory is merged into; what cannot be replaced (a link, a directory under a file's name) is not,
and the new entry stands beside it as well.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from p2pal.checkpoint import records as checkpoint_records
from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.names import check_path, free_name, part_name
from p2pal.disk.fs.os_errors import error_text
from p2pal.disk.fs.rename import Identity, identity_from
from p2pal.disk.fs.root import open_root
from p2pal.disk.sink.preflight import check_parent, not_usable
from p2pal.errors import CheckpointError, DiskError
from p2pal.units import size
from p2pal.wire.transfer import EntryKind, name_text

_CLOCK_WAIT: Final = 0.05
_MASK: Final = 2**64 - 1


class Policy(Enum):
    """What may stand where a top-level entry goes."""

    NEW = "nothing may stand there"
    REPLACE = "one known file may be replaced"
    MERGE = "a directory may stand there; regular files in it may be replaced"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one top-level entry goes.

    Attributes:
        name: Its name in the root directory.
        policy: What may stand there.
        replaces: With :attr:`Policy.REPLACE`, the file that may be replaced.
        ctime_ns: When that file was last changed, in nanoseconds.
    """

    name: bytes
    policy: Policy = Policy.NEW
    replaces: Identity | None = None
    ctime_ns: int = 0


@dataclass(frozen=True, slots=True)
class _Wish:
    """A top-level entry before it is decided: its preferred name and what stands there."""

    name: bytes
    kind: EntryKind
    found: os.stat_result | None


class Placement:
    """The places of all top-level entries. Made by :func:`plan`; :meth:`resolve` must follow before writing.

    Attributes:
        root: The directory that everything goes into.
        make_root: Whether it must be made first.
        root_identity: Which directory it was when the person was asked; None where there was none.
        existing: Names in the root, as offered or as ``out`` gives, under which something stands already.
        consent_ns: The file system's time at consent; None until it is needed.
        wrong: Files that this transfer made and that proved wrong: each may be replaced, by its path as offered.
    """

    def __init__(self, root: Path, make_root: bool, wishes: dict[bytes, _Wish]) -> None:
        self.root = root
        self.make_root = make_root
        self.root_identity = None if make_root else _identity(root)
        self.existing = [wish.name for wish in wishes.values() if wish.found is not None]
        self.consent_ns: int | None = None
        self.wrong: dict[bytes, tuple[Identity, int]] = {}
        self._wishes = wishes
        self._places: dict[bytes, Place] = {}

    @classmethod
    def restored(
        cls,
        root: Path,
        identity: Identity,
        places: Mapping[bytes, checkpoint_records.PlaceRecord],
        consent_ns: int,
        *,
        anew: bool = False,
    ) -> Placement:
        """Return the placement of an earlier session; nothing is to be resolved.

        Args:
            root: The directory, wherever it is now.
            identity: Which directory it was.
            places: Every top-level entry's, by its name as offered.
            consent_ns: The file system's time at consent.
            anew: A person names it: it may have been made anew, where it is an empty directory of this user on the same
                file system. In that one nothing may be replaced: the consent was for the other.

        Raises:
            DiskError: If it is not there any more, or another directory is.
            CheckpointError: If a name is none that a placement gives.
        """
        made = cls(root, False, {})
        other = made.root_identity != identity
        if other:
            _check_anew(root, identity, named=anew)
        for top, place in places.items():
            if b"/" in place.name or check_path(place.name) is not None:
                raise CheckpointError("the checkpoint gives a name that cannot be used")
            known = Place(place.name, Policy[place.policy], place.replaces, place.ctime_ns)
            made._places[top] = Place(place.name) if other else known
        made.consent_ns = consent_ns
        return made

    def resolve(self, *, overwrite: bool) -> None:
        """Fix the final names.

        Args:
            overwrite: Whether a person agreed that what is in ``existing`` is replaced.

        Raises:
            DiskError: If no free name is left for an entry.
        """
        self._places = {}
        claimed = {wish.name for wish in self._wishes.values()}
        for top, wish in self._wishes.items():
            self._places[top] = self._place(wish, claimed, overwrite)

    def _place(self, wish: _Wish, claimed: set[bytes], overwrite: bool) -> Place:
        if wish.found is None:
            return Place(wish.name)
        mode = wish.found.st_mode
        if overwrite and wish.kind is EntryKind.FILE and stat.S_ISREG(mode):
            found = wish.found
            return Place(wish.name, Policy.REPLACE, identity_from(found), found.st_ctime_ns)
        if overwrite and wish.kind is EntryKind.DIRECTORY and stat.S_ISDIR(mode):
            return Place(wish.name, Policy.MERGE)

        def taken(name: bytes) -> bool:
            return name in claimed or os.path.lexists(os.path.join(os.fsencode(self.root), name))

        try:
            name = free_name(taken, wish.name, directory=wish.kind is EntryKind.DIRECTORY)
        except FileExistsError as error:
            raise DiskError("no free name is left beside an existing file") from error
        claimed.add(name)
        return Place(name)

    def records(self) -> list[checkpoint_records.PlaceRecord]:
        """Return the places as a checkpoint keeps them."""
        return [
            checkpoint_records.PlaceRecord(top, place.name, place.policy.name, place.replaces, place.ctime_ns)  # type: ignore[arg-type]
            for top, place in self._places.items()
        ]

    def target(self, tag: str) -> checkpoint_records.Target:
        """Return where everything goes, as a checkpoint keeps it; makes the root directory if it must be made.

        Args:
            tag: Eight characters (0-9, a-z) that name this transfer's unfinished files.

        Raises:
            DiskError: If the root directory cannot be made or opened, or is another one now.
        """
        root = self.open_root()
        try:
            path = os.path.abspath(os.fsencode(self.root))
            return checkpoint_records.Target(path, root.identity, self.consent_time(root, tag))
        finally:
            root.release()

    def open_root(self) -> Directory:
        """Open the root directory, for the caller to release; make it first if it must be made.

        Raises:
            DiskError: If that cannot be, or it is not the one that the person was asked about.
        """
        self.prepare()
        try:
            root = open_root(os.fsencode(self.root))
        except OSError as error:
            raise DiskError(f"{self.root} cannot be used: {error_text(error)}") from error
        if self.root_identity not in (None, root.identity):
            root.release()
            message = f"{self.root} is another directory than a moment ago"
            raise DiskError(message, hint="look who else writes there, and choose another directory with -out")
        return root

    def consent_time(self, root: Directory, tag: str) -> int:
        """Return the file system's time at consent (ns), 0 where nothing is merged; always the same once asked."""
        if self.consent_ns is None:
            self.consent_ns = _filesystem_time(root, tag) if self.merges else 0
        return self.consent_ns

    def place(self, top: bytes) -> Place | None:
        """Return where the top-level entry offered under this name goes; None if no such one was planned."""
        return self._places.get(top)

    def rename(self, top: bytes, name: bytes) -> None:
        """Give a top-level entry another name, under which nothing stood: its own was taken meanwhile."""
        self._places[top] = Place(name)

    @property
    def merges(self) -> bool:
        """Whether any existing directory is merged into."""
        return any(place.policy is Policy.MERGE for place in self._places.values())

    @property
    def renamed(self) -> dict[str, str]:
        """The offered top-level names that differ from those on disk, with the latter."""
        return {name_text(top): name_text(place.name) for top, place in self._places.items() if top != place.name}

    def path(self, top: bytes) -> Path:
        """Return the final path of a top-level entry."""
        return self.root / os.fsdecode(self._places[top].name)

    def check_space(self, total: int) -> None:
        """Look whether ``total`` bytes fit. Where the system does not know, they do.

        Raises:
            DiskError: If they do not fit; says how much is missing.
        """
        try:
            usage = shutil.disk_usage(_nearest(self.root))
        except OSError:
            return
        if usage.total > 0 and usage.free < total:
            missing = size(total - usage.free)
            raise DiskError(f"not enough space: {size(total)} to receive, {size(usage.free)} free, {missing} missing")

    def prepare(self) -> None:
        """Make the root directory if it must be made, once.

        Raises:
            DiskError: If that failed, or something came to stand there since :func:`plan` looked: it is not what the
                person agreed to, and a link would lead elsewhere.
        """
        if not self.make_root:
            return
        try:
            os.mkdir(self.root)
            parent = open_root(os.fsencode(self.root.parent))
            parent.sync()
            parent.release()
            self.make_root = False
            self.root_identity = _identity(self.root)
        except FileExistsError as error:
            message = f"{self.root} did not exist a moment ago, and does now"
            raise DiskError(message, hint="look what it is, and choose another directory with -out") from error
        except OSError as error:
            raise DiskError(f"{self.root} could not be made: {error_text(error)}") from error


def plan(out: Path, tops: Iterable[tuple[bytes, EntryKind]]) -> Placement:
    """Decide where the top-level entries go, and find out what stands there. Changes nothing.

    Args:
        out: A directory to write into, or the path of the one top-level entry, or of a directory to be made.
        tops: Names and kinds of the top-level entries. Names that cannot be used here get no place.

    Raises:
        DiskError: If ``out`` cannot be used: its parent is missing, it is a device, or it is a file and several entries
            are offered.
    """
    entries = dict(tops)
    try:
        mode = os.stat(out).st_mode
        directory, exists = stat.S_ISDIR(mode), True
        if not directory and not stat.S_ISREG(mode):
            raise DiskError(not_usable(out), hint="name another file or directory with -out")
    except OSError:
        directory, exists = False, os.path.lexists(out)
    if directory:
        return Placement(out, False, _wishes(out, entries))
    if exists and len(entries) != 1:
        raise DiskError(
            f"{out} is no directory, and more than one entry is offered", hint="choose a directory with -out"
        )
    parent = out.parent
    check_parent(out)
    if len(entries) == 1:
        top, kind = next(iter(entries.items()))
        name = os.fsencode(out.name)
        if check_path(name) is not None:
            raise DiskError(f"{out} cannot be the name of what is received", hint="choose another name with -out")
        return Placement(parent, False, {top: _Wish(name, kind, _status(parent, name))})
    return Placement(out, True, {top: _Wish(top, kind, None) for top, kind in entries.items() if not check_path(top)})


def _wishes(root: Path, entries: dict[bytes, EntryKind]) -> dict[bytes, _Wish]:
    return {top: _Wish(top, kind, _status(root, top)) for top, kind in entries.items() if check_path(top) is None}


def _status(root: Path, name: bytes) -> os.stat_result | None:
    try:
        return os.lstat(os.path.join(os.fsencode(root), name))
    except OSError:  # missing, or unreadable: then writing fails and says why
        return None


def _identity(directory: Path) -> Identity | None:
    try:
        found = os.stat(directory)
    except OSError:  # opening it will say why
        return None
    return identity_from(found)


def _check_anew(root: Path, before: Identity, *, named: bool) -> None:
    """Raise DiskError unless the directory was made anew where it was, and a person named it.

    A link that leads elsewhere is none. Without a person's word the one of before may as well have been moved.
    """
    hint = "mount its disk or make it again, or say with -out where it is now"
    try:
        found = os.lstat(root)
    except OSError as error:
        raise DiskError(f"{root} is not there any more", hint=hint) from error
    if found.st_dev & _MASK != before[0]:
        raise DiskError(f"{root} is another directory than before; is its disk mounted?", hint=hint)
    ours = sys.platform != "win32" and found.st_uid == os.geteuid()
    try:
        empty = stat.S_ISDIR(found.st_mode) and not os.listdir(root)
    except OSError:
        empty = False
    if ours and empty and named:
        return
    hint = "say with -out where that directory is now"
    if ours and empty:
        hint += ", or name this one to begin anew in it"
    raise DiskError(f"{root} is another directory than before", hint=hint)


def _filesystem_time(root: Directory, tag: str) -> int:
    """Return the file system's own time now (ns); what this transfer makes later has a later ctime.

    The clock behind ctime ticks (4 ms is common), so this waits for the next tick; coarser ones (FAT) are not
    waited for.
    """
    name = part_name(tag, "clock")
    try:
        fd = root.create(name)
    except OSError:  # the root need not be writable where all goes into a directory in it
        return time.time_ns()
    try:
        first = latest = os.fstat(fd).st_ctime_ns
        give_up = time.monotonic() + _CLOCK_WAIT
        while latest <= first and time.monotonic() < give_up:
            root.set_file_attributes(fd, name, 0o600, time.time_ns())
            latest = os.fstat(fd).st_ctime_ns
    finally:
        os.close(fd)
        root.remove(name)
    return first


def _nearest(path: Path) -> Path:
    """Return the path itself, or the closest directory above it that exists."""
    path = Path(os.path.abspath(path))
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
