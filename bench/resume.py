"""A transfer that was stopped at 90 % goes on: how soon a new byte comes, and how many come twice after a kill.

The sources are holes with a mark at every 64 KiB, so that what is in the receiver's part file tells how far it was
written, whatever either side claims. After a clean stop (Ctrl-C at the receiver) the clock starts with the process of
the next ``recv -y`` and stops at the first mark that was not there before. The kill is ``kill -9`` on both sides, at
several points of one transfer; bytes come twice that were written before it and that the receiver then asks for
again. What is in the page cache survives that, so the figure is the cost of claiming only what is durable.

    python bench/resume.py --runs 3
    python bench/resume.py --size 1024 --kill-size 512
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from data import GIB, KIB, MIB, marked_file
from processes import BenchError, Process, Workbench
from table import Row, median, note, show, spread
from transfer import check_arrived, home, resume_sender, signaling, start_receiver, start_sender

MAX_SECONDS: Final = 1.5
MAX_AGAIN: Final = 64 * MIB
"""Bytes that may come twice after a kill; one second of the rate if that is more."""

SIZE: Final = 10 * GIB
KILL_SIZE: Final = 2 * GIB
SHARE: Final = 0.9
MARKED_FROM: Final = 0.85
"""The share of the large source from which on it has marks: what comes before is not looked at."""

KILLS: Final = (0.3, 0.5, 0.7)
STEP: Final = 64 * KIB
MARK: Final = 16
"""Bytes of a mark."""

POLL: Final = 0.001
SLOWEST: Final = 16 * MIB
"""Bytes per second; who is slower has failed."""

LIMIT: Final = 30.0
"""Seconds from Enter to the first new byte, at most."""

INTERRUPTED: Final = 130


def measure(bench: Workbench, *, size: int, kill_size: int, runs: int) -> list[Row]:
    """Return the rows: the first new byte after a clean stop, and the bytes that come twice after a kill.

    Args:
        bench: Where.
        size: Bytes of the transfer that is stopped cleanly.
        kill_size: Bytes of the transfer that is killed.
        runs: How often the first goes on, and is stopped again.

    Raises:
        BenchError: If a process fails, nothing new comes, or the disk has no room.
    """
    if shutil.disk_usage(bench.path).free < max(size, kill_size) + 2 * GIB:
        raise BenchError(f"{bench.path} has no room for {max(size, kill_size) // GIB} GiB")
    seconds = (size + kill_size) / SLOWEST + LIMIT * (runs + len(KILLS) + 2)
    with signaling(bench, seconds) as url:
        return [_after_stop(bench, url, size, runs), _after_kill(bench, url, kill_size)]


def _after_stop(bench: Workbench, url: str, size: int, runs: int) -> Row:
    source = marked_file(bench.path / "stopped.bin", size, STEP, MARK, first=int(size * MARKED_FROM))
    target = bench.directory("stopped")
    limit = size / SLOWEST + LIMIT
    note(f"resume: sending {_amount(size)} up to {SHARE:.0%}")
    sender, code = start_sender(bench, url, source, limit)
    receiver = start_receiver(bench, url, code, target, limit)
    with Part(target, size, receiver, limit, first=int(size * MARKED_FROM)) as part:
        part.wait_for(int(size * SHARE), receiver)
        taken = []
        for number in range(runs):
            _stop(receiver, sender)
            note(f"resume: after a clean stop at {part.written() / size:.1%}, run {number + 1} of {runs}")
            before = part.written()
            sender, code = resume_sender(bench, url, _checkpoint(bench), limit)
            receiver = start_receiver(bench, url, code, target, limit)
            part.wait_for(before + 1, receiver)
            taken.append(time.perf_counter() - receiver.started)
            _resumed_at(receiver)
        _stop(receiver, sender)
    shutil.rmtree(target)
    source.unlink()
    return Row(
        f"{_amount(size)} resumed at {SHARE:.0%}, clean stop: Enter to first new byte",
        f"{spread(taken, '.2f')} s",
        limit=f"<= {MAX_SECONDS} s",
        ok=median(taken) <= MAX_SECONDS,
    )


def _after_kill(bench: Workbench, url: str, size: int) -> Row:
    source = marked_file(bench.path / "killed.bin", size, STEP, MARK)
    target = bench.directory("killed")
    limit = size / SLOWEST + LIMIT
    sender, code = start_sender(bench, url, source, limit)
    receiver = start_receiver(bench, url, code, target, limit)
    again, rates = [], []
    with Part(target, size, receiver, limit) as part:
        for share in KILLS:
            note(f"resume: {_amount(size)}, killed at {share:.0%}")
            part.wait_for(int(size * share), receiver)
            for process in (receiver, sender):
                process.stop(signal.SIGKILL)
            rates.append(_rate(receiver))
            written = part.written()
            sender, code = resume_sender(bench, url, _checkpoint(bench), limit)
            receiver = start_receiver(bench, url, code, target, limit)
            again.append(max(0, written - _resumed_at(receiver)))
    receiver.wait()
    sender.wait()
    check_arrived(source, target)
    shutil.rmtree(target)
    source.unlink()
    most = max(MAX_AGAIN, min(rates))
    return Row(
        f"{_amount(size)}, killed {len(KILLS)} times: bytes sent again each time",
        f"{spread([count / MIB for count in again], '.0f')} MiB",
        limit=f"<= {most / MIB:.0f} MiB",
        ok=max(again) <= most,
    )


class Part:
    """The receiver's part file, looked into from outside.

    Args:
        target: The directory that it appears in.
        size: Bytes of the whole file.
        receiver: Who makes it.
        limit: Seconds that anything may take.
        first: Where the marks begin.

    Raises:
        BenchError: If it does not appear.
    """

    def __init__(self, target: Path, size: int, receiver: Process, limit: float, *, first: int = 0) -> None:
        self._limit = limit
        self._first = -(-first // STEP)
        self._marks = -(-size // STEP) - self._first
        deadline = time.perf_counter() + LIMIT
        while not (found := list(target.glob(".p2pal-*.part"))):
            if time.perf_counter() > deadline:
                raise BenchError(f"no part file within {LIMIT:.0f} s: {receiver.stderr[-300:]}")
            time.sleep(POLL)
        self._file = found[0].open("rb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def written(self) -> int:
        """Return how far it is written, in bytes, to the last mark."""
        low, high = 0, self._marks
        while low < high:
            middle = (low + high) // 2
            if self._has(middle):
                low = middle + 1
            else:
                high = middle
        return (self._first + low) * STEP

    def _has(self, mark: int) -> bool:
        return b"\0" not in (os.pread(self._file.fileno(), MARK, (self._first + mark) * STEP) or b"\0")

    def wait_for(self, position: int, receiver: Process) -> None:
        """Wait until it is written as far as that.

        Raises:
            BenchError: If it takes too long, or the whole file came first.
        """
        mark = min(-(-position // STEP) - self._first, self._marks) - 1
        deadline = receiver.started + self._limit
        while mark >= 0 and not self._has(mark):
            if time.perf_counter() > deadline:
                raise BenchError(f"stuck at {self.written():,} bytes: {receiver.stderr[-300:]}")
            time.sleep(POLL)
        if self._has(self._marks - 1):
            raise BenchError("the transfer was over too soon: take a larger --size")


def _stop(receiver: Process, sender: Process) -> None:
    code = receiver.stop(signal.SIGINT).code
    if code != INTERRUPTED:
        raise BenchError(f"the receiver ended with {code} instead of stopping: {receiver.stderr[-300:]}")
    sender.stop(signal.SIGINT)


def _checkpoint(bench: Workbench) -> str:
    """Return the id of the sender's last checkpoint."""
    found = sorted((home(bench) / "checkpoints").glob("*.send"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise BenchError("the sender left no checkpoint")
    return found[-1].stem


def _resumed_at(receiver: Process) -> int:
    """Return how many bytes the receiver has already, as it says when it goes on."""
    return int(receiver.wait_for(r'"event":"resuming"[^\n]*"done":([0-9]+)'))


def _rate(receiver: Process) -> float:
    """Return the last rate that the receiver told of, bytes per second."""
    found: Sequence[str] = re.findall(r'"event":"progress"[^\n]*"rate":([0-9.e+]+)', receiver.stdout)
    return float(found[-1]) if found else 0.0


def _amount(size: int) -> str:
    return f"{size // GIB} GiB" if size >= GIB else f"{size // MIB} MiB"


def main() -> int:
    """Measure resuming alone."""
    parser = argparse.ArgumentParser(description="Measure how a stopped transfer goes on.")
    parser.add_argument("--size", type=int, default=SIZE // MIB, help="MiB of the transfer that is stopped cleanly")
    parser.add_argument("--kill-size", type=int, default=KILL_SIZE // MIB, help="MiB of the one that is killed")
    parser.add_argument("--runs", type=int, default=3, help="how often the first goes on")
    args = parser.parse_args()
    with Workbench() as bench:
        return show(measure(bench, size=args.size * MIB, kill_size=args.kill_size * MIB, runs=args.runs))


if __name__ == "__main__":
    sys.exit(main())
