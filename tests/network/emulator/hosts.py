"""Hosts of their own, as network namespaces: nothing leads from one to another, or out, but what is put between them.

Linux, root, iproute2.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import struct
from collections.abc import Callable
from typing import Final, Self, TypeVar

from tests.network import namespaces
from tests.network.emulator.wire import EmulatorError, compiled
from tests.network.namespaces import NetworkError, delete, inside, own_name, run

T = TypeVar("T")

_TUNSETIFF: Final = 0x400454CA
_TUNSETOFFLOAD: Final = 0x400454D0
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000
_TUN_F_CSUM: Final = 0x01
_TUN: Final = "/dev/net/tun"
_DEVICE: Final = "wan"
_QUEUE: Final = 10_000
"""Packets that wait for the emulator, at most; where it keeps up there are only a few."""

_numbers: Final = itertools.count()


class Host:
    """One host, until :meth:`remove`. It has a loopback interface, and no IPv6 unless it is asked for.

    Args:
        name: For a person who reads a list of namespaces.
        ipv6: Whether it has IPv6.

    Raises:
        NetworkError: If it cannot be made.
    """

    def __init__(self, name: str, *, ipv6: bool = False) -> None:
        self.namespace = own_name(f"{name}{next(_numbers)}")
        run("ip", "netns", "add", self.namespace)
        try:
            self.write("ipv6/conf/all/disable_ipv6", int(not ipv6))
            self.write("ipv6/conf/default/addr_gen_mode", 1)  # no address that nobody asked for
            self.ip("link", "set", "lo", "up")
        except BaseException:
            self.remove()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Take it away, and end what still runs there."""
        delete(self.namespace)

    @property
    def wrapper(self) -> list[str]:
        """A program and its arguments that run a command there."""
        return ["ip", "netns", "exec", self.namespace]

    def ip(self, *words: str) -> str:
        """``ip`` on this host.

        Raises:
            NetworkError: If it fails.
        """
        return run("ip", "-n", self.namespace, *words)

    def write(self, name: str, value: object) -> None:
        """Write a setting of its network below ``/proc/sys/net``."""

        def write() -> None:
            with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
                file.write(str(value))

        self.inside(write)

    def inside(self, work: Callable[[], T]) -> T:
        """Do something there, in a thread of its own: a socket that is made there stays there.

        Raises:
            NetworkError: If that is not possible.
        """
        return inside(self.namespace, work)

    def plug(self, *addresses: str, mtu: int) -> int:
        """Give it a network interface with these addresses; return what its packets are read from and written to.

        The descriptor belongs to the caller, and the interface goes with it. Checksums are left to whoever is at the
        other end, segmentation is not: one read is one packet.

        Raises:
            NetworkError: If that is not possible.
        """
        tun = self.inside(_open_tun)
        try:
            self.ip("link", "set", _DEVICE, "mtu", str(mtu), "txqueuelen", str(_QUEUE), "up")
            for address in addresses:
                duplicates = ("nodad",) if ":" in address else ()
                self.ip("address", "add", address, "dev", _DEVICE, *duplicates)
        except BaseException:
            os.close(tun)
            raise
        return tun

    def unread(self) -> int:
        """How many packets its interface dropped because nobody read them in time."""

        def read() -> int:
            with open("/proc/thread-self/net/dev", encoding="ascii") as file:
                line = next(line for line in file if line.strip().startswith(f"{_DEVICE}:"))
            return int(line.partition(":")[2].split()[11])

        return self.inside(read)


def _open_tun() -> int:
    flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
    try:
        tun = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise EmulatorError(f"{_TUN}: {error.strerror}; start a container with --device {_TUN}") from error
    try:
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", _DEVICE.encode(), flags))
        fcntl.ioctl(tun, _TUNSETOFFLOAD, _TUN_F_CSUM)
    except BaseException:
        os.close(tun)
        raise
    return tun


def missing() -> str:
    """What keeps this machine from making hosts and a wire between them, or nothing."""
    if lacking := namespaces.missing():
        return lacking
    try:
        compiled()
        with Host("probe") as host:
            os.close(host.plug(mtu=1500))
    except (NetworkError, OSError) as error:
        return str(error)
    return ""
