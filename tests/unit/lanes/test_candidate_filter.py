"""Where others may have this machine send to, and how many destinations there may be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.lanes.candidate_filter import (
    MOST,
    MOST_HOSTS,
    SESSION_DESTINATIONS,
    SESSION_HOSTS,
    CandidateQuota,
    Destinations,
)
from p2pal.lanes.ice_candidates import IceCandidate
from p2pal.link.offer_answer import MAX_CANDIDATES

HOST = IceCandidate("host", "udp", "192.0.2.1", 40_000)


@pytest.mark.parametrize("port", [0, 9, 22, 53, 80, 443, 1023])
def test_ports_of_services_are_left_alone(port: int) -> None:
    remote = Destinations().generation()
    assert not remote.takes(replace(HOST, port=port), 0.0)
    assert remote.takes(replace(HOST, port=1024), 0.0)


def test_nobody_is_called_over_tcp() -> None:
    remote = Destinations().generation()
    assert not remote.takes(replace(HOST, protocol="tcp", dialled=True), 0.0)
    active = replace(HOST, protocol="tcp", port=9)
    assert remote.takes(active, 0.0), "it calls itself"
    assert not remote.takes(replace(active, address="127.0.0.1"), 0.0)


def test_a_broadcast_address_of_a_network_of_ours() -> None:
    remote = Destinations().generation({"192.0.2.255"})
    assert not remote.takes(replace(HOST, address="192.0.2.255"), 0.0)
    assert remote.takes(HOST, 0.0)


def many(kind: str, count: int, protocol: str = "udp") -> list[IceCandidate]:
    """Candidates of as many hosts."""
    return [IceCandidate(kind, protocol, f"10.0.{number // 250}.{number % 250 + 1}", 40_000) for number in range(count)]


def test_a_machine_with_many_networks_is_reached_at_all_of_them() -> None:
    """32 networks with IPv4, a public address with 16 ports, 8 relays: what one side tells the other one takes."""
    hosts = many("host", MOST["host"])
    reflexive = [IceCandidate("srflx", "udp", "8.8.8.8", 40_000 + number) for number in range(MOST["srflx"])]
    relayed = [
        IceCandidate("relay", "udp", f"8.8.4.{number % 4 + 1}", 50_000 + number) for number in range(MOST["relay"])
    ]
    active = [replace(each, protocol="tcp", port=9) for each in hosts[: MOST["active"]]]
    every = [*hosts, *reflexive, *relayed, *active]
    assert len(every) < MAX_CANDIDATES
    own, session = CandidateQuota(), Destinations()
    for generation in range(3):
        remote = session.generation()
        fresh = [replace(each, port=each.port + generation) for each in every]
        assert all(remote.takes(each, 20.0 * generation) for each in fresh)
    assert all(own.take(each) for each in every)


def test_one_generation_has_only_so_many() -> None:
    for kind, protocol in (("host", "udp"), ("srflx", "udp"), ("prflx", "udp"), ("relay", "udp"), ("host", "tcp")):
        most = MOST["active" if protocol == "tcp" else "srflx" if kind == "prflx" else kind]
        remote = Destinations().generation()
        assert sum(remote.takes(each, 0.0) for each in many(kind, 128, protocol)) == most
        own = CandidateQuota()
        assert sum(own.take(each) for each in many(kind, 128, protocol)) == most


def test_what_was_told_before_costs_nothing() -> None:
    remote = Destinations().generation()
    assert sum(remote.takes(HOST, 0.0) for _ in range(1000)) == 1000


def test_a_session_has_only_so_many_hosts_and_gains_them_slowly() -> None:
    session = Destinations()
    hosts = iter(many("host", 1000))
    taken = [sum(session.generation().takes(next(hosts), 0.0) for _ in range(8)) for _ in range(20)]
    assert sum(taken) == SESSION_HOSTS[0]
    known = many("host", 1)[0]
    assert session.generation().takes(known, 1.0), "what is known stays so"
    assert not session.generation().takes(next(hosts), 1.0)
    assert session.generation().takes(next(hosts), SESSION_HOSTS[1])
    assert not session.generation().takes(next(hosts), SESSION_HOSTS[1])


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_whatever_is_told_what_is_taken_is_bounded(data: st.DataObject) -> None:
    session, now = Destinations(), 0.0
    hosts: set[str] = set()
    places = 0
    for _ in range(data.draw(st.integers(1, 6))):
        now += data.draw(st.floats(0, 30))
        remote = session.generation()
        told = set()
        for _ in range(data.draw(st.integers(0, 60))):
            candidate = IceCandidate(
                data.draw(st.sampled_from(["host", "srflx", "prflx", "relay"])),
                "udp",
                f"10.0.0.{data.draw(st.integers(1, 254))}",
                data.draw(st.integers(1024, 1100)),
            )
            if remote.takes(candidate, now):
                told.add((candidate.protocol, candidate.address, candidate.port))
        assert len({address for _, address, _ in told}) <= MOST_HOSTS
        assert len(told) <= sum(MOST.values())
        hosts |= {address for _, address, _ in told}
        places += len(told)
    assert len(hosts) <= SESSION_HOSTS[0] + now / SESSION_HOSTS[1] + 1
    assert places <= SESSION_DESTINATIONS[0] + now / SESSION_DESTINATIONS[1] + 1


def test_the_memory_of_a_session_is_bounded() -> None:
    session = Destinations()
    for number, candidate in enumerate(many("host", 3000)):
        assert session.generation().takes(candidate, number * SESSION_HOSTS[1])
    assert len(session._known) <= 512
