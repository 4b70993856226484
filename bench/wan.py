"""Goodput over long and lossy links, against one TCP stream over the same link.

Sender and receiver are hosts of their own (network namespaces), and the link between them is emulated in user space
(``tests/network/emulator``), so this wants Linux, root and a C compiler. Each cell is a round-trip time, a rate and a
share of packets that are lost at random in each direction; the queue is drop-tail, one bandwidth-delay product, but at
least 20 ms. p2pal (WebRTC), one TCP CUBIC stream and one stream of the kernel's default send the same way for the same
time, one after the other: bytes that arrived in so many seconds from consent or from the connection, the ramp included.
Which packets are lost is the same for all, by their number. What arrives is written to memory where there is room.

A cell that the emulator itself disturbed, or another program, is told as such, and counts neither way.

    python bench/wan.py                                            # some thirteen minutes
    python bench/wan.py --quick
    python bench/wan.py --rtt 100 --loss 0 1 --clean-mbit --seconds 30
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from data import quiet_disk, sparse_file
from processes import BenchError, Process, Workbench
from table import Row, failed, note, show
from transfer import p2pal

sys.path.append(os.fspath(Path(__file__).parents[1]))

from tests.network.emulator.wan import Wan
from tests.network.emulator.wire import Link
from tests.network.namespaces import NetworkError

CLEAN_RATIO: Final = 0.90
"""p2pal by CUBIC where nothing is lost."""

LOSSY_RATIO: Final = 1.5
"""p2pal by CUBIC where packets are lost at random."""

LOSSY_FROM: Final = 20.0
"""Milliseconds of the round trip from which on there is a limit for lossy links."""

SPARE: Final = 60.0
"""Seconds for everything around what is measured."""

OTHERS: Final = 0.15
"""The share of all cores that other programs may take while something is measured."""

POLL: Final = 0.02
MEMORY: Final = Path("/dev/shm")
_STREAM: Final = (sys.executable, Path(__file__).with_name("wan_stream.py"))
_CODE: Final = r'"code":"([a-z]+(?:-[a-z]+)+-\d+)"'
_WINDOWS: Final = {"ipv4/tcp_rmem": "4096 131072 67108864", "ipv4/tcp_wmem": "4096 16384 67108864"}
"""Room for TCP's windows: two bandwidth-delay products of the longest and fastest link are 12.5 MB."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        seconds: How long each stream runs.
        rtt: Round-trip times, milliseconds.
        loss: Percent of the packets, in each direction.
        mbit: Rates that are measured with every loss, Mbit/s.
        clean_mbit: Rates that are measured without loss alone.
    """

    seconds: float = 15.0
    rtt: Sequence[float] = (1, 20, 50, 100)
    loss: Sequence[float] = (0, 0.1, 1)
    mbit: Sequence[float] = (100,)
    clean_mbit: Sequence[float] = (500,)

    @property
    def cells(self) -> list[Cell]:
        """Every combination."""
        cells = [Cell(mbit, rtt, loss) for mbit in self.mbit for loss in self.loss for rtt in self.rtt]
        return cells + [Cell(mbit, rtt, 0) for mbit in self.clean_mbit for rtt in self.rtt]


QUICK: Final = Plan(seconds=5.0, rtt=(20, 100), loss=(0, 1), clean_mbit=())


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of link: Mbit/s, milliseconds of the round trip, percent of loss."""

    mbit: float
    rtt: float
    loss: float

    def __str__(self) -> str:
        return f"{self.mbit:g} Mbit/s, RTT {self.rtt:g} ms, loss {self.loss:g} %"

    @property
    def link(self) -> Link:
        """Each direction of it."""
        return Link(delay=self.rtt / 2000, loss=self.loss / 100, rate=self.mbit * 1e6)

    @property
    def limit(self) -> float | None:
        """What p2pal is to reach, by CUBIC."""
        if not self.loss:
            return CLEAN_RATIO
        return LOSSY_RATIO if self.rtt >= LOSSY_FROM else None


@dataclass(frozen=True, slots=True)
class Goodput:
    """Mbit/s of what arrived, and why that is not to be trusted, or nothing."""

    mbit: float
    doubt: str


Stream = Callable[[Workbench, Wan, Cell, float], float]


def measure(bench: Workbench, plan: Plan) -> list[Row]:
    """Return a row for each cell, also for one that failed: the others took minutes."""
    rows = []
    for number, cell in enumerate(plan.cells, 1):
        note(f"wan: {cell} ({number} of {len(plan.cells)})")
        try:
            ours = run(bench, cell, plan.seconds, "p2pal", transfer)
            cubic = run(bench, cell, plan.seconds, "CUBIC", partial(tcp, algorithm="cubic"))
            default = run(bench, cell, plan.seconds, default_algorithm(), tcp)
        except BenchError as error:
            note(f"wan: {error}")
            rows.append(failed(str(cell), error))
        else:
            rows.append(compare(cell, ours=ours, cubic=cubic, default=default))
    return rows


def compare(cell: Cell, *, ours: Goodput, cubic: Goodput, default: Goodput) -> Row:
    """Return a cell's row."""
    ratio = ours.mbit / cubic.mbit if cubic.mbit else float("inf")
    doubt = ours.doubt or cubic.doubt
    limit = "" if cell.limit is None else f">= {cell.limit:.2f}"
    return Row(
        str(cell),
        f"{ours.mbit:.1f} Mbit/s",
        f"CUBIC {cubic.mbit:.1f}, {default_algorithm()} {default.mbit:.1f}{' (doubtful)' if default.doubt else ''}",
        f"{ratio:.2f}",
        f"not to be trusted: {doubt}" if doubt else limit,
        ok=None if doubt or cell.limit is None else ratio >= cell.limit,
    )


def run(bench: Workbench, cell: Cell, seconds: float, name: str, stream: Stream) -> Goodput:
    """Let one stream run over a link of its own.

    Raises:
        BenchError: If a process fails, or this machine cannot emulate links.
    """
    quiet_disk()
    others = Others()
    try:
        with Wan(cell.link) as wan:
            for setting, value in _WINDOWS.items():
                wan.configure(setting, value)
            mbit = stream(bench, wan, cell, seconds) * 8 / seconds / 1e6
            there, doubt = wan.counts("alice"), wan.doubt
    except (NetworkError, OSError) as error:
        raise BenchError(f"the link cannot be emulated: {error}") from error
    goodput = Goodput(mbit, doubt or others.doubt())
    wait = there.longest_queue * 8 / cell.mbit / 1e3
    note(
        f"wan: {name:>6} {goodput.mbit:6.1f} Mbit/s; {there.packets} packets, {there.lost} lost, "
        f"{there.overflowed} dropped at the queue, which took up to {wait:.0f} ms; "
        f"late by {there.late * 1e6:.0f} us{', NOT TO BE TRUSTED: ' + goodput.doubt if goodput.doubt else ''}"
    )
    return goodput


class Others:
    """What the machine does beside this benchmark, from now on: it has few cores, and a link needs them all."""

    def __init__(self) -> None:
        self._started, self._used = time.perf_counter(), self._use()

    @staticmethod
    def _use() -> float:
        """Return the seconds of CPU that all processes used so far, without this one and those that it reaped."""
        fields = Path("/proc/stat").read_text(encoding="ascii").split(maxsplit=4)
        own = os.times()
        return sum(map(int, fields[1:4])) / os.sysconf("SC_CLK_TCK") - sum(own[:4])

    def doubt(self) -> str:
        """Return why a figure is not to be trusted, or nothing, once all processes that took part were reaped."""
        cores = (self._use() - self._used) / (time.perf_counter() - self._started)
        return f"other programs took {cores:.1f} cores" if cores > OTHERS * (os.cpu_count() or 1) else ""


def default_algorithm() -> str:
    """Name the kernel's own choice for TCP."""
    return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text(encoding="ascii").strip()


def tcp(bench: Workbench, wan: Wan, _cell: Cell, seconds: float, algorithm: str = "") -> float:
    """Return how many bytes one TCP stream brought.

    Raises:
        BenchError: If a process fails.
    """
    address = wan.address("bob")
    limit = seconds + SPARE
    receiver = bench.start([*wan.wrapper("bob"), *_STREAM, "receive", address, str(seconds)], limit)
    port = receiver.wait_for(r"port=(\d+)\n")
    sender = bench.start([*wan.wrapper("alice"), *_STREAM, "send", address, port, algorithm], limit)
    count = int(receiver.wait_for(r"bytes=(\d+)\n"))
    receiver.wait()
    sender.stop(signal.SIGKILL)
    return count


def transfer(bench: Workbench, wan: Wan, cell: Cell, seconds: float) -> float:
    """Return how many bytes of a file p2pal brought.

    Raises:
        BenchError: If a process fails.
    """
    size = int(cell.mbit * 1e6 / 8 * (seconds + 5))
    with tempfile.TemporaryDirectory(prefix="p2pal-wan-", dir=roomy(size) or bench.path) as scratch:
        home, target = Path(scratch, "home"), Path(scratch, "target")
        home.mkdir()
        target.mkdir()
        return _transfer(bench, wan, sparse_file(home / "wan.bin", size), target, seconds)


def roomy(size: int) -> Path | None:
    """Return where so many bytes can be kept in memory, if that is possible: a busy disk stops the emulator, too."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 2 * size else None


def _transfer(bench: Workbench, wan: Wan, source: Path, target: Path, seconds: float) -> float:
    limit = seconds + SPARE
    home = source.parent
    env = {"P2PAL_HOME": os.fspath(home), "P2PAL_ONLY_LOOPBACK": "", "no_proxy": "*"}
    address = wan.address("bob")
    server = bench.start([*wan.wrapper("bob"), *p2pal(), "server", "--host", address, "--port", "0"], limit, env=env)
    url = f"http://{address}:{server.wait_for(r'listening.*port=([0-9]+)')}"
    how = ("-server", url, "-stun", "none", "-y", "--json")
    sender = bench.start([*wan.wrapper("alice"), *p2pal(), "send", *how, os.fspath(source)], limit, env=env)
    code = sender.wait_for(_CODE)
    receiver = bench.start(
        [*wan.wrapper("bob"), *p2pal(), "recv", *how, "-out", os.fspath(target), code], limit, env=env
    )
    receiver.wait_for('"event":"(accepted)"')
    count = arrived(receiver, time.perf_counter(), seconds)
    for process in (receiver, sender, server):
        process.stop(signal.SIGKILL)
    return count


def arrived(receiver: Process, started: float, seconds: float) -> float:
    """Return how many bytes the receiver had after so many seconds, between what it told before and after.

    Raises:
        BenchError: If it tells no more.
    """
    before, told = (0.0, 0), 0
    while True:
        now = time.perf_counter() - started
        whole, _, _ = receiver.stdout.rpartition("\n")
        lines = whole.splitlines()
        for event in map(json.loads, lines[told:]):
            if event["event"] in {"error", "summary"}:
                raise BenchError(f"the transfer was over too soon: {event}")
            if event["event"] != "progress":
                continue
            if now >= seconds:
                (then, had), has = before, event["done"]
                return had + float(has - had) * (seconds - then) / (now - then)
            before = (now, event["done"])
        told = len(lines)
        if now > seconds + SPARE / 2:
            raise BenchError(f"the receiver tells nothing any more: {receiver.stderr[-300:]}")
        time.sleep(POLL)


def main() -> int:
    """Measure long links alone."""
    parser = argparse.ArgumentParser(description="Compare p2pal with one TCP stream over long and lossy links.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter: a minute and a half")
    parser.add_argument("--seconds", type=float, help="how long each stream runs")
    parser.add_argument("--rtt", type=float, nargs="+", metavar="MS", help="round-trip times")
    parser.add_argument("--loss", type=float, nargs="+", metavar="PERCENT", help="losses in each direction")
    parser.add_argument("--mbit", type=float, nargs="*", help="rates that are measured with every loss")
    parser.add_argument("--clean-mbit", type=float, nargs="*", metavar="MBIT", help="rates measured without loss alone")
    parser.add_argument(
        "--dir", type=Path, help="where to work; what arrives is written there, too, if /dev/shm has no room"
    )
    args = parser.parse_args()
    plan = QUICK if args.quick else Plan()
    given = {name: getattr(args, name) for name in ("seconds", "rtt", "loss", "mbit", "clean_mbit")}
    plan = replace(plan, **{name: value for name, value in given.items() if value is not None})
    with Workbench(args.dir) as bench:
        return show(measure(bench, plan))


if __name__ == "__main__":
    sys.exit(main())
