"""How a host is connected to the network between all hosts: openly, through a NAT, behind a firewall, twice.

A :class:`Kind` is one or more links. Each leads from an interface of the host to the public network, most of them
through a box with rules of its own, as at home or in an office. NAT is described as RFC 4787 does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

_WEB: Final = "80, 443"
_HIGH: Final = "10000-29999"
"""Ports that Linux does not choose by itself, so that a mapping shows."""


@dataclass(frozen=True, slots=True)
class Link:
    """One interface and what lies behind it.

    Attributes:
        ipv6: Whether it carries IPv6 alone; else IPv4 alone.
        rules: Those of the box in between, in the words of nftables; empty if there is none, and the host's own
            address is public. The box's interfaces are ``lan`` and ``wan``.
    """

    ipv6: bool = False
    rules: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a host is connected.

    Attributes:
        name: In few words, for tables.
        links: Its interfaces; the first is the one that it prefers.
    """

    name: str
    links: tuple[Link, ...]


def open_() -> Kind:
    """A public IPv4 address, and nothing in between."""
    return Kind("open", (Link(),))


def nat(mapping: Literal["cone", "symmetric"]) -> Kind:
    """A private IPv4 address behind a NAT, which lets in only what comes from where something was sent to.

    Args:
        mapping: ``cone``: one public port for each port inside, whoever is spoken to (endpoint-independent mapping,
            address- and port-dependent filtering). ``symmetric``: another public port for each other end (address- and
            port-dependent mapping and filtering); no other host can foresee it.
    """
    return Kind(mapping, (Link(rules=_box(_translate(mapping == "cone"))),))


def udp_blocked() -> Kind:
    """Behind a NAT whose firewall swallows UDP; TCP and ICMP get out."""
    return Kind("UDP blocked", (Link(rules=_box(_translate(cone=True), "meta l4proto udp drop")),))


def only_443() -> Kind:
    """Behind a NAT whose firewall lets TCP out to the ports of the web, and nothing else."""
    others = ("meta l4proto != tcp drop", f"iifname lan tcp dport != {{ {_WEB} }} drop")
    return Kind("only 443", (Link(rules=_box(_translate(cone=True), *others)),))


def ipv6_only() -> Kind:
    """A public IPv6 address behind a firewall that lets in only what was asked for (RFC 6092); no IPv4."""
    return Kind("IPv6 only", (Link(ipv6=True, rules=_box()),))


def several(*kinds: Kind) -> Kind:
    """All of these at once, each with an interface and a network of its own.

    By default as a telephone has it: the NAT of a Wi-Fi, and a mobile network with IPv6.
    """
    chosen = kinds or (nat("cone"), ipv6_only())
    return Kind("several", tuple(link for kind in chosen for link in kind.links))


def _translate(cone: bool) -> str:
    """Return the rule that gives what goes out another address and port.

    Linux keeps the mapping of an address and port inside for other destinations as long as the kept one fits the range.
    So a range in which no port inside lies makes mappings that differ from these and do not depend on the other end.
    With ``fully-random`` it draws a port for each flow.
    """
    masquerade = f"masquerade to :{_HIGH}" if cone else "masquerade random,fully-random"
    return f"""
    chain translate {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname wan meta l4proto {{ tcp, udp }} {masquerade}
        oifname wan masquerade
    }}"""


def _box(translation: str = "", *blocked: str) -> str:
    """Return all rules of a box.

    What comes unasked is dropped before the box itself sees it: otherwise conntrack would remember it as a flow to the
    box, with the very addresses and ports that a punched hole needs, and the NAT would choose another port.
    """
    rules = "".join(f"        {rule}\n" for rule in blocked)
    return f"""
table inet box {{{translation}
    chain forward {{
        type filter hook forward priority filter; policy drop;
{rules}        ct state established,related accept
        iifname lan accept
    }}
    chain input {{
        type filter hook input priority filter; policy drop;
        iifname != wan accept
        ct state established,related accept
        meta l4proto {{ icmp, ipv6-icmp }} accept
    }}
}}
"""
