"""Alice and Bob, each on a host of its own, and a long or bad wire between them, for the length of a ``with`` block.

with Wan(Link(delay=0.05, rate=10e6, loss=0.01), seed=7) as wan:
    subprocess.run([*wan.wrapper("alice"), "ping", "-c", "1", wan.address("bob")])
    with wan.cut():
        ...
    wan.set(Link(delay=0.05, rate=1e6))
    print(wan.counts("alice").lost)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Final, Literal, Self, TypeVar

from tests.network.emulator.hosts import Host
from tests.network.emulator.wire import Counts, Link, Wire

T = TypeVar("T")
Name = Literal["alice", "bob"]
NAMES: Final[tuple[Name, Name]] = ("alice", "bob")

_ADDRESSES: Final[dict[Name, tuple[str, str]]] = {
    "alice": ("10.77.0.1", "fd77::1"),
    "bob": ("10.77.0.2", "fd77::2"),
}
_LEAST_QUEUE: Final = 0.02
"""Seconds of the rate that wait in a queue whose size is not given, at least."""


class Wan:
    """Both hosts and the wire.

    Args:
        there: What the wire is like from Alice to Bob.
        back: What it is like from Bob to Alice; the same by default.
        seed: Of loss and jitter: with the same one the same packets are lost, by their number in their direction.
        ipv6: Whether the hosts have IPv6 addresses beside those of IPv4. They then send packets unasked.
        mtu: Bytes of the largest packet.
    """

    def __init__(
        self, there: Link, back: Link | None = None, *, seed: int = 1, ipv6: bool = False, mtu: int = 1500
    ) -> None:
        self._links = (there, there if back is None else back)
        self._seed, self._ipv6, self._mtu = seed, ipv6, mtu
        self._stack = ExitStack()
        self._hosts: dict[Name, Host] = {}
        self._wire: Wire

    def __enter__(self) -> Self:
        """Build everything.

        Raises:
            NetworkError: If that is not possible here; nothing is left.
        """
        with self._stack as stack:
            tuns = []
            for name in NAMES:
                host = self._hosts[name] = stack.enter_context(Host(name, ipv6=self._ipv6))
                ipv4, ipv6 = _ADDRESSES[name]
                tuns.append(host.plug(f"{ipv4}/24", *([f"{ipv6}/64"] if self._ipv6 else []), mtu=self._mtu))
                stack.callback(os.close, tuns[-1])
            self._wire = Wire(tuns[0], tuns[1], self._seed)
            stack.callback(self._wire.close)
            self.set(*self._links)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def wrapper(self, name: Name) -> list[str]:
        """A program and its arguments that run a command on that host."""
        return self._hosts[name].wrapper

    def address(self, name: Name, version: Literal[4, 6] = 4) -> str:
        """That host's address on the wire."""
        return _ADDRESSES[name][version == 6]

    def inside(self, name: Name, work: Callable[[], T]) -> T:
        """Do something on that host: a socket that is made there stays there."""
        return self._hosts[name].inside(work)

    def configure(self, name: str, value: object) -> None:
        """Write a setting of both hosts' network below ``/proc/sys/net``."""
        for host in self._hosts.values():
            host.write(name, value)

    def set(self, there: Link, back: Link | None = None) -> None:
        """Make the wire like that from now on: what waits leaves at the new rate, what left arrives as it would have.

        Raises:
            EmulatorError: If the emulator is gone.
            ValueError: If no packet fits into a queue, or into a policer's bucket.
        """
        links = (there, there if back is None else back)
        trip = sum(link.delay for link in links)
        for direction, link in enumerate(links):
            queue = link.queue
            if queue is None:
                queue = max(round(link.rate / 8 * max(trip, _LEAST_QUEUE)), 2 * self._mtu)
            elif queue < self._mtu and link.rate:
                raise ValueError(f"no packet fits into the queue of {link}")
            if link.police and link.burst < self._mtu:
                raise ValueError(f"no packet fits into the bucket of {link}")
            self._wire.set(direction, replace(link, queue=queue))
        self._links = links

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Let nothing through for the length of the block."""
        there, back = self._links
        self.set(replace(there, cut=True), replace(back, cut=True))
        try:
            yield
        finally:
            self.set(there, back)

    def counts(self, name: Name) -> Counts:
        """What became of the packets that this host sent.

        Raises:
            EmulatorError: If the emulator is gone.
        """
        return replace(self._wire.counts()[NAMES.index(name)], unread=self._hosts[name].unread())

    @property
    def doubt(self) -> str:
        """Why figures that were taken here are not to be trusted, or nothing: the emulator was too slow."""
        return self.counts("alice").doubt or self.counts("bob").doubt
