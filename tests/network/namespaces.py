"""Network namespaces: whether this machine can have them, commands about them, and the removal of those that stayed."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

import pytest

_COMMAND_TIMEOUT: Final = 20.0
_NAME: Final = re.compile(r"p2pal-(\d+)-\S+")


def prefix(number: int) -> str:
    """Return what the names of this process' network number so many begin with."""
    return f"p2pal-{os.getpid()}-{number}-"


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
            delete(name)


_sweep_once: Final = functools.cache(sweep)


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
        RuntimeError: If it fails.
    """
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT, check=False)
    if done.returncode != 0:
        message = f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}\n{stdin}"
        raise RuntimeError(message)
    return done.stdout
