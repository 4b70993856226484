"""Hashing again what an earlier session left, while new bytes flow: a part file that was not closed well may be wrong.

One thread does it for all files, in the order in which they were opened again. It reads through a descriptor of its
own, and says of each piece whether it still has the leaf that the checkpoint names.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from p2pal.disk.fs.io import read_some
from p2pal.wire.pieces import LeafHasher

BLOCK: Final = 1 << 20


def hash_range(fd: int, start: int, stop: int, hasher: LeafHasher, ended: Callable[[], bool] | None = None) -> bool:
    """Add the bytes of a file from ``start`` to ``stop`` to a leaf; False if there are fewer, or ``ended`` says so.

    Raises:
        OSError: If the file cannot be read.
    """
    while start < stop:
        if ended is not None and ended():
            return False
        block = read_some(fd, min(BLOCK, stop - start), start)
        if not block:
            return False
        hasher.update(block)
        start += len(block)
    return True


class Rehash:
    """The pieces of one part file that are being looked at again. Made by :class:`Rehasher`.

    Attributes:
        future: The work.
    """

    __slots__ = ("_answers", "_cancelled", "_fd", "_leaves", "_ranges", "future")

    def __init__(self, fd: int, leaves: Mapping[int, bytes], ranges: Callable[[int], tuple[int, int]]) -> None:
        self._fd = fd
        self._leaves = dict(leaves)
        self._ranges = ranges
        self._answers: deque[tuple[int, bool]] = deque()
        self._cancelled = False
        self.future: Future[None]

    def run(self, listener: Callable[[], None]) -> None:
        """Read and hash; for the thread."""
        try:
            for piece in sorted(self._leaves):
                if self._cancelled:
                    return
                try:
                    hasher = LeafHasher()
                    start, stop = self._ranges(piece)
                    right = (
                        hash_range(self._fd, start, stop, hasher, self._ended)
                        and hasher.digest() == self._leaves[piece]
                    )
                except OSError:  # what cannot be read is not there
                    right = False
                if not self._cancelled:
                    self._answers.append((piece, right))
                    if not right:
                        listener()
        finally:
            os.close(self._fd)

    def _ended(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """End soon; no further answers."""
        self._cancelled = True
        self._answers.clear()

    def answers(self) -> list[tuple[int, bool]]:
        """Return what is known since the last call: pieces, and whether each has its leaf."""
        found = []
        while self._answers:
            found.append(self._answers.popleft())
        return found


class Rehasher:
    """The thread that does it; made when it is first needed.

    Args:
        listener: Called in that thread when there is a bad piece, or a file was looked through.
    """

    def __init__(self, listener: Callable[[], None]) -> None:
        self._listener = listener
        self._thread: ThreadPoolExecutor | None = None

    def begin(self, fd: int, leaves: Mapping[int, bytes], ranges: Callable[[int], tuple[int, int]]) -> Rehash:
        """Begin with one file.

        Args:
            fd: A descriptor that reads it; closed at the end.
            leaves: The pieces and what they should be.
            ranges: Returns where a piece begins and ends.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "p2pal-rehash")
        rehash = Rehash(fd, leaves, ranges)
        rehash.future = self._thread.submit(rehash.run, self._listener)
        rehash.future.add_done_callback(lambda _: self._listener())
        return rehash

    def close(self) -> None:
        """Wait for the thread's end; the caller has cancelled what was under way."""
        if self._thread is not None:
            self._thread.shutdown()
