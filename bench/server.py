"""The signaling server under load, against magic-wormhole's mailbox server in the same run.

Three figures: what a complete rendezvous costs, what a waiting transfer holds, and how long a message is on its way
among many live pairs. Each for the store in memory, for Redis with one instance, for Redis with two (the sender at
one, the receiver at the other), and for ``magic-wormhole-mailbox-server``. The client is the same light one for all
(``rendezvous_load.py``); it goes through the steps that each one's own clients go through, with the same number and
size of messages.

magic-wormhole's server keeps its database in memory and is told not to log (on disk, its default, it needs four times
the CPU); p2pal's logs as it does by default, and its limits per address are off. Redis writes no file.

    python bench/server.py                 # three to four minutes on two cores
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
    windows: int = 3
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


def measure_rendezvous(bench: Workbench, plan: Plan, starts: Sequence[Start]) -> list[Row]:
    """Return the rows of complete rendezvous: all servers run at once, and each takes its turn in every round."""
    figures: dict[str, list[tuple[float, float, float]]] = {}
    with ExitStack() as stack:
        limit = LIMIT * plan.rounds
        targets = [stack.enter_context(start(bench, limit)) for start in (*starts, wormhole)]
        for number in range(plan.rounds):
            note(f"server: rendezvous, round {number + 1} of {plan.rounds}")
            for target in targets if number % 2 == 0 else reversed(targets):
                options = ["--count", str(plan.count), "--workers", str(plan.workers)]
                used = _load(bench, "rendezvous", target, options)
                servers = len(target.servers)
                taken = (sum(used["cpu"][:servers]), sum(used["cpu"][servers:]), used["seconds"])
                figures.setdefault(target.name, []).append(taken)
    theirs = figures.pop("magic-wormhole")
    rows = []
    for name, ours in figures.items():
        rows.append(
            _speed(f"rendezvous per CPU-second, {name}", ours, theirs, plan.count, lambda t: t[0], limited=True)
        )
        if any(redis for _, redis, _ in ours):
            what = f"rendezvous per CPU-second, {name}, with Redis's"
            rows.append(_speed(what, ours, theirs, plan.count, lambda t: t[0] + t[1]))
        rows.append(_speed(f"rendezvous per second, {name}", ours, theirs, plan.count, lambda t: t[2]))
    return rows


def _speed(
    what: str,
    ours: Sequence[tuple[float, float, float]],
    theirs: Sequence[tuple[float, float, float]],
    count: int,
    cost: Callable[[tuple[float, float, float]], float],
    *,
    limited: bool = False,
) -> Row:
    mine, other = [count / cost(taken) for taken in ours], [count / cost(taken) for taken in theirs]
    ratio = median(one / two for one, two in zip(mine, other, strict=True))
    limit = f">= {MIN_RATIO:.2f}" if limited else ""
    ok = ratio >= MIN_RATIO if limited else None
    return Row(what, spread(mine, ".0f"), spread(other, ".0f"), f"{ratio:.2f}", limit, ok)


def measure_waiting(bench: Workbench, plan: Plan, starts: Sequence[Start]) -> list[Row]:
    """Return the rows of memory: of one transfer where both are compared, and of as many as ours must hold."""
    theirs = _held(bench, wormhole, [plan.compared])
    each = theirs[plan.compared][0] / plan.compared
    rows = []
    for start in starts:
        if start is redis_store_twice:
            continue  # what one instance holds does not depend on the others
        held = _held(bench, start, [plan.compared, plan.waiting])
        name = "memory store" if start is memory_store else "Redis"
        mine = [size / plan.compared for size in held[plan.compared]]
        text = _sizes([f"{size / 1e3:.1f} kB" for size in mine])
        what = f"memory of a waiting transfer, at {plan.compared:,}, {name}"
        rows.append(Row(what, text, f"{each / 1e3:.1f} kB", f"{mine[0] / each:.2f}"))
        whole = [size / 1e6 for size in held[-1]]
        what = f"{plan.waiting:,} waiting transfers with WebSockets, {name}"
        limit = MAX_WAITING * plan.waiting / WAITING / 1e6
        text = _sizes([f"{size:.0f} MB" for size in whole])
        rows.append(Row(what, text, limit=f"<= {limit:.0f} MB", ok=whole[0] <= limit))
    return rows


def _held(bench: Workbench, start: Start, counts: list[int]) -> dict[int, list[float]]:
    """Return the growth of each process for each count, and under -1 all that it holds in the end."""
    with start(bench, LIMIT) as target:
        note(f"server: waiting transfers, {target.name}")
        held = _load(bench, "waiting", target, ["--count", *map(str, counts)])["held"]
    growth = {count: [size - bare for size, bare in zip(held[str(count)], held["0"], strict=True)] for count in counts}
    return growth | {-1: held[str(counts[-1])]}


def _sizes(sizes: list[str]) -> str:
    return sizes[0] if len(sizes) == 1 else f"{sizes[0]}, Redis {sizes[1]}"


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
    parser.add_argument("--waiting", type=int, help="waiting transfers; the limit goes with them")
    args = parser.parse_args()
    plan = QUICK if args.quick else Plan()
    plan = replace(plan, rounds=args.rounds or plan.rounds, waiting=args.waiting or plan.waiting)
    with Workbench() as bench:
        return show(measure(bench, plan, only=args.only))


if __name__ == "__main__":
    sys.exit(main())
