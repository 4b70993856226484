"""The receiving use case: join, meet, ask, write, verify."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Final

from p2pal.app.base import Transfer
from p2pal.app.entries import kept_manifest
from p2pal.app.events import Accepted, Joining, Offered, Top
from p2pal.app.options import ConnectOptions, Decision, ReceiveOptions
from p2pal.app.shell import Shell, load_engine, peer_config
from p2pal.app.tracker import Tracker
from p2pal.crypto import codes
from p2pal.crypto.codes import Code
from p2pal.errors import DiskError, Interrupted, P2palError
from p2pal.files.placement import Placement, plan
from p2pal.files.pumps import WritePump
from p2pal.files.sink import Sink
from p2pal.peer.meeting import meet_sender
from p2pal.peer.peer import Peer
from p2pal.rendezvous.client import RendezvousClient
from p2pal.rendezvous.mailbox import Mailbox
from p2pal.transfer.events import OfferComplete, Started
from p2pal.transfer.ops import SinkOp
from p2pal.transfer.receiver import Receiver
from p2pal.wire.transfer import Kind, Reason, name_text

Decide = Callable[[Offered, list[str]], Awaitable[Decision]]

CONTROL_PAYLOAD: Final = 64 * 1024
"""Bytes of the largest payload that a receiver sends: verdicts and wants."""

CLOSE_WAIT: Final = 2.0
"""Seconds that the sender gets to close the session after our last word."""

PATH_WAIT: Final = 0.5
"""Seconds that the offer may wait for the name of the path."""

_KINDS: Final = {Kind.FILE: "file", Kind.DIRECTORY: "directory", Kind.LINK: "link"}


def receive(
    code: str | Code,
    *,
    options: ReceiveOptions | None = None,
    connect: ConnectOptions | None = None,
    decide: Decide | None = None,
) -> Transfer:
    """Receive what the sender of this code offers.

    Args:
        code: The join code; a typo that can only mean one word is corrected.
        options: Where to, and whether existing files may be replaced.
        connect: Server, STUN and TURN.
        decide: Is asked before anything is written, with the offer and the names that exist already; without it
            everything is accepted and nothing is replaced.

    Returns:
        An async context manager and stream of events.

    Raises:
        CodeError: If the code cannot be one.
    """
    parsed = codes.parse(code).code if isinstance(code, str) else code
    return _Receive(parsed, options or ReceiveOptions(), connect or ConnectOptions(), decide)


class _Receive(Shell):
    _machine: Receiver

    def __init__(self, code: Code, options: ReceiveOptions, connect: ConnectOptions, decide: Decide | None) -> None:
        super().__init__(connect)
        self._code = code
        self._options = options
        self._decide = decide
        self._pump: WritePump | None = None
        self._tasks: asyncio.TaskGroup
        self._deciding: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._local_error: P2palError | None = None
        self._disk_reason = Reason.PERMISSION  # what the sender hears if the disk refuses before the first byte
        # Flow control: after how many operations in all each payload that we took is dealt with.
        self._ops: list[SinkOp] = []
        self._submitted = 0
        self._executed = 0
        self._owed: deque[int] = deque()

    async def _main(self) -> None:
        with kept_manifest() as manifest:
            try:
                now = monotonic()
                self._machine = Receiver(payload_limit=CONTROL_PAYLOAD, manifest=manifest, now=now)
                self._tracker = Tracker("receive", manifest, self._emit, now)
                async with asyncio.TaskGroup() as self._tasks:
                    engine = self._tasks.create_task(load_engine(loopback=self._connect.on_this_machine))
                    await self._join(engine)
            finally:
                if self._pump is not None:
                    await self._pump.close()
            # Within the block: the last report still names files.
            error = self._local_error or self._tracker.conclude(monotonic(), self._path)
            if error is not None:
                raise error

    async def _join(self, engine: asyncio.Task[None]) -> None:
        async with RendezvousClient(self._connect.server) as client:
            joined = await client.join(self._code.slot)
            self._emit(Joining())
            mailbox = client.mailbox("receive", joined.token)
            async with self._tended(mailbox, lambda: self._last_word(mailbox)) as tender:
                try:
                    meeting = meet_sender(mailbox, codes.password(self._code), joined.rendezvous_id, joined.attempt)
                    met = await self._meet(meeting, tender, joined.expires_in)
                    await engine
                    config = peer_config(self._connect, joined.ice_servers, sender=False, max_payload=CONTROL_PAYLOAD)
                    await self._stream(Peer(met, config, self))
                finally:
                    for task in (self._deciding, self._writer):
                        if task is not None:
                            task.cancel()

    async def _last_word(self, mailbox: Mailbox) -> None:
        # What ran to its end the sender completes; leaving would open the code for another receiver.
        if self._tracker.finished is None:
            mailbox.leave()

    # Consent

    def _handle_event(self, event: object) -> None:
        if isinstance(event, OfferComplete):
            self._deciding = self._tasks.create_task(self._consent(event))
        elif isinstance(event, Started):
            self._tracker.begin(monotonic())
        self._tracker.handle(event)

    async def _consent(self, offer: OfferComplete) -> None:
        """Show the offer, ask, prepare the disk, and answer."""
        # Which way it came is said before anyone is asked, not in the middle of the question.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATH_WAIT):
                await self._path_known.wait()
        offered = Offered(
            tops=[
                Top(name=name_text(top.path), kind=_KINDS[top.kind], files=top.files, size=top.size)  # type: ignore[arg-type]
                for top in offer.tops
            ],
            more=offer.more,
            files=offer.files,
            entries=offer.entries,
            total=offer.total,
        )
        self._emit(offered)
        try:
            placement = await asyncio.to_thread(self._plan, offer)
            decision = Decision(accept=True, replace=self._options.overwrite)
            if self._decide is not None:
                decision = await self._decide(offered, [name_text(name) for name in placement.existing])
            if not decision.accept:
                self._refuse(Reason.DECLINED)
                return
            sink = await asyncio.to_thread(self._open_sink, placement, decision.replace or self._options.overwrite)
        except P2palError as error:
            # The disk, or the person's way out of the question; the sender hears of it, and the caller which it was.
            self._local_error = error
            if isinstance(error, DiskError):
                self._refuse(self._disk_reason)
            else:
                self._refuse(Reason.CANCELLED if isinstance(error, Interrupted) else Reason.DECLINED)
            return
        self._pump = WritePump(sink)
        self._writer = self._tasks.create_task(self._collect(self._pump))
        if self._machine.done:
            return
        self._emit(Accepted(files=offer.files, total=offer.total, renamed=placement.renamed))
        self._machine.accept(monotonic())
        self._drain()

    def _refuse(self, reason: Reason) -> None:
        if not self._machine.done:
            self._machine.refuse(reason, "", monotonic())
            self._drain()

    def _plan(self, offer: OfferComplete) -> Placement:
        placement = plan(self._options.out or Path(), self._tops())
        try:
            placement.check_space(offer.total)
        except DiskError:
            self._disk_reason = Reason.DISK
            raise
        return placement

    def _tops(self) -> list[tuple[bytes, Kind]]:
        """Every top-level entry, also those that the offer's summary only counts."""
        return [(entry.path, entry.kind) for entry in self._machine.manifest if b"/" not in entry.path]

    def _open_sink(self, placement: Placement, replace: bool) -> Sink:
        placement.resolve(overwrite=replace)
        return Sink(placement, self._tag())

    def _tag(self) -> str:
        return base64.b32encode(self._machine.transfer_id)[:8].decode().lower()

    # Writing

    async def _collect(self, pump: WritePump) -> None:
        while True:
            results, executed = await pump.get()
            self._executed += executed
            if results:
                self._machine.handle_results(results, monotonic())
            self._drain()

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
        if count and self._peer is not None:
            self._peer.consumed(count)

    async def _close(self, peer: Peer) -> None:
        """The sender closes when it has our last word; one that does not is left alone after a while."""
        await peer.wait_closed(CLOSE_WAIT)
        await peer.close()
