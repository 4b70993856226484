"""Two sessions under a seeded bad network, on a clock that jumps from timer to timer."""

from __future__ import annotations

import random

import pytest
from tests.sim.peers import MAX_FRAME, Stream, World

from p2pal.lanes.memory import EmulatedPath
from p2pal.session.events import LaneAlive, LaneSilent, SessionClosed

FULL = MAX_FRAME - 9


def payloads(seed: int, count: int, largest: int = FULL) -> list[bytes]:
    """Return payloads of random sizes; each begins with its number, so that no two are alike."""
    rng = random.Random(seed)
    return [number.to_bytes(4, "big") + bytes(rng.randint(0, largest - 4)) for number in range(count)]


def big(count: int) -> list[bytes]:
    return [number.to_bytes(4, "big") + bytes(FULL - 4) for number in range(count)]


@pytest.mark.parametrize("seed", range(12))
def test_both_directions_survive_a_network_that_keeps_being_cut(seed: int) -> None:
    rng = random.Random(seed)
    one, two = payloads(seed, 150), payloads(seed + 1000, 80, largest=2000)
    world = World(Stream(one), Stream(two, consume_after=rng.choice([0.0, 0.002])), seed=seed)
    for _ in range(rng.randint(1, 3)):
        rate = rng.choice([None, 2e6, 20e6])
        path = EmulatedPath(
            delay=rng.uniform(0, 0.05), rate=rate, queue=rng.randint(0, 200_000), loss=0.02, detect=rng.uniform(0, 2)
        )
        world.keep_linked(path, pause=rng.uniform(0.01, 0.5))
    assert world.run()
    assert world.right.app.received == one
    assert world.left.app.received == two
    assert len(world.links) > 3, "the network was to be bad"


@pytest.mark.parametrize(
    ("delay", "mbit"), [(0.001, 100), (0.001, 500), (0.01, 100), (0.01, 500), (0.025, 500), (0.05, 200)]
)
def test_fills_a_clean_path_without_overrunning_its_queue(delay: float, mbit: int) -> None:
    rate = mbit * 1e6 / 8
    seconds = 6
    messages = big(int(rate * seconds / FULL))
    world = World(Stream(messages), Stream(), window=64 * 1024 * 1024)
    queue = max(2 * delay, 0.02) * rate
    link = world.link(EmulatedPath(delay=delay, rate=rate, queue=int(queue)))
    deepest = 0.0

    def done() -> bool:
        nonlocal deepest
        deepest = max(deepest, link.left.backlog)
        return world.settled()

    assert world.run(done)
    goodput = sum(map(len, messages)) / world.clock.time() / rate
    assert goodput >= 0.75, "ramp included"
    assert deepest <= queue + 3 * MAX_FRAME


def test_a_loopback_path_is_full_within_a_tenth_of_a_second() -> None:
    rate = 200e6
    messages = big(int(rate / 10 / FULL))
    world = World(Stream(messages), Stream(), window=64 * 1024 * 1024)
    world.link(EmulatedPath(delay=0.00015, rate=rate, queue=4_000_000))
    assert world.run()
    assert world.clock.time() < 0.15


def test_lanes_together_carry_more_than_one() -> None:
    messages = big(400)
    path = EmulatedPath(delay=0.01, rate=5e6, queue=200_000)
    times = []
    for lanes in (1, 3):
        world = World(Stream(messages), Stream(), window=16 * 1024 * 1024)
        for _ in range(lanes):
            world.link(path)
        assert world.run()
        assert world.right.app.received == messages
        times.append(world.clock.time())
    assert times[1] < times[0] / 2


def test_a_slow_disk_slows_the_sender_and_bounds_what_is_held() -> None:
    messages = big(200)
    window = 16 * MAX_FRAME
    world = World(Stream(messages), Stream(consume_after=0.2), window=window)
    world.link(EmulatedPath(delay=0.001, rate=100e6))
    assert world.run()
    assert world.right.app.received == messages
    assert world.right.app.most_unconsumed <= 16
    assert world.clock.time() >= (200 / 16 - 1) * 0.2


def test_a_stalled_lane_is_reported_and_heals() -> None:
    messages = big(100)
    world = World(Stream(messages), Stream())
    link = world.link(EmulatedPath(delay=0.01, rate=10e6))
    world.clock.advance(0.2)
    link.stall()
    world.clock.advance(12)
    silent = [event for event in world.left.app.events if isinstance(event, LaneSilent)]
    assert [round(event.seconds) for event in silent] == [3, 8]
    link.resume()
    assert world.run()
    assert LaneAlive(1) in world.left.app.events
    assert world.right.app.received == messages


def test_an_idle_lane_that_dies_is_noticed_by_both_sides() -> None:
    world = World(Stream(), Stream())
    link = world.link(EmulatedPath(delay=0.01))
    world.clock.advance(60)
    assert world.left.app.events == world.right.app.events == []
    link.stall()
    world.clock.advance(10)
    for peer in (world.left, world.right):
        assert any(isinstance(event, LaneSilent) for event in peer.app.events)


def test_an_idle_hour_costs_few_frames() -> None:
    world = World(Stream(), Stream())
    world.link(EmulatedPath(delay=0.01))
    world.clock.advance(3600)
    assert world.left.frames <= 2 * 3600 / 4


def test_a_silent_lane_that_is_given_up_loses_nothing() -> None:
    messages = big(100)
    world = World(Stream(messages), Stream())
    link = world.link(EmulatedPath(delay=0.01, rate=10e6))
    world.clock.advance(0.2)
    link.stall()
    world.clock.advance(4)
    world.link(EmulatedPath(delay=0.01, rate=10e6))
    world.clock.advance(1)
    link.left.close()
    world.clock.advance(1)
    link.right.close()
    assert world.run()
    assert world.right.app.received == messages


def test_closing_is_confirmed_also_over_a_lane_that_comes_later() -> None:
    world = World(Stream(), Stream())
    link = world.link(EmulatedPath(delay=0.01))
    world.clock.advance(0.1)
    link.cut()
    world.left.session.close(7, "done", world.clock.time())
    world.left.wake()
    world.clock.advance(0.1)
    world.link(EmulatedPath(delay=0.01))
    world.clock.advance(0.1)
    assert world.left.app.events[-1] == SessionClosed(7, "done", by_peer=False)
    assert world.right.app.events[-1] == SessionClosed(7, "done", by_peer=True)


def test_closing_without_an_answer_ends_too() -> None:
    world = World(Stream(), Stream())
    world.left.session.close(7, "done", world.clock.time())
    world.left.wake()
    world.clock.advance(2.9)
    assert world.left.app.events == []
    world.clock.advance(0.2)
    assert world.left.app.events == [SessionClosed(7, "done", by_peer=False)]
