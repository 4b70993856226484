"""A whole transfer, for any tree and any sequence of faults: see tests/sim/test_two_peers.py."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim.disk import Link
from tests.sim.movers import PIECE, Pace, small_scale
from tests.sim.network import Conditions
from tests.sim.test_two_peers import GIVE_UP, check_agreement, check_truth
from tests.sim.two_peers import TwoPeers

from p2pal.lanes.memory import EmulatedPath

sizes = st.one_of(st.integers(0, 3000), st.sampled_from([PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 12 * PIECE]))
contents = st.one_of(st.none(), st.just(Link(b"0")), st.builds(bytes, sizes))
trees = st.lists(contents, max_size=8).map(
    lambda each: {b"%d" % number: content for number, content in enumerate(each)}
)
faults = st.lists(st.tuples(st.floats(0.01, 5), st.sampled_from([*Conditions().faults, "networks"])), max_size=8)
ways = st.lists(st.floats(0.1, 40), max_size=4).map(lambda each: tuple(sorted(each)))
paths = st.builds(
    EmulatedPath, delay=st.floats(0, 0.3), rate=st.sampled_from([20e3, 100e3, None]), queue=st.just(30_000)
)
paces = st.builds(Pace, write=st.sampled_from([20e3, 50e6]), hold=st.sampled_from([0.0, 8.0]))


def act(world: TwoPeers, script: list[tuple[float, str]]) -> None:
    """Let the faults happen one after another, each where the link stands and has tries left."""
    for pause, fault in script:
        world.clock.advance(pause)
        link = world.network.links[-1] if world.network.links else None
        if link is not None and link.alive and not link.stalled and all(peer.tries < 2 for peer in world.peers):
            world.network.strike(fault, link)


@settings(max_examples=200, deadline=None)
@given(tree=trees, path=paths, pace=paces, script=faults, changes=ways, seed=st.integers(0, 2**32))
def test_any_tree_arrives_through_any_faults(
    tree: dict[bytes, bytes | Link | None], path: EmulatedPath, pace: Pace, script: list[tuple[float, str]],
    changes: tuple[float, ...], seed: int,
) -> None:  # fmt: skip
    with small_scale():
        world = TwoPeers(tree, Conditions(path, ways=changes), pace, seed=seed)
        act(world, script)
        assert world.run()
        assert check_agreement(world, tree) == dict.fromkeys(tree)


@settings(max_examples=200, deadline=None)
@given(tree=trees, path=paths, pace=paces, script=faults, seed=st.integers(0, 2**32), side=st.sampled_from([0, 1]))
def test_a_stop_after_any_faults_ends_both_sides(
    tree: dict[bytes, bytes | Link | None], path: EmulatedPath, pace: Pace, script: list[tuple[float, str]],
    seed: int, side: int,
) -> None:  # fmt: skip
    with small_scale():
        world = TwoPeers(tree, Conditions(path), pace, seed=seed)
        act(world, script)
        world.peers[side].cancel()
        assert world.run(GIVE_UP)
        check_truth(world, tree)
