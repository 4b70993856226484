"""Progress without a terminal: a line at the start, now and then, and at the end. Also the board that shows nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import structs

from p2pal import units
from p2pal.app.events import Progress
from p2pal.cli.streams import Writer

INTERVAL: Final = 5.0
STEP: Final = 10


MOST_HELD: Final = 50
"""Lines that wait for the answer to a question; of more, the newest."""


class Notes:
    """Lines of status, which wait while a question does.

    Args:
        write: Writes a line.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._held: deque[str] = deque(maxlen=MOST_HELD)
        self._dropped = 0
        self._questions = 0

    @property
    def held(self) -> bool:
        """Whether a question is asked."""
        return self._questions > 0

    def line(self, text: str) -> None:
        """Write a line, now or once the question is answered."""
        if not self._questions:
            self._write(text)
            return
        self._dropped += len(self._held) == MOST_HELD
        self._held.append(text)

    def hold(self) -> None:
        """A question is asked; it may be a part of another one."""
        self._questions += 1

    def release(self) -> None:
        """A question was answered: write what has waited, if it was the last one."""
        self._questions = max(0, self._questions - 1)
        if not self._questions:
            self._flush()

    def end(self) -> None:
        """Nobody waits for an answer any more."""
        self._questions = 0
        self._flush()

    def _flush(self) -> None:
        if self._dropped:
            self._write(f"({self._dropped:,} more lines before these)")
        self._dropped = 0
        while self._held:
            self._write(self._held.popleft())


def nothing() -> None:
    """Show nothing again."""


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

    def pause(self, again: Callable[[], None] = nothing) -> None:
        """A question is asked: leave the terminal alone until :meth:`go_on`. Notes wait for that.

        Args:
            again: Shows the question again, after a shell had the terminal.
        """

    def go_on(self) -> None:
        """The question was answered."""

    @property
    def hides_cursor(self) -> bool:
        """Whether the cursor is hidden now."""

    def suspend(self) -> None:
        """The process is about to stop: leave the terminal to the shell."""

    def resume(self) -> None:
        """The process goes on, in the foreground or in the background: show again what has to be seen."""

    def stop(self, *, complete: bool) -> None:
        """No more progress; ``complete`` when all of it arrived. May be called again."""

    def abandon(self) -> None:
        """The process ends at once: leave the terminal usable."""


class NoScreen:
    """Leaves the terminal as it is: there is nothing to hide, and nothing to restore but a question."""

    _again: Callable[[], None] = staticmethod(nothing)

    def pause(self, again: Callable[[], None] = nothing) -> None:
        """Remember the question."""
        self._again = again

    def go_on(self) -> None:
        """Forget the question."""
        self._again = nothing

    @property
    def hides_cursor(self) -> bool:
        """Nothing is hidden."""
        return False

    def suspend(self) -> None:
        """Nothing to restore."""

    def resume(self) -> None:
        """Show the question again, if there is one."""
        self._again()

    def abandon(self) -> None:
        """Nothing to restore."""


class Silent(NoScreen):
    """Shows nothing."""

    def start(self, total: int, files: int, path: str, done: int = 0) -> None:
        """Show nothing."""

    def update(self, event: Progress) -> None:
        """Show nothing."""

    def path(self, path: str) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def stop(self, *, complete: bool) -> None:
        """Show nothing."""


class Plain(NoScreen):
    """Lines of text, for logs and pipes: one each 5 seconds or 10 percent.

    Args:
        out: Where the lines go.
        clock: Seconds, monotonic.
    """

    def __init__(self, out: Writer, clock: Callable[[], float]) -> None:
        self._notes = Notes(out.line)
        self._clock = clock
        self._shown_at = 0.0
        self._shown_percent = 0
        self._last: Progress | None = None
        self._shown: Progress | None = None
        self._running = False
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
        if self._notes.held:
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
        """Write the line, once no question waits."""
        self._notes.line(text)

    def pause(self, again: Callable[[], None] = nothing) -> None:
        """Write nothing."""
        super().pause(again)
        self._notes.hold()

    def go_on(self) -> None:
        """Write what has waited, and progress again."""
        self._notes.release()
        if not self._notes.held:
            super().go_on()

    def stop(self, *, complete: bool) -> None:
        """Write how far it came, unless all of it did: then the summary says so."""
        self._notes.end()
        if self._running and not complete and self._last is not None and self._last is not self._shown:
            # No time is left to tell of: what is lacking does not come now.
            self._show(
                structs.replace(self._last, eta=None), units.percent(self._last.done, self._last.total), self._clock()
            )
        self._running = False
