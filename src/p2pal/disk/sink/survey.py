"""Where an earlier session's files are: what the checkpoint says, compared with what the disk has, before it goes on.

The checkpoint knows what was durable; the disk may have less now (somebody deleted, cut or replaced a file) or more (a
file got its name, and the program was stopped before it could say so). What does not fit starts over, and only that.
Everything is reached from the root directory by handles that follow no link; what the checkpoint says is checked like
what a peer says.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import Final

from p2pal.checkpoint.placed import Placed
from p2pal.checkpoint.records import Begun, Claim, Done, Finishing, Resume, Stopped
from p2pal.checkpoint.replay import ReceiveState
from p2pal.disk.checkpoints.journal import Journal
from p2pal.disk.fs.directory import Directory, release_all
from p2pal.disk.fs.locator import Locator
from p2pal.disk.fs.names import check_path, part_name, part_names
from p2pal.disk.fs.part_files import find_part, is_own, remove_own
from p2pal.disk.fs.rename import Identity, identity_from
from p2pal.disk.sink.placement import Placement
from p2pal.disk.sink.rehash import hash_range
from p2pal.disk.sink.replacement import untouched_file
from p2pal.ranges import RangeSet
from p2pal.transfer.manifest import Manifest
from p2pal.wire.pieces import LeafHasher, file_digest, piece_count, piece_size
from p2pal.wire.transfer import Entry, EntryKind

GONE: Final = "it is no longer there"
OTHER_LINK: Final = "it is another link now"
WRONG: Final = "it is not what was received any more"
REPLACED: Final = "something else has its name now"
CHANGED: Final = "it was changed at the source"
CHANGED_BOTH: Final = "it was changed at the source, and here"
PART_GONE: Final = "its unfinished file is gone"
PART_REPLACED: Final = "its unfinished file was replaced"
PART_SHORT: Final = "its unfinished file was cut short"
OTHER_SIZE: Final = "it has quite another size now"

StartsOver = list[tuple[int, str]]
"""Entries of which something was there, or should have been, and why they begin anew."""


def survey(
    state: ReceiveState,
    placement: Placement,
    manifest: Manifest,
    tag: str,
    *,
    verify: bool,
    journal: Journal | None = None,
) -> tuple[Resume, StartsOver]:
    """Look at the disk, and say where the transfer goes on. Blocks; with ``verify`` as long as reading takes.

    Files that have their names, but of which the checkpoint does not say so yet, are made durable and recorded; what
    they replaced, and may still stand beside them, is removed. Nothing else changes.

    A file that has its name is done if it is offered as it was then, whatever a person made of it since. One that was
    changed at its source is sent again, and replaces what stands there if nobody touched that. Files that reading
    (``verify``) showed to be wrong are noted in the placement as replaceable. Anything else that stands there stays,
    and the entry fails for it.

    Args:
        state: What the checkpoint says; kept up to date.
        placement: The restored one.
        manifest: What is offered now; of the same shape.
        tag: Eight characters (0-9, a-z) that name this transfer's unfinished files.
        verify: Whether complete files are read again and compared, and nothing unfinished is trusted.
        journal: The checkpoint.

    Raises:
        DiskError: If the root directory cannot be opened, or is another one.
    """
    looking = _Survey(state, placement, manifest, tag, verify)
    try:
        late = looking.look_at_finishing()
        if late:
            record = Done(list(late))
            state.apply(record)
            if journal is not None:
                journal.write(record)
        done = looking.look_at_done()
        if verify:
            looking.look_at_begun_again()
        return Resume(done, state.declined, looking.look_at_claims(done)), looking.starts_over
    finally:
        looking.close()


class _Survey:
    """One look at the disk."""

    def __init__(self, state: ReceiveState, placement: Placement, manifest: Manifest, tag: str, verify: bool) -> None:
        self.starts_over: StartsOver = []
        self._state = state
        self._placement = placement
        self._manifest = manifest
        self._tag = tag
        self._verify = verify
        self._locator = Locator(placement.open_root(), self._name, state.names)

    def _name(self, top: bytes) -> bytes:
        place = self._placement.place(top)
        if place is None:
            raise FileNotFoundError
        return place.name

    @contextlib.contextmanager
    def _at(self, path: bytes) -> Iterator[tuple[Directory, bytes]]:
        """Reach an entry's directory; and its name there.

        Raises:
            OSError: If there is none.
        """
        if check_path(path) is not None:
            raise FileNotFoundError
        directory, name = self._locator.locate(path)
        try:
            yield directory, name
        finally:
            directory.release()

    def close(self) -> None:
        """Close all directories."""
        self._locator.close()

    def _entries(self, ranges: RangeSet) -> Iterator[tuple[int, Entry]]:
        for start, stop in ranges:
            for index in range(start, min(stop, len(self._manifest))):
                yield index, self._manifest[index]

    # What is done

    def look_at_done(self) -> RangeSet:
        """Return which of the entries that were done still are."""
        done = RangeSet()
        for index, entry in self._entries(self._state.done):
            if entry.kind is EntryKind.DIRECTORY:
                continue  # it is found when it is to be made
            try:
                with self._at(entry.path) as (directory, name):
                    problem = self._problem(index, entry, directory, name)
            except OSError:
                problem = GONE
            if problem is None:
                done.add(index, index + 1)
            else:
                self.starts_over.append((index, problem))
        return done

    def _problem(self, index: int, entry: Entry, directory: Directory, name: bytes) -> str | None:
        """Say why an entry that was done is not any more."""
        found = directory.status(name)
        if found is None:
            return GONE
        if entry.kind is EntryKind.LINK:
            same = stat.S_ISLNK(found.st_mode) and directory.read_link(name) == entry.target
            return None if same else OTHER_LINK
        placed = self._state.placed.get(index)
        if not stat.S_ISREG(found.st_mode) or placed is None:
            return REPLACED
        if (entry.size, entry.mtime_ns) == (placed.size, placed.mtime_ns):
            if not self._verify or self._has_digest(directory, name, placed.digest):
                return None
        elif untouched_file(placed)(found):
            return CHANGED
        elif not self._verify:
            return CHANGED_BOTH
        self._may_replace(entry, found)
        return WRONG

    def look_at_begun_again(self) -> None:
        """Let files be replaced that an earlier session began to replace."""
        for index in self._state.placed:
            if index >= len(self._manifest) or index in self._state.done:
                continue
            entry = self._manifest[index]
            with contextlib.suppress(OSError), self._at(entry.path) as (directory, name):
                found = directory.status(name)
                if found is not None and stat.S_ISREG(found.st_mode):
                    self._may_replace(entry, found)

    def _may_replace(self, entry: Entry, found: os.stat_result) -> None:
        self._placement.wrong[entry.path] = identity_from(found), found.st_ctime_ns

    def _has_digest(self, directory: Directory, name: bytes, digest: bytes) -> bool:
        """Read a file, and say whether it has this digest."""
        try:
            fd = directory.open_read(name)
        except OSError:
            return False
        try:
            found = os.fstat(fd)
            return stat.S_ISREG(found.st_mode) and _digest(fd, found.st_size) == digest
        except (OSError, ValueError):
            return False
        finally:
            os.close(fd)

    # What was on its way to its name

    def look_at_finishing(self) -> RangeSet:
        """Return which of the entries that were about to get their names have them, durably."""
        late = RangeSet()
        begun = self._state.begun
        directories: dict[Identity, Directory] = {}
        arrived: list[tuple[int, Directory]] = []
        try:
            for index, finishing in self._state.finishing.items():
                if index >= len(self._manifest):
                    continue
                entry = self._manifest[index]
                with contextlib.suppress(OSError), self._at(entry.path) as (directory, name):
                    if self._arrived(directory, name, entry, finishing, begun.get(index)):
                        if directory.identity not in directories:
                            directories[directory.identity] = directory.retain()
                        arrived.append((index, directories[directory.identity]))
            durable = {each for each, directory in directories.items() if _synced(directory)}
            for index, directory in arrived:
                if directory.identity in durable:
                    late.add(index, index + 1)
        finally:
            release_all(directories.values())
        return late

    def _arrived(
        self, directory: Directory, name: bytes, entry: Entry, finishing: Finishing, begun: Begun | None
    ) -> bool:
        """Say whether a file has its name, and remove what the renaming may have left.

        The inode alone could be that of a younger file: numbers are used again at once when a file is deleted.
        """
        wanted = {EntryKind.FILE: stat.S_ISREG, EntryKind.LINK: stat.S_ISLNK}.get(entry.kind)
        found = directory.status(name)
        if wanted is None:
            return False
        if found is not None and wanted(found.st_mode) and identity_from(found) == finishing.part:
            if entry.kind is EntryKind.FILE and (
                begun is None or not untouched_file(Placed(begun.size, begun.mtime_ns, finishing.digest))(found)
            ):
                return False
            for part in part_names(self._tag, finishing.index):
                # An exchange leaves the older file, a link under a new name the file itself.
                for own in (finishing.part, finishing.replaces):
                    if own is not None:
                        remove_own(directory, part, own)
            return True
        if entry.kind is EntryKind.LINK:
            remove_own(directory, part_name(self._tag, finishing.index), finishing.part)
        return False

    # What is unfinished

    def look_at_claims(self, done: RangeSet) -> dict[int, Claim]:
        """Return what of unfinished files can be gone on with."""
        claims: dict[int, Claim] = {}
        begun = self._state.begun
        for index, claim in self._state.claims.items():
            if index in done or index >= len(self._manifest) or index in self._state.declined:
                continue
            try:
                found = self._judge(self._manifest[index], begun[index], claim)
            except OSError:
                found = PART_GONE
            if isinstance(found, str):
                self.starts_over.append((index, found))
            elif found is not None:
                claims[index] = found
        return claims

    def _judge(self, entry: Entry, begun: Begun, claim: Claim) -> Claim | str | None:
        """Return what of a claim holds, or why nothing does; None if there is nothing to say."""
        if entry.kind is not EntryKind.FILE or entry.path != begun.path:
            return PART_GONE
        size = piece_size(begun.size)
        with self._at(entry.path) as (directory, _):
            found = find_part(directory, self._tag, begun.index, begun.part)
            if found is None:
                replaced = directory.status(part_name(self._tag, begun.index)) is not None
                return PART_REPLACED if replaced else PART_GONE
            status = found[1]
        if not is_own(status, begun.part):
            return PART_REPLACED
        if status.st_size < _needed(begun.size, size, claim):
            return PART_SHORT
        if piece_size(entry.size) != size:
            return OTHER_SIZE
        count = piece_count(entry.size, size)
        if count < 2:
            return OTHER_SIZE

        def stop(piece: int) -> int:
            return min((piece + 1) * size, entry.size)

        leaves = {
            piece: leaf
            for piece, leaf in claim.leaves.items()
            if piece < count and stop(piece) == min((piece + 1) * size, begun.size)
        }
        # Only the first piece that is lacking can be gone on with in its midst.
        first = next((piece for piece in range(count) if piece not in leaves), count)
        head = claim.head if claim.piece == first < count and first * size + claim.head < stop(first) else 0
        if not leaves and not head:
            return None
        trusted = not self._verify and claim.trusted and _is_untouched(status, self._state.stopped.get(begun.index))
        return Claim(begun.part, leaves, first if head else 0, head, trusted)


def _digest(fd: int, size: int) -> bytes | None:
    """Return a file's digest; None if it ends early."""
    pieces = piece_size(size)
    leaves = []
    for piece in range(piece_count(size, pieces)):
        hasher = LeafHasher()
        if not hash_range(fd, piece * pieces, min((piece + 1) * pieces, size), hasher):
            return None
        leaves.append(hasher.digest())
    return file_digest(size, pieces, leaves)


def _needed(size: int, pieces: int, claim: Claim) -> int:
    """Return how many bytes a part file must have at least if what is claimed is there."""
    whole = min((max(claim.leaves) + 1) * pieces, size) if claim.leaves else 0
    return max(whole, claim.piece * pieces + claim.head if claim.head else 0)


def _is_untouched(found: os.stat_result, stopped: Stopped | None) -> bool:
    """Say whether nobody has written to a part file since a clean stop."""
    return stopped is not None and (
        identity_from(found), found.st_size, found.st_mtime_ns, found.st_ctime_ns
    ) == (stopped.part, stopped.size, stopped.mtime_ns, stopped.ctime_ns)  # fmt: skip


def _synced(directory: Directory) -> bool:
    try:
        directory.sync()
    except OSError:
        return False
    return True
