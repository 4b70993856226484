"""The search for the largest datagram, on paths that carry any size."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.lanes.udp.mtu import BASE, BLACK_HOLE, MAX_PROBES, RAISE_INTERVAL, STEP, PathMtu
from p2pal.lanes.udp.packet import MAX_DATAGRAM


def search(mtu: PathMtu, limit: int, now: float = 0.0, rtt: float = 0.02) -> tuple[int, float]:
    """Run a search on a path that carries ``limit`` bytes; return how many probes it took, and when it was over."""
    probes = 0
    while mtu.next_timeout() < now + 60:
        now = max(now, mtu.next_timeout())
        size = mtu.probe(now, rtt)
        probes += bool(size)
        assert size == 0 or BASE < size <= MAX_DATAGRAM
        if 0 < size <= limit:
            mtu.on_answer(size, now + rtt)
        assert probes < 100
    return probes, now


@pytest.mark.parametrize(
    ("limit", "ipv6", "found"),
    [(1472, False, 1472), (1452, True, 1452), (8972, False, 8972), (65_507, False, 65_507), (1200, False, BASE)],
)
def test_common_sizes_are_found_exactly(limit: int, ipv6: bool, found: int) -> None:
    mtu = PathMtu(0.0, ipv6=ipv6)
    search(mtu, limit)
    assert mtu.size == found


def test_an_ethernet_takes_few_probes() -> None:
    probes, _ = search(PathMtu(0.0, ipv6=False), 1472)
    assert probes <= 1 + MAX_PROBES * 10


def test_loopback_is_tried_with_the_largest_first() -> None:
    assert PathMtu(0.0, ipv6=False, loopback=True).probe(0.0, 0.001) == 65_507
    assert PathMtu(0.0, ipv6=True, loopback=True).probe(0.0, 0.001) == 65_535 - 48


@settings(max_examples=150, deadline=None)
@given(st.integers(BASE, MAX_DATAGRAM), st.booleans(), st.booleans())
def test_the_size_is_one_that_the_path_carries_and_nearly_the_largest(limit: int, ipv6: bool, loopback: bool) -> None:
    mtu = PathMtu(0.0, ipv6=ipv6, loopback=loopback)
    search(mtu, limit)
    assert BASE <= mtu.size <= limit
    if BASE + STEP < limit < 1500 - 48:
        assert mtu.size > limit - 2 * STEP


def test_a_lost_probe_is_repeated() -> None:
    mtu = PathMtu(0.0, ipv6=False)
    first = mtu.probe(0.0, 0.02)
    assert mtu.probe(0.01, 0.02) == 0
    assert mtu.probe(mtu.next_timeout(), 0.02) == first


def test_a_black_hole_falls_back_and_is_searched_again() -> None:
    mtu = PathMtu(0.0, ipv6=False)
    _, now = search(mtu, 1472)
    assert not mtu.on_timeouts(BLACK_HOLE - 1, now)
    assert mtu.on_timeouts(BLACK_HOLE, now)
    assert mtu.size == BASE
    assert not mtu.on_timeouts(BLACK_HOLE + 1, now)
    search(mtu, 1280, now)
    assert 1280 - 2 * STEP < mtu.size <= 1280


def test_a_size_that_the_system_refuses_is_not_sent() -> None:
    mtu = PathMtu(0.0, ipv6=False)
    _, now = search(mtu, 8972)
    assert mtu.on_too_large(8972, now)
    assert mtu.size == BASE
    search(mtu, 1472, now)
    assert mtu.size == 1472
    assert not mtu.on_too_large(9000, now)


def test_a_larger_size_is_tried_again_after_a_long_time() -> None:
    mtu = PathMtu(0.0, ipv6=False)
    _, now = search(mtu, 1300)
    later = mtu.next_timeout()
    assert later > now + RAISE_INTERVAL / 2
    search(mtu, 1472, later)
    assert mtu.size == 1472


def test_an_answer_to_nothing_changes_nothing() -> None:
    mtu = PathMtu(0.0, ipv6=False)
    assert not mtu.on_answer(1000, 0.0)
    assert mtu.size == BASE
