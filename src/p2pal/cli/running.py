"""What send and recv share: which view and board suit this run, and driving a transfer to its end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol

from p2pal.app import events
from p2pal.cli import logs
from p2pal.cli.exit import describe
from p2pal.cli.plain import Board, Plain, Silent, Writer
from p2pal.cli.signals import Stop
from p2pal.cli.views import View, present


class Transfer(Protocol):
    """What this floor needs of the app's transfer: entered, iterated over, and left; see :mod:`p2pal.app`."""

    async def __aenter__(self) -> Any:
        """Begin."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """End, cancelling what still runs."""

    def __aiter__(self) -> AsyncIterator[events.Event]:
        """The events."""

    def cancel(self) -> None:
        """Stop: tell the peer, clean up; the iteration then raises Interrupted."""


def make_board(*, quiet: bool, debug: bool) -> Board:
    """Return where status and progress go: bars on a terminal, lines elsewhere, nowhere if ``quiet``."""
    if not debug:
        logs.off()
    if quiet:
        return Silent()
    # A log would run through the bars, and a dumb terminal cannot move its cursor.
    if debug or not sys.stderr.isatty() or os.environ.get("TERM", "") == "dumb":
        return Plain(Writer(sys.stderr), time.monotonic)
    from p2pal.cli.progress import Bars

    return Bars(sys.stderr, time.monotonic)


@contextmanager
def reporting(view: View) -> Iterator[None]:
    """Close the view at the end of the block, with the error if there is one."""
    try:
        yield
    except BaseException as error:
        ending = describe(error)
        view.close(
            events.Failure(code=ending.code, message=ending.message, hint=ending.hint, exit_code=ending.exit_code)
        )
        raise
    view.close(None)


async def drive(
    transfer: Transfer,
    view: View,
    board: Board,
    stop: Stop,
    change: Callable[[events.Event], events.Event] = lambda event: event,
) -> None:
    """Run the transfer, show its events (each passed through ``change``), and stop it when the user asks."""
    stop.on_abandon(board.abandon)

    def cancel() -> None:
        board.note("Stopping… (once more to stop at once)")
        transfer.cancel()

    async def changed() -> AsyncIterator[events.Event]:
        async for event in transfer:
            yield change(event)

    async with transfer:
        stop.on_request(cancel)
        await present(changed(), view)
