"""croc as a process, in a network namespace of its own: it multicasts, and looks up a public relay.

The sender is told to stay local and is its own relay then; the receiver is told where that is. So the bytes go straight
from one process to the other, which is the best that croc does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from data import quiet_disk
from processes import Workbench
from transfer import SETTLE, check_arrived

RELAY: Final = "127.0.0.1:9009"
"""Where a sender's own relay listens unless it is told otherwise."""


@contextmanager
def network(bench: Workbench, limit: float) -> Iterator[list[str]]:
    """Keep a namespace with loopback alone for the length of the block; give what runs a command in it.

    Raises:
        BenchError: If this user may not make one.
    """
    holder = bench.start(["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"], limit)
    try:
        holder.wait_for("(up)")
        yield ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
    finally:
        holder.stop()


def croc(bench: Workbench, apart: list[str], program: str, source: Path, code: str, limit: float) -> float:
    """Send a file by croc; return the seconds from Enter at the receiver to the end of both.

    Raises:
        BenchError: If a process fails, or not everything arrives.
    """
    target, home = bench.directory("croc"), bench.directory("croc-home")
    env = {"CROC_SECRET": code, "HOME": os.fspath(home), "CROC_CONFIG_DIR": os.fspath(home)}
    sender = bench.start([*apart, program, "--local", "send", source], limit, cwd=source.parent, env=env)
    sender.wait_for("(Code is)")
    quiet_disk()
    time.sleep(SETTLE)
    receiver = bench.start([*apart, program, "--yes", "--ip", RELAY], limit, cwd=target, env=env)
    ended = max(receiver.wait().ended, sender.wait().ended)
    check_arrived(source, target)
    return ended - receiver.started
