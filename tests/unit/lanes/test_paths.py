"""A path's words, and which of two is better."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pal.lanes.ice_candidates import IceCandidate
from p2pal.lanes.paths import Path, PathKind, find_path, on_one_machine

HOST = IceCandidate("host", "udp", "192.0.2.1", 1000)
HOST6 = IceCandidate("host", "udp", "2001:db8::1", 1000)
TCP = IceCandidate("host", "tcp", "192.0.2.1", 1000)
TCP6 = IceCandidate("host", "tcp", "2001:db8::1", 1000)
PUNCHED = IceCandidate("srflx", "udp", "192.0.2.2", 1000)
SEEN = IceCandidate("prflx", "udp", "192.0.2.3", 1000)
RELAY = IceCandidate("relay", "udp", "192.0.2.4", 1000, relay_transport="tcp")
TLS_RELAY = replace(RELAY, relay_transport="tls")
SILENT_RELAY = replace(RELAY, relay_transport="")


@pytest.mark.parametrize(
    ("local", "remote", "words"),
    [
        (HOST, HOST, "direct, host udp"),
        (HOST6, HOST6, "direct, ipv6"),
        (HOST, HOST6, "direct, host udp"),
        (TCP, TCP, "direct, host tcp"),
        (TCP6, TCP6, "direct, ipv6 tcp"),
        (HOST, SEEN, "direct, punched"),
        (PUNCHED, HOST, "direct, punched"),
        (SEEN, SEEN, "direct, punched"),
        (RELAY, HOST, "relayed, turn tcp"),
        (HOST, RELAY, "relayed, turn tcp"),
        (TLS_RELAY, RELAY, "relayed, turn tls"),
        (SEEN, SILENT_RELAY, "relayed, turn"),
    ],
)
def test_a_pair_of_candidates_has_words(local: IceCandidate, remote: IceCandidate, words: str) -> None:
    assert find_path(local, remote).words == words


def test_whose_address_it_is_may_not_be_known_yet() -> None:
    assert [find_path(HOST, remote).certain for remote in (HOST, PUNCHED, RELAY, SEEN)] == [True, True, True, False]
    assert find_path(SEEN, HOST).certain
    assert find_path(HOST, SEEN) == find_path(HOST, PUNCHED)


def test_what_is_better() -> None:
    wired, wireless = Path(PathKind.HOST), Path(PathKind.HOST, cost=20)
    udp, tcp, tls = (Path(PathKind.RELAYED, transport) for transport in ("udp", "tcp", "tls"))
    order = [wired, wireless, Path(PathKind.HOST, "tcp"), udp, tcp, tls]
    for one, other in permutations(range(len(order)), 2):
        assert order[one].better_than(order[other]) == (one < other)


def test_a_nat_makes_no_path_worse() -> None:
    assert not Path(PathKind.HOST).better_than(Path(PathKind.PUNCHED))
    assert not Path(PathKind.PUNCHED).better_than(Path(PathKind.HOST))


paths = st.builds(
    Path, st.sampled_from(PathKind), st.sampled_from(["udp", "tcp", "tls", ""]), st.booleans(), st.integers(0, 9)
)


@given(paths, paths, paths)
def test_better_is_an_order(one: Path, other: Path, third: Path) -> None:
    assert not one.better_than(one)
    assert not (one.better_than(other) and other.better_than(one))
    if one.better_than(other) and other.better_than(third):
        assert one.better_than(third)


LOOPBACK = IceCandidate("host", "udp", "127.0.0.1", 1000)
ON_LOOPBACK = replace(LOOPBACK, kind="relay")


@pytest.mark.parametrize(
    ("local", "remote", "ours"),
    [
        (LOOPBACK, LOOPBACK, True),
        (HOST, HOST, True),
        (HOST6, HOST, True),
        (HOST, replace(HOST, address="192.0.2.9"), False),
        (HOST, PUNCHED, False),
        # A TURN server on this machine, which the other side uses from afar.
        (HOST, replace(HOST, kind="relay"), False),
        (HOST, replace(HOST, kind="prflx"), False),
        (LOOPBACK, ON_LOOPBACK, False),
        # And one that this side uses.
        (ON_LOOPBACK, HOST, False),
        (ON_LOOPBACK, replace(HOST, address="192.0.2.9"), False),
    ],
)
def test_both_ends_on_one_machine(local: IceCandidate, remote: IceCandidate, ours: bool) -> None:
    assert on_one_machine(local, remote, {HOST.address, HOST6.address, "127.0.0.1"}) is ours
