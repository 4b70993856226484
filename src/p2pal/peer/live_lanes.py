"""The open lanes of one peer: their keys, the frames on them, and who is heard.

What is said over a lane: 16 random bytes of each side, from which the keys come, then sealed frames
(:mod:`p2pal.crypto.seal`). The frames are the session's. Whatever breaks the seal ends the lane, never the session.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from time import monotonic
from typing import Final

from p2pal.crypto.keys import Direction, Master
from p2pal.crypto.seal import LaneExhausted, LaneOpener, LaneSealer
from p2pal.errors import ProtocolError
from p2pal.lanes.base import Lane
from p2pal.session.core import Session

_LANE_NONCE: Final = 16


class LiveLane:
    """An open lane with its keys. The opener exists, and ``heard`` is set, once the peer's opening bytes arrived."""

    __slots__ = ("heard", "lane", "opener", "sealer")

    def __init__(self, lane: Lane, sealer: LaneSealer) -> None:
        self.lane = lane
        self.sealer = sealer
        self.opener: LaneOpener | None = None
        self.heard = asyncio.Event()


class LiveLanes:
    """Those that are open.

    Args:
        master: The session's, for the lanes' keys.
        sender: Which side this is.

    Attributes:
        by_id: The open lanes, by number.
        stood: Whether a lane was ever open.
        heard_at: When a lane last brought a frame, in seconds.
        gone: Set when the last open lane ended.
    """

    __slots__ = ("_forged", "_inward", "_master", "_outward", "_silent", "by_id", "gone", "heard_at", "stood")

    def __init__(self, master: Master, *, sender: bool) -> None:
        self._master = master
        self._outward = Direction.TO_RECEIVER if sender else Direction.TO_SENDER
        self._inward = Direction.TO_SENDER if sender else Direction.TO_RECEIVER
        self._silent: set[int] = set()
        self._forged: set[int] = set()
        self.by_id: dict[int, LiveLane] = {}
        self.stood = False
        self.heard_at = 0.0
        self.gone = asyncio.Event()

    @property
    def heard(self) -> bool:
        """Whether a lane is open, and heard."""
        return len(self.by_id) > len(self._silent)

    def open(self, lane: Lane) -> None:
        """A lane opened: say our opening bytes over it."""
        self.stood = True
        self.gone.clear()
        nonce = os.urandom(_LANE_NONCE)
        self.by_id[lane.id] = LiveLane(lane, LaneSealer(self._master.lane_key(lane.id, self._outward, nonce)))
        lane.send(nonce)

    def drop(self, lane: Lane) -> bool:
        """A lane is over; return whether it had been open."""
        was_open = self.by_id.pop(lane.id, None) is not None
        self._silent.discard(lane.id)
        if not self.by_id:
            self.gone.set()
        return was_open

    def forged(self, lane: Lane) -> bool:
        """Whether a lane ended because something on it did not open; this says so once."""
        found = lane.id in self._forged
        self._forged.discard(lane.id)
        return found

    def clear(self) -> None:
        """None is used any more."""
        self.by_id.clear()
        self._silent.clear()
        self.gone.set()

    def fall_silent(self, lane_id: int) -> Lane | None:
        """Note that nothing comes over a lane, and return it; None if it is over."""
        live = self.by_id.get(lane_id)
        if live is None:
            return None
        self._silent.add(lane_id)
        return live.lane

    def wake(self, lane_id: int) -> Lane | None:
        """Note that a silent lane is heard again, and return it; None if it is over."""
        self._silent.discard(lane_id)
        live = self.by_id.get(lane_id)
        return None if live is None else live.lane

    def frame(self, lane: Lane, data: bytes) -> bytes | None:
        """Return the frame in a message; None for the peer's opening bytes, and for a lane that is over.

        A message that breaks the seal ends its lane: it comes from somebody without the keys.
        """
        live = self.by_id.get(lane.id)
        if live is None:
            return None
        try:
            if live.opener is None:
                if len(data) != _LANE_NONCE:
                    raise ProtocolError("the other side opened a lane the wrong way")
                live.opener = LaneOpener(self._master.lane_key(lane.id, self._inward, data))
                live.heard.set()
                return None
            frame = live.opener.open(data)
        except ProtocolError:
            self._forged.add(lane.id)
            lane.close()
            return None
        self.heard_at = monotonic()
        return frame

    def drain(self, session: Session, waits: Callable[[Lane], bool]) -> None:
        """Put on every lane what the session has for it and what fits.

        Args:
            session: Whose frames.
            waits: Says of a lane beside others whether it carries no DATA now: what is on its way over one that may
                not stay would have to be sent again.
        """
        several = len(self.by_id) > 1
        for live in list(self.by_id.values()):
            lane, seal, send = live.lane, live.sealer.seal, live.lane.send
            budget = 0 if several and waits(lane) else lane.budget()
            try:
                for frame in session.outputs(lane.id, budget, monotonic()):
                    send(seal(frame))
            except LaneExhausted:
                lane.close()  # its key has sealed all that one key may; the next lane has another
