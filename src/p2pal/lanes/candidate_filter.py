"""Where others may have this machine send to: what address a stranger may name, and how many. Pure bookkeeping.

ICE sends to whatever the other side names (RFC 8445, section 19.5.1 calls that the STUN amplification attack), before
anybody there has agreed to anything, and before a person has agreed to the transfer. Nothing here finds out whose an
address is. It keeps out those that nobody can be at, and bounds the rest by what an honest machine with many networks
needs.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from p2pal.lanes.address_zones import ANYWHERE, Zones
from p2pal.lanes.ice_candidates import IceCandidate
from p2pal.rate_limit import Allowance

FIRST_PORT: Final = 1024
"""Ports below are those of services. No engine binds one, and NATs keep apart what is above (RFC 4787, REQ-3)."""

MOST_HOSTS: Final = 40
"""Addresses in one generation."""

MOST: Final = {"host": 32, "srflx": 16, "relay": 16, "active": 8}
"""Candidates in one generation, by their kind; ``active`` are those of a side that opens TCP connections itself.

A laptop has 3 to 12 in all: Ethernet, Wi-Fi and a VPN, each with IPv4 and IPv6, seen from outside, and on a relay. A
machine with 32 networks, bridges of containers say, tells of all of them.
"""

SESSION_HOSTS: Final = (64, 60.0)
"""Addresses in a session: so many at once, and one more in so many seconds. Machines move between networks."""

SESSION_DESTINATIONS: Final = (256, 0.5)
"""The same of destinations: each generation has ports of its own."""

_KNOWN: Final = 512
"""Addresses of a session that are remembered."""


class Destinations:
    """What the other side of one session may have this machine send to.

    Memory: the addresses of 512 hosts, and those of one generation.

    Args:
        zones: Where the other side may be.
    """

    __slots__ = ("_every", "_hosts", "_known", "zones")

    def __init__(self, zones: Zones = ANYWHERE) -> None:
        self.zones = zones
        self._known: dict[str, None] = {}
        self._hosts = Allowance(*SESSION_HOSTS)
        self._every = Allowance(*SESSION_DESTINATIONS)

    def generation(self, broadcast: Container[str] = ()) -> CandidateFilter:
        """Return the filter for one generation's candidates.

        Args:
            broadcast: The addresses that mean everybody in a network of this machine.
        """
        return CandidateFilter(self, broadcast)

    def afford(self, candidate: IceCandidate, now: float) -> bool:
        """Whether the session has one more destination left; it is used up then."""
        known = candidate.address in self._known
        if not (known or self._hosts.may(now)) or not self._every.may(now):
            return False
        self._every.take(now)
        if not known:
            self._hosts.take(now)
            if len(self._known) >= _KNOWN:
                del self._known[next(iter(self._known))]
            self._known[candidate.address] = None
        return True


class CandidateQuota:
    """How many candidates of each kind one side tells in a generation: the other one passes over those beyond."""

    __slots__ = ("_hosts", "_taken", "_used")

    def __init__(self) -> None:
        self._taken: set[tuple[str, str, int]] = set()
        self._used = dict.fromkeys(MOST, 0)
        self._hosts: set[str] = set()

    def has(self, candidate: IceCandidate) -> bool:
        """Whether this one was told before."""
        return _place(candidate) in self._taken

    def may(self, candidate: IceCandidate) -> bool:
        """Whether there is room for it."""
        room = self._used[_kind(candidate)] < MOST[_kind(candidate)]
        return room and (candidate.address in self._hosts or len(self._hosts) < MOST_HOSTS)

    def take(self, candidate: IceCandidate) -> bool:
        """Take it, if there is room."""
        if self.has(candidate):
            return True
        if not self.may(candidate):
            return False
        self._taken.add(_place(candidate))
        self._used[_kind(candidate)] += 1
        self._hosts.add(candidate.address)
        return True


class CandidateFilter:
    """Which of the other side's candidates are used in one generation.

    One that is not is passed over: others may work. How many lines there may be at all,
    :data:`p2pal.link.offer_answer.MAX_CANDIDATES` says.
    """

    __slots__ = ("_broadcast", "_quota", "_session")

    def __init__(self, session: Destinations, broadcast: Container[str]) -> None:
        self._session = session
        self._broadcast = broadcast
        self._quota = CandidateQuota()

    def takes(self, candidate: IceCandidate, now: float) -> bool:
        """Whether this one may be used."""
        if not self._session.zones.has(candidate.address):
            return False
        if candidate.address in self._broadcast:
            return False
        if candidate.protocol == "tcp":
            # A SYN from each network of ours, and the repetitions of it, for each port that somebody names: that finds
            # out about a network what nobody there may know. And this engine never listens: no honest side names one.
            return not candidate.dialled and self._quota.take(candidate)
        if self._quota.has(candidate):
            return True
        if candidate.port < FIRST_PORT or not self._quota.may(candidate):
            return False
        return self._session.afford(candidate, now) and self._quota.take(candidate)


def _place(candidate: IceCandidate) -> tuple[str, str, int]:
    return candidate.protocol, candidate.address, candidate.port


def _kind(candidate: IceCandidate) -> str:
    if candidate.protocol == "tcp":
        return "active"
    return "srflx" if candidate.kind == "prflx" else candidate.kind
