"""Between the event loop and the disk that is written to: one thread, in the order of what was submitted.

The loop's side never blocks. An exception in the thread is raised by ``get`` after all results that came before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from p2pal.disk.fs.os_errors import DiskFull
from p2pal.disk.loop_wakeup import LoopWakeup
from p2pal.disk.sink.sink import Sink
from p2pal.transfer.ops import SinkOp, SinkResult, Write

RETRY_SECONDS: Final = 1.0
"""So often an operation is tried again that found the disk full."""

PUBLISH_BYTES: Final = 512 << 10
_PUBLISH_OPS: Final = 256
"""After so much work the loop hears of it, so that credit flows back in small steps."""


class WritePump:
    """Carries out operations in order in one thread. Made and used on the loop's thread.

    An operation that finds the disk full fails nothing. It is tried again every second; meanwhile :attr:`held` is true
    and no later one is begun. Whoever looks after the pump says when that has lasted too long (:meth:`give_up`).

    Args:
        sink: Driven and, at the end, closed by the pump's thread.
        step: Bytes written after which the loop hears of it.
    """

    def __init__(self, sink: Sink, *, step: int = PUBLISH_BYTES) -> None:
        self._sink = sink
        self._step = step
        self._ops: deque[SinkOp] = deque()
        self._results: list[SinkResult] = []
        self._executed = 0
        self._failure: BaseException | None = None
        self._closing = False
        self._keep = False
        self._held = False
        self._told_held = False
        self._given_up = False
        self._poll = False
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._wakeup = LoopWakeup()
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="p2pal-write", daemon=True)
        sink.patient = True
        sink.set_listener(self._sink_ready, lambda results: self._publish(results, 0))
        self._thread.start()

    def submit(self, ops: Sequence[SinkOp]) -> None:
        """Queue operations. Does not block: the session's window bounds what may wait here."""
        with self._changed:
            self._ops.extend(ops)
            self._changed.notify()

    async def get(self) -> tuple[list[SinkResult], int]:
        """Return the next results and how many operations were executed since the last call.

        Either may be empty or 0; both are only when :attr:`held` changed. For one task at a time.

        Raises:
            Exception: What ended the thread (ProtocolError for one), after everything before it was returned.
        """
        while True:
            with self._changed:
                results, executed = self._results, self._executed
                if results or executed or self._held is not self._told_held:
                    self._results, self._executed = [], 0
                    self._told_held = self._held
                    return results, executed
                if self._failure is not None:
                    raise self._failure
                self._wakeup.heard()
            await self._wakeup.wait()

    @property
    def held(self) -> bool:
        """Whether the disk is full, and operations wait for room."""
        return self._held

    def give_up(self) -> None:
        """Wait for room no longer: what finds the disk full fails from now on."""
        with self._changed:
            self._given_up = True
            self._changed.notify()

    def _hold(self, held: bool) -> None:
        with self._changed:
            if self._held is not held:
                self._held = held
                self._wakeup.ring()

    def _sink_ready(self) -> None:
        """Called from the sink's own threads."""
        with self._changed:
            self._poll = True
            self._changed.notify()

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:  # noqa: BLE001 - handed to the loop's side, which raises it
            with self._changed:
                self._failure = error
                self._wakeup.ring()
        finally:
            self._finish()

    def _turn(self) -> bool:
        """Execute what is queued, or wait; False when the pump closes."""
        with self._changed:
            if not self._ops and not self._poll and not self._closing:
                due = self._sink.next_poll()
                self._changed.wait(None if due is None else max(0.0, due - time.monotonic()))
            if self._closing:
                return False
            self._poll = False
            ops, self._ops = self._ops, deque()
        while ops:
            if not self._execute(ops):
                self._await_room()
            if self._closing:
                return False
            if ops and self._is_due():
                # A fast sender fills the queue for seconds of a slow disk: what is durable is told meanwhile.
                self._publish(self._sink.poll(idle=False), 0)
        self._publish(self._sink.poll(idle=not self._ops), 0)
        return True

    def _is_due(self) -> bool:
        """Whether the sink has something to tell, or wants to be asked; it is asked then."""
        due = self._sink.next_poll()
        with self._changed:
            ready, self._poll = self._poll, False
        return ready or (due is not None and time.monotonic() >= due)

    def _execute(self, ops: deque[SinkOp]) -> bool:
        """Execute some operations and publish what came of them, also if the next one raises.

        Returns False if the first of those that are left found the disk full.
        """
        results: list[SinkResult] = []
        executed = size = 0
        room = True
        try:
            while ops and executed < _PUBLISH_OPS and size < self._step and not results:
                op = ops[0]
                results += self._sink.execute(op)
                del ops[0]
                executed += 1
                size += _bytes(op)
        except DiskFull:
            room = False
        finally:
            self._publish(results, executed)
        self._publish(self._sink.poll(idle=False), 0)
        if room:
            self._hold(False)
        return room

    def _await_room(self) -> None:
        """Wait before the next try; what was done earlier ends meanwhile."""
        self._hold(True)
        again = time.monotonic() + RETRY_SECONDS
        while True:
            self._publish(self._sink.poll(idle=True), 0)
            with self._changed:
                if self._closing:
                    return
                if self._given_up:
                    self._sink.patient = False
                    return
                left = again - time.monotonic()
                if left <= 0:
                    return
                if not self._poll:
                    self._changed.wait(left)
                self._poll = False

    def _publish(self, results: list[SinkResult], executed: int) -> None:
        if results or executed:
            with self._changed:
                self._results += results
                self._executed += executed
                self._wakeup.ring()

    def _finish(self) -> None:
        """Clean up and let :meth:`close` return."""
        try:
            try:
                # Nobody said how to end if a fault did: what is here stays for another session then.
                keep = self._keep or not self._closing
                self._publish(self._sink.suspend_all() if keep else self._sink.discard_all(), 0)
            finally:
                self._sink.close()
        except BaseException as error:  # noqa: BLE001 - handed to the loop's side, which raises it
            with self._changed:
                self._failure = self._failure or error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._ended.set)

    async def close(self, keep: bool = False) -> list[SinkResult]:
        """Stop: drop what is queued, finish files that are complete.

        Returns the results that were not taken. May be called more than once; the first call counts.

        Args:
            keep: Whether unfinished files are kept for another session, as far as the disk has them; otherwise they
                are removed, with those that earlier sessions left.
        """
        with self._changed:
            self._keep = self._keep if self._closing else keep
            self._closing = True
            self._changed.notify()
        await self._ended.wait()
        results, self._results = self._results, []
        return results


def _bytes(op: SinkOp) -> int:
    return len(op.data) if isinstance(op, Write) else 0
