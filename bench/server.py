"""The signaling server under load, against magic-wormhole's mailbox server in the same run.

Three figures: what a complete rendezvous costs, what a waiting transfer holds, and how long a message is on its way
among many live pairs. Each for the store in memory, for Redis with one instance, for Redis with two (the sender at
one, the receiver at the other), and for ``magic-wormhole-mailbox-server``. The client is the same light one for all
(``rendezvous_load.py``); it goes through the steps that each one's own clients go through, with the same number and
size of messages.

magic-wormhole's server keeps its database in memory and is told not to log (on disk, its default, it needs four times
the CPU); p2pal's logs as it does by default, and its limits per address are off. Redis writes no file.

    python bench/server.py                 # some three minutes on two cores
    python bench/server.py --quick
    python bench/server.py --only rendezvous --rounds 9
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mailbox_servers import Start, Target, memory_store, redis_store, redis_store_twice, wormhole
from processes import Workbench
from table import Row, median, note, show, spread

MIN_RATIO: Final = 1.0
"""Rendezvous per CPU-second of the server, ours by theirs."""

MAX_WAITING: Final = 250e6
"""Bytes of one server process that holds :data:`WAITING` transfers with open WebSockets."""

WAITING: Final = 10_000
LIMIT: Final = 150.0
"""Seconds for each load, at most."""

_LOAD: Final = (sys.executable, Path(__file__).with_name("rendezvous_load.py"))


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure.

    Attributes:
        count: Rendezvous in a round.
        rounds: Rounds, in turn.
        workers: Rendezvous under way at once.
        compared: Waiting transfers where both servers are compared.
        waiting: Waiting transfers where ours is held to its limit.
        pairs: Live pairs for the latency.
        rate: Messages per second over all pairs.
        windows: How often the latency is taken.
        window: Seconds of each time.
    """

    count: int = 300
    rounds: int = 5
    workers: int = 16
    compared: int = 2000
    waiting: int = WAITING
    pairs: int = 1000
    rate: float = 200.0
    windows: int = 4
    window: float = 3.0


QUICK: Final = Plan(count=100, rounds=3, pairs=200, windows=2, window=2.0)


def measure(bench: Workbench, plan: Plan, *, only: Sequence[str] = ()) -> list[Row]:
    """Return the rows.

    Raises:
        BenchError: If a process fails.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for the processes that are started here
    starts: list[Start] = [memory_store, redis_store, redis_store_twice]
    rows = []
    if shutil.which("redis-server") is None:
        starts = [memory_store]
        rows.append(Row("signaling server on Redis", "no redis-server on this machine"))
    for name, figure in FIGURES.items():
        if not only or name in only:
            rows += figure(bench, plan, starts)
    return rows


@dataclass(frozen=True, slots=True)
class Taken:
    """What one rendezvous took on the average of a round: seconds of CPU of all servers and of Redis, and of time."""

    servers: float
    redis: float
    seconds: float


def measure_rendezvous(bench: Workbench, plan: Plan, starts: Sequence[Start]) -> list[Row]:
    """Return the rows of complete rendezvous: all servers run at once, and each takes its turn in every round."""
    figures: dict[str, list[Taken]] = {}
    with ExitStack() as stack:
        limit = LIMIT * plan.rounds
        targets = [stack.enter_context(start(bench, limit)) for start in (*starts, wormhole)]
        for number in range(plan.rounds):
            note(f"server: rendezvous, round {number + 1} of {plan.rounds}")
            for target in targets if number % 2 == 0 else reversed(targets):
                options = ["--count", str(plan.count), "--workers", str(plan.workers)]
                used = _load(bench, "rendezvous", target, options)
                cpu, servers = [seconds / plan.count for seconds in used["cpu"]], len(target.servers)
                taken = Taken(sum(cpu[:servers]), sum(cpu[servers:]), used["seconds"] / plan.count)
                figures.setdefault(target.name, []).append(taken)
    theirs = figures.pop("magic-wormhole")
    rows = []
    for name, ours in figures.items():
        rows.append(_speed(f"rendezvous per CPU-second, {name}", ours, theirs, lambda t: t.servers, limited=True))
        if any(taken.redis for taken in ours):
            what = f"rendezvous per CPU-second, {name}, with Redis's"
            rows.append(_speed(what, ours, theirs, lambda t: t.servers + t.redis))
        rows.append(_cost(f"CPU of a rendezvous, {name}", ours, theirs))
        rows.append(_speed(f"rendezvous per second, {name}", ours, theirs, lambda t: t.seconds))
    return rows


def _speed(
    what: str,
    ours: Sequence[Taken],
    theirs: Sequence[Taken],
    cost: Callable[[Taken], float],
    *,
    limited: bool = False,
) -> Row:
    mine, other = [1.0 / cost(taken) for taken in ours], [1.0 / cost(taken) for taken in theirs]
    ratio = median(one / two for one, two in zip(mine, other, strict=True))
    limit = f">= {MIN_RATIO:.2f}" if limited else ""
    ok = ratio >= MIN_RATIO if limited else None
    return Row(what, spread(mine, ".0f"), spread(other, ".0f"), f"{ratio:.2f}", limit, ok)


def _cost(what: str, ours: Sequence[Taken], theirs: Sequence[Taken]) -> Row:
    servers, redis = median(t.servers for t in ours) * 1e3, median(t.redis for t in ours) * 1e3
    text = _listed([f"{servers:.2f} ms", *([f"{redis:.2f} ms"] if redis else [])])
    return Row(what, text, f"{median(t.servers for t in theirs) * 1e3:.2f} ms")


def measure_waiting(bench: Workbench, plan: Plan, starts: Sequence[Start]) -> list[Row]:
    """Return the rows of memory: of one transfer where both are compared, and of as many as ours must hold."""
    each = _held(bench, wormhole, plan.compared)[0][0]
    rows = []
    for start in starts:
        if start is redis_store_twice:
            continue  # what one instance holds does not depend on the others
        mine, whole = _held(bench, start, plan.compared, plan.waiting)
        name = "memory store" if start is memory_store else "Redis"
        what = f"memory of a waiting transfer, at {plan.compared:,}, {name}"
        text = _listed([f"{size / 1e3:.1f} kB" for size in mine])
        rows.append(Row(what, text, f"{each / 1e3:.1f} kB", f"{mine[0] / each:.2f}"))
        what = f"{plan.waiting:,} waiting transfers with WebSockets, {name}"
        text = _listed([f"{size / 1e6:.0f} MB" for size in whole])
        if plan.waiting == WAITING:
            rows.append(Row(what, text, limit=f"<= {MAX_WAITING / 1e6:.0f} MB", ok=whole[0] <= MAX_WAITING))
        else:
            rows.append(Row(what, text))
    return rows


def _held(bench: Workbench, start: Start, *counts: int) -> tuple[list[float], list[float]]:
    """Return the bytes of each process: what one of the first count made it grow by, and all that it holds at last."""
    with start(bench, LIMIT) as target:
        note(f"server: waiting transfers, {target.name}")
        held = _load(bench, "waiting", target, ["--count", *map(str, counts)])["held"]
    few, last = held[str(counts[0])], held[str(counts[-1])]
    return [(size - bare) / counts[0] for size, bare in zip(few, held["0"], strict=True)], last


def _listed(values: list[str]) -> str:
    return values[0] if len(values) == 1 else f"{values[0]}, Redis {values[1]}"


def measure_latency(bench: Workbench, plan: Plan, starts: Sequence[Start]) -> list[Row]:
    """Return the rows of latency: from the append of one peer to the message at the other."""
    taken: dict[str, tuple[float, float]] = {}
    for start in (wormhole, *starts):
        with start(bench, LIMIT) as target:
            note(f"server: latency, {target.name}")
            options = ["--count", str(plan.pairs), "--rate", str(plan.rate)]
            options += ["--window", *[str(plan.window)] * plan.windows]
            windows = _load(bench, "latency", target, options)["latency"]
            taken[target.name] = (median(w[0] for w in windows) * 1e3, median(w[1] for w in windows) * 1e3)
    theirs = taken.pop("magic-wormhole")
    return [
        Row(
            f"latency among {plan.pairs:,} live pairs, {name}",
            f"{half:.2f} ms, 99th in 100 {most:.2f} ms",
            f"{theirs[0]:.2f} ms, 99th in 100 {theirs[1]:.2f} ms",
            f"{half / theirs[0]:.2f}",
        )
        for name, (half, most) in taken.items()
    ]


def _load(bench: Workbench, figure: str, target: Target, options: list[str]) -> dict[str, Any]:
    where = ["--dialect", target.dialect, "--url", *target.urls, "--pid", *target.pids]
    process = bench.start([*_LOAD, figure, *where, *options, "--limit", str(LIMIT - 10.0)], LIMIT, cwd=bench.path)
    process.wait()
    result: dict[str, Any] = json.loads(process.stdout)
    return result


FIGURES: Final[dict[str, Callable[[Workbench, Plan, Sequence[Start]], list[Row]]]] = {
    "rendezvous": measure_rendezvous,
    "waiting": measure_waiting,
    "latency": measure_latency,
}


def main() -> int:
    """Measure the signaling server alone."""
    parser = argparse.ArgumentParser(description="Measure the signaling server against magic-wormhole's.")
    parser.add_argument("--quick", action="store_true", help="fewer, and more noise")
    parser.add_argument("--only", nargs="+", choices=[*FIGURES], default=[], help="some figures only")
    parser.add_argument("--rounds", type=int, help="how often each server takes its turn with rendezvous")
    parser.add_argument("--waiting", type=int, help="waiting transfers; the limit is for 10,000")
    args = parser.parse_args()
    plan = QUICK if args.quick else Plan()
    plan = replace(plan, rounds=args.rounds or plan.rounds, waiting=args.waiting or plan.waiting)
    with Workbench() as bench:
        return show(measure(bench, plan, only=args.only))


if __name__ == "__main__":
    sys.exit(main())
