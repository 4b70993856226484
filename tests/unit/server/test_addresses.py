from __future__ import annotations

from ipaddress import ip_network

import pytest

from p2pal.server.addresses import MAX_HOPS, client_address, group, trusts

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7", "10.0.0.2,\t10.0.0.3"], "198.51.100.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("", ["198.51.100.7"], ""),
        ("/run/p2pal.sock", ["198.51.100.7"], ""),
    ],
)
def test_the_client_is_who_the_last_trusted_proxy_saw(peer: str, forwarded: list[str], client: str) -> None:
    assert client_address(peer, forwarded, PROXIES) == client


@pytest.mark.parametrize(
    ("hop", "client"),
    [
        ("198.51.100.7:4711", "198.51.100.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("[2001:DB8:0::7]", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[fe80::7%25eth0]:1", "fe80::7"),
        ("[::ffff:198.51.100.7%zone]:65535", "198.51.100.7"),
    ],
)
def test_ports_brackets_and_zones_are_taken_off(hop: str, client: str) -> None:
    assert client_address("10.0.0.1", [hop], PROXIES) == client


@pytest.mark.parametrize(
    "hop",
    [
        "",
        " ",
        "unknown",
        "_hidden",
        "198.51.100.7:",
        "198.51.100.7:65536",
        "198.51.100.7:-1",
        "198.51.100.7:٣",
        "198.51.100.7%zone",
        "198.51.100.07",
        "198.51.100",
        "3325256711",
        "[198.51.100.7]",
        "[2001:db8::7",
        "[2001:db8::7]4711",
        "[2001:db8::7]:",
        "[]:1",
        "[",
        "%",
        '"198.51.100.7"',
        "198.51.100.7\n",
        "198.51.100.7 " * 9,
        ":" * 100,
        "9" * 10_000,
        "198.51.100.7" + " " * 100 + "x",
    ],
)
def test_what_is_no_address_ends_the_walk_at_the_proxy(hop: str) -> None:
    assert client_address("10.0.0.1", [hop], PROXIES) == "10.0.0.1"
    assert client_address("10.0.0.1", ["198.51.100.7", hop, "10.0.0.2"], PROXIES) == "10.0.0.2"


def test_the_walk_is_bounded() -> None:
    chain = ["198.51.100.7", *(f"10.0.0.{n}" for n in range(1, 101))]
    assert client_address("10.0.1.1", [",".join(chain)], PROXIES) == f"10.0.0.{101 - MAX_HOPS}"
    assert client_address("10.0.1.1", chain, PROXIES) == f"10.0.0.{101 - MAX_HOPS}"
    assert client_address("10.0.1.1", ["," * 1_000_000], PROXIES) == "10.0.1.1"


def test_an_ipv6_client_is_its_network() -> None:
    assert group("2001:db8:1:2:3:4:5:6") == group("2001:db8:1:2::") == "2001:db8:1:2::/64"
    assert group("2001:db8:1:3::") != group("2001:db8:1:2::")
    assert group("192.0.2.1") == group("::ffff:192.0.2.1") == "192.0.2.1"
    assert group("") == ""


def test_only_named_networks_are_trusted() -> None:
    assert trusts("10.1.2.3", PROXIES)
    assert trusts("::ffff:10.1.2.3", PROXIES)
    assert not trusts("192.0.2.1", PROXIES)
    assert not trusts("", PROXIES)
    assert not trusts("10.1.2.3", ())
