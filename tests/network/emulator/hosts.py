"""Hosts of their own, as network namespaces: nothing leads from one to another, or out, but what is put between them.

Linux, root, iproute2.
"""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self, TypeVar

from tests.network.emulator.wire import EmulatorError, compiled

T = TypeVar("T")

_TIMEOUT: Final = 20.0
_CLONE_NEWNET: Final = 0x40000000
_TUNSETIFF: Final = 0x400454CA
_TUNSETOFFLOAD: Final = 0x400454D0
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000
_TUN_F_CSUM: Final = 0x01
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
        EmulatorError: If it cannot be made.
    """

    def __init__(self, name: str, *, ipv6: bool = False) -> None:
        self.namespace = f"p2pal-{os.getpid()}-{name}{next(_numbers)}"
        _run("ip", "netns", "add", self.namespace)
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
        """Take it away. Processes that still run there keep a network without anything."""
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True, check=False)

    @property
    def wrapper(self) -> list[str]:
        """A program and its arguments that run a command there."""
        return ["ip", "netns", "exec", self.namespace]

    def ip(self, *words: str) -> str:
        """``ip`` on this host.

        Raises:
            EmulatorError: If it fails.
        """
        return _run("ip", "-n", self.namespace, *words)

    def write(self, name: str, value: object) -> None:
        """Write a setting of its network below ``/proc/sys/net``."""

        def write() -> None:
            with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
                file.write(str(value))

        self.inside(write)

    def inside(self, work: Callable[[], T]) -> T:
        """Do something there, in a thread of its own: a socket that is made there stays there.

        Raises:
            EmulatorError: If that is not possible.
        """

        def enter() -> T:
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/run/netns/{self.namespace}", "rb") as place:
                if libc.setns(place.fileno(), _CLONE_NEWNET) != 0:
                    raise EmulatorError(f"setns: {os.strerror(ctypes.get_errno())}")
            return work()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(enter).result()

    def plug(self, *addresses: str, mtu: int) -> int:
        """Give it a network interface with these addresses; return what its packets are read from and written to.

        The descriptor belongs to the caller, and the interface goes with it. Checksums are left to whoever is at the
        other end, segmentation is not: one read is one packet.

        Raises:
            EmulatorError: If that is not possible.
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
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", _DEVICE.encode(), flags))
        fcntl.ioctl(tun, _TUNSETOFFLOAD, _TUN_F_CSUM)
    except BaseException:
        os.close(tun)
        raise
    return tun


def missing() -> str:
    """What keeps this machine from making hosts and a wire between them, or nothing."""
    if shutil.which("ip") is None:
        return "there is no ip"
    if os.geteuid() != 0:
        return "this user is not root"
    try:
        compiled()
        with Host("probe") as host:
            os.close(host.plug(mtu=1500))
    except (EmulatorError, OSError) as error:
        return str(error)
    return ""


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    if done.returncode != 0:
        raise EmulatorError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
