"""How fast the path delivers (draft-ietf-ccwg-bbr, section 4.1; draft-cheng-iccrg-delivery-rate-estimation).

Each batch remembers how much had been delivered when it left. When it arrives, what was delivered in between, divided
by the time that took, is a sample of the path's rate. The time is the longer one of two: from sending to sending, and
from arrival to arrival. The latter is taken from the peer's clock, so that neither a busy loop at our end nor
acknowledgements that come in bunches look like a change of the path.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from p2pal.lanes.udp.loss import SentBatch

LEAST_INTERVAL: Final = 0.75
"""Of the least round trip: a sample over less time is none (draft-cheng, section 3.3)."""


class RateSample(NamedTuple):
    """What one acknowledgement says of the path.

    Attributes:
        rate: Bytes per second; 0 if the acknowledgement gives none.
        limited: The application held us back meanwhile, so the path may be faster.
        delivered: Bytes that arrived during the sample.
        newly_acked: Bytes that this acknowledgement told of first.
        newly_lost: Bytes that count as lost since.
        prior_delivered: Bytes that had arrived when the newest of these packets left.
        tx_in_flight: Bytes on the way when it had left.
        lost: Bytes that counted as lost from then on.
        in_flight: Bytes on the way now.
        rtt: The round trip, in seconds; negative if the acknowledgement gives none.
    """

    rate: float
    limited: bool
    delivered: int
    newly_acked: int
    newly_lost: int
    prior_delivered: int
    tx_in_flight: int
    lost: int
    in_flight: int
    rtt: float


class DeliveryRate:
    """Counts what is delivered.

    Attributes:
        delivered: Bytes that arrived.
        lost: Bytes that count as lost.
    """

    __slots__ = ("_delivered_at", "_first_sent_at", "_limited_until", "_received_at", "delivered", "lost")

    def __init__(self, now: float) -> None:
        self.delivered = 0
        self.lost = 0
        self._delivered_at = now
        self._first_sent_at = now
        self._received_at = -1.0
        self._limited_until = 0

    def on_sent(self, batch: SentBatch, in_flight: int) -> None:
        """A batch leaves; ``in_flight`` bytes are on the way, itself included."""
        if in_flight <= batch.flight:  # after a pause: nothing was on the way
            self._first_sent_at = self._delivered_at = batch.sent_at
            self._received_at = -1.0
        batch.delivered = self.delivered
        batch.delivered_at = self._delivered_at
        batch.received_at = self._received_at
        batch.first_sent_at = self._first_sent_at
        batch.in_flight = in_flight
        batch.lost = self.lost
        batch.limited = self._limited_until > 0

    def on_limited(self, in_flight: int) -> None:
        """There is nothing to send though the path would take more: what is on the way says little of its rate."""
        self._limited_until = self.delivered + in_flight or 1

    def on_ack(
        self,
        size: int,
        newest: SentBatch | None,
        lost: int,
        in_flight: int,
        now: float,
        received: float = 0.0,
        rtt: float = -1.0,
        least_rtt: float = 0.0,
    ) -> RateSample:
        """Packets arrived or were lost.

        Args:
            size: Bytes that arrived.
            newest: The newest batch among these.
            lost: Bytes that count as lost since.
            in_flight: Bytes on the way now.
            now: The time.
            received: When the newest packet arrived, on the peer's clock.
            rtt: The round trip, negative if there is none.
            least_rtt: The least round trip: samples over a shorter time are chance.
        """
        self.delivered += size
        self.lost += lost
        if newest is None:
            return RateSample(0.0, True, 0, size, lost, self.delivered, 0, 0, in_flight, rtt)
        self._delivered_at = now
        if self._limited_until and self.delivered > self._limited_until:
            self._limited_until = 0
        ack_elapsed = now - newest.delivered_at
        if 0 <= newest.received_at <= received:
            ack_elapsed = received - newest.received_at
        self._received_at = received
        self._first_sent_at = newest.sent_at
        interval = max(newest.sent_at - newest.first_sent_at, ack_elapsed)
        delivered = self.delivered - newest.delivered
        return RateSample(
            rate=delivered / interval if interval > LEAST_INTERVAL * least_rtt else 0.0,
            limited=newest.limited,
            delivered=delivered,
            newly_acked=size,
            newly_lost=lost,
            prior_delivered=newest.delivered,
            tx_in_flight=newest.in_flight,
            lost=self.lost - newest.lost,
            in_flight=in_flight,
            rtt=rtt,
        )
