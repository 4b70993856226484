"""All that is known of a machine's network once every probe has ended. Times are seconds."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final

from p2pal.connect_failure import ConnectFailure
from p2pal.doctor.datagram_facts import DatagramFacts
from p2pal.doctor.network_facts import Relaying, Survey
from p2pal.doctor.server_facts import ServerFacts
from p2pal.lanes.own_addresses import Interfaces

_NOWHERE: Final = frozenset(
    why.words
    for why in (
        ConnectFailure.NO_ROUTE,
        ConnectFailure.NO_ANSWER,
        ConnectFailure.NOT_RESOLVED,
        ConnectFailure.PROXY_SILENT,
        ConnectFailure.PROXY_NOT_RESOLVED,
        ConnectFailure.LOST,
    )
)
"""What a machine without a network meets."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the probes found.

    Attributes:
        server: The signaling server.
        interfaces: This machine's addresses.
        stun: URLs of the STUN servers that a transfer would use.
        turn: URLs of the TURN servers, likewise.
        own_turn: Whether those are the user's, and not what the signaling server offers.
        survey: What the STUN servers answered, and those TURN servers that are reached over UDP.
        relays: What came of trying each TURN server, in the order of ``turn``; one that there was no time for is
            missing, as a STUN server is missing from ``survey``.
        datagrams: The sockets of a datagram lane; None if there was no time for them.
        on_this_machine: The server is on it, and so the other side may well be, or nothing may leave it at all.
    """

    server: ServerFacts
    interfaces: Interfaces = field(default_factory=Interfaces)
    stun: tuple[str, ...] = ()
    turn: tuple[str, ...] = ()
    own_turn: bool = False
    survey: Survey = field(default_factory=Survey)
    relays: tuple[Relaying, ...] = ()
    datagrams: DatagramFacts | None = None
    on_this_machine: bool = False

    @property
    def unchecked(self) -> frozenset[str]:
        """The URLs of the servers that there was no time for: nothing is known of them."""
        heard_of = {answer.url for answer in self.survey.answers}
        tried = {relay.url for relay in self.relays}
        return frozenset(self.stun) - heard_of | frozenset(self.turn) - tried

    @property
    def unasked(self) -> bool:
        """Whether the signaling server had no time to name its TURN servers."""
        return bool(self.server.late) and not self.own_turn

    @property
    def hurried(self) -> bool:
        """Whether there was no time for something that may save a transfer."""
        return bool(self.unchecked) or self.unasked

    @property
    def relayed(self) -> bool:
        """Whether a TURN server relays."""
        return any(relay.relayed is not None for relay in self.relays)

    @property
    def near_only(self) -> bool:
        """Whether nobody outside of this machine's own network can reach it, nor be reached: it is all private."""
        out = self.interfaces
        public = any(
            address.is_global and (out.ipv6_route if address.version == 6 else out.ipv4_route)
            for address in map(ipaddress.ip_address, out.addresses)
        )
        mapped = any(answer.mapped is not None for answer in self.survey.answers)
        return not (self.on_this_machine or self.hurried or self.relayed or mapped or public)

    @property
    def offline(self) -> bool:
        """Whether there is no way out of this machine, nor to the server on its own network."""
        problem, out = self.server.problem, self.interfaces
        nowhere = problem is not None and self.server.answered is None and problem.cause in _NOWHERE
        answered = self.relayed or any(answer.answered for answer in self.survey.answers)
        return nowhere and not (out.ipv4_route or out.ipv6_route or answered or self.on_this_machine)

    def lacks(self, version: int) -> bool:
        """Whether this machine has addresses and a route, but only of the other IP version than this one."""
        versions = {ipaddress.ip_address(address).version for address in self.interfaces.addresses}
        route = self.interfaces.ipv6_route if version == 6 else self.interfaces.ipv4_route
        return bool(versions) and version not in versions and not route
