"""The largest datagram that the path carries (PLPMTUD: RFC 8899; DPLPMTUD of QUIC: RFC 9000, section 14.3).

Begins with what every path carries, and tries larger ones with padded probes that are answered if they arrive. The
usual sizes are tried first, from an Ethernet's upward; between the largest that arrived and the smallest that did not
the search halves. A path that no longer carries what it did (a black hole: RFC 8899, section 4.3) goes back to the
first size and is searched again.

Sizes are those of UDP payloads.
"""

from __future__ import annotations

from typing import Final

from p2pal.lanes.udp.packet import MAX_DATAGRAM

BASE: Final = 1200
"""What every path is taken to carry (RFC 8899, section 5.1.2; RFC 9000, section 14)."""
IPV4_HEADERS: Final = 28
IPV6_HEADERS: Final = 48
LINK_SIZES: Final = (1500, 9000, 65_535)
"""MTUs of links that are common: Ethernet, jumbo frames, loopback."""
MAX_PROBES: Final = 3
"""Probes of one size that go unanswered before it counts as too large (RFC 8899, section 5.1.2)."""
STEP: Final = 16
"""Bytes: the search ends when it knows the size as exactly as this."""
MIN_WAIT: Final = 0.05
"""Seconds that a probe is waited for at least."""
RAISE_INTERVAL: Final = 600.0
"""Seconds after which a larger size is tried again (RFC 8899, section 5.1.1)."""
BLACK_HOLE: Final = 3
"""PTOs in a row after which large datagrams are suspected."""


class PathMtu:
    """The search on one path.

    Args:
        now: The time.
        ipv6: Whether the path is one of IPv6.
        loopback: Whether it stays on this machine, where the largest size is tried first.
        most: Bytes of the largest datagram that is tried.

    Attributes:
        size: The largest datagram that may be sent, in bytes.
    """

    __slots__ = ("_base_only", "_due", "_headers", "_high", "_loopback", "_most", "_sent", "_tried", "_trying", "size")

    def __init__(self, now: float, *, ipv6: bool, loopback: bool = False, most: int = MAX_DATAGRAM) -> None:
        self._headers = IPV6_HEADERS if ipv6 else IPV4_HEADERS
        self._loopback = loopback
        self._most = most
        self.size = BASE
        self._due = now
        self._begin()

    def _begin(self) -> None:
        self._high = self._most + 1  # the smallest size that is known to be too large
        self._tried = 0
        self._sent = 0
        self._trying = 0

    def next_timeout(self) -> float:
        """Return when a probe is due; infinity never happens, for larger sizes are tried again in the end."""
        return self._due

    def probe(self, now: float, rtt: float) -> int:
        """Return the size of a probe that goes out now, 0 if none is due. It is sent once.

        Args:
            now: The time.
            rtt: The round trip, in seconds; three of them, and :data:`MIN_WAIT`, are waited for the answer.
        """
        if now < self._due:
            return 0
        if self._trying and self._sent >= MAX_PROBES:
            self._fail(self._trying)
        if not self._trying:
            self._trying = self._next()
            self._sent = 0
            if not self._trying:
                self._due = now + RAISE_INTERVAL
                self._begin()
                return 0
        self._sent += 1
        self._due = now + max(3 * rtt, MIN_WAIT)
        return self._trying

    def _next(self) -> int:
        """The next size to try, 0 at the end of the search."""
        common = [min(size - self._headers, self._most) for size in LINK_SIZES]
        usable = [size for size in common if self.size < size < self._high]
        if usable and self._tried < len(common):
            self._tried += 1
            return usable[-1] if self._loopback else usable[0]
        if self._high - self.size <= STEP:
            return 0
        # Above what is common nothing is gained by knowing the size exactly: only below the first failure.
        return 0 if self._high > self._most else (self.size + self._high) // 2

    def _fail(self, size: int) -> None:
        self._high = min(self._high, size)
        self._trying = 0

    def on_answer(self, size: int, now: float) -> bool:
        """A probe of this size arrived. Return whether larger datagrams may be sent now."""
        if size == self._trying:
            self._trying = 0
            self._due = now
        if self.size < size < self._high:
            self.size = size
            return True
        return False

    def on_too_large(self, size: int, now: float) -> bool:
        """The system refused a datagram of this size (EMSGSIZE). Return whether smaller ones must be sent now."""
        self._fail(size)
        self._due = now
        if size <= self.size and self.size > BASE:
            self.size = BASE
            return True
        return False

    def on_timeouts(self, count: int, now: float) -> bool:
        """So many probe timeouts passed without an answer. Return whether smaller datagrams must be sent now."""
        if count < BLACK_HOLE or self.size == BASE:
            return False
        self._begin()
        self._high = self.size
        self.size = BASE
        self._due = now + MIN_WAIT
        return True
