"""Ten thousand small files, against magic-wormhole sending the same directory in the same run.

Both sides of both programs run on loopback. magic-wormhole gets a mailbox server and a transit relay of its own, and
can reach nothing else (``loopback_only.py``). In both cases the sender waits, and the clock runs from Enter at the
receiver until both processes ended. magic-wormhole packs the directory into one ZIP stream and does not wait for the
disk; p2pal verifies and makes durable every file.

    python bench/small_files.py --files 10000 --pairs 3
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from data import quiet_disk, tree
from processes import Workbench
from table import Row, median, note, show, spread
from transfer import SETTLE, check_arrived, signaling, transfer

FILES: Final = 10_000
SIZE: Final = 1024
MAX_RATIO: Final = 1.0
LIMIT: Final = 150.0

_GUARD: Final = (sys.executable, Path(__file__).with_name("loopback_only.py"))
_TWIST: Final = (*_GUARD, "twisted.application.twist._twist:Twist.main")
_WORMHOLE: Final = (*_GUARD, "wormhole.cli.cli:wormhole")


def measure(bench: Workbench, *, files: int, pairs: int) -> list[Row]:
    """Return the row.

    Raises:
        BenchError: If a process fails.
    """
    source = tree(bench.path / "small", files, SIZE)
    ours: list[float] = []
    theirs: list[float] = []
    limit = LIMIT * pairs * 2
    with signaling(bench, limit) as url, wormhole_servers(bench, limit) as servers:
        for pair in range(pairs):
            note(f"small files: pair {pair + 1} of {pairs}")
            theirs.append(wormhole(bench, servers, source, f"{pair + 1}-bench-{pair}"))
            ours.append(transfer(bench, url, source, LIMIT, quiet=True).wall)
    ratio = median(ours) / median(theirs)
    return [
        Row(
            f"{files:,} files of {SIZE} bytes, against magic-wormhole",
            f"{spread(ours, '.1f')} s",
            f"{spread(theirs, '.1f')} s",
            f"{ratio:.2f}",
            f"<= {MAX_RATIO:.2f}",
            ok=ratio <= MAX_RATIO,
        )
    ]


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


def wormhole(bench: Workbench, servers: list[str], source: Path, code: str) -> float:
    """Send a directory by magic-wormhole; return the seconds from Enter at the receiver to the end of both.

    Raises:
        BenchError: If a process fails, reaches beyond loopback, or not everything arrives.
    """
    target = bench.directory("wormhole")
    send = ["send", "--hide-progress", "--no-qr", "--code", code, source.name]
    sender = bench.start([*_WORMHOLE, *servers, *send], LIMIT, cwd=source.parent)
    sender.wait_for(r"(Wormhole code is)")
    quiet_disk()
    time.sleep(SETTLE)
    receive = ["receive", "--hide-progress", "--accept-file", code]
    receiver = bench.start([*_WORMHOLE, *servers, *receive], LIMIT, cwd=target)
    ended = max(receiver.wait().ended, sender.wait().ended)
    check_arrived(source, target)
    return ended - receiver.started


def main() -> int:
    """Measure small files alone."""
    parser = argparse.ArgumentParser(description="Send many small files by p2pal and by magic-wormhole.")
    parser.add_argument("--files", type=int, default=FILES, help="how many")
    parser.add_argument("--pairs", type=int, default=3, help="how often, in turn")
    args = parser.parse_args()
    with Workbench() as bench:
        return show(measure(bench, files=args.files, pairs=args.pairs))


if __name__ == "__main__":
    sys.exit(main())
