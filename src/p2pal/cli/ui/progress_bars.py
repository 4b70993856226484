"""Progress on a terminal: the file in work, the whole transfer, the rate, the time left and the path in use.

The only module that knows rich. Lines are laid out here, because what matters must stay visible from 60 columns on.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Final, TextIO

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.text import Text

from p2pal import units
from p2pal.app.events import Progress
from p2pal.cli.job_control import in_foreground
from p2pal.cli.text import ELLIPSIS, balanced, safe
from p2pal.cli.ui.progress_lines import Notes, nothing

REDRAW: Final = 0.1
"""Seconds between two drawings at least."""

MIN_BAR: Final = 10
MAX_BAR: Final = 40
GAP: Final = 2
NAME_LIMIT: Final = 1000


def cells(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return cell_len(text)


def fit(text: str, cells: int) -> str:
    """Cut the middle out of ``text`` so that it takes at most ``cells`` columns of a terminal."""
    if cell_len(text) <= cells:
        return text
    if cells <= 1:
        return ELLIPSIS[: max(cells, 0)]
    tail_cells = (cells - 1) // 2
    head = _start(text, cells - 1 - tail_cells)
    tail = _start(text[::-1], tail_cells)[::-1]
    return balanced(head + ELLIPSIS + tail)


def _start(text: str, cells: int) -> str:
    """The longest start of ``text`` that fits."""
    if cells <= 0:
        return ""
    first = chop_cells(text, cells)[0] if text else ""
    return first if cell_len(first) <= cells else ""


class Bars:
    """Live bars at the bottom of the terminal, redrawn ten times a second at most.

    Args:
        out: The terminal.
        clock: Seconds, monotonic.
    """

    def __init__(self, out: TextIO, clock: Callable[[], float]) -> None:
        self._console = Console(file=out, highlight=False, markup=False, emoji=False)
        self._clock = clock
        self._notes = Notes(self._print)
        self._again: Callable[[], None] = nothing
        self._live: Live | None = None
        self._running = False
        self._drawn_at = 0.0
        self._last: Progress | None = None
        self._path = ""
        self._files = 0

    def start(self, total: int, files: int, path: str, done: int = 0) -> None:
        """Draw the bar with what is there already."""
        if self._running:
            return
        self._running = True
        self._path, self._files = path, files
        self._last = Progress(done=done, total=total, files_done=0, files_failed=0, files=files, rate=0.0, eta=None)
        self._begin()

    def _begin(self) -> None:
        """Draw, where it may be: not over a question, and not into what a shell shows."""
        if not self._running or self._live is not None or self._notes.held or not in_foreground(self._console.file):
            return
        self._live = Live(self, console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._drawn_at = self._clock()
        with contextlib.suppress(OSError):
            self._live.start(refresh=True)

    def update(self, event: Progress) -> None:
        """Draw, unless the last drawing is too fresh."""
        self._last = event
        now = self._clock()
        if not self._running or now - self._drawn_at < REDRAW:
            return
        self._drawn_at = now
        if self._live is None:
            self._begin()  # a job of the background may have come to the front
        else:
            with contextlib.suppress(OSError):  # the terminal went away; the transfer goes on
                self._live.refresh()

    def path(self, path: str) -> None:
        """Show it with the next drawing."""
        self._path = path

    def note(self, text: str) -> None:
        """Print a line above the bars, once no question waits."""
        self._notes.line(text)

    def _print(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._console.print(Text(text), soft_wrap=True)

    def pause(self, again: Callable[[], None] = nothing) -> None:
        """Leave the bars as they are, above the question, and let the person type."""
        self._again = again
        self._notes.hold()
        self.suspend()

    def go_on(self) -> None:
        """Print what has waited, and draw the bars anew, below the answer."""
        self._notes.release()
        if not self._notes.held:
            self._again = nothing
            self._begin()

    @property
    def hides_cursor(self) -> bool:
        """Whether bars are drawn."""
        return self._live is not None

    def suspend(self) -> None:
        """Leave the bars as they are, and show the cursor."""
        if self._live is not None:
            with contextlib.suppress(OSError):
                self._live.stop()
            self._live = None

    def resume(self) -> None:
        """Show the question again, or draw the bars anew below what others wrote meanwhile."""
        if self._live is not None:  # it was stopped without notice: where the old bars are nobody knows
            out = self._console.file
            self._console.file = io.StringIO()
            self._live.stop()
            self._console.file = out
            self._live = None
            self._console.show_cursor(True)
        if self._notes.held:
            self._again()
        else:
            self._begin()

    def stop(self, *, complete: bool) -> None:
        """Draw the end and leave it on the screen."""
        self._notes.end()
        if self._running and self._live is None:
            self._begin()
        self._running = False
        if self._live is None:
            return
        last = self._last
        if complete and last is not None:
            self._last = Progress(
                done=last.total, total=last.total, files_done=last.files, files_failed=0, files=last.files,
                rate=last.rate, eta=0.0,
            )  # fmt: skip
        elif last is not None:
            self._last = Progress(
                done=last.done, total=last.total, files_done=last.files_done, files_failed=last.files_failed,
                files=last.files, rate=last.rate, eta=None,
            )  # fmt: skip
        with contextlib.suppress(OSError):
            self._live.refresh()
            self._live.stop()
        self._live = None

    def abandon(self) -> None:
        """Show the cursor again, on a line of its own below the bars."""
        if self._live is not None:
            self._console.show_cursor(True)
            self._console.file.write("\n")
            self._console.file.flush()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay out the lines for the terminal's present width."""
        if self._last is None:
            return
        # The last column stays free: some terminals wrap as soon as it is written.
        width = max(options.max_width - 1, 1)
        first = True
        for line in self._lines(self._last, width):
            if not first:
                yield Segment.line()
            first = False
            yield from line

    def _lines(self, event: Progress, width: int) -> Iterator[list[Text | ProgressBar]]:
        if event.name is not None and event.files > 1:
            yield [self._file_line(event, width)]
        parts = self._parts(event)
        first, rest = _split(parts, width)
        taken = sum(cell_len(part) + GAP for part in first)
        bar = min(MAX_BAR, width - taken)
        total = max(event.total, 1)
        done = total if event.total == 0 else event.done
        line: list[Text | ProgressBar] = []
        if bar >= MIN_BAR:
            line.append(ProgressBar(total, min(done, total), bar, complete_style="cyan", finished_style="green"))
            line.append(_text(" " * GAP + (" " * GAP).join(first), width - bar))
        else:
            line.append(_text((" " * GAP).join(first), width))
        yield line
        if rest:
            yield [_text((" " * GAP).join(rest), width)]

    def _file_line(self, event: Progress, width: int) -> Text:
        percent = units.percent(event.file_done, event.file_size)
        figures = f"{percent:3}%  {units.size(event.file_done)} of {units.size(event.file_size)}"
        room = width - cell_len(figures) - GAP
        name = fit(safe(event.name or "", NAME_LIMIT), min(room, MAX_BAR * 2))
        # The figures start where the total's do, unless the name needs the room.
        pad = max(MAX_BAR - cell_len(name), 0) if room > MAX_BAR else max(room - cell_len(name), 0)
        return _text(name + " " * (pad + GAP) + figures, width)

    def _parts(self, event: Progress) -> list[str]:
        """What is said of the whole transfer, the most important first."""
        parts = [
            f"{units.percent(event.done, event.total):3}%",
            f"{units.size(event.done)} of {units.size(event.total)}",
            units.rate(event.rate).rjust(10),  # so that the line does not jump
            f"{units.clock(event.eta)} left",
        ]
        if self._files > 1 or event.files > 1:
            parts.append(f"{event.files_done:,}/{event.files:,} files")
        if event.files_failed:
            parts.append(f"{event.files_failed:,} failed")
        if self._path:
            parts.append(self._path)
        return parts


def _split(parts: list[str], width: int) -> tuple[list[str], list[str]]:
    """Divide the parts between the bar's line and the one below it."""
    room = width - MIN_BAR
    for index, part in enumerate(parts):
        room -= cell_len(part) + GAP
        if room < 0:
            return parts[:index], parts[index:]
    return parts, []


def _text(text: str, width: int) -> Text:
    line = Text(text, no_wrap=True, overflow="ellipsis", end="")
    line.truncate(max(width, 1), overflow="ellipsis")
    return line
