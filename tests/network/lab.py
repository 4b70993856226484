"""Hosts of their own: a server, Alice and Bob, each in a network namespace, around a router whose links can be cut.

The router is the public network. Alice and Bob are connected to it each in a way of their own
(:mod:`tests.network.access`). Nothing of it touches the machine's own network: the addresses exist only in there, and
no link leads out. Linux, root, iproute2 and nftables.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.e2e.kit import Command
from tests.network.addresses import v4
from tests.network.commands import start
from tests.network.namespaces import forget_flows, inside, run, switch_off
from tests.network.wiring import PORT, Host, Side, Wiring, one_of

HOSTS: Final[tuple[Host, ...]] = ("server", "alice", "bob")
SIGNAL: Final = "signal.test"
"""A name of the server's host."""

_SOCKET_TIMEOUT: Final = 10.0
_ETC: Final = Path(__file__).with_name("etc")
_MOVED: Final = 9


class Lab(Wiring):
    """What tests do with the hosts and the router; see :class:`tests.network.wiring.Wiring` for its arguments."""

    def wrapper(self, host: str) -> list[str]:
        """A program and its arguments that run a command on that host; it knows the hosts' names, and no others."""
        files = " && ".join(f'mount --bind "$0/{name}" /etc/{name}' for name in ("hosts", "nsswitch.conf"))
        return ["ip", "netns", "exec", self._name(host), "sh", "-c", f'{files} && exec "$@"', str(_ETC)]

    def run(
        self, host: str, *args: str | Path, folder: Path, wrapper: Sequence[str] = (), trusts: Path | None = None
    ) -> Command:
        """``p2pal ARGS`` on a host.

        Args:
            host: Which one.
            args: What follows ``p2pal``.
            folder: A directory that must not exist, for the output; beside it lies the host's home.
            wrapper: A program and its arguments that run the command.
            trusts: A file with the certificates that it trusts, instead of those that the machine does.
        """
        env = {"SSL_CERT_FILE": str(trusts)} if trusts else {}
        return start(host, [*self.wrapper(host), *wrapper], folder, *args, **env)

    def open_socket(self, host: str, kind: socket.SocketKind, *, ipv6: bool = False) -> socket.socket:
        """A new socket of this process on a host. It gives up after some seconds."""
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        made = inside(self._name(host), lambda: socket.socket(family, kind))
        made.settimeout(_SOCKET_TIMEOUT)
        return made

    @property
    def url(self) -> str:
        """The signaling server's."""
        return f"http://{SIGNAL}:{PORT}"

    def throttle(self, host: Host, mbit: int, queue: float = 0.05) -> None:
        """Let no more than that many Mbit/s through to each link of a host, so that the transfer lasts.

        What has waited for ``queue`` seconds keeps further packets out.
        """
        limit = ("rate", f"{mbit}mbit", "burst", "64kb", "latency", f"{queue * 1000:.0f}ms")
        for far in self.interfaces(host):
            run("tc", "-n", self._name("router"), "qdisc", "replace", "dev", far, "root", "tbf", *limit)

    def unthrottle(self, host: Host) -> None:
        """Let everything through to a host again."""
        for far in self.interfaces(host):
            run("tc", "-n", self._name("router"), "qdisc", "del", "dev", far, "root")

    def _counter(self, name: str) -> tuple[int, int]:
        listed = self._inside("router", "nft", "list", "counter", "inet", "lab", name)
        packets, size = re.findall(r"packets (\d+) bytes (\d+)", listed)[0]
        return int(packets), int(size)

    @property
    def dropped(self) -> int:
        """Packets that :meth:`cut_everything` let vanish."""
        return self._counter("cut")[0]

    def carried(self, way: str) -> int:
        """Bytes that the router saw on a way, both directions, headers included.

        Args:
            way: ``direct-udp`` or ``direct-tcp`` between Alice and Bob; ``alice-relay-udp`` and so on between one of
                them and the server's host, without the signaling server.
        """
        return self._counter(way)[1]

    def busiest(self, host: Host) -> int:
        """The number of the interface of a host that most bytes went through so far."""
        listed = json.loads(run("ip", "-n", self._name("router"), "-json", "-statistics", "link", "show"))
        count = {each["ifname"]: sum(each["stats64"][way]["bytes"] for way in ("rx", "tx")) for each in listed}
        links = [count[far] for far in self.interfaces(host)]
        return links.index(max(links))

    @contextmanager
    def cut(self, *rules: str) -> Iterator[None]:
        """Let the router follow these rules for the length of the block, in the words of nftables."""
        self._cut(*rules)
        try:
            yield
        finally:
            self._inside("router", "nft", "flush", "chain", "inet", "lab", "cuts")

    def _cut(self, *rules: str) -> None:
        self._nft("router", "".join(f"add rule inet lab cuts {rule}\n" for rule in rules))

    def cut_everything(self, seconds: float) -> None:
        """Packets vanish on the way, all of them."""
        with self.cut("counter name cut drop"):
            time.sleep(seconds)

    def between(self, one: Host, other: Host) -> Sequence[str]:
        """Rules that let packets between two hosts vanish on the way."""
        here, there = one_of(self.interfaces(one)), one_of(self.interfaces(other))
        return [f"iifname {here} oifname {there} drop", f"iifname {there} oifname {here} drop"]

    def cut_between(self, one: Host, other: Host, seconds: float) -> None:
        """Packets between two hosts vanish on the way."""
        with self.cut(*self.between(one, other)):
            time.sleep(seconds)

    def cut_server(self, seconds: float) -> None:
        """Packets from and to the server vanish on the way."""
        with self.cut("iifname server drop", "oifname server drop"):
            time.sleep(seconds)

    def reset_server(self, seconds: float) -> None:
        """Whatever is said to the server is answered with a TCP reset."""
        with self.cut(f"tcp dport {PORT} reject with tcp reset", f"tcp sport {PORT} reject with tcp reset"):
            time.sleep(seconds)

    def unplug(self, host: Host, seconds: float) -> None:
        """Pull a host's cable: it sees that its interface is dead."""
        self._ip("router", f"link set {host} down")
        try:
            time.sleep(seconds)
        finally:
            self._ip("router", f"link set {host} up")

    def lose(self, host: Side, index: int) -> None:
        """Take a host's interface of this number out of use, addresses and routes included, as when a Wi-Fi is left."""
        self._ip(host, f"address flush dev eth{index}", f"link set eth{index} down")

    def regain(self, host: Side, index: int) -> None:
        """Put it into use again."""
        self._ip(host, f"link set eth{index} up")
        self._plug(host, index, self.kinds[host].links[index])

    def rebind(self, host: Side, index: int = 0) -> None:
        """Let the NAT before a host's interface of this number forget its flows: what follows gets other ports."""
        forget_flows(self._name(f"{self.interfaces(host)[index]}-box"))

    def switch_off(self, host: Host, *offloads: str) -> None:
        """Switch off what a host's interfaces do for it: ``checksum``, ``gso``, ``gro``."""
        for index in range(len(self.interfaces(host))):
            switch_off(self._name(host), f"eth{index}", *offloads)

    def split_batches(self) -> None:
        """Let every packet between Alice and Bob be seen by itself: batches would pass the router as one large one."""
        for host in ("alice", "bob"):
            for index in range(len(self.kinds[host].links)):
                self._ip(host, f"link set eth{index} gso_max_segs 1")

    def udp_ports(self, host: Host) -> list[int]:
        """The UDP ports that are open on a host: those of its lanes."""
        sockets = self._inside(host, "ss", "-H", "-u", "-a", "-n").splitlines()
        return sorted({int(match[1]) for line in sockets if (match := re.search(r"\S:(\d+)\s", line))})

    def kill_lanes(self, host: Host) -> None:
        """Let nothing through any more from and to the UDP ports that an open host has open now; it may open others."""
        ports = ", ".join(map(str, self.udp_ports(host)))
        address = self.address(host)
        self._cut(
            f"ip saddr {address} udp sport {{ {ports} }} drop", f"ip daddr {address} udp dport {{ {ports} }} drop"
        )

    def move(self, host: Side) -> None:
        """Give an open host another address, in another network, and take the first one away."""
        old, new = self._numbers[host], self._numbers[host] + _MOVED
        self._ip("router", f"address add {v4(new, 1)}/24 dev {host}")
        self._ip(host, f"address add {v4(new, 2)}/24 dev eth0", f"route add default via {v4(new, 1)}")
        self._ip(host, f"address del {v4(old, 2)}/24 dev eth0")
        self._ip("router", f"address del {v4(old, 1)}/24 dev {host}")
        self._numbers[host] = new
