"""What a client knows by what one socket has told it. Pure.

What the rules say to a socket may get lost on its way between server instances, or be said a second time because a
command was repeated whose outcome was unknown. The client must see neither: a gap in a log, an attempt served twice or
a second welcome are errors of the server to it. So whatever comes after something was missed is held back until the
socket is attached again, which begins with a welcome and tells everything that counts.
"""

from __future__ import annotations

from collections.abc import Mapping

from p2pal.wire import rendezvous as wire


class ClientView:
    """Lets through what the client can take next, and remembers it."""

    __slots__ = ("_cursors", "_served", "_welcomed", "lost")

    def __init__(self) -> None:
        self._cursors: dict[int, int] = {}
        self._served = 0
        self._welcomed = False
        self.lost = True
        """Something was missed, or nothing was told yet: nothing is let through before the next welcome."""

    @property
    def cursors(self) -> dict[int, int]:
        """For each attempt that the client knows, the index that it wants next."""
        return dict(self._cursors)

    def begin(self, cursors: Mapping[int, int]) -> None:
        """Take what the client knew before this socket, as its hello said."""
        self._cursors = dict(cursors)

    def passes(self, message: wire.ServerMessage) -> bool:
        """Whether the client is to be told that. What it is not told it knows already, or ``lost`` is set."""
        match message:
            case wire.Error() | wire.Ice():
                return True  # this socket's own answers
            case wire.Welcome():
                first, self._welcomed, self.lost = not self._welcomed, True, False
                self._served = message.attempt
                return first
            case _ if self.lost:
                return False
            case wire.Served():
                return self._serve(message.attempt)
            case wire.LogMessage():
                return self._advance(message)
            case wire.Released():
                self._cursors.pop(message.attempt, None)
        return True

    def _serve(self, attempt: int) -> bool:
        if self._served in self._cursors:
            self.lost = attempt != self._served  # the end of the one before was missed
            return False
        self._served = attempt
        self._cursors.setdefault(attempt, 0)
        return True

    def _advance(self, message: wire.LogMessage) -> bool:
        cursor = self._cursors.get(message.attempt)
        if cursor is not None and message.index < cursor:
            return False
        if message.index != cursor:
            self.lost = True
            return False
        self._cursors[message.attempt] = cursor + 1
        return True
