"""The sending half of a lane on the path in use: what leaves when, and what becomes of it."""

from __future__ import annotations

from typing import Final, NamedTuple

from p2pal.crypto.seal import LaneExhausted
from p2pal.lanes.udp.acks import NEVER
from p2pal.lanes.udp.congestion import Congestion
from p2pal.lanes.udp.data_packet import DATA_HEADER, data_headers
from p2pal.lanes.udp.entropy import Entropy
from p2pal.lanes.udp.local_path import DEFAULT_BUFFER, LocalPath
from p2pal.lanes.udp.loss import LossDetection, Lost, SentBatch
from p2pal.lanes.udp.mtu import PathMtu
from p2pal.lanes.udp.packet import MAX_DATAGRAM, MAX_PACKETS, MAX_SEGMENTS, AckFields, Buffer
from p2pal.lanes.udp.rate import DeliveryRate
from p2pal.lanes.udp.rtt import RttEstimator
from p2pal.lanes.udp.stream import WINDOW, SendStream

MAX_BATCH: Final = 64_000
"""Bytes of a batch."""
LEAST_CREDIT: Final = 0.002
MOST_CREDIT: Final = 0.050
"""Seconds of the paced rate that may be made up for after the loop was late: a round trip, within these. What was not
sent meanwhile left room in the queue, and the window holds all the same."""
PTO_PROBES: Final = 2
"""Datagrams that leave at a probe timeout (RFC 9002, section 6.2.4)."""
ASK_SHARE: Final = 1 / 6
"""Of the window within one machine after which an acknowledgement is asked for, so that something is always on the way.
The other side answers once for all that woke it up, so asking often costs little."""
SKIP_EVERY: Final = (500, 4000)
"""Packets from one packet number that is left out to the next."""


class Outgoing(NamedTuple):
    """A batch of DATA: its buffers, the size of each datagram but the last (0 for one alone), and all bytes."""

    buffers: list[Buffer]
    segment: int
    size: int


class DatagramSender:
    """Sends the stream over one path at a time.

    Args:
        tag: What DATA begins with.
        entropy: For what the peer must not foresee.
        now: The time.
        window: How far past the first missing byte may be sent, in bytes.

    Attributes:
        stream: What is sent.
        loss: What is on the way.
        rate: What was delivered.
        congestion: How much may be on the way.
        mtu: How large datagrams are.
        buffer: Bytes of a socket's receive buffer on this machine, which is all that limits a path within it.
    """

    __slots__ = (
        "_ask", "_blocked", "_entropy", "_heard_at", "_most", "_path", "_probes", "_release", "_skip_at", "_tag",
        "_unasked", "buffer", "congestion", "loss", "mtu", "rate", "stream",
    )  # fmt: skip

    def __init__(self, tag: int, entropy: Entropy, now: float, window: int = WINDOW) -> None:
        self._tag = tag
        self._entropy = entropy
        self._path = -1
        self._most = MAX_DATAGRAM
        self.buffer = DEFAULT_BUFFER
        self._release = now
        self._heard_at = now
        self._probes = 0
        self.stream = SendStream(window)
        self.loss = LossDetection(RttEstimator())
        self._skip_at = entropy.between(*SKIP_EVERY)
        self.use_path(now, self.loss.rtt.smoothed, ipv6=False, loopback=False, dead=False)

    def use_path(self, now: float, rtt: float, *, ipv6: bool, loopback: bool, dead: bool) -> None:
        """Send over another path from now on, of which nothing but a round trip is known (RFC 9000, section 9.4).

        Args:
            now: The time.
            rtt: A round trip, in seconds.
            ipv6: Whether it is a path of IPv6.
            loopback: Whether it stays on this machine.
            dead: Whether the path before is taken to be dead: what was on the way there is sent again at once.
        """
        self._path += 1
        lost = self.loss.change_path(self._path, RttEstimator(rtt), dead=dead)
        for each in lost:
            self.stream.lost(*each.batch.range_of(each.start, each.stop))
        self.rate = DeliveryRate(now)
        self.mtu = PathMtu(now, ipv6=ipv6, loopback=loopback, most=self._most)
        self.congestion: Congestion | LocalPath = (
            LocalPath(rtt, self.buffer, self.mtu.size)
            if loopback
            else Congestion(now, self.mtu.size, rtt, self._entropy.fractions())
        )
        self._ask = loopback
        self._unasked = 0
        self._release = now
        self._blocked = True
        self._probes = 0

    def on_ack(self, ack: AckFields, now: float, arrived: float) -> bool:
        """The peer told what arrived; return whether anything had not been told before.

        Args:
            ack: What it told.
            now: The time.
            arrived: When that came, by the kernel's word if it gives one.

        Raises:
            ProtocolError: If that was never sent.
        """
        loss, stream = self.loss, self.stream
        # A loop that was busy reads several at once, of which each says how things were when it came.
        now = self._heard_at = min(max(arrived, self._heard_at), now)
        acked = loss.on_ack(ack.packets)
        before = stream.acked
        stream.acknowledge(ack.next, ack.stream)
        newest = acked.newest
        ours = newest is not None and newest.path == self._path
        rtt = -1.0
        if newest is not None and ours and acked.is_largest:
            rtt = loss.rtt.add(max(arrived - newest.sent_at, 1e-6), ack.delay)
        lost = self._lost(now)
        if ours or lost:
            sample = self.rate.on_ack(
                acked.size if ours else 0,
                newest if ours else None,
                lost,
                loss.in_flight,
                now,
                ack.received,
                rtt,
                self.congestion.min_rtt,
            )
            self.congestion.on_ack(sample, now)
        if self._blocked and stream.pending and self._has_room:
            self._unblock(now)
        if acked.spurious:
            self.congestion.on_spurious(acked.spurious)
        if acked.size:
            self._probes = 0
        if not loss.in_flight and not stream.pending and stream.acked < stream.sent:
            # All packets arrived, and some bytes did not: somebody forged a packet's number.
            stream.lost(stream.acked, stream.sent)
        return bool(acked.size or acked.spurious or stream.acked > before)

    def _lost(self, now: float) -> int:
        """Queue again what counts as lost now; return how many bytes of this path's that is."""
        found: list[Lost] = self.loss.detect(now)
        size = 0
        for batch, start, stop in found:
            self.stream.lost(*batch.range_of(start, stop))
            if batch.path == self._path:
                size += batch.bytes_of(start, stop)
        if found and self.loss.is_persistent(found):
            self.congestion.on_persistent_congestion(now)
            return 0  # that is told by this, and is no sign of what is sent from now on
        return size

    def next_batch(self, now: float) -> Outgoing | None:
        """Return what leaves next, None if nothing may for now.

        Raises:
            LaneExhausted: After 2^48 packets.
        """
        stream, congestion = self.stream, self.congestion
        segment = self.mtu.size
        payload = segment - DATA_HEADER
        if self._probes:
            self._probes -= 1
            found = stream.next_range(payload) or stream.oldest(payload)
            return None if found is None else self._send(*found, payload, now)
        room = congestion.window - self.loss.in_flight
        if not stream.pending:
            if room > 0:
                self.rate.on_limited(self.loss.in_flight)
            self._blocked = True
            return None
        if not self._has_room:
            self._blocked = True
            return None
        if self._blocked:
            self._unblock(now)
        if now < self._release:
            return None
        count = min(MAX_BATCH, congestion.burst, max(room, segment)) // segment
        found = stream.next_range(min(max(int(count), 1), MAX_SEGMENTS) * payload)
        return None if found is None else self._send(*found, payload, now)

    @property
    def _has_room(self) -> bool:
        """Whether the window lets a datagram leave."""
        in_flight = self.loss.in_flight
        return not in_flight or self.congestion.window - in_flight >= self.mtu.size

    def _unblock(self, at: float) -> None:
        """There is something to send and room for it since then: what did not leave before was not late."""
        self._blocked = False
        self._release = max(self._release, at)

    def _send(self, start: int, stop: int, payload: int, now: float) -> Outgoing:
        loss = self.loss
        if loss.next_number >= self._skip_at:
            loss.skip()
            self._skip_at = loss.next_number + self._entropy.between(*SKIP_EVERY)
        count = -(-(stop - start) // payload)
        number = loss.next_number
        if number + count >= MAX_PACKETS:
            raise LaneExhausted("the lane has sent as many packets as it can number")
        ask = self._ask and self._asks(stop - start)
        headers = data_headers(number, self._tag, start, payload, count, ask=ask)
        buffers = self.stream.gather(start, stop, payload, headers)
        self.stream.mark_sent(start, stop)
        batch = SentBatch(number, count, start, stop, payload, now, self._path)
        loss.on_sent(batch)
        self.rate.on_sent(batch, loss.in_flight)
        size = batch.flight
        credit = min(max(self.congestion.min_rtt, LEAST_CREDIT), MOST_CREDIT)
        self._release = max(self._release, now - credit) + size / self.congestion.pacing_rate
        return Outgoing(buffers, payload + DATA_HEADER if count > 1 else 0, size)

    def _asks(self, size: int) -> bool:
        """Whether a batch of this size asks for an acknowledgement."""
        self._unasked += size
        if self._unasked < ASK_SHARE * self.congestion.window:
            return False
        self._unasked = 0
        return True

    def next_timeout(self) -> float:
        """Return when :meth:`handle_timeout` or :meth:`next_batch` is due; infinity if neither ever is."""
        at = self.loss.next_timeout()
        if self._probes:
            return min(at, self._release, 0.0)
        if self.stream.pending and self.congestion.window - self.loss.in_flight >= self.mtu.size:
            at = min(at, self._release)
        return at

    def handle_timeout(self, now: float) -> bool:
        """Do what is due; return whether nothing came back for a probe timeout."""
        if now < self.loss.next_timeout():
            return False
        if self.loss.on_timeout(now):
            if self.stream.acked == self.stream.sent:
                self.loss.abandon()  # every byte arrived, by other packets than these
                return False
            self._probes = PTO_PROBES
            if self.mtu.on_timeouts(self.loss.pto_count, now):
                self.resize()
            return True
        lost = self._lost(now)
        if lost:
            self.congestion.on_ack(self.rate.on_ack(0, None, lost, self.loss.in_flight, now), now)
        return False

    def resize(self) -> None:
        """Datagrams have another size from now on."""
        self.congestion.resize(self.mtu.size)

    def limit_mtu(self, size: int) -> None:
        """Never send larger datagrams than this, from the next path on."""
        self._most = size

    def figures(self) -> dict[str, float]:
        """Return what the log may say: sizes in bytes, times in seconds, rates in bytes per second."""
        return {
            "sent": self.stream.sent,
            "packets": self.loss.next_number,
            "lost": self.rate.lost,
            "rtt": self.loss.rtt.smoothed,
            "least rtt": self.congestion.min_rtt,
            "rate": self.congestion.rate,
            "window": self.congestion.window,
            "datagram": self.mtu.size,
        }

    @property
    def idle(self) -> bool:
        """Whether nothing is on the way or waits to be sent."""
        return not self.stream.kept

    @property
    def due(self) -> float:
        """When the pacer lets the next batch leave."""
        return self._release if self.stream.pending else NEVER
