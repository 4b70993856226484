"""The way that the bytes take between the two machines: its words, and which of two is better."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal, TypeAlias

from p2pal.lanes.address_zones import Zone, zone_of
from p2pal.lanes.ice_candidates import IceCandidate

_TRANSPORTS: Final = {"udp": 0, "tcp": 1, "tls": 2}


LaneKind: TypeAlias = Literal["udp", "webrtc"]
"""The kinds of lanes there are."""


class PathKind(IntEnum):
    """What lies in between; less is better."""

    HOST = 0
    """Nothing that changes addresses: one network, or public addresses."""
    PUNCHED = 1
    """A NAT on either side, which both sides opened."""
    RELAYED = 2
    """A TURN server that carries every byte."""


@dataclass(frozen=True, slots=True)
class Path:
    """One path.

    Attributes:
        kind: What lies in between.
        transport: ``udp`` or ``tcp`` between the machines; for a relay that of the side's own way to it, ``tls`` as
            well, and empty if that is not known.
        ipv6: Whether it is one of IPv6 all along.
        cost: What the engines make of the networks at both ends, together: less is better, wired costs nothing.
        lane: The kind of lane: ``webrtc`` or ``udp``.
        certain: The other end is known. Otherwise it is an address from which a check came in, which may have
            overtaken the candidate that tells whose it is.
    """

    kind: PathKind
    transport: str = "udp"
    ipv6: bool = False
    cost: int = 0
    lane: LaneKind = "webrtc"
    certain: bool = field(default=True, compare=False)

    @property
    def words(self) -> str:
        """What the user reads.

        Of the engine's lanes ``direct, host udp``, ``direct, punched``, ``direct, ipv6`` or ``relayed, turn tcp``; of
        datagram lanes ``direct, udp``, ``direct, udp ipv6`` or ``direct, punched udp``.
        """
        if self.lane == "udp":
            return "direct, punched udp" if self.kind is PathKind.PUNCHED else f"direct, udp{' ipv6' * self.ipv6}"
        match self.kind:
            case PathKind.RELAYED:
                return f"relayed, turn {self.transport}".rstrip()
            case PathKind.PUNCHED:
                return "direct, punched"
            case PathKind.HOST if self.ipv6:
                return "direct, ipv6" if self.transport == "udp" else f"direct, ipv6 {self.transport}"
            case _:
                return f"direct, host {self.transport}"

    def better_than(self, other: Path) -> bool:
        """Whether it is worth to leave the other one for it: never for two that are alike."""
        return self._worth < other._worth

    @property
    def _worth(self) -> tuple[int, int, int]:
        relayed = self.kind is PathKind.RELAYED
        # A punched path is as fast as one between hosts: which NAT is on the way says nothing about the speed.
        return relayed, _TRANSPORTS.get(self.transport, 0), self.cost


def find_path(local: IceCandidate, remote: IceCandidate) -> Path:
    """Return the path between two candidates that ICE selected."""
    cost = local.cost + remote.cost
    if "relay" in (local.kind, remote.kind):
        relayed = local if local.kind == "relay" else remote
        return Path(PathKind.RELAYED, relayed.relay_transport, cost=cost)
    ipv6 = local.ipv6 and remote.ipv6
    kind = PathKind.HOST if local.kind == remote.kind == "host" else PathKind.PUNCHED
    return Path(kind, local.protocol or "udp", ipv6, cost, certain=remote.kind != "prflx")


def on_one_machine(local: IceCandidate, remote: IceCandidate, own: Container[str]) -> bool:
    """Whether both ends of the path are on this machine.

    A relay's address says nothing: the server may be on this machine, and its user anywhere.

    Args:
        local: Our end.
        remote: The other end.
        own: This machine's addresses.
    """
    if "relay" in (local.kind, remote.kind):
        return False
    # Where the other end is not known yet, its address may still be a relay's.
    theirs = remote.kind == "host" and (zone_of(remote.address) is Zone.LOOPBACK or remote.address in own)
    return theirs or zone_of(local.address) is Zone.LOOPBACK
