from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pal.rate_limit import Rate
from p2pal.server import accounts
from p2pal.server.accounts import Account, Accounts
from p2pal.server.config import AddressLimits


def test_connections_are_those_of_websockets_and_some_beside_them() -> None:
    account = Account(AddressLimits(sockets=2))
    account.sockets = 1
    account.connections = 65
    assert (account.socketed, account.crowded) == (False, False)
    account.sockets, account.connections = 2, 66
    assert (account.socketed, account.crowded) == (True, True)


def test_zero_and_none_are_no_limits() -> None:
    account = Account(AddressLimits(sockets=0, requests=None, frames=None, buffered=0))
    account.sockets = account.connections = 10**6
    assert (account.socketed, account.crowded) == (False, False)
    assert account.frames(0.0, 10**6) == 0.0
    assert not any(account.request(0.0) for _ in range(1000))
    assert account.buffer(1 << 40)


def test_requests_are_refused_and_frames_are_put_off() -> None:
    account = Account(AddressLimits(requests=Rate(3, 30.0), frames=Rate(100, 10.0)))
    assert [account.request(5.0) for _ in range(4)] == [0.0, 0.0, 0.0, 10.0]
    assert account.request(15.0) == 0.0
    assert [account.frames(5.0, 50) for _ in range(4)] == [0.0, 0.0, 5.0, 10.0]
    assert account.frames(25.0, 100) == 0.0


@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 300)), max_size=40),
    st.integers(1, 200),
    st.floats(0.5, 50),
)
def test_who_waits_as_told_never_has_more_frames_than_the_rate(
    turns: list[tuple[float, int]], count: int, seconds: float
) -> None:
    """However frames come, those that were read by any time are no more than the burst and the rate until then."""
    account = Account(AddressLimits(frames=Rate(count, seconds)))
    now, taken = 1000.0, 0
    began = now
    for pause, frames in turns:
        now += pause
        taken += frames
        now += account.frames(now, frames)
        assert taken <= count + (now - began) * count / seconds + 1e-6 * taken


@given(st.lists(st.integers(-50, 100), max_size=50))
def test_buffers_grow_as_far_as_all_of_them_may(changes: list[int]) -> None:
    account = Account(AddressLimits(buffered=200))
    size = 0
    for change in changes:
        size += change
        assert account.buffer(change) is (change <= 0 or size <= 200)


def test_addresses_with_connections_are_never_forgotten() -> None:
    made = Accounts(AddressLimits())
    kept = made.of("kept")
    kept.connections = 1
    for number in range(accounts._REMEMBERED + 100):
        made.of(f"192.0.2.{number}").request(0.0)
    assert len(made) <= accounts._REMEMBERED + 1
    assert made.of("kept") is kept
