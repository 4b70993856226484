"""How near an address is, and whose candidates are used for that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2pal.lanes.address_zones import ONLY_LOOPBACK, Zone, Zones, zone_of, zone_reached
from p2pal.lanes.candidate_filter import Destinations
from p2pal.lanes.ice_candidates import IceCandidate

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
