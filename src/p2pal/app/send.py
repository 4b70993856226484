"""The sending use case: walk, announce, meet, offer, stream."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from time import monotonic
from typing import Final

from p2pal.app.base import Transfer
from p2pal.app.entries import kept_manifest
from p2pal.app.events import Accepted, Code, Listed, WrongGuess, recv_command
from p2pal.app.options import ConnectOptions, SendOptions
from p2pal.app.shell import Shell, keeping_the_list, load_engine, peer_config
from p2pal.app.tracker import Tracker
from p2pal.crypto import codes
from p2pal.errors import CodeUnknown, Refused, ServerRefused, UsageError
from p2pal.files.pumps import ReadPump
from p2pal.files.source import Source, WalkFailed
from p2pal.peer.meeting import Guesses, GuessReason, meet_receiver
from p2pal.peer.peer import Peer
from p2pal.rendezvous.client import Created, RendezvousClient
from p2pal.rendezvous.mailbox import Mailbox
from p2pal.transfer.events import Started
from p2pal.transfer.sender import Sender
from p2pal.wire.transfer import CHUNK_OVERHEAD, Entry, name_text

Confirm = Callable[[Listed], Awaitable[bool]]
Path = str | os.PathLike[str]

WALK_BATCH: Final = 500
BACKLOG: Final = 4 << 20
"""Bytes read from disk that may wait for the session."""


def send(
    paths: Sequence[Path],
    *,
    options: SendOptions | None = None,
    connect: ConnectOptions | None = None,
    confirm: Confirm | None = None,
) -> Transfer:
    """Send files and trees to whoever joins with the code.

    Args:
        paths: Files, and with ``options.recursive`` directories.
        options: What and how; the defaults are those of the command line.
        connect: Server, STUN and TURN.
        confirm: Is asked once everything is listed and before there is a code; False ends with Refused. Without it
            the code comes at once and the trees are walked while it waits.

    Returns:
        An async context manager and stream of events. The iteration raises UsageError if a path does not exist or is
        a directory without ``recursive``, and the other errors of :mod:`p2pal.errors` as they happen.
    """
    return _Send(paths, options or SendOptions(), connect or ConnectOptions(), confirm)


class _Send(Shell):
    _machine: Sender

    def __init__(
        self, paths: Sequence[Path], options: SendOptions, connect: ConnectOptions, confirm: Confirm | None
    ) -> None:
        super().__init__(connect)
        self._paths = paths
        self._options = options
        self._confirm = confirm
        self._pump: ReadPump | None = None
        self._room = asyncio.Event()
        self._met = False

    async def _main(self) -> None:
        options = self._options
        if not self._paths:
            raise UsageError("nothing to send", hint="name at least one file")
        source = await asyncio.to_thread(
            Source, self._paths, recursive=options.recursive, skip_errors=options.skip_errors
        )
        with kept_manifest() as manifest:
            try:
                now = monotonic()
                self._machine = Sender(
                    os.urandom(16),
                    payload_limit=self._payload_limit,
                    skip_errors=options.skip_errors,
                    manifest=manifest,
                    now=now,
                )
                self._tracker = Tracker("send", manifest, self._emit, now)
                async with asyncio.TaskGroup() as tasks:
                    engine = tasks.create_task(load_engine(loopback=self._connect.on_this_machine))
                    walk = tasks.create_task(self._walk(source))
                    if self._confirm is not None:
                        await walk
                        if not await self._confirm(self._listing(source)):
                            raise Refused("you chose not to send", hint="")
                    await self._serve(tasks, source, engine)
                    walk.cancel()
            finally:
                if self._pump is None:
                    source.close()
            # Within the block: the last report still names files.
            error = self._tracker.conclude(monotonic(), self._path)
            if error is not None:
                raise error

    @property
    def _payload_limit(self) -> int:
        return self._options.chunk_kib * 1024 + CHUNK_OVERHEAD

    async def _tend(self, mailbox: Mailbox) -> None:
        try:
            await super()._tend(mailbox)
        except CodeUnknown as error:  # the code is ours: there is none to check
            message = "the signaling server does not know this transfer any more"
            raise ServerRefused(message, hint="send again to get a new code") from error

    async def _walk(self, source: Source) -> None:
        walk = source.walk()
        while found := await asyncio.to_thread(lambda: list(islice(walk, WALK_BATCH))):
            now = monotonic()
            with keeping_the_list():
                self._machine.add_entries((entry for entry in found if isinstance(entry, Entry)), now)
            for failure in found:
                if isinstance(failure, WalkFailed):
                    self._machine.add_failure(failure.name, failure.reason, failure.text, now)
            self._drain()
            if self._machine.done:
                self._check_alive()
                return
        self._machine.finish_offer(monotonic())
        self._emit(self._listing(source))
        self._drain()

    def _check_alive(self) -> None:
        """Raise why the batch stopped before there was anyone to tell: nobody need come for what will not be sent."""
        if self._machine.done and self._peer is None:
            error = self._tracker.conclude(monotonic(), "")
            if error is not None:
                raise error

    def _listing(self, source: Source) -> Listed:
        manifest = self._machine.manifest
        names = [name_text(name) for name in source.names]
        return Listed(names=names, files=manifest.files, entries=len(manifest), total=manifest.total)

    async def _serve(self, tasks: asyncio.TaskGroup, source: Source, engine: asyncio.Task[None]) -> None:
        """Open a transfer at the server, wait for someone who knows the words, and stream."""
        async with RendezvousClient(self._connect.server) as client:
            created = await client.create(self._options.ttl)
            code = codes.make(created.slot, count=self._options.words, randbelow=secrets.randbelow)
            mailbox = client.mailbox("send", created.token)
            async with self._tended(mailbox, lambda: self._last_word(client, created, mailbox)) as tender:
                self._announce(str(code), created)
                meeting = meet_receiver(
                    mailbox, codes.password(code), created.rendezvous_id, Guesses(), self._guess_failed
                )
                met = await self._meet(meeting, tender, self._options.ttl)
                self._met = True
                await engine
                self._check_alive()
                self._pump = ReadPump(source)
                reader = tasks.create_task(self._read(self._pump))
                try:
                    self._machine.start(monotonic())
                    config = peer_config(
                        self._connect, created.ice_servers, sender=True, max_payload=self._payload_limit
                    )
                    await self._stream(Peer(met, config, self))
                finally:
                    reader.cancel()
                    self._pump.close()

    def _announce(self, code: str, created: Created) -> None:
        server = self._connect.shown_server
        self._emit(Code(code=code, ttl=created.expires_in, server=server, command=recv_command(code, server)))

    def _guess_failed(self, reason: GuessReason, left: int) -> None:
        self._emit(WrongGuess(left=left, reason=reason))

    async def _last_word(self, client: RendezvousClient, created: Created, mailbox: Mailbox) -> None:
        """Whoever comes later with the code learns that the transfer is over."""
        if self._met:
            mailbox.complete()
            await mailbox.close()
            if not self._mailbox_failed:
                return
        # Nobody came, or the receiver left before we could say that it is done.
        await client.delete(created.rendezvous_id, created.token)

    async def _read(self, pump: ReadPump) -> None:
        while True:
            await self._room.wait()
            results = await pump.get()
            self._machine.handle_source(results, monotonic())
            self._drain()

    def _move(self) -> None:
        if self._pump is not None:
            for job in self._machine.jobs():
                self._pump.submit(job)
        if self._machine.backlog < BACKLOG:
            self._room.set()
        else:
            self._room.clear()

    def _handle_event(self, event: object) -> None:
        if isinstance(event, Started):
            self._tracker.begin(monotonic())
            manifest = self._machine.manifest
            self._emit(Accepted(files=manifest.files, total=manifest.total, renamed={}))
        self._tracker.handle(event)

    def _look(self, now: float) -> None:
        # What is still on its way has not arrived, whatever was handed to the session.
        on_way = 0 if self._peer is None else self._peer.unacked_bytes
        due = self._machine.next_timeout()
        if due is not None and due <= now:
            self._machine.handle_timeout(now, on_way)
            self._drain()
        self._tracker.progress(now, on_way)

    async def _close(self, peer: Peer) -> None:
        await peer.close()

    def _credit(self) -> None:
        if self._peer is not None:
            self._peer.consumed(1)
