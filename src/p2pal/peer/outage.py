"""What the owner of a peer is told of an outage: that it began, what is done, and that it is over."""

from __future__ import annotations

from p2pal.link.steps import LinkUp, Retrying, WaitingFor
from p2pal.peer.config import PeerOwner


class Outages:
    """Tells the owner of each outage of the link, from its first sign to its end.

    Args:
        owner: Who hears.
    """

    __slots__ = ("_in_trouble", "_linked_before", "_owner", "_silent")

    def __init__(self, owner: PeerOwner) -> None:
        self._owner = owner
        self._silent = self._in_trouble = self._linked_before = False

    def silent(self, seconds: float) -> None:
        """The lane in use has been silent for so long."""
        self._silent = True
        self._owner.peer_silent(seconds)

    def tell(self, event: Retrying | WaitingFor | LinkUp) -> None:
        """The link is worked on, or up."""
        match event:
            case Retrying():
                self._in_trouble = True
                self._owner.peer_retrying(event.attempt, event.attempts, event.delay)
            case WaitingFor():
                self._in_trouble = self._in_trouble or bool(event.what)
                self._owner.peer_waiting(event.what, event.seconds_left)
            case LinkUp():
                self._up()

    def _up(self) -> None:
        if self._silent:
            self._silent = False
            self._owner.peer_silent(0.0)
        if self._linked_before and self._in_trouble:
            self._owner.peer_back()
        self._linked_before = True
        self._in_trouble = False
