"""The durable session: one ordered stream of payloads each way, over lanes that come and go.

The session numbers every payload, keeps it until the peer has it, and puts what arrives back in order. Lanes are
reliable and ordered while they live, so nothing is timed out and sent again: only when a lane goes down do its
unacknowledged frames travel once more, over another. Acknowledgements that went down with a lane are made good by a
fresh ACK on another. Nothing above notices.

A machine without loop, clock or socket. After any call, drain :meth:`Session.outputs` of every lane and
:meth:`Session.events`, then arm one timer at :meth:`Session.next_timeout`::

    session.handle_frame(lane.id, frame, now)
    for lane in lanes:
        for frame in session.outputs(lane.id, lane.budget(), now):
            lane.send(seal(frame))
    for event in session.events():
        ...

Every frame that ``outputs`` yields must be put on that lane, in that order, and every frame that the lane brings must
be handed in, in order: both sides count them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from p2pal.errors import ProtocolError
from p2pal.session.congestion import CongestionWindow
from p2pal.session.events import Delivered, LaneAlive, LaneSilent, SessionClosed, SessionEvent
from p2pal.session.inbound import Inbound
from p2pal.session.lane import NEVER, LaneState
from p2pal.session.outbound import HIGH_WATER, Outbound
from p2pal.wire import frames
from p2pal.wire.frames import DATA_HEADER, MAX_CONTROL, Ack, Buffer, Close, Data, Ping, Pong

MIN_WINDOW_FRAMES: Final = 8
CLOSE_WAIT: Final = 3.0
"""Seconds that our CLOSE waits for the peer's answer."""
CONTROL_SLACK: Final = 1 << 20
"""Bytes that a lane may be over its budget before even control frames wait: a peer that does not read what it
makes us write must not fill our memory."""


def window_frames(window: int, max_frame: int) -> int:
    """Return how many frames of at most ``max_frame`` bytes a window of ``window`` bytes is good for."""
    return max(MIN_WINDOW_FRAMES, window // max_frame)


class Session:
    """One side of the durable session.

    Args:
        max_frame: The largest frame that we send, in bytes; every lane must carry it.
        window: Our receive window, in bytes: what we hold for the application at most.
        peer_max_frame: The largest frame that the peer sends, in bytes; a larger one is a protocol error.
        peer_window: The peer's receive window, in bytes.
        now: The time in seconds, on the clock of every later ``now``.
        usual_frame: What a full frame has over a lane on which we limit the bytes on the way; ``max_frame`` if left
            out. A larger one gets there only after it was made for another lane.

    Raises:
        ValueError: If a frame is too small to hold the longest control frame.
    """

    def __init__(
        self,
        *,
        max_frame: int,
        window: int,
        peer_max_frame: int,
        peer_window: int,
        now: float,
        usual_frame: int | None = None,
    ) -> None:
        if min(max_frame, peer_max_frame) < MAX_CONTROL:
            message = f"a frame must hold at least {MAX_CONTROL} bytes"
            raise ValueError(message)
        self._max_frame = max_frame
        self._usual_frame = max_frame if usual_frame is None else usual_frame
        self._peer_max_frame = peer_max_frame
        peer_frames = window_frames(peer_window, max_frame)
        self._outbound = Outbound(peer_frames, peer_frames)
        self._inbound = Inbound(window_frames(window, peer_max_frame))
        self._lanes: dict[int, LaneState] = {}
        self._retired: dict[int, int] = {}  # lanes that went down, and how many frames went onto each
        self._events: deque[SessionEvent] = deque()
        self._last_data: LaneState | None = None  # where DATA came last: the lane to answer on
        self._now = now
        self._close: Close | None = None  # the CLOSE that we sent, or answer with
        self._closed_at = NEVER  # when the wait for the answer ends
        self._by_peer = False
        self._over = False

    @property
    def max_payload(self) -> int:
        """The largest payload, in bytes."""
        return self._max_frame - DATA_HEADER

    @property
    def writable(self) -> bool:
        """Whether the application should go on sending: less than 1 MiB waits unsent, and the session is open."""
        return self._outbound.queued < HIGH_WATER and self._close is None

    @property
    def unacked_bytes(self) -> int:
        """Payload bytes that are not known to have arrived, sent or not."""
        return self._outbound.unacked

    @property
    def progress(self) -> int:
        """A number that grows with whatever arrives and is new, here or, as far as this side knows, there."""
        return self._inbound.next + self._outbound.given - self._outbound.unacked

    @property
    def drained(self) -> bool:
        """Whether everything sent is known to have arrived."""
        return not self._outbound.unacked

    @property
    def closed(self) -> bool:
        """Whether either side closed: no payload goes any more. ``SessionClosed`` follows when it is final."""
        return self._close is not None

    def lane_up(self, lane_id: int, now: float, *, controlled: bool = True) -> None:
        """A lane opened.

        Args:
            lane_id: Its number, never used before in this session.
            now: The time.
            controlled: We limit the bytes on the way; False where the kernel does (TCP).

        Raises:
            ValueError: If the number was used before.
        """
        self._now = now
        if lane_id in self._lanes or lane_id in self._retired:
            raise ValueError("a lane's number is used once")
        lane = LaneState(lane_id, CongestionWindow(self._usual_frame) if controlled else None, now)
        self._lanes[lane_id] = lane
        lane.close_now = self._close is not None
        # What we told the peer last may have gone down with another lane.
        lane.ack_now = self._inbound.next > 0 or self._inbound.has_gap

    def lane_down(self, lane_id: int, now: float) -> None:
        """A lane is over; what was on its way there travels again. A second call changes nothing.

        Raises:
            ValueError: If there never was such a lane.
        """
        self._now = now
        lane = self._find(lane_id)
        if lane is None:
            return
        lane.up = False
        del self._lanes[lane_id]
        self._retired[lane_id] = lane.sent
        self._outbound.lost([on_way.number for on_way in lane.flight])
        if self._last_data is lane:
            self._last_data = None
        if self._inbound.next or self._inbound.has_gap:
            self._ack_somewhere()

    def lane_stalled(self, lane_id: int, now: float) -> None:
        """What is on its way over this lane is not acknowledged for a while: it goes over another lane as well.

        The lane stays. Do not drain its outputs while another lane stands in, or what is due again goes there.

        Raises:
            ValueError: If there never was such a lane.
        """
        self._now = now
        lane = self._find(lane_id)
        if lane is None:
            return
        self._outbound.lost([on_way.number for on_way in lane.flight])
        if self._inbound.next or self._inbound.has_gap:
            # What we told the peer last may be held up there, too.
            for other in self._lanes.values():
                other.ack_now = other.ack_now or other is not lane

    def lane_resumed(self, lane_id: int, now: float) -> None:
        """What is on its way over this lane arrives again: what was not sent over another yet need not be.

        Raises:
            ValueError: If there never was such a lane.
        """
        self._now = now
        lane = self._find(lane_id)
        if lane is not None:
            self._outbound.found([on_way.number for on_way in lane.flight])

    def lane_controlled(self, lane_id: int, controlled: bool, now: float) -> None:
        """Say anew whether we limit the bytes on the way: a path within one machine has no queue to overrun.

        Raises:
            ValueError: If there never was such a lane.
        """
        self._now = now
        lane = self._find(lane_id)
        if lane is not None:
            lane.control(CongestionWindow(self._usual_frame) if controlled else None, now)

    def send(self, payload: Buffer | Sequence[Buffer], now: float) -> None:
        """Queue one payload, given as one buffer or several to be joined.

        Heed :attr:`writable`: the queue is not bounded here.

        Raises:
            ValueError: If the payload is empty or larger than :attr:`max_payload`.
            RuntimeError: If the session is closed.
        """
        self._now = now
        if self._close is not None:
            raise RuntimeError("the session is closed")
        size = len(payload) if isinstance(payload, (bytes, bytearray, memoryview)) else sum(map(len, payload))
        if not 0 < size <= self._max_frame - DATA_HEADER:
            message = f"a payload has 1 to {self.max_payload} bytes, not {size}"
            raise ValueError(message)
        self._outbound.queue(payload)

    def consumed(self, count: int, now: float) -> None:
        """The application is done with its ``count`` oldest payloads, which lets the peer send as many more.

        The peer is told once a quarter of the window has opened: hold back less than that while waiting for more.

        Raises:
            ValueError: If that many were not delivered.
        """
        self._now = now
        if self._inbound.consume(count):
            self._ack_somewhere()

    def close(self, code: int, reason: str, now: float) -> None:
        """End the session; what is not :attr:`drained` is given up. A second call changes nothing.

        Args:
            code: 0 to 65535.
            reason: At most 200 bytes of UTF-8 are sent.
            now: The time.

        Raises:
            ValueError: If the code is out of range.
        """
        self._now = now
        if not 0 <= code < 2**16:
            raise ValueError("a close code has 16 bits")
        if self._close is None:
            self._close = Close(code, reason)
            self._closed_at = now + CLOSE_WAIT
            for lane in self._lanes.values():
                lane.close_now = True
                lane.ack_now = True  # what came last arrived: let the peer know before the end

    def handle_frame(self, lane_id: int, frame: bytes | memoryview, now: float) -> None:
        """A lane brought a frame. One from a lane that went down before is dropped: it travels again.

        The payload of a DATA frame is kept as a view: the frame must not change afterwards.

        Raises:
            ProtocolError: If the frame is malformed, too large, past the window, answers or acknowledges what was
                never sent, or is a PING too many. The session is then of no further use.
            ValueError: If there never was such a lane.
        """
        self._now = now
        lane = self._lanes.get(lane_id) or self._find(lane_id)
        if lane is None:
            return
        if len(frame) > self._peer_max_frame:
            raise ProtocolError("the other side sent a frame larger than agreed")
        if lane.on_frame(now):
            self._events.append(LaneAlive(lane_id))
        received = frames.decode(frame)
        if isinstance(received, Close):
            self._on_close(lane, received)
        elif self._close is not None:
            return
        elif isinstance(received, Data):
            self._on_data(lane, received, now)
        elif isinstance(received, Ack):
            self._on_ack(received, now)
        elif isinstance(received, Ping):
            lane.on_ping(received.number)
        else:
            lane.on_pong(received.number)

    def probe(self, now: float) -> None:
        """Ask every lane whether it lives. Time may have passed that nobody looked at; it is no silence."""
        self._now = now
        for lane in self._lanes.values():
            lane.probe(now)

    def next_timeout(self) -> float | None:
        """Return when :meth:`handle_timeout` wants to be called, or None."""
        due = NEVER if self._over else self._closed_at
        if self._close is None:
            for lane in self._lanes.values():
                due = min(due, lane.ack_at, lane.check_at)
        return None if due == NEVER else due

    def handle_timeout(self, now: float) -> None:
        """Do what fell due. Calling it early or late does no harm."""
        self._now = now
        if self._close is not None:
            if now >= self._closed_at:
                self._finish()
            return
        for lane in self._lanes.values():
            silent = lane.on_timer(now)
            if silent is not None:
                self._events.append(LaneSilent(lane.id, silent))

    def events(self) -> Iterator[SessionEvent]:
        """Yield what happened since the last call, each event once."""
        events = self._events
        while events:
            yield events.popleft()

    def outputs(self, lane_id: int, budget: int, now: float | None = None) -> Iterator[bytes]:
        """Yield the frames to put on this lane now, in order; one that was yielded counts as sent.

        Control frames come first and whatever the budget, unless the lane is 1 MiB beyond it; then DATA, while a frame
        fits the budget, the lane's congestion window and the peer's window. Nothing for a lane that is down.

        Args:
            lane_id: The lane.
            budget: Bytes that the lane takes now.
            now: The time; without it, that of the last call. A stale one makes the path look slower than it is.

        Raises:
            ValueError: If there never was such a lane.
        """
        if now is not None:
            self._now = now
        lane = self._lanes.get(lane_id) or self._find(lane_id)
        if lane is None or budget <= -CONTROL_SLACK:
            return
        if lane.control_due:
            yield from self._control(lane)
        outbound, congestion = self._outbound, lane.congestion
        # The consumer may close the session or take the lane down between two frames.
        while lane.up and self._close is None and (found := outbound.next()) is not None:
            number, frame = found
            size = len(frame)
            if size > budget or not (congestion is None or congestion.can_send(size)):
                return
            outbound.took(number, size)
            lane.on_sent(number, size, self._now)
            budget -= size
            yield frame

    def _control(self, lane: LaneState) -> Iterator[bytes]:
        if lane.ack_now:
            inbound = self._inbound
            inbound.announced = inbound.edge
            yield frames.encode(Ack(inbound.next, inbound.edge, inbound.ranges(), lane.take_ack(self._now)))
        while lane.pongs:
            lane.sent += 1
            yield frames.encode(Pong(lane.pongs.popleft()))
        if lane.ping_now:
            yield frames.encode(Ping(lane.take_ping(self._now)))
        if lane.close_now and self._close is not None:
            lane.close_now = False
            lane.sent += 1
            yield frames.encode(self._close)

    def _on_data(self, lane: LaneState, data: Data, now: float) -> None:
        inbound = self._inbound
        had_gap = inbound.has_gap
        payloads = inbound.receive(data.number, data.payload)
        lane.on_data(now)
        self._last_data = lane
        if payloads is None or (inbound.has_gap and not had_gap):
            lane.ack_now = True
            return
        for payload in payloads:
            self._events.append(Delivered(payload))

    def _on_ack(self, ack: Ack, now: float) -> None:
        for lane_id, counter, delay in ack.lanes:
            lane = self._lanes.get(lane_id)
            if lane is not None:
                lane.on_acknowledged(counter, delay, now)
            elif counter >= self._retired.get(lane_id, 0):
                raise ProtocolError("the other side acknowledged what was never sent")
        self._outbound.acknowledge(ack)

    def _on_close(self, lane: LaneState, received: Close) -> None:
        if self._close is None:
            self._by_peer = True
            self._close = received
            self._finish()
        elif not self._by_peer:
            self._finish()
            return
        # Each CLOSE of the peer gets its answer where it came: any lane may be the one that still carries it.
        lane.close_now = True

    def _finish(self) -> None:
        if not self._over and self._close is not None:
            self._over = True
            self._events.append(SessionClosed(self._close.code, self._close.reason, self._by_peer))

    def _ack_somewhere(self) -> None:
        """Let an ACK go out on the lane that is most likely to carry it."""
        lane = self._last_data or next(iter(self._lanes.values()), None)
        if lane is not None:
            lane.ack_now = True

    def _find(self, lane_id: int) -> LaneState | None:
        """Return the lane, or None once it went down."""
        lane = self._lanes.get(lane_id)
        if lane is None and lane_id not in self._retired:
            message = f"there is no lane {lane_id}"
            raise ValueError(message)
        return lane
