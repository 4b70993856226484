"""What the owner of a peer is told of an outage: that it began, what is done, and that it is over. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from p2pal.link.actions import LinkUp, Retrying, WaitingFor
from p2pal.peer.events import LinkBack, LinkSilent, PeerEvent


class Outages:
    """From what happens to the link to what is told of it: each outage from its first sign to its end."""

    __slots__ = ("_in_trouble", "_linked_before", "_silent")

    def __init__(self) -> None:
        self._silent = self._in_trouble = self._linked_before = False

    def told(self, event: LinkSilent | Retrying | WaitingFor | LinkUp) -> Iterator[PeerEvent]:
        """Yield what the owner hears of this."""
        match event:
            case LinkSilent():
                self._silent = True
                yield event
            case Retrying():
                self._in_trouble = True
                yield event
            case WaitingFor():
                self._in_trouble = self._in_trouble or bool(event.what)
                yield event
            case LinkUp():
                yield from self._up()

    def _up(self) -> Iterator[PeerEvent]:
        if self._silent:
            self._silent = False
            yield LinkSilent(0.0)
        if self._linked_before and self._in_trouble:
            yield LinkBack()
        self._linked_before = True
        self._in_trouble = False
