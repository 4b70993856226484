"""What a datagram lane tells its owner."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from p2pal.lanes.udp.addresses import DatagramCandidate


class PathInUse(NamedTuple):
    """The path that the lane takes.

    Attributes:
        punched: Whether a NAT is on the way, as far as is known.
        ip: The peer's address.
        port: Its port.
        local: The index of our socket.
        rtt: The round trip when it was chosen, in seconds.
        loopback: Whether it stays on this machine.
    """

    punched: bool
    ip: str
    port: int
    local: int
    rtt: float
    loopback: bool


class Opened(NamedTuple):
    """The lane can carry messages now."""

    path: PathInUse


class PathSelected(NamedTuple):
    """Another path is in use."""

    path: PathInUse


class ReflexiveFound(NamedTuple):
    """A server sees one of our sockets at this address."""

    candidate: DatagramCandidate


class Message(NamedTuple):
    """One whole message arrived."""

    data: bytes


class Writable(NamedTuple):
    """The lane takes messages again."""


class Stalled(NamedTuple):
    """Nothing of what was sent is acknowledged for a while: another lane may stand in."""


class Resumed(NamedTuple):
    """Something is acknowledged again."""


class Closed(NamedTuple):
    """The lane is over.

    Attributes:
        reason: Why, for the log.
        broken: Whether the other side, or somebody on the way, did what the protocol does not allow.
    """

    reason: str
    broken: bool = False


LaneEvent: TypeAlias = Opened | PathSelected | ReflexiveFound | Message | Writable | Stalled | Resumed | Closed
