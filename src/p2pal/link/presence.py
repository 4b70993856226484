"""Which side reaches the server, and since when one does not. Pure bookkeeping for the negotiator."""

from __future__ import annotations

from typing import Final

from p2pal.link.actions import Absent

FLAP: Final = 2.0
"""Seconds of absence from the server that mean nothing: a socket that was replaced."""


class Presence:
    """Both sides' ways to the server, as far as this one knows; both are there at first.

    Attributes:
        told: What was last told to be missing.
    """

    __slots__ = ("_away_since", "_here", "_there", "told")

    def __init__(self) -> None:
        self._here = self._there = True
        self._away_since: float | None = None
        self.told: Absent = ""

    @property
    def both(self) -> bool:
        """Whether both sides are there."""
        return self._here and self._there

    def on_change(self, here: bool, there: bool, now: float) -> float | None:
        """Note who is there. When that makes both be back, return the seconds for which they were not."""
        were_both, self._here, self._there = self.both, here, there
        if were_both and not self.both:
            self._away_since = now
        elif self.both and self._away_since is not None:
            away, self._away_since = now - self._away_since, None
            return away
        return None

    def is_away(self, now: float) -> bool:
        """Whether a side has been gone for longer than a flap."""
        return self._away_since is not None and now - self._away_since >= FLAP

    def tell_at(self) -> float | None:
        """Return when an absence that was not told yet is no flap any more; None if there is none."""
        return None if self.told or self._away_since is None else self._away_since + FLAP

    def look(self, now: float, *, matters: bool) -> bool:
        """Bring :attr:`told` up to date, if it matters who is there; return whether it changed."""
        absent: Absent = ""
        if matters and not self.both and (self.told or ((due := self.tell_at()) is not None and now >= due)):
            absent = "peer" if self._here else "network"
        changed, self.told = absent != self.told, absent
        return changed
