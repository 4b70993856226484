"""The sending use case: walk, announce, meet, offer, stream; and go on with a transfer that was interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from time import monotonic
from typing import Final

from p2pal.app.connect import Shell, meeting_place, peer_config
from p2pal.app.events import (
    Accepted,
    Code,
    Finding,
    Listed,
    Missing,
    Resuming,
    Saved,
    StartingOver,
    Unproven,
    Unsaved,
    WrongGuess,
    recv_command,
)
from p2pal.app.manifest_file import keeping_the_list, kept_manifest
from p2pal.app.options import MAX_CHUNK_KIB, SMALL_CHUNK_KIB, ConnectOptions, SendOptions
from p2pal.app.progress import Tracker
from p2pal.app.send_checkpoint import SendLog, saved_event
from p2pal.app.send_session import SendSession
from p2pal.app.transfer import Transfer
from p2pal.checkpoint.records import CheckpointHeader
from p2pal.checkpoint.replay import SendState
from p2pal.crypto import codes
from p2pal.crypto.keys import TransferEnd, resume_proof
from p2pal.disk.checkpoints.store import Checkpoints
from p2pal.disk.source.exclusion import Exclusion
from p2pal.disk.source.relist import GONE
from p2pal.disk.source.source import Source
from p2pal.disk.source.walk import WalkFailed
from p2pal.errors import CheckpointError, CodeUnknown, DiskError, P2palError, Refused, ServerRefused, UsageError
from p2pal.peer.key_exchange import Guesses, GuessReason, Introduction, meet_receiver
from p2pal.peer.peer import Peer
from p2pal.rendezvous.client import CreatedRendezvous, RendezvousClient
from p2pal.rendezvous.mailbox import Mailbox
from p2pal.transfer.events import Started
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.retention import Fate
from p2pal.transfer.sender import Sender
from p2pal.wire.transfer import CHUNK_OVERHEAD, Entry, name_text

Confirm = Callable[[Listed], Awaitable[bool]]
Admit = Callable[[], Awaitable[bool]]
GiveUp = Callable[[Missing], Awaitable[bool]]
PathLike = str | os.PathLike[str]

WALK_BATCH: Final = 500

MISSING_NAMES: Final = 20
"""Missing files that are named; the rest is counted."""

SOURCE_HINT: Final = "nothing was given up: go on once it is there"

PROOF: Final = 30.0
"""Seconds in which someone who joined again must say whether it is the receiver from before."""

MAX_ASKED: Final = 5
"""Questions about those that cannot prove themselves; later ones are refused without: they could come for ever."""

HASTY: Final = 0.5
"""Seconds that a checkpoint which is being made gets when a person waits for the prompt."""

REFUSAL: Final = 3.0
"""Seconds in which someone who is turned away hears of it."""


def send(
    paths: Sequence[PathLike] = (),
    *,
    options: SendOptions | None = None,
    connect: ConnectOptions | None = None,
    confirm: Confirm | None = None,
    resume: str | None = None,
    admit: Admit | None = None,
    give_up: GiveUp | None = None,
) -> Transfer:
    """Send files and trees to whoever joins with the code.

    Args:
        paths: Files, and with ``options.recursive`` directories; none with ``resume``.
        options: What and how; the defaults are those of the command line.
        connect: Server, STUN and TURN.
        confirm: Is asked once everything is listed and before there is a code; False ends with Refused. Without it
            the code comes at once and the trees are walked while it waits.
        resume: The id of a checkpoint, or the beginning of one: goes on with that transfer, under a new code. A file
            that is missing or unreadable by then fails by itself, and stays to be had; where nothing is there, there is
            no code, but a DiskError.
        admit: Is asked when someone who knows the code joins after the receiver was lost and cannot prove to be that
            receiver; without it such are refused.
        give_up: Is asked, before there is a code, whether files that are missing when a transfer goes on are to be left
            out for good; without it none are.

    Returns:
        An async context manager and stream of events. The iteration raises UsageError if a path does not exist or is
        a directory without ``recursive``, and the other errors of :mod:`p2pal.errors` as they happen.
    """
    return _Send(paths, options or SendOptions(), connect or ConnectOptions(), confirm, resume, admit, give_up)


class _Send(Shell):
    def __init__(
        self,
        paths: Sequence[PathLike],
        options: SendOptions,
        connect: ConnectOptions,
        confirm: Confirm | None,
        resume: str | None,
        admit: Admit | None,
        give_up: GiveUp | None,
    ) -> None:
        super().__init__(connect)
        self._paths = paths
        self._options = options
        self._confirm = confirm
        self._resume = resume
        self._ask_admit = admit
        self._ask_give_up = give_up
        self._header: CheckpointHeader | None = None  # of the transfer that goes on
        self._log = SendLog(options.home, options.checkpoint_ttl, self._unsaved)
        self._guesses = Guesses()
        self._source: Source
        self._manifest: Manifest
        self._transfer_id = b""
        self._resume_key = b""  # of the receiver that agreed, once one has
        self._done_before = 0  # bytes that were at the receiver when the checkpoint was opened
        self._agreed = False  # somebody did, under this code
        self._asked = 0  # times that somebody without a proof was asked about
        # The session that counts, and the next one once it has proved itself.
        self._current: SendSession | None = None
        self._successor: tuple[SendSession, asyncio.Task[None]] | None = None
        self._admission: asyncio.Task[bool] | None = None  # somebody joined, and is being heard
        self._succession = asyncio.Event()
        self._code_free = asyncio.Event()

    @property
    def _session(self) -> SendSession | None:
        return self._current

    async def _work(self) -> P2palError | None:
        if self._resume is None and not self._paths and not self._options.listed:
            raise UsageError("nothing to send", hint="name at least one file")
        self._source = await asyncio.to_thread(self._open_source)
        try:
            with kept_manifest() as self._manifest:
                self._current = self._new_session(self._first_machine(), leading=True)
                try:
                    async with asyncio.TaskGroup() as tasks:
                        self._prepare(tasks)
                        walk = tasks.create_task(self._walk(self._source))
                        if self._resume is not None:
                            await walk
                            await self._look_at_missing()
                        elif self._confirm is not None:
                            await walk
                            if not await self._confirm(self._listing()):
                                raise Refused("you chose not to send", hint="")
                        await self._serve()
                        walk.cancel()
                finally:
                    # The checkpoint's list of files comes out of the manifest, which ends with this block.
                    await self._log.ready(HASTY if self._cancelled else None)
                self._current.tracker.passed_over = self._source.findings.left_out
                # Within the block: the last report still names files.
                return self._current.tracker.conclude(self._current.path)
        finally:
            await asyncio.to_thread(self._source.close)

    def _open_source(self) -> Source:
        options = self._options
        if self._resume is None:
            self._transfer_id = os.urandom(16)
            return Source(
                self._paths,
                recursive=options.recursive,
                skip_errors=options.skip_errors,
                one_file_system=options.one_file_system,
                exclusion=Exclusion(options.exclude, git=options.git),
                listed=options.listed,
            )
        opened = Checkpoints(options.home).open(self._resume, "send")
        self._log.journal = opened.journal
        self._header = opened.header
        self._transfer_id = opened.header.transfer_id
        self._resume_key = opened.header.resume_key
        state = opened.state
        if not isinstance(state, SendState):
            raise CheckpointError("the checkpoint is not a sender's")
        self._done_before = state.done
        source = Source.restored(state.tops, opened.listing(), state.leaves, state.leaves_at)
        source.given_up = state.declined
        return source

    # Sessions

    def _first_machine(self) -> Sender:
        return Sender(
            self._transfer_id,
            payload_limit=self._small_payload,
            # Who goes on with a transfer wants the rest of it: a file that is gone by now stops no other.
            skip_errors=self._skip_errors,
            manifest=self._manifest,
            now=monotonic(),
        )

    @property
    def _skip_errors(self) -> bool:
        return self._options.skip_errors or self._header is not None

    @property
    def _small_payload(self) -> int:
        return (self._options.chunk_kib or SMALL_CHUNK_KIB) * 1024 + CHUNK_OVERHEAD

    @property
    def _large_payload(self) -> int:
        if self._options.chunk_kib is not None or not self._connect.tries_datagrams:
            return self._small_payload
        return MAX_CHUNK_KIB * 1024 + CHUNK_OVERHEAD

    def _new_session(self, machine: Sender, *, leading: bool) -> SendSession:
        def emit(event: object) -> None:
            session.emit(event)  # type: ignore[arg-type]

        tracker = Tracker("send", self._manifest, emit, monotonic())
        session = SendSession(
            machine, tracker, self._emit, self._source, self._log, wait=self._connect.wait, leading=leading
        )
        session.listen(self._started, self._code_free.set)
        return session

    def _peer(
        self, met: Introduction, session: SendSession, client: RendezvousClient, created: CreatedRendezvous
    ) -> Peer:
        config = peer_config(
            self._connect,
            created.ice_servers,
            reached=met.mailbox.reached,
            sender=True,
            max_payload=self._large_payload,
            small_payload=self._small_payload,
        )
        return Peer(met, config, session, meeting_place(client, "send"))

    def _started(self, started: Started) -> None:
        """The receiver of the session that counts has agreed: remember it, and report."""
        self._agreed = True
        session, manifest = self._current, self._manifest
        assert session is not None  # noqa: S101 - for the type checker
        assert session.peer is not None  # noqa: S101
        if started.resumed:
            journal = self._log.journal
            changed = len(self._source.changed) + len(self._source.vanished)
            name = "" if journal is None else journal.id
            self._emit(Resuming(id=name, files=started.files, done=started.done, total=manifest.total, changed=changed))
            return
        if self._resume_key:
            self._emit(StartingOver(reason="the other side has nothing of this transfer"))
        self._resume_key = session.peer.resume_key()
        self._log.begin(
            self._source,
            manifest,
            transfer_id=self._transfer_id,
            resume_key=self._resume_key,
            skip_errors=self._skip_errors,
        )
        self._emit(Accepted(files=manifest.files, total=manifest.total, renamed={}))

    def _unsaved(self, problem: str) -> None:
        self._emit(Unsaved(reason=problem))

    # The walk

    async def _walk(self, source: Source) -> None:
        assert self._current is not None  # noqa: S101 - for the type checker
        session = self._current
        machine = session.machine
        walk = source.walk()
        while found := await asyncio.to_thread(lambda: list(islice(walk, WALK_BATCH))):
            now = monotonic()
            with keeping_the_list():
                machine.add_entries((entry for entry in found if isinstance(entry, Entry)), now)
            for failure in found:
                if isinstance(failure, WalkFailed):
                    machine.add_failure(failure.name, failure.reason, failure.text, now)
            session.drain()
            if machine.done:
                self._check_alive()
                return
        machine.finish_offer(monotonic())
        self._emit(self._listing())
        session.drain()

    def _check_alive(self) -> None:
        """Raise why the batch stopped before there was anyone to tell: nobody need come for what will not be sent."""
        session = self._current
        if session is not None and session.machine.done and session.peer is None:
            error = session.tracker.conclude("")
            if error is not None:
                raise error

    async def _look_at_missing(self) -> None:
        """Say which files cannot be sent now; on the person's word leave them out for good.

        Raises:
            DiskError: If that is all of them.
        """
        source, manifest = self._source, self._manifest
        missing = [index for index in sorted(source.vanished) if index not in source.given_up]
        if not missing:
            return
        if len(missing) == manifest.files:
            reasons = {source.vanished[index] for index in missing}
            if reasons <= {GONE}:
                raise DiskError("the source is not there; is its disk mounted?", hint=SOURCE_HINT)
            raise DiskError(f"nothing of the source can be read: {min(reasons - {GONE})}", hint=SOURCE_HINT)
        names = [manifest[index].name for index in missing[:MISSING_NAMES]]
        event = Missing(names=names, more=len(missing) - len(names))
        self._emit(event)
        if self._ask_give_up is not None and await self._ask_give_up(event):
            for index in missing:
                source.given_up.add(index, index + 1)
            await asyncio.to_thread(self._log.give_up, source.given_up)

    def _listing(self) -> Listed:
        manifest = self._manifest
        names = [name_text(name) for name in self._source.names]
        findings = [
            Finding(kind=each.kind.value, count=each.count, names=each.names, left_out=each.left_out)
            for each in self._source.findings
        ]
        return Listed(names=names, files=manifest.files, entries=len(manifest), total=manifest.total, findings=findings)

    # Meeting

    async def _serve(self) -> None:
        """Open a transfer at the server, wait for someone who knows the words, and stream."""
        async with self._rendezvous() as client:
            created = await client.create(self._options.ttl)
            code = codes.make(created.slot, count=self._options.words, randbelow=secrets.randbelow)
            mailbox = client.mailbox("send", created.token, waiting=self._mailbox_waited_for)
            async with self._tended(mailbox, lambda: self._last_word(client, created, mailbox)) as tender:
                self._announce(str(code), created)
                password = codes.password(code)
                met = await self._meet(self._reception(mailbox, password, created), tender, self._options.ttl)
                self._check_alive()
                await self._run_streams(met, mailbox, password, client, created)

    async def _reception(self, mailbox: Mailbox, password: bytes, created: CreatedRendezvous) -> Introduction:
        return await meet_receiver(mailbox, password, created.rendezvous_id, self._guesses, self._guess_failed)

    async def _tend(self, mailbox: Mailbox) -> None:
        try:
            await super()._tend(mailbox)
        except CodeUnknown as error:  # the code is ours: there is none to check
            message = "the signaling server does not know this transfer any more"
            raise ServerRefused(message, hint="send again to get a new code") from error

    def _announce(self, code: str, created: CreatedRendezvous) -> None:
        server = self._connect.shown_server
        command = recv_command(code, server)
        ttl = created.expires_in
        self._emit(Code(code=code, ttl=ttl, server=server, command=command, servers=(server,), commands=(command,)))

    def _guess_failed(self, reason: GuessReason, left: int) -> None:
        self._emit(WrongGuess(left=left, reason=reason))

    async def _last_word(self, client: RendezvousClient, created: CreatedRendezvous, mailbox: Mailbox) -> None:
        """Whoever comes later with the code learns that the transfer is over."""
        if self._current is not None and self._current.peer is not None and not self._code_free.is_set():
            mailbox.complete()
            await mailbox.close()
            if not self._mailbox_failed:
                return
        # Nobody came, or the receiver left before we could say that it is done.
        await client.delete(created.rendezvous_id, created.token)

    # One session after another

    async def _run_streams(
        self, met: Introduction, mailbox: Mailbox, password: bytes, client: RendezvousClient, created: CreatedRendezvous
    ) -> None:
        """Run the session that counts; where its receiver is lost, another one may take its place."""
        session = self._current
        assert session is not None  # noqa: S101 - for the type checker
        self._prove(session.machine, met)
        peer = self._peer(met, session, client, created)
        running = asyncio.create_task(session.run(peer, stopped=self._cancelled))
        lobby = asyncio.create_task(self._lobby(mailbox, password, client, created))
        try:
            while True:
                succession = asyncio.create_task(self._succession.wait())
                await asyncio.wait((running, succession, lobby), return_when=asyncio.FIRST_COMPLETED)
                succession.cancel()
                if self._successor is None and self._admission is not None and not session.finished:
                    # The receiver is lost for good, and somebody is just proving to be it.
                    await asyncio.wait((self._admission, lobby), return_when=asyncio.FIRST_COMPLETED)
                if lobby.done():
                    lobby.result()
                if self._successor is None:
                    await running
                    return
                self._succession.clear()
                if session.finished:
                    await _ended(self._successor[1])
                    await running
                    return
                await _ended(running)
                (session, running), self._successor = self._successor, None
                self._current = session
                session.lead()
        finally:
            await _ended(lobby)
            for task in (running, *(() if self._successor is None else (self._successor[1],))):
                await _ended(task)

    def _prove(self, machine: Sender, met: Introduction) -> None:
        """Say to the other side which transfer goes on, if one does."""
        if self._resume_key:
            transcript = met.secret.master().transcript()
            ours = resume_proof(self._resume_key, TransferEnd.SENDER, transcript)
            machine.prove(ours, resume_proof(self._resume_key, TransferEnd.RECEIVER, transcript))

    async def _lobby(
        self, mailbox: Mailbox, password: bytes, client: RendezvousClient, created: CreatedRendezvous
    ) -> None:
        """Serve whoever joins again once the receiver was lost; to the end.

        The words alone do not do: they may have been overheard. Who proves to have had the session before takes its
        place; of others the user is asked, while the session that there is goes on waiting for its own receiver.
        """
        with contextlib.suppress(P2palError):  # no guesses left, or the server is gone: nobody else can join
            while True:
                await self._code_free.wait()
                met = await self._reception(mailbox, password, created)
                self._code_free.clear()
                if not await self._admit(met, client, created):
                    mailbox.release(met.attempt, "declined")
                    self._code_free.set()
        await asyncio.Event().wait()

    async def _admit(self, met: Introduction, client: RendezvousClient, created: CreatedRendezvous) -> bool:
        """Let the one who joined take the receiver's place, if that is right."""
        current = self._current
        if current is None or current.finished or not current.machine.listed:
            return False  # the list of files is not complete, or all is over
        # Before anyone agreed there is nobody whose place it could be.
        pinned = self._agreed
        machine = current.machine.successor(monotonic(), pinned=pinned)
        self._prove(machine, met)
        session = self._new_session(machine, leading=False)
        task = asyncio.create_task(session.run(self._peer(met, session, client, created)))
        admission = self._admission = asyncio.create_task(self._is_successor(session, task, pinned=pinned))
        try:
            if await admission:
                self._successor = (session, task)
                self._succession.set()
                return True
            await asyncio.wait((task,), timeout=REFUSAL)  # the refusal must get out
        except BaseException:
            admission.cancel()
            await _ended(task)
            raise
        finally:
            self._admission = None
        await _ended(task)
        return False

    async def _is_successor(self, session: SendSession, task: asyncio.Task[None], *, pinned: bool) -> bool:
        """Hear the proof of the one who joined, or ask the user."""
        if not pinned:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROOF):
                await session.decided.wait()
        if session.machine.proven:
            return True
        if session.unproven and not task.done():
            if self._asked < MAX_ASKED:
                self._asked += 1
                self._emit(Unproven())
                if await self._answer(task):
                    session.admit()
                    return True
            session.turn_away()
        return False

    async def _answer(self, task: asyncio.Task[None]) -> bool:
        """Ask the user; who goes away before the answer is not waited for."""
        if self._ask_admit is None:
            return False
        asking = asyncio.ensure_future(self._ask_admit())
        try:
            await asyncio.wait((asking, task), return_when=asyncio.FIRST_COMPLETED)
            return asking.done() and not task.done() and asking.result()
        finally:
            asking.cancel()

    # The end

    async def _keep(self) -> Saved | None:
        """Give the checkpoint up, or keep it and return the event that tells how to go on."""
        log, session = self._log, self._current
        journal = log.journal
        if journal is None or session is None:
            return None
        tracker = session.tracker
        if tracker.fate() is Fate.SETTLED:
            await log.remove()
            return None
        done = self._done_before
        if session.started is not None:
            done = tracker.durable
            tracker.settle(done)
            log.flush(monotonic(), done, tracker.files_done, final=True)
        total = self._header.total if self._header is not None else tracker.total
        event = saved_event(journal, "send", self._connect.shown_server, done, total, failed=tracker.failed)
        await log.close()
        return event if not journal.failed else None


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task, and wait until it is over, however it ends."""
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()
