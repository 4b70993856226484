"""How STUN servers see a lane's sockets: Binding requests and what comes back (RFC 8489), as a machine. Pure.

Each socket asks each server of its IP family. A request is sent again after a while, and given up after the last try;
an answer counts only if it comes from the server that was asked and quotes the request's transaction. When a lane is in
trouble all are asked once more: a NAT that lost its bindings gives other ports.

``aioice`` is imported when a server is asked: it brings a DNS library, and is a tenth of what a start would cost.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from p2pal.lanes.address_zones import Zone, zone_of
from p2pal.lanes.candidate_filter import FIRST_PORT
from p2pal.lanes.udp.acks import NEVER
from p2pal.lanes.udp.addresses import Address, CandidateKind, DatagramCandidate, is_ipv6, plain
from p2pal.lanes.udp.entropy import Entropy

TRIES: Final = (0.25, 0.5, 1.0, 2.0)
"""Seconds after which a request is sent again (RFC 8489, section 6.2.1, with a shorter start)."""
PACE: Final = 0.005
"""Seconds between two requests (RFC 8445, section 14.2)."""
MAX_REQUESTS: Final = 24
"""Requests of one lane, tries not counted."""
AGAIN: Final = 2.0
"""Seconds from one round of questions to the next, at least."""
MAX_ROUNDS: Final = 16
"""Rounds after the first."""
MAX_ANSWER: Final = 2048
"""Bytes of an answer that is looked at."""
TRANSACTION: Final = 12
_HEADER: Final = 20
_MESSAGES: Final = frozenset(range(4))
"""The first byte of STUN messages (RFC 7983)."""


class _Request:
    __slots__ = ("address", "data", "due", "tries")

    def __init__(self, address: Address, data: bytes, due: float) -> None:
        self.address = address
        self.data = data
        self.due = due
        self.tries = 0


def is_stun(first: int) -> bool:
    """Whether a datagram that begins with this byte is of STUN (RFC 7983)."""
    return first in _MESSAGES


class Reflexive:
    """The requests of one lane.

    Args:
        entropy: For transactions.
    """

    __slots__ = ("_again_at", "_asked", "_entropy", "_found", "_requests", "_rounds", "_servers", "_sockets")

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._servers: list[tuple[str, int]] = []
        self._sockets: dict[int, tuple[str, int]] = {}
        self._requests: dict[bytes, _Request] = {}
        self._asked: set[Address] = set()
        self._found: set[tuple[str, int]] = set()
        self._rounds = 0
        self._again_at = -NEVER

    def add_socket(self, index: int, ip: str, port: int, now: float) -> None:
        """One more of our sockets, bound to this address."""
        self._sockets[index] = plain(ip), port
        self._ask(now)

    def add_servers(self, servers: Iterable[tuple[str, int]], now: float) -> None:
        """These may be asked, too: IP addresses and ports."""
        self._servers += [server for server in servers if server not in self._servers]
        self._ask(now)

    def ask_again(self, now: float) -> None:
        """Ask everything once more, unless that is under way, or was done a moment ago."""
        if not self._requests and now >= self._again_at and self._rounds < MAX_ROUNDS:
            self._rounds += 1
            self._again_at = now + AGAIN
            self._asked.clear()
            self._ask(now)

    def _ask(self, now: float) -> None:
        for ip, port in self._servers:
            for index, (local, _) in self._sockets.items():
                address = Address(ip, port, index)
                if is_ipv6(ip) != is_ipv6(local) or address in self._asked or len(self._asked) >= MAX_REQUESTS:
                    continue
                transaction = self._entropy.nonce()[:TRANSACTION]
                self._requests[transaction] = _Request(address, _binding(transaction), now + PACE * len(self._asked))
                self._asked.add(address)

    def outputs(self, now: float) -> Iterator[tuple[Address, bytes]]:
        """Yield the requests that leave now, each once."""
        for transaction, request in list(self._requests.items()):
            if request.due > now:
                continue
            if request.tries == len(TRIES):
                del self._requests[transaction]
                continue
            request.due = now + TRIES[request.tries]
            request.tries += 1
            yield request.address, request.data

    def receive(self, data: bytes, source: Address) -> DatagramCandidate | None:
        """Take what may be an answer; return the candidate that it makes, if that is new."""
        if not _HEADER <= len(data) <= MAX_ANSWER:
            return None
        transaction = bytes(data[8:_HEADER])
        request = self._requests.get(transaction)
        if request is None or request.address != source:
            return None
        mapped = _mapped(data)
        if mapped is None:
            return None
        del self._requests[transaction]
        if not _may_be_seen(mapped, request.address.ip):
            return None
        if mapped in self._found or mapped in self._sockets.values():
            return None
        self._found.add(mapped)
        return DatagramCandidate(CandidateKind.SERVER_REFLEXIVE, *mapped)

    def next_timeout(self) -> float:
        """Return when :meth:`outputs` is due; infinity if it never is."""
        return min((request.due for request in self._requests.values()), default=NEVER)


def _binding(transaction: bytes) -> bytes:
    """Return a Binding request."""
    from aioice import stun

    return bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST, transaction))


def _may_be_seen(mapped: tuple[str, int], server: str) -> bool:
    """Whether a server can see one of our sockets there.

    Nobody is at some addresses, and no NAT gives out ports of services. And a server on the internet sees nobody in a
    private network: the other side would send its probes into its own.
    """
    zone, near = zone_of(mapped[0]), zone_of(server)
    return zone is not None and mapped[1] >= FIRST_PORT and zone >= (Zone.LOCAL if near is None else near)


def _mapped(data: bytes) -> tuple[str, int] | None:
    """Return the address in an answer, None if it has none."""
    from aioice import stun

    try:
        message = stun.parse_message(data)
        if message.message_method is not stun.Method.BINDING or message.message_class is not stun.Class.RESPONSE:
            return None
        found = message.attributes.get("XOR-MAPPED-ADDRESS") or message.attributes.get("MAPPED-ADDRESS")
        return None if found is None else (plain(str(found[0])), int(found[1]))
    except (ValueError, LookupError, struct.error, OverflowError, TypeError):
        return None
