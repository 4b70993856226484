"""What was seen of the network, of this machine and of STUN and TURN servers. Pure facts, for whoever judges them.

Times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple

from p2pal.connect_failure import ConnectFailure
from p2pal.wire.ice_urls import parse_stun_url, parse_turn_url

Transport = Literal["udp", "tcp", "tls"]


class Endpoint(NamedTuple):
    """An IP address and a port."""

    address: str
    port: int

    @property
    def ipv6(self) -> bool:
        """Whether the address is of that family."""
        return ":" in self.address

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.ipv6 else f"{self.address}:{self.port}"


class ProbeTarget(NamedTuple):
    """Where a STUN or TURN URL leads (RFC 7064, RFC 7065), as the engine takes it."""

    host: str
    port: int
    transport: Transport


def probe_target(url: str) -> ProbeTarget:
    """Return where a URL leads.

    The engine asks a ``stuns:`` server over UDP all the same, and a ``turns:`` server over TLS and TCP whatever
    transport the URL names. So does whoever asks whether it would work.

    Raises:
        ValueError: If it is no STUN or TURN URL.
    """
    stun, turn = parse_stun_url(url), parse_turn_url(url)
    if stun is not None:
        return ProbeTarget(stun.host, stun.port, "udp")
    if turn is None:
        raise ValueError("no STUN or TURN URL")
    return ProbeTarget(turn.host, turn.port, "tls" if turn.tls else "tcp" if turn.transport == "tcp" else "udp")


class NoAnswer(Enum):
    """Why there is no answer to a STUN request."""

    UNRESOLVED = ConnectFailure.NOT_RESOLVED.value
    NO_ROUTE = ConnectFailure.NO_ROUTE.value
    NO_ANSWER = "no answer"
    ODD = "its answer is not STUN"


@dataclass(frozen=True, slots=True)
class StunAnswer:
    """What came of asking one address of one server for ours (RFC 8489, Binding).

    Attributes:
        url: The server's.
        asked: The address that was asked; None if there is none.
        local: The address and port of this machine that asked; None if there is no route.
        mapped: How the server sees that; None without an answer.
        seconds: From the question to the answer.
        silence: Why there is no answer.
        error: The code of its refusal (RFC 8489, section 14.8); 0 for none.
    """

    url: str
    asked: Endpoint | None = None
    local: Endpoint | None = None
    mapped: Endpoint | None = None
    seconds: float = 0.0
    silence: NoAnswer | None = None
    error: int = 0

    @property
    def answered(self) -> bool:
        """Whether anything came back, a refusal included: then UDP gets there and back."""
        return self.mapped is not None or self.error != 0


class Filtering(Enum):
    """Whose packets come in by a mapping (RFC 4787, section 5)."""

    UNKNOWN = "unknown"
    """No server that was asked can tell (RFC 5780)."""
    NOBODY = "endpoint-independent"
    """Everybody's."""
    ADDRESS = "address-dependent"
    """Those of an address that something was sent to."""
    PORT = "address and port-dependent"
    """Those of an address and port that something was sent to."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What all STUN servers together tell of the way out, asked from one port of this machine for each IP family.

    Attributes:
        answers: One or more for each URL that was asked.
        others: Of the further addresses and ports of these servers, over IPv4, which only tell the kind of NAT.
        filtering: That of IPv4, too.
    """

    answers: tuple[StunAnswer, ...] = ()
    others: tuple[StunAnswer, ...] = ()
    filtering: Filtering = Filtering.UNKNOWN


@dataclass(frozen=True, slots=True)
class Relaying:
    """What came of a connection between two ends in this process, one of which may use this TURN server alone.

    Attributes:
        url: The server's.
        allocated: Seconds until it had an address for us; None if it never had.
        relayed: Seconds until a message had gone through it, there and back; None if none came.
        error: The error code that came in place of an address, as
            :class:`~p2pal.lanes.webrtc.gathering.Gathering` has it; 0 for none.
        words: The path of the message.
        cause: Why the server could not be reached, where that was found out.
        cut: Whether time ran out before anything was clear.
    """

    url: str
    allocated: float | None = None
    relayed: float | None = None
    error: int = 0
    words: str = ""
    cause: ConnectFailure | None = None
    cut: bool = False

    @property
    def transport(self) -> Transport:
        """How it is reached."""
        return probe_target(self.url).transport
