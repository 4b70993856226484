"""The stream of a lane: whole messages as one sequence of bytes, each behind its length in four bytes.

The sending side keeps messages until the peer has every byte of them, and hands out slices without copying. The
receiving side takes slices in any order and any number of times, and gives whole messages: what arrives in order is
copied once, when its message is joined.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from p2pal.errors import ProtocolError
from p2pal.lanes.udp.packet import MAX_OFFSET, Buffer
from p2pal.ranges import RangeSet

MAX_MESSAGE: Final = 256 * 1024
PREFIX: Final = 4
WINDOW: Final = 32 << 20
"""Bytes of the stream that may be on the way or wait for a gap to be filled."""

_SMALL: Final = 2048  # bytes of a message that is joined with its length: two buffers cost more than the copy
_MAX_SLICES: Final = 4  # of one datagram; more are joined, because a system call gathers a limited number
_COMPACT: Final = 256
_MEAN_PIECE: Final = 256  # bytes; a window of pieces smaller than this on average is not held
_MAX_PARTS: Final = 512


class SendStream:
    """What we send.

    Args:
        window: How far past the first byte that the peer lacks we may send, in bytes.

    Attributes:
        end: The offset past the last byte that was written.
        sent: The offset past the last byte that was sent.
        acked: Every byte below it has arrived.
    """

    __slots__ = ("_acked", "_again", "_chunks", "_head", "_max_ranges", "_starts", "_window", "acked", "end", "sent")

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._max_ranges = window // _MEAN_PIECE
        self._chunks: list[memoryview] = []
        self._starts: list[int] = []
        self._head = 0  # chunks before this index are released
        self._acked = RangeSet()  # past `acked`
        self._again = RangeSet()  # lost, to be sent again
        self.acked = 0
        self.sent = 0
        self.end = 0

    @property
    def unsent(self) -> int:
        """Bytes that were never sent."""
        return self.end - self.sent

    @property
    def kept(self) -> int:
        """Bytes that are kept: written and not known to have arrived."""
        return self.end - self.acked

    @property
    def pending(self) -> bool:
        """Whether there is something to send that the window allows."""
        return bool(self._again) or self.sent < min(self.end, self.acked + self._window)

    @property
    def blocked(self) -> bool:
        """Whether only the window holds us back."""
        return not self._again and self.sent < self.end and self.sent >= self.acked + self._window

    def write(self, message: Buffer) -> None:
        """Append one message.

        Raises:
            ValueError: If it is empty or longer than :data:`MAX_MESSAGE`.
            ProtocolError: If the stream is at its end, after 2^62 bytes.
        """
        size = len(message)
        if not 0 < size <= MAX_MESSAGE:
            raise ValueError("the message is larger than the lane carries, or empty")
        if self.end + size + PREFIX > MAX_OFFSET:
            raise ProtocolError("the lane has carried as many bytes as it can number")
        prefix = size.to_bytes(PREFIX, "big")
        if size <= _SMALL:
            self._append(prefix + message)
        else:
            self._append(prefix)
            self._append(message)

    def _append(self, chunk: Buffer) -> None:
        self._starts.append(self.end)
        self._chunks.append(memoryview(chunk))
        self.end += len(chunk)

    def next_range(self, limit: int) -> tuple[int, int] | None:
        """Return where the next bytes to send begin and end, at most ``limit`` of them: lost ones first."""
        if self._again:
            start, stop = next(iter(self._again))
            return start, min(stop, start + limit)
        stop = min(self.end, self.acked + self._window, self.sent + limit)
        return (self.sent, stop) if self.sent < stop else None

    def oldest(self, limit: int) -> tuple[int, int] | None:
        """Return the first bytes that were sent and are not known to have arrived, at most ``limit``."""
        for start, stop in self._acked.gaps(self.acked, self.sent):
            return start, min(stop, start + limit)
        return None

    def mark_sent(self, start: int, stop: int) -> None:
        """These bytes leave now."""
        if self._again:
            self._again.remove(start, stop)
        self.sent = max(self.sent, stop)

    def gather(self, start: int, stop: int, size: int, headers: Sequence[Buffer]) -> list[Buffer]:
        """Return the bytes as slices for datagrams, each with its header before it.

        Args:
            start: The offset of the first byte.
            stop: The offset past the last byte.
            size: Payload of each datagram but the last, in bytes.
            headers: One for each datagram.
        """
        starts, chunks = self._starts, self._chunks
        index = bisect_right(starts, start, self._head) - 1
        chunk = chunks[index]
        at = start - starts[index]
        if len(headers) == 1 and at + stop - start <= len(chunk):
            return [headers[0], chunk[at : at + stop - start]]
        found: list[Buffer] = []
        done, count = 0, len(headers)
        while done < count:
            # Whole payloads out of one chunk, as nearly all are, are cut in one go.
            whole = min((min(len(chunk), at + stop - start) - at) // size, count - done)
            if whole:
                end = at + whole * size
                pieces: list[Buffer] = [b""] * (2 * whole)
                pieces[::2] = headers[done : done + whole]
                pieces[1::2] = [chunk[place : place + size] for place in range(at, end, size)]
                found += pieces
                done += whole
                start += whole * size
                at = end
                continue
            found.append(headers[done])
            done += 1
            first, need = len(found), min(size, stop - start)
            start += need
            while need > len(chunk) - at:
                if at < len(chunk):
                    found.append(chunk[at:])
                need -= len(chunk) - at
                index += 1
                chunk, at = chunks[index], 0
            found.append(chunk[at : at + need])
            at += need
            if len(found) - first > _MAX_SLICES:
                found[first:] = [b"".join(found[first:])]
        return found

    def acknowledge(self, following: int, ranges: Sequence[tuple[int, int]]) -> None:
        """The peer has every byte below ``following``, and these ranges past it.

        A peer holds as many pieces as :class:`ReceiveStream` does. What one says of more is passed over: each range
        costs some hundred bytes here and 16 there, and what it is of is sent again.

        Raises:
            ProtocolError: If it has what was never sent.
        """
        if following > self.sent or (ranges and ranges[-1][1] > self.sent):
            raise ProtocolError("the other side acknowledged what was never sent")
        if len(self._acked) >= self._max_ranges:
            ranges = ()
        add = self._acked.add
        for start, stop in ranges:
            if stop > self.acked:
                add(max(start, self.acked), stop)
        if following > self.acked:
            self._release(following)
        if self._again and (ranges or following):
            for start, stop in (*ranges, (0, following)):
                self._again.remove(start, stop)

    def _release(self, following: int) -> None:
        self.acked = following
        if self._acked:
            self._acked.remove(0, following)
        starts, chunks = self._starts, self._chunks
        head = bisect_right(starts, following, self._head)
        if head and (head < len(starts) or following < self.end):
            head -= 1  # the chunk that the first missing byte is in
        for index in range(self._head, head):
            chunks[index] = _RELEASED
        self._head = head
        if head >= _COMPACT and 2 * head >= len(chunks):
            del chunks[:head], starts[:head]
            self._head = 0

    def lost(self, start: int, stop: int) -> None:
        """These bytes did not arrive: those not known to have, by another packet, go again."""
        start = max(start, self.acked)
        if start < stop:
            for gap in list(self._acked.gaps(start, stop)):
                self._again.add(*gap)


_RELEASED: Final = memoryview(b"")


class ReceiveStream:
    """What we receive.

    Args:
        window: How far past the first missing byte the peer may send, in bytes.

    Attributes:
        next: Every byte below it has arrived.
    """

    __slots__ = ("_have", "_in_prefix", "_max_pieces", "_need", "_parts", "_pieces", "_ranges", "_window", "next")

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._max_pieces = window // _MEAN_PIECE
        self._ranges = RangeSet()  # past `next`
        self._pieces: dict[int, bytes] = {}  # by offset; disjoint
        self._parts: list[Buffer] = []
        self._have = 0
        self._need = PREFIX
        self._in_prefix = True
        self.next = 0

    @property
    def held(self) -> int:
        """Bytes that wait for others."""
        return self._ranges.total + self._have

    @property
    def holes(self) -> int:
        """How many gaps there are."""
        return len(self._ranges)

    def ranges(self, most: int) -> list[tuple[int, int]]:
        """Return the first ranges past :attr:`next` that have arrived."""
        return [pair for pair, _ in zip(self._ranges, range(most), strict=False)]

    def can_take(self, offset: int, size: int) -> bool:
        """Whether bytes may be taken. Very many small pieces are not held: the peer sends them again.

        Raises:
            ProtocolError: If they lie past the window.
        """
        if offset + size > self.next + self._window:
            raise ProtocolError("the other side sent past the window")
        return offset <= self.next or len(self._pieces) < self._max_pieces

    def receive(self, offset: int, payloads: list[memoryview], size: int, held: int = 0) -> list[bytes]:
        """Take bytes and return the messages that are whole now.

        Args:
            offset: Of the first byte.
            payloads: The bytes, in order; all of one length but the last.
            size: How many bytes.
            held: Bytes of the buffer that the payloads are views of: if most of it is not payload it is not kept.

        Raises:
            ProtocolError: If a message has a length that the protocol does not allow, or bytes lie past the window.
        """
        if offset == self.next and not self._pieces:
            self.next = offset + size
            messages = self._parse(payloads)
            if 2 * size < held and self._parts:
                self._parts = [b"".join(self._parts)]
            return messages
        if offset + size <= self.next or not self.can_take(offset, size):
            return []
        for payload in payloads:
            self._keep(offset, payload)
            offset += len(payload)
        return self._advance()

    def _keep(self, offset: int, payload: memoryview) -> None:
        begin, end = max(offset, self.next), offset + len(payload)
        if begin >= end:
            return
        for start, stop in list(self._ranges.gaps(begin, end)):
            # A copy: a small piece must not keep a large buffer alive.
            self._pieces[start] = bytes(payload[start - offset : stop - offset])
            self._ranges.add(start, stop)

    def _advance(self) -> list[bytes]:
        messages: list[bytes] = []
        while (piece := self._pieces.pop(self.next, None)) is not None:
            messages += self._parse([memoryview(piece)])
            self.next += len(piece)
        self._ranges.remove(0, self.next)
        return messages

    def _parse(self, payloads: list[memoryview]) -> list[bytes]:
        messages: list[bytes] = []
        parts, have, need = self._parts, self._have, self._need
        index, count, size = 0, len(payloads), len(payloads[0])
        while index < count:
            # Payloads of one run are all alike but the last: those well within the message need no closer look.
            within = min((need - have - 1) // size, count - index - 1)
            if within > 0 and not self._in_prefix:
                parts += payloads[index : index + within]
                have += within * size
                index += within
            payload = payloads[index]
            index += 1
            while have + len(payload) >= need:
                cut = need - have
                parts.append(payload[:cut])
                payload = payload[cut:]
                have, need = 0, self._whole(parts, messages)
            if payload:
                parts.append(payload)
                have += len(payload)
        if len(parts) > _MAX_PARTS:
            parts[:] = [b"".join(parts)]
        self._have, self._need = have, need
        return messages

    def _whole(self, parts: list[Buffer], messages: list[bytes]) -> int:
        """A length, or a message, is whole; return how many bytes the next thing has."""
        joined = b"".join(parts)
        parts.clear()
        self._in_prefix = not self._in_prefix
        if self._in_prefix:
            messages.append(joined)
            return PREFIX
        need = int.from_bytes(joined, "big")
        if not 0 < need <= MAX_MESSAGE:
            raise ProtocolError("the other side sent a message of a length that cannot be")
        return need
