"""The receiver's disk in memory: it holds the machine to the order of operations, and may be opened again later."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from p2pal.checkpoint.records import Claim, Resume
from p2pal.ranges import RangeSet
from p2pal.transfer import ops
from p2pal.transfer.manifest import Manifest
from p2pal.wire.pieces import file_digest, leaf
from p2pal.wire.transfer import Entry, EntryKind, Reason


@dataclass(frozen=True)
class Link:
    """A symbolic link in a tree."""

    target: bytes


Tree = Mapping[bytes, bytes | Link | None]
"""Paths to a file's bytes, a link, or None for a directory; parents first."""


class PartFile:
    """A part file: its pieces as they are on the disk, and what is known of them."""

    def __init__(self, begin: ops.Begin, earlier: PartFile | None) -> None:
        self.entry = begin.entry
        self.piece_size = begin.piece_size
        self.pieces: dict[int, bytearray] = {}
        self.claimed: dict[int, bytes] = {}  # leaves of pieces that an earlier session left
        self.unread: set[int] = set()  # those that are not hashed again yet
        self.verified: set[int] = set()
        self.bad: set[int] = set()  # said, and not reset
        claim = begin.claim
        if claim is not None:
            assert earlier is not None, "a claim of what is not there"
            self.claimed = dict(claim.leaves)
            self.unread = set() if claim.trusted else set(claim.leaves)
            self.verified = set(claim.leaves)
            self.pieces = {number: earlier.pieces[number] for number in claim.leaves}
            if claim.head:
                assert claim.piece not in claim.leaves
                self.pieces[claim.piece] = earlier.pieces[claim.piece][: claim.head]
                assert len(self.pieces[claim.piece]) == claim.head

    def write(self, offset: int, data: bytes) -> None:
        piece = self.pieces.setdefault(offset // self.piece_size, bytearray())
        assert offset % self.piece_size == len(piece), "offsets ascend within a piece"
        assert offset // self.piece_size not in self.claimed, "what is there is not written again"
        piece += data
        assert offset + len(data) <= self.entry.size, "no write may pass the declared size"
        assert len(piece) <= self.piece_size

    def has_leaf(self, number: int, wanted: bytes) -> bool:
        found = self.claimed[number] if number in self.claimed else leaf(self.pieces[number])
        if found == wanted:
            self.verified.add(number)
        return found == wanted

    def reset(self, number: int) -> None:
        self.pieces.pop(number, None)
        self.claimed.pop(number, None)
        for each in (self.unread, self.verified, self.bad):
            each.discard(number)

    def find_bad(self, number: int) -> bool:
        """Note a damaged piece; False if that was said before."""
        if number in self.bad:
            return False
        self.bad.add(number)
        self.verified.discard(number)
        return True

    def hash_again(self, number: int) -> bool:
        """Read a claimed piece again; False if it is not what was claimed, and nobody said so before."""
        self.unread.discard(number)
        return leaf(self.pieces[number]) == self.claimed[number] or not self.find_bad(number)

    def whole(self) -> bytes:
        return b"".join(self.pieces[number] for number in sorted(self.pieces))

    def digest(self) -> bytes:
        leaves = [self.claimed.get(number) or leaf(self.pieces[number]) for number in sorted(self.pieces)]
        return file_digest(self.entry.size, self.piece_size, leaves)

    def claim(self, index: int, rng: random.Random, lose: float) -> Claim:
        """Return what is claimed after the end: of verified pieces those that were durable, and a head of another."""
        kept = [number for number in sorted(self.verified) if rng.random() >= lose]
        leaves = {number: self.claimed.get(number) or leaf(self.pieces[number]) for number in kept}
        begun = [number for number, data in self.pieces.items() if number not in leaves and data]
        piece = rng.choice(begun) if begun and rng.random() >= lose else 0
        head = rng.randint(1, len(self.pieces[piece])) if piece in begun else 0
        return Claim((1, index), leaves, piece if head else 0, head, trusted=rng.random() < 0.5)


class FakeSink:
    """Carries operations out in memory, and holds the machine to their order.

    Attributes:
        tree: What stands under its final name.
        failing: Paths that fail when they are begun or made, and why.
        fail_at_finish: Paths that fail when they are finished, and why.
        damage: Called with (path, offset, data) for each write; returns what the disk makes of it.
        prompt: Whether directories and links are answered at once; otherwise when everything is sealed.
        open: Part files in work, by entry.
        kept: Part files that were suspended, or that an earlier session left.
        begun: Entries that were begun, with their claims.
        given_up: Entries that a person does not want any more.
    """

    def __init__(self, *, prompt: bool = True) -> None:
        self.tree: dict[bytes, bytes | Link | None] = {}
        self.failing: dict[bytes, Reason] = {}
        self.fail_at_finish: dict[bytes, Reason] = {}
        self.damage: Callable[[bytes, int, bytes], bytes] = lambda path, offset, data: data
        self.prompt = prompt
        self.open: dict[int, PartFile] = {}
        self.kept: dict[int, PartFile] = {}
        self.begun: dict[int, Claim | None] = {}
        self.given_up: set[int] = set()
        self.sealed = False
        self._ended: set[int] = set()
        self._late: list[ops.SinkResult] = []

    def execute(self, op: ops.SinkOp) -> list[ops.SinkResult]:
        assert not self.sealed, "nothing comes after Seal"
        match op:
            case ops.Begin():
                return self._begin(op)
            case ops.Write(index, offset, data) if index in self.open:
                file = self.open[index]
                file.write(offset, self.damage(file.entry.path, offset, bytes(data)))
                if file.unread and not file.hash_again(number := min(file.unread)):
                    return [ops.PieceBad(index, number)]
            case ops.CheckPiece(index, piece, wanted) if index in self.open:
                file = self.open[index]
                if not file.has_leaf(piece, wanted) and file.find_bad(piece):
                    return [ops.PieceBad(index, piece)]
            case ops.ResetPiece(index, piece) if index in self.open:
                self.open[index].reset(piece)
            case ops.Finish(index, digest) if index in self.open:
                return self._finish(index, digest)
            case ops.Discard(index, given_up):
                self._discard(index, given_up)
            case ops.Suspend(index):
                self._suspend(index)
            case ops.MakeDirectory(index, entry) | ops.MakeLink(index, entry):
                return self._make(index, entry)
            case ops.Seal():
                assert not self.open, "sealed over unfinished files"
                self.sealed = True
                return [*self._late, ops.Sealed()]
            case _:
                assert op.index in self._ended, "an operation for a file that was not begun"
        return []

    def _begin(self, op: ops.Begin) -> list[ops.SinkResult]:
        index, path = op.index, op.entry.path
        assert index not in self.begun
        assert path not in self.tree, "what stands is not sent again"
        self.begun[index] = op.claim
        earlier = self.kept.pop(index, None)
        self._check_parent(op.entry)
        if path in self.failing:
            self._ended.add(index)
            return [ops.WriteFailed(index, self.failing[path], "no")]
        self.open[index] = PartFile(op, earlier)
        return []

    def _discard(self, index: int, given_up: bool) -> None:
        self.open.pop(index, None)
        self.kept.pop(index, None)
        self._ended.add(index)
        if given_up:
            self.given_up.add(index)

    def _suspend(self, index: int) -> None:
        assert index in self.open or index in self._ended
        if index in self.open:
            self.kept[index] = self.open.pop(index)
        self._ended.add(index)

    def _finish(self, index: int, digest: bytes) -> list[ops.SinkResult]:
        file = self.open[index]
        found: list[ops.SinkResult] = [
            ops.PieceBad(index, number) for number in sorted(file.unread) if not file.hash_again(number)
        ]
        if found or file.bad or file.digest() != digest:
            return [*found, ops.DigestBad(index)]
        del self.open[index]
        self._ended.add(index)
        if file.entry.path in self.fail_at_finish:
            self.kept[index] = file
            return [ops.WriteFailed(index, self.fail_at_finish[file.entry.path], "no")]
        self.tree[file.entry.path] = file.whole()
        return [ops.EntryDone(index)]

    def _check_parent(self, entry: Entry) -> None:
        parent = entry.path.rpartition(b"/")[0]
        assert not parent or parent in self.tree or parent in self.failing

    def _make(self, index: int, entry: Entry) -> list[ops.SinkResult]:
        self._check_parent(entry)
        result: ops.SinkResult
        if entry.path in self.failing:
            result = ops.WriteFailed(index, self.failing[entry.path], "no")
        else:
            self.tree[entry.path] = Link(entry.target) if entry.kind is EntryKind.LINK else None
            result = ops.EntryDone(index)
        if self.prompt:
            return [result]
        self._late.append(result)
        return []

    def reopened(self, rng: random.Random, manifest: Manifest, lose: float) -> tuple[FakeSink, Resume]:
        """Return the disk as the next session finds it, and what of it that one may rely on.

        Whether this session stopped in good order or was killed, some of what it wrote was not durable: of each
        verified piece that is so with the odds ``lose``. What it began and does not claim is there but worth nothing.
        """
        sink = FakeSink(prompt=rng.random() < 0.5)
        sink.tree = dict(self.tree)
        sink.kept = {**self.kept, **self.open}
        stands = (index for index, entry in enumerate(manifest) if entry.path in sink.tree)
        done = RangeSet((index, index + 1) for index in stands)
        sink.given_up = set(self.given_up)
        declined = RangeSet((index, index + 1) for index in sorted(sink.given_up))
        claims = {index: file.claim(index, rng, lose) for index, file in sink.kept.items()}
        return sink, Resume(done, declined, claims)
