from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pal.rate_limit import Rate
from p2pal.server import address_limiter
from p2pal.server.address_limiter import AddressLimiter, AddressLimiters
from p2pal.server.config import AddressLimits


def test_connections_are_those_of_websockets_and_some_beside_them() -> None:
    limiter = AddressLimiter(AddressLimits(sockets=2))
    limiter.sockets = 1
    limiter.connections = 65
    assert (limiter.socketed, limiter.crowded) == (False, False)
    limiter.sockets, limiter.connections = 2, 66
    assert (limiter.socketed, limiter.crowded) == (True, True)


def test_zero_and_none_are_no_limits() -> None:
    limiter = AddressLimiter(AddressLimits(sockets=0, requests=None, frames=None, buffered=0))
    limiter.sockets = limiter.connections = 10**6
    assert (limiter.socketed, limiter.crowded) == (False, False)
    assert limiter.frames(0.0, 10**6) == 0.0
    assert not any(limiter.request(0.0) for _ in range(1000))
    assert limiter.buffer(1 << 40)


def test_requests_are_refused_and_frames_are_put_off() -> None:
    limiter = AddressLimiter(AddressLimits(requests=Rate(3, 30.0), frames=Rate(100, 10.0)))
    assert [limiter.request(5.0) for _ in range(4)] == [0.0, 0.0, 0.0, 10.0]
    assert limiter.request(15.0) == 0.0
    assert [limiter.frames(5.0, 50) for _ in range(4)] == [0.0, 0.0, 5.0, 10.0]
    assert limiter.frames(25.0, 100) == 0.0


@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 300)), max_size=40),
    st.integers(1, 200),
    st.floats(0.5, 50),
)
def test_who_waits_as_told_never_has_more_frames_than_the_rate(
    turns: list[tuple[float, int]], count: int, seconds: float
) -> None:
    """However frames come, those that were read by any time are no more than the burst and the rate until then."""
    limiter = AddressLimiter(AddressLimits(frames=Rate(count, seconds)))
    now, taken = 1000.0, 0
    began = now
    for pause, frames in turns:
        now += pause
        taken += frames
        now += limiter.frames(now, frames)
        assert taken <= count + (now - began) * count / seconds + 1e-6 * taken


@given(st.lists(st.integers(-50, 100), max_size=50))
def test_buffers_grow_as_far_as_all_of_them_may(changes: list[int]) -> None:
    limiter = AddressLimiter(AddressLimits(buffered=200))
    size = 0
    for change in changes:
        size += change
        assert limiter.buffer(change) is (change <= 0 or size <= 200)


def test_addresses_with_connections_are_never_forgotten() -> None:
    made = AddressLimiters(AddressLimits())
    kept = made.of("kept")
    kept.connections = 1
    for number in range(address_limiter._REMEMBERED + 100):
        made.of(f"192.0.2.{number}").request(0.0)
    assert len(made) <= address_limiter._REMEMBERED + 1
    assert made.of("kept") is kept
