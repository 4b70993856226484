"""Sending and receiving through the Python API, over a real server, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.unit.server.kit import serving

import p2pal
from p2pal.app import events
from p2pal.app.base import Transfer
from p2pal.app.events import Event
from p2pal.app.options import Decision

PATIENCE = 40.0
E = TypeVar("E", bound=Event)


@dataclass
class Ended:
    """How one side went."""

    events: list[Event] = field(default_factory=list)
    error: BaseException | None = None

    def only(self, kind: type[E]) -> E:
        """The one event of that kind."""
        (found,) = self.all(kind)
        return found

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def kinds(self) -> list[type[Event]]:
        """The kinds of the events, without the progress between them."""
        return [type(event) for event in self.events if not isinstance(event, events.Progress)]


Hook = Callable[[Event, Transfer], None]


async def follow(transfer: Transfer, hook: Hook = lambda event, transfer: None) -> Ended:
    """Take every event of a transfer, and how it ends."""
    ended = Ended()
    async with transfer:
        try:
            async for event in transfer:
                ended.events.append(event)
                hook(event, transfer)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            ended.error = error
    return ended


class Place:
    """A server, and both sides' ways to use it."""

    def __init__(self, url: str) -> None:
        self.connect = p2pal.ConnectOptions(
            server=url, stun=None, only_loopback=True, retry_backoff=0.01, max_retries=3
        )

    def send(
        self,
        *paths: Path,
        options: p2pal.SendOptions | None = None,
        confirm: Callable[[events.Listed], Awaitable[bool]] | None = None,
    ) -> Transfer:
        return p2pal.send(
            paths, options=options or p2pal.SendOptions(recursive=True), connect=self.connect, confirm=confirm
        )

    def receive(
        self,
        code: str,
        out: Path,
        *,
        decide: Callable[[events.Offered, list[str]], Awaitable[Decision]] | None = None,
        overwrite: bool = False,
    ) -> Transfer:
        options = p2pal.ReceiveOptions(out=out, overwrite=overwrite)
        return p2pal.receive(code, options=options, connect=self.connect, decide=decide)

    async def both(
        self,
        sending: Transfer,
        receiving: Callable[[str], Transfer],
        *,
        on_sent: Hook = lambda event, transfer: None,
        on_received: Hook = lambda event, transfer: None,
    ) -> tuple[Ended, Ended]:
        """Run both sides to their ends; the receiver starts when there is a code."""
        code: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def hook(event: Event, transfer: Transfer) -> None:
            if isinstance(event, events.Code):
                code.set_result(event.code)
            on_sent(event, transfer)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            sent = tasks.create_task(follow(sending, hook))
            received = tasks.create_task(follow(receiving(await code), on_received))
        return sent.result(), received.result()


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    async with serving() as kit:
        yield Place(kit.server.url)
