"""A sender and a receiver, an ordered pipe between them, and disks in memory behind them. For any test to use.

``Transfer`` holds both machines; each of its movers (walk, send, read, receive, write, answer, reply) does a little, so
that a test may interleave them as it likes::

    transfer = Transfer(tree)
    transfer.run(random.Random(7))
    assert transfer.sink.tree == tree
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from p2pal.transfer import events, ops
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.pieces import file_digest, leaf, piece_count
from p2pal.transfer.receiver import Receiver
from p2pal.transfer.sender import Sender
from p2pal.wire.transfer import CHUNK_OVERHEAD, Chunk, Entry, Kind, Reason, decode_payload, encode_record

LIMIT = 63 * 1024 + CHUNK_OVERHEAD
TRANSFER_ID = bytes(range(16))


@dataclass(frozen=True)
class Link:
    """A symbolic link in a tree."""

    target: bytes


Tree = Mapping[bytes, bytes | Link | None]
"""Paths to a file's bytes, a link, or None for a directory; parents first."""


def entries_of(tree: Tree) -> list[Entry]:
    """Return the tree's entries."""
    found = []
    for path, content in tree.items():
        if content is None:
            found.append(Entry(path, Kind.DIRECTORY, mode=0o755))
        elif isinstance(content, Link):
            found.append(Entry(path, Kind.LINK, target=content.target))
        else:
            found.append(Entry(path, Kind.FILE, len(content)))
    return found


@dataclass
class FakeSource:
    """Answers jobs from memory.

    Attributes:
        tree: What is sent.
        block: Bytes read at once.
        unreadable: Paths that fail, and after how many blocks.
        unrepairable: Paths that fail when a piece is read again.
    """

    tree: Tree
    block: int = 1 << 20
    unreadable: dict[bytes, int] = field(default_factory=dict)
    unrepairable: Collection[bytes] = ()

    def read(self, job: ops.ReadJob) -> Iterator[ops.SourceResult]:
        path = job.entry.path
        content = self.tree[path]
        assert isinstance(content, bytes)
        blocks_left = self.unreadable.get(path, 1 << 60)
        leaves = []
        for piece in range(job.first, job.stop):
            start = piece * job.piece_size
            data = content[start : start + job.piece_size]
            for position in range(0, len(data), self.block):
                if blocks_left == 0 or (job.again and path in self.unrepairable):
                    yield ops.ReadFailed(job.index, Reason.READ, "bad sector \udcff")
                    return
                blocks_left -= 1
                yield ops.BlockRead(job.index, start + position, data[position : position + self.block])
            leaves.append(leaf(data))
            yield ops.PieceRead(job.index, piece, leaves[-1])
        if blocks_left == 0:
            yield ops.ReadFailed(job.index, Reason.CHANGED, "changed")
            return
        whole = job.first == 0 and job.stop == piece_count(len(content), job.piece_size)
        digest = file_digest(len(content), job.piece_size, leaves) if whole else b""
        yield ops.FileRead(job.index, digest, job.again)


class _Open:
    """A part file."""

    def __init__(self, begin: ops.Begin) -> None:
        self.entry = begin.entry
        self.piece_size = begin.piece_size
        self.data = bytearray()
        self.pieces: dict[int, bytearray] = {}

    def write(self, op: ops.Write) -> None:
        piece = self.pieces.setdefault(op.offset // self.piece_size, bytearray())
        assert op.offset % self.piece_size == len(piece), "offsets ascend within a piece"
        piece += op.data
        assert op.offset + len(op.data) <= self.entry.size, "no write may pass the declared size"
        assert len(piece) <= self.piece_size

    def whole(self) -> bytes:
        return b"".join(self.pieces[number] for number in sorted(self.pieces))

    def digest(self) -> bytes:
        leaves = [leaf(self.pieces[number]) for number in sorted(self.pieces)]
        return file_digest(self.entry.size, self.piece_size, leaves)


class FakeSink:
    """Carries operations out in memory, and holds the machine to their order.

    Attributes:
        tree: What stands under its final name.
        failing: Paths that fail when they are begun or made, and why.
        fail_at_finish: Paths that fail when they are finished, and why.
        damage: Called with (path, offset, data) for each write; returns what the disk makes of it.
        prompt: Whether directories and links are answered at once; otherwise when everything is sealed.
    """

    def __init__(self, *, prompt: bool = True) -> None:
        self.tree: dict[bytes, bytes | Link | None] = {}
        self.failing: dict[bytes, Reason] = {}
        self.fail_at_finish: dict[bytes, Reason] = {}
        self.damage: Callable[[bytes, int, bytes], bytes] = lambda path, offset, data: data
        self.prompt = prompt
        self.open: dict[int, _Open] = {}
        self.sealed = False
        self._ended: set[int] = set()
        self._late: list[ops.SinkResult] = []

    def execute(self, op: ops.SinkOp) -> list[ops.SinkResult]:
        assert not self.sealed, "nothing comes after Seal"
        match op:
            case ops.Begin(index, entry, _):
                assert index not in self.open
                self._check_parent(entry)
                if entry.path in self.failing:
                    self._ended.add(index)
                    return [ops.EntryFailed(index, self.failing[entry.path], "no")]
                self.open[index] = _Open(op)
            case ops.Write(index, offset, data) if index in self.open:
                file = self.open[index]
                damaged = self.damage(file.entry.path, offset, bytes(data))
                file.write(ops.Write(index, offset, damaged))
            case ops.CheckPiece(index, piece, wanted) if index in self.open:
                if leaf(self.open[index].pieces[piece]) != wanted:
                    return [ops.PieceBad(index, piece)]
            case ops.ResetPiece(index, piece) if index in self.open:
                self.open[index].pieces.pop(piece, None)
            case ops.Finish(index, digest) if index in self.open:
                return [self._finish(index, digest)]
            case ops.Discard(index):
                self.open.pop(index, None)
                self._ended.add(index)
            case ops.MakeDirectory(index, entry) | ops.MakeLink(index, entry):
                return self._make(index, entry)
            case ops.Seal():
                assert not self.open, "sealed over unfinished files"
                self.sealed = True
                return [*self._late, ops.Sealed()]
            case _:
                assert op.index in self._ended, "an operation for a file that was not begun"
        return []

    def _finish(self, index: int, digest: bytes) -> ops.SinkResult:
        file = self.open[index]
        if file.digest() != digest:
            return ops.DigestBad(index)
        del self.open[index]
        self._ended.add(index)
        if file.entry.path in self.fail_at_finish:
            return ops.EntryFailed(index, self.fail_at_finish[file.entry.path], "no")
        self.tree[file.entry.path] = file.whole()
        return ops.EntryDone(index)

    def _check_parent(self, entry: Entry) -> None:
        parent = entry.path.rpartition(b"/")[0]
        assert not parent or parent in self.tree or parent in self.failing

    def _make(self, index: int, entry: Entry) -> list[ops.SinkResult]:
        self._check_parent(entry)
        result: ops.SinkResult
        if entry.path in self.failing:
            result = ops.EntryFailed(index, self.failing[entry.path], "no")
        else:
            self.tree[entry.path] = Link(entry.target) if entry.kind is Kind.LINK else None
            result = ops.EntryDone(index)
        if self.prompt:
            return [result]
        self._late.append(result)
        return []


class Transfer:
    """Both machines at work.

    Attributes:
        skip: What the person leaves out.
        consent: Whether the person says yes.
        recut: Rewrites each payload (given as bytes) into others, in the sender's direction.
    """

    def __init__(
        self, tree: Tree, *, limit: int = LIMIT, skip_errors: bool = False, block: int = 1 << 20, prompt: bool = True
    ) -> None:
        self.now = 0.0
        self.source = FakeSource(tree, block=block)
        self.sink = FakeSink(prompt=prompt)
        self.sender = Sender(
            TRANSFER_ID, payload_limit=limit, skip_errors=skip_errors, manifest=Manifest(), now=self.now
        )
        self.receiver = Receiver(payload_limit=limit, manifest=Manifest(), now=self.now)
        self.limit = limit
        self.skip: Collection[int] = ()
        self.consent = True
        self.recut: Callable[[bytes], list[bytes]] = lambda payload: [payload]
        self.sender_events: list[events.TransferEvent] = []
        self.receiver_events: list[events.TransferEvent] = []
        self.payloads: list[bytes] = []  # all that the sender sent
        self.most_jobs = 0
        self._listing = deque(entries_of(tree))
        self._listed = False
        self._jobs: deque[ops.ReadJob] = deque()
        self._reading: Iterator[ops.SourceResult] | None = None
        self._ops: deque[ops.SinkOp] = deque()
        self._results: deque[ops.SinkResult] = deque()
        self._to_receiver: deque[bytes] = deque()
        self._to_sender: deque[bytes] = deque()
        self._asked = False

    # The movers: each does a little, and says whether it did anything

    def walk(self, count: int = 100) -> bool:
        if self._listed:
            return False
        if self._listing:
            some = [self._listing.popleft() for _ in range(min(count, len(self._listing)))]
            self.sender.add_entries(some, self.now)
        else:
            self._listed = True
            self.sender.finish_offer(self.now)
        return True

    def send(self, count: int = 1000) -> bool:
        worked = False
        for _, payload in zip(range(count), self.sender.outputs(), strict=False):
            data = b"".join(payload)
            assert 0 < len(data) <= self.limit
            self.payloads.append(data)
            self._to_receiver.extend(self.recut(data))
            worked = True
        self._jobs.extend(self.sender.jobs())
        self.most_jobs = max(self.most_jobs, len(self._jobs))
        self.sender_events.extend(self.sender.events())
        return worked

    def read(self, count: int = 1000) -> bool:
        results: list[ops.SourceResult] = []
        while len(results) < count:
            if self._reading is None:
                if not self._jobs:
                    break
                self._reading = self.source.read(self._jobs.popleft())
            result = next(self._reading, None)
            if result is None:
                self._reading = None
            else:
                results.append(result)
        self.sender.handle_source(results, self.now)
        return bool(results)

    def receive(self, count: int = 1000) -> bool:
        worked = False
        while self._to_receiver and count:
            self.receiver.handle_payload(self._to_receiver.popleft(), self.now)
            count -= 1
            worked = True
        self._drain_receiver()
        return worked

    def write(self, count: int = 1000) -> bool:
        worked = bool(self._ops)
        while self._ops and count:
            self._results.extend(self.sink.execute(self._ops.popleft()))
            count -= 1
        return worked

    def answer(self, count: int = 1000) -> bool:
        some = [self._results.popleft() for _ in range(min(count, len(self._results)))]
        self.receiver.handle_results(some, self.now)
        self._drain_receiver()
        return bool(some)

    def reply(self, count: int = 1000) -> bool:
        worked = False
        while self._to_sender and count:
            self.sender.handle_payload(self._to_sender.popleft(), self.now)
            count -= 1
            worked = True
        return worked

    def _drain_receiver(self) -> None:
        for event in self.receiver.events():
            self.receiver_events.append(event)
            if isinstance(event, events.OfferComplete):
                self._asked = True
        if self._asked:
            self._asked = False
            if self.consent:
                self.receiver.accept(self.now, skip=self.skip)
            else:
                self.receiver.refuse(Reason.DECLINED, "no", self.now)
        self._ops.extend(self.receiver.ops())
        for payload in self.receiver.outputs():
            data = b"".join(payload)
            assert 0 < len(data) <= self.limit
            self._to_sender.append(data)
        self.receiver_events.extend(self.receiver.events())

    # Runs

    @property
    def movers(self) -> list[Callable[[int], bool]]:
        return [self.walk, self.send, self.read, self.receive, self.write, self.answer, self.reply]

    def run(self, rng: random.Random | None = None, *, until: Callable[[], bool] = lambda: False) -> None:
        """Start, and run until nothing moves; with ``rng``, in any order and in portions of any size."""
        self.sender.start(self.now)
        self.resume(rng, until=until)

    def resume(self, rng: random.Random | None = None, *, until: Callable[[], bool] = lambda: False) -> None:
        idle = 0
        while idle < 3 and not until():
            if rng is not None:
                for mover in rng.choices(self.movers, k=10):
                    mover(rng.choice((1, 2, 7, 50)))
            moved = [mover(1000) for mover in (self.movers if rng is None else rng.sample(self.movers, 7))]
            idle = 0 if True in moved else idle + 1  # a mover that moved nothing may still have passed jobs on
            self.now += 0.01

    # What came of it

    def finished(self) -> tuple[events.Finished, events.Finished]:
        """Return both sides' last events, which must be their last and only ones."""
        ends = []
        for happened in (self.sender_events, self.receiver_events):
            end = happened[-1]
            assert isinstance(end, events.Finished)
            assert sum(isinstance(each, events.Finished) for each in happened) == 1
            ends.append(end)
        return ends[0], ends[1]

    def failures(self, *, sender: bool = False) -> dict[bytes, Reason]:
        """Return what failed, and why, as one side was told."""
        happened = self.sender_events if sender else self.receiver_events
        failed = [each for each in happened if isinstance(each, events.EntryFailed) and each.index is not None]
        assert len({each.index for each in failed}) == len(failed), "each failure is told once"
        return {self.sender.manifest[each.index].path: each.reason for each in failed if each.index is not None}

    def succeeded(self, *, sender: bool = False) -> set[bytes]:
        """Return what went well, as one side was told."""
        happened = self.sender_events if sender else self.receiver_events
        done = [each.index for each in happened if isinstance(each, events.EntryFinished)]
        assert len(set(done)) == len(done), "each success is told once"
        return {self.sender.manifest[index].path for index in done}


def recut_randomly(rng: random.Random) -> Callable[[bytes], list[bytes]]:
    """Return a rewriting of payloads: their records in other payloads, their chunks in smaller chunks."""

    def recut(payload: bytes) -> list[bytes]:
        payloads: list[bytes] = []
        current = b""
        for record in decode_payload(payload):
            pieces = [record]
            if isinstance(record, Chunk) and len(record.data) > 1 and rng.random() < 0.5:
                middle = rng.randrange(1, len(record.data))
                pieces = [
                    Chunk(record.entry, record.offset, record.data[:middle]),
                    Chunk(record.entry, record.offset + middle, record.data[middle:]),
                ]
            for piece in pieces:
                current += b"".join(encode_record(piece))
                if rng.random() < 0.5:
                    payloads.append(current)
                    current = b""
        return [*payloads, current] if current else payloads

    return recut
