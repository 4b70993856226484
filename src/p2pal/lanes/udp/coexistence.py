"""How much may be on the way beside others who fill the queue (RFC 9438, and what it does not know of).

A model of the path says little there: rates are whatever share of the queue is ours. So a share is taken as they take
theirs. The window grows as CUBIC's until the queue overflows, and gives way then. Where that is fruitless, because the
queue overflows again and again whatever we give up, the others do not care for loss (BBR's first version): then the
window stands firm for a while, as long as no more than :data:`~p2pal.lanes.udp.parameters.FIRM_LOSS` is lost by it.
"""

from __future__ import annotations

from math import cbrt, inf

from p2pal.lanes.udp.parameters import (
    ALONE_TIME,
    CUBIC,
    FIRM_BETA,
    FIRM_GROWTH,
    FIRM_LOSS,
    FIRM_SHARE,
    FIRM_TIME,
    FRUITLESS_CUTS,
    FRUITLESS_ROUNDS,
    FULL_QUEUE_RATIO,
    HIGH_RTT_ROUNDS,
    LARGE_SHARE,
    LARGE_WINDOW_BETA,
    LOSS_ROUNDS,
    MIN_PACKETS,
    MOST_FIRM_LOSS,
    OVERFLOW_LOSS,
    QUIET_ROUNDS,
    RENO_GROWTH,
    RESTORE_BETA,
    SHARED_TIME,
    SPREAD_GAIN,
    WINDOW_BETA,
    YIELD_BETA,
)
from p2pal.lanes.udp.path_model import PathModel


class SharedWindow:
    """The window of one flow among others, moved once in each round trip.

    Attributes:
        window: How many bytes may be on the way.
        at: Since when it grows.
    """

    __slots__ = (
        "_after", "_before", "_firm_until", "_fruitless", "_loss", "_most", "_reno", "_since", "_top", "at", "window",
    )  # fmt: skip

    def __init__(self) -> None:
        self.window = 0.0
        self._top = self._after = self._reno = 0.0  # before the last cut, after it, and as Reno had grown since
        self.at = 0.0
        self._since = QUIET_ROUNDS
        self._loss = 0.0
        self._fruitless = 0
        self._before = 0.0
        self._firm_until = self._most = 0.0

    def begin(self, window: float, now: float) -> None:
        """Others are here, and this is what is ours so far."""
        self.window = self._top = self._after = self._reno = window
        self.at = now

    def is_firm(self, now: float) -> bool:
        """Whether giving way was fruitless, so that it is not done for now."""
        return now < self._firm_until

    def hold(self, seconds: float) -> None:
        """Nothing more is wanted for so long: the window stays as it is."""
        self.at += seconds

    def spread(self, now: float) -> None:
        """The queue is empty: grow into the room within a few round trips."""
        self.begin(SPREAD_GAIN * self.window, now)

    def grow(self, now: float, segment: int) -> None:
        """Nothing overflowed."""
        self._since += 1
        self._loss -= self._loss / LOSS_ROUNDS
        reno = RENO_GROWTH * segment
        if self.is_firm(now):
            self.begin(min(self.window + reno, max(self._most, self.window)), now)
            return
        packets = self._top / segment
        back = cbrt(packets * (1 - self._after / self._top) / CUBIC) if self._top else 0.0
        cubic = self._top + CUBIC * (now - self.at - back) ** 3 * segment
        self._reno += reno
        self.window = min(max(cubic, self._reno, self.window), 1.5 * self.window)

    def overflow(self, now: float, loss: float, beta: float, firm: float, fraction: float, segment: int) -> None:
        """The queue overflowed.

        Args:
            now: The time.
            loss: The share that was lost beyond what the path loses by itself.
            beta: What is left of the window if it gives way.
            firm: Bytes to which the window may go back if giving way turns out to be fruitless; 0 if it may not.
            fraction: A number in [0, 1), so that flows do not move in step.
            segment: Bytes of a datagram.
        """
        self._since += 1
        self._loss += (loss - self._loss) / LOSS_ROUNDS
        if self._since < QUIET_ROUNDS:
            return
        least = float(MIN_PACKETS * segment)
        if self.is_firm(now):
            if self._loss > MOST_FIRM_LOSS or not firm:
                self._firm_until = now
            if self._loss > FIRM_LOSS:
                self._since = 0
                self._loss *= RESTORE_BETA
                self.begin(max(FIRM_BETA * self.window, least), now)
            return
        if self._since < FRUITLESS_ROUNDS:
            self._fruitless += 1
        else:
            self._fruitless = 0
            self._before = self.window
        self._since = 0
        if self._fruitless < FRUITLESS_CUTS:
            self._top = self.window
            self.window = self._after = self._reno = max(beta * self.window, least)
            self.at = now
            return
        self._fruitless = 0
        if firm and self._loss < MOST_FIRM_LOSS:
            shortest, longest = FIRM_TIME
            self._firm_until = now + shortest + (longest - shortest) * fraction
            self.begin(max(self.window, min(self._before, firm)), now)
            self._most = min(FIRM_GROWTH * self.window, firm)
            self._before *= RESTORE_BETA


class Coexistence:
    """What one flow knows of the others on its path, and the window that follows from it.

    Args:
        model: What the path is like.
    """

    __slots__ = ("_alone_at", "_alone_rate", "_high_rtt", "_model", "_shared_at", "shared")

    def __init__(self, model: PathModel) -> None:
        self._model = model
        self.shared = SharedWindow()
        self._shared_at = -inf
        self._high_rtt = 0.0
        self._alone_rate = 0.0
        self._alone_at = -inf

    @property
    def window(self) -> float:
        """How many bytes may be on the way beside the others."""
        return self.shared.window

    def expected(self, now: float) -> bool:
        """Whether others were here of late."""
        return now < self._shared_at + SHARED_TIME

    def found(self, in_flight: int, now: float, segment: int) -> None:
        """Others fill the queue: unless that is known already, what is on the way now is our share to begin with."""
        if not self.expected(now):
            held = self._model.recent_rate * self._model.round_rtt
            least = float(max(in_flight, MIN_PACKETS * segment))
            self.shared.begin(max(held, least) if held < inf else least, now)
        self._shared_at = now

    def alone(self, now: float) -> None:
        """No queue stands though we fill the path: this is the rate it has for us alone."""
        if self.expected(now):
            return  # they may leave us no more than this, and a least round trip that has their queue in it
        rate = self._model.max_rate
        if rate >= self._alone_rate or now > self._alone_at + ALONE_TIME:
            self._alone_rate, self._alone_at = rate, now

    def restore(self, window: float) -> None:
        """Take back that the window gave way, because nothing was lost after all."""
        self.shared.begin(max(self.shared.window, window), self.shared.at)

    def on_round(
        self, *, competing: bool, limited: bool, elapsed: float, now: float, fraction: float, segment: int
    ) -> None:
        """A round trip is over.

        Args:
            competing: Whether the window is what bounds us.
            limited: Whether the application held us back.
            elapsed: Seconds that it took.
            now: The time.
            fraction: A number in [0, 1), so that flows do not move in step.
            segment: Bytes of a datagram.
        """
        model, shared = self._model, self.shared
        if competing:
            self._shared_at = now
        rtt = model.round_rtt if model.round_rtt < inf else model.last_rtt
        self._high_rtt = max(rtt, self._high_rtt - (self._high_rtt - rtt) / HIGH_RTT_ROUNDS)
        queue = rtt > model.min_rtt + model.queue_delay
        share = model.round_rate / self._alone_rate if self._alone_rate else 0.0
        if model.too_much(model.lost, model.acked + model.lost, 0.0 if queue else OVERFLOW_LOSS, segment):
            beta = LARGE_WINDOW_BETA if share > LARGE_SHARE + 0.05 else WINDOW_BETA
            shared.overflow(now, model.loss() - model.floor, beta, self._most_firm(rtt), fraction, segment)
            return
        model.learn_floor(segment, most=model.floor)  # the path's own loss cannot be more than what is lost now
        if queue and not limited and share > LARGE_SHARE + 0.05:
            shared.begin(max(YIELD_BETA * shared.window, float(MIN_PACKETS * segment)), now)
        elif limited or (queue and share > LARGE_SHARE):
            shared.hold(elapsed)
        elif queue or rtt + model.queue_delay > self._high_rtt or shared.window > 1.25 * model.rate * model.min_rtt:
            shared.grow(now, segment)
        else:
            shared.spread(now)

    def _most_firm(self, rtt: float) -> float:
        """Return how many bytes may stand firm: a share of the path's where it is known, and none if no queue is full.

        In a crowd nobody sees the empty path, so that the queue looks short; there all have to give way.
        """
        if rtt < (1 + FULL_QUEUE_RATIO) * self._model.min_rtt:
            return 0.0
        return FIRM_SHARE * self._alone_rate * rtt if self._alone_rate else inf
