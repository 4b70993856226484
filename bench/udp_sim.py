"""Print what the datagram lane's congestion control makes of simulated links, as a table.

    python bench/udp_sim.py [--seconds N] [--seeds N] [--mbit N]

Time is virtual and every run has a seed: the figures are the same on every machine. Goodput is in percent of what the
link could carry of payload.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.append(os.fspath(Path(__file__).parents[1]))

from tests.sim.links import LaneFlow, LinkModel, Network
from tests.sim.tcp_flows import BbrFlow, CubicFlow, jain

SHARE = 1448 / 1500
CELLS: list[tuple[str, float, float, dict[str, float]]] = [
    *((f"clean, {rtt * 1000:.0f} ms", rtt, 1.0, {}) for rtt in (0.001, 0.02, 0.05, 0.1, 0.2)),
    *(
        (f"{loss:.1%} random loss, {rtt * 1000:.0f} ms", rtt, 1.0, {"loss": loss})
        for loss in (0.001, 0.01, 0.02)
        for rtt in (0.02, 0.05, 0.1, 0.2)
    ),
    *((f"queue of a quarter, {rtt * 1000:.0f} ms", rtt, 0.25, {}) for rtt in (0.05, 0.1)),
    *((f"policer at half, {rtt * 1000:.0f} ms", rtt, 1.0, {"police": 0.5}) for rtt in (0.05, 0.1)),
    *((f"jitter of 10 ms, {rtt * 1000:.0f} ms", rtt, 1.0, {"jitter": 0.01}) for rtt in (0.05, 0.1)),
    ("queue of eight, 50 ms", 0.05, 8.0, {}),
]


def network(seed: int, mbit: float, rtt: float, queue: float, more: dict[str, Any]) -> Network:
    """Return a link with a queue of so many bandwidth-delay products; of 20 ms at least, if it is one."""
    rate = mbit * 1e6 / 8
    more = {**more, "police": more["police"] * rate} if "police" in more else more
    return Network(seed, LinkModel(rate, rtt / 2, queue * rate * (max(rtt, 0.02) if queue == 1 else rtt), **more))


def alone(name: str, mbit: float, rtt: float, queue: float, more: dict[str, float], args: argparse.Namespace) -> None:
    """Print the row of one cell: the median over the seeds."""
    rows = []
    for seed in range(1, args.seeds + 1):
        net = network(seed, mbit, rtt, queue, more)
        flow = LaneFlow(net)
        net.run(min(8.0, args.seconds))
        first = flow.goodput
        net.there.sent = net.there.dropped = 0
        net.run(max(args.seconds - 8.0, 0.0))
        link = net.there.model.rate * SHARE * more.get("police", 1.0)
        rows.append(
            (
                first / min(8.0, args.seconds) / link,
                flow.goodput / args.seconds / link,
                net.there.loss,
                net.there.mean_wait,
            )
        )
    first, whole, loss, wait = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"| {name} | {first:.1%} | {whole:.1%} | {loss:.2%} | {wait * 1000:.1f} ms |", flush=True)


def shared(args: argparse.Namespace) -> None:
    """Print who gets what of a link that is shared."""
    print("\n| 50 ms, queue of one | shares of the link, second half | Jain | lost |\n| --- | --- | --- | --- |")
    cases: list[tuple[str, int, Any]] = [
        ("2 lanes", 2, None),
        ("8 lanes", 8, None),
        ("lane, then CUBIC", 1, CubicFlow),
        ("CUBIC, then lane", 0, CubicFlow),
        ("lane, then BBR", 1, BbrFlow),
        ("BBR, then lane", 0, BbrFlow),
    ]
    for name, count, rival in cases:
        net = network(1, args.mbit, 0.05, 1.0, {})
        flows: list[Any] = [LaneFlow(net, 0.3 * index) for index in range(count)]
        if rival is not None:
            flows = [*flows, rival(net, 2.0)] if count else [rival(net, 0.0), LaneFlow(net, 2.0)]
        net.run(args.seconds)
        before = [flow.goodput for flow in flows]
        net.there.sent = net.there.dropped = 0
        net.run(args.seconds)
        link = net.there.model.rate * SHARE * args.seconds
        shares = [(flow.goodput - was) / link for flow, was in zip(flows, before, strict=True)]
        text = " ".join(f"{share:.0%}" for share in shares)
        print(f"| {name} | {text} | {jain(shares):.2f} | {net.there.loss:.2%} |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--mbit", type=float, default=20.0)
    args = parser.parse_args()
    print(f"{args.mbit:g} Mbit/s, {args.seconds:g} s, {args.seeds} seeds\n")
    print("| link | first 8 s | whole | lost after 8 s | mean wait |\n| --- | --- | --- | --- | --- |")
    for name, rtt, queue, more in CELLS:
        alone(name, args.mbit, rtt, queue, more, args)
    shared(args)


if __name__ == "__main__":
    main()
