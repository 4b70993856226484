"""Between the event loop and what is read: one thread with bounded queues, ahead of who takes the results.

The loop's side never blocks. An exception in the thread is raised by ``get`` after all results that came before it.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from p2pal.disk.loop_wakeup import LoopWakeup
from p2pal.disk.source.source import Source
from p2pal.transfer.ops import BlockRead, ReadJob, SourceResult

READ_AHEAD: Final = 8 << 20
"""Bytes that are read before somebody takes them."""

RESUME_BELOW: Final = READ_AHEAD // 2
"""A thread that has read ahead so far goes on when no more than this waits: it is woken once for several blocks."""

BATCH_BYTES: Final = 1 << 20
"""Bytes that one ``get`` returns, about: the loop must come to other work."""

_WAKE_BYTES: Final = 64 << 10
"""The thread wakes the loop for so many bytes, or when it has nothing more to read."""

_RESULT_COST: Final = 256
"""Bytes that a result without data counts for: queues of empty files are bounded too."""


class ReadPump:
    """Reads jobs in order, ahead of who takes the results. Made and used on the loop's thread.

    Args:
        source: Read and, at the end, closed by the pump's thread.
        close_source: Whether it is closed; if not, another pump may go on with it when this one's thread has ended.
    """

    def __init__(self, source: Source, close_source: bool = True) -> None:
        self._source = source
        self._close_source = close_source
        self._jobs: deque[ReadJob] = deque()
        self._results: deque[SourceResult] = deque()
        self._bytes = 0
        self._unheard = 0
        self._full = False  # the thread waits until half of what it read was taken
        self._failure: BaseException | None = None
        self._closing = False
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._wakeup = LoopWakeup()
        self._thread = threading.Thread(target=self._run, name="p2pal-read", daemon=True)
        self._thread.start()

    def submit(self, job: ReadJob) -> None:
        """Queue a job. Does not block."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()

    async def get(self) -> list[SourceResult]:
        """Return the next results, at least one, about :data:`BATCH_BYTES` at most; for one task at a time.

        Raises:
            Exception: What ended the thread, once all results before it were returned.
        """
        while True:
            with self._changed:
                results = self._take()
                if results:
                    return results
                if self._failure is not None:
                    raise self._failure
                self._wakeup.heard()
            await self._wakeup.wait()

    def _take(self) -> list[SourceResult]:
        taken: list[SourceResult] = []
        size = 0
        while self._results and size < BATCH_BYTES:
            result = self._results.popleft()
            size += _cost(result)
            taken.append(result)
        if taken:
            self._bytes -= size
            if self._full and self._bytes <= RESUME_BELOW:
                self._full = False
                self._changed.notify()
        return taken

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    while not self._jobs and not self._closing:
                        self._ring()
                        self._changed.wait()
                    if self._closing:
                        return
                    job = self._jobs.popleft()
                if not self._read(job):
                    return
        except BaseException as error:  # noqa: BLE001 - handed to the loop's side, which raises it
            with self._changed:
                self._failure = error
                self._wakeup.ring()
        finally:
            if self._close_source:
                self._source.close()

    def _read(self, job: ReadJob) -> bool:
        """Queue a job's results, those of a small file together; False when the pump closes."""
        results: list[SourceResult] = []
        size = 0
        try:
            for result in self._source.read(job):
                results.append(result)
                size += _cost(result)
                if size >= _WAKE_BYTES:
                    if not self._queue(results, size):
                        return False
                    results, size = [], 0
        finally:  # what was read before a fault is given out before it
            going = self._queue(results, size)
        return going

    def _queue(self, results: list[SourceResult], size: int) -> bool:
        """Queue results that cost so many bytes, once there is room; False when the pump closes."""
        with self._changed:
            self._full = self._bytes >= READ_AHEAD
            while self._full and not self._closing:
                self._changed.wait()
            if self._closing:
                return False
            self._results.extend(results)
            self._bytes += size
            self._unheard += size
            if self._unheard >= _WAKE_BYTES:
                self._ring()
        return True

    def _ring(self) -> None:
        self._unheard = 0
        self._wakeup.ring()

    def close(self) -> None:
        """Stop reading soon; what was not taken is dropped. Does not block."""
        with self._changed:
            self._closing = True
            self._results.clear()
            self._changed.notify()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread's end (seconds); say whether it ended. Blocks."""
        self._thread.join(timeout)
        return not self._thread.is_alive()


def _cost(result: SourceResult) -> int:
    return _RESULT_COST + len(result.data) if isinstance(result, BlockRead) else _RESULT_COST
