"""Checkpoints as the use cases need them: made at consent, kept while it lasts, given up at the end."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from p2pal.app.events import Saved, resume_command
from p2pal.checkpoint.records import (
    VERSION,
    Arrived,
    CheckpointHeader,
    CheckpointRecord,
    Declined,
    Leaves,
    Listing,
    Target,
)
from p2pal.crypto.keys import checkpoint_id
from p2pal.disk.checkpoints.journal import Journal
from p2pal.disk.checkpoints.store import Checkpoints
from p2pal.errors import DiskError
from p2pal.ranges import RangeSet
from p2pal.role import Role
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.ops import PieceRead, SourceResult
from p2pal.wire.pieces import LEAF_BYTES

if TYPE_CHECKING:  # a receiver needs some of this module, and nothing that reads files
    from p2pal.disk.source.source import Source

SHOWN: Final = 8
"""Characters of a checkpoint's id that people see; any unique prefix will do."""

MAX_NAMES: Final = 16
FLUSH_SECONDS: Final = 0.5

UNWRITABLE: Final = "the checkpoint cannot be written any more"


def make_header(
    role: Role,
    manifest: Manifest,
    names: Sequence[bytes],
    *,
    transfer_id: bytes,
    resume_key: bytes,
    ttl: float,
    shape: bytes,
    skip_errors: bool,
    target: Target | None = None,
) -> CheckpointHeader:
    """Return the first record of a transfer's checkpoint; ``names`` are its top-level entries."""
    return CheckpointHeader(
        version=VERSION,
        role=role,
        id=checkpoint_id(resume_key, transfer_id),
        transfer_id=transfer_id,
        resume_key=resume_key,
        created=time.time(),
        ttl=ttl,
        digest=manifest.digest(),
        shape=shape,
        entries=len(manifest),
        files=manifest.files,
        total=manifest.total,
        names=list(names[:MAX_NAMES]),
        more=max(0, len(names) - MAX_NAMES),
        skip_errors=skip_errors,
        target=target,
    )


def saved_event(
    journal: Journal, role: Role, server: str, done: int, total: int, out: Path | None = None, *, failed: int = 0
) -> Saved:
    """Return the event that tells how to go on.

    Args:
        journal: The checkpoint.
        role: Whose it is.
        server: The URL as it may be shown.
        done: Bytes that are at the receiver.
        total: Bytes of the transfer.
        out: The directory to name, where the checkpoint's own is not the right one any more.
        failed: Entries that failed, and can still be had.
    """
    command = resume_command(role, journal.id[:SHOWN], server)
    if out is not None:
        command += f" -out {shlex.quote(str(out))}"
    return Saved(id=journal.id, command=command, done=min(done, total), total=total, failed=failed)


class SendLog:
    """The sender's notes: leaves that were hashed, so that nothing is read twice, and how much arrived.

    Notes that come before there is a checkpoint wait for it. They are small: 32 bytes for each piece.

    Args:
        home: Where checkpoints are kept.
        ttl: How long, in seconds.
        on_problem: Hears, in a few words and once, why nothing can be kept.
    """

    def __init__(self, home: Path | None, ttl: float, on_problem: Callable[[str], None]) -> None:
        self._home = home
        self._ttl = ttl
        self._on_problem = on_problem
        self._runs: list[_Run] = []
        self._moved = (0, 0)
        self._due = 0.0
        self._making: asyncio.Task[None] | None = None
        self.journal: Journal | None = None

    def begin(
        self, source: Source, manifest: Manifest, *, transfer_id: bytes, resume_key: bytes, skip_errors: bool
    ) -> None:
        """Make a new checkpoint, in a thread, while files flow already; an earlier one stays as it is."""
        header = make_header(
            "send",
            manifest,
            source.names,
            transfer_id=transfer_id,
            resume_key=resume_key,
            ttl=self._ttl,
            shape=manifest.digest(),
            skip_errors=skip_errors,
        )
        earlier, self.journal = self.journal, None
        self._making = asyncio.create_task(self._make(self._making, earlier, source, manifest, header))

    def give_up(self, entries: RangeSet) -> None:
        """Remember, durably, that a person does not want these entries any more. Blocks."""
        if self.journal is not None and entries:
            self.journal.write(Declined(list(entries)), durable=True)

    async def _make(
        self,
        before: asyncio.Task[None] | None,
        earlier: Journal | None,
        source: Source,
        manifest: Manifest,
        header: CheckpointHeader,
    ) -> None:
        loop = asyncio.get_running_loop()

        def records() -> Iterator[CheckpointRecord]:
            yield from source.tops_records()
            # The manifest's store is the loop's: each slice of it is read there, between other work.
            listing = source.listing_records(manifest)
            while (record := asyncio.run_coroutine_threadsafe(_next(listing), loop).result()) is not None:
                yield record
            if source.given_up:
                yield Declined(list(source.given_up))

        if earlier is not None:
            await asyncio.to_thread(earlier.close)
        if before is not None:
            await before
            await self.close()
        try:
            self.journal = await asyncio.to_thread(Checkpoints(self._home).create, header, records())
        except DiskError as error:
            self._on_problem(error.message)
        except Exception as error:  # noqa: BLE001 - whatever it is: the transfer goes on, and the user knows
            self._on_problem(f"internal error ({type(error).__name__})")

    async def ready(self, seconds: float | None) -> None:
        """Wait until the checkpoint that is being made is there, or cannot be; at most so long, or without end."""
        if self._making is not None:
            await asyncio.wait((self._making,), timeout=seconds)

    def note(self, results: Sequence[SourceResult], source: Source) -> None:
        """Take the leaves out of what the source read."""
        for result in results:
            if not isinstance(result, PieceRead):
                continue
            at = source.known_leaves.since(result.index)
            if at is None:  # a file of one piece: nothing of it is remembered
                continue
            run = self._runs[-1] if self._runs else None
            if run is None or (run.index, run.next, run.at) != (result.index, result.piece, at):
                run = _Run(result.index, result.piece, at)
                self._runs.append(run)
            run.leaves += result.leaf

    def flush(self, now: float, done: int, files: int, *, final: bool = False) -> None:
        """Write what gathered, a few times a second. ``done`` bytes and ``files`` are at the receiver."""
        journal = self.journal
        if journal is None or (now < self._due and not final):
            return
        self._due = now + FLUSH_SECONDS
        records: list[CheckpointRecord] = [
            Leaves(run.index, run.first, bytes(run.leaves), run.at) for run in self._runs
        ]
        self._runs.clear()
        if (done, files) != self._moved:
            self._moved = (done, files)
            records.append(Arrived(done, files))
        if records:
            journal.write(*records)
        if journal.failed:
            self.journal = None
            journal.close()
            self._on_problem(UNWRITABLE)

    async def close(self) -> None:
        """Keep the checkpoint and let others use it."""
        journal, self.journal = self.journal, None
        if journal is not None:
            await asyncio.to_thread(journal.close)

    async def remove(self) -> None:
        """The transfer is complete: there is nothing to go on with."""
        journal, self.journal = self.journal, None
        if journal is not None:
            await asyncio.to_thread(journal.remove)


class _Run:
    """Leaves of consecutive pieces of one file, hashed since ``at``."""

    __slots__ = ("at", "first", "index", "leaves")

    def __init__(self, index: int, first: int, at: float) -> None:
        self.index = index
        self.first = first
        self.at = at
        self.leaves = bytearray()

    @property
    def next(self) -> int:
        return self.first + len(self.leaves) // LEAF_BYTES


async def _next(records: Iterator[Listing]) -> Listing | None:
    return next(records, None)
