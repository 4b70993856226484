"""The datagram lane over simulated links: goodput, queues, loss, and who shares a link with whom.

Every run has its seed, and time is virtual: these figures do not depend on the machine. Cells are short here; set
``P2PAL_SIM_LONG=1`` for the long matrix, which ``bench/udp_sim.py`` prints as a table.
"""

from __future__ import annotations

import os

import pytest
from tests.sim.links import HEADERS, LaneFlow, LinkModel, Network, Processor
from tests.sim.tcp_flows import BbrFlow, CubicFlow, jain

SHARE = 1448 / 1500
"""Of a link's bytes that are payload."""
MBIT = 1e6 / 8
SEEDS = range(1, 6) if os.environ.get("P2PAL_SIM_LONG") else range(1, 2)


def network(seed: int, rtt: float, mbit: float, queue: float = 1.0, **more: float) -> Network:
    """A link with a queue of so many bandwidth-delay products, of 20 ms at least."""
    rate = mbit * MBIT
    model = LinkModel(rate, rtt / 2, queue * rate * (max(rtt, 0.02) if queue == 1 else rtt), **more)  # type: ignore[arg-type]
    return Network(seed, model)


def goodput(net: Network, flow: LaneFlow, seconds: float, *, after: float) -> float:
    """Run, and return the share of the link's payload that the flow had once the start was over."""
    net.run(after)
    net.there.sent = net.there.dropped = net.there.carried = 0
    net.there.queue_time = 0.0
    before = flow.goodput
    net.run(seconds)
    assert flow.left.closed is None
    return (flow.goodput - before) / (seconds * net.there.model.rate * SHARE)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("rtt", "mbit"), [(0.001, 20), (0.02, 10), (0.05, 20), (0.1, 10), (0.2, 10)])
def test_a_clean_link_is_filled(rtt: float, mbit: float, seed: int) -> None:
    net = network(seed, rtt, mbit)
    flow = LaneFlow(net)
    assert goodput(net, flow, 5, after=2 + 8 * rtt) > 0.94
    assert net.there.loss < 0.01
    assert net.there.mean_wait < 0.35 * max(rtt, 0.02)


@pytest.mark.parametrize(("rtt", "mbit"), [(0.02, 10), (0.1, 10), (0.2, 10)])
def test_the_first_seconds_are_not_lost(rtt: float, mbit: float) -> None:
    net = network(1, rtt, mbit)
    flow = LaneFlow(net)
    share = goodput(net, flow, 8, after=0)
    better = 0.0
    for kind in (CubicFlow, BbrFlow):
        net = network(1, rtt, mbit)
        other = kind(net)
        net.run(8)
        better = max(better, other.goodput / (8 * mbit * MBIT * SHARE))
    assert share > 0.85 * better
    assert share > 0.85


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rtt", [0.02, 0.1])
@pytest.mark.parametrize("loss", [0.001, 0.01, 0.02])
def test_random_loss_costs_what_is_lost_and_no_more(rtt: float, loss: float, seed: int) -> None:
    net = network(seed, rtt, 10, loss=loss)
    flow = LaneFlow(net)
    assert goodput(net, flow, 6, after=3) > 0.92 * (1 - loss)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rtt", [0.05, 0.1])
def test_a_short_queue_is_not_hammered(rtt: float, seed: int) -> None:
    net = network(seed, rtt, 20, queue=0.25)
    flow = LaneFlow(net)
    assert goodput(net, flow, 8, after=2) > 0.85
    assert net.there.loss < 0.03


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rtt", [0.05, 0.1])
@pytest.mark.parametrize(("mbit", "burst"), [(20, 64_000), (20, 13_000), (100, 64_000)])
def test_a_policer_is_not_hammered(mbit: float, burst: float, rtt: float, seed: int) -> None:
    net = network(seed, rtt, mbit, police=mbit / 2 * MBIT, burst=burst)
    flow = LaneFlow(net)
    share = goodput(net, flow, 8, after=2)
    assert 2 * share > 0.85
    assert net.there.loss < 0.05


@pytest.mark.parametrize("rtt", [0.02, 0.1])
def test_a_fast_link_is_not_overrun_after_the_start(rtt: float) -> None:
    net = network(1, rtt, 100)
    flow = LaneFlow(net)
    assert goodput(net, flow, 5, after=2) > 0.94
    assert net.there.loss < 0.01


BUSY = Processor(runs=0.003, waits=0.012)
"""What eight busy processes on two processors leave."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("rtt", "mbit"), [(0.02, 20), (0.02, 100), (0.05, 20), (0.1, 20)])
def test_busy_processors_are_no_slow_path(rtt: float, mbit: float, seed: int) -> None:
    net = network(seed, rtt, mbit)
    flow = LaneFlow(net, processor=BUSY)
    assert goodput(net, flow, 6, after=2) > 0.8
    assert net.there.loss < 0.05


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rtt", [0.02, 0.1])
def test_a_link_that_pauses_is_filled(rtt: float, seed: int) -> None:
    net = network(seed, rtt, 20, pause=0.02)
    flow = LaneFlow(net)
    assert goodput(net, flow, 6, after=3) > 0.9
    assert net.there.loss < 0.01
    assert flow.data_packets * SHARE * 1500 < 1.05 * flow.goodput


def test_a_deep_queue_stays_short() -> None:
    net = network(1, 0.05, 10, queue=8.0)
    flow = LaneFlow(net)
    assert goodput(net, flow, 8, after=2) > 0.94
    assert net.there.mean_wait < 0.02


@pytest.mark.parametrize("reorder", [False, True])
def test_jitter_is_no_loss(reorder: bool) -> None:
    net = network(1, 0.05, 10, jitter=0.01, reorder=reorder)
    flow = LaneFlow(net)
    assert goodput(net, flow, 6, after=3) > 0.88
    sent_again = flow.data_packets * SHARE * 1500 / max(flow.goodput, 1)
    assert sent_again < 1.15


def test_more_bandwidth_is_found_within_seconds() -> None:
    net = network(1, 0.05, 5)
    flow = LaneFlow(net)
    goodput(net, flow, 3, after=1)
    net.there.model.rate = 20 * MBIT
    net.there.model.queue *= 4
    assert goodput(net, flow, 3, after=6) > 0.85


def test_less_bandwidth_is_believed_within_seconds() -> None:
    net = network(1, 0.05, 20)
    flow = LaneFlow(net)
    goodput(net, flow, 2, after=1)
    net.there.model.rate = 5 * MBIT
    assert goodput(net, flow, 4, after=6) > 0.85
    assert net.there.loss < 0.05


def test_a_longer_path_is_filled_too() -> None:
    net = network(1, 0.02, 10, queue=4.0)
    flow = LaneFlow(net)
    goodput(net, flow, 3, after=1)
    net.there.model.delay = net.back.model.delay = 0.06
    assert goodput(net, flow, 4, after=14) > 0.85


def test_an_application_that_pauses_finds_the_path_as_it_was() -> None:
    net = network(1, 0.05, 10)
    flow = LaneFlow(net)
    goodput(net, flow, 2, after=1)
    source, flow.left.source = flow.left.source, None
    net.run(20)
    flow.left.source = source
    flow.left.pump()
    before = flow.goodput
    net.run(2)
    assert flow.goodput - before > 0.85 * 2 * 10 * MBIT * SHARE
    assert net.there.loss < 0.02


def test_an_application_that_is_slow_is_not_taken_for_a_slow_path() -> None:
    net = network(1, 0.05, 10)
    flow = LaneFlow(net, endless=False)
    net.run(0.5)
    for _ in range(300):
        flow.left.lane.send(bytes(3000))
        flow.left.pump()
        net.run(0.02)
    assert flow.goodput > 0.9 * 300 * 3000
    assert net.there.dropped == 0
    flow.left.source = lambda: bytes(64_000)
    flow.left.pump()
    assert goodput(net, flow, 3, after=3) > 0.9


def test_a_receivers_window_is_not_taken_for_a_slow_path() -> None:
    net = network(1, 0.05, 20)
    flow = LaneFlow(net, window=40_000)
    net.run(5)
    assert flow.left.closed is None
    assert flow.right.closed is None
    assert flow.goodput > 0.7 * 5 * 40_000 / 0.05


@pytest.mark.parametrize("count", [2, 8])
def test_flows_share_a_link(count: int) -> None:
    net = network(1, 0.05, 10 * (1 + (count > 2)))
    flows = [LaneFlow(net, 0.3 * index) for index in range(count)]
    net.run(14)
    before = [flow.goodput for flow in flows]
    net.there.sent = net.there.dropped = 0
    net.run(14)
    shares = [flow.goodput - was for flow, was in zip(flows, before, strict=True)]
    assert jain(shares) > 0.8
    assert net.there.loss < 0.05
    assert sum(shares) > 0.9 * 14 * net.there.model.rate * SHARE


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("rival", "first", "mbit", "least"),
    [
        *((CubicFlow, first, mbit, 0.25) for first in (True, False) for mbit in (10, 20)),
        *((BbrFlow, first, 10, 0.25) for first in (True, False)),
    ],
)
def test_neither_starves_beside_one_tcp_stream(
    rival: type[CubicFlow | BbrFlow], first: bool, mbit: float, least: float, seed: int
) -> None:
    net = network(seed, 0.05, mbit)
    flow = LaneFlow(net, 0.0 if first else 2.0)
    other = rival(net, 2.0 if first else 0.0)
    net.run(20)
    before = flow.goodput, other.goodput
    net.run(16)
    link = 16 * mbit * MBIT * SHARE
    assert flow.goodput - before[0] > least * link
    assert other.goodput - before[1] > least * link


def test_the_same_seed_gives_the_same_run() -> None:
    runs = []
    for _ in range(2):
        net = network(7, 0.02, 10, loss=0.01, jitter=0.002)
        flow = LaneFlow(net)
        net.run(2)
        runs.append((flow.goodput, net.there.sent, net.there.dropped, flow.left.lane.sender.congestion.window))
    assert runs[0] == runs[1]


def test_the_link_itself_is_what_it_says() -> None:
    net = network(1, 0.05, 10)
    arrived = []
    for _ in range(3):
        net.there.send(1000 + HEADERS, lambda: arrived.append(net.clock.time()))
    net.run(1)
    assert arrived == [pytest.approx(0.025 + n * 1028 / (10 * MBIT)) for n in (1, 2, 3)]
