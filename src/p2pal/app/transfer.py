"""A running transfer as its user sees it: a context manager that is also a stream of events.

::

    async with send(["report.pdf"]) as transfer:
        async for event in transfer:
            ...

The work runs in one task. Iteration ends when the transfer ended well, and raises its
:class:`~p2pal.errors.P2palError` when it did not. Leaving the ``async with`` early cancels the transfer.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from time import monotonic
from types import TracebackType
from typing import Self

from p2pal.app.event_throttle import EventThrottle
from p2pal.app.events import AnyEvent, Failure, Saved, Summary
from p2pal.app.transfer_errors import stopped_here
from p2pal.errors import CheckpointError, P2palError, first_error


class Transfer(ABC):
    """One send or receive. Made by :func:`p2pal.send` and :func:`p2pal.receive`."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._cancelled = False
        self._ended = False
        self._loop: asyncio.AbstractEventLoop
        self._throttle = EventThrottle()
        self._due: asyncio.TimerHandle | None = None
        self.summary: Summary | None = None

    @abstractmethod
    async def _work(self) -> P2palError | None:
        """Do the work; raise, or return, what it ended with."""

    @abstractmethod
    async def _keep(self) -> Saved | None:
        """Leave the disk in order; return how to go on later, if that is possible."""

    @abstractmethod
    def _stop(self) -> bool:
        """Begin to end in good order, telling the peer; return False when there is no peer to tell.

        What has run to its end keeps the end that it had.
        """

    def cancel(self) -> None:
        """Stop: tell the peer, leave nothing half done. The iteration then raises Interrupted."""
        if self._cancelled:
            return
        self._cancelled = True
        if self._task is not None and not self._task.done() and not self._stop():
            self._task.cancel()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task = self._task
        if task is None:
            return
        if not task.done():
            # Whoever leaves early, by an exception or a break, does not want the rest.
            self.cancel()
        await asyncio.wait([task])

    def __aiter__(self) -> AsyncIterator[AnyEvent]:
        return self

    async def __anext__(self) -> AnyEvent:
        if self._task is None:
            raise RuntimeError("enter the transfer with 'async with' first")
        event = await self._events.get()
        if event is not None:
            return event
        self._events.put_nowait(None)  # whoever asks again gets the same end
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def _emit(self, event: AnyEvent) -> None:
        if isinstance(event, Summary):
            self.summary = event
        self._tell(self._throttle.handle(event, monotonic()))

    def _tell(self, told: Iterable[AnyEvent]) -> None:
        """Hand events to who iterates, and come back for those that are held back."""
        for event in told:
            self._events.put_nowait(event)
        due = self._throttle.next_timeout()
        if due is not None and self._due is None:
            self._due = asyncio.get_running_loop().call_later(max(0.0, due - monotonic()), self._tell_late)

    def _tell_late(self) -> None:
        self._due = None
        if not self._ended:
            self._tell(self._throttle.handle_timeout(monotonic()))

    async def _run(self) -> None:
        try:
            self._error = await self._work()
        except asyncio.CancelledError:
            self._error = stopped_here()
        except BaseExceptionGroup as group:
            self._error = first_error(group)
        except Exception as error:  # noqa: BLE001 - it is raised again from the iteration
            self._error = error
        try:
            saved = await self._keep()
        except Exception as error:  # noqa: BLE001 - what came first says more
            saved = None
            self._error = self._error or error
        if saved is not None:
            self._emit(saved)
            if isinstance(self._error, P2palError) and not isinstance(self._error, CheckpointError):
                self._error.hint = ""  # what to do next has been said
        if self._cancelled and self._error is None and self.summary is None:
            self._error = stopped_here()
        failure = self._error
        if isinstance(failure, P2palError):
            self._emit(
                Failure(code=failure.code, message=failure.message, hint=failure.hint, exit_code=failure.exit_code)
            )
        self._ended = True
        if self._due is not None:
            self._due.cancel()
        self._events.put_nowait(None)
