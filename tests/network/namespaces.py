"""Network namespaces: commands about them, work inside, and the removal of those that stayed.

What is made here is named for this process, so that a later run knows what a killed one left.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

_COMMAND_TIMEOUT: Final = 20.0
_CLONE_NEWNET: Final = 0x40000000
_NETLINK_NETFILTER: Final = 12
_FORGET: Final = (1 << 8) | 2
"""Of conntrack (NFNL_SUBSYS_CTNETLINK): delete (IPCTNL_MSG_CT_DELETE), all flows where none is named."""
_REQUEST_AND_ACK: Final = 0x1 | 0x4
_SIOCETHTOOL: Final = 0x8946
_OFFLOADS: Final = {"checksum": 0x17, "gso": 0x24, "gro": 0x2C}
"""Those of an interface that can be switched, with the command that does it (ETHTOOL_STXCSUM and so on)."""
_NAME: Final = re.compile(r"p2pal-(\d+)-\S+")


class NetworkError(RuntimeError):
    """A network cannot be made, or not be worked on."""


def own_name(rest: str) -> str:
    """Return a name of this process' own for a namespace."""
    return f"p2pal-{os.getpid()}-{rest}"


def missing(*programs: str) -> str:
    """What keeps this machine from making networks with these programs, or nothing."""
    for program in ("ip", *programs):
        if shutil.which(program) is None:
            return f"there is no {program}"
    if os.geteuid() != 0:
        return "this user is not root"
    name = own_name("probe")
    try:
        run("ip", "netns", "add", name)
    except NetworkError as error:
        return f"network namespaces cannot be made: {error}"
    delete(name)
    return ""


def namespaces() -> list[str]:
    """The names of the network namespaces of this machine that are of ours, or of another run of these tests."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    return [match[0] for match in map(_NAME.match, listed.splitlines()) if match is not None]


def sweep() -> None:
    """Remove what runs left behind that were killed; their names tell whose it was."""
    for name in namespaces():
        if not Path("/proc", name.split("-")[1]).exists():
            delete(name)


sweep_once: Final = functools.cache(sweep)


def delete(name: str) -> None:
    """Delete a network namespace, and end what still runs there."""
    inside = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
    for pid in map(int, inside.split()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def run(*command: str, stdin: str = "") -> str:
    """Run a command to its end, and return what it printed.

    Raises:
        NetworkError: If it fails.
    """
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT, check=False)
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}\n{stdin}".strip())
    return done.stdout


def inside(name: str, work: Callable[[], T]) -> T:
    """Do something in a namespace, in a thread of its own: a socket that is made there stays there.

    Raises:
        NetworkError: If that is not possible.
    """

    def enter() -> T:
        with open(f"/run/netns/{name}", "rb") as place:
            if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), _CLONE_NEWNET) != 0:
                raise NetworkError(f"setns: {os.strerror(ctypes.get_errno())}")
        return work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter).result()


def forget_flows(name: str) -> None:
    """Let the NAT and the firewall of a namespace forget every flow, as one that was switched off and on.

    Raises:
        NetworkError: If that is not possible.
    """
    with inside(name, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)) as netlink:
        netlink.settimeout(_COMMAND_TIMEOUT)
        family = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)
        netlink.sendall(struct.pack("=IHHII", 16 + len(family), _FORGET, _REQUEST_AND_ACK, 1, 0) + family)
        (error,) = struct.unpack_from("=i", netlink.recv(4096), 16)
    if error:
        raise NetworkError(f"the flows of {name} stay: {os.strerror(-error)}")


def switch_off(name: str, interface: str, *offloads: str) -> None:
    """Switch off what an interface of a namespace does for its machine: ``checksum``, ``gso``, ``gro``.

    Raises:
        NetworkError: If that is not possible.
    """
    control = inside(name, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with control:
        for offload in offloads:
            value = ctypes.create_string_buffer(struct.pack("=II", _OFFLOADS[offload], 0), 8)
            request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(value))
            try:
                fcntl.ioctl(control, _SIOCETHTOOL, request)
            except OSError as error:
                raise NetworkError(f"{interface} of {name} keeps {offload}: {error}") from error
