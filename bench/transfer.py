"""One transfer by ``p2pal send`` and ``p2pal recv``, as processes, through a ``p2pal server`` on loopback."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from data import quiet_disk
from processes import BenchError, Process, Usage, Workbench

_LOOPBACK: Final = {"P2PAL_ONLY_LOOPBACK": "1"}
SETTLE: Final = 1.0
"""Seconds from the code on screen to Enter at the receiver: sooner, nobody could say it aloud."""

_CODE: Final = r'"code":"([a-z]+(?:-[a-z]+)+-\d+)"'
_BARE_CODE: Final = r"\b([a-z]+(?:-[a-z]+)+-\d+)\b"


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a transfer took.

    Attributes:
        sender: What the sending process used.
        receiver: What the receiving process used.
        wall: Seconds from Enter at the receiver to the end of both processes.
        seconds: Seconds from consent to 'every file verified and durable', the longer of what both sides say; 0 for a
            quiet transfer.
    """

    sender: Usage
    receiver: Usage
    wall: float
    seconds: float


@contextmanager
def signaling(bench: Workbench, limit: float) -> Iterator[str]:
    """Run a signaling server for the length of the block; give its URL."""
    server = bench.start([*p2pal(), "server", "--host", "127.0.0.1", "--port", "0"], limit, env=_LOOPBACK)
    try:
        yield f"http://127.0.0.1:{server.wait_for(r'listening.*port=([0-9]+)')}"
    finally:
        server.stop()


def p2pal() -> list[str]:
    """Return the start of a command line: the installed command of this interpreter, else the module."""
    command = Path(sys.executable).with_name("p2pal")
    return [os.fspath(command)] if command.exists() else [sys.executable, "-m", "p2pal"]


def environment(bench: Workbench) -> dict[str, str]:
    """Keep all traffic on this machine, and checkpoints in the scratch directory."""
    return _LOOPBACK | {"P2PAL_HOME": os.fspath(home(bench))}


def home(bench: Workbench) -> Path:
    """Return where the checkpoints of both sides are kept."""
    return bench.path / "home"


def start_sender(
    bench: Workbench, url: str, source: Path, limit: float, *, chunk_kib: int | None = None, quiet: bool = False
) -> tuple[Process, str]:
    """Start a sender; return it and its join code once it waits."""
    how = "-q" if quiet else "--json"
    chunk = [] if chunk_kib is None else ["-chunk-size", str(chunk_kib)]
    argv = ["-r", how, *chunk, os.fspath(source)]
    return _start_waiting(bench, url, argv, limit, _BARE_CODE if quiet else _CODE)


def resume_sender(bench: Workbench, url: str, checkpoint: str, limit: float) -> tuple[Process, str]:
    """Start a sender that goes on with an earlier transfer; return it and its new join code once it waits."""
    return _start_waiting(bench, url, ["--json", "--resume", checkpoint], limit, _CODE)


def _start_waiting(bench: Workbench, url: str, argv: list[str], limit: float, code: str) -> tuple[Process, str]:
    sender = bench.start(
        [*p2pal(), "send", "-server", url, "-stun", "none", "-y", *argv], limit, env=environment(bench)
    )
    found = sender.wait_for(code)
    quiet_disk()
    time.sleep(SETTLE)
    return sender, found


def start_receiver(
    bench: Workbench, url: str, code: str, target: Path, limit: float, *, quiet: bool = False
) -> Process:
    """Start a receiver."""
    how = "-q" if quiet else "--json"
    argv = [*p2pal(), "recv", "-server", url, "-stun", "none", "-y", how, "-out", os.fspath(target), code]
    return bench.start(argv, limit, env=environment(bench))


def transfer(
    bench: Workbench, url: str, source: Path, limit: float, *, chunk_kib: int | None = None, quiet: bool = False
) -> Transfer:
    """Send a file or a tree to a new directory.

    A file is removed again, a tree stays until the end: for a minute after inodes were freed, ext4 searches long for
    each new one, and the next run would be measured with that.

    Raises:
        BenchError: If a process fails or takes longer than ``limit`` seconds, or not everything arrives.
    """
    target = bench.directory("target")
    sender, code = start_sender(bench, url, source, limit, chunk_kib=chunk_kib, quiet=quiet)
    receiver = start_receiver(bench, url, code, target, limit, quiet=quiet)
    received = receiver.wait()
    sent = sender.wait()
    check_arrived(source, target)
    if not source.is_dir():
        shutil.rmtree(target)
    seconds = 0.0 if quiet else max(_summary(sender)["seconds"], _summary(receiver)["seconds"])
    return Transfer(sent, received, max(received.ended, sent.ended) - received.started, seconds)


def check_arrived(source: Path, target: Path) -> None:
    """Look at what arrived: the same number of files and bytes; what is in them the programs verified themselves.

    Raises:
        BenchError: If something is missing.
    """
    if _extent(source) != _extent(target / source.name):
        raise BenchError(f"{source.name} did not arrive whole")


def _extent(path: Path) -> tuple[int, int]:
    if not path.is_dir():
        return (1, path.stat().st_size) if path.exists() else (0, 0)
    count = size = 0
    for directory, _, names in os.walk(path):
        for name in names:
            count += 1
            size += os.stat(os.path.join(directory, name)).st_size
    return count, size


def _summary(process: Process) -> dict[str, Any]:
    for line in reversed(process.stdout.splitlines()):
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "summary":
            return event
    raise BenchError("a transfer ended without a summary")
