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
- **Others are looked for.** After each look for more, the queue of our own is emptied. One that stands all the same is
  others', and the model's rate says nothing of the path then: see :mod:`p2pal.lanes.udp.coexistence`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from math import inf
from typing import Final

from p2pal.lanes.udp.acks import ACK_DELAY
from p2pal.lanes.udp.coexistence import Coexistence
from p2pal.lanes.udp.parameters import (
    BETA,
    BURST_TIME,
    CALM_ROUNDS,
    CHECK_WAIT,
    COMPETE_GAIN,
    CUT_SHARE,
    DELAY_GROWTH,
    DOWN_GAIN,
    DRAIN_GAIN,
    FRUITLESS_CUTS,
    FULL_GROWTH,
    FULL_ROUNDS,
    INITIAL_PACKETS,
    LEAST_DELAY,
    LEAST_RATE,
    LOSS_THRESHOLD,
    MAX_FLOOR,
    MIN_PACKETS,
    MOST_BACKOFF,
    MOST_DOWN_ROUNDS,
    PACING_MARGIN,
    PROBE_RTT_GAIN,
    PROBE_RTT_TIME,
    PROBE_WAIT,
    SETTLE_ROUNDS,
    STANDING_ROUNDS,
    STARTUP_GAIN,
    STARTUP_LOSS,
    STARTUP_WINDOW_GAIN,
    UP_GAIN,
    UP_GROWTH,
    UP_ROUNDS,
    UP_WINDOW_GAIN,
    WINDOW_GAIN,
)
from p2pal.lanes.udp.path_model import PathModel
from p2pal.lanes.udp.rate import RateSample


class Phase(Enum):
    """What the controller is doing."""

    STARTUP = "startup"
    DRAIN = "drain"
    DOWN = "down"
    CRUISE = "cruise"
    REFILL = "refill"
    UP = "up"
    COMPETE = "compete"
    PROBE_RTT = "probe rtt"


_GAINS: Final = {
    Phase.STARTUP: STARTUP_GAIN,
    Phase.DRAIN: DRAIN_GAIN,
    Phase.DOWN: DOWN_GAIN,
    Phase.CRUISE: 1.0,
    Phase.REFILL: 1.0,
    Phase.UP: UP_GAIN,
    Phase.COMPETE: 1.0,
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
        model: What the path is like.
        window: How many bytes may be on the way.
        pacing_rate: Bytes per second that may leave.
    """

    __slots__ = (
        "_backoff", "_before_cut", "_cut_lost", "_cuts", "_cycle_at", "_full", "_full_rate", "_full_rounds", "_jitter",
        "_late_rounds", "_others", "_phase_rounds", "_probe_rtt", "_probe_rtt_end", "_round_at", "_segment",
        "_settled_round", "_up_rounds", "_wait", "model", "pacing_rate", "phase", "window",
    )  # fmt: skip

    def __init__(self, now: float, segment: int, rtt: float, jitter: Iterator[float]) -> None:
        self._segment = segment
        self._jitter = jitter
        self.model = PathModel(now, rtt)
        self.window = float(INITIAL_PACKETS * segment)
        self.pacing_rate = STARTUP_GAIN * self.window / max(rtt, LEAST_DELAY / 4)
        self.restart(now)

    def restart(self, now: float) -> None:
        """Forget what the path delivers and look for it from the beginning: nothing arrives any more."""
        self.model.forget()
        self._others = Coexistence(self.model)
        self._full = False
        self._full_rate = 0.0
        self._full_rounds = 0
        self._backoff = 1
        self._cycle_at = self._round_at = now
        self._wait = 0.0
        self._up_rounds = 0
        self._probe_rtt, self._probe_rtt_end = inf, 0.0
        self._before_cut: tuple[float, float, float] | None = None
        self._cut_lost = self._cuts = self._settled_round = 0
        self._enter(Phase.STARTUP)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._phase_rounds = self._late_rounds = 0

    @property
    def rate(self) -> float:
        """The modelled rate of the path, in bytes per second."""
        return self.model.rate

    @property
    def max_rate(self) -> float:
        """The best delivery rate of the last two cycles, in bytes per second; 0 before the first sample."""
        return self.model.max_rate

    @property
    def min_rtt(self) -> float:
        """The least round trip of the last seconds."""
        return self.model.min_rtt

    @property
    def floor(self) -> float:
        """The loss that is taken for the path's own, as a share of what is sent."""
        return self.model.floor

    def bdp(self, gain: float = 1.0) -> float:
        """Return a number of bandwidth-delay products, in bytes."""
        return gain * self.model.rate * self.model.min_rtt

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
        self.model.lost = max(self.model.lost - size, 0)
        if self._before_cut is not None:
            self._cut_lost -= size
            if self._cut_lost <= 0:
                max_rate, bound_rate, window = self._before_cut
                self.model.restore(max_rate, bound_rate)
                if window:
                    self._others.restore(window)
                self._before_cut = None

    def on_ack(self, sample: RateSample, now: float) -> None:
        """Packets arrived or were lost: learn from it, and set :attr:`window` and :attr:`pacing_rate` anew."""
        round_over = self.model.take(sample, now)
        if round_over:
            self._phase_rounds += 1
            self._judge_round(sample, now)
        self._step(sample, now, round_over)
        if round_over:
            self.model.begin_round()
            self._round_at = now
            self._control()
        elif not self._full:
            self._control()

    # What a round trip tells

    def _judge_round(self, sample: RateSample, now: float) -> None:
        """Learn from the loss and the delay of the round that is over."""
        if not self._full:
            self._judge_startup(sample)
        if self._others.expected(now):
            self._share(sample, now)
        elif self.phase in _BELOW:
            self._judge_steady(sample)
        self._expire(now)

    def _share(self, sample: RateSample, now: float) -> None:
        others, before = self._others, self._others.window
        others.on_round(
            competing=self.phase is Phase.COMPETE,
            limited=sample.limited,
            elapsed=now - self._round_at,
            now=now,
            fraction=next(self._jitter),
            segment=self._segment,
        )
        if others.window < before:
            self._remember(before)

    def _remember(self, window: float) -> None:
        """A bound is drawn because of losses; should most of these turn out to be none, it is taken back."""
        self._before_cut = self.model.max_rate, self.model.bound_rate, window
        self._cut_lost = self.model.lost // 2

    def _judge_steady(self, sample: RateSample) -> None:
        model = self.model
        queue = model.min_rtt + model.queue_delay < model.round_rtt < inf
        if model.rounds < self._settled_round:
            return  # what left before the last cut says nothing of what it brought
        if model.too_much(model.lost, model.acked + model.lost, LOSS_THRESHOLD, self._segment):
            self._remember(0.0)
            model.bound(max(CUT_SHARE * model.round_rate, BETA * model.rate))
            self._cuts += 1
            self._settled_round = model.rounds + SETTLE_ROUNDS
        else:
            self._cuts = 0
            if self._full and not queue:
                # More loss below a bound that loss drew is none of the path's own: the bound is too high.
                model.learn_floor(self._segment, most=MAX_FLOOR if model.bound_rate == inf else model.floor)
        late = 2 * model.min_rtt + LEAST_DELAY < model.round_rtt < inf
        if late and not sample.limited and 0 < model.round_rate < model.rate / 2:
            model.bound_rate = model.round_rate

    def _judge_startup(self, sample: RateSample) -> None:
        model = self.model
        loss, packets = model.loss(), (model.acked + model.lost) / self._segment
        grew = model.max_rate / self._full_rate if self._full_rate else inf
        if loss > STARTUP_LOSS and loss * packets >= MIN_PACKETS * 2:
            self._full = True
        elif not sample.limited:
            if grew < DELAY_GROWTH and model.min_rtt + model.queue_delay < model.round_rtt < inf:
                self._full = True
            if grew >= FULL_GROWTH:
                self._full_rate, self._full_rounds = model.max_rate, 0
                model.learn_floor(self._segment)
            else:
                self._full_rounds += 1
                self._full = self._full or self._full_rounds >= FULL_ROUNDS
        if self._full:
            self._enter(Phase.DRAIN)

    def _expire(self, now: float) -> None:
        if self._full and self.phase is not Phase.PROBE_RTT and self.model.expired(now):
            self._enter(Phase.PROBE_RTT)
            self._probe_rtt, self._probe_rtt_end = inf, 0.0

    # The cycle

    def _step(self, sample: RateSample, now: float, round_over: bool) -> None:
        match self.phase:
            case Phase.DRAIN | Phase.DOWN:
                if sample.in_flight <= self.bdp() or self._phase_rounds >= MOST_DOWN_ROUNDS:
                    if self.phase is Phase.DRAIN:
                        self._go_down(now)
                    else:
                        self._enter(Phase.CRUISE)
            case Phase.CRUISE if self._phase_rounds >= CALM_ROUNDS:
                self._cruise(sample, now, round_over)
            case Phase.REFILL if round_over and self._phase_rounds > 1:
                self._enter(Phase.UP)
                self._up_rounds = 0
                self._full_rate = self.model.round_rate
            case Phase.UP:
                self._look_for_more(sample, now, round_over)
            case Phase.COMPETE if round_over and now >= self._cycle_at + self._wait:
                self.model.next_cycle()
                self._go_down(now)
            case Phase.PROBE_RTT:
                self._look_for_min_rtt(sample, now)
            case _:
                pass

    def _cruise(self, sample: RateSample, now: float, round_over: bool) -> None:
        if round_over and self._others_are_here(sample, now):
            self._begin_to_compete(sample, now)
        elif now >= self._cycle_at + self._wait:
            self._enter(Phase.REFILL)
            self.model.next_cycle()

    def _go_down(self, now: float) -> None:
        self._enter(Phase.DOWN)
        self._cycle_at = now
        least, most = PROBE_WAIT
        self._wait = self._backoff * (least + (most - least) * next(self._jitter))

    def _look_for_more(self, sample: RateSample, now: float, round_over: bool) -> None:
        model = self.model
        growing = model.round_rate >= UP_GROWTH * self._full_rate
        if round_over:
            self._up_rounds += 1
            self._full_rate = max(self._full_rate, model.round_rate)
        over = self._up_rounds >= UP_ROUNDS
        if growing:
            self._backoff = 1
        # What the first round trip brings had left before: only from the second one on it shows what more brings.
        if not self._up_rounds or (growing and not over):
            return
        if sample.tx_in_flight and model.too_much(sample.lost, sample.tx_in_flight, LOSS_THRESHOLD, self._segment):
            self._backoff = min(2 * self._backoff, MOST_BACKOFF)
            self._go_down(now)
        elif over or (round_over and self._up_rounds > 1 and sample.in_flight >= self.bdp(UP_GAIN)):
            self._go_down(now)

    def _look_for_min_rtt(self, sample: RateSample, now: float) -> None:
        if sample.rtt >= 0:
            self._probe_rtt = min(self._probe_rtt, sample.rtt)
        if not self._probe_rtt_end:
            if sample.in_flight <= max(self.bdp(PROBE_RTT_GAIN), MIN_PACKETS * self._segment):
                self._probe_rtt_end = now + PROBE_RTT_TIME
                self._phase_rounds = 0
        elif now >= self._probe_rtt_end and self._phase_rounds > 0 and self._probe_rtt < inf:
            self.model.renew_min_rtt(self._probe_rtt, now)
            self.model.bound_rate = inf
            self._backoff = 1
            self._go_down(now)
            self._enter(Phase.CRUISE)

    # Others

    def _others_are_here(self, sample: RateSample, now: float) -> bool:
        """Whether a queue stands that is not ours: we made none lately, and send no more than was carried."""
        model = self.model
        if sample.limited or not model.rate:
            return False
        first = self._phase_rounds == CALM_ROUNDS
        own = min(self._allowance() / model.rate, model.queue_delay)
        late = model.min_rtt + (1.0 if first else 1.5) * model.queue_delay + own
        self._late_rounds = self._late_rounds + 1 if late < model.round_rtt < inf else 0
        if self._late_rounds >= STANDING_ROUNDS or self._cuts >= FRUITLESS_CUTS:
            return True
        if first and model.round_rtt < model.min_rtt + model.queue_delay:
            self._others.alone(now)
        return False

    def _begin_to_compete(self, sample: RateSample, now: float) -> None:
        self._enter(Phase.COMPETE)
        self._cuts = 0
        self._cycle_at = now
        least, most = CHECK_WAIT
        self._wait = least + (most - least) * next(self._jitter)
        self._others.found(sample.in_flight, now, self._segment)

    # What follows

    def _allowance(self) -> float:
        """Bytes beyond what fills the path that are on the way because they are told of in bunches."""
        return self.model.aggregation + self.model.rate * (ACK_DELAY + 2 * BURST_TIME) + 3 * self.burst

    def _control(self) -> None:
        segment, model = self._segment, self.model
        gain = _GAINS[self.phase]
        window_gain = WINDOW_GAIN
        if self.phase is Phase.UP:
            window_gain = UP_WINDOW_GAIN
        elif not self._full:
            window_gain = STARTUP_WINDOW_GAIN
        elif self.phase is Phase.CRUISE and self._phase_rounds < CALM_ROUNDS:
            window_gain = 1.0  # no queue of ours, so that others' show
        if model.max_rate:
            rate = gain * model.rate * (1 - PACING_MARGIN) / (1 - model.floor)
            if self.phase is Phase.COMPETE:
                rate = COMPETE_GAIN * self._others.window / max(model.last_rtt, 1e-3)
            if self._full or rate > self.pacing_rate:
                self.pacing_rate = max(rate, LEAST_RATE)
        if self.phase is Phase.COMPETE:
            window = self._others.window
        else:
            window = self.bdp(window_gain) + self._allowance()
            if self._others.expected(self._round_at):
                window = min(window, self._others.window)
        if not self._full:
            window = max(window, INITIAL_PACKETS * segment + model.total if not model.rounds else self.window)
        if self.phase is Phase.PROBE_RTT:
            window = min(window, self.bdp(PROBE_RTT_GAIN))
        self.window = max(window, MIN_PACKETS * segment)
