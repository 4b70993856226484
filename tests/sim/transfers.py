"""A sender and a receiver, an ordered pipe between them, and disks in memory behind them. For any test to use.

``Transfer`` holds both machines; each of its movers (walk, send, read, receive, write, answer, reply) does a little, so
that a test may interleave them as it likes, and it may go on from an earlier one::

    transfer = Transfer(tree)
    transfer.run(random.Random(7), until=some_moment)
    again = transfer.again(random.Random(8))
    again.run()
    assert again.sink.tree == tree
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from tests.sim.disk import FakeSink, Link, Tree

from p2pal.checkpoint.records import Resume
from p2pal.ranges import RangeSet
from p2pal.transfer import events, ops
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.receiver import Receiver
from p2pal.transfer.sender import Sender
from p2pal.wire.pieces import file_digest, leaf, piece_count
from p2pal.wire.transfer import CHUNK_OVERHEAD, Chunk, Entry, EntryKind, Reason, Record, decode_payload, encode_record

LIMIT = 63 * 1024 + CHUNK_OVERHEAD
TRANSFER_ID = bytes(range(16))


SENDER_PROOF = b"s" * 32
RECEIVER_PROOF = b"r" * 32


def entries_of(tree: Tree) -> list[Entry]:
    """Return the tree's entries."""
    found = []
    for path, content in tree.items():
        if content is None:
            found.append(Entry(path, EntryKind.DIRECTORY, mode=0o755))
        elif isinstance(content, Link):
            found.append(Entry(path, EntryKind.LINK, target=content.target))
        else:
            found.append(Entry(path, EntryKind.FILE, len(content)))
    return found


@dataclass
class FakeSource:
    """Answers jobs from memory.

    Attributes:
        tree: What is sent.
        block: Bytes read at once.
        unreadable: Paths that fail, and after how many blocks.
        unrepairable: Paths that fail when a piece is read again.
        known: Paths whose leaves need not be read to be known.
        written: What files are found to hold, by path, when they were read once: somebody wrote to them meanwhile.
        given_up: Paths that a person does not want to send any more.
    """

    tree: Tree
    block: int = 1 << 20
    unreadable: dict[bytes, int] = field(default_factory=dict)
    unrepairable: Collection[bytes] = ()
    known: Collection[bytes] = ()
    written: dict[bytes, bytes] = field(default_factory=dict)
    given_up: Collection[bytes] = ()

    def read(self, job: ops.ReadJob) -> Iterator[ops.SourceResult]:
        path = job.entry.path
        content = self.tree[path]
        assert isinstance(content, bytes)
        if path in self.given_up:
            yield ops.ReadFailed(job.index, Reason.DECLINED, "left out")
            return
        count = piece_count(len(content), job.piece_size)
        pieces = [content[start : start + job.piece_size] for start in range(0, len(content), job.piece_size)]
        blocks_left = self.unreadable.get(path, 1 << 60)
        head = job.head
        for first, stop in ((job.first, job.stop),) if job.wanted is None else job.wanted:
            for piece in range(first, stop):
                data = pieces[piece]
                for position in range(head, len(data), self.block):
                    if blocks_left == 0 or (job.again and path in self.unrepairable):
                        yield ops.ReadFailed(job.index, Reason.READ, "bad sector \udcff")
                        return
                    blocks_left -= 1
                    block = data[position : position + self.block]
                    yield ops.BlockRead(job.index, piece * job.piece_size + position, block)
                head = 0
                yield ops.PieceRead(job.index, piece, leaf(data))
        if blocks_left == 0:
            yield ops.ReadFailed(job.index, Reason.CHANGED, "changed")
            return
        if job.wanted is not None and path not in self.known:
            lacking = RangeSet(job.wanted)
            for piece in (each for each in range(count) if each not in lacking):
                yield ops.PieceRead(job.index, piece, leaf(pieces[piece]))
        whole = job.first == 0 and job.stop == count
        if whole and path in self.written:
            self.tree = {**self.tree, path: self.written.pop(path)}
            now = self.tree[path]
            assert isinstance(now, bytes)
            said, pieces = pieces, [now[start : start + job.piece_size] for start in range(0, len(now), job.piece_size)]
            yield from [ops.PieceReread(job.index)] * count
            for piece in range(count):
                if pieces[piece] != said[piece]:
                    yield ops.PieceRead(job.index, piece, leaf(pieces[piece]))
        digest = file_digest(len(content), job.piece_size, map(leaf, pieces)) if whole else b""
        yield ops.FileRead(job.index, digest, job.again)


class Transfer:
    """Both machines at work.

    Attributes:
        skip: What the person leaves out.
        consent: Whether the person says yes.
        recut: Rewrites each payload (given as bytes) into others, in the sender's direction.
    """

    def __init__(
        self, tree: Tree, *, limit: int = LIMIT, skip_errors: bool = False, block: int = 1 << 20, prompt: bool = True,
        sink: FakeSink | None = None, resume: Resume | None = None, pinned: bool = False,
    ) -> None:  # fmt: skip
        self.now = 0.0
        self.source = FakeSource(tree, block=block)
        self.sink = FakeSink(prompt=prompt) if sink is None else sink
        self.sender = Sender(
            TRANSFER_ID, payload_limit=limit, skip_errors=skip_errors, manifest=Manifest(), now=self.now,
            proof=b"" if resume is None and not pinned else SENDER_PROOF, expected=RECEIVER_PROOF, pinned=pinned,
        )  # fmt: skip
        self.receiver = Receiver(payload_limit=limit, manifest=Manifest(), now=self.now)
        self.limit = limit
        self.skip_errors = skip_errors
        self.resume_from = resume
        self.skip: Collection[int] = ()
        self.consent = True
        self.recut: Callable[[bytes], list[bytes]] = lambda payload: [payload]
        self.sender_events: list[events.TransferEvent] = []
        self.receiver_events: list[events.TransferEvent] = []
        self.payloads: list[bytes] = []  # all that the sender sent
        self.answers: list[bytes] = []  # and the receiver
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
        self._proof_wanted = False

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
        proves = self._proof_wanted
        if proves:
            assert self.receiver.offered_proof == SENDER_PROOF
            self._proof_wanted = False
            self.receiver.prove(b"" if self.resume_from is None else RECEIVER_PROOF, self.now)
        some = [self._results.popleft() for _ in range(min(count, len(self._results)))]
        self.receiver.handle_results(some, self.now)
        self._drain_receiver()
        return proves or bool(some)

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
            self._proof_wanted |= isinstance(event, events.ProofWanted)
        if self._asked and not self._proof_wanted:
            self._asked = False
            if self.consent:
                self._accept()
            else:
                self.receiver.refuse(Reason.DECLINED, "no", self.now)
        self._ops.extend(self.receiver.ops())
        for payload in self.receiver.outputs():
            data = b"".join(payload)
            assert 0 < len(data) <= self.limit
            self.answers.append(data)
            self._to_sender.append(data)
        self.receiver_events.extend(self.receiver.events())

    def _accept(self) -> None:
        if self.resume_from is None:
            self.receiver.accept(self.now, skip=self.skip)
        else:
            self.receiver.accept(self.now, skip=self.skip, resume=self.resume_from, proof=RECEIVER_PROOF)

    def again(self, rng: random.Random, tree: Tree | None = None, *, lose: float = 0.3) -> Transfer:
        """Return the next session, in which the receiver has what its disk kept; with ``tree`` the source changed."""
        sink, resume = self.sink.reopened(rng, self.sender.manifest, lose)
        return Transfer(
            self.source.tree if tree is None else tree, limit=self.limit, skip_errors=self.skip_errors,
            block=self.source.block, sink=sink, resume=resume,
        )  # fmt: skip

    # Runs

    @property
    def movers(self) -> list[Callable[[int], bool]]:
        return [self.walk, self.send, self.read, self.receive, self.write, self.answer, self.reply]

    def run(self, rng: random.Random | None = None, *, until: Callable[[], bool] = lambda: False) -> None:
        """Start, and run until nothing moves; with ``rng``, in any order and in portions of any size."""
        self.sender.start(self.now)
        self.resume(rng, until=until)

    def run_to(self, verified: int) -> None:
        """Start, and run in small portions until so many pieces of unfinished files are verified on the disk."""
        self.sender.start(self.now)
        while sum(len(file.verified) for file in self.sink.open.values()) < verified:
            moved = [mover(3) for mover in self.movers]
            assert any(moved), "it never comes so far"

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

    def started(self, *, sender: bool = False) -> events.Started:
        """Return what one side was told was there when files began to flow."""
        happened = self.sender_events if sender else self.receiver_events
        (found,) = [each for each in happened if isinstance(each, events.Started)]
        return found

    def replies(self) -> Iterator[Record]:
        """Yield what the receiver said."""
        for payload in self.answers:
            yield from decode_payload(payload)

    def bytes_sent(self) -> dict[int, int]:
        """Return the file bytes that travelled, by entry, repairs included."""
        sent: dict[int, int] = {}
        for payload in self.payloads:
            for record in decode_payload(payload):
                if isinstance(record, Chunk):
                    sent[record.entry] = sent.get(record.entry, 0) + len(record.data)
        return sent

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


def after(turns: int) -> Callable[[], bool]:
    """Return a condition that holds when it was asked for so many times."""
    left = iter(range(turns))
    return lambda: next(left, None) is None
