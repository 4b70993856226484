"""The receiver's session: what the peer sends is written, what the disk answers goes back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

from p2pal.app.events import AnyEvent, Resuming, Waiting
from p2pal.app.progress import Tracker
from p2pal.app.transfer_session import TransferSession
from p2pal.disk.sink.sink import Sink
from p2pal.disk.sink.write_thread import WritePump
from p2pal.peer.peer import Peer
from p2pal.transfer.events import Durable, Finished, OfferComplete, ProofWanted, Started
from p2pal.transfer.ops import SinkOp
from p2pal.transfer.receiver import Receiver

CLOSE_WAIT: Final = 2.0
"""Seconds that the sender gets to close the session after our last word."""

DURABLE_SECONDS: Final = 0.5
"""So often at most the sender hears how much of the transfer is durable, in seconds."""

SUSPEND_LIMIT: Final = 20.0
"""Seconds that the disk gets to take what is under way when the transfer stops; the checkpoint claims no more."""

HASTY_SUSPEND_LIMIT: Final = 0.5
"""And as many when a person waits for the prompt."""


class ReceiveSession(TransferSession):
    """The one session of a receiver.

    Args:
        machine: The machine.
        tracker: Counts.
        emit: Takes events of the API.
        proof_wanted: Hears that the sender goes on with a transfer, and wants to know whether it is known here.
        offered: Hears of the complete offer.
        wait: Seconds that a full disk is waited for.

    Attributes:
        started: Files flow, or did.
        resumes: The id of the checkpoint that it goes on from, if it does,
        where: and the directory that is written into.
    """

    _machine: Receiver

    def __init__(
        self,
        machine: Receiver,
        tracker: Tracker,
        emit: Callable[[AnyEvent], None],
        proof_wanted: Callable[[], None],
        offered: Callable[[OfferComplete], None],
        *,
        wait: float,
    ) -> None:
        super().__init__(machine, tracker, emit)
        self._proof_wanted = proof_wanted
        self._offered = offered
        self._wait = wait
        self._pump: WritePump | None = None
        self._writer: asyncio.Task[None] | None = None
        self._full_until: float | None = None
        self._durable: Callable[[], int | None] = lambda: None
        self._told = (0, 0.0)  # of what is durable, and when
        self.started = False
        self.resumes = self.where = ""
        # Flow control: after how many operations in all each payload that we took is dealt with.
        self._ops: list[SinkOp] = []
        self._submitted = 0
        self._executed = 0
        self._owed: deque[int] = deque()

    async def run(self, peer: Peer, *, stopped: bool = False) -> None:
        """Hear the offer, and write what comes, to the end.

        Raises:
            P2palError: What ended the session.
        """
        try:
            await self._run(peer, stopped=stopped)
        finally:
            if self._writer is not None:
                self._writer.cancel()

    def begin_writing(self, sink: Sink) -> bool:
        """Take the disk; False if the other side went away meanwhile."""
        self._durable = lambda: sink.durable
        self._pump = WritePump(sink)
        self._writer = self.spawn(self._collect(self._pump))
        return not self._machine.done

    async def end_writing(self, *, hasty: bool) -> None:
        """Close the disk: finish what is verified; keep what is not for another session, if there may be one."""
        if self._pump is None:
            return
        closing = asyncio.create_task(self._pump.close(keep=not self.tracker.settled))
        # A disk that does not answer keeps nobody: what is not known to be on it is not claimed.
        await asyncio.wait((closing,), timeout=HASTY_SUSPEND_LIMIT if hasty else SUSPEND_LIMIT)
        if closing.done():
            closing.result()

    async def _collect(self, pump: WritePump) -> None:
        while True:
            results, executed = await pump.get()
            self._executed += executed
            self._machine.note_durable(self._durable())
            if results:
                self._machine.handle_results(results, monotonic())
            if pump.held != (self._full_until is not None):
                self._hold(pump.held)
            self.drain()

    def _hold(self, held: bool) -> None:
        """The disk is full, or has room again."""
        now = monotonic()
        self._full_until = now + self._wait if held else None
        self._machine.hold(held, now)
        self._emit(Waiting(what="disk" if held else "", seconds=self._wait if held else 0.0))

    def _look(self, now: float) -> None:
        super()._look(now)
        self._tell_durable(now)
        if self._full_until is not None and now >= self._full_until and self._pump is not None:
            self._full_until = float("inf")
            self._pump.give_up()

    def _tell_durable(self, now: float) -> None:
        """Tell what is durable by now, here and to the sender, a few times a second."""
        count = self._durable()
        told, at = self._told
        if count is None or count == told or now < at + DURABLE_SECONDS:
            return
        self._told = (count, now)
        self.tracker.handle(Durable(count))
        self._machine.note_durable(count)
        self._machine.tell_durable(now)
        self.drain()

    def _handle_event(self, event: object) -> None:
        if isinstance(event, ProofWanted):
            self._proof_wanted()
        elif isinstance(event, OfferComplete):
            self._offered(event)
        elif isinstance(event, Started):
            self.started = True
            self.tracker.begin(monotonic(), files=event.files, done=event.done)
            if event.resumed:
                total = self._machine.manifest.total
                self._emit(Resuming(id=self.resumes, files=event.files, done=event.done, total=total, where=self.where))
        elif isinstance(event, Finished) and (count := self._durable()) is not None:
            self.tracker.handle(Durable(count))
        self.tracker.handle(event)

    def _fit(self, peer: Peer) -> None:
        """Verdicts and wants are short whatever the lane."""

    def _move(self) -> None:
        self._take_ops()
        if self._ops and self._pump is not None:
            self._submitted += len(self._ops)
            self._pump.submit(self._ops)
            self._ops.clear()
        self._settle()

    def _take_ops(self) -> None:
        """Take what is to be done; the pump gets it once for all payloads that came together."""
        if self._pump is not None:
            self._ops.extend(self._machine.ops())

    def _credit(self) -> None:
        self._take_ops()
        self._owed.append(self._submitted + len(self._ops))

    def _settle(self) -> None:
        """Give the window back for every payload whose operations were carried out: a slow disk slows the sender."""
        owed, count = self._owed, 0
        while owed and owed[0] <= self._executed:
            owed.popleft()
            count += 1
        if count and self.peer is not None:
            self.peer.consumed(count)

    async def _close(self, peer: Peer) -> None:
        """The sender closes when it has our last word; one that does not is left alone after a while."""
        await peer.wait_closed(CLOSE_WAIT)
        await peer.close()
