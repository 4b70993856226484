"""Removing the part files of a transfer that nobody goes on with: exactly those that it made, and nothing else.

A part file is reached from the directory that the transfer wrote to, which must be the very one, by handles that
follow no link; its name must be the one that this transfer gives to that entry; and what stands there must be the
recorded inode. Whatever fails one of these stays, and is reported.
"""

from __future__ import annotations

import contextlib
import errno
import stat
from dataclasses import dataclass, field
from typing import Final

from p2pal.checkpoint.records import Begun, CheckpointHeader, Finishing
from p2pal.checkpoint.replay import ReceiveState
from p2pal.disk.fs.directory import Directory, release_all
from p2pal.disk.fs.locator import Locator
from p2pal.disk.fs.names import TAG, check_path, part_name
from p2pal.disk.fs.os_errors import error_text, sink_failure
from p2pal.disk.fs.part_files import find_part
from p2pal.disk.fs.rename import Identity, identity_from
from p2pal.disk.fs.root import open_root
from p2pal.wire.transfer import name_text

MAX_REPORTED: Final = 100
MAX_CHANGED: Final = 256
"""Directories that are synced afterwards. A name that a power cut brings back is removed by hand, or does no harm."""


@dataclass(slots=True)
class Cleaned:
    """What became of a transfer's part files.

    Attributes:
        parts: How many were removed,
        size: and how many bytes they had together.
        left: Which entries' could not be (path as offered; empty for all), and why: the first hundred.
        left_more: How many further ones there are.
    """

    parts: int = 0
    size: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)
    left_more: int = 0

    def leave(self, path: bytes, why: str) -> None:
        """Note that something stays."""
        if len(self.left) < MAX_REPORTED:
            self.left.append((name_text(path), why))
        else:
            self.left_more += 1


def remove_parts(header: CheckpointHeader, state: ReceiveState) -> Cleaned:
    """Remove the part files that a receiver's checkpoint names. Raises nothing: what stays is in the result."""
    cleaned = Cleaned()
    begun = state.begun
    if not begun or header.target is None:
        return cleaned
    try:
        root = open_root(header.target.root)
    except (OSError, ValueError) as error:
        why = error_text(error) if isinstance(error, OSError) else "it has no such name"
        cleaned.leave(b"", f"the directory that it was received into cannot be opened: {why}")
        return cleaned
    try:
        if root.identity != state.root:
            cleaned.leave(b"", "another directory stands where it was received into")
            return cleaned
        _Cleaning(header, state, root, cleaned).run(begun)
    finally:
        root.release()
    return cleaned


class _Cleaning:
    """One run over a transfer's part files."""

    def __init__(self, header: CheckpointHeader, state: ReceiveState, root: Directory, cleaned: Cleaned) -> None:
        self._tag = header.id[:TAG]
        self._state = state
        self._locator = Locator(root.retain(), self._name, state.names)
        self._cleaned = cleaned
        self._changed: dict[Identity, Directory] = {}

    def run(self, begun: dict[int, Begun]) -> None:
        try:
            for index, file in begun.items():
                try:
                    self._remove(file, self._state.finishing.get(index))
                except OSError as error:
                    self._cleaned.leave(file.path, sink_failure(error)[1])
            for directory in self._changed.values():
                with contextlib.suppress(OSError):
                    directory.sync()
        finally:
            release_all(self._changed.values())
            self._locator.close()

    def _name(self, top: bytes) -> bytes:
        """Return the name that a top-level entry has on disk. Raises FileNotFoundError if none was decided."""
        place = self._state.places.get(top)
        if place is None or b"/" in place.name or check_path(place.name) is not None:
            raise FileNotFoundError(errno.ENOENT, "the checkpoint does not say where it is")
        return place.name

    def _remove(self, file: Begun, finishing: Finishing | None) -> None:
        if check_path(file.path) is not None:
            self._cleaned.leave(file.path, "the checkpoint names a path that cannot be")
            return
        try:
            directory, name = self._locator.locate(file.path)
        except FileNotFoundError:  # its directory is gone, and the part file with it
            self._name(file.path.partition(b"/")[0])
            return
        try:
            self._remove_from(directory, name, file, finishing)
        finally:
            directory.release()

    def _remove_from(self, directory: Directory, name: bytes, file: Begun, finishing: Finishing | None) -> None:
        own_part = find_part(directory, self._tag, file.index, file.part)
        part, found = own_part or (part_name(self._tag, file.index), None)
        found = found or directory.status(part)
        if found is None:
            return
        identity = identity_from(found)
        # The rename was an exchange, and stopped half-way: what the person agreed to lose has the part file's name.
        replaced = (
            finishing is not None
            and finishing.replaces == identity
            and finishing.part == file.part
            and directory.has(name, file.part)
        )
        if not stat.S_ISREG(found.st_mode) or not (own_part or replaced):
            self._cleaned.leave(file.path, "another file has the name of its part file")
            return
        directory.remove(part)
        self._cleaned.parts += 1
        self._cleaned.size += found.st_size
        if directory.identity not in self._changed and len(self._changed) < MAX_CHANGED:
            self._changed[directory.identity] = directory.retain()
