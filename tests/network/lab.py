"""Hosts of their own: a server, Alice and Bob, each in a network namespace, around a router whose links can be cut.

Nothing of it touches the machine's own network: the addresses exist only in there, and no link leads out. Linux, root,
iproute2 and nftables.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, Self

import pytest

Host = Literal["server", "alice", "bob"]
HOSTS: Final[tuple[Host, ...]] = ("server", "alice", "bob")
PORT: Final = 8080
"""The signaling server's."""

_COMMAND_TIMEOUT: Final = 20.0
_NETS: Final[dict[Host, str]] = {"server": "10.66.0", "alice": "10.66.1", "bob": "10.66.2"}
_MOVED: Final = {"alice": "10.66.3", "bob": "10.66.4"}
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
        reason = f"RECONNECTING IS NOT TESTED: {missing}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT, check=False)
    if done.returncode != 0:
        message = f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}"
        raise RuntimeError(message)
    return done.stdout


class Lab:
    """The hosts and the router, for the length of a ``with`` block."""

    def __init__(self) -> None:
        self._prefix = f"p2pal-{os.getpid()}-{next(_numbers)}"
        self._made: list[str] = []
        self._nets: dict[Host, str] = dict(_NETS)

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
        self._add("router")
        self._inside("router", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        self._nft("add table inet lab")
        self._nft("add counter inet lab cut")
        self._nft("add chain inet lab cuts { type filter hook forward priority 0; policy accept; }")
        for host in HOSTS:
            self._add(host)
            near, far = ("eth0", "netns", self._name(host)), (host, "netns", self._name("router"))
            _run("ip", "link", "add", *near, "type", "veth", "peer", "name", *far)
            self._ip("router", "link", "set", host, "up")
            self._ip("router", "address", "add", f"{self._nets[host]}.1/24", "dev", host)
            self._ip(host, "link", "set", "eth0", "up")
            self._ip(host, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            self._ip(host, "route", "add", "default", "via", f"{self._nets[host]}.1")

    def _add(self, host: str) -> None:
        _run("ip", "netns", "add", self._name(host))
        self._made.append(host)
        self._inside(host, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
        self._ip(host, "link", "set", "lo", "up")

    def _remove(self) -> None:
        for host in self._made:
            subprocess.run(["ip", "netns", "del", self._name(host)], capture_output=True, check=False)

    def _name(self, host: str) -> str:
        return f"{self._prefix}-{host}"

    def _ip(self, host: str, *args: str) -> str:
        return _run("ip", "-n", self._name(host), *args)

    def _inside(self, host: str, *command: str) -> str:
        return _run("ip", "netns", "exec", self._name(host), *command)

    def _nft(self, rule: str) -> None:
        self._inside("router", "nft", rule)

    # What the tests use.

    def wrapper(self, host: Host) -> list[str]:
        """A program and its arguments that run a command on that host."""
        return ["ip", "netns", "exec", self._name(host)]

    def address(self, host: Host) -> str:
        return f"{self._nets[host]}.2"

    @property
    def url(self) -> str:
        """The signaling server's."""
        return f"http://{self.address('server')}:{PORT}"

    def throttle(self, host: Host, mbit: int) -> None:
        """Let no more than that many Mbit/s through to a host, so that the transfer lasts."""
        limit = ("rate", f"{mbit}mbit", "burst", "64kb", "latency", "50ms")
        _run("tc", "-n", self._name("router"), "qdisc", "replace", "dev", host, "root", "tbf", *limit)

    def unthrottle(self, host: Host) -> None:
        """Let everything through to a host again."""
        _run("tc", "-n", self._name("router"), "qdisc", "del", "dev", host, "root")

    @property
    def dropped(self) -> int:
        """Packets that :meth:`cut_everything` let vanish."""
        return int(
            re.findall(r"packets (\d+)", self._inside("router", "nft", "list", "counter", "inet", "lab", "cut"))[0]
        )

    @contextmanager
    def cut(self, *rules: str) -> Iterator[None]:
        """Let the router follow these rules for the length of the block, in the words of nftables."""
        for rule in rules:
            self._nft(f"add rule inet lab cuts {rule}")
        try:
            yield
        finally:
            self._nft("flush chain inet lab cuts")

    def cut_everything(self, seconds: float) -> None:
        """Packets vanish on the way, all of them."""
        with self.cut("counter name cut drop"):
            time.sleep(seconds)

    def cut_between(self, one: Host, other: Host, seconds: float) -> None:
        """Packets between two hosts vanish on the way."""
        here, there = self.address(one), self.address(other)
        with self.cut(f"ip saddr {here} ip daddr {there} drop", f"ip saddr {there} ip daddr {here} drop"):
            time.sleep(seconds)

    def cut_server(self, seconds: float) -> None:
        """Packets from and to the server vanish on the way."""
        server = self.address("server")
        with self.cut(f"ip saddr {server} drop", f"ip daddr {server} drop"):
            time.sleep(seconds)

    def reset_server(self, seconds: float) -> None:
        """Whatever is said to the server is answered with a TCP reset."""
        with self.cut(f"tcp dport {PORT} reject with tcp reset", f"tcp sport {PORT} reject with tcp reset"):
            time.sleep(seconds)

    def unplug(self, host: Host, seconds: float) -> None:
        """Pull a host's cable: it sees that its interface is dead."""
        self._ip("router", "link", "set", host, "down")
        try:
            time.sleep(seconds)
        finally:
            self._ip("router", "link", "set", host, "up")

    def udp_ports(self, host: Host) -> list[int]:
        """The UDP ports that are open on a host: those of its lanes."""
        sockets = self._inside(host, "ss", "-H", "-u", "-a", "-n").splitlines()
        return sorted({int(match[1]) for line in sockets if (match := re.search(r"\S:(\d+)\s", line))})

    def kill_lanes(self, host: Host) -> None:
        """Let nothing through any more from and to the UDP ports that a host has open now; it may open others."""
        ports = ", ".join(map(str, self.udp_ports(host)))
        address = self.address(host)
        self._nft(f"add rule inet lab cuts ip saddr {address} udp sport {{ {ports} }} drop")
        self._nft(f"add rule inet lab cuts ip daddr {address} udp dport {{ {ports} }} drop")

    def move(self, host: Literal["alice", "bob"]) -> None:
        """Give a host another address, in another network, and take the first one away."""
        old, new = self._nets[host], _MOVED[host]
        self._ip("router", "address", "add", f"{new}.1/24", "dev", host)
        self._ip(host, "address", "add", f"{new}.2/24", "dev", "eth0")
        self._ip(host, "route", "replace", "default", "via", f"{new}.1")
        self._ip(host, "address", "del", f"{old}.2/24", "dev", "eth0")
        self._ip("router", "address", "del", f"{old}.1/24", "dev", host)
        self._nets[host] = new
