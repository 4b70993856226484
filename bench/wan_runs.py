"""One run of ``wan.py``: a link, what sends over it at once, and what came of it."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from data import quiet_disk
from emulated import Counts, NetworkError, Wan
from processes import BenchError, Workbench
from table import note
from wan_cells import LEAD, Cell
from wan_flows import Bare, Flow, P2pal, Point, Tcp, arrived, roomy, serve, size_of

OTHERS: Final = 0.15
"""The share of all cores that other programs may take while something is measured."""

POLL: Final = 0.02
SAMPLE: Final = 0.5
"""Seconds between two looks at what the link did."""

AFTER: Final = 1.0
"""Seconds after the end for which a flow runs on, so that what it tells covers the end."""

PATIENCE: Final = 60.0
"""Seconds that a flow may take to begin, and to tell more."""

PATIENCE_FLOW: Final = 3.0
"""Seconds that each flow may take to begin beside others."""

_WINDOWS: Final = {"ipv4/tcp_rmem": "4096 131072 67108864", "ipv4/tcp_wmem": "4096 16384 67108864"}
"""Room for TCP's windows: two bandwidth-delay products of the longest and fastest link are 25 MB."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What became of the sender's packets in a part of a run.

    Attributes:
        packets: How many came to the link.
        lost: Lost at random.
        overflowed: Dropped at the full queue.
        policed: Dropped by the policer.
    """

    packets: int
    lost: int
    overflowed: int
    policed: int

    @property
    def overrun(self) -> float:
        """The share that was dropped because too much was sent."""
        return (self.overflowed + self.policed) / self.packets if self.packets else 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one flow.

    Attributes:
        flow: Its name.
        seconds: How long it was measured.
        mbit: Mbit/s of what arrived in that time.
        first: The same for its beginning.
        whole: The link's packets in that time, of all flows together.
        later: The link's packets after the beginning.
        wait: The longest time that a packet waited in the queue, in seconds.
        doubt: Why that is not to be trusted, or nothing.
        points: Seconds from the beginning, and how many bytes had arrived then.
    """

    flow: str
    seconds: float
    mbit: float
    first: float
    whole: Traffic
    later: Traffic
    wait: float
    doubt: str
    points: list[Point]


class Samples:
    """What the link counted, and when."""

    def __init__(self, wan: Wan) -> None:
        self._wan = wan
        self._taken: list[tuple[float, Counts]] = []

    def look(self, now: float) -> None:
        """Take a sample if it is time."""
        if not self._taken or now - self._taken[-1][0] >= SAMPLE:
            self._taken.append((now, self._wan.counts("alice")))

    def between(self, start: float, end: float) -> Traffic:
        """What happened from one time to another, to the nearest sample."""
        one, other = self._nearest(start), self._nearest(end)
        return Traffic(*(getattr(other, each.name) - getattr(one, each.name) for each in fields(Traffic)))

    def _nearest(self, at: float) -> Counts:
        return min(self._taken, key=lambda sample: abs(sample[0] - at))[1]


class Runner:
    """Runs cells.

    Args:
        bench: Where processes run.
        lanes: The kinds of lanes that p2pal is restricted to.
        bare: Whether the datagram lane alone runs in p2pal's place.
        again: How often a run is measured again that something disturbed, at most.
    """

    def __init__(self, bench: Workbench, *, lanes: Sequence[str] = (), bare: bool = False, again: int = 0) -> None:
        self._bench, self._lanes, self._again = bench, lanes, again
        self.ours = Bare.name if bare else P2pal.name

    def run(self, cell: Cell, name: str, seconds: float, first: float, seed: int = 1) -> list[Result]:
        """Let what is named run over the link of a cell, beside its rival or several times at once.

        Raises:
            BenchError: If a process fails, or this machine cannot emulate links.
        """
        results = self._once(cell, name, seconds, first, seed)
        for number in range(self._again):
            if not results[0].doubt:
                break
            note(f"wan: once more ({number + 1} of {self._again})")
            results = self._once(cell, name, seconds, first, seed)
        return results

    def _once(self, cell: Cell, name: str, seconds: float, first: float, seed: int) -> list[Result]:
        quiet_disk()
        others = Others()
        try:
            with Wan(cell.there, cell.back, seed=seed) as wan, ExitStack() as stack:
                for setting, value in _WINDOWS.items():
                    wan.configure(setting, value)
                flows = self._flows(stack, wan, cell, name, seconds)
                with hogs(self._bench, cell.hogs, seconds):
                    samples, start = self._measure(wan, flows, seconds, LEAD if cell.rival else 0.0)
                    remarks = [remark for flow in flows if (remark := flow.remark())]
                wait, doubt = wan.counts("alice").longest_queue * 8 / cell.mbit / 1e6, wan.doubt
        except (NetworkError, OSError) as error:
            raise BenchError(f"the link cannot be emulated: {error}") from error
        doubt = doubt or others.doubt()
        first = min(first, seconds)
        whole, later = samples.between(start, start + seconds), samples.between(start + first, start + seconds)
        results = [
            Result(
                flow.name,
                seconds,
                arrived(flow.points, start + seconds) * 8e-6 / seconds - arrived(flow.points, start) * 8e-6 / seconds,
                (arrived(flow.points, start + first) - arrived(flow.points, start)) * 8e-6 / first,
                whole,
                later,
                wait,
                doubt,
                [(round(at - start, 3), count) for at, count in flow.points],
            )
            for flow in flows
        ]
        tell(results)
        for remark in remarks:
            note(f"wan: {'lane':>9} {remark}")
        return results

    def _flows(self, stack: ExitStack, wan: Wan, cell: Cell, name: str, seconds: float) -> list[Flow]:
        """Prepare what runs, in the order in which it begins."""
        whole = seconds + LEAD + PATIENCE_FLOW * cell.flows + PATIENCE
        flows: list[Flow] = []
        if name != self.ours:
            flows = [Tcp(self._bench, wan, whole, name)]
        elif name == Bare.name:
            flows = [Bare(self._bench, wan, whole) for _ in range(cell.flows)]
        else:
            parent = roomy(size_of(cell, whole)) or self._bench.path
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="p2pal-wan-", dir=parent)))
            server, url = serve(self._bench, wan, scratch / "server", whole)
            stack.callback(server.stop)
            for number in range(cell.flows):
                folder = scratch / str(number)
                size = size_of(cell, whole)
                flows.append(P2pal(self._bench, wan, whole, url=url, size=size, lanes=self._lanes, folder=folder))
        if cell.rival:
            rival = Tcp(self._bench, wan, whole, cell.rival)
            flows = [*flows, rival] if cell.order == "first" else [rival, *flows]
        for flow in flows:
            stack.callback(flow.stop)
            flow.prepare()
        return flows

    def _measure(self, wan: Wan, flows: Sequence[Flow], seconds: float, lead: float) -> tuple[Samples, float]:
        """Let them run; return what the link did, and when all of them had begun."""
        samples = Samples(wan)
        started: list[Flow] = []
        for flow in flows:
            if started:
                self._watch(samples, started, lead)
            flow.begin()
            started.append(flow)
        patience = time.monotonic() + PATIENCE + PATIENCE_FLOW * len(flows)
        while not all(flow.points for flow in flows):
            if time.monotonic() > patience:
                waiting = [flow for flow in flows if not flow.points]
                raise BenchError(f"{len(waiting)} of {len(flows)} do not begin: {waiting[0].said}")
            self._watch(samples, flows, POLL)
        start = max(flow.points[0][0] for flow in flows)
        self._watch(samples, flows, start + seconds + AFTER - time.monotonic())
        while any(flow.points[-1][0] < start + seconds for flow in flows):
            if time.monotonic() > start + seconds + PATIENCE:
                raise BenchError(f"{', '.join(flow.name for flow in flows)}: what arrives is not told any more")
            self._watch(samples, flows, POLL)
        return samples, start

    @staticmethod
    def _watch(samples: Samples, flows: Sequence[Flow], seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            samples.look(time.monotonic())
            for flow in flows:
                flow.poll()
            if (left := end - time.monotonic()) <= 0:
                return
            time.sleep(min(POLL * max(1.0, len(flows) / 4), left))


@contextmanager
def hogs(bench: Workbench, count: int, seconds: float) -> Iterator[None]:
    """Keep the processors busy for the length of the block."""
    argv = [sys.executable, "-c", "while True: pass"]
    running = [bench.start(argv, seconds + 3 * PATIENCE) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.stop()


def tell(results: Sequence[Result]) -> None:
    """Say on stderr what came of the flows of a run."""
    for result in results:
        note(f"wan: {result.flow:>9} {result.mbit:6.1f} Mbit/s, at first {result.first:.1f}")
    whole, doubt = results[0].whole, results[0].doubt
    policed = f", {whole.policed} dropped by the policer" if whole.policed else ""
    note(
        f"wan: {'link':>9} {whole.packets} packets, {whole.lost} lost, {whole.overflowed} dropped at the queue, "
        f"which took up to {results[0].wait * 1000:.0f} ms{policed}{f'; DOUBTFUL: {doubt}' if doubt else ''}"
    )


class Others:
    """What the machine does beside this benchmark, from now on: it has few cores, and a link needs them all."""

    def __init__(self) -> None:
        self._started, self._used = time.perf_counter(), self._use()

    @staticmethod
    def _use() -> float:
        """Return the seconds of CPU that all processes used so far, without this one and those that it reaped."""
        values = Path("/proc/stat").read_text(encoding="ascii").split(maxsplit=4)
        own = os.times()
        return sum(map(int, values[1:4])) / os.sysconf("SC_CLK_TCK") - sum(own[:4])

    def doubt(self) -> str:
        """Return why a figure is not to be trusted, or nothing, once all processes that took part were reaped."""
        cores = (self._use() - self._used) / (time.perf_counter() - self._started)
        return f"other programs took {cores:.1f} cores" if cores > OTHERS * (os.cpu_count() or 1) else ""
