"""Running a command where something is missing: a network, a disk. Needs Linux namespaces (unshare, util-linux)."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

_MOUNT: Final = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"'
_LOOPBACK: Final = """
import fcntl, os, socket, struct, sys
with socket.socket() as s:
    SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
    request = struct.pack("16sH14x", b"lo", 0)
    flags, = struct.unpack_from("16xH", fcntl.ioctl(s, SIOCGIFFLAGS, request))
    fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))
print(*(name for _, name in socket.if_nameindex()), flush=True)
sys.stdin.read()
"""


@functools.cache
def _unshare(kind: str) -> list[str] | None:
    """The command that makes a new namespace of a kind, or None if this user may not."""
    if shutil.which("unshare") is None:
        return None
    for command in (["unshare", kind], ["unshare", "--map-root-user", kind]):
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return None


def need(kind: str) -> list[str]:
    """Return that command; where there is none, skip, or fail in CI, where such a hole must not go unseen."""
    command = _unshare(kind)
    if command is None:
        reason = f"NOT TESTED: this user cannot make namespaces (unshare {kind})"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return command


def with_tmpfs(place: Path, options: str) -> list[str]:
    """A wrapper that mounts a file system of its own on ``place``, seen by the command alone."""
    return [*need("--mount"), "sh", "-c", _MOUNT, "sh", options, str(place)]


class OnlyLoopback:
    """A network with a loopback interface and nothing else, for the length of a ``with`` block."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            [*need("--net"), sys.executable, "-c", _LOOPBACK], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> list[str]:
        """Return the wrapper for commands that shall live there."""
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline().split() == [b"lo"], "there are other interfaces"
        user = ["--user", "--preserve-credentials"] if "--map-root-user" in need("--net") else []
        return ["nsenter", f"--target={self._holder.pid}", *user, "--net"]

    def __exit__(self, *_: object) -> None:
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.wait()
        self._holder.stdout.close()
