"""What the session knows of one lane: what is on its way there, what is owed, and whether it lives."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from p2pal.errors import ProtocolError
from p2pal.session.congestion import CongestionWindow
from p2pal.wire.frames import LaneAck

ACK_EVERY: Final = 8
"""DATA frames after which an ACK goes out at once."""
ACK_DELAY: Final = 0.003
"""Seconds that the first unacknowledged DATA frame waits for company."""
IDLE_PING: Final = 5.0
"""Seconds without a frame from a lane that rests, after which a PING asks whether it lives."""
PROBE_AFTER: Final = 1.0
"""Seconds without a frame from a lane with DATA on the way to the peer, or that brought some since the last PING."""
SILENT_AFTER: Final = 3.0
SILENT_EVERY: Final = 5.0
MAX_PONGS: Final = 8
"""PINGs of one lane that may wait for their PONG. A peer has one PING out at a time."""

NEVER: Final = float("inf")


class OnWay(NamedTuple):
    """A DATA frame that went onto the lane and is not known to have arrived."""

    counter: int
    number: int
    size: int
    sent_at: float


class LaneState:
    """One lane of the session.

    Args:
        lane_id: Its number.
        congestion: What limits the bytes on their way, or None where something else does.
        now: The time.

    Attributes:
        up: False once the lane went down.
        sent: Frames of any type that we put on it: the counter of the next one.
        received: Frames of any type that came over it.
        flight: DATA frames on their way, oldest first.
        ack_now: An ACK must go out on this lane.
        ack_at: When the delayed ACK falls due.
        ping_now: A PING must go out.
        close_now: A CLOSE must go out.
        pongs: Numbers of the PINGs to answer.
        check_at: When :meth:`check` wants to be called.
    """

    __slots__ = (
        "_asked_counter", "_data_at", "_data_counter", "_heard", "_owed", "_ping_at", "_ping_number",
        "_silent_next", "ack_at", "ack_now", "check_at", "close_now", "congestion", "flight", "id", "ping_now",
        "pongs", "received", "sent", "up",
    )  # fmt: skip

    def __init__(self, lane_id: int, congestion: CongestionWindow | None, now: float) -> None:
        self.id = lane_id
        self.congestion = congestion
        self.up = True
        self.sent = 0
        self.received = 0
        self.flight: deque[OnWay] = deque()
        self.ack_now = False
        self.ack_at = NEVER
        self.ping_now = False
        self.close_now = False
        self.pongs: deque[int] = deque()
        self.check_at = now + IDLE_PING
        self._heard = now
        self._owed = 0  # DATA frames that came since the last ACK on this lane
        self._data_counter = -1
        self._data_at = now
        self._asked_counter = -1  # the last DATA frame that had come when the last PING went out
        self._ping_number = 0
        self._ping_at: float | None = None
        self._silent_next: float | None = None  # the silence reported next; None while the lane is alive

    @property
    def control_due(self) -> bool:
        """Whether a frame other than DATA must go out."""
        return self.ack_now or self.close_now or self.ping_now or bool(self.pongs)

    def control(self, congestion: CongestionWindow | None, now: float) -> None:
        """Let another controller, or none, limit the bytes on the way; what is there already counts."""
        if (congestion is None) == (self.congestion is None):
            return
        self.congestion = congestion
        if congestion is not None:
            for on_way in self.flight:
                congestion.on_sent(on_way.size, now)

    def on_sent(self, number: int, size: int, now: float) -> None:
        """A DATA frame went onto the lane."""
        flight = self.flight
        if not flight:
            self.check_at = min(self.check_at, now + PROBE_AFTER)
        flight.append(OnWay(self.sent, number, size, now))
        self.sent += 1
        if self.congestion is not None:
            self.congestion.on_sent(size, now)

    def on_frame(self, now: float) -> bool:
        """A frame came; return whether the lane had been reported silent."""
        self.received += 1
        self._heard = now
        if self._silent_next is None:
            return False
        self._silent_next = None
        self.check_at = now + PROBE_AFTER
        return True

    def on_data(self, now: float) -> None:
        """The frame that just came was DATA: it is owed an ACK."""
        self._data_counter = self.received - 1
        self._data_at = now
        self._owed += 1
        if self._owed == 1:
            self.ack_at = now + ACK_DELAY
            if self.check_at > now + PROBE_AFTER:
                self.check_at = now + PROBE_AFTER
        elif self._owed >= ACK_EVERY:
            self.ack_now = True

    def on_acknowledged(self, counter: int, delay: float, now: float) -> None:
        """The peer has every DATA frame up to the one with this counter, and had it ``delay`` seconds ago.

        Raises:
            ProtocolError: If no DATA frame has that counter.
        """
        flight = self.flight
        if not flight or counter < flight[0].counter:
            if counter >= self.sent:
                raise ProtocolError("the other side acknowledged what was never sent")
            return
        size = 0
        last = flight[0]
        while flight and flight[0].counter <= counter:
            last = flight.popleft()
            size += last.size
        if last.counter != counter:
            raise ProtocolError("the other side acknowledged what was never sent")
        if self.congestion is not None:
            rtt = now - last.sent_at - delay
            self.congestion.on_ack(size, rtt if rtt > 0 else None, now, last.size)

    def on_ping(self, number: int) -> None:
        """The peer asks.

        Raises:
            ProtocolError: If it asks again and again without waiting for the answer.
        """
        if len(self.pongs) >= MAX_PONGS:
            raise ProtocolError("the other side floods us with PING")
        self.pongs.append(number)

    def on_pong(self, number: int) -> None:
        """The peer answers.

        Raises:
            ProtocolError: If it was not asked.
        """
        if self._ping_at is None or number != self._ping_number:
            raise ProtocolError("the other side answered a PING that was never sent")
        self._ping_at = None

    def probe(self, now: float) -> None:
        """Ask whether the lane lives, whatever was before."""
        self._heard = now
        if self._ping_at is None:
            self.ping_now = True
        self.check_at = now + PROBE_AFTER

    def take_ping(self, now: float) -> int:
        """Return the number of a PING that goes out now."""
        self.ping_now = False
        self.sent += 1
        self._asked_counter = self._data_counter
        self._ping_number = (self._ping_number + 1) % 2**32
        self._ping_at = now
        return self._ping_number

    def take_ack(self, now: float) -> tuple[LaneAck, ...]:
        """Return this lane's part of an ACK that goes out on it now."""
        self.ack_now = False
        self.ack_at = NEVER
        self.sent += 1
        if not self._owed:
            return ()
        self._owed = 0
        return (LaneAck(self.id, self._data_counter, now - self._data_at),)

    def on_timer(self, now: float) -> float | None:
        """Do what fell due: the delayed ACK, a PING, a report of silence. Return the silence to report, if any."""
        if self.ack_at <= now:
            self.ack_at = NEVER
            self.ack_now = True
        return self._check(now) if self.check_at <= now else None

    def _check(self, now: float) -> float | None:
        # Deadlines are compared, never differences: rounding must not make a timer that fired look early.
        since = self._waiting_since()
        if since is None:
            self.check_at = self._heard + (PROBE_AFTER if self._data_counter > self._asked_counter else IDLE_PING)
            if now >= self.check_at:
                self.ping_now = True
                self.check_at = now + PROBE_AFTER
            return None
        self.check_at = since + PROBE_AFTER
        if now < self.check_at:
            return None
        if self._ping_at is None:
            self.ping_now = True
        self.check_at = since + (self._silent_next or SILENT_AFTER)
        if now < self.check_at:
            return None
        self._silent_next = now - since + SILENT_EVERY
        self.check_at = now + SILENT_EVERY
        return now - since

    def _waiting_since(self) -> float | None:
        """When the wait for a sign of life began, if one is due."""
        oldest = self._ping_at
        if self.flight and (oldest is None or self.flight[0].sent_at < oldest):
            oldest = self.flight[0].sent_at
        return None if oldest is None else max(oldest, self._heard)
