"""What the session tells the floor above."""

from __future__ import annotations

import msgspec


class Delivered(msgspec.Struct):
    """The next payload of the stream: every payload once, in the order in which it was sent.

    It is a view into the frame it came in. It occupies the receive window until ``Session.consumed`` is told.
    """

    payload: memoryview


class SessionClosed(msgspec.Struct):
    """The session is over, last of all events.

    Attributes:
        code: The number that the closing side gave.
        reason: Its text; the peer's own words if ``by_peer``, not safe for a terminal.
        by_peer: The other side closed; otherwise we did, and it answered, or did not within a few seconds.
    """

    code: int
    reason: str
    by_peer: bool


class LaneSilent(msgspec.Struct):
    """Something is due on this lane, an acknowledgement or a PONG, and nothing came for this many seconds.

    Comes first after 3 seconds, then again every 5, until the lane is heard or goes down.
    """

    lane_id: int
    seconds: float


class LaneAlive(msgspec.Struct):
    """A lane that was reported silent is heard again."""

    lane_id: int


SessionEvent = Delivered | SessionClosed | LaneSilent | LaneAlive
