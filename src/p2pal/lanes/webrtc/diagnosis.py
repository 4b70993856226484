"""Why no path was found: what was tried, what did not work, and what would help. Pure.

One line for a person who has just failed. It says what this side saw and no more than that: the other side's own line
may say something else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from p2pal.connect_failure import ConnectFailure
from p2pal.errors import ConnectionImpossible, NoRelay
from p2pal.lanes.ice_candidates import IceCandidate
from p2pal.lanes.ice_servers import RelayUse
from p2pal.lanes.webrtc.gathering import UNREACHED, Gathering
from p2pal.wire.ice_urls import parse_stun_url, parse_turn_url

NO_PATH: Final = "no network path to the other side was found"

_MOST_TROUBLES: Final = 3
_CREDENTIALS: Final = frozenset({401, 403, 438, 441})
_FULL: Final = frozenset({486, 508})
_CERTIFICATE: Final = frozenset(
    {ConnectFailure.UNTRUSTED, ConnectFailure.EXPIRED, ConnectFailure.NOT_YET_VALID, ConnectFailure.OTHER_NAME}
)
_OVER_TLS: Final = "try a TURN server over TLS or TCP, such as -turn turns:HOST:443"
_ASK_DOCTOR: Final = "'p2pal doctor' on both machines tells more"


def impossible(
    gatherings: Iterable[Gathering],
    trouble: Mapping[str, ConnectFailure],
    *,
    ours: RelayUse = RelayUse.ALLOWED,
    agreed: RelayUse = RelayUse.ALLOWED,
) -> ConnectionImpossible:
    """Return the error for a link that never stood.

    Args:
        gatherings: What came of each connection that was tried.
        trouble: Why a server's URL was not reached, where more is known than the engine says.
        ours: What this side lets relays carry.
        agreed: What both sides do together.
    """
    found = _Search(gatherings, trouble)
    tried = _listed(found.ways(ours))
    parts = [f"tried {tried}" if tried else found.nothing(ours), *found.troubles()]
    hint = found.hint(ours, agreed)
    return ConnectionImpossible(f"{NO_PATH}: {'; '.join(parts)}", hint=hint)


def no_relay() -> NoRelay:
    """Return the error where only relays may be used, and none is known."""
    return NoRelay("--relay-only, but no TURN server is known")


def no_relay_through_proxy() -> NoRelay:
    """Return the error where only relays may be used, and none of them through the SOCKS proxy that is set."""
    return NoRelay(
        "--relay-only, and no TURN server can be reached through the SOCKS proxy",
        hint=f"UDP does not go through it: {_OVER_TLS}, or name the TURN server in $NO_PROXY",
    )


class _Search:
    """Several connections' search for paths, taken together."""

    def __init__(self, gatherings: Iterable[Gathering], trouble: Mapping[str, ConnectFailure]) -> None:
        every = list(gatherings)
        self.own = [candidate for each in every for candidate in each.own.values()]
        self.remote = [candidate for each in every for candidate in each.remote.values()]
        # What no way led to was kept from the engine.
        self.urls = list(dict.fromkeys([*(url for each in every for url in each.urls), *trouble]))
        self._errors = {url: error for each in every for url, error in each.errors.items()}
        self._answered = {url for each in every for url in each.answered}
        self._all_answered = bool(every) and any(each.complete for each in every)
        self._trouble = trouble
        self.refused = False

    def nothing(self, ours: RelayUse) -> str:
        """Why nothing could be tried."""
        if ours is RelayUse.ONLY and not self._relays(self.own):
            return "--relay-only, and no relay works"
        return "the other side told of no address"

    def ways(self, ours: RelayUse) -> list[str]:
        """What was tried, in words."""
        if not self.remote:
            return []
        if ours is RelayUse.ONLY:
            return ["this side's relay"] if self._relays(self.own) else []
        ways = []
        hosts = [[candidate for candidate in side if candidate.kind == "host"] for side in (self.own, self.remote)]
        if all(hosts):
            common = set.intersection(*({_family(candidate) for candidate in side} for side in hosts))
            ways.append(f"direct connections ({' and '.join(sorted(common)) or 'no version of IP in common'})")
        if any(candidate.kind == "srflx" for candidate in (*self.own, *self.remote)):
            ways.append("hole punching")
        for side, words in ((self.own, "this side's relay"), (self.remote, "the other side's relay")):
            if self._relays(side):
                ways.append(words)
        return ways

    @staticmethod
    def _relays(side: Iterable[IceCandidate]) -> bool:
        return any(candidate.kind == "relay" for candidate in side)

    @property
    def _behind_nat(self) -> bool:
        """Whether a STUN server that answered would have left a trace: an address that is not this machine's."""
        hosts = [candidate.address for candidate in self.own if candidate.kind == "host" and not candidate.ipv6]
        return bool(hosts) and not any(ipaddress.ip_address(address).is_global for address in hosts)

    @property
    def _silent_over_udp(self) -> bool:
        """Whether servers were asked over UDP, and none was heard."""
        asked = [url for url in self.urls if _transport(url) == "udp"]
        heard = any(url in self._answered or self._errors.get(url, UNREACHED) != UNREACHED for url in asked)
        return bool(asked) and not heard and self._behind_nat and not any(c.kind == "srflx" for c in self.own)

    def troubles(self) -> list[str]:
        """Which servers did not do their part, and why."""
        found = []
        for url in self.urls:
            if url in self._answered:
                continue
            if (why := self._why(url)) is not None:
                found.append(f"{url}{why}")
        return found[:_MOST_TROUBLES]

    def _why(self, url: str) -> str | None:
        if url in self._trouble:
            return f": {self._trouble[url].words}"
        code = self._errors.get(url, 0)
        if code in _CREDENTIALS:
            self.refused = True
            return " refused the credentials"
        if code in _FULL:
            return " has no room"
        if code == UNREACHED:
            return " was not reached"
        if code:
            return f" refused (error {code})"
        if parse_turn_url(url) is not None:
            return " was not reached" if self._all_answered else " did not answer"
        # A STUN server whose answer tells nothing new leaves no trace.
        silent = not self._all_answered and self._behind_nat and not any(c.kind == "srflx" for c in self.own)
        return " did not answer" if silent else None

    def hint(self, ours: RelayUse, agreed: RelayUse) -> str:
        """What would help."""
        relays = [url for url in self.urls if parse_turn_url(url) is not None]
        if agreed is RelayUse.NEVER:
            whose = "leave out --no-relay" if ours is RelayUse.NEVER else "the other side can leave out --no-relay"
            return f"a relay would get through: {whose}"
        if self.refused:
            return "check -turn-user and -turn-pass, or the signaling server's TURN secret"
        works = any(url in self._answered for url in relays)
        if not works and _CERTIFICATE & set(self._trouble.values()):
            return "give that TURN server a certificate of a public authority, or set SSL_CERT_FILE=/path/to/ca.pem"
        if not works and self._silent_over_udp:
            return f"UDP seems to be blocked here: {_OVER_TLS}; {_ASK_DOCTOR}"
        if relays and not works:
            return f"a firewall may stop this: {_OVER_TLS}; {_ASK_DOCTOR}"
        if not self._relays((*self.own, *self.remote)):
            return f"a TURN server (-turn, or --turn of the signaling server) should get through; {_ASK_DOCTOR}"
        return _ASK_DOCTOR


def _transport(url: str) -> str:
    found = parse_stun_url(url) or parse_turn_url(url)
    return "" if found is None else "tls" if found.tls else found.transport


def _family(candidate: IceCandidate) -> str:
    return "IPv6" if candidate.ipv6 else "IPv4"


def _listed(words: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
