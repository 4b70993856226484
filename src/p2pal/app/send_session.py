"""The sender's session: what the machine wants is read, what it says goes to the peer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

from p2pal.app.events import AnyEvent, Connected, Waiting
from p2pal.app.progress import Tracker
from p2pal.app.send_checkpoint import SendLog
from p2pal.app.transfer_session import TransferSession
from p2pal.disk.source.read_thread import ReadPump
from p2pal.disk.source.source import Source
from p2pal.peer.peer import Peer
from p2pal.transfer.events import EntryFailed, EntryFinished, Held, ProofMissing, Proven, Started
from p2pal.transfer.sender import Sender
from p2pal.wire.transfer import Reason

BACKLOG: Final = 4 << 20
"""Bytes read from disk that may wait for the link."""

PUMP_END: Final = 5.0
"""Seconds that a read under way may take when its session is over."""


class SendSession(TransferSession):
    """One receiver, from its offer on.

    A session that does not *lead* yet belongs to somebody who joined while another session runs. It offers, and hears
    the answer; nothing of it is shown and nothing is read before :meth:`lead`.

    Args:
        machine: The machine; its offer may still be collected.
        tracker: Counts; it must emit through :meth:`emit` of this session.
        emit: Takes events of the API.
        source: What is read.
        log: Where leaves are noted.
        wait: Seconds that the other side's full disk is waited for; to be shown.
        leading: Whether this is the session that counts from the start.

    Attributes:
        started: The receiver's consent, once it came.
        decided: Set once it is known whether the receiver had the earlier session, or at the end.
        unproven: It did not prove that.
    """

    _machine: Sender

    def __init__(
        self,
        machine: Sender,
        tracker: Tracker,
        emit: Callable[[AnyEvent], None],
        source: Source,
        log: SendLog,
        *,
        wait: float,
        leading: bool,
    ) -> None:
        super().__init__(machine, tracker, self.emit)
        self._show = emit
        self._source = source
        self._log = log
        self._wait = wait
        self._leading = leading
        self._pump: ReadPump | None = None
        self._room = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._on_started: Callable[[Started], None] = lambda _: None
        self._on_moved: Callable[[], None] = lambda: None
        self.started: Started | None = None
        self.decided = asyncio.Event()
        self.unproven = False

    def emit(self, event: AnyEvent) -> None:
        """Show an event, if this session is the one that counts."""
        if self._leading:
            self._show(event)

    @property
    def machine(self) -> Sender:
        """The machine, for who adds entries."""
        return self._machine

    def listen(self, on_started: Callable[[Started], None], on_moved: Callable[[], None]) -> None:
        """Say who hears of the consent (of the session that leads) and that the code's mailbox is free."""
        self._on_started = on_started
        self._on_moved = on_moved

    async def run(self, peer: Peer, *, stopped: bool = False) -> None:
        """Offer, and send what the receiver lacks, to the end.

        Raises:
            P2palError: What ended the session.
        """
        try:
            self._machine.start(monotonic())
            await self._run(peer, stopped=stopped)
        finally:
            self.decided.set()
            if self._reader is not None:
                self._reader.cancel()
            if self._pump is not None:
                self._pump.close()
                await asyncio.to_thread(self._pump.join, PUMP_END)

    def lead(self) -> None:
        """From now on this is the session that counts."""
        self._leading = True
        if self.path and self.peer is not None:
            self.emit(Connected(path=self.path, lane=self.peer.link.lane))
        if self.started is not None:  # it agreed while the session before this one ended
            self._on_started(self.started)
        self.drain()

    def admit(self) -> None:
        """Send to this receiver from the start, although it proved nothing."""
        self._machine.admit(monotonic())
        self.drain()

    def turn_away(self) -> None:
        """Send nothing to this receiver."""
        self._machine.cancel(Reason.DECLINED, "", monotonic())
        self.drain()

    def _fit(self, peer: Peer) -> None:
        """A chunk is as long as the payload that it fills."""
        self._machine.fill_payloads(peer.payload_limit)

    # Reading

    def _move(self) -> None:
        if not self._leading:
            return
        for job in self._machine.jobs():
            if self._pump is None:
                self._pump = ReadPump(self._source, close_source=False)
                self._reader = self.spawn(self._read(self._pump))
            self._pump.submit(job)
        if self._machine.backlog < BACKLOG:
            self._room.set()
        else:
            self._room.clear()

    async def _read(self, pump: ReadPump) -> None:
        while True:
            await self._room.wait()
            results = await pump.get()
            self._log.note(results, self._source)
            self._machine.handle_source(results, monotonic())
            self.drain()

    def _handle_event(self, event: object) -> None:
        match event:
            case Started():
                self.tracker.begin(monotonic(), files=event.files, done=event.done)
                self.started = event
                if self._leading:
                    self._on_started(event)
            case Proven():
                self.decided.set()
            case ProofMissing():
                self.unproven = True
                self.decided.set()
            case Held():
                full = event.held
                self._emit(Waiting(what="peer-disk" if full else "", seconds=self._wait if full else 0.0))
            case EntryFinished():
                self._source.forget(event.index)
            case EntryFailed() if event.index is not None:
                self._source.forget(event.index)
        self.tracker.handle(event)

    def _look(self, now: float) -> None:
        # What is still on its way has not arrived, whatever was handed to the session.
        on_way = 0 if self.peer is None else self.peer.unacked_bytes
        due = self._machine.next_timeout()
        if due is not None and due <= now:
            self._machine.handle_timeout(now, on_way)
            self.drain()
        self.tracker.progress(now, on_way)
        if self._leading and self.started is not None:
            self._log.flush(now, self.tracker.durable, self.tracker.files_done)

    async def _close(self, peer: Peer) -> None:
        if self._leading and self.tracker.settled:
            # Before the receiver hears that we know: it forgets the transfer then, and must not be asked for it again.
            await self._log.ready(None)
            await self._log.remove()
        await peer.close()

    def _credit(self) -> None:
        if self.peer is not None:
            self.peer.consumed(1)

    def _on_mailbox_free(self) -> None:
        """The code's mailbox is free for whoever joins again."""
        self._on_moved()
