"""What send and recv share: which view and board suit this run, and driving a transfer to its end."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol

from p2pal.app import events
from p2pal.app.options import ConnectOptions
from p2pal.cli import logs
from p2pal.cli.exit import describe, report
from p2pal.cli.job_control import controlled, writing_in_background
from p2pal.cli.signals import Deadline, Stop
from p2pal.cli.streams import Writer
from p2pal.cli.ui import phrases
from p2pal.cli.ui.progress_lines import Board, Plain, Silent
from p2pal.cli.ui.views import View, present
from p2pal.errors import Interrupted
from p2pal.lanes.ice_servers import RelayUse
from p2pal.proxies import veil


class RunningTransfer(Protocol):
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
    from p2pal.cli.ui.progress_bars import Bars

    return Bars(sys.stderr, time.monotonic)


def tell_of_proxy(board: Board, connect: ConnectOptions) -> None:
    """Say what goes around a SOCKS proxy, which may be there to hide this machine, where anything does."""
    proxy = None if connect.relay is RelayUse.ONLY or connect.on_this_machine else veil()
    if proxy is not None:
        board.note(phrases.AROUND.format(proxy))


def deadline(view: View) -> Deadline:
    """Return what ends the process if a stop takes too long; it leaves the terminal in order."""

    def last_word() -> None:
        error = Interrupted(
            "stopped before everything was in order", hint="'p2pal checkpoint list' shows what can go on"
        )
        with contextlib.suppress(Exception), reporting(view):
            raise error
        with contextlib.suppress(OSError):
            report(error, debug=False)

    return Deadline(last_word)


@contextmanager
def reporting(view: View) -> Iterator[None]:
    """Close the view at the end of the block, with the error if there is one."""
    try:
        with writing_in_background():
            yield
    except BaseException as error:
        ending = describe(error)
        view.close(
            events.Failure(code=ending.code, message=ending.message, hint=ending.hint, exit_code=ending.exit_code)
        )
        raise
    view.close(None)


async def drive(
    transfer: RunningTransfer,
    view: View,
    board: Board,
    stop: Stop,
    change: Callable[[events.Event], events.Event] = lambda event: event,
) -> None:
    """Run the transfer, show its events (each passed through ``change``), and stop it when the user asks."""
    stop.on_abandon(board.abandon)
    flowing = False

    def cancel() -> None:
        board.note(f"Stopping{': saving what is here' if flowing else '…'} (once more to stop at once)")
        transfer.cancel()

    async def changed() -> AsyncIterator[events.Event]:
        nonlocal flowing
        async for event in transfer:
            flowing = flowing or isinstance(event, (events.Accepted, events.Resuming))
            yield change(event)

    async with transfer:
        stop.on_request(cancel)
        with controlled(board):
            await present(changed(), view)
