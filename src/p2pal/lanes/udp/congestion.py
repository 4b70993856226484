"""How much may be on the way, and how fast it leaves: congestion control after BBR (draft-ietf-ccwg-bbr).

The path is modelled by the best rate at which it delivered of late and the least round trip, and by bounds that loss
has taught. What is sent is always paced at the modelled rate, times a gain that goes up to look for more and down to
empty the queue again.

Where it departs from the draft:

- **Loss that has nothing to do with us.** The loss that is seen while no more is sent than the path carried before is
  taken for the path's own, up to :data:`MAX_FLOOR`. Only loss beyond that speaks of congestion, and the rate is raised
  by as much as gets lost. So random loss of a percent or two costs what is lost and no more, while a policer or a
  short queue, which lose nothing below their rate, are noticed at once.
- **Start-up also ends by delay**: when a whole round trip shows a queue, and the rate grew by less than half.
- **A rate that halves under a standing queue** is believed within a round trip, not when the filter forgets.
- **The window follows the model directly**: nothing leaves unpaced, so it need not grow by what is acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from math import cbrt, inf, sqrt
from typing import Final

from p2pal.lanes.udp.acks import ACK_DELAY
from p2pal.lanes.udp.parameters import (
    AGGREGATION_ROUNDS,
    BETA,
    BURST_TIME,
    CUBIC,
    DELAY_GROWTH,
    DELAY_RATIO,
    DOWN_GAIN,
    DRAIN_GAIN,
    FLOOR_PACKETS,
    FULL_GROWTH,
    FULL_ROUNDS,
    INITIAL_PACKETS,
    LEAST_DELAY,
    LEAST_RATE,
    LEAST_WINDOW_GAIN,
    LOSS_THRESHOLD,
    LOUD_ROUNDS,
    MAX_FLOOR,
    MIN_PACKETS,
    MIN_RTT_WINDOW,
    MOST_AGGREGATION,
    MOST_BACKOFF,
    MOST_DOWN_ROUNDS,
    PACING_MARGIN,
    PROBE_RTT_GAIN,
    PROBE_RTT_TIME,
    PROBE_WAIT,
    QUEUE_BACKOFF,
    QUEUE_RATIO,
    QUIET_ROUNDS,
    RIVAL_ROUNDS,
    RIVAL_WINDOW_GAIN,
    STARTUP_GAIN,
    STARTUP_LOSS,
    STARTUP_WINDOW_GAIN,
    UP_GAIN,
    UP_GROWTH,
    UP_ROUNDS,
    UP_WINDOW_GAIN,
    WINDOW_BETA,
    WINDOW_GAIN,
)
from p2pal.lanes.udp.rate import RateSample


class Phase(Enum):
    """What the controller is doing."""

    STARTUP = "startup"
    DRAIN = "drain"
    DOWN = "down"
    CRUISE = "cruise"
    REFILL = "refill"
    UP = "up"
    PROBE_RTT = "probe rtt"


_GAINS: Final = {
    Phase.STARTUP: STARTUP_GAIN,
    Phase.DRAIN: DRAIN_GAIN,
    Phase.DOWN: DOWN_GAIN,
    Phase.CRUISE: 1.0,
    Phase.REFILL: 1.0,
    Phase.UP: UP_GAIN,
    Phase.PROBE_RTT: 1.0,
}
_BELOW: Final = frozenset({Phase.DRAIN, Phase.DOWN, Phase.CRUISE})
"""Phases that send no more than the path carried before."""


class Congestion:
    """The controller of one path.

    Args:
        now: The time.
        segment: Bytes of a datagram.
        rtt: A first round trip, in seconds, as probes measured it.
        jitter: Numbers in [0, 1), without end.

    Attributes:
        phase: What it is doing.
        window: How many bytes may be on the way.
        pacing_rate: Bytes per second that may leave.
        max_rate: The best delivery rate of the last two cycles, in bytes per second; 0 before the first sample.
        min_rtt: The least round trip of the last seconds.
        floor: The loss that is taken for the path's own, as a share of what is sent.
        inflight_hi: The most bytes on the way that did no harm; infinite while nothing was learned.
    """

    __slots__ = (
        "_acked_round", "_aggregation", "_backoff", "_before_cut", "_cut_lost", "_cycle_at", "_cycle_rounds",
        "_epoch_acked", "_epoch_at", "_extra", "_full", "_full_rate", "_full_rounds", "_inflight_latest", "_jitter",
        "_lost_round", "_min_rtt_at", "_overflows", "_probe_rtt_end", "_queued", "_quiet_rounds", "_rate_lo", "_rates",
        "_round_end", "_round_rate",
        "_round_rtt", "_rounds", "_segment", "_top", "_top_at", "_total", "_up_rounds", "_wait", "floor",
        "inflight_hi", "max_rate", "min_rtt", "pacing_rate", "phase", "window",
    )  # fmt: skip

    def __init__(self, now: float, segment: int, rtt: float, jitter: Iterator[float]) -> None:
        self._segment = segment
        self._jitter = jitter
        self.min_rtt = rtt
        self._min_rtt_at = now
        self.window = float(INITIAL_PACKETS * segment)
        self.pacing_rate = STARTUP_GAIN * self.window / max(rtt, LEAST_DELAY / 4)
        self.floor = 0.0
        self._round_end = self._total = self._rounds = 0
        self._epoch_at, self._epoch_acked = now, 0
        self._extra = [0.0, 0.0]
        self._aggregation = 0
        self.restart(now)

    def restart(self, now: float) -> None:
        """Forget what the path delivers and look for it from the beginning: nothing arrives any more."""
        self.phase = Phase.STARTUP
        self.max_rate = 0.0
        self._rates = [0.0, 0.0]
        self._full = False
        self._full_rate = 0.0
        self._full_rounds = 0
        self.inflight_hi = self._top = self._rate_lo = inf
        self._top_at = now
        self._backoff = 1
        self._quiet_rounds = self._overflows = 0
        self._queued = False
        self._acked_round = self._lost_round = 0
        self._round_rate = 0.0
        self._round_rtt = inf
        self._inflight_latest = 0
        self._cycle_at, self._cycle_rounds, self._wait = now, 0, 0.0
        self._up_rounds = 0
        self._probe_rtt_end = 0.0
        self._before_cut: tuple[float, float, float] | None = None
        self._cut_lost = 0

    @property
    def rate(self) -> float:
        """The modelled rate of the path, in bytes per second."""
        return min(self.max_rate, self._rate_lo)

    def bdp(self, gain: float = 1.0) -> float:
        """Return a number of bandwidth-delay products, in bytes."""
        return gain * self.rate * self.min_rtt

    @property
    def burst(self) -> int:
        """Bytes that may leave at once."""
        return max(int(self.pacing_rate * BURST_TIME), self._segment)

    def resize(self, segment: int) -> None:
        """Datagrams have another size from now on."""
        self._segment = segment

    def on_persistent_congestion(self, now: float) -> None:
        """Nothing arrived for several PTOs."""
        self.restart(now)
        self.window = float(MIN_PACKETS * self._segment)
        self.pacing_rate = STARTUP_GAIN * self.window / max(self.min_rtt, LEAST_DELAY / 4)

    def on_spurious(self, size: int) -> None:
        """These bytes counted as lost and were not: a bound that was drawn because of them is taken back."""
        self._lost_round = max(self._lost_round - size, 0)
        if self._before_cut is not None:
            self._cut_lost -= size
            if self._cut_lost <= 0:
                self._top, self._rate_lo, self.max_rate = self._before_cut
                self._rates[0] = self.max_rate
                self._before_cut = None

    def on_ack(self, sample: RateSample, now: float) -> None:
        """Packets arrived or were lost: learn from it, and set :attr:`window` and :attr:`pacing_rate` anew."""
        self._total += sample.newly_acked
        self._acked_round += sample.newly_acked
        self._lost_round += sample.newly_lost
        self._take_rate(sample)
        self._take_aggregation(sample, now)
        round_over = sample.newly_acked > 0 and sample.prior_delivered >= self._round_end
        if round_over:
            self._round_end = self._total
            self._rounds += 1
            self._cycle_rounds += 1
        self._take_rtt(sample, now)
        if round_over:
            self._judge_round(sample, now)
        self._step(sample, now, round_over)
        if round_over:
            self._acked_round = self._lost_round = self._inflight_latest = 0
            self._round_rate = 0.0
            self._round_rtt = inf
            self._control(now)

    # The model

    def _take_rate(self, sample: RateSample) -> None:
        if sample.rate > 0:
            self._round_rate = max(self._round_rate, sample.rate)
            self._inflight_latest = max(self._inflight_latest, sample.delivered)
            if not sample.limited or sample.rate >= self.max_rate:
                self._rates[1] = max(self._rates[1], sample.rate)
                self.max_rate = max(self._rates)

    def _take_aggregation(self, sample: RateSample, now: float) -> None:
        """Learn how much more is acknowledged at once than the rate explains (draft, section 4.5.6)."""
        expected = self.rate * (now - self._epoch_at)
        if self._epoch_acked <= expected:
            self._epoch_at, self._epoch_acked, expected = now, 0, 0.0
        self._epoch_acked += sample.newly_acked
        extra = min(self._epoch_acked - expected, self.rate * MOST_AGGREGATION)
        if self._rounds >= self._aggregation + AGGREGATION_ROUNDS:
            self._aggregation = self._rounds
            self._extra = [self._extra[1], 0.0]
        self._extra[1] = max(self._extra[1], extra)

    def _take_rtt(self, sample: RateSample, now: float) -> None:
        expired = now > self._min_rtt_at + MIN_RTT_WINDOW
        if sample.rtt >= 0:
            self._round_rtt = min(self._round_rtt, sample.rtt)
            if sample.rtt <= self.min_rtt * 1.02 + 1e-4 or expired:
                if sample.rtt < self.min_rtt or expired:
                    self.min_rtt = max(sample.rtt, 1e-6)
                self._min_rtt_at = now
        if expired and self._full and self.phase is not Phase.PROBE_RTT:
            self.phase = Phase.PROBE_RTT
            self._probe_rtt_end = 0.0

    def _judge_round(self, sample: RateSample, now: float) -> None:
        """Learn from the loss and the delay of the round that is over."""
        total = self._acked_round + self._lost_round
        loss = self._lost_round / total if total else 0.0
        packets = total / self._segment
        if not self._full:
            self._judge_startup(sample, loss, packets, now)
        too_much = self._full and self._too_much(self._lost_round, total, LOSS_THRESHOLD)
        if self._full and self._round_rtt < inf:
            self._look_for_overflow(sample, total, now)
        if self.phase not in _BELOW:
            return
        if too_much:
            self._cut_rate()
        elif self._full:
            weight = packets / (packets + FLOOR_PACKETS)
            self.floor = min(self.floor + weight * (loss - self.floor), MAX_FLOOR)
        queue = self._round_rtt > 2 * self.min_rtt + LEAST_DELAY
        if queue and self._round_rtt < inf and not sample.limited and 0 < self._round_rate < self.rate / 2:
            self._rate_lo = self._round_rate

    def _judge_startup(self, sample: RateSample, loss: float, packets: float, now: float) -> None:
        grew = self.max_rate / self._full_rate if self._full_rate else inf
        if loss > STARTUP_LOSS and loss * packets >= MIN_PACKETS * 2:
            self._full = True
            self._top, self._top_at = max(self.bdp(), float(self._inflight_latest)), now
        elif not sample.limited:
            queue = self.min_rtt + max(DELAY_RATIO * self.min_rtt, LEAST_DELAY)
            if grew < DELAY_GROWTH and queue < self._round_rtt < inf:
                self._full = True
            if grew >= FULL_GROWTH:
                self._full_rate, self._full_rounds = self.max_rate, 0
                weight = packets / (packets + FLOOR_PACKETS)
                self.floor = min(self.floor + weight * (loss - self.floor), MAX_FLOOR)
            else:
                self._full_rounds += 1
                self._full = self._full or self._full_rounds >= FULL_ROUNDS
        if self._full:
            self.phase = Phase.DRAIN
            self._cycle_rounds = 0

    def _look_for_overflow(self, sample: RateSample, total: int, now: float) -> None:
        """Make room where a queue begins to overflow; where it goes on all the same, the others do not care."""
        queue = self._round_rtt > self.min_rtt + max(QUEUE_RATIO * self.min_rtt, LEAST_DELAY)
        if self.phase is Phase.CRUISE:
            self._queued = queue
        if queue and self._too_much(self._lost_round, total, 0.0):
            if self._quiet_rounds >= QUIET_ROUNDS:
                self._cut_window(sample, now)
            self._quiet_rounds = 0
        else:
            self._quiet_rounds += 1
        self._overflows = (self._overflows << 1 | (not self._quiet_rounds)) & ((1 << RIVAL_ROUNDS) - 1)

    def _too_much(self, lost: int, total: int, threshold: float) -> bool:
        """Whether so much was lost of so much that it is neither the path's own loss, and as much again, nor chance."""
        packets = total / self._segment
        own = max(self.floor, threshold / 3)
        return lost / self._segment > packets * (self.floor + threshold) + 2 * sqrt(packets * own) + 1

    def _remember(self) -> None:
        self._before_cut = (self._top, self._rate_lo, self.max_rate)
        self._cut_lost = self._lost_round // 2

    def _cut_rate(self) -> None:
        """What was delivered is all that the path has for us now."""
        self._remember()
        self._rate_lo = max(self._round_rate, BETA * self.rate)
        self._rates = [self._rate_lo, self._rate_lo]
        self.max_rate = self._rate_lo

    def _cut_window(self, sample: RateSample, now: float) -> None:
        """A queue overflowed, ours or one that we share: less may be on the way, and more again as CUBIC grows."""
        self._remember()
        self._top = max(min(float(sample.tx_in_flight), self.window), MIN_PACKETS * self._segment)
        self._top_at = now

    def _bound(self, now: float) -> float:
        """How much may be on the way since the last overflow (RFC 9438, section 4.2)."""
        if self._top == inf:
            return inf
        packets = self._top / self._segment
        back = cbrt(packets * (1 - WINDOW_BETA) / CUBIC)
        return max(self._top + CUBIC * (now - self._top_at - back) ** 3 * self._segment, self.bdp(LEAST_WINDOW_GAIN))

    # The cycle

    def _step(self, sample: RateSample, now: float, round_over: bool) -> None:
        match self.phase:
            case Phase.DRAIN:
                if sample.in_flight <= self.bdp() or self._cycle_rounds >= MOST_DOWN_ROUNDS:
                    self._go_down(now)
            case Phase.DOWN | Phase.CRUISE:
                if self._is_time(now):
                    self._refill()
                elif sample.in_flight <= self.bdp() or self._cycle_rounds >= MOST_DOWN_ROUNDS:
                    self.phase = Phase.CRUISE
            case Phase.REFILL:
                if round_over and self._cycle_rounds > 1:
                    self.phase = Phase.UP
                    self._cycle_at, self._cycle_rounds = now, 0
                    self._up_rounds = 0
                    self._full_rate = self._round_rate
            case Phase.UP:
                self._look_for_more(sample, now, round_over)
            case Phase.PROBE_RTT:
                self._probe_rtt(sample, now)
            case Phase.STARTUP:
                pass

    def _is_time(self, now: float) -> bool:
        return now >= self._cycle_at + self._wait

    def _go_down(self, now: float) -> None:
        self.phase = Phase.DOWN
        self._cycle_at, self._cycle_rounds = now, 0
        least, most = PROBE_WAIT
        self._wait = self._backoff * (least + (most - least) * next(self._jitter))

    def _refill(self) -> None:
        """Fill the path again before looking for more, without the bounds of before."""
        self.phase = Phase.REFILL
        self._cycle_rounds = 0
        self._rate_lo = inf
        self._rates = [self._rates[1], 0.0]

    def _look_for_more(self, sample: RateSample, now: float, round_over: bool) -> None:
        growing = self._round_rate >= UP_GROWTH * self._full_rate
        if round_over:
            self._up_rounds += 1
            self._full_rate = max(self._full_rate, self._round_rate)
        over = self._up_rounds >= UP_ROUNDS
        if growing:
            self._backoff = 1
        # What the first round trip brings had left before: only from the second one on it shows what more brings.
        if not self._up_rounds or (growing and not over):
            return
        if sample.tx_in_flight and self._too_much(sample.lost, sample.tx_in_flight, LOSS_THRESHOLD):
            self._backoff = min(2 * self._backoff, MOST_BACKOFF)
            self._go_down(now)
        elif over or (round_over and self._up_rounds > 1 and sample.in_flight >= self.bdp(UP_GAIN)):
            if self._queued:  # others fill the queue: looking again soon would only cost them
                self._backoff = QUEUE_BACKOFF
            self._go_down(now)

    def _probe_rtt(self, sample: RateSample, now: float) -> None:
        if not self._probe_rtt_end:
            if sample.in_flight <= max(self.bdp(PROBE_RTT_GAIN), MIN_PACKETS * self._segment):
                self._probe_rtt_end = now + PROBE_RTT_TIME
                self._cycle_rounds = 0
        elif now >= self._probe_rtt_end and self._cycle_rounds > 0:
            self._min_rtt_at = now
            self._rate_lo = inf
            self._backoff = 1
            self._go_down(now)
            self.phase = Phase.CRUISE

    # What follows

    def _control(self, now: float) -> None:
        segment = self._segment
        if self.max_rate:
            rate = _GAINS[self.phase] * self.rate * (1 - PACING_MARGIN) / (1 - self.floor)
            if self._full or rate > self.pacing_rate:
                self.pacing_rate = max(rate, LEAST_RATE)
        allowance = max(self._extra) + self.rate * (ACK_DELAY + 2 * BURST_TIME) + 3 * self.burst
        gain = WINDOW_GAIN
        if self._overflows.bit_count() >= LOUD_ROUNDS:
            gain = RIVAL_WINDOW_GAIN
        elif self.phase is Phase.UP:
            gain = UP_WINDOW_GAIN
        elif not self._full:
            gain = STARTUP_WINDOW_GAIN
        window = self.bdp(gain) + allowance
        if not self._full:
            window = max(window, INITIAL_PACKETS * segment + self._total if not self._rounds else self.window)
        self.inflight_hi = self._bound(now)
        window = min(window, self.inflight_hi)
        if self.phase is Phase.PROBE_RTT:
            window = min(window, self.bdp(PROBE_RTT_GAIN))
        self.window = max(window, MIN_PACKETS * segment)
