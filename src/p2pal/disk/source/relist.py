"""The listing of an earlier session, looked at again: which files are still the same, which changed, which are gone.

Entries keep their places, so that both sides go on with the numbers they know. Of files, size, mode and time are
today's; directories and links travel as they were offered. Everything is reached as on the first walk: through handles
that follow no link inside a tree (:mod:`p2pal.disk.fs.directory`).
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from p2pal.checkpoint.records import TopRecord
from p2pal.disk.fs.directory import Tree
from p2pal.disk.fs.identities import PERMISSIONS, Identities, Identity3, in_range, version_of
from p2pal.disk.fs.names import ON_WINDOWS
from p2pal.disk.fs.os_errors import error_text
from p2pal.disk.source.leaf_cache import LeafStore, can_be_trusted
from p2pal.errors import CheckpointError
from p2pal.wire.pieces import piece_size
from p2pal.wire.transfer import Entry, EntryKind

GONE: Final = "it is no longer there"

_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_NO_PARTS: Final = frozenset({b"", b".", b".."})
_NO_CHARACTERS: Final = (b"\0", b"\\", b":") if ON_WINDOWS else (b"\0",)


class Relisting:
    """The second look.

    Args:
        listing: The entries in their order, each with its identity when it was first listed.
        leaves: By entry and piece, as the checkpoint has them.
        leaves_at: When the first leaf of each entry was hashed, seconds since the epoch.

    Attributes:
        changed: Files that are not the ones that were listed, but can be sent.
        vanished: Files that cannot be sent any more, and why.
    """

    def __init__(
        self,
        listing: Iterable[tuple[Entry, Identity3]],
        leaves: Mapping[int, Mapping[int, bytes]],
        leaves_at: Mapping[int, float],
    ) -> None:
        self._listing = listing
        self._leaves = leaves
        self._leaves_at = leaves_at
        self.changed: set[int] = set()
        self.vanished: dict[int, str] = {}

    def walk(self, tops: Mapping[bytes, TopRecord], tree: Tree, seen: Identities, store: LeafStore) -> Iterator[Entry]:
        """Yield every entry; add each one's identity to ``seen`` and what is still true of its leaves to ``store``.

        Raises:
            CheckpointError: If the listing names what its arguments cannot have contained.
        """
        for entry, listed in self._listing:
            _check(entry.path, tops)
            if entry.kind is not EntryKind.FILE:
                seen.append(listed)
                yield entry
                continue
            found = self._look(entry.path, tops, tree, len(seen))
            if found is None:
                seen.append(listed)
                yield entry
                continue
            current = version_of(found)
            index = seen.append(current)
            same = current == listed and found.st_size == entry.size and in_range(found.st_mtime_ns) == entry.mtime_ns
            if same:
                self._restore(index, found, store)
                yield entry
            else:
                self.changed.add(index)
                mode = found.st_mode & PERMISSIONS
                yield Entry(entry.path, EntryKind.FILE, found.st_size, mode, in_range(found.st_mtime_ns))
        self._leaves, self._leaves_at = {}, {}  # the store has what is of use, in a fifth of the memory

    def _look(self, path: bytes, tops: Mapping[bytes, TopRecord], tree: Tree, index: int) -> os.stat_result | None:
        """Return what the file is now; None if it is none any more."""
        parent, slash, name = path.rpartition(b"/")
        found: os.stat_result | None
        try:
            if slash:
                directory = tree.directory(parent)
                try:
                    found = directory.status(name)
                finally:
                    directory.release()
            else:
                found = os.stat(tops[name].path)  # it was named: a link is followed
        except OSError as error:
            self.vanished[index] = GONE if error.errno in _NOT_THERE else sys.intern(error_text(error))
            return None
        if found is None or not stat.S_ISREG(found.st_mode):
            self.vanished[index] = GONE
            return None
        return found

    def _restore(self, index: int, found: os.stat_result, store: LeafStore) -> None:
        leaves, at = self._leaves.get(index), self._leaves_at.get(index)
        if leaves is not None and at is not None and can_be_trusted(found, at):
            store.restore(index, found.st_size, piece_size(found.st_size), leaves, at)


def check_tops(tops: Iterable[TopRecord]) -> dict[bytes, TopRecord]:
    """Return the arguments of an earlier session by their names.

    Raises:
        CheckpointError: If they cannot have been arguments.
    """
    checked: dict[bytes, TopRecord] = {}
    for top in tops:
        if top.name in checked or b"/" in top.name or b"\0" in top.path or not os.path.isabs(top.path):
            raise CheckpointError("the checkpoint's list of arguments is damaged")
        checked[top.name] = top
    if not checked:
        raise CheckpointError("the checkpoint names nothing to send")
    return checked


def _check(path: bytes, tops: Mapping[bytes, TopRecord]) -> None:
    parts = path.split(b"/")
    if parts[0] not in tops or not _NO_PARTS.isdisjoint(parts) or any(each in path for each in _NO_CHARACTERS):
        raise CheckpointError("the checkpoint's list of files is damaged")
