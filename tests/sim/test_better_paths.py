"""Paths that get better and worse under a whole transfer: nothing is lost, nothing stalls, both sides end up on one."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tests.sim.disk import Tree
from tests.sim.movers import small_scale
from tests.sim.network import Conditions
from tests.sim.test_two_peers import check_agreement, random_pace, random_tree
from tests.sim.two_peers import TwoPeers

from p2pal.lanes.memory import EmulatedPath
from p2pal.link.path_upgrade import DISTANCE, FIRST_LOOK

CALM = 60.0
"""Seconds without a change after which both sides are on the better path: silence, a repair, and some looks."""


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_scale():
        yield


def world(seed: int, conditions: Conditions, size: int = 2_000_000) -> tuple[TwoPeers, Tree]:
    rng = random.Random(seed)
    tree = {**random_tree(rng), b"long": rng.randbytes(size)}
    return TwoPeers(tree, conditions, seed=seed), tree


def run(made: TwoPeers) -> float:
    """Run to the end, with never more than two connections a side; return the longest pause in what arrives."""
    longest, arrived, since = 0.0, -1, 0.0

    def look() -> bool:
        nonlocal longest, arrived, since
        for peer in made.peers:
            assert len(peer.connections) <= 2
        now, count = made.clock.time(), made.right._dealt
        if count != arrived:
            arrived, since = count, now
        elif made.right.lanes and not made.ended:
            longest = max(longest, now - since)
        return made.ended

    assert made.run(until=look)
    return longest


def on_the_same(made: TwoPeers) -> bool:
    """Whether both sides use one lane, and have no other."""
    used = made.left.negotiator.in_use
    return used > 0 and all(
        peer.negotiator.in_use == used and list(peer.lanes) == list(peer.connections) == [used] for peer in made.peers
    )


@pytest.mark.parametrize("seed", range(12))
def test_a_way_that_opens_is_taken_without_a_break(seed: int) -> None:
    rng = random.Random(seed)
    opens = rng.uniform(1.0, 2.5 * FIRST_LOOK)
    path = EmulatedPath(delay=rng.uniform(0, 0.1), rate=20e3, queue=rng.randint(0, 20_000))
    made, tree = world(seed, Conditions(path, rng.choice((0.01, 0.5)), ways=(opens,)))
    pause = run(made)
    check_agreement(made, tree)
    for peer in made.peers:
        first, second = peer.ups
        assert first in made.network.relayed
        assert second not in made.network.relayed
        assert peer.retries == 0, "nobody is told of a failure"
    assert pause < 2.0, "the silence of an outage, or more"


@pytest.mark.parametrize("seed", range(6))
def test_a_way_that_stays_closed_costs_nothing(seed: int) -> None:
    made, tree = world(seed, Conditions(EmulatedPath(delay=0.05, rate=20e3), ways=(1e6,)))
    run(made)
    check_agreement(made, tree)
    for peer in made.peers:
        assert peer.ups == [1]
        assert peer.retries == 0


@pytest.mark.parametrize("seed", range(30))
def test_ways_that_come_and_go_lose_nothing(seed: int) -> None:
    rng = random.Random(seed)
    ways, now = [], 0.0
    for _ in range(rng.randint(1, 6)):
        now += rng.uniform(0.5, 40)
        ways.append(now)
    conditions = Conditions(
        EmulatedPath(delay=rng.uniform(0, 0.1), rate=rng.choice((20e3, 60e3)), queue=rng.randint(0, 50_000)),
        mail_delay=rng.choice((0.01, 0.5, 2.0)), strikes=rng.randint(0, 6), pause=rng.choice((3.0, 15.0)),
        faults=("cut", "close", "stall", "replay", "damage", "networks"), bad_attempts=rng.choice((0.0, 0.2)),
        ways=tuple(ways),
    )  # fmt: skip
    tree = {**random_tree(rng), b"long": rng.randbytes(1_500_000)}
    made = TwoPeers(tree, conditions, random_pace(rng), seed=seed)
    run(made)
    assert check_agreement(made, tree) == dict.fromkeys(tree)


@pytest.mark.parametrize("seed", range(20))
def test_once_all_is_calm_both_sides_are_on_the_better_path(seed: int) -> None:
    rng = random.Random(seed)
    ways = tuple(sorted(rng.uniform(0, 60) for _ in range(rng.choice((1, 3, 5)))))  # open at last
    conditions = Conditions(
        EmulatedPath(delay=rng.uniform(0, 0.1), rate=20e3), rng.choice((0.01, 0.5)), ways=ways,
        strikes=4, pause=10.0, faults=("networks", "stall", "replay", "close"),
    )  # fmt: skip
    made, tree = world(seed, conditions, size=5_000_000)
    made.clock.advance(max(*ways, 60.0) + 3 * CALM)
    assert not made.ended
    assert on_the_same(made)
    assert made.left.negotiator.in_use not in made.network.relayed
    made.network.conditions.path = EmulatedPath()
    made.network.links[-1].cut()  # what comes now is fast
    run(made)
    check_agreement(made, tree)


@pytest.mark.parametrize("seed", range(4))
def test_networks_that_never_settle_cost_few_connections(seed: int) -> None:
    made, tree = world(seed, Conditions(EmulatedPath(delay=0.02, rate=20e3)))

    def change() -> None:
        for peer in made.peers:
            if not peer.ended:
                peer.negotiator.handle_networks(made.clock.time())
                peer.wake()
        if not made.ended:
            made.clock.call_at(made.clock.time() + 0.3, change)

    made.clock.call_at(1.0, change)
    run(made)
    check_agreement(made, tree)
    assert made.left.negotiator.generation <= made.clock.time() / DISTANCE + 2
    for peer in made.peers:
        assert peer.ups == [1], "another one is as good"
        assert peer.retries == 0
