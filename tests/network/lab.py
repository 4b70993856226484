"""Hosts of their own: a server, Alice and Bob, each in a network namespace, around a router whose links can be cut.

The router is the public network. Alice and Bob are connected to it each in a way of their own
(:mod:`tests.network.access`). Nothing of it touches the machine's own network: the addresses exist only in there, and
no link leads out. Linux, root, iproute2 and nftables.
"""

from __future__ import annotations

import ctypes
import functools
import ipaddress
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, Self

import pytest
from tests.e2e.kit import Command, environment
from tests.network.access import Kind, Link, open_

Host = Literal["server", "alice", "bob"]
HOSTS: Final[tuple[Host, ...]] = ("server", "alice", "bob")
PORT: Final = 80
"""The signaling server's."""
SIGNAL: Final = "signal.test"
"""A name of the server's host."""
ADDRESSES: Final = ("198.18.0.2", "198.18.0.3", "2001:db8::2")
"""The addresses of the server's host. They stand in ``etc/hosts``, too."""

_COMMAND_TIMEOUT: Final = 20.0
_SOCKET_TIMEOUT: Final = 10.0
_CLONE_NEWNET: Final = 0x40000000
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_ETC: Final = Path(__file__).with_name("etc")
_NUMBERS: Final[dict[Host, int]] = {"server": 0, "alice": 10, "bob": 20}
"""Those of the networks of their first links; further ones follow."""
_MOVED: Final = 9
_NAME: Final = re.compile(r"p2pal-(\d+)-\S+")
_numbers: Final = itertools.count()


@functools.cache
def _missing() -> str:
    """What keeps this machine from making networks, or nothing."""
    for program in ("ip", "tc", "nft", "ss"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    if os.geteuid() != 0:
        return "this user is not root"
    name = f"p2pal-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return "network namespaces cannot be made: " + made.stderr.strip()
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return ""


def need_networks() -> None:
    """Skip where networks cannot be made, or fail in CI, where such a hole must not go unseen."""
    missing = _missing()
    if missing:
        reason = f"NETWORKS ARE NOT TESTED: {missing}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    _sweep_once()


def namespaces() -> list[str]:
    """The names of the network namespaces of this machine that are of ours, or of another run of these tests."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    return [match[0] for match in map(_NAME.match, listed.splitlines()) if match is not None]


def sweep() -> None:
    """Remove what runs left behind that were killed; their names tell whose it was."""
    for name in namespaces():
        if not Path("/proc", name.split("-")[1]).exists():
            _delete(name)


_sweep_once: Final = functools.cache(sweep)


def _delete(name: str) -> None:
    """Delete a network namespace, and end what still runs there."""
    inside = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
    if inside.strip():
        subprocess.run(["kill", "-KILL", *inside.split()], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT, check=False)
    if done.returncode != 0:
        message = f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}\n{stdin}"
        raise RuntimeError(message)
    return done.stdout


class Lab:
    """The hosts and the router, for the length of a ``with`` block.

    The server's host is open, with IPv4 and IPv6 and two addresses of IPv4.

    Args:
        alice: How Alice is connected.
        bob: How Bob is.

    Attributes:
        prefix: What the names of its network namespaces begin with.
        kinds: How they are connected.
    """

    def __init__(self, alice: Kind | None = None, bob: Kind | None = None) -> None:
        self.prefix = f"p2pal-{os.getpid()}-{next(_numbers)}-"
        self._made: list[str] = []
        self._numbers = dict(_NUMBERS)
        self.kinds: Final = {"alice": alice or open_(), "bob": bob or open_()}

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
        self._ip("router", f"address add {_v4(0, 1)}/24 dev server", f"address add {_v6(0, 1)}/64 dev server nodad")
        lengths = {4: 24, 6: 64}
        own = [f"{each}/{lengths[ipaddress.ip_address(each).version]}" for each in ADDRESSES]
        self._ip("server", *(f"address add {each} dev eth0 nodad" for each in own))
        self._ip("server", f"route add default via {_v4(0, 1)}", f"route add default via {_v6(0, 1)}")
        for host, kind in self.kinds.items():
            self._add(host, ipv6=any(link.ipv6 for link in kind.links))
            for index, link in enumerate(kind.links):
                self._link(host, index, link)
        self._nft("router", self._counters())

    def _link(self, host: str, index: int, link: Link) -> None:
        """Connect a host's interface of this number to the router, directly or through a box."""
        number = _NUMBERS[host] + index  # type: ignore[index]
        far = self.interfaces(host)[index]
        at_router, outside = (_v6(number, 1), _v6(number, 2)) if link.ipv6 else (_v4(number, 1), _v4(number, 2))
        length = 64 if link.ipv6 else 24
        if link.rules:
            box, near = f"{far}-box", "wan"
            self._add(box, ipv6=link.ipv6, forward=True)
            self._nft(box, link.rules)
            gateway, own = (
                (_v6(number, 1, 1), _v6(number, 2, 1)) if link.ipv6 else (f"192.168.{index}.1", f"192.168.{index}.2")
            )
            self._connect(host, f"eth{index}", box, "lan")
            self._ip(box, f"address add {gateway}/{length} dev lan nodad")
        else:
            box, near = host, f"eth{index}"
            gateway, own = at_router, outside
        self._connect(box, near, "router", far)
        self._ip("router", f"address add {at_router}/{length} dev {far} nodad")
        if link.rules:
            self._ip(box, f"address add {outside}/{length} dev wan nodad", f"route add default via {at_router}")
        if link.rules and link.ipv6:
            self._ip("router", f"route add {_v6(number, 0, 1)}/64 via {outside}")
        table = 100 + index
        self._ip(
            host,
            f"address add {own}/{length} dev eth{index} nodad",
            f"route add default via {gateway} dev eth{index} metric {table}",
        )
        if len(self.kinds[host].links) > 1:
            family = "-6" if link.ipv6 else "-4"
            self._ip(host, f"route add default via {gateway} dev eth{index} table {table}", family=family)
            self._ip(host, f"rule add from {own} lookup {table}", family=family)

    def _counters(self) -> str:
        """Return rules for the router: who is to be cut, and counters of who spoke with whom."""
        sides = {host: _set(self.interfaces(host)) for host in self.kinds}
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
        _run("ip", "netns", "add", self._name(host))
        self._made.append(host)
        settings = {f"ipv6/conf/{which}/disable_ipv6": not ipv6 for which in ("all", "default")}
        settings |= {f"ipv6/conf/{which}/accept_dad": False for which in ("all", "default")}
        settings |= {"ipv4/ip_forward": forward, "ipv6/conf/all/forwarding": forward}
        script = "".join(f"echo {value:d} > /proc/sys/net/{name}; " for name, value in settings.items())
        self._inside(host, "sh", "-ec", script)
        self._ip(host, "link set lo up")

    def _connect(self, one: str, near: str, other: str, far: str) -> None:
        """Lay a cable between an interface of one and an interface of the other."""
        ends = ("netns", self._name(one), "type", "veth", "peer", "name", far, "netns", self._name(other))
        _run("ip", "link", "add", near, *ends)
        self._ip(one, f"link set {near} up")
        self._ip(other, f"link set {far} up")

    def _remove(self) -> None:
        for host in self._made:
            _delete(self._name(host))

    def _name(self, host: str) -> str:
        return f"{self.prefix}{host}"

    def _ip(self, host: str, *lines: str, family: str = "") -> None:
        options = [family] if family else []
        _run("ip", *options, "-n", self._name(host), "-batch", "-", stdin="".join(f"{line}\n" for line in lines))

    def _inside(self, host: str, *command: str, stdin: str = "") -> str:
        return _run("ip", "netns", "exec", self._name(host), *command, stdin=stdin)

    def _nft(self, host: str, rules: str) -> None:
        self._inside(host, "nft", "-f", "-", stdin=rules)

    # What the tests use.

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
        env = environment(P2PAL_HOME=str(folder.parent / f"home-{host}"))
        del env["P2PAL_ONLY_LOOPBACK"]
        env |= {"SSL_CERT_FILE": str(trusts)} if trusts else {}
        env = {name: value for name, value in env.items() if name.lower() not in _PROXIES}
        return Command(args, folder, env=env, wrapper=[*self.wrapper(host), *wrapper])

    def open_socket(self, host: str, kind: socket.SocketKind, *, ipv6: bool = False) -> socket.socket:
        """A new socket of this process on a host. It gives up after some seconds."""
        with ThreadPoolExecutor(1) as thread:  # the namespace is the thread's, and ends with it; the socket stays there
            return thread.submit(self._open_socket, host, kind, ipv6).result()

    def _open_socket(self, host: str, kind: socket.SocketKind, ipv6: bool) -> socket.socket:
        with open(f"/run/netns/{self._name(host)}", "rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        made = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, kind)
        made.settimeout(_SOCKET_TIMEOUT)
        return made

    def interfaces(self, host: str) -> list[str]:
        """The router's interfaces towards a host, in the order of the host's own: ``alice``, ``alice-1``."""
        links = self.kinds[host].links if host in self.kinds else (None,)
        return [host if index == 0 else f"{host}-{index}" for index in range(len(links))]

    def address(self, host: Host) -> str:
        """The public address of a host's first link: its own, or its NAT's."""
        first = self.kinds[host].links[0] if host in self.kinds else Link()
        return _v6(self._numbers[host], 2, 1) if first.ipv6 else _v4(self._numbers[host], 2)

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
            _run("tc", "-n", self._name("router"), "qdisc", "replace", "dev", far, "root", "tbf", *limit)

    def unthrottle(self, host: Host) -> None:
        """Let everything through to a host again."""
        for far in self.interfaces(host):
            _run("tc", "-n", self._name("router"), "qdisc", "del", "dev", far, "root")

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
        listed = json.loads(_run("ip", "-n", self._name("router"), "-json", "-statistics", "link", "show"))
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
        here, there = _set(self.interfaces(one)), _set(self.interfaces(other))
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

    def lose(self, host: Host, index: int) -> None:
        """Take away a host's interface of this number, with its addresses and routes, as when a Wi-Fi is left."""
        self._ip(host, f"link del eth{index}")

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

    def move(self, host: Literal["alice", "bob"]) -> None:
        """Give an open host another address, in another network, and take the first one away."""
        old, new = self._numbers[host], self._numbers[host] + _MOVED
        self._ip("router", f"address add {_v4(new, 1)}/24 dev {host}")
        self._ip(host, f"address add {_v4(new, 2)}/24 dev eth0", f"route add default via {_v4(new, 1)}")
        self._ip(host, f"address del {_v4(old, 2)}/24 dev eth0")
        self._ip("router", f"address del {_v4(old, 1)}/24 dev {host}")
        self._numbers[host] = new


def _v4(network: int, host: int) -> str:
    """Return an address of a network that is public in here (RFC 2544)."""
    return f"198.18.{network}.{host}"


def _v6(network: int, host: int, subnet: int = 0) -> str:
    """Return one for IPv6 (RFC 3849)."""
    return f"2001:db8:{network}:{subnet}::{host or ''}"


def _set(names: Sequence[str]) -> str:
    return "{ " + ", ".join(names) + " }"
