"""The emulator's policer, queue and jitter, packet by packet, on a clock that the test sets.

The bounds of the policer hold for every pattern of packets; so does the order of what is only jittered.
"""

from __future__ import annotations

import statistics
from itertools import pairwise
from random import Random
from typing import Final

import pytest
from tests.network.emulator.virtual import VirtualLink
from tests.network.emulator.wire import Link
from tests.network.needs import need_compiler

SIZE: Final = 1_000
POLICER: Final = Link(police=8e6, burst=5 * SIZE)
"""1,000 bytes in each millisecond."""


@pytest.fixture(autouse=True)
def possible() -> None:
    need_compiler()


def fates(link: VirtualLink, times: list[float]) -> list[float | str]:
    return [link.send(SIZE, now) for now in times]


def test_a_policer_lets_a_burst_through_at_once_and_drops_the_rest() -> None:
    with VirtualLink(POLICER) as link:
        assert fates(link, [1.0] * 8) == [1.0] * 5 + ["policed"] * 3


def test_a_policers_tokens_come_at_its_rate_and_are_kept_up_to_the_burst() -> None:
    with VirtualLink(POLICER) as link:
        fates(link, [1.0] * 5)
        assert fates(link, [1.0009, 1.001, 1.001]) == ["policed", 1.001, "policed"]
        assert fates(link, [1.003] * 3) == [1.003, 1.003, "policed"]
        assert fates(link, [9.0] * 6) == [9.0] * 5 + ["policed"], "a long silence brings no more than a burst"


def test_a_policer_takes_no_tokens_for_what_it_drops() -> None:
    with VirtualLink(POLICER) as link:
        fates(link, [1.0] * 500)
        assert fates(link, [1.001, 1.001]) == [1.001, "policed"]


@pytest.mark.parametrize("load", [0.5, 2.0, 10.0])
def test_a_policer_drops_what_exceeds_its_rate(load: float) -> None:
    random, count = Random(7), 3000
    times = sorted(random.uniform(1.0, 1.0 + count * SIZE * 8 / (load * POLICER.police)) for _ in range(count))
    with VirtualLink(POLICER) as link:
        got = fates(link, times)
    passed = [now for now, fate in zip(times, got, strict=True) if fate != "policed"]
    share = len(passed) / count
    assert share == pytest.approx(1 / load, rel=0.05) if load > 1 else share > 0.95
    for first, start in enumerate(passed[::97]):  # no interval has more than the burst and what its rate brings
        for more, end in enumerate(passed[first * 97 :], 1):
            assert more * SIZE <= POLICER.burst + POLICER.police / 8 * (end - start) + 1e-3


def test_a_policer_forgives_what_came_while_the_emulator_was_kept_from_a_processor() -> None:
    with VirtualLink(POLICER) as link:
        late = [link.send(SIZE, 1.020, early=1.0) for _ in range(30)]
        assert late == [1.020] * 25 + ["policed"] * 5, "a burst, and what 20 ms bring"
        assert fates(link, [1.020, 1.021]) == ["policed", 1.021], "and nothing was given away"


def test_another_rate_of_a_policer_fills_its_bucket_at_that_rate() -> None:
    with VirtualLink(POLICER) as link:
        fates(link, [1.0] * 5)
        link.set(Link(police=80e6, burst=5 * SIZE), 1.0)
        assert fates(link, [1.00005, 1.0001, 1.0005]) == ["policed", 1.0001, 1.0005]
        link.set(Link(), 1.0005)
        assert fates(link, [1.0005] * 9) == [1.0005] * 9
        link.set(POLICER, 2.0)
        assert fates(link, [2.0] * 6) == [2.0] * 5 + ["policed"], "a new policer's bucket is full"


def test_what_is_policed_takes_no_room_in_the_queue() -> None:
    policed = Link(rate=8e6, queue=10 * SIZE, police=8e6, burst=2 * SIZE)
    with VirtualLink(policed) as link:
        assert fates(link, [1.0] * 20)[:3] == [1.001, 1.002, "policed"]
        assert link.send(SIZE, 1.010) == 1.011
    with VirtualLink(Link(rate=8e6, queue=3 * SIZE, police=8e7, burst=5 * SIZE)) as link:
        assert fates(link, [1.0] * 6) == [1.001, 1.002, 1.003, "overflowed", "overflowed", "policed"]


def delays(link: Link, gap: float, *, count: int = 4000, seed: int = 1) -> tuple[list[float], list[float]]:
    """When packets arrive that leave one by one, and how long each took."""
    times = [1.0 + number * gap for number in range(count)]
    with VirtualLink(link, seed=seed) as virtual:
        due = [float(virtual.send(SIZE, now)) for now in times]
    return due, [there - here for here, there in zip(times, due, strict=True)]


@pytest.mark.parametrize("gap", [0.0003, 0.001, 0.05])
def test_jitter_spreads_the_delay_at_every_rate_and_keeps_the_order(gap: float) -> None:
    due, took = delays(Link(delay=0.03, jitter=0.01), gap)
    assert all(one <= other for one, other in pairwise(due))
    assert 0.02 - 1e-9 <= min(took) < 0.022
    assert 0.038 < max(took) <= 0.04 + 1e-9
    low, *_, high = statistics.quantiles(took, n=10)
    assert high - low > 0.01, "of 16 ms for what is spread evenly"
    assert 0.0295 < statistics.mean(took) < 0.033, "waiting for what is before adds a little"


@pytest.mark.parametrize("gap", [0.0001, 0.05])
def test_jitter_that_reorders_is_each_packets_own(gap: float) -> None:
    due, took = delays(Link(delay=0.03, jitter=0.01, reorder=True), gap)
    assert 0.02 - 1e-9 <= min(took) <= max(took) <= 0.04 + 1e-9
    assert statistics.pstdev(took) == pytest.approx(0.02 / 12**0.5, rel=0.05)
    overtaken = sum(one > other for one, other in pairwise(due))
    assert overtaken > 1500 if gap < 0.01 else overtaken == 0


def test_the_seed_tells_the_jitter() -> None:
    for reorder in (False, True):
        link = Link(delay=0.03, jitter=0.01, reorder=reorder)
        first, again, other = (delays(link, 0.001, count=500, seed=seed)[0] for seed in (1, 1, 2))
        assert first == again != other


def test_nothing_arrives_before_it_was_sent() -> None:
    _, took = delays(Link(delay=0.001, jitter=0.01), 0.005)
    assert min(took) > -1e-9, "but for what the numbers are rounded to"
    assert max(took) > 0.01


def test_which_packets_are_lost_depends_on_nothing_but_the_seed_and_their_number() -> None:
    with VirtualLink(Link(loss=0.3)) as link:
        plain = [fate == "lost" for fate in fates(link, [1.0] * 300)]
    with VirtualLink(Link(loss=0.3, police=8e6, burst=100 * SIZE, jitter=0.01, delay=0.02)) as link:
        both = fates(link, [1.0] * 300)
    assert [fate == "lost" for fate in both[:100]] == plain[:100]
    assert set(both[100:]) == {"policed"}


def test_words_that_the_emulator_does_not_know_are_told() -> None:
    with VirtualLink(Link()) as link:
        assert link._ask("nonsense") == "not understood"
        assert link.send(SIZE, 1.0) == 1.0
