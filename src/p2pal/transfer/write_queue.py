"""What the receiver's sink shall do next: operations in order, directories and links made as they are drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Set as AbstractSet
from typing import Final

from p2pal.transfer.manifest import Manifest
from p2pal.transfer.ops import CheckPiece, MakeDirectory, MakeLink, SinkOp, Write
from p2pal.wire.transfer import EntryKind

# An entry's byte: its kind in the low bits, and how far it has come.
KIND: Final = 0x03
WANTED: Final = 0x04
BEGUN: Final = 0x08  # the sink was told of it
JUDGED: Final = 0x10
OK: Final = 0x20

_DIRECTORY: Final = bytes((EntryKind.DIRECTORY | WANTED,))
_LINK: Final = bytes((EntryKind.LINK | WANTED,))
_OP_COST: Final = 256  # bytes of memory for each operation, beside the file's: what small files are made of counts too


class _Range:
    """Directories or links among some entries: a million of them cost no million operations that wait."""

    __slots__ = ("start", "status", "stop")

    def __init__(self, status: bytes, start: int, stop: int) -> None:
        self.status = status
        self.start = start
        self.stop = stop


class OpQueue:
    """Operations for the sink, in order.

    Args:
        manifest: The entries.
        status: A byte for each entry, shared with the receiver.

    Attributes:
        backlog: Memory, in bytes, of the operations that wait.
        handed: Directories and links that were drawn.
    """

    def __init__(self, manifest: Manifest, status: bytearray) -> None:
        self.backlog = 0
        self.handed = 0
        self._manifest = manifest
        self._status = status
        self._queue: deque[SinkOp | _Range] = deque()
        self._made = 0  # directories below have their operations

    def add(self, op: SinkOp) -> None:
        """Queue an operation that writes no bytes."""
        self._queue.append(op)
        self.backlog += _OP_COST

    def write(self, op: Write) -> None:
        """Queue a write."""
        self._queue.append(op)
        self.backlog += _OP_COST + len(op.data)

    def make_directories(self, stop: int) -> None:
        """Have all wanted directories below ``stop`` made: in the offer, parents come before their children."""
        first = self._status.find(_DIRECTORY, self._made, stop)
        if first >= 0:
            self._queue.append(_Range(_DIRECTORY, first, stop))
            self.backlog += _OP_COST
        self._made = stop

    def make_links(self) -> None:
        """Have all wanted links made."""
        self._queue.append(_Range(_LINK, 0, len(self._status)))
        self.backlog += _OP_COST

    def take(self) -> SinkOp | None:
        """Return the next operation, or None."""
        while self._queue:
            op = self._queue[0]
            if isinstance(op, _Range):
                made = self._make_next(op)
                if made is not None:
                    return made
                self.backlog -= _OP_COST
                self._queue.popleft()
            else:
                self.backlog -= _cost(op)
                self._queue.popleft()
                return op
        return None

    def _make_next(self, each: _Range) -> MakeDirectory | MakeLink | None:
        index = self._status.find(each.status, each.start, each.stop)
        if index < 0:
            return None
        each.start = index + 1
        self._status[index] |= BEGUN
        self.handed += 1
        entry = self._manifest[index]
        return MakeLink(index, entry) if each.status == _LINK else MakeDirectory(index, entry)

    def drop(self, given_up: AbstractSet[int]) -> None:
        """Forget what there is no room for. Directories stay: complete files may need them."""
        kept: deque[SinkOp | _Range] = deque()
        self.backlog = 0
        for op in self._queue:
            if not (isinstance(op, Write | CheckPiece) and op.index in given_up):
                kept.append(op)
                self.backlog += _cost(op)
        self._queue = kept


def _cost(op: SinkOp | _Range) -> int:
    return _OP_COST + (len(op.data) if isinstance(op, Write) else 0)
