"""What one checkpoint's file says: its header, how far the transfer is, and the sender's listing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from p2pal.checkpoint.codec import FINISHINGS, LEAVES, LISTING, scan
from p2pal.checkpoint.records import CheckpointHeader, CheckpointRecord, Listing, SessionBegins
from p2pal.checkpoint.replay import ReceiveState, SendState
from p2pal.disk.checkpoints.ids import CHECKPOINT_FILE, SHOWN_IN_HINTS
from p2pal.disk.checkpoints.journal import Journal, read_at
from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.locks import open_private
from p2pal.disk.fs.os_errors import error_text
from p2pal.errors import CheckpointError
from p2pal.role import Role
from p2pal.wire.transfer import Entry

_LISTINGS: Final = frozenset((LISTING,))
_LARGE: Final = frozenset((LISTING, LEAVES, FINISHINGS))
_ROLES: Final[dict[str, Role]] = {"send": "send", "receive": "receive"}
_entries: Final = msgspec.msgpack.Decoder(list[Entry])


class OpenedCheckpoint:
    """A checkpoint to go on from, locked until its journal is closed.

    Attributes:
        header: The transfer.
        state: How far it is.
        journal: Where to write what happens now.
    """

    __slots__ = ("header", "journal", "state")

    def __init__(self, header: CheckpointHeader, state: ReceiveState | SendState, journal: Journal) -> None:
        self.header = header
        self.state = state
        self.journal = journal

    def begin(self) -> bool:
        """Note that the transfer goes on: after this session what the last stop said of part files says nothing.

        For this session ``state`` stays as it is. Until then nothing in the file has changed, and who only looked has
        spoiled nothing; if this session then stops before it touches a part file, that one is hashed again next time.

        Returns:
            Whether that is durable. If not the sink takes care that no part file passes for untouched.
        """
        return self.journal.write(SessionBegins(), durable=True)

    def listing(self) -> Iterator[tuple[Entry, tuple[int, int, int]]]:
        """Yield the entries that the sender offered, with (device, inode, ctime_ns) of each, from the file.

        Raises:
            CheckpointError: If not all of them are there.
        """
        count = 0
        try:
            for _, record in scan(self.journal.read, skip=frozenset((LEAVES,))):
                if not isinstance(record, Listing):
                    continue
                entries = self._entries(record)
                if record.first != count or len(entries) != len(record.identities):
                    break
                yield from zip(entries, record.identities, strict=True)
                count += len(entries)
                if count >= self.header.entries:
                    break
        except OSError as error:
            raise CheckpointError(f"{self.journal.path} cannot be read: {error_text(error)}") from error
        if count != self.header.entries:
            raise named(self.journal.path, CheckpointError("it is damaged"))

    @staticmethod
    def _entries(record: Listing) -> list[Entry]:
        """Decode a stretch of entries: as one array, of as many as there are identities."""
        try:
            return _entries.decode(b"\xdd" + len(record.identities).to_bytes(4, "big") + record.entries)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return []


def checkpoint_files(directory: Directory) -> list[tuple[str, Role]]:
    """Return id and role of all that has a checkpoint's name."""
    matches = map(CHECKPOINT_FILE.fullmatch, sorted(os.fsdecode(name) for name in directory.names()))
    return [(match[1], _ROLES[match[2]]) for match in matches if match is not None]


def file_name(each: str, role: Role) -> bytes:
    """Return the name of a checkpoint's file."""
    return f"{each}.{role}".encode("ascii")


def named(path: Path, error: CheckpointError) -> CheckpointError:
    """Name the file, and say what to do."""
    hint = error.hint
    if hint == CheckpointError.default_hint:
        hint = f"'p2pal checkpoint delete {path.name[:SHOWN_IN_HINTS]}' removes it"
    return CheckpointError(f"{path} cannot be used: {error.message}", hint=hint)


@contextlib.contextmanager
def opened(directory: Directory, each: str, role: Role) -> Iterator[int]:
    """Open a checkpoint without locking it."""
    fd = open_private(directory, file_name(each, role))
    try:
        yield fd
    finally:
        os.close(fd)


def _check_header(record: CheckpointRecord | None, each: str, role: Role) -> CheckpointHeader:
    if not isinstance(record, CheckpointHeader):
        raise CheckpointError("it is damaged")
    if (record.id, record.role) != (each, role):
        raise CheckpointError("it is another transfer's checkpoint under this name")
    root = record.target.root if record.target is not None else b""
    if root and (b"\0" in root or not os.path.isabs(os.fsdecode(root))):
        raise CheckpointError("it is damaged")
    return record


def read_header(fd: int, each: str, role: Role) -> CheckpointHeader:
    """Read the first record only."""
    for _, record in scan(partial(read_at, fd)):
        return _check_header(record, each, role)
    raise CheckpointError("it is damaged")


def fold(
    fd: int, each: str, role: Role, *, light: bool = False
) -> tuple[CheckpointHeader, ReceiveState | SendState, int]:
    """Read a checkpoint; return its header, what follows from it, and where its last good record ends.

    Args:
        fd: The file.
        each: The id that its name says.
        role: The role that its name says.
        light: Only what the list shows: the large records are skipped unread.
    """
    records = scan(partial(read_at, fd), skip=_LARGE if light else _LISTINGS, unchecked=light)
    end, first = next(records)
    header = _check_header(first, each, role)
    state = ReceiveState(header) if role == "receive" else SendState(header)
    for end, record in records:  # noqa: B007 - the last one's end is the result
        if record is not None:
            state.apply(record)
    return header, state, end
