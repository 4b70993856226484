"""What one connection's search for paths brought: the candidates of both sides, and what servers answered.

It tells whose address an end of a path is, and, where there is no path, what was tried.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from p2pal.lanes.ice_candidates import IceCandidate
from p2pal.wire.ice_urls import canonical_url

MAX_CANDIDATES: Final = 256
"""Of each side; the peer sends as many as it likes."""

MAX_ERRORS: Final = 64

UNREACHED: Final = 701
"""The code for a server that was not reached at all (W3C WebRTC, RTCPeerConnectionIceErrorEvent)."""


class Gathering:
    """The candidates and errors of one connection.

    Args:
        urls: Those of the STUN and TURN servers that are asked.

    Attributes:
        own: Our candidates, by address and port.
        remote: The other side's.
        answered: The URLs of servers that gave us a candidate.
        errors: For a server's URL, the first error code of STUN (RFC 8489) that it gave us, from whichever of our
            networks; :data:`UNREACHED` if it gave none.
        complete: Whether all servers have answered or failed.
    """

    __slots__ = ("_names", "answered", "complete", "errors", "own", "remote", "urls")

    def __init__(self, urls: tuple[str, ...] = ()) -> None:
        self.urls = urls
        self._names = {canonical_url(url): url for url in urls}  # the engine has forms of its own
        self.own: dict[tuple[str, int], IceCandidate] = {}
        self.remote: dict[tuple[str, int], IceCandidate] = {}
        self.answered: set[str] = set()
        self.errors: dict[str, int] = {}
        self.complete = False

    def add_own(self, candidate: IceCandidate, url: str = "") -> None:
        """We have this candidate, from the server with this URL if it is not of our own making."""
        _add(self.own, candidate)
        if url:
            self.answered.add(self._name(url))

    def add_remote(self, candidate: IceCandidate) -> None:
        """The other side told of this candidate."""
        _add(self.remote, candidate)

    def end(self) -> None:
        """All servers have answered or failed."""
        self.complete = True

    def add_error(self, url: str, code: int) -> None:
        """A server refused, or was not reached, from one of our networks."""
        url = self._name(url)
        before = self.errors.get(url)
        if before is None and len(self.errors) >= MAX_ERRORS:
            return
        if before is None or before == UNREACHED:  # what a server says itself is worth more
            self.errors[url] = code

    def _name(self, url: str) -> str:
        return self._names.get(canonical_url(url), url)

    @property
    def own_addresses(self) -> set[str]:
        """The addresses of this machine that are candidates."""
        return {candidate.address for candidate in self.own.values() if candidate.kind == "host"}

    def recognise_own(self, seen: IceCandidate, base: tuple[str, int]) -> IceCandidate:
        """Return our end of a path, as the engine sees it, with what we know of it.

        Args:
            seen: The engine's view.
            base: The address and port behind it, if there is a NAT in between.
        """
        known = self.own.get((seen.address, seen.port)) or self.own.get(base)
        if known is None:
            known = _of_tcp(seen, self.own)
            return seen if known is None else replace(seen, kind="host", cost=known.cost)
        return replace(seen, cost=known.cost)

    def recognise_remote(self, seen: IceCandidate) -> IceCandidate:
        """Return the other end, by what its owner calls it.

        A check may come in before its candidate does; ICE then takes its address for that of a NAT (RFC 8445, section
        7.3.1.3: peer-reflexive).
        """
        known = self.remote.get((seen.address, seen.port)) or _of_tcp(seen, self.remote)
        if known is None and seen.kind == "prflx":
            # A relay may have two addresses (behind a NAT of its own): its port is the same at both.
            known = next((c for c in self.remote.values() if c.kind == "relay" and c.port == seen.port), None)
        return seen if known is None else replace(known, protocol=seen.protocol)


def _add(candidates: dict[tuple[str, int], IceCandidate], candidate: IceCandidate) -> None:
    if len(candidates) < MAX_CANDIDATES:
        # A host's public address is found by STUN as well: it is the host's all the same.
        known = candidates.get((candidate.address, candidate.port))
        if known is None or known.kind != "host":
            candidates[candidate.address, candidate.port] = candidate


def _of_tcp(seen: IceCandidate, candidates: dict[tuple[str, int], IceCandidate]) -> IceCandidate | None:
    """Return the host candidate of whoever opened this TCP connection: its port is another one (RFC 6544)."""
    if seen.protocol != "tcp" or seen.kind == "relay":
        return None
    return next((c for c in candidates.values() if c.kind == "host" and c.address == seen.address), None)
