"""How long a round trip takes (RFC 9002, section 5), and how long to wait for one (section 6.2)."""

from __future__ import annotations

from typing import Final

from p2pal.lanes.udp.acks import ACK_DELAY

INITIAL_RTT: Final = 0.333
"""Seconds (RFC 9002, section 6.2.2); a lane knows better from its probes."""
GRANULARITY: Final = 0.001
"""Seconds by which timers are inexact."""
MAX_ACK_DELAY: Final = 0.025
"""Seconds that a peer under load may be late with an acknowledgement, beyond its own :data:`ACK_DELAY`."""


class RttEstimator:
    """Round trips (RFC 9002, section 5), in seconds.

    Attributes:
        latest: The last sample.
        least: The least sample.
        smoothed: The mean, weighted towards the last ones.
        variation: The mean deviation from it.
    """

    __slots__ = ("_sampled", "latest", "least", "smoothed", "variation")

    def __init__(self, initial: float = INITIAL_RTT) -> None:
        self.latest = self.smoothed = initial
        self.variation = initial / 2
        self.least = initial
        self._sampled = False

    def add(self, sample: float, delay: float) -> float:
        """Take a sample; return it without the peer's delay, as far as that can be true."""
        self.least = min(self.least, sample) if self._sampled else sample
        adjusted = sample - delay if sample - delay >= self.least else sample
        self.latest = adjusted
        if self._sampled:
            self.variation += (abs(self.smoothed - adjusted) - self.variation) / 4
            self.smoothed += (adjusted - self.smoothed) / 8
        else:
            self.smoothed, self.variation = adjusted, adjusted / 2
            self._sampled = True
        return adjusted

    @property
    def pto(self) -> float:
        """The probe timeout, in seconds."""
        return self.smoothed + max(4 * self.variation, GRANULARITY) + MAX_ACK_DELAY + ACK_DELAY
