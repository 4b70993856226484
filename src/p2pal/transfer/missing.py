"""What the receiver asks for: everything, or in a transfer that goes on what its disk lacks. Pure.

Directories are wanted in any case, because what they hold needs them; the disk takes those that stand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from p2pal.checkpoint.records import Claim, Resume
from p2pal.ranges import RangeSet
from p2pal.transfer.manifest import Manifest
from p2pal.wire.pieces import LEAF_BYTES, piece_count, piece_size
from p2pal.wire.transfer import MAX_WANTED_RANGES, EntryKind, WantPieces


@dataclass(frozen=True, slots=True)
class Part:
    """What an earlier session left of one file.

    Attributes:
        claim: What is there and stays.
        wanted: The pieces that are lacking, half-open ranges, ascending.
        head: Bytes at the start of the first of them that are there.
        done: Bytes that are there.
    """

    claim: Claim
    wanted: tuple[tuple[int, int], ...]
    head: int
    done: int


def part_of(claim: Claim, size: int, max_ranges: int) -> Part | None:
    """Return what is to be asked for of a file of which the disk claims that; None if all of it.

    Nothing in the claim is believed about the size, which the source may have changed: pieces past the end do not
    count, and one that had another length has another leaf, which the sender's will show.

    Args:
        claim: What is there.
        size: Bytes in the file as it is offered now.
        max_ranges: Ranges that may be asked for; the last one then covers what is there, too.
    """
    each = piece_size(size)
    count = piece_count(size, each)
    if count < 2:
        return None
    leaves = {number: leaf for number, leaf in claim.leaves.items() if number < count and len(leaf) == LEAF_BYTES}
    there = RangeSet((number, number + 1) for number in sorted(leaves) if number >= 0)
    wanted = list(there.gaps(0, count))
    if len(wanted) > max_ranges:
        wanted[max_ranges - 1 :] = [(wanted[max_ranges - 1][0], wanted[-1][1])]
        there.remove(*wanted[-1])
    head = 0
    if wanted and claim.piece == wanted[0][0] and 0 < claim.head < min(each, size - claim.piece * each):
        head = claim.head
    if not there and not head:
        return None
    piece = claim.piece if head else 0
    if there.total != len(claim.leaves) or (claim.piece, claim.head) != (piece, head):
        kept = {number: leaf for number, leaf in leaves.items() if number in there}
        claim = Claim(claim.part, kept, piece, head, claim.trusted)
    lacking = sum(min(stop * each, size) - start * each for start, stop in wanted)
    return Part(claim, tuple(wanted), head, size - lacking + head)


class Lacking:
    """What a receiver lacks of an offer.

    Args:
        manifest: The offer.
        kinds: The kind of each of its entries, a byte each.
        skip: Entries that the person does not want.
        resume: What an earlier session left; indices past the offer's end do not count.
        max_ranges: Ranges of pieces that may be asked for of one file.

    Attributes:
        done: Files and links that stand already.
        declined: Entries that the person does not want, and that do not stand.
        parts: Files of which something is there.
        files: How many files stand.
        bytes: Their bytes, and those of the parts.
    """

    __slots__ = ("_count", "bytes", "declined", "done", "files", "parts")

    def __init__(
        self, manifest: Manifest, kinds: bytes | bytearray, skip: Collection[int], resume: Resume | None,
        max_ranges: int,
    ) -> None:  # fmt: skip
        self._count = len(kinds)
        self.done = RangeSet()
        self.parts: dict[int, Part] = {}
        self.files = 0
        self.bytes = 0
        left_out = RangeSet((index, index + 1) for index in sorted(skip))
        if resume is not None:
            for start, stop in resume.declined:
                if start < self._count:
                    left_out.add(max(0, start), max(0, min(stop, self._count)))
            self._find_done(manifest, kinds, resume.done)
        self.declined = RangeSet()
        for start, stop in left_out:
            for gap in self.done.gaps(start, stop):
                self.declined.add(*gap)
        if resume is not None:
            self._find_parts(manifest, kinds, resume.claims, max_ranges)

    def _find_done(self, manifest: Manifest, kinds: bytes | bytearray, done: RangeSet) -> None:
        for first, last in done:
            position, stop = max(0, first), min(last, self._count)
            while position < stop:
                directory = kinds.find(EntryKind.DIRECTORY, position, stop)
                end = stop if directory < 0 else directory
                if position < end:
                    self.done.add(position, end)
                for index in range(position, end):
                    if kinds[index] == EntryKind.FILE:
                        self.files += 1
                        self.bytes += manifest[index].size
                position = end + 1

    def _find_parts(
        self, manifest: Manifest, kinds: bytes | bytearray, claims: dict[int, Claim], max_ranges: int
    ) -> None:
        ranges_left = MAX_WANTED_RANGES
        for index in sorted(claims):
            if not 0 <= index < self._count or kinds[index] != EntryKind.FILE:
                continue
            if index in self.done or index in self.declined:
                continue
            part = part_of(claims[index], manifest[index].size, max_ranges)
            if part is None:
                continue
            cost = max(1, len(part.wanted))
            if cost <= ranges_left:
                ranges_left -= cost
                self.parts[index] = part
                self.bytes += part.done

    def wants(self) -> Iterator[tuple[int, int] | WantPieces]:
        """Yield, ascending, what to ask for: ranges of entries that are wanted whole, and pieces of others."""
        unwanted = RangeSet(self.done)
        for start, stop in self.declined:
            unwanted.add(start, stop)
        parts = iter(sorted(self.parts))
        part = next(parts, None)
        for first, stop in unwanted.gaps(0, self._count):
            start = first
            while part is not None and part < stop:
                if start < part:
                    yield start, part
                yield WantPieces(part, list(self.parts[part].wanted), self.parts[part].head)
                start = part + 1
                part = next(parts, None)
            if start < stop:
                yield start, stop
