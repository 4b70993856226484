"""What a person or a program sees of a transfer: one view per role and mode, fed with the app's events.

Results go to stdout (what is sent, the code, how it ended), everything else to stderr (status, progress, questions,
failures), so that a pipe gets what a script wants and a terminal shows both in order. Names come from anywhere: every
one passes :func:`p2pal.cli.text.safe`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from p2pal import units
from p2pal.app import events
from p2pal.cli import logs
from p2pal.cli.streams import Writer
from p2pal.cli.text import names, safe, safe_path
from p2pal.cli.ui import jsonl, phrases
from p2pal.cli.ui.progress_lines import Board
from p2pal.role import Role

MAX_FAILURES: Final = 20
"""Failed files that are named; the rest is counted."""

MAX_TOPS: Final = 20
"""Offered names that are listed before the question; the rest is counted."""

VERIFIED: Final = "100% — SHA-256 verified"


class View(Protocol):
    """Shows events."""

    def show(self, event: events.Event) -> None:
        """Show one event.

        Raises:
            OutputError: If it is the code, and standard output does not take it: then nobody can come.
        """

    def close(self, failure: events.Failure | None) -> None:
        """The end: ``failure`` says why it did not go through, None that it did. Called once."""


async def present(transfer: AsyncIterator[events.Event], view: View) -> None:
    """Show every event until the transfer ends. What the iteration raises goes through."""
    async for event in transfer:
        if isinstance(event, events.Code):
            hide_code(event.code)
        view.show(event)


def hide_code(code: str) -> None:
    """Keep a join code, and its words without the number, out of logs and tracebacks.

    A single word is no secret, and hiding it would eat holes into what errors say.
    """
    logs.hide(code)
    words = code.rpartition("-")[0]
    if "-" in words:
        logs.hide(words)


class JsonView:
    """Every event as a line of JSON; the error too, once."""

    def __init__(self, out: Writer) -> None:
        self._out = out
        self._failed = False

    def show(self, event: events.Event) -> None:
        """Write the event.

        Raises:
            OutputError: If it is the code, and cannot be written.
        """
        self._failed = self._failed or isinstance(event, events.Failure)
        write = self._out.vital_line if isinstance(event, events.Code) else self._out.line
        write(jsonl.encode(event))

    def close(self, failure: events.Failure | None) -> None:
        """Write the error, unless the transfer did."""
        if failure is not None and not self._failed:
            self.show(failure)


class QuietView:
    """``-q``: the join code and nothing else; on the receiving side nothing at all. How to go on is told on stderr.

    Args:
        out: For the code.
        err: For what goes with an error.
        role: Which side this is.
        command: Write the whole command for the other machine instead: with ``--serve`` nobody knows the address.
    """

    def __init__(self, out: Writer, err: Writer, role: Role, *, command: bool = False) -> None:
        self._out = out
        self._err = err
        self._role = role
        self._command = command
        self._failures = Failures()

    def show(self, event: events.Event) -> None:
        """Write the code alone; and how a transfer that was saved goes on.

        Raises:
            OutputError: If the code cannot be written.
        """
        if isinstance(event, events.Code):
            self._out.vital_line(safe(event.command, 500, isolate=False) if self._command else safe(event.code))
        elif isinstance(event, events.Saved):
            for line in phrases.saved(event, self._role):
                self._err.line(line)
        elif isinstance(event, events.FileNotDelivered):
            self._failures.add(event)

    def close(self, failure: events.Failure | None) -> None:  # noqa: ARG002
        """Name what failed; the error that follows on stderr counts on it."""
        for line in self._failures.lines():
            self._err.line(line)


class Failures:
    """What failed: the first few by name, the rest as a number."""

    def __init__(self) -> None:
        self._first: list[events.FileNotDelivered] = []
        self._more = 0

    def add(self, event: events.FileNotDelivered) -> None:
        """Note one."""
        if len(self._first) < MAX_FAILURES:
            self._first.append(event)
        else:
            self._more += 1

    def lines(self) -> Iterator[str]:
        """Yield what a person reads at the end."""
        for failed in self._first:
            yield f"failed: {safe(failed.name)}: {safe(failed.reason)}"
        if self._more:
            yield f"failed: {units.plural(self._more, 'more file')}; --json names all"


class _HumanView:
    """What both roles show alike."""

    role: Role

    def __init__(self, out: Writer, board: Board) -> None:
        self._out = out
        self._board = board
        self._path = ""
        self._flowing = False
        self._waiting = ""
        self._served = False  # the server did what was asked of it
        self._started_over = 0
        self._files: int | None = None
        self._what = ""
        self._failures = Failures()

    def close(self, failure: events.Failure | None) -> None:  # noqa: ARG002
        """Leave the terminal in order, and name what failed."""
        self._board.stop(complete=False)
        self._notes(self._failures.lines())

    def _common(self, event: events.Event) -> None:
        match event:
            case events.Connected():
                self._connected(safe(event.path))
            case events.Reconnecting():
                self._board.note(phrases.reconnecting(event, connected=bool(self._path)))
            case events.Reconnected():
                self._waiting = ""
                self._board.note("Reconnected")
            case events.Silence():
                if event.seconds:
                    self._board.note(f"No sign of the other side for {units.elapsed(event.seconds)}…")
                else:
                    self._board.note("The other side is back")
            case events.Accepted():
                self._files = event.files
                self._flow(event.total, 0)
            case events.Progress():
                self._board.update(event)
            case events.FileNotDelivered():
                self._failures.add(event)
            case _:
                self._interruption(event)

    def _interruption(self, event: events.Event) -> None:
        match event:
            case events.Waiting() if event.what != self._waiting:
                self._waiting = event.what
                self._board.note(phrases.waiting(event, served=self._served))
                if event.what == "peer" and self.role == "send":
                    self._board.note(phrases.JOIN_AGAIN)
            case events.Resuming():
                self._notes(phrases.resuming(event, self.role, self._files))
                self._flow(event.total, event.done)
            case events.StartingOver():
                self._starting_over(event)
            case events.Unsaved():
                self._notes(phrases.unsaved(event))
            case events.Saved():
                # At once, not at the end: should something hang there, this was said.
                self._board.stop(complete=False)
                self._notes(phrases.saved(event, self.role))
            case _:
                pass

    def _starting_over(self, event: events.StartingOver) -> None:
        """Say it; of the first files only."""
        self._started_over += 1
        if self._started_over <= MAX_FAILURES:
            self._board.note(phrases.starting_over(event))
        elif self._started_over == MAX_FAILURES + 1:
            self._board.note("More files start over")

    def _notes(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._board.note(line)

    def _flow(self, total: int, done: int) -> None:
        self._flowing = True
        self._board.start(total, self._files or 0, self._path, done)

    def _connected(self, path: str) -> None:
        if path == self._path:
            return
        self._board.path(path)
        self._board.note(f"Path: {path}" if self._path else f"Connected: {path}")
        self._path = path

    def _figures(self, event: events.Summary) -> str:
        text = f"{units.plural(event.files, 'file')} in {units.elapsed(event.seconds)} at {units.rate(event.rate)}"
        return f"{text}, {safe(event.path)}" if event.path else text

    def _partial(self, verb: str, event: events.Summary) -> str:
        if event.left_out and not event.failed and not event.stopped:
            left_out = units.plural(event.left_out, "entry")
            return f"{verb} all of {units.plural(event.files, 'file')} offered; the sender left out {left_out}"
        if not event.failed:
            return f"Stopped after {units.size(event.total)}; {_complete(event.files)}"
        everything = units.plural(event.files + event.failed, "file")
        return f"{verb} {event.files:,} of {everything}, {event.failed:,} failed"


class SenderView(_HumanView):
    """The sender's screen.

    Args:
        out: For results.
        board: For status and progress.
        ttl: Seconds that the code waits, shown beside what is sent.
        directories: Which of the names are directories; they are shown with a slash.
        asking: There is a person to ask; without one, who asks for all again is refused, and that is said.
        picture: Returns lines that show the code as a picture; None for no picture.
    """

    role = "send"

    def __init__(
        self,
        out: Writer,
        board: Board,
        ttl: float,
        directories: Collection[str] = frozenset(),
        *,
        asking: bool = False,
        picture: Callable[[events.Code], list[str]] | None = None,
    ) -> None:
        super().__init__(out, board)
        self._picture = picture
        self._asking = asking
        self._ttl = ttl
        self._directories = directories
        self._early: events.Listed | None = None
        self._compared = 0

    def show(self, event: events.Event) -> None:
        """Show one event."""
        match event:
            case events.Listed() if not self._served:
                self._early = event  # a short walk may overtake the code; scripts count on one order
            case events.Listed():
                self.listing(event)
            case events.Code():
                self._code(event)
            case events.Comparing():
                self._comparing(event)
            case events.WrongGuess():
                left = "no more tries" if event.left <= 0 else f"{units.plural(event.left, 'more try')} left"
                who = "another version of p2pal" if event.reason == "version" else "another code"
                self._board.note(f"Someone tried to join with {who} ({left})")
            case events.Connected() if not self._path:
                self._common(event)
                if not self._flowing:
                    self._board.note("Waiting for the other side to accept…")
            case events.Unproven() if not self._asking:
                self._notes([*phrases.UNPROVEN, "and was refused: there is nobody to ask"])
            case events.Missing():
                self._notes([] if self._asking else phrases.missing(event))
            case events.Summary():
                self._summary(event)
            case _:
                self._common(event)

    def _code(self, event: events.Code) -> None:
        self._served = True
        self._out.vital_line(f"Join code: {safe(event.code)}")
        self._out.line(f"On the other machine: {safe(event.command, 500, isolate=False)}")
        for line in phrases.other_commands(event):
            self._out.line(safe(line, 500, isolate=False))
        for line in self._picture(event) if self._picture is not None else ():
            self._out.line(line)
        if self._early is not None:
            self.listing(self._early)
        self._board.note("Waiting for the other machine…")

    def _comparing(self, event: events.Comparing) -> None:
        """Say why it takes longer; of the first files only, for a program may touch thousands."""
        self._compared += 1
        if self._compared <= MAX_FAILURES:
            self._board.note(f"May have changed while it was sent, reading it again: {safe(event.name)}")

    def listing(self, event: events.Listed) -> None:
        """Say what will be sent, once."""
        if self._what:
            return
        self._files = event.files
        one = len(event.names) == 1 and event.entries == 1 and event.files == 1
        shown = [name + "/" if name in self._directories else name for name in event.names]
        self._what = f"{names(shown)} ({units.plural(event.files, 'file')}, {units.size(event.total)})"
        self._out.line(f"Sending{' file' if one else ''}: {self._what} — TTL: {units.duration(self._ttl)}")
        self._notes(phrases.findings(event.findings))

    def _summary(self, event: events.Summary) -> None:
        self._board.stop(complete=event.ok)
        if event.ok:
            self._out.line(f"Sent: {self._what} {VERIFIED}")
            self._out.line(self._figures(event))
        else:
            self._out.line(self._partial("Sent", event))
        if event.passed_over:
            self._out.line(phrases.left_out(event.passed_over))


class ReceiverView(_HumanView):
    """The receiver's screen.

    Args:
        out: For results.
        board: For status and progress.
        target: What ``-out`` names; it tells where the result is. A transfer that goes on says itself.
    """

    role = "receive"

    def __init__(self, out: Writer, board: Board, target: Path) -> None:
        super().__init__(out, board)
        self._target = target
        # Asked now: once the transfer runs, a new directory may stand under that name.
        self._into = target.is_dir()
        self._offer: events.Offered | None = None
        self._resumed = False
        self._announced = False
        self._renamed: dict[str, str] = {}
        self._others = 0  # entries that stand under other names than were meant

    def show(self, event: events.Event) -> None:
        """Show one event."""
        match event:
            case events.Joining():
                self._served = True
                self._board.note("Joining…")
            case events.Offered():
                self._offer = event
                self._files = event.files
            case events.Resuming():
                self._resuming(event)
            case events.Accepted():
                self._accepted(event)
            case events.SavedAs():
                self._saved_as(event)
            case events.Summary():
                self._summary(event)
            case _:
                self._common(event)

    def _saved_as(self, event: events.SavedAs) -> None:
        if "/" not in event.name:
            self._renamed = {**self._renamed, event.name: event.saved_as}
        self._others += 1
        if self._others <= MAX_FAILURES:
            self._board.note(f"{safe(event.name)} was taken meanwhile: saved as {safe(event.saved_as)}")

    def _resuming(self, event: events.Resuming) -> None:
        self._resumed = True
        if event.where:
            self._target, self._into = Path(event.where), True
        self._announce(None, event.total)
        self._common(event)

    def _accepted(self, event: events.Accepted) -> None:
        self._renamed = event.renamed
        renamed = [(old, new) for old, new in event.renamed.items() if old != new]
        for old, new in renamed[:MAX_TOPS] if self._into and not self._resumed else []:
            self._board.note(f"{safe(old)} exists already: saving as {safe(new)}")
        self._announce(event.files, event.total)
        self._common(event)

    def _announce(self, files: int | None, total: int) -> None:
        """Say what comes, once."""
        if self._announced:
            return
        self._announced = True
        offer = self._offer
        if offer is not None:
            shown = [top.name + ("/" if top.kind == "directory" else "") for top in offer.tops]
            only_file = len(shown) == 1 and not offer.more and offer.tops[0].kind != "directory"
            figures = units.size(offer.total)
            if not only_file:
                figures = f"{units.plural(offer.files, 'file')}, {figures}"
            self._what = f"{names(shown, more=offer.more)} ({figures})"
        else:
            self._what = units.size(total) if files is None else f"{units.plural(files, 'file')}, {units.size(total)}"
        self._out.line(f"Receiving: {self._what}")

    def _summary(self, event: events.Summary) -> None:
        self._board.stop(complete=event.ok)
        self._out.line(VERIFIED if event.ok else self._partial("Received", event))
        if event.ok or event.files:
            self._out.line(f"Saved: {self._place()}")
            if event.renamed:
                verb = "stands under another name" if event.renamed == 1 else "stand under other names"
                self._out.line(f"{units.plural(event.renamed, 'entry')} {verb}: something else took theirs")
            self._out.line(self._figures(event))

    def _place(self) -> str:
        """Where the result is, as a path that can be opened."""
        offer = self._offer
        if offer is None or offer.more or len(offer.tops) != 1:
            return safe_path(absolute(self._target), 500)
        top = offer.tops[0].name
        if self._into:
            return safe_path(absolute(self._target / self._renamed.get(top, top)), 500)
        renamed = self._renamed.get(top, top)
        name = renamed if renamed != top else self._target.name
        return safe_path(absolute(self._target.parent / name), 500)


def offer_lines(offer: events.Offered) -> list[str]:
    """Return what is offered, for a person who is about to be asked."""
    lines = [f"Offered: {units.plural(offer.files, 'file')}, {units.size(offer.total)}"]
    # Hidden ones first: a .ssh must not come along unseen behind twenty photos.
    tops = sorted(offer.tops, key=lambda top: not top.name.startswith("."))
    lines += [f"  {_top(top)}" for top in tops[:MAX_TOPS]]
    if more := offer.more + len(tops[MAX_TOPS:]):
        lines.append(f"  and {more:,} more")
    return lines


def _complete(files: int) -> str:
    if not files:
        return "no file is complete"
    return f"{units.plural(files, 'file')} {'is' if files == 1 else 'are'} complete"


def absolute(path: Path) -> Path:
    """Return the whole path; as it is where the current directory is gone."""
    with contextlib.suppress(OSError):
        return path.absolute()
    return path


def _top(top: events.Top) -> str:
    if top.kind == "directory":
        return f"{safe(top.name, 100)}/ ({units.plural(top.files, 'file')}, {units.size(top.size)})"
    if top.kind == "link":
        return f"{safe(top.name, 100)} (link)"
    return f"{safe(top.name, 100)} ({units.size(top.size)})"
