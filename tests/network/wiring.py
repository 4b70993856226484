"""The namespaces, cables, boxes, addresses and routes of a laboratory."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Sequence
from typing import Final, Literal, Self

from tests.network.access import Kind, Link, open_
from tests.network.addresses import SERVER, family, length, on_router, own_address, v4, v6
from tests.network.namespaces import delete, own_name, run

Side = Literal["alice", "bob"]
Host = Literal["server"] | Side
PORT: Final = 80
"""The signaling server's."""

_NUMBERS: Final[dict[Host, int]] = {"server": 0, "alice": 10, "bob": 20}
"""Those of the networks of their first links; further ones follow."""
_TABLES: Final = 100
_count: Final = itertools.count()


class Wiring:
    """The hosts, the router, and the links between them, for the length of a ``with`` block.

    The server's host is open, with IPv4 and IPv6 and two addresses of IPv4.

    Args:
        alice: How Alice is connected.
        bob: How Bob is.

    Attributes:
        prefix: What the names of its network namespaces begin with.
        kinds: How they are connected.
    """

    def __init__(self, alice: Kind | None = None, bob: Kind | None = None) -> None:
        self.prefix = own_name(f"{next(_count)}-")
        self._made: list[str] = []
        self._numbers = dict(_NUMBERS)
        self.kinds: Final[dict[Side, Kind]] = {"alice": alice or open_(), "bob": bob or open_()}

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _build(self) -> None:
        self._add("router", ipv6=True, forward=True)
        self._add("server", ipv6=True)
        self._connect("server", "eth0", "router", "server")
        self._ip("router", f"address add {v4(0, 1)}/24 dev server", f"address add {v6(0, 1)}/64 dev server nodad")
        lengths = {4: 24, 6: 64}
        own = [f"{each}/{lengths[ipaddress.ip_address(each).version]}" for each in SERVER]
        self._ip("server", *(f"address add {each} dev eth0 nodad" for each in own))
        self._ip("server", f"route add default via {v4(0, 1)}", f"route add default via {v6(0, 1)}")
        for host, kind in self.kinds.items():
            self._add(host, ipv6=any(link.ipv6 for link in kind.links))
            for index, link in enumerate(kind.links):
                self._link(host, index, link)
        self._nft("router", self._counters())

    def _link(self, host: Side, index: int, link: Link) -> None:
        """Connect a host's interface of this number to the router, directly or through a box."""
        number, far, near = _NUMBERS[host] + index, self.interfaces(host)[index], f"eth{index}"
        at_router, outside, bits = on_router(link, number, 1), on_router(link, number, 2), length(link)
        end: str = host
        if link.rules:
            end = box = f"{far}-box"
            self._add(box, ipv6=link.ipv6, forward=True)
            self._nft(box, link.rules)
            self._connect(host, near, box, "lan")
            near = "wan"
        self._connect(end, near, "router", far)
        self._ip("router", f"address add {at_router}/{bits} dev {far} nodad")
        if link.rules:
            inside = own_address(link, number, index, 1)
            addresses = (f"{inside}/{bits} dev lan", f"{outside}/{bits} dev wan")
            self._ip(end, *(f"address add {each} nodad" for each in addresses), f"route add default via {at_router}")
            if link.ipv6:
                self._ip("router", f"route add {v6(number, 0, 1)}/{bits} via {outside}")
        if len(self.kinds[host].links) > 1:
            own = own_address(link, number, index, 2)
            self._ip(host, f"rule add from {own} lookup {_TABLES + index}", family=family(link))
        self._plug(host, index, link)

    def _plug(self, host: Side, index: int, link: Link) -> None:
        """Give a host's interface of this number its address and routes."""
        number = _NUMBERS[host] + index
        gateway, own = (own_address(link, number, index, each) for each in (1, 2))
        route = f"route add default via {gateway} dev eth{index}"
        address = f"address add {own}/{length(link)} dev eth{index} nodad"
        table = _TABLES + index
        self._ip(host, address, f"{route} metric {table}", f"{route} table {table}", family=family(link))

    def _counters(self) -> str:
        """Return rules for the router: who is to be cut, and counters of who spoke with whom."""
        sides = {host: one_of(self.interfaces(host)) for host in self.kinds}
        rules, names = [], ["cut"]
        for protocol in ("udp", "tcp"):
            names.append(f"direct-{protocol}")
            for one, other in itertools.permutations(sides.values()):
                rules.append(f'iifname {one} oifname {other} meta l4proto {protocol} counter name "direct-{protocol}"')
            for host, side in sides.items():
                names.append(f"{host}-relay-{protocol}")
                for near, far, port in (("iifname", "oifname", "dport"), ("oifname", "iifname", "sport")):
                    where = f"{near} {side} {far} server {protocol} {port} != {PORT}"
                    rules.append(f'{where} counter name "{host}-relay-{protocol}"')
        counters = "".join(f"    counter {name} {{ }}\n" for name in names)
        flows = "".join(f"        {rule}\n" for rule in rules)
        return f"""
table inet lab {{
{counters}    chain cuts {{
        type filter hook forward priority 0; policy accept;
    }}
    chain flows {{
        type filter hook forward priority 1; policy accept;
{flows}    }}
}}
"""

    def _add(self, host: str, *, ipv6: bool = False, forward: bool = False) -> None:
        self._made.append(host)
        run("ip", "netns", "add", self._name(host))
        settings = {f"ipv6/conf/{which}/disable_ipv6": not ipv6 for which in ("all", "default")}
        settings |= {f"ipv6/conf/{which}/accept_dad": False for which in ("all", "default")}
        settings |= {"ipv4/ip_forward": forward, "ipv6/conf/all/forwarding": forward}
        script = "".join(f"echo {value:d} > /proc/sys/net/{name}; " for name, value in settings.items())
        self._inside(host, "sh", "-ec", script)
        self._ip(host, "link set lo up")

    def _connect(self, one: str, near: str, other: str, far: str) -> None:
        """Lay a cable between an interface of one and an interface of the other."""
        ends = ("netns", self._name(one), "type", "veth", "peer", "name", far, "netns", self._name(other))
        run("ip", "link", "add", near, *ends)
        self._ip(one, f"link set {near} up")
        self._ip(other, f"link set {far} up")

    def _remove(self) -> None:
        for host in self._made:
            delete(self._name(host))

    def _name(self, host: str) -> str:
        return f"{self.prefix}{host}"

    def _ip(self, host: str, *lines: str, family: str = "") -> None:
        options = [family] if family else []
        run("ip", *options, "-n", self._name(host), "-batch", "-", stdin="".join(f"{line}\n" for line in lines))

    def _inside(self, host: str, *command: str, stdin: str = "") -> str:
        return run("ip", "netns", "exec", self._name(host), *command, stdin=stdin)

    def _nft(self, host: str, rules: str) -> None:
        self._inside(host, "nft", "-f", "-", stdin=rules)

    # What stands where

    def interfaces(self, host: Host) -> list[str]:
        """The router's interfaces towards a host, in the order of the host's own: ``alice``, ``alice-1``."""
        count = 1 if host == "server" else len(self.kinds[host].links)
        return [host if index == 0 else f"{host}-{index}" for index in range(count)]

    def address(self, host: Host) -> str:
        """The public address of a host's first link: its own, or that of its NAT."""
        first = Link() if host == "server" else self.kinds[host].links[0]
        number = self._numbers[host]
        return own_address(first, number, 0, 2) if first.ipv6 else on_router(first, number, 2)


def one_of(names: Sequence[str]) -> str:
    """Return a set of interfaces in the words of nftables."""
    return "{ " + ", ".join(names) + " }"
