"""Other people's traffic: a flow after CUBIC (RFC 9438) and one after BBR's first version, packet by packet.

Simple on purpose: no streams, an acknowledgement for each packet. They are here to share a queue with, and to be
compared with: the first data leaves after a handshake.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from math import inf

from tests.sim.links import Network

PACKET = 1500
REORDER = 3
LEAST_RTO = 0.2
INITIAL_RTO = 1.0


class TcpFlow(ABC):
    """Sends without end over the network's first link."""

    def __init__(self, network: Network, start: float = 0.0) -> None:
        self.network = network
        self.clock = network.clock
        self.next = 0
        self.flight: dict[int, tuple[float, int, float]] = {}  # sent at, delivered then, and when that was
        self.order: deque[int] = deque()
        self.delivered = 0
        self.delivered_at = start
        self.srtt = 0.0
        self.min_rtt = inf
        self.recovery_end = -1
        self.timer_at = inf
        self.leaves_at = start
        self.clock.call_at(start, self.connect)

    @property
    def goodput(self) -> float:
        """Bytes that arrived, without headers."""
        return self.delivered * (PACKET - 52)

    def connect(self) -> None:
        self.network.there.send(60, lambda: self.network.back.send(60, self.fill))

    @abstractmethod
    def can_send(self, now: float, quantum: int) -> bool:
        """Whether so many more packets may leave; they are counted as sent."""

    @abstractmethod
    def on_delivered(self, rtt: float, rate: float, now: float) -> None:
        """A packet arrived."""

    @abstractmethod
    def on_loss(self, now: float) -> None:
        """Packets were lost; told once in each round trip."""

    @property
    @abstractmethod
    def pace(self) -> float:
        """Packets per second, as the system that cuts them from larger pieces sees it."""

    @property
    def quantum(self) -> int:
        """Packets that leave together: about a millisecond's, as Linux does (TSO autosizing)."""
        return max(2, min(int(self.pace * 0.001), 40))

    def fill(self) -> None:
        now = self.clock.time()
        quantum = self.quantum
        while self.can_send(now, quantum):
            for _ in range(quantum):
                number = self.next
                self.next += 1
                self.flight[number] = (now, self.delivered, self.delivered_at)
                self.order.append(number)
                self.leave(number, now)
        self.arm(now)

    def leave(self, number: int, now: float) -> None:
        """Send a packet, up to one packet's time late, as hosts do: without it flows fall into step at a full queue.

        Floyd and Jacobson, "On Traffic Phase Effects in Packet-Switched Gateways", 1991.
        """
        link = self.network.there
        self.leaves_at = max(self.leaves_at, now + self.network.random.random() * PACKET / link.model.rate)
        self.clock.call_at(self.leaves_at, lambda: link.send(PACKET, lambda: self.arrived(number)))

    @property
    def rto(self) -> float:
        """The retransmission timeout (RFC 6298), in seconds."""
        return max(LEAST_RTO, 2 * self.srtt) if self.srtt else INITIAL_RTO

    def arm(self, now: float) -> None:
        if self.timer_at <= now or self.timer_at == inf:
            self.timer_at = now + self.rto
            self.clock.call_at(self.timer_at, self.expired)

    def expired(self) -> None:
        now = self.clock.time()
        if now < self.timer_at:
            return
        self.timer_at = inf
        if self.order and self.flight[self.order[0]][0] + self.rto <= now:
            self.flight.clear()
            self.order.clear()
            self.recovery_end = self.next
            self.on_loss(now)
        self.fill()

    def arrived(self, number: int) -> None:
        self.network.back.send(52, lambda: self.acked(number))

    def acked(self, number: int) -> None:
        now = self.clock.time()
        record = self.flight.pop(number, None)
        if record is None:
            return
        sent_at, delivered, delivered_at = record
        self.delivered += 1
        rtt = now - sent_at
        self.srtt = rtt if not self.srtt else 0.875 * self.srtt + 0.125 * rtt
        self.min_rtt = min(self.min_rtt, rtt)
        lost = False
        while self.order and self.order[0] <= number - REORDER:
            lost = self.flight.pop(self.order[0], None) is not None or lost
            first = self.order.popleft()
            if lost and first < self.recovery_end:
                lost = False
        while self.order and self.order[0] not in self.flight:
            self.order.popleft()
        rate = (self.delivered - delivered) / max(now - delivered_at, rtt, 1e-6)
        self.delivered_at = now
        self.on_delivered(rtt, rate, now)
        if lost:
            self.recovery_end = self.next
            self.on_loss(now)
        self.fill()


class CubicFlow(TcpFlow):
    """Grows by the cube of the time since the last loss."""

    def __init__(self, network: Network, start: float = 0.0) -> None:
        self.window = 10.0
        self.threshold = inf
        self.top = 0.0
        self.epoch = 0.0
        super().__init__(network, start)

    @property
    def pace(self) -> float:
        return 1.2 * self.window / self.srtt if self.srtt else 0.0

    def can_send(self, now: float, quantum: int) -> bool:
        return len(self.flight) + quantum <= self.window or not self.flight

    def on_delivered(self, rtt: float, rate: float, now: float) -> None:
        if self.window < self.threshold:
            self.window += 1
            if rtt > self.min_rtt * 1.25 + 0.004:  # HyStart++ (RFC 9406)
                self.threshold = self.window
                self.top, self.epoch = self.window, now
            return
        k = (self.top * 0.3 / 0.4) ** (1 / 3)
        cubic = 0.4 * (now - self.epoch + self.srtt - k) ** 3 + self.top
        friendly = self.top * 0.7 + 0.53 * (now - self.epoch) / max(self.srtt, 1e-3)
        target = max(cubic, friendly)
        if target > self.window:
            self.window += min((target - self.window) / self.window, 0.5)

    def on_loss(self, now: float) -> None:
        self.top = self.window
        self.window = max(self.window * 0.7, 2.0)
        self.threshold = self.window
        self.epoch = now


class BbrFlow(TcpFlow):
    """The best rate of ten round trips, times eight gains in turn; two bandwidth-delay products on the way."""

    GAINS = (1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)

    def __init__(self, network: Network, start: float = 0.0) -> None:
        self.rates: deque[tuple[float, float]] = deque()
        self.best = 0.0
        self.full = 0.0
        self.full_rounds = 0
        self.startup = True
        self.draining = False
        self.round_at = start
        self.cycle = 2
        self.cycle_at = start
        self.release = start
        self.armed = False
        self.least_at = start
        self.probe_rtt_until = 0.0
        super().__init__(network, start)

    @property
    def gain(self) -> float:
        return 2.89 if self.startup else 0.35 if self.draining else self.GAINS[self.cycle]

    @property
    def pace(self) -> float:
        return self.gain * self.best

    def can_send(self, now: float, quantum: int) -> bool:
        if self.best == 0.0:
            return len(self.flight) < 10
        if now < self.probe_rtt_until:
            return len(self.flight) + quantum <= 4
        bdp = self.best * self.min_rtt
        if len(self.flight) + quantum > max((2.89 if self.startup else 2.0) * bdp + 3 * quantum, 4):
            return False
        if now < self.release:
            if not self.armed:
                self.armed = True
                self.clock.call_at(self.release, self.paced)
            return False
        self.release = max(self.release, now) + quantum / (self.gain * self.best)
        return True

    def paced(self) -> None:
        self.armed = False
        self.fill()

    def on_delivered(self, rtt: float, rate: float, now: float) -> None:
        if rtt <= self.min_rtt:
            self.least_at = now
        elif now > self.least_at + 10:
            self.min_rtt = rtt
            self.least_at = now
            self.probe_rtt_until = now + max(0.2, self.srtt)
        while self.rates and self.rates[-1][1] <= rate:
            self.rates.pop()
        self.rates.append((now, rate))
        while self.rates[0][0] < now - 10 * max(self.srtt, 1e-3):
            self.rates.popleft()
        self.best = self.rates[0][1]
        if now > self.round_at + self.srtt:
            self.round_at = now
            if self.startup:
                if self.best > 1.25 * self.full:
                    self.full, self.full_rounds = self.best, 0
                else:
                    self.full_rounds += 1
                    if self.full_rounds >= 3:
                        self.startup, self.draining = False, True
        if self.draining and len(self.flight) <= self.best * self.min_rtt:
            self.draining = False
        if now > self.cycle_at + self.min_rtt:
            self.cycle_at = now
            self.cycle = (self.cycle + 1) % len(self.GAINS)

    def on_loss(self, now: float) -> None:
        return


def jain(rates: list[float]) -> float:
    """Return Jain's index of fairness: 1 if all have the same, 1/n if one has all."""
    return sum(rates) ** 2 / (len(rates) * sum(rate * rate for rate in rates))
