"""The receiving use case: join, meet, ask, write, verify; or go on with what was interrupted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final

from p2pal.app.connect import Shell, in_thread, meeting_place, peer_config
from p2pal.app.events import Accepted, Joining, Offered, Saved, StartingOver, Top, Unsaved
from p2pal.app.manifest_file import kept_manifest
from p2pal.app.options import ConnectOptions, Decision, ReceiveOptions
from p2pal.app.progress import Tracker
from p2pal.app.receive_checkpoint import UNKNOWN, Recalled, find, recall, remember
from p2pal.app.receive_session import SUSPEND_LIMIT, ReceiveSession
from p2pal.app.send_checkpoint import UNWRITABLE, saved_event
from p2pal.app.transfer import Transfer
from p2pal.checkpoint.records import CheckpointHeader
from p2pal.crypto import codes
from p2pal.crypto.codes import JoinCode
from p2pal.disk.checkpoints.journal import Journal
from p2pal.disk.sink.placement import Placement, plan
from p2pal.disk.sink.preflight import check_destination
from p2pal.disk.sink.sink import Sink
from p2pal.errors import CheckpointError, DiskError, Interrupted, P2palError
from p2pal.peer.key_exchange import meet_sender
from p2pal.peer.peer import Peer
from p2pal.rendezvous.mailbox import Mailbox
from p2pal.transfer.events import OfferComplete
from p2pal.transfer.receiver import Receiver
from p2pal.transfer.retention import Fate
from p2pal.wire.transfer import EntryKind, Reason, name_text

Decide = Callable[[Offered, list[str]], Awaitable[Decision]]

CONTROL_PAYLOAD: Final = 64 * 1024
"""Bytes of the largest payload that a receiver sends: verdicts and wants."""

PATH_WAIT: Final = 0.5
"""Seconds that the offer may wait for the name of the path."""

_KINDS: Final = {EntryKind.FILE: "file", EntryKind.DIRECTORY: "directory", EntryKind.LINK: "link"}


def receive(
    code: str | JoinCode,
    *,
    options: ReceiveOptions | None = None,
    connect: ConnectOptions | None = None,
    decide: Decide | None = None,
) -> Transfer:
    """Receive what the sender of this code offers, or the rest of it: an interrupted transfer goes on by itself.

    Args:
        code: The join code; a typo that can only mean one word is corrected.
        options: Where to, and whether existing files may be replaced.
        connect: Server, STUN and TURN.
        decide: Is asked before anything is written, with the offer and the names that exist already; without it
            everything is accepted and nothing is replaced. A transfer that goes on was agreed to before.

    Returns:
        An async context manager and stream of events.

    Raises:
        CodeError: If the code cannot be one.
    """
    parsed = codes.parse(code).code if isinstance(code, str) else code
    return _Receive(parsed, options or ReceiveOptions(), connect or ConnectOptions(), decide)


class _Receive(Shell):
    def __init__(self, code: JoinCode, options: ReceiveOptions, connect: ConnectOptions, decide: Decide | None) -> None:
        super().__init__(connect)
        self._code = code
        self._options = options
        self._decide = decide
        self._current: ReceiveSession | None = None
        self._machine: Receiver
        self._finding: asyncio.Task[tuple[CheckpointHeader, bytes] | None] | None = None
        self._consenting: asyncio.Task[None] | None = None
        self._journal: Journal | None = None
        self._total = 0  # bytes of the transfer, as the checkpoint says
        self._moved_to: Path | None = None
        self._problem: P2palError | None = None  # ours: what the other side hears of it says less
        self._disk_reason = Reason.PERMISSION  # what the sender hears if the disk refuses before the first byte

    @property
    def _session(self) -> ReceiveSession | None:
        return self._current

    async def _work(self) -> P2palError | None:
        await asyncio.to_thread(check_destination, self._options.out, overwrite=self._options.overwrite)
        with kept_manifest() as manifest:
            now = monotonic()
            self._machine = Receiver(payload_limit=CONTROL_PAYLOAD, manifest=manifest, now=now)
            tracker = Tracker("receive", manifest, self._emit, now)
            self._current = session = ReceiveSession(
                self._machine, tracker, self._emit, self._proof_wanted, self._offered, wait=self._connect.wait
            )
            async with asyncio.TaskGroup() as tasks:
                self._prepare(tasks)
                await self._join(session)
            # Within the block: the last report still names files.
            return self._problem or tracker.conclude(session.path)

    async def _join(self, session: ReceiveSession) -> None:
        async with self._rendezvous() as client:
            joined = await client.join(self._code.slot)
            self._emit(Joining())
            mailbox = client.mailbox("receive", joined.token, waiting=self._mailbox_waited_for)
            async with self._tended(mailbox, lambda: self._last_word(mailbox, session)) as tender:
                try:
                    meeting = meet_sender(mailbox, codes.password(self._code), joined.rendezvous_id, joined.attempt)
                    met = await self._meet(meeting, tender, joined.expires_in)
                    config = peer_config(
                        self._connect,
                        joined.ice_servers,
                        reached=met.mailbox.reached,
                        sender=False,
                        max_payload=CONTROL_PAYLOAD,
                    )
                    peer = Peer(met, config, session, meeting_place(client, "receive"))
                    await session.run(peer, stopped=self._cancelled)
                finally:
                    for task in (self._consenting, self._finding):
                        if task is not None:
                            task.cancel()
                            await asyncio.wait((task,))

    async def _last_word(self, mailbox: Mailbox, session: ReceiveSession) -> None:
        # What ran to its end the sender completes; leaving would open the code for another receiver.
        if not session.finished:
            mailbox.leave()

    # Consent

    def _offered(self, offer: OfferComplete) -> None:
        if self._current is not None:
            self._consenting = self._current.spawn(self._consent(self._current, offer))

    async def _consent(self, session: ReceiveSession, offer: OfferComplete) -> None:
        """Go on with an earlier transfer, or show the offer, ask, and prepare the disk; answer."""
        # Which way it came is said before anyone is asked, not in the middle of the question.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATH_WAIT):
                await session.path_known.wait()
        try:
            if not await self._go_on(session, offer):
                await self._begin(session, offer)
        except P2palError as error:
            # The disk, or the person's way out of the question; the sender hears of it, and the caller which it was.
            self._problem = error
            if isinstance(error, CheckpointError):
                self._refuse(Reason.OTHER)
            elif isinstance(error, DiskError):
                self._refuse(self._disk_reason)
            else:
                self._refuse(Reason.CANCELLED if isinstance(error, Interrupted) else Reason.DECLINED)

    def _proof_wanted(self) -> None:
        self._finding = asyncio.create_task(self._find())

    async def _find(self) -> tuple[CheckpointHeader, bytes] | None:
        """Look whether the transfer that the sender goes on with is known here, and tell it."""
        session = self._current
        assert session is not None  # noqa: S101 - for the type checker
        assert session.peer is not None  # noqa: S101
        found = None
        try:
            found = await asyncio.to_thread(find, self._machine, session.peer.transcript, self._options)
        except DiskError as error:  # what cannot be read is not known
            self._emit(Unsaved(reason=error.message))
        self._machine.prove(b"" if found is None else found[1], monotonic())
        session.drain()
        return found

    async def _go_on(self, session: ReceiveSession, offer: OfferComplete) -> bool:
        """Go on with the transfer that the sender proves to know; False if there is none."""
        if self._finding is None:
            return False
        known = await self._finding
        if known is None:
            self._emit(StartingOver(reason=UNKNOWN))
            return False
        header, proof = known
        look = partial(recall, header, proof, self._machine, self._options, self._disk_full)
        found = await in_thread(look, undo=_let_go)
        if isinstance(found, str):
            self._emit(StartingOver(reason=found))
            return False
        self._journal, self._total, self._moved_to = found.journal, header.total, found.moved_to
        offered = _described(offer)
        self._emit(offered)
        # What was agreed to was less: whether it fits is not the only question.
        if self._decide is not None and offer.total > header.total:
            decision = await self._decide(offered, [])
            if not decision.accept:
                self._refuse(Reason.DECLINED)
                return True
        for name, reason in found.restarts:
            self._emit(StartingOver(reason=reason, name=name))
        sink = await in_thread(found.open_sink, undo=Sink.close)
        if session.begin_writing(sink):
            session.resumes, session.where = found.header.id, str(found.root)
            self._machine.accept(monotonic(), resume=found.resume, proof=found.proof)
            session.drain()
            self._emit(Accepted(files=offer.files, total=offer.total, renamed=found.renamed))
        return True

    def _disk_full(self) -> None:
        self._disk_reason = Reason.DISK

    async def _begin(self, session: ReceiveSession, offer: OfferComplete) -> None:
        offered = _described(offer)
        self._emit(offered)
        placement = await asyncio.to_thread(self._plan, offer)
        replace = self._options.overwrite
        decision = Decision(accept=True, replace=replace)
        if self._decide is not None:
            decision = await self._decide(offered, [name_text(name) for name in placement.existing])
        if not decision.accept:
            self._refuse(Reason.DECLINED)
            return
        prepare = partial(self._open_sink, session, placement, decision.replace or replace)
        sink, self._journal, problem = await in_thread(prepare, undo=_forget)
        self._total = offer.total
        if problem:
            self._emit(Unsaved(reason=problem))
        if session.begin_writing(sink):
            self._emit(Accepted(files=offer.files, total=offer.total, renamed=placement.renamed))
            self._machine.accept(monotonic())
            session.drain()

    def _refuse(self, reason: Reason) -> None:
        if not self._machine.done and self._current is not None:
            self._machine.refuse(reason, "", monotonic())
            self._current.drain()

    def _plan(self, offer: OfferComplete) -> Placement:
        placement = plan(self._options.out or Path(), self._tops())
        try:
            placement.check_space(offer.total)
        except DiskError:
            self._disk_full()
            raise
        return placement

    def _tops(self) -> list[tuple[bytes, EntryKind]]:
        """Every top-level entry, also those that the offer's summary only counts."""
        return [(entry.path, entry.kind) for entry in self._machine.manifest if b"/" not in entry.path]

    def _open_sink(
        self, session: ReceiveSession, placement: Placement, replace: bool
    ) -> tuple[Sink, Journal | None, str]:
        """Fix the names, keep what a resume needs, durably, and open the disk: all before the sender hears yes.

        Returns:
            The disk; the checkpoint, or why there can be none.
        """
        assert session.peer is not None  # noqa: S101 - for the type checker
        placement.resolve(overwrite=replace)
        journal, tag, problem = remember(self._machine, placement, session.peer.resume_key(), self._options)
        try:
            return Sink(placement, tag, journal=journal), journal, problem
        except BaseException:
            if journal is not None:
                journal.remove()
            raise

    # The end

    async def _keep(self) -> Saved | None:
        """Give the checkpoint up, or keep it and return the event that tells how to go on."""
        journal, session = self._journal, self._current
        if session is not None:
            await session.end_writing(hasty=self._cancelled)
        if journal is None or session is None:
            return None
        tracker = session.tracker
        fate = tracker.fate(told=session.confirmed)
        if fate is not Fate.OPEN:
            # Until the sender is known to know, it may come again: then this says that all is here.
            await asyncio.to_thread(journal.remove if fate is Fate.SETTLED else journal.close)
            return None
        closing = asyncio.create_task(asyncio.to_thread(journal.close))
        await asyncio.wait((closing,), timeout=SUSPEND_LIMIT)  # a disk that does not answer keeps nobody
        if journal.failed:
            self._emit(Unsaved(reason=UNWRITABLE))
            return None
        done = journal.durable or 0
        if session.started:
            tracker.settle(done)
        server = self._connect.shown_server
        return saved_event(journal, "receive", server, done, self._total, self._moved_to, failed=tracker.failed)


def _let_go(found: Recalled | str) -> None:
    if not isinstance(found, str):
        found.journal.close()


def _forget(opened: tuple[Sink, Journal | None, str]) -> None:
    sink, journal, _ = opened
    sink.close()
    if journal is not None:
        journal.remove()


def _described(offer: OfferComplete) -> Offered:
    return Offered(
        tops=[
            Top(name=name_text(top.path), kind=_KINDS[top.kind], files=top.files, size=top.size)  # type: ignore[arg-type]
            for top in offer.tops
        ],
        more=offer.more,
        files=offer.files,
        entries=offer.entries,
        total=offer.total,
    )
