from __future__ import annotations

import ipaddress
from types import SimpleNamespace

import ifaddr
import pytest

from p2pal.lanes import interfaces


def adapter(*ips: str) -> SimpleNamespace:
    """As the library tells of one; an IPv6 address has its flow and its scope beside it."""
    return SimpleNamespace(ips=[SimpleNamespace(ip=(ip, 0, 3) if ":" in ip else ip) for ip in ips])


def test_addresses_that_others_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = [adapter("127.0.0.1", "::1"), adapter("192.0.2.7", "2001:db8::7", "fe80::1", "169.254.1.1"), adapter()]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [*adapters, adapter("192.0.2.7", "0.0.0.0", "odd")])
    assert interfaces.look().addresses == ("192.0.2.7", "2001:db8::7")


def test_this_machine() -> None:
    for address in interfaces.look().addresses:
        assert not ipaddress.ip_address(address).is_loopback


def test_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError

    monkeypatch.setattr(ifaddr, "get_adapters", refuse)
    monkeypatch.setattr(interfaces, "source_of", lambda outside: None if ":" in outside else "192.0.2.7")
    found = interfaces.look()
    assert (found.addresses, found.ipv4_route, found.ipv6_route) == (("192.0.2.7",), True, False)


def test_no_more_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [f"10.0.{number // 250}.{number % 250 + 1}" for number in range(400)]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [adapter(*many)])
    assert len(interfaces.look().addresses) == interfaces.MAX_ADDRESSES


def test_the_source_of_a_route() -> None:
    assert interfaces.source_of("127.0.0.1") == "127.0.0.1"
    assert interfaces.source_of("no address") is None
