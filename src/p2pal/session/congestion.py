"""How many bytes may be on the way over one lane: a window steered by delay, not by loss.

A WebRTC data channel punishes one overrun of the path's queue for many seconds (SCTP falls back to its timers), so
waiting for loss is too late. The sign used here comes before it: once more bytes are on the way than the path
holds, each of them waits in the queue and the round trip grows.

The window is judged once a round, a round being the time until all that was on the way at its start has been
acknowledged. The least round trip of the round is compared with the path's own, the least of the last ten seconds:

- within a bound of it (:func:`tolerated_delay`), and the window was used to the full: the window grows, by a fifth
  where nothing was delayed, and by less the more of that tolerance is used up;
- beyond it: the window is cut towards that bound, **as a trial**. Two rounds later the cut is on the way, and the rate
  tells whether the delay was a queue. A queue drains at the rate of the path, however much waits in it: less on the
  way, the same rate. If the rate fell with the window, then what delayed the bytes was no queue of ours: busy
  processors at either end, a path that became longer, an engine that sends less than it was given. The cut is
  taken back, and the delay passes for the path's own until the next trial, longer after each one that failed. Until
  one succeeds the window grows by up to half in a round: a processor that is busy has shown little of the path.

At the start it grows by half, also beyond the bound while each round or two brings more than any before: the engine's
own slow start grows by half in a round trip, and what it does not send yet waits in it and looks like a queue. The
start ends once some rounds in a row were delayed and brought no more.

Whatever the round trips say, the window does not grow past what the path has shown to deliver: the best rate of the
last few rounds, times the tolerated round trip, with something to spare. While the path has room the rate grows with
the window and this is no limit; once it is full the rate stands still, a round before the delay can be judged.
Acknowledgements that waited together end one round late and the next one early, which then seems to bring more than
the path can. So at the start a round counts for little more than it and the one before it brought together, and
later the best round but one of the last few counts.

The path's own round trip is forgotten after ten seconds in which nothing came near it, and measured anew with less on
the way than the path holds, for two rounds: else a standing queue would come to pass for the path.

A path within one machine is not steered at all (``Session.lane_controlled``): its delays are the scheduler's.

The least of a round ignores single late samples; the ratio to the least is TCP Vegas's sign of a queue (Brakmo and
Peterson, 1995), steering before loss is what LEDBAT does (RFC 6817), forgetting the least and measuring it drained are
BBR's (draft-ietf-ccwg-bbr), and trials that are judged by the rate PCC's (Dong et al., 2015).
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

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
MIN_RTT_WINDOW: Final = 10.0
"""Seconds after which the path's own round trip is measured anew."""
DRAIN: Final = 0.75
"""How much of what the path holds is on the way meanwhile."""

GROWTH: Final = 1.20
"""At most, in one round."""
HEADROOM: Final = 1.25
"""How far the window may pass what the path has shown to deliver."""
RATE_ROUNDS: Final = 8
"""Rounds over which the best rate is kept: one round's is noisy."""
START_GROWTH: Final = 1.5
"""At the start; the engine's slow start grows as much (RFC 9260, section 7.2.1, one SACK for two packets)."""
START_HEADROOM: Final = 1.5
SUSTAINED: Final = 1.05
"""What a round counts for at the start, at most: times what it and the one before it brought together."""
START_RATE: Final = 4_000_000
"""Bytes per second that a path is trusted with before it has shown any: on a long one its first rounds show little."""
START_ROUNDS: Final = 4
"""Rounds in a row, delayed and without a new best rate, that end the start."""
RECORD: Final = 1.25
"""A rate this much above the best so far is a new best."""

LEAST_CUT: Final = 0.03
MOST_CUT: Final = 0.15
SETTLE_ROUNDS: Final = 2
"""Rounds until the rate is that of a changed window: in the first one, what was on the way before arrives."""
ELASTICITY: Final = 0.67
"""A cut to the share ``s`` of the window was one of a queue if more than ``s ** ELASTICITY`` of the rate is left: all
of it on a path of our own, and the square root on one that is shared with another flow of our size."""
LEAST_TRIAL: Final = 0.12
"""The share of the window that has to be cut before a rate that fell proves anything: one round's is noisy."""
DRAINED: Final = 0.5
"""A cut that takes away this much of the delay that its bytes are of a queue was one of a queue, whatever the rate."""
MOST_PATIENCE: Final = 16
"""Rounds for which a delay is taken for the path's after a trial that failed, at most: 2 after the first, and twice as
many after each further one."""


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


class _Trial(NamedTuple):
    """A cut that is not judged yet: the window before it in bytes, and what a round showed then.

    That is its least round trip, in seconds, and the bytes per second that it brought.
    """

    window: int
    rtt: float
    rate: float


class CongestionWindow:
    """The congestion window of one lane, in bytes.

    Args:
        max_frame: The size of the largest frame, in bytes; two of these always fit the window.

    Attributes:
        window: How many bytes may be on the way.
        in_flight: How many are.
        min_rtt: The path's own round trip, in seconds: the least of the last :data:`MIN_RTT_WINDOW` seconds; None
            before the first sample, and while it is measured anew.
        starting: Whether this is still the start.
    """

    __slots__ = (
        "_accepted",
        "_acked",
        "_floor",
        "_hold",
        "_late_rounds",
        "_latency",
        "_limited",
        "_max_frame",
        "_min_rtt_at",
        "_patience",
        "_previous",
        "_rates",
        "_restore",
        "_round_at",
        "_round_ends",
        "_round_from",
        "_round_rtt",
        "_sent",
        "_settling",
        "_sustained",
        "_trial",
        "in_flight",
        "min_rtt",
        "starting",
        "window",
    )

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame
        self._floor = max(MIN_WINDOW, MIN_WINDOW_FRAMES * max_frame)
        self.window = max(INITIAL_WINDOW, self._floor)
        self.in_flight = 0
        self.min_rtt: float | None = None
        self._min_rtt_at = 0.0  # when the path's own round trip was last seen
        self._latency: float | None = None  # the least round trip of a small frame
        self._sent = 0
        self._acked = 0
        self._round_ends = 0
        self._round_rtt: float | None = None
        self._limited = False
        self._round_at = 0.0  # when the round began
        self._round_from = 0  # what had been acknowledged then
        self._previous = (0.0, 0)  # both, of the round before; of this one if nothing was on the way when it began
        self._rates: deque[float] = deque(maxlen=RATE_ROUNDS)
        self._sustained: deque[float] = deque(maxlen=RATE_ROUNDS)  # those, bounded by what two rounds in a row brought
        self.starting = True
        self._late_rounds = 0  # in a row, at the start: delayed, and without a new best rate
        self._settling = 0  # rounds until the window that was set for a trial, or to drain, shows
        self._trial: _Trial | None = None
        self._restore: int | None = None  # the window to return to, once the path's own round trip is measured
        self._accepted = 0.0  # the round trip that a trial has shown to be no queue
        self._hold = 0  # rounds for which that is taken for the path's
        self._patience = 1  # half of those that follow when the next trial fails

    def can_send(self, size: int) -> bool:
        """Whether a frame of ``size`` bytes may go now. One frame may always be on the way, whatever its size."""
        return not self.in_flight or self.in_flight + size <= self.window

    def on_sent(self, size: int, now: float) -> None:
        """A frame of ``size`` bytes went onto the lane."""
        self._sent += size
        if not self.in_flight:
            self._start_round(now)
            self._previous = (now, self._acked)
        self.in_flight += size
        if self.in_flight + size > self.window:
            self._limited = True

    def on_ack(self, size: int, rtt: float | None, now: float, frame: int | None = None) -> None:
        """The oldest ``size`` bytes on the way arrived.

        Args:
            size: Bytes.
            rtt: A round trip measured by this acknowledgement, in seconds, without the peer's delay; or None.
            now: The time.
            frame: Bytes of the frame whose round trip it is; None for one of the largest. A small one's is shorter by
                the time that a large one takes to get onto a slow path: mixed with the others it would make every
                large one look delayed. So only the latency is taken from those below half of the largest.

        Raises:
            ValueError: If more is acknowledged than is on the way.
        """
        if size > self.in_flight:
            raise ValueError("more bytes acknowledged than are on the way")
        self._acked += size
        self.in_flight -= size
        if rtt is not None and frame is not None and frame < self._max_frame // 2:
            if self._latency is None or rtt < self._latency:
                self._latency = rtt
        elif rtt is not None:
            if self._round_rtt is None or rtt < self._round_rtt:
                self._round_rtt = rtt
            if self.min_rtt is None or rtt < self.min_rtt:
                self.min_rtt, self._min_rtt_at = rtt, now
        if self._acked >= self._round_ends:
            if now > self._round_at:
                self._end_round((self._acked - self._round_from) / (now - self._round_at), now)
                self._previous = (self._round_at, self._round_from)
            self._start_round(now)

    def _start_round(self, now: float) -> None:
        self._round_ends = self._sent
        self._round_at = now
        self._round_from = self._acked
        self._round_rtt = None
        self._limited = False

    def _end_round(self, rate: float, now: float) -> None:
        """Judge the window by a round that brought so many bytes per second."""
        best = max(self._rates, default=0.0)
        self._rates.append(rate)
        began, acked = self._previous
        self._sustained.append(min(rate, SUSTAINED * (self._acked - acked) / (now - began)))
        if self._settling:
            self._settling -= 1
        if self._restore is not None:
            if not self._settling:
                self.window, self._restore = max(self.window, self._restore), None
        elif self._round_rtt is None or self.min_rtt is None:
            return
        elif now - self._min_rtt_at > MIN_RTT_WINDOW:
            self._forget_min_rtt(max(best, rate) * self.min_rtt, now)
        elif not self._limited:
            self._trial = None  # the application was slower than the window: its rate says nothing of the path
        elif not self._settling:
            min_rtt = self._base(self.min_rtt, max(best, rate))
            if self._trial is None or self._is_right(self._trial, self._round_rtt, min_rtt, rate):
                self._judge(self._round_rtt, min_rtt, rate, best)

    def _forget_min_rtt(self, holds: float, now: float) -> None:
        """Measure the path's own round trip anew, with less on the way than the path holds."""
        self._trial = self._latency = None
        if not self._limited:  # there was no queue of ours
            self.min_rtt, self._min_rtt_at = self._round_rtt, now
            return
        self.min_rtt = None
        self._restore = self.window
        self._settling = SETTLE_ROUNDS
        self.window = max(min(self.window, int(DRAIN * holds)), self._floor)

    def _base(self, min_rtt: float, rate: float) -> float:
        """Return the round trip of a large frame on the idle path: the least seen, or what a small one's says.

        At the start no large frame may have met an empty path: the engine's slow start and the first window delay all.
        """
        if self._latency is not None:
            min_rtt = min(min_rtt, self._latency + self._max_frame / rate)
        if self._hold:
            self._hold -= 1
            min_rtt = max(min_rtt, self._accepted)
        return min_rtt

    def _is_right(self, trial: _Trial, rtt: float, min_rtt: float, rate: float) -> bool:
        """Judge a trial; return whether its window stands, and may be judged itself.

        It does if the delay is gone, or the rate still there, or at least half as much of the delay gone as would be
        of a queue: a round's rate alone is too noisy to let the window grow beyond a delay. Otherwise the delay is
        taken for the path's. A small cut proves nothing: further ones are judged together with it.
        """
        self._trial = None
        drained = (trial.window - self.window) / trial.rate
        gone = rtt <= max(min_rtt + tolerated_delay(min_rtt), trial.rtt - DRAINED * drained)
        left = self.window / trial.window
        if gone or rate >= trial.rate * left**ELASTICITY:
            self._patience = 1
            return True
        if left > 1 - LEAST_TRIAL and self.window > self._floor:
            self._trial = trial
            return True
        self.window = trial.window
        self._accepted = max(trial.rtt, rtt)
        self._hold = self._patience = min(2 * self._patience, MOST_PATIENCE)
        return False

    def _judge(self, rtt: float, min_rtt: float, rate: float, best: float) -> None:
        """Grow, or try with less, by what the round showed."""
        tolerated = tolerated_delay(min_rtt)
        bound = min_rtt + tolerated
        unused = max(0.0, (bound - rtt) / tolerated)
        if self.starting:
            record = rate > RECORD * best
            if record or rtt <= bound:
                self._late_rounds = 0
                growth = START_GROWTH if record else 1 + (START_GROWTH - 1) * unused
                shown = max(self._sustained)
                self._grow(growth, max(shown * bound * START_HEADROOM, START_RATE * (self._latency or 0.0)))
                return
            self._late_rounds += 1
            if self._late_rounds < START_ROUNDS:
                return
            self.starting = False
        if rtt <= bound:
            # Where a trial has just shown that the delay is no queue, what it took is given back quickly.
            growth = GROWTH if self._patience == 1 else START_GROWTH
            shown = sorted(self._rates)[-2:][0]
            self._grow(1 + (growth - 1) * min(unused, 1.0), shown * bound * HEADROOM)
            return
        self._hold = 0
        self._trial = self._trial or _Trial(self.window, rtt, rate)
        self._settling = SETTLE_ROUNDS
        cut = min(max(1 - bound / rtt, LEAST_CUT), MOST_CUT)
        self.window = max(int(self.window * (1 - cut)), self._floor)

    def _grow(self, growth: float, most: float) -> None:
        """Let the window grow, but not past ``most`` bytes; of few frames the rate tells too little."""
        most = max(most, 2 * self._floor)
        self.window = min(int(max(self.window, min(self.window * growth, most))), MAX_WINDOW)
