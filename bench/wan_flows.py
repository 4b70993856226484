"""What runs over a link in ``wan.py``: a p2pal transfer, one TCP stream, or a bare datagram lane.

Each tells how many bytes had arrived when, by the clock that all processes of a machine share.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from data import sparse_file
from emulated import Name, Wan
from processes import BenchError, Process, Workbench
from transfer import p2pal
from wan_cells import Cell

SPARE: Final = 180.0
"""Seconds for everything around what is measured."""

_HERE: Final = Path(__file__).parent
_CODE: Final = r'"code":"([a-z]+(?:-[a-z]+)+-\d+)"'
_MEMORY: Final = Path("/dev/shm")

Point = tuple[float, int]


def arrived(points: Sequence[Point], at: float) -> float:
    """Return how many bytes had arrived at that time, between what was told before and after.

    Raises:
        BenchError: If nothing was told afterwards.
    """
    after = bisect_right(points, at, key=lambda point: point[0])
    if after == 0:
        return 0.0
    if after == len(points):
        if points[-1][0] < at:
            raise BenchError("what arrives is not told any more")
        return float(points[-1][1])
    (then, had), (later, has) = points[after - 1], points[after]
    return had + (has - had) * (at - then) / (later - then)


class Flow(ABC):
    """Something that sends from Alice to Bob.

    Args:
        bench: Where its processes run.
        wan: The hosts.
        seconds: How long it runs at most.

    Attributes:
        name: What the table calls it.
        points: When how many bytes had arrived, from the first moment on.
    """

    name: str

    def __init__(self, bench: Workbench, wan: Wan, seconds: float) -> None:
        self._bench, self._wan = bench, wan
        self._limit = seconds + SPARE
        self._processes: list[Process] = []
        self._offset = 0
        self.points: list[Point] = []
        self.receiver: Process

    @abstractmethod
    def prepare(self) -> None:
        """Start what has to wait for the other side."""

    @abstractmethod
    def begin(self) -> None:
        """Start the other side."""

    @abstractmethod
    def read(self, line: str, now: float) -> None:
        """Take a line of what the receiver says."""

    def start(self, host: Name, *argv: str | os.PathLike[str], **env: str) -> Process:
        """Run a process on a host until the flow stops."""
        process = self._bench.start([*self._wan.wrapper(host), *argv], self._limit, env=env)
        self._processes.append(process)
        return process

    def poll(self) -> None:
        """Look at what the receiver said since the last time.

        Raises:
            BenchError: If it is over.
        """
        said = self.receiver.said_since(self._offset)
        if said:
            self._offset += len(said) + 1
        now = time.monotonic()
        for line in said.decode(errors="replace").splitlines():
            self.read(line, now)
        if self.receiver.ended:
            raise BenchError(f"{self.name} was over too soon: {self.said}")

    def remark(self) -> str:
        """What is to be told of it beside its goodput, or nothing."""
        return ""

    @property
    def said(self) -> str:
        """What its receiver said last."""
        return f"{self.receiver.stdout} {self.receiver.stderr}".strip()[-400:] or "it said nothing"

    def stop(self) -> None:
        """End its processes."""
        for process in reversed(self._processes):
            process.stop(signal.SIGKILL)


class Points(Flow):
    """A flow whose receiver prints points by itself."""

    def read(self, line: str, now: float) -> None:  # noqa: ARG002
        if line.startswith("point "):
            _, at, count = line.split()
            self.points.append((float(at), int(count)))


class Tcp(Points):
    """One TCP stream with a congestion control of the kernel."""

    def __init__(self, bench: Workbench, wan: Wan, seconds: float, algorithm: str) -> None:
        super().__init__(bench, wan, seconds)
        self.name = self._algorithm = algorithm

    def prepare(self) -> None:
        self.receiver = self.start("bob", sys.executable, _HERE / "wan_stream.py", "receive", self._wan.address("bob"))
        self._port = self.receiver.wait_for(r"port=(\d+)\n")

    def begin(self) -> None:
        where = (self._wan.address("bob"), self._port)
        self.start("alice", sys.executable, _HERE / "wan_stream.py", "send", *where, self._algorithm)


class Bare(Points):
    """A datagram lane without anything above it."""

    name = "bare lane"

    def prepare(self) -> None:
        self.receiver = self.start("bob", sys.executable, _HERE / "wan_lane.py", "receive", self._wan.address("bob"))
        self._port = self.receiver.wait_for(r"port=(\d+)\n")

    def begin(self) -> None:
        addresses = (self._wan.address("alice"), self._wan.address("bob"))
        self._sender = self.start("alice", sys.executable, _HERE / "wan_lane.py", "send", *addresses, self._port)

    def remark(self) -> str:
        """What the lane said of itself last: bytes, seconds, bytes per second."""
        said = [line for line in self._sender.stdout.splitlines() if line.startswith("figures ")]
        figures = json.loads(said[-1].partition(" ")[2]) if said else {}
        return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


class P2pal(Flow):
    """One transfer of a large file, end to end, from consent on.

    Args:
        url: The server's.
        size: Bytes of the file.
        lanes: The kinds of lanes that both sides are restricted to; none for what they choose themselves.
        folder: An empty directory for the file and what arrives.
    """

    name = "p2pal"

    def __init__(
        self, bench: Workbench, wan: Wan, seconds: float, *, url: str, size: int, lanes: Sequence[str], folder: Path
    ) -> None:
        super().__init__(bench, wan, seconds)
        self._folder = folder
        self._size = size
        chosen = [word for lane in lanes for word in ("-lane", lane)]
        self._how = ("-server", url, "-stun", "none", "-y", "--json", *chosen)
        self._env = environment(folder / "home")

    def prepare(self) -> None:
        home = self._folder / "home"
        home.mkdir(parents=True)
        source = sparse_file(self._folder / "wan.bin", self._size)
        self._sender = self.start("alice", *p2pal(), "send", *self._how, source, **self._env)

    def begin(self) -> None:
        code = self._sender.wait_for(_CODE)
        target = self._folder / "target"
        target.mkdir()
        self.receiver = self.start("bob", *p2pal(), "recv", *self._how, "-out", target, code, **self._env)

    def read(self, line: str, now: float) -> None:
        event = json.loads(line)
        if event["event"] == "accepted":
            self.points.append((now, 0))
        elif event["event"] == "progress" and self.points:
            self.points.append((now, event["done"]))
        elif event["event"] in {"error", "summary"}:
            raise BenchError(f"the transfer was over too soon: {event}")

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def environment(home: Path) -> dict[str, str]:
    """What a p2pal command of a host of the emulator has in its environment."""
    return {"P2PAL_HOME": os.fspath(home), "P2PAL_ONLY_LOOPBACK": "", "no_proxy": "*"}


def serve(bench: Workbench, wan: Wan, folder: Path, seconds: float) -> tuple[Process, str]:
    """Start a signaling server on Bob's host; return it and its URL."""
    argv = [*wan.wrapper("bob"), *p2pal(), "server", "--host", wan.address("bob"), "--port", "0"]
    server = bench.start(argv, seconds + SPARE, env=environment(folder))
    return server, f"http://{wan.address('bob')}:{server.wait_for(r'listening.*port=([0-9]+)')}"


def roomy(size: int) -> Path | None:
    """Return where so many bytes can be kept in memory, if that is possible: a busy disk stops the emulator, too."""
    return _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 2 * size else None


def size_of(cell: Cell, seconds: float) -> int:
    """How many bytes may arrive over the link of a cell in so many seconds, and some more."""
    return int(cell.mbit * 1e6 / 8 * (seconds + 10))
