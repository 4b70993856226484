"""When a lane over which nothing is acknowledged stalls, and when it resumes. Pure."""

from __future__ import annotations

from typing import Final

from p2pal.lanes.udp.acks import NEVER

STALL: Final = 0.5
LONGEST_STALL: Final = 4.0
STALL_PTOS: Final = 2
"""A lane stalls when nothing is acknowledged for :data:`STALL` seconds, and not before so many probe timeouts: the
second comes three of them after what was sent last. Each time it resumes the seconds double, up to
:data:`LONGEST_STALL`: a lane whose ends are kept waiting by their machines is not left again and again. After
:data:`CALM` seconds without one they are those of the beginning."""
CALM: Final = 60.0
"""Seconds without a stall after which the next one is like the first."""


class StallDetector:
    """Tells a lane's stalls.

    Attributes:
        stalled: Whether nothing is acknowledged for a while.
        due_at: When the lane stalls unless something is acknowledged before; infinity if nothing is missed.
    """

    __slots__ = ("_patience", "_quiet_since", "_resumed_at", "due_at", "stalled")

    def __init__(self) -> None:
        self.stalled = False
        self.due_at = self._quiet_since = NEVER
        self._patience, self._resumed_at = STALL, -NEVER

    def on_quiet(self, pto: float, count: int, now: float) -> None:
        """Nothing came back for a probe timeout of ``pto`` seconds, for the ``count``-th time in a row."""
        if self._quiet_since == NEVER:
            self._quiet_since = now - pto
        if count >= STALL_PTOS and not self.stalled and self.due_at == NEVER:
            if now >= self._resumed_at + CALM:
                self._patience = STALL
            self.due_at = max(now, self._quiet_since + self._patience)

    def on_acked(self, now: float) -> bool:
        """Something new is acknowledged; return whether the lane resumes."""
        self.due_at = self._quiet_since = NEVER
        if not self.stalled:
            return False
        self.stalled = False
        self._patience, self._resumed_at = min(2 * self._patience, LONGEST_STALL), now
        return True

    def take_due(self, now: float) -> bool:
        """Whether the lane stalls now; said once."""
        if now < self.due_at:
            return False
        self.due_at = NEVER
        self.stalled = True
        return True
