"""How much may be on the way within one machine, where there is no bottleneck but the receiver's socket buffer.

Delays are the scheduler's there, and a rate is whatever both processes manage: neither says anything of a path. What
must not happen is that the buffer overflows, so no more is on the way than it holds, and less after a loss. Nothing is
paced.
"""

from __future__ import annotations

from typing import Final

from p2pal.lanes.udp.rate import RateSample

DEFAULT_BUFFER: Final = 212_992
"""Bytes that a socket has where nobody says: the limit of most systems."""
LARGE: Final = 16_000
LARGE_SHARE: Final = 0.925
SMALL_SHARE: Final = 0.5
"""Of a buffer that datagrams of :data:`LARGE` bytes and more, and smaller ones, fill: systems count what they take of
their memory, not their length."""
LATE: Final = 4
"""Linux gives back what was read only when that is a quarter of the buffer, or nothing waits to be read."""
MIN_WINDOW: Final = 66_000
"""Bytes that may be on the way whatever was lost: one of the largest datagrams."""
BETA: Final = 0.7
GROWTH: Final = 1 / 16
"""Of what arrived by which the window grows back."""
RATE: Final = 1e11
"""Bytes per second: nothing waits for the pacer."""


class LocalPath:
    """Stands where :class:`~p2pal.lanes.udp.congestion.Congestion` does, on loopback.

    Args:
        rtt: A first round trip, in seconds.
        buffer: Bytes of the receiving socket's buffer, as the system tells.
        segment: Bytes of a datagram.

    Attributes:
        window: How many bytes may be on the way.
        pacing_rate: Bytes per second that may leave.
        min_rtt: The least round trip, in seconds.
        rate: The last delivery rate, in bytes per second.
    """

    __slots__ = ("_buffer", "_cut_total", "_most", "_total", "min_rtt", "pacing_rate", "rate", "window")

    def __init__(self, rtt: float, buffer: int, segment: int) -> None:
        self.min_rtt = rtt
        self.rate = 0.0
        self.pacing_rate = RATE
        self._buffer = buffer
        self.resize(segment)
        self._total = 0
        self._cut_total = 0

    @property
    def burst(self) -> int:
        """Bytes that may leave at once."""
        return int(self.window)

    def resize(self, segment: int) -> None:
        """Datagrams have another size from now on."""
        taken = segment / (LARGE_SHARE if segment >= LARGE else SMALL_SHARE)
        datagrams = self._buffer // taken - self._buffer / LATE // taken
        self._most = self.window = max(datagrams * segment, float(MIN_WINDOW))

    def on_spurious(self, size: int) -> None:
        """These bytes counted as lost and were not."""
        self.window = min(self._most, self.window + size)

    def on_persistent_congestion(self, now: float) -> None:  # noqa: ARG002 - the face of Congestion
        """Nothing arrived for several PTOs."""
        self.window = float(MIN_WINDOW)

    def on_ack(self, sample: RateSample, now: float) -> None:  # noqa: ARG002
        """Packets arrived or were lost."""
        self._total += sample.newly_acked
        if sample.rate > 0:
            self.rate = sample.rate
        if sample.rtt >= 0:
            self.min_rtt = min(self.min_rtt, max(sample.rtt, 1e-6))
        if sample.newly_lost and self._total >= self._cut_total:
            self.window = max(self.window * BETA, float(MIN_WINDOW))
            self._cut_total = self._total + sample.in_flight  # once for all that was on the way
        elif not sample.newly_lost:
            self.window = min(self._most, self.window + GROWTH * sample.newly_acked)
