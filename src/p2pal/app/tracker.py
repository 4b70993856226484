"""What both use cases do with their machine's events: count, measure, name, report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from p2pal.app.events import AnyEvent, Comparing, FileDone, FileFailed, Progress, Role, Summary
from p2pal.app.meter import Meter
from p2pal.app.reasons import describe, outcome
from p2pal.errors import P2palError
from p2pal.transfer.events import Aborted, BytesMoved, EntryCompared, EntryFailed, EntryFinished, EntryStarted, Finished
from p2pal.transfer.manifest import Manifest
from p2pal.wire.transfer import Kind, Reason

STANDSTILL: Final = 1.0
"""Bytes per second below which nothing new is to be said: a smoothed rate never gets down to zero."""


class Tracker:
    """Turns a machine's events into the API's.

    Args:
        role: Which side this is.
        manifest: The entries, to name them.
        emit: Takes an event of the API.
        now: The time in seconds.
    """

    def __init__(self, role: Role, manifest: Manifest, emit: Callable[[AnyEvent], None], now: float) -> None:
        self._role: Role = role
        self._manifest = manifest
        self._emit = emit
        self._meter = Meter(now)
        self._index: int | None = None
        self._file_done = 0
        self._moved = 0
        self._shown = 0  # of them, those that were told to have arrived
        self._here = 0  # bytes that were at the receiver before this session
        self.files_done = 0
        self._failed = 0
        self._reasons: set[Reason] = set()
        self._last: tuple[int, int, int, bool] | None = None
        self.aborted: Aborted | None = None
        self.finished: Finished | None = None

    @property
    def done(self) -> int:
        """Bytes that moved, in this session and before."""
        return self._here + self._moved

    @property
    def arrived(self) -> int:
        """Bytes of them that were told to have arrived."""
        return self._here + self._shown

    @property
    def total(self) -> int:
        """Bytes of the whole transfer."""
        return self._manifest.total

    @property
    def complete(self) -> bool:
        """There is nothing to go on with: every entry has its end, also if somebody stopped just then."""
        finished = self.finished
        if finished is None or not finished.seconds:
            return False
        return self.aborted is None or finished.ok == len(self._manifest)

    def begin(self, now: float, *, files: int = 0, done: int = 0) -> None:
        """Files flow from now on: the rate counts from here. ``files`` and ``done`` bytes were there before."""
        self._meter = Meter(now)
        self._here = done
        self.files_done += files

    def handle(self, event: object) -> None:
        """Take one event of the machine."""
        match event:
            case BytesMoved():
                self._moved += event.count
                if event.index == self._index:
                    self._file_done += event.count
            case EntryStarted():
                self._index, self._file_done = event.index, event.done
            case EntryCompared():
                self._emit(Comparing(name=self._manifest[event.index].name))
            case EntryFinished():
                entry = self._manifest[event.index]
                if entry.kind is Kind.FILE:
                    self.files_done += 1
                    self._emit(FileDone(name=entry.name, size=entry.size, digest=event.digest.hex()))
            case EntryFailed():
                name = event.name if event.index is None else self._manifest[event.index].name
                self._failed += 1
                self._reasons.add(event.reason)
                self._emit(FileFailed(name=name, reason=describe(event.reason, event.text)))
            case Aborted():
                self.aborted = event
            case Finished():
                self.finished = event

    def progress(self, now: float, in_flight: int = 0, *, average: float | None = None) -> None:
        """Emit a progress event if anything moved since the last, or the rate still falls.

        Args:
            now: The time.
            in_flight: Bytes that were handed on but are not known to have arrived.
            average: At the end, the rate over the whole time: the smoothed one of a short transfer says nothing.
        """
        # What is in flight is not only bytes of files: a record that follows them must not take any back.
        moved = self._shown = max(self._shown, self._moved - in_flight)
        done = self._here + moved
        rate = self._meter.sample(moved, now) if average is None else average
        state = (done, self.files_done, self._failed, rate < STANDSTILL)
        if state == self._last and rate < STANDSTILL:
            return
        self._last = state
        total = self._manifest.total
        current = None if self._index is None else self._manifest[self._index]
        size = 0 if current is None else current.size
        self._emit(
            Progress(
                done=done,
                total=total,
                files_done=self.files_done,
                files_failed=self._failed,
                files=self._manifest.files,
                rate=rate,
                eta=self._meter.eta(total - done) if average is None else 0.0,
                name=None if current is None else current.name,
                file_done=max(0, min(self._file_done - in_flight, size)),
                file_size=size,
            )
        )

    def conclude(self, now: float, path: str) -> P2palError | None:
        """Emit the last progress and the summary, and return the error that the transfer ends with, if any."""
        finished = self.finished
        if finished is None or not finished.seconds:
            return outcome(self._role, self.aborted, finished, self._reasons)
        # What was on its way when a transfer was stopped did not arrive.
        on_way = 0 if self.complete else self._moved - self._shown
        moved = self._moved - on_way
        average = moved / finished.seconds
        self._last = None
        self.progress(now, on_way, average=average)
        error = outcome(self._role, self.aborted, finished, self._reasons)
        self._emit(
            Summary(
                role=self._role,
                ok=error is None,
                files=finished.files_ok,
                failed=self._failed,
                total=moved,
                seconds=finished.seconds,
                rate=average,
                path=path,
            )
        )
        return error
