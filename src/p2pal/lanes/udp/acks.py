"""Which packets arrived, and when the peer is told (RFC 9000, section 13.2)."""

from __future__ import annotations

from collections import deque
from typing import Final

from p2pal.lanes.udp.packet import MAX_RANGES, AckFields
from p2pal.lanes.udp.stream import ReceiveStream
from p2pal.ranges import RangeSet

ACK_PACKETS: Final = 32
"""Packets that are acknowledged together."""
ACK_BYTES: Final = 250_000
"""Bytes that are acknowledged together, where datagrams are long; a sender that waits for it asks before."""
ACK_DELAY: Final = 0.002
"""Seconds that an acknowledgement waits for more packets."""
ACK_FIRST: Final = 64
"""Packets at the beginning that are acknowledged as they come: the peer has to learn what the path is like."""
HOLE_PACKETS: Final = 4
"""Packets that are acknowledged together while something is missing."""

TOLD: Final = 64
"""Acknowledgements that tell of a packet before it is forgotten: the peer needs one of them."""

_KEPT: Final = 4 * MAX_RANGES

NEVER: Final = float("inf")


class AckTracker:
    """The receiving side's memory of packet numbers; at most 128 ranges of them.

    Attributes:
        due_at: When an ACK is due at the latest; infinity while none is owed.
    """

    __slots__ = ("_bytes", "_highest", "_holes", "_newest", "_owed", "_packets", "_told", "_total", "due_at")

    def __init__(self) -> None:
        self._packets = RangeSet()
        self._highest = 0  # one past the highest number
        self._told: deque[int] = deque(maxlen=TOLD)  # what that was at the last ACKs
        self._owed = 0
        self._bytes = 0
        self._total = 0
        self._holes = 0
        self._newest = 0.0
        self.due_at = NEVER

    def on_packets(
        self, number: int, count: int, size: int, holes: int, now: float, received: float, *, asked: bool = False
    ) -> None:
        """Packets arrived.

        Args:
            number: The first one's.
            count: How many, with consecutive numbers.
            size: Bytes.
            holes: Gaps in the stream now; a new one is told at once.
            now: The time.
            received: When they arrived, by the kernel's word if it gives one.
            asked: Whether the peer wants to be told at once.
        """
        stop = number + count
        self._packets.add(number, stop)
        if len(self._packets) > _KEPT:
            self._packets.remove(0, list(self._packets)[-MAX_RANGES][0])
        self._highest = max(self._highest, stop)
        self._newest = received
        self._owed += count
        self._bytes += size
        self._total += count
        if (
            asked
            or self._owed >= ACK_PACKETS
            or self._bytes >= ACK_BYTES
            or self._total <= ACK_FIRST
            or holes > self._holes
            or (holes and self._owed >= HOLE_PACKETS)
        ):
            self.due_at = now
        elif self.due_at == NEVER:
            self.due_at = now + ACK_DELAY
        self._holes = holes

    def take(self, stream: ReceiveStream, now: float) -> AckFields:
        """Return the ACK that goes out now."""
        self.due_at = NEVER
        self._owed = self._bytes = 0
        if len(self._told) == TOLD:
            self._packets.remove(0, min(self._told[0], self._highest - 1))
        self._told.append(self._highest)
        packets = list(self._packets)[-MAX_RANGES:]
        return AckFields(self._newest, now - self._newest, stream.next, packets, stream.ranges(MAX_RANGES))
