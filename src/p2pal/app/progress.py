"""What both use cases do with their machine's events: count, measure, name, report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from p2pal.app.events import AnyEvent, Comparing, FileDelivered, FileNotDelivered, Progress, SavedAs, Summary
from p2pal.app.meter import Meter
from p2pal.app.transfer_errors import reason_text, transfer_error
from p2pal.errors import P2palError
from p2pal.role import Role
from p2pal.transfer.events import (
    Aborted,
    BytesMoved,
    Durable,
    EntryCompared,
    EntryFailed,
    EntryFinished,
    EntryNamed,
    EntryStarted,
    Finished,
)
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.retention import Fate, fate, is_settled
from p2pal.wire.transfer import EntryKind, Reason, name_text

STANDSTILL: Final = 1.0
"""Bytes per second below which nothing new is to be said: a smoothed rate never gets down to zero."""


class Tracker:
    """Turns a machine's events into the API's.

    While files flow it shows what arrived: that moves smoothly. What it shows at the end, saves and sums up is what is
    :attr:`durable`.

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
        self._working: dict[int, list[int]] = {}  # of files without an end: bytes there before, bytes that moved
        self._told = 0  # the receiver's last word on what is durable
        self._finished = 0  # bytes of the files that ended well in this session
        self.files_done = 0
        self.passed_over = 0  # names that were left out on purpose
        self.renamed = 0  # entries that stand under other names than were meant
        self._failed = 0
        self._reasons: set[Reason] = set()
        self._last: tuple[int, int, int, bool] | None = None
        self.aborted: Aborted | None = None
        self.finished: Finished | None = None

    @property
    def durable(self) -> int:
        """Bytes that are known to be durable at the receiver (:mod:`p2pal.checkpoint.durable`).

        Never more than is true. Its last word may be half a second old, and more after a connection that was lost;
        verdicts may be younger.
        """
        if self._all_there:
            return self.total
        return min(max(self._told, self._finished), self.total)

    @property
    def _all_there(self) -> bool:
        finished = self.finished
        return finished is not None and bool(finished.seconds) and finished.ok == len(self._manifest)

    @property
    def total(self) -> int:
        """Bytes of the whole transfer."""
        return self._manifest.total

    @property
    def settled(self) -> bool:
        """Every entry was delivered or given up by a person, also if somebody stopped just then."""
        return is_settled(len(self._manifest), self.finished)

    @property
    def failed(self) -> int:
        """Entries that failed and can still be had: no person gave them up."""
        return 0 if self.finished is None else self.finished.failed - self.finished.given_up

    def fate(self, *, told: bool = True) -> Fate:
        """Return what becomes of the checkpoint; ``told`` as for :func:`p2pal.transfer.retention.fate`."""
        return fate(len(self._manifest), self.finished, told=told)

    def begin(self, now: float, *, files: int = 0, done: int = 0) -> None:
        """Files flow from now on: the rate counts from here. ``files`` and ``done`` bytes were there before."""
        self._meter = Meter(now)
        self._here = self._told = done
        self.files_done += files

    def handle(self, event: object) -> None:
        """Take one event of the machine."""
        match event:
            case BytesMoved():
                self._moved += event.count
                if event.index == self._index:
                    self._file_done += event.count
                working = self._working.get(event.index)
                if working is not None:
                    working[1] += event.count
            case EntryStarted():
                self._index, self._file_done = event.index, event.done
                self._working[event.index] = [event.done, 0]
            case EntryCompared():
                self._emit(Comparing(name=self._manifest[event.index].name))
            case EntryFinished():
                entry = self._manifest[event.index]
                self._working.pop(event.index, None)
                if entry.kind is EntryKind.FILE:
                    self.files_done += 1
                    self._finished += entry.size
                    self._emit(FileDelivered(name=entry.name, size=entry.size, digest=event.digest.hex()))
            case EntryNamed():
                self._entry_named(event)
            case EntryFailed():
                self._entry_failed(event)
            case _:
                self._of_the_whole(event)

    def _of_the_whole(self, event: object) -> None:
        match event:
            case Durable():
                self._told = event.bytes
            case Aborted():
                self.aborted = event
            case Finished():
                self.finished = event

    def _entry_named(self, event: EntryNamed) -> None:
        path = self._manifest[event.index].path
        place = path[: path.rfind(b"/") + 1] + event.name
        self._emit(SavedAs(name=name_text(path), saved_as=name_text(place)))
        self.renamed += 1

    def _entry_failed(self, event: EntryFailed) -> None:
        name = event.name
        if event.index is not None:
            entry = self._manifest[event.index]
            name = entry.name
            there, moved = self._working.pop(event.index, (0, 0))
            # What came of it is not at the receiver, or the receiver will say so.
            self._moved -= moved
            self._shown = min(self._shown, self._moved)
            self._told = max(0, self._told - there - moved)
        self._failed += 1
        self._reasons.add(event.reason)
        self._emit(FileNotDelivered(name=name, reason=reason_text(event.reason, event.text)))

    def progress(self, now: float, in_flight: int = 0) -> None:
        """Emit a progress event if anything moved since the last, or the rate still falls.

        Args:
            now: The time.
            in_flight: Bytes that were handed on but are not known to have arrived.
        """
        # What is in flight is not only bytes of files: a record that follows them must not take any back.
        moved = self._shown = max(self._shown, self._moved - in_flight)
        done = self._here + moved
        rate = self._meter.sample(moved, now)
        state = (done, self.files_done, self._failed, rate < STANDSTILL)
        if state == self._last and rate < STANDSTILL:
            return
        self._last = state
        current = None if self._index is None else self._manifest[self._index]
        size = 0 if current is None else current.size
        self._emit(
            Progress(
                done=done,
                total=self.total,
                files_done=self.files_done,
                files_failed=self._failed,
                files=self._manifest.files,
                rate=rate,
                eta=self._meter.eta(self.total - done),
                name=None if current is None else current.name,
                file_done=max(0, min(self._file_done - in_flight, size)),
                file_size=size,
            )
        )

    def settle(self, done: int, rate: float = 0.0) -> None:
        """Emit the last progress: how much there is when nothing moves any more, unless that was said last.

        Args:
            done: Bytes that are durable.
            rate: Bytes per second over the whole time: the smoothed one of a short transfer says nothing.
        """
        state = (done, self.files_done, self._failed, True)
        if state == self._last:
            return
        self._last = state
        self._emit(
            Progress(
                done=done,
                total=self.total,
                files_done=self.files_done,
                files_failed=self._failed,
                files=self._manifest.files,
                rate=rate,
                eta=0.0,
            )
        )

    def conclude(self, path: str) -> P2palError | None:
        """Emit the last progress and the summary, and return the error that the transfer ends with, if any."""
        finished = self.finished
        # Who is stopped when all has arrived has all the same.
        aborted = None if self._all_there else self.aborted
        error = transfer_error(self._role, aborted, finished, self._reasons)
        if finished is None or not finished.seconds:
            return error
        done = self.durable
        moved = max(0, done - self._here)
        average = moved / finished.seconds
        self._last = None
        self.settle(done, average)
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
                done=done,
                size=self.total,
                left_out=finished.left_out,
                stopped=aborted is not None,
                passed_over=self.passed_over,
                renamed=self.renamed,
            )
        )
        return error
