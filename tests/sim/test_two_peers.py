"""Whole transfers over a seeded bad network, from the offer to the farewell, on a clock that jumps between timers."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tests.sim.disk import Link, Tree
from tests.sim.movers import HIGH_WATER, MAX_FRAME, PIECE, READ_BATCH, Pace, small_scale
from tests.sim.network import Conditions
from tests.sim.two_peers import TwoPeers

from p2pal.errors import Interrupted, PeerLost
from p2pal.lanes.memory import EmulatedPath
from p2pal.transfer import events
from p2pal.wire.transfer import Reason

GIVE_UP = 180.0
"""Seconds in which both sides end, whatever the network does: silence is noticed, and every try has its time."""


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_scale():
        yield


def random_tree(rng: random.Random) -> Tree:
    """Return directories, links, empty, small and many-piece files; parents first."""
    tree: dict[bytes, bytes | Link | None] = {}
    directories = [b""]
    for number in range(rng.randint(1, 40)):
        path = rng.choice(directories) + b"%d\xff" % number
        kind = rng.random()
        if kind < 0.15:
            tree[path] = None
            directories.append(path + b"/")
        elif kind < 0.25:
            tree[path] = Link(b"../%d" % number)
        else:
            exact = rng.choice((0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE))
            tree[path] = rng.randbytes(rng.choice((exact, rng.randint(1, 2000), rng.randint(1, 4 * PIECE))))
    tree[b"last"] = rng.randbytes(rng.randint(0, 30 * PIECE))
    return tree


def random_conditions(rng: random.Random, strikes: int = 10) -> Conditions:
    """Return a path between a slow line and a fast one, and weather from none to bad."""
    return Conditions(
        EmulatedPath(
            delay=rng.uniform(0, 0.1), rate=rng.choice((50e3, 200e3, 2e6)), queue=rng.randint(0, 100_000),
            detect=rng.choice((0.0, 1.0)),
        ),
        mail_delay=rng.choice((0.01, 0.5, 2.0)), strikes=rng.randint(0, strikes),
        pause=rng.choice((0.1, 0.5, 2.0)), bad_attempts=rng.choice((0.0, 0.3)),
    )  # fmt: skip


def random_pace(rng: random.Random) -> Pace:
    """Return disks of which either may be the slower one, and that may stand still."""
    return Pace(
        read=rng.choice((100e3, 50e6)), write=rng.choice((40e3, 300e3, 50e6)), hold=rng.choice((0, 3, 20)),
        think=rng.choice((0.0, 1.0, 40.0)),
    )  # fmt: skip


def random_world(seed: int, tree: Tree, *, skip_errors: bool = False) -> TwoPeers:
    rng = random.Random(seed)
    return TwoPeers(tree, random_conditions(rng), random_pace(rng), seed=seed, skip_errors=skip_errors)


def damage(world: TwoPeers, rng: random.Random, share: float, hopeless: bytes = b"") -> None:
    """Let the sink's disk damage some pieces once, and those of one file again and again."""
    seen: set[tuple[bytes, int]] = set()

    def write(path: bytes, offset: int, data: bytes) -> bytes:
        first = (path, offset // PIECE) not in seen
        seen.add((path, offset // PIECE))
        hit = path == hopeless or (first and rng.random() < share)
        return bytes([data[0] ^ 1]) + data[1:] if hit else data

    world.receiver.sink.damage = write


def check_agreement(world: TwoPeers, tree: Tree) -> dict[bytes, Reason | None]:
    """Both sides ended well, tell the same of each entry, and the disk has what they tell. Return the ends."""
    assert (world.left.error, world.right.error) == ("", "")
    ends = world.ends(world.sender)
    assert ends == world.ends(world.receiver)
    sink = world.receiver.sink
    assert sink.sealed
    assert sink.tree == {path: tree[path] for path, reason in ends.items() if reason is None}
    assert len(set(world.receiver.written)) == len(world.receiver.written), "each file is finished once"
    assert len(world.receiver.written) == sum(isinstance(each, bytes) for each in sink.tree.values())
    for app in (world.sender, world.receiver):
        assert app.finished is not None
        assert (app.finished.ok, app.finished.failed) == (len(sink.tree), len(ends) - len(sink.tree))
    check_nothing_left(world)
    return ends


def check_nothing_left(world: TwoPeers) -> None:
    """All is closed, and nothing passed its bounds."""
    world.clock.advance(100)  # nothing comes back to life
    assert not world.receiver.sink.open
    for peer in world.peers:
        assert peer.ended
        assert not peer.lanes
        assert not peer.connections
        assert peer.most_held <= world.window
        assert peer.most_unacked <= world.window + HIGH_WATER + MAX_FRAME
    assert not any(link.left.opened and not link.left.closed for link in world.network.links)
    assert world.sender.most_backlog <= world.sender.pace.backlog + READ_BATCH * PIECE


@pytest.mark.parametrize("seed", range(60))
def test_a_tree_arrives_whole_in_any_weather(seed: int) -> None:
    rng = random.Random(seed)
    tree = random_tree(rng)
    world = random_world(seed, tree)
    damage(world, rng, rng.choice((0.0, 0.1, 0.5)))
    assert world.run()
    assert check_agreement(world, tree) == dict.fromkeys(tree)
    assert world.receiver.sink.tree == tree


def test_the_weather_is_bad_in_every_way() -> None:
    worlds = [random_world(seed, random_tree(random.Random(seed))) for seed in range(30)]
    assert all(world.run() for world in worlds)
    struck = {fault for world in worlds for fault in world.network.struck}
    assert struck == set(Conditions().faults)
    assert max(len(world.network.links) for world in worlds) > 5


@pytest.mark.parametrize("seed", [*range(24), 1021])  # the last: a repair is asked for as its file fails
def test_what_cannot_be_read_or_written_fails_alone(seed: int) -> None:
    rng = random.Random(seed)
    tree = random_tree(rng)
    files = [path for path, content in tree.items() if isinstance(content, bytes)]
    unreadable = set(rng.sample(files, k=rng.randint(0, len(files) // 2)))
    hopeless = rng.choice([path for path in files if tree[path]] or [b""])
    world = random_world(seed, tree, skip_errors=True)
    world.sender.source.unreadable = {path: rng.choice((0, 1)) if tree[path] else 0 for path in unreadable}
    damage(world, rng, 0.1, hopeless)
    assert world.run()
    ends = check_agreement(world, tree)
    assert {path for path, reason in ends.items() if reason is not None} == (unreadable | {hopeless}) - {b""}
    assert hopeless in unreadable or not hopeless or ends[hopeless] is Reason.VERIFY


@pytest.mark.parametrize("seed", range(24))
def test_without_skip_errors_the_first_failure_stops_both_sides(seed: int) -> None:
    rng = random.Random(seed)
    tree = random_tree(rng)
    world = random_world(seed, tree)
    if seed % 2:
        world.network.conditions.strikes = 0
        world.sender.pace.hold = 0.0
    broken = rng.choice([path for path, content in tree.items() if isinstance(content, bytes)])
    world.sender.source.unreadable = {broken: 0}
    assert world.run()
    assert {path for path, reason in world.ends(world.sender).items() if reason is not None} == {broken}
    if seed % 2:
        check_agreement(world, tree)
        for app in (world.sender, world.receiver):
            assert [each.reason for each in app.events if isinstance(each, events.Aborted)] == [Reason.BATCH]
    assert world.left.error == ""
    check_truth(world, tree)


@pytest.mark.parametrize("rate", [20e3, 100e3, 1e6])
def test_what_was_read_before_a_failure_arrives_over_a_slow_line_too(rate: float) -> None:
    tree: Tree = {b"big": bytes(600_000), b"bad": b"?"}
    world = TwoPeers(tree, Conditions(EmulatedPath(delay=0.03, rate=rate, queue=10_000)))
    world.sender.source.unreadable = {b"bad": 0}
    assert world.run()
    assert check_agreement(world, tree) == {b"big": None, b"bad": Reason.READ}


def test_a_slow_disk_holds_the_sender_back_and_never_more_than_the_window() -> None:
    tree: Tree = {b"big": random.Random(1).randbytes(2_000_000)}
    world = TwoPeers(tree, Conditions(EmulatedPath(delay=0.01, rate=2e6)), Pace(write=50e3, hold=10))
    assert world.run()
    assert world.right.most_held > world.window - 2 * MAX_FRAME, "the window was used"
    check_agreement(world, tree)
    assert world.right.ended_at >= 2_000_000 / 50e3


@pytest.mark.parametrize("seed", range(4))
def test_the_same_seed_gives_the_same_run(seed: int) -> None:
    hashes = []
    for each in (seed, seed, seed + 1):
        world = random_world(each, random_tree(random.Random(7)))
        assert world.run()
        hashes.append(world.network.trace_hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_link_that_is_lost_again_and_again_is_not_given_up_while_bytes_arrive() -> None:
    tree: Tree = {b"one": bytes(3_000_000)}  # a single file: no verdict comes before its end
    conditions = Conditions(EmulatedPath(delay=0.02, rate=200e3, queue=20_000), faults=("cut",), strikes=8, pause=0.5)
    world = TwoPeers(tree, conditions, seed=3)
    assert world.run()
    assert world.network.struck == ["cut"] * 8
    check_agreement(world, tree)


@pytest.mark.parametrize("seed", range(40))
def test_either_side_may_stop_at_any_moment(seed: int) -> None:
    rng = random.Random(seed)
    tree = random_tree(rng)
    world = random_world(seed, tree)
    if seed % 2:
        world.network.conditions.strikes = 0
    world.clock.advance(rng.choice((rng.uniform(0, 2), rng.uniform(0, 20))))
    peer, other = rng.sample(world.peers, 2)
    began, linked = world.clock.time(), bool(peer.lanes)
    peer.cancel()
    world.network.conditions.strikes = 0
    assert world.run(GIVE_UP)
    if not peer.error:
        assert peer.app.finished
    assert peer.ended_at <= began + 3
    if seed % 2 and linked:
        assert other.ended_at <= began + 10
    assert peer.error in ("", Interrupted.code)
    check_truth(world, tree)


@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_who_stops_as_soon_as_there_is_a_link_is_heard(side: str) -> None:
    world = TwoPeers({b"a": b"a"}, Conditions(EmulatedPath(delay=0.1)), seed=1)
    peer, other = world.peers if side == "sender" else world.peers[::-1]
    assert world.run(until=lambda: bool(peer.lanes))
    began = world.clock.time()
    peer.cancel()
    assert world.run()
    assert max(peer.ended_at, other.ended_at) < began + 1
    assert other.app.finished
    assert [each.reason for each in other.app.events if isinstance(each, events.Aborted)] == [Reason.CANCELLED]


@pytest.mark.parametrize("mail", ["there", "lost"])
@pytest.mark.parametrize("how", ["cut", "silence", "close", "never"])
@pytest.mark.parametrize("seed", range(5))
def test_a_link_that_never_comes_back_ends_both_sides_with_an_error(seed: int, how: str, mail: str) -> None:
    rng = random.Random(seed)
    tree = {**random_tree(rng), b"last": rng.randbytes(400_000)}
    world = random_world(seed, tree)
    world.network.conditions.faults = ("cut", "close", "replay", "damage")
    world.network.conditions.path = EmulatedPath(delay=0.05, rate=50e3)  # too slow to be through before the end comes
    world.clock.advance(0 if how == "never" else rng.uniform(0.5, 6))
    world.network.conditions.strikes = 0
    world.network.blocked = True
    world.network.mail_lost = mail == "lost"
    for link in world.network.links:
        if how == "silence":
            link.stall()
        elif how == "cut":
            link.cut()
        else:
            link.left.close()
    assert world.run(GIVE_UP)
    assert [peer.error for peer in world.peers] == [PeerLost.code] * 2
    check_truth(world, tree)


@pytest.mark.parametrize("mail", ["there", "lost"])
def test_where_there_is_no_path_both_sides_say_so_soon(mail: str) -> None:
    world = TwoPeers({b"a": b"a"}, seed=1)
    world.network.blocked = True
    world.network.mail_lost = mail == "lost"
    assert world.run(20.0)
    assert [peer.error for peer in world.peers] == [PeerLost.code] * 2


@pytest.mark.parametrize("side", ["sender", "receiver"])
@pytest.mark.parametrize("seed", range(6))
def test_a_link_that_is_lost_at_the_last_word_ends_both_sides(seed: int, side: str) -> None:
    tree = random_tree(random.Random(seed))
    world = TwoPeers(tree, Conditions(EmulatedPath(delay=0.02, rate=1e6)), seed=seed)
    app = world.sender if side == "sender" else world.receiver
    assert world.run(until=lambda: app.finished is not None)
    world.network.blocked = True
    world.network.links[-1].cut()
    assert world.run(GIVE_UP)
    assert world.receiver.sink.tree == tree
    assert world.receiver.finished
    assert world.right.error == "", "all of it stands here, whoever knows"
    assert world.left.error == ("" if side == "sender" else PeerLost.code)
    check_truth(world, tree)


def check_truth(world: TwoPeers, tree: Tree) -> None:
    """After an end of any kind: what either side believes is so, and nothing is left."""
    sink = world.receiver.sink
    assert all(sink.tree[path] == tree[path] for path in sink.tree)
    for app in (world.sender, world.receiver):
        assert {path for path, reason in world.ends(app).items() if reason is None} <= set(sink.tree)
    if world.receiver.finished is not None:
        assert not sink.open, "who ends in order leaves no part file"
    world.receiver.discard()
    check_nothing_left(world)
