"""magic-wormhole as a process, with servers of its own on loopback (``loopback_only.py``)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from data import quiet_disk
from processes import Workbench
from transfer import SETTLE, check_arrived

_GUARD: Final = (sys.executable, Path(__file__).with_name("loopback_only.py"))
_TWIST: Final = (*_GUARD, "twisted.application.twist._twist:Twist.main")
_WORMHOLE: Final = (*_GUARD, "wormhole.cli.cli:wormhole")


@contextmanager
def wormhole_servers(bench: Workbench, limit: float) -> Iterator[list[str]]:
    """Run magic-wormhole's two servers for the length of the block; give the options that name them."""
    port = "--port=tcp:0:interface=127.0.0.1"
    mailbox = bench.start([*_TWIST, "wormhole-mailbox", port, "--channel-db=:memory:"], limit, cwd=bench.path)
    relay = bench.start([*_TWIST, "transitrelay", port], limit, cwd=bench.path)
    try:
        pattern = r"starting on (\d+)"
        yield [
            "--relay-url",
            f"ws://127.0.0.1:{mailbox.wait_for(pattern)}/v1",
            "--transit-helper",
            f"tcp:127.0.0.1:{relay.wait_for(pattern)}",
        ]
    finally:
        relay.stop()
        mailbox.stop()


def wormhole(bench: Workbench, servers: list[str], source: Path, code: str, limit: float) -> float:
    """Send a file or a directory by magic-wormhole; return the seconds from Enter at the receiver to the end of both.

    Raises:
        BenchError: If a process fails, reaches beyond loopback, or not everything arrives.
    """
    target = bench.directory("wormhole")
    send = ["send", "--hide-progress", "--no-qr", "--code", code, source.name]
    sender = bench.start([*_WORMHOLE, *servers, *send], limit, cwd=source.parent)
    sender.wait_for(r"(Wormhole code is)")
    quiet_disk()
    time.sleep(SETTLE)
    receive = ["receive", "--hide-progress", "--accept-file", code]
    receiver = bench.start([*_WORMHOLE, *servers, *receive], limit, cwd=target)
    ended = max(receiver.wait().ended, sender.wait().ended)
    check_arrived(source, target)
    return ended - receiver.started
