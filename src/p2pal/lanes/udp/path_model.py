"""What acknowledgements tell of a path: its rate, its least round trip, its own loss (draft-ietf-ccwg-bbr, 5.5).

It is kept by the round trip: one is over when a packet arrives that left after the last one was over.
"""

from __future__ import annotations

from collections import deque
from math import inf, sqrt

from p2pal.lanes.udp.parameters import (
    AGGREGATION_ROUNDS,
    DELAY_RATIO,
    FLOOR_PACKETS,
    LEAST_DELAY,
    MAX_FLOOR,
    MIN_RTT_WINDOW,
    MOST_AGGREGATION,
    RECENT_ROUNDS,
)
from p2pal.lanes.udp.rate import RateSample


class PathModel:
    """The model of one path.

    Args:
        now: The time.
        rtt: A first round trip, in seconds.

    Attributes:
        max_rate: The best delivery rate of the last two cycles, in bytes per second; 0 before the first sample.
        bound_rate: A rate that congestion of late bounds; infinite without.
        min_rtt: The least round trip of the last seconds.
        floor: The loss that is taken for the path's own, as a share of what is sent.
        rounds: Round trips that are over.
        total: Bytes that arrived.
        acked: Bytes that arrived in this round trip.
        lost: Bytes that count as lost since it began.
        round_rate: The best rate in it.
        round_rtt: The least round trip in it; infinite before there is one.
        last_rtt: The same of the round trip before.
    """

    __slots__ = (
        "_aggregation", "_epoch_acked", "_epoch_at", "_extra", "_min_rtt_at", "_rates", "_recent", "_round_end",
        "acked", "bound_rate", "floor", "last_rtt", "lost", "max_rate", "min_rtt", "round_rate",
        "round_rtt", "rounds", "total",
    )  # fmt: skip

    def __init__(self, now: float, rtt: float) -> None:
        self.min_rtt = self.last_rtt = rtt
        self._min_rtt_at = now
        self.floor = 0.0
        self._round_end = self.total = self.rounds = 0
        self._epoch_at, self._epoch_acked = now, 0
        self._extra = [0.0, 0.0]
        self._aggregation = 0
        self._recent: deque[float] = deque(maxlen=RECENT_ROUNDS)
        self.forget()

    def forget(self) -> None:
        """Forget how fast the path is."""
        self.max_rate = 0.0
        self._rates = [0.0, 0.0]
        self.bound_rate = inf
        self._recent.clear()
        self.begin_round()

    def begin_round(self) -> None:
        """A round trip begins."""
        self.acked = self.lost = 0
        self.round_rate = 0.0
        self.round_rtt = inf

    def take(self, sample: RateSample, now: float) -> bool:
        """Learn from an acknowledgement; return whether a round trip is over with it."""
        acked = sample.newly_acked
        self.total += acked
        self.acked += acked
        self.lost += sample.newly_lost
        if sample.rate > 0:
            self._take_rate(sample)
        if acked:
            self._take_aggregation(acked, now)
        if sample.rtt >= 0:
            self._take_rtt(sample.rtt, now)
        if not acked or sample.prior_delivered < self._round_end:
            return False
        self._round_end = self.total
        self.rounds += 1
        if self.round_rtt < inf:
            self.last_rtt = self.round_rtt
        if self.round_rate > 0 and not sample.limited:
            self._recent.append(self.round_rate)
        return True

    def _take_rate(self, sample: RateSample) -> None:
        rate = sample.rate
        if rate > self.round_rate:
            self.round_rate = rate
        if (not sample.limited or rate >= self.max_rate) and rate > self._rates[1]:
            self._rates[1] = rate
            if rate > self.max_rate:
                self.max_rate = rate

    def _take_rtt(self, rtt: float, now: float) -> None:
        if rtt < self.round_rtt:
            self.round_rtt = rtt
        if rtt <= self.min_rtt * 1.02 + 1e-4:
            self._min_rtt_at = now
            if rtt < self.min_rtt:
                self.min_rtt = max(rtt, 1e-6)

    def _take_aggregation(self, acked: int, now: float) -> None:
        """Learn how much more is acknowledged at once than the rate explains (draft, section 5.5.9)."""
        rate = self.rate
        expected = rate * (now - self._epoch_at)
        if self._epoch_acked <= expected:
            self._epoch_at, self._epoch_acked, expected = now, 0, 0.0
        self._epoch_acked += acked
        extra = min(self._epoch_acked - expected, rate * MOST_AGGREGATION)
        if self.rounds >= self._aggregation + AGGREGATION_ROUNDS:
            self._aggregation = self.rounds
            self._extra = [self._extra[1], 0.0]
        if extra > self._extra[1]:
            self._extra[1] = extra

    @property
    def rate(self) -> float:
        """The modelled rate of the path, in bytes per second."""
        return min(self.max_rate, self.bound_rate)

    @property
    def recent_rate(self) -> float:
        """The best rate of the last :data:`RECENT_ROUNDS` round trips."""
        return max(self._recent, default=self.round_rate)

    @property
    def aggregation(self) -> float:
        """Bytes that are acknowledged at once beyond what the rate explains."""
        return max(self._extra)

    @property
    def queue_delay(self) -> float:
        """Seconds of delay of a whole round trip from which on it is a queue's."""
        return max(DELAY_RATIO * self.min_rtt, LEAST_DELAY)

    def expired(self, now: float) -> bool:
        """Whether the least round trip was not seen for so long that the path may have another one."""
        return now > self._min_rtt_at + MIN_RTT_WINDOW

    def renew_min_rtt(self, rtt: float, now: float) -> None:
        """This is the least round trip that there is now."""
        self.min_rtt = max(rtt, 1e-6)
        self._min_rtt_at = now

    def next_cycle(self) -> None:
        """Forget the rates of the cycle before the last one."""
        self._rates = [self._rates[1], 0.0]
        self.bound_rate = inf

    def bound(self, rate: float) -> None:
        """The path has no more than this rate for us now. Before anything is known of it there is nothing to bound."""
        if rate <= 0:
            return
        self.bound_rate = self.max_rate = rate
        self._rates = [rate, rate]

    def restore(self, max_rate: float, bound_rate: float) -> None:
        """Take back what was drawn from a loss that was none."""
        self.max_rate = self._rates[0] = max_rate
        self.bound_rate = bound_rate

    def loss(self) -> float:
        """Return the share that was lost in this round trip."""
        total = self.acked + self.lost
        return self.lost / total if total else 0.0

    def learn_floor(self, segment: int, most: float = MAX_FLOOR) -> None:
        """What was lost in this round trip had nothing to do with what we sent.

        Args:
            segment: Bytes of a datagram.
            most: What the floor may be now.
        """
        packets = (self.acked + self.lost) / segment
        self.floor = min(self.floor + packets / (packets + FLOOR_PACKETS) * (self.loss() - self.floor), most)

    def too_much(self, lost: int, total: int, threshold: float, segment: int) -> bool:
        """Whether so much was lost of so much that it is neither the path's own loss, and as much again, nor chance."""
        packets = total / segment
        chance = 2 * sqrt(packets * max(self.floor, threshold / 3))
        return lost / segment > packets * (self.floor + threshold) + chance + (threshold > 0)
