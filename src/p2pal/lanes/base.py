"""What a lane is: a reliable, ordered way for whole messages between the two processes, which may end any time.

A lane knows nothing of keys or frames. It reports to one listener, on the event loop's thread, in order: opened,
then messages and writable, then closed exactly once.
"""

from __future__ import annotations

from typing import Final, Protocol

BUFFER_LIMIT: Final = 1 << 20
"""Bytes that may wait inside a lane before DATA is held back: control frames never wait behind more."""


class LaneListener(Protocol):
    """Who hears of a lane's life."""

    def lane_opened(self, lane: Lane) -> None:
        """The lane can carry messages now."""

    def lane_message(self, lane: Lane, data: bytes) -> None:
        """One whole message arrived."""

    def lane_writable(self, lane: Lane) -> None:
        """The lane's buffer drained: :meth:`Lane.budget` has grown again."""

    def lane_closed(self, lane: Lane, reason: str) -> None:
        """The lane is over; what was not acknowledged may or may not have arrived."""


class Lane(Protocol):
    """One way between the two processes.

    Attributes:
        id: The number that the leader gave it, never used twice in a session.
        max_message: The largest message it carries, in bytes.
    """

    id: int
    max_message: int

    def send(self, message: bytes) -> None:
        """Queue one message. A lane that is closed drops it: what was not acknowledged travels again."""

    def budget(self) -> int:
        """Bytes it takes now without its buffer passing :data:`BUFFER_LIMIT`; 0 or less while it is full."""

    def close(self) -> None:
        """End it; the listener hears ``lane_closed`` unless it heard it before."""
