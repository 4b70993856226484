"""How many of its events a transfer tells: what a peer or a server can bring about again and again is bounded. Pure.

A peer may toggle its hold, drop its link and be silent, a server may report one stranger after another: each is an
event, and each would be a line on a screen or in a log, for as long as they like. So every kind of event is one of two:
those that come once, or once for each file that a person agreed to, or at the pace of a clock; and the others, of which
there are :data:`BURST` at once, then one each :data:`INTERVAL`, and after :data:`MOST` one an hour. Of what was held
back the latest of each kind is told when its time comes, so that what was said last is what is true.
"""

from __future__ import annotations

from typing import Final

from p2pal.app import events
from p2pal.app.events import AnyEvent
from p2pal.rate_limit import Throttle

BURST: Final = 10
INTERVAL: Final = 30.0
"""Seconds."""
MOST: Final = 200

BOUNDED_BY_THEMSELVES: Final[frozenset[type[events.Event]]] = frozenset({
    events.Accepted,
    events.Code,
    events.Comparing,  # once for each file
    events.Failure,
    events.FileDelivered,
    events.FileNotDelivered,
    events.Joining,
    events.Listed,
    events.Missing,
    events.Offered,
    events.PeerJoined,
    events.Progress,  # by the clock
    events.Resuming,
    events.Saved,
    events.SavedAs,  # once for each entry
    events.StartingOver,  # once for each file
    events.Summary,
})  # fmt: skip

LIMITED: Final[frozenset[type[events.Event]]] = frozenset({
    events.Connected,
    events.Reconnected,
    events.Reconnecting,
    events.Silence,
    events.Unproven,
    events.Unsaved,
    events.Waiting,
    events.WrongGuess,
})  # fmt: skip


class EventThrottle:
    """Takes events and gives those that are told, in order. Times are seconds of any clock that only moves forward."""

    def __init__(self) -> None:
        self._throttle = Throttle(burst=BURST, interval=INTERVAL, most=MOST)
        self._told: dict[str, AnyEvent] = {}
        self._held: dict[str, AnyEvent] = {}

    def handle(self, event: AnyEvent, now: float) -> list[AnyEvent]:
        """Take an event; return what is told now."""
        if type(event) in BOUNDED_BY_THEMSELVES:
            return [*self.handle_timeout(now), event] if self._held else [event]
        kind = type(event).__name__
        held = self._held.pop(kind, None)
        told = self.handle_timeout(now)
        if held is None and self._throttle.admit(kind, now):
            self._told[kind] = event
            return [*told, event]
        if event != self._told.get(kind):  # else all is as it was said
            self._held[kind] = event
            told += self.handle_timeout(now)
        return told

    def next_timeout(self) -> float | None:
        """Return when :meth:`handle_timeout` has something to tell, or None."""
        return min(map(self._throttle.due, self._held)) if self._held else None

    def handle_timeout(self, now: float) -> list[AnyEvent]:
        """Return what was held back and may be told now."""
        told = []
        for kind in list(self._held):
            if self._throttle.admit(kind, now):
                event = self._told[kind] = self._held.pop(kind)
                told.append(event)
        return told
