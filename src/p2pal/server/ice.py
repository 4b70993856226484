"""The STUN and TURN servers that clients without settings of their own get."""

from __future__ import annotations

from collections.abc import Sequence

from p2pal.wire.rendezvous import IceServer


class IceServers:
    """Hands out STUN to everyone, and TURN with its credentials only once the sender has accepted.

    A relay costs its operator bandwidth: nobody gets it for merely knowing a slot.
    """

    __slots__ = ("_all", "_stun")

    def __init__(self, servers: Sequence[IceServer]) -> None:
        self._all = list(servers)
        self._stun: list[IceServer] = []
        for server in servers:
            urls = [url for url in server.urls if url.startswith(("stun:", "stuns:"))]
            if urls:
                self._stun.append(IceServer(urls))

    def offer(self, *, accepted: bool) -> list[IceServer]:
        """Return the servers for a transfer that was accepted, or not yet."""
        return self._all if accepted else self._stun
