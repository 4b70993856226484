"""One machine of a transfer and the peer that it talks to.

A machine's inputs arrive from several tasks (the peer, the disk, the clock). Each is followed by one :meth:`drain`,
which moves everything that the machine has to say to where it belongs. There is no lock and no queue between: all of
it happens on the event loop's thread.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Sequence
from math import isfinite
from time import monotonic
from typing import Any, Final, Protocol

from p2pal.app.events import AnyEvent, Connected, Reconnected, Reconnecting, Silence, Waiting
from p2pal.app.manifest_file import keeping_the_list
from p2pal.app.progress import Tracker
from p2pal.app.transfer_errors import stopped_here, stopped_there
from p2pal.errors import ConnectionImpossible, Interrupted, PeerLost
from p2pal.link.actions import Retrying, WaitingFor
from p2pal.peer.events import ClosedByPeer, LinkBack, LinkSilent, MailboxFree, PathFound, PeerEvent
from p2pal.peer.peer import Peer
from p2pal.wire.transfer import Reason

TICK: Final = 0.2
"""Seconds between two looks at progress and timers: what a person sees moves smoothly, and costs nothing."""

STOP_LIMIT: Final = 0.6
"""Seconds that the peer gets, once the user stops us, to tell what became of the files on their way."""


class Machine(Protocol):
    """What both machines of a transfer have in common."""

    @property
    def done(self) -> bool:
        """Nothing more will come in or go out."""

    def outputs(self) -> Iterable[list[bytes | memoryview]]:
        """Payloads for the peer."""

    def events(self) -> Iterable[object]:
        """What happened."""

    def handle_payload(self, payload: bytes | memoryview, now: float) -> None:
        """Take a payload of the peer."""

    def cancel(self, reason: Reason, text: str, now: float) -> None:
        """Stop."""


class TransferSession(ABC):
    """Carries a machine's payloads over a peer, and its events to the tracker and the API.

    Args:
        machine: One side's machine.
        tracker: Counts and reports.
        emit: Takes events of the API.

    Attributes:
        peer: The other side, once :meth:`run` has begun.
        path_known: Set once it is known which way the peer is reached.
        confirmed: The other side ended the session, and all was well there.
    """

    def __init__(self, machine: Machine, tracker: Tracker, emit: Callable[[AnyEvent], None]) -> None:
        self._machine = machine
        self._loop = asyncio.get_running_loop()
        self._emit = emit
        self._closing: asyncio.Task[None] | None = None
        self._peer_stopped = False
        self.tracker = tracker
        self.peer: Peer | None = None
        self.path_known = asyncio.Event()
        self.confirmed = False

    @property
    def path(self) -> str:
        """The path in use, or an empty string before the first."""
        return "" if self.peer is None else self.peer.link.path

    @property
    def finished(self) -> bool:
        """The machine has said its last word: every file has its end."""
        return self.tracker.finished is not None

    @abstractmethod
    def _move(self) -> None:
        """Move what the machine has for the disk."""

    @abstractmethod
    def _handle_event(self, event: object) -> None:
        """Take one of the machine's events."""

    async def _run(self, peer: Peer, *, stopped: bool) -> None:
        """Run the peer until the transfer is over; ``stopped`` says that the user did not wait for it to begin.

        Raises:
            PeerLost: If the session ended before the machine did.
        """
        self.peer = peer
        ticker = self.spawn(self._tick())
        try:
            if stopped:
                self._machine.cancel(Reason.CANCELLED, "", monotonic())
            await peer.run()
        except (PeerLost, ConnectionImpossible):
            # Every file has its end: how the link ended matters no more.
            if not self.finished:
                raise
        finally:
            ticker.cancel()
            if self._closing is not None:
                await self._closing
        if not self.finished:
            if self._peer_stopped:
                raise stopped_there()
            raise PeerLost("the other side ended the session before the transfer was complete")

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside the peer. Nobody awaits it: what it raises, who runs the peer hears."""
        task = self._loop.create_task(work)
        task.add_done_callback(self._spawned_ended)
        return task

    def _spawned_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and self.peer is not None:
            self.peer.abandon(error)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._look(monotonic())

    def _look(self, now: float) -> None:
        """Look at the clock, a few times a second."""
        self.tracker.progress(now)

    def drain(self) -> None:
        """Move everything that the machine has to say to where it belongs."""
        machine, peer = self._machine, self.peer
        if peer is not None and peer.writable:
            self._fit(peer)
            for payload in machine.outputs():
                peer.send(payload)
                if not peer.writable:
                    break
        self._move()
        for event in machine.events():
            self._handle_event(event)
        if machine.done and peer is not None and self._closing is None:
            self._closing = self._loop.create_task(self._close(peer))

    @abstractmethod
    def _fit(self, peer: Peer) -> None:
        """Have the machine fill payloads as far as suits the lane in use."""

    @abstractmethod
    async def _close(self, peer: Peer) -> None:
        """The machine is done: end the session."""

    def stop(self) -> bool:
        """Begin to end in good order; False if there is nobody to tell: the caller then just ends."""
        peer = self.peer
        if peer is None or not (peer.link.linked or self.finished):
            return False
        # A peer that stands still, or never stops talking, does not keep us.
        self._loop.call_later(STOP_LIMIT, self._abandon, peer)
        if not self.finished:
            self._machine.cancel(Reason.CANCELLED, "", monotonic())
            self.drain()
        return True

    def _abandon(self, peer: Peer) -> None:
        peer.abandon(None if self.finished else stopped_here())

    # What the peer reports

    def peer_payload(self, payload: bytes | memoryview) -> None:
        """Give a payload to the machine."""
        with keeping_the_list():
            self._machine.handle_payload(payload, monotonic())
        self._credit()

    @abstractmethod
    def _credit(self) -> None:
        """Note that one more payload was taken; the peer may send another once it is dealt with."""

    def peer_turn(self, events: Sequence[PeerEvent]) -> None:
        """Deal with what the payloads brought and with what happened, and give the session more."""
        for event in events:
            self._on_peer(event)
        self.drain()

    def _on_peer(self, event: PeerEvent) -> None:
        match event:
            case PathFound(path, lane):
                self._emit(Connected(path=path, lane=lane))
                self.path_known.set()
            case Retrying(attempt, attempts, delay):
                self._emit(Reconnecting(attempt=attempt, attempts=attempts, delay=delay))
            case LinkBack():
                self._emit(Reconnected())
            case LinkSilent(seconds):
                self._emit(Silence(seconds=seconds))
            case WaitingFor(what, seconds):
                self._emit(Waiting(what=what, seconds=seconds if isfinite(seconds) else None))
            case MailboxFree():
                self._on_mailbox_free()
            case ClosedByPeer(code, reason):
                # Its last records came before, unless it did not wait for them to.
                self._peer_stopped = reason == Interrupted.code
                self.confirmed = code == 0

    def _on_mailbox_free(self) -> None:  # noqa: B027 - a receiver has nothing to do then
        """The code's mailbox is free; only a sender's is used again."""
