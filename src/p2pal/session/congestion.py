"""How many bytes may be on the way over one lane: a window steered by delay, not by loss.

A WebRTC data channel punishes one overrun of the path's queue for many seconds (SCTP falls back to its timers), so
waiting for loss is too late. The sign used here comes before it: once more bytes are on the way than the path
holds, each of them waits in the queue and the round trip grows.

The window is judged once a round, a round being the time until all that was on the way at its start has been
acknowledged. The least round trip of the round is compared with the least ever seen on the lane:

- within a bound of it (:func:`tolerated_delay`), and the window was used to the full: the window grows,
  by a fifth where nothing was delayed, and by less the more of that tolerance is used up. A round shows what frames
  met that were sent before it, so the window makes two or three more steps once the path is full: at a full fifth
  each that is 1.73 times what the path holds, less than it takes with a queue of one bandwidth-delay product;
- beyond it: the window shrinks towards that bound, by 3 to 15 %.

Whatever the round trips say, the window does not grow past what the path has shown to deliver: the best rate of the
last few rounds, times the bound, with a quarter to spare. While the path has room the rate grows with the window and
this is no limit; once it is full the rate stands still, a round before the delay can be judged.

A path within one machine is not steered at all (``Session.lane_controlled``): its delays are the scheduler's.

The least of a round ignores single late samples; the ratio to the least ever is TCP Vegas's sign of a queue
(Brakmo and Peterson, 1995), and steering before loss is what LEDBAT does (RFC 6817).
"""

from __future__ import annotations

from collections import deque
from typing import Final

INITIAL_WINDOW: Final = 256 * 1024
MAX_WINDOW: Final = 12 * 1024 * 1024
"""The engine's own send queue holds 16 MiB; what it cannot take it refuses."""
MIN_WINDOW: Final = 64 * 1024
MIN_WINDOW_FRAMES: Final = 2
"""With one frame on the way the path would idle while the acknowledgement travels."""

TOLERATED_RATIO: Final = 0.15
LEAST_TOLERATED: Final = 0.004
MOST_TOLERATED: Final = 0.010
SHORT_PATH: Final = 0.020
"""Seconds of round trip below which a queue is taken to hold this much: no bottleneck has a smaller one."""
OVERSHOOT: Final = 1.5
"""How far the window may pass its bound before the judgement catches up, with something to spare."""
GROWTH: Final = 1.20
"""At most, in one round."""
HEADROOM: Final = 1.25
"""How far the window may pass what the path has shown to deliver."""
RATE_ROUNDS: Final = 4
"""Rounds over which the best rate is kept: one round's is noisy."""
LEAST_CUT: Final = 0.03
MOST_CUT: Final = 0.15


def tolerated_delay(min_rtt: float) -> float:
    """Return how many seconds above the least round trip are no sign of too much on the way.

    15 %, at least 4 ms. On a short path the two machines themselves add milliseconds (their loops, their schedulers),
    which are no queue; there the bound is what, overshot by half, still fits a queue of 20 ms.
    """
    tolerated = max(LEAST_TOLERATED, TOLERATED_RATIO * min_rtt)
    if min_rtt < SHORT_PATH:
        room = (min_rtt + SHORT_PATH) / OVERSHOOT - min_rtt
        tolerated = max(tolerated, min(room, MOST_TOLERATED))
    return tolerated


class Congestion:
    """The congestion window of one lane, in bytes.

    Args:
        max_frame: The size of the largest frame, in bytes; two of these always fit the window.

    Attributes:
        window: How many bytes may be on the way.
        in_flight: How many are.
        min_rtt: The least round trip ever seen, in seconds; None before the first sample.
    """

    __slots__ = (
        "_acked",
        "_floor",
        "_limited",
        "_rates",
        "_round_at",
        "_round_ends",
        "_round_from",
        "_round_rtt",
        "_sent",
        "in_flight",
        "min_rtt",
        "window",
    )

    def __init__(self, max_frame: int) -> None:
        self._floor = max(MIN_WINDOW, MIN_WINDOW_FRAMES * max_frame)
        self.window = max(INITIAL_WINDOW, self._floor)
        self.in_flight = 0
        self.min_rtt: float | None = None
        self._sent = 0
        self._acked = 0
        self._round_ends = 0
        self._round_rtt: float | None = None
        self._limited = False
        self._round_at = 0.0  # when the round began
        self._round_from = 0  # what had been acknowledged then
        self._rates: deque[float] = deque(maxlen=RATE_ROUNDS)

    def can_send(self, size: int) -> bool:
        """Whether a frame of ``size`` bytes may go now. One frame may always be on the way, whatever its size."""
        return not self.in_flight or self.in_flight + size <= self.window

    def on_sent(self, size: int, now: float) -> None:
        """A frame of ``size`` bytes went onto the lane."""
        self._sent += size
        if not self.in_flight:
            self._start_round(now)
        self.in_flight += size
        if self.in_flight + size > self.window:
            self._limited = True

    def on_ack(self, size: int, rtt: float | None, now: float) -> None:
        """The oldest ``size`` bytes on the way arrived.

        Args:
            size: Bytes.
            rtt: A round trip measured by this acknowledgement, in seconds, without the peer's delay; or None.
            now: The time.

        Raises:
            ValueError: If more is acknowledged than is on the way.
        """
        if size > self.in_flight:
            raise ValueError("more bytes acknowledged than are on the way")
        self._acked += size
        self.in_flight -= size
        if rtt is not None:
            if self._round_rtt is None or rtt < self._round_rtt:
                self._round_rtt = rtt
            if self.min_rtt is None or rtt < self.min_rtt:
                self.min_rtt = rtt
        if self._acked >= self._round_ends:
            if now > self._round_at:
                self._rates.append((self._acked - self._round_from) / (now - self._round_at))
            self._judge()
            self._start_round(now)

    def _start_round(self, now: float) -> None:
        self._round_ends = self._sent
        self._round_at = now
        self._round_from = self._acked
        self._round_rtt = None
        self._limited = False

    def _judge(self) -> None:
        """Grow or shrink by what the round showed."""
        if self._round_rtt is None or self.min_rtt is None:
            return
        tolerated = tolerated_delay(self.min_rtt)
        bound = self.min_rtt + tolerated
        if self._round_rtt > bound:
            cut = min(max(1 - bound / self._round_rtt, LEAST_CUT), MOST_CUT)
            self.window = max(int(self.window * (1 - cut)), self._floor)
        elif self._limited:
            unused = (bound - self._round_rtt) / tolerated
            grown = self.window * (1 + (GROWTH - 1) * unused)
            if self._rates:
                grown = min(grown, max(self.window, max(self._rates) * bound * HEADROOM))
            self.window = min(int(grown), MAX_WINDOW)
