"""Records into payloads: many small ones share a payload, and long blocks are cut to fill each. Pure, no copies."""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from typing import Final

from p2pal.wire.transfer import CHUNK_OVERHEAD, MIN_PAYLOAD, Record, chunk_header, encode_record

BlockData = bytes | memoryview

_MIN_SPLIT: Final = 4096
"""A block is not cut for less room than this: a chunk's fixed cost would outweigh the room it fills."""


class _Block:
    """File bytes that wait; the front is taken off as chunks leave."""

    __slots__ = ("again", "data", "index", "offset")

    def __init__(self, index: int, offset: int, data: BlockData, again: bool) -> None:
        self.index = index
        self.offset = offset
        self.data = data
        self.again = again


class PayloadQueue:
    """Records and file bytes in order, given out as payloads of at most ``full`` bytes.

    Args:
        limit: The largest record, and the largest payload to begin with, in bytes, at least
            :data:`~p2pal.wire.transfer.MIN_PAYLOAD`.

    Attributes:
        full: Bytes of a full payload from now on, at least ``limit``, which the longest record keeps to.
        backlog: Bytes that wait.
    """

    def __init__(self, limit: int) -> None:
        if limit < MIN_PAYLOAD:
            raise ValueError("the payload limit is too small")
        self.limit: Final = limit
        self.full = limit
        self.backlog = 0
        self._queue: deque[bytes | _Block] = deque()

    def add(self, record: Record) -> None:
        """Queue one record that is not a chunk."""
        self.add_encoded(b"".join(encode_record(record)))

    def add_encoded(self, record: bytes) -> None:
        """Queue one encoded record.

        Raises:
            ValueError: If it does not fit into a payload.
        """
        if len(record) > self.limit:
            raise ValueError("the record does not fit into a payload")
        self._queue.append(record)
        self.backlog += len(record)

    def add_block(self, index: int, offset: int, data: BlockData, again: bool) -> None:
        """Queue bytes of entry ``index``; they leave as one or more chunks. ``again`` marks a repair."""
        self._queue.append(_Block(index, offset, data, again))
        self.backlog += len(data)

    def clear(self) -> None:
        """Forget all that waits."""
        self._queue.clear()
        self.backlog = 0

    def take(self, muted: Container[int] = ()) -> tuple[list[BlockData], list[tuple[int, int]]] | None:
        """Return the next payload, as full as it gets, or None if nothing waits.

        Args:
            muted: Entries whose bytes are dropped instead.

        Returns:
            The buffers to be joined, and for progress (entry, bytes) of the blocks that left for the first time.
        """
        queue, space = self._queue, self.full
        payload: list[BlockData] = []
        moved: list[tuple[int, int]] = []
        while queue:
            item = queue[0]
            if type(item) is bytes:
                if len(item) > space:
                    break
                payload.append(item)
                space -= len(item)
                self.backlog -= len(item)
                queue.popleft()
                continue
            assert isinstance(item, _Block)  # noqa: S101 - for the type checker
            if item.index in muted:
                self.backlog -= len(item.data)
                queue.popleft()
                continue
            count, room = len(item.data), space - CHUNK_OVERHEAD
            if count > room:
                if payload and room < _MIN_SPLIT:
                    break
                view = memoryview(item.data)
                data: BlockData = view[:room]
                item.data = view[room:]
                count = room
            else:
                data = item.data
                queue.popleft()
            payload.append(chunk_header(item.index, item.offset, count))
            payload.append(data)
            if not item.again:
                moved.append((item.index, count))
            item.offset += count
            space = room - count
            self.backlog -= count
        return (payload, moved) if payload else None
