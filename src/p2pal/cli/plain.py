"""Progress without a terminal: a line at the start, now and then, and at the end. Also the board that shows nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from msgspec import structs

from p2pal.app.events import Progress
from p2pal.cli import units
from p2pal.cli.streams import Writer

INTERVAL: Final = 5.0
STEP: Final = 10


class Board(Protocol):
    """Where progress is shown. Every text it is given is already safe, except the name in a :class:`Progress`."""

    def start(self, total: int, files: int, path: str, done: int = 0) -> None:
        """Files flow from now on: ``total`` bytes in ``files`` files, of which ``done`` bytes are there already."""

    def update(self, event: Progress) -> None:
        """Show how far it is."""

    def path(self, path: str) -> None:
        """Another path is in use now."""

    def note(self, text: str) -> None:
        """Show one line of text, above the progress if there is any."""

    def pause(self) -> None:
        """A question is asked: leave the terminal alone until :meth:`go_on`. Notes still come."""

    def go_on(self) -> None:
        """The question was answered."""

    def stop(self, *, complete: bool) -> None:
        """No more progress; ``complete`` when all of it arrived. May be called again."""

    def abandon(self) -> None:
        """The process ends at once: leave the terminal usable."""


class Silent:
    """Shows nothing."""

    def start(self, total: int, files: int, path: str, done: int = 0) -> None:
        """Show nothing."""

    def update(self, event: Progress) -> None:
        """Show nothing."""

    def path(self, path: str) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def pause(self) -> None:
        """Show nothing."""

    def go_on(self) -> None:
        """Show nothing."""

    def stop(self, *, complete: bool) -> None:
        """Show nothing."""

    def abandon(self) -> None:
        """Show nothing."""


class Plain:
    """Lines of text, for logs and pipes: one each 5 seconds or 10 percent.

    Args:
        out: Where the lines go.
        clock: Seconds, monotonic.
    """

    def __init__(self, out: Writer, clock: Callable[[], float]) -> None:
        self._out = out
        self._clock = clock
        self._shown_at = 0.0
        self._shown_percent = 0
        self._last: Progress | None = None
        self._shown: Progress | None = None
        self._running = False
        self._paused = False
        self._path = ""

    def start(self, total: int, files: int, path: str, done: int = 0) -> None:
        """Write the first line."""
        if self._running:
            return
        self._running = True
        self._path = path
        self._shown_at = self._clock()
        self._shown_percent = units.percent(done, total) if done else 0
        count = f", {units.plural(files, 'file')}" if files or not total else ""  # of a transfer that goes on: unknown
        self.note(f"{self._shown_percent}% of {units.size(total)}{count}")

    def update(self, event: Progress) -> None:
        """Write a line if it is time."""
        if not self._running:
            return
        self._last = event
        if self._paused:
            return
        now, percent = self._clock(), units.percent(event.done, event.total)
        if now - self._shown_at >= INTERVAL or percent >= self._shown_percent + STEP:
            self._show(event, percent, now)

    def _show(self, event: Progress, percent: int, now: float) -> None:
        self._shown_at, self._shown_percent, self._shown = now, percent, event
        parts = [
            f"{percent}%",
            f"{units.size(event.done)} of {units.size(event.total)}",
            units.rate(event.rate),
            f"{units.clock(event.eta)} left",
            f"{event.files_done:,} of {units.plural(event.files, 'file')}",
        ]
        if event.files_failed:
            parts.append(f"{event.files_failed:,} failed")
        if self._path:
            parts.append(self._path)
        self.note(", ".join(parts))

    def path(self, path: str) -> None:
        """Remember it for the next line."""
        self._path = path

    def note(self, text: str) -> None:
        """Write the line."""
        self._out.line(text)

    def pause(self) -> None:
        """Write no progress."""
        self._paused = True

    def go_on(self) -> None:
        """Write progress again."""
        self._paused = False

    def stop(self, *, complete: bool) -> None:
        """Write how far it came, unless all of it did: then the summary says so."""
        if self._running and not complete and self._last is not None and self._last is not self._shown:
            # No time is left to tell of: what is lacking does not come now.
            self._show(
                structs.replace(self._last, eta=None), units.percent(self._last.done, self._last.total), self._clock()
            )
        self._running = False

    def abandon(self) -> None:
        """Nothing to restore."""
