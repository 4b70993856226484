"""Where others may have this machine send to: which addresses, and how many."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.lanes.candidates import IceCandidate
from p2pal.lanes.destinations import (
    MOST,
    MOST_HOSTS,
    ONLY_LOOPBACK,
    SESSION_DESTINATIONS,
    SESSION_HOSTS,
    Destinations,
    Quota,
    Zone,
    Zones,
    zone_of,
    zone_reached,
)
from p2pal.link.offer_answer import MAX_CANDIDATES

HOST = IceCandidate("host", "udp", "192.0.2.1", 40_000)
NOBODY = [
    "0.0.0.0",
    "0.1.2.3",
    "255.255.255.255",
    "240.0.0.1",
    "254.255.255.255",
    "224.0.0.1",
    "239.255.255.250",
    "::",
    "ff02::1",
    "ff02::fb",
    "ff0e::1",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "100::1",
    "4000::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:192.0.2.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::192.168.1.1",
    "64:ff9b::224.0.0.1",
    "64:ff9b:1::127.0.0.1",
    "2002:7f00:1::1",
    "2002:c0a8:101::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo, of 192.0.2.45
    "localhost",
    "127.1",
    "0x7f000001",
    "010.0.0.1",
    "",
]


@pytest.mark.parametrize("address", NOBODY)
def test_addresses_that_nobody_can_be_at(address: str) -> None:
    assert zone_of(address) is None
    remote = Destinations(Zones(Zone.LOOPBACK)).generation()
    assert not remote.takes(replace(HOST, address=address), 0.0)


@pytest.mark.parametrize(
    ("address", "zone"),
    [
        ("127.0.0.1", Zone.LOOPBACK),
        ("127.255.0.3", Zone.LOOPBACK),
        ("::1", Zone.LOOPBACK),
        ("10.0.0.1", Zone.LOCAL),
        ("192.168.1.1", Zone.LOCAL),
        ("169.254.7.7", Zone.LOCAL),
        ("100.64.0.1", Zone.LOCAL),
        ("fd00::1", Zone.LOCAL),
        ("fec0::1", Zone.LOCAL),
        ("198.18.0.1", Zone.LOCAL),
        ("8.8.8.8", Zone.PUBLIC),
        ("2606:4700::1", Zone.PUBLIC),
        ("64:ff9b::8.8.8.8", Zone.PUBLIC),
        ("2002:808:808::1", Zone.PUBLIC),
    ],
)
def test_the_zone_of_an_address(address: str, zone: Zone) -> None:
    assert zone_of(address) is zone
    for nearest in Zone:
        taken = Destinations(Zones(nearest)).generation().takes(replace(HOST, address=address), 0.0)
        assert taken == (zone >= nearest)
    assert Destinations(ONLY_LOOPBACK).generation().takes(replace(HOST, address=address), 0.0) == (
        zone is Zone.LOOPBACK
    )


@pytest.mark.parametrize(
    ("address", "zone"),
    [
        ("127.0.0.1", Zone.LOOPBACK),
        ("::ffff:127.0.0.1", Zone.LOOPBACK),
        ("192.168.1.1", Zone.LOCAL),
        ("fe80::1%eth0", Zone.LOCAL),
        ("8.8.8.8", Zone.PUBLIC),
        ("", Zone.PUBLIC),
        ("odd", Zone.PUBLIC),
    ],
)
def test_where_a_server_was_reached(address: str, zone: Zone) -> None:
    assert zone_reached(address) is zone


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
    own, session = Quota(), Destinations()
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
        own = Quota()
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
