"""A transfer with a checkpoint, on a real disk: sessions one after another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.unit.disk.disk import UMASK, digest_of, pieces_of

from p2pal.checkpoint.records import VERSION, CheckpointHeader, Claim, Places, Resume
from p2pal.checkpoint.replay import ReceiveState
from p2pal.disk.checkpoints.store import Checkpoints
from p2pal.disk.sink.placement import Placement, plan
from p2pal.disk.sink.sink import Sink
from p2pal.disk.sink.survey import StartsOver, survey
from p2pal.transfer import ops
from p2pal.transfer.manifest import Manifest
from p2pal.wire.pieces import leaf, piece_size
from p2pal.wire.transfer import Entry

ID = "abcdefghijklmnopqrstuvwxyz"
TAG = ID[:8]
PIECE = 1 << 20


def manifest_of(entries: Iterable[Entry]) -> Manifest:
    made = Manifest()
    for entry in entries:
        made.append(entry)
    return made


class Kept:
    """Receives these entries into ``base/out``; the checkpoint is in ``base/home``."""

    def __init__(self, base: Path, entries: Sequence[Entry], *, overwrite: bool = False) -> None:
        self.out = base / "out"
        self.out.mkdir(exist_ok=True)
        self.entries = list(entries)
        self.checkpoints = Checkpoints(base / "home")
        self.placement = plan(self.out, [(entry.path, entry.kind) for entry in entries if b"/" not in entry.path])
        self.placement.resolve(overwrite=overwrite)
        offered = manifest_of(entries)
        header = CheckpointHeader(
            VERSION, "receive", ID, bytes(16), bytes(32), 1.0, 1e6, offered.digest(), offered.shape(), len(offered),
            offered.files, offered.total, [b"x"], 0, target=self.placement.target(TAG),
        )  # fmt: skip
        self.journal = self.checkpoints.create(header, [Places(self.placement.records())])
        self.state: ReceiveState | None = None
        self.sink = Sink(self.placement, TAG, umask=UMASK, journal=self.journal)
        self.results: list[ops.SinkResult] = []

    def do(self, *operations: ops.SinkOp) -> list[ops.SinkResult]:
        found: list[ops.SinkResult] = []
        for op in operations:
            found += self.sink.execute(op)
            found += self.sink.poll(idle=False)
        self.results += found
        return found

    def begin(self, index: int, claim: Claim | None = None) -> list[ops.SinkResult]:
        entry = self.entries[index]
        return self.do(ops.Begin(index, entry, piece_size(entry.size), claim))

    def piece(self, index: int, number: int, data: bytes, *, start: int = 0) -> list[ops.SinkResult]:
        """Let one piece of a file arrive, from ``start`` on."""
        right = list(pieces_of(data))[number]
        return self.do(
            ops.Write(index, number * PIECE + start, right[start:]), ops.CheckPiece(index, number, leaf(right))
        )

    def finish(self, index: int, data: bytes) -> list[ops.SinkResult]:
        return self.do(ops.Finish(index, digest_of(data)))

    def file(self, index: int, data: bytes) -> None:
        """Let a whole small file arrive."""
        self.begin(index)
        self.do(ops.Write(index, 0, data)) if data else None
        self.finish(index, data)

    def seal(self) -> list[ops.SinkResult]:
        found = self.do(ops.Seal())
        assert found[-1] == ops.Sealed()
        return found

    def stop(self) -> list[ops.SinkResult]:
        """A clean stop."""
        found = self.sink.suspend_all()
        self.sink.close()
        self.journal.close()
        return found

    def kill(self) -> None:
        """Stop without a word: what is in the journal is all there is."""
        copy = self.journal.path.read_bytes()
        self.sink.suspend_all()
        self.sink.close()
        self.journal.close()
        self.journal.path.write_bytes(copy)

    def look(self, entries: Sequence[Entry] | None = None, *, verify: bool = False) -> tuple[Resume, StartsOver]:
        """Open the checkpoint, look at the disk, and begin another session."""
        self.entries = list(entries or self.entries)
        opened = self.checkpoints.open(ID, "receive")
        state = opened.state
        assert isinstance(state, ReceiveState)
        target = opened.header.target
        assert target is not None
        self.journal, self.state = opened.journal, state
        self.placement = Placement.restored(self.out, target.identity, state.places, target.consent_ns)
        found = survey(state, self.placement, manifest_of(self.entries), TAG, verify=verify, journal=opened.journal)
        assert opened.begin()
        self.sink = Sink(self.placement, TAG, umask=UMASK, journal=self.journal, resume=state)
        self.results = []
        return found

    @property
    def done(self) -> set[int]:
        return {result.index for result in self.results if isinstance(result, ops.EntryDone)}

    def until_looked_through(self) -> list[ops.SinkResult]:
        """Wait for what is hashed again."""
        self.sink._verifying.wait(ended=False)
        found = self.sink.poll(idle=False)
        self.results += found
        return found
