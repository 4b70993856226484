"""This machine's addresses in the order in which another machine is likely to reach them. Pure.

An address says little about who reaches it. What its interface is tells more: a machine next to this one reaches
neither the end of a VPN's tunnel nor the bridge of this machine's containers, even where the default route leads there.
So an interface's kind counts first, then whether a default route leads through it, then the address itself.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final


class LinkKind(IntEnum):
    """What an interface leads to, in the order in which its addresses are worth trying."""

    NETWORK = 0
    """A network with other machines: Ethernet, Wi-Fi."""
    TUNNEL = 1
    """The end of a VPN or of another tunnel: reached by those who are in it."""
    VIRTUAL = 2
    """A bridge to containers and virtual machines on this machine."""


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """An address of this machine.

    Attributes:
        address: IPv4 or IPv6, without a zone.
        prefix: Bits of it that its network has in common.
        interface: The system's name of the interface, or the name that it shows to people.
        tunnel: The system says itself that the interface is a tunnel's end.
    """

    address: str
    prefix: int
    interface: str
    tunnel: bool = False


_TUNNEL: Final = re.compile(
    r"(tun|tap|utun|ipsec|wg|ppp|gre|gretap|sit|ip6tnl|vti|zt|tailscale|nordlynx|proton|mullvad|nebula|gpd|cscotun)"
    r"[\w.-]*\d|tailscale|.*(\bvpn\b|openvpn|wireguard|wintun|tap-windows|tailscale|zerotier|anyconnect|hamachi)",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_VIRTUAL: Final = re.compile(
    r"docker|br-[0-9a-f]{12}\b|virbr|vnet\d|veth[0-9a-f]{4}|lxcbr|lxdbr|lxc\d|incusbr|podman|nerdctl|cni|flannel|cali"
    r"|cilium|weave|kube|mpqemubr|vmnet|vboxnet|bridge1\d\d\b|vethernet \(|.*(virtualbox|vmware|hyper-v|\bwsl\b)",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_NOT_OURS: Final = tuple(
    ipaddress.ip_network(each)
    for each in (
        "192.0.0.0/24",  # between this machine and its own translator (RFC 7335)
        "2001::/32",  # Teredo (RFC 4380)
        "2002::/16",  # 6to4 (RFC 7526)
        "fec0::/10",  # site-local, gone since RFC 3879
    )
)


def kind_of(own: OwnAddress) -> LinkKind:
    """Return what the interface of an address leads to, as far as its name and its network tell.

    A network of one IPv4 address has no neighbours: it is how tunnels are set up. DHCPv6 gives such ones anywhere.
    """
    if _VIRTUAL.match(own.interface):
        return LinkKind.VIRTUAL
    alone = own.prefix == 32 and ":" not in own.address
    return LinkKind.TUNNEL if own.tunnel or alone or _TUNNEL.match(own.interface) else LinkKind.NETWORK


def rank(found: Iterable[OwnAddress], sources: Iterable[str]) -> tuple[OwnAddress, ...]:
    """Return the addresses that another machine may reach, best first, each once.

    Left out is what no other machine can use as it is written: loopback, multicast, and link-local IPv6, which means
    nothing without the name of the other machine's interface. Link-local IPv4 (169.254.0.0/16) stays: between two
    machines on one cable there may be nothing else.

    Args:
        found: What the interfaces have.
        sources: The addresses that this machine uses towards the internet: its default routes.
    """
    routed = set(sources)
    usable: dict[str, tuple[OwnAddress, ipaddress.IPv4Address | ipaddress.IPv6Address]] = {}
    for own in found:
        address = _usable(own.address)
        if address is not None:
            usable.setdefault(str(address), (own, address))
    ways_out = {own.interface for text, (own, _) in usable.items() if text in routed}

    def order(text: str) -> tuple[LinkKind, bool, bool, int, bool]:
        own, address = usable[text]
        near = address.is_link_local
        return kind_of(own), near, own.interface not in ways_out, address.version, text not in routed

    return tuple(usable[text][0] for text in sorted(usable, key=order))


def _usable(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return None
    if isinstance(address, ipaddress.IPv6Address) and (
        address.is_link_local or address.ipv4_mapped or address.scope_id
    ):
        return None
    return None if any(address in network for network in _NOT_OURS) else address


@dataclass(frozen=True, slots=True)
class Interfaces:
    """The addresses of this machine.

    Attributes:
        addresses: All but those of loopback and of one link only.
        ipv4_route: Whether packets would leave for the internet.
        ipv6_route: The same.
    """

    addresses: tuple[str, ...] = field(default=())
    ipv4_route: bool = False
    ipv6_route: bool = False
