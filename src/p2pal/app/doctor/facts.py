"""All that is known of a machine's network once every probe has ended. Times are seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pal.lanes.probe_facts import Interfaces, Relaying, Survey
from p2pal.rendezvous.check_facts import ServerFacts


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
        only_loopback: Nothing left this machine, for tests and demonstrations.
    """

    server: ServerFacts
    interfaces: Interfaces = field(default_factory=Interfaces)
    stun: tuple[str, ...] = ()
    turn: tuple[str, ...] = ()
    own_turn: bool = False
    survey: Survey = field(default_factory=Survey)
    relays: tuple[Relaying, ...] = ()
    only_loopback: bool = False

    @property
    def unchecked(self) -> frozenset[str]:
        """The URLs of the servers that there was no time for: nothing is known of them."""
        heard_of = {answer.url for answer in self.survey.answers}
        tried = {relay.url for relay in self.relays}
        return frozenset(self.stun) - heard_of | frozenset(self.turn) - tried
