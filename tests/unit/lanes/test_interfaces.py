from __future__ import annotations

import ipaddress
from pathlib import Path
from types import SimpleNamespace

import ifaddr
import pytest

from p2pal.lanes import interfaces


def adapter(*ips: str, name: str = "odd0") -> SimpleNamespace:
    """As the library tells of one; an IPv6 address has its flow and its scope beside it."""
    found = [SimpleNamespace(ip=(ip, 0, 3) if ":" in ip else ip, network_prefix=24) for ip in ips]
    return SimpleNamespace(name=name, nice_name=name, ips=found)


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


def files(monkeypatch: pytest.MonkeyPatch, place: Path, unusable: str = "", **interfaces_: tuple[str, str]) -> None:
    """What Linux says of its interfaces, by their names: the state, and the type of the hardware."""
    for name, (state, kind) in interfaces_.items():
        (place / name).mkdir()
        (place / name / "operstate").write_text(f"{state}\n")
        (place / name / "type").write_text(f"{kind}\n")
    (place / "if_inet6").write_text(unusable)
    monkeypatch.setattr(interfaces, "_SYSTEM", place)
    monkeypatch.setattr(interfaces, "_IF_INET6", place / "if_inet6")


def test_own_addresses_come_with_what_the_system_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = (
        "20010db8000000000000000000000007 02 40 00 20     eth0\n"
        "20010db8000000000000000000000008 02 40 00 80     eth0\nodd\n"
    )
    files(monkeypatch, tmp_path, lines, eth0=("up", "1"), corp=("unknown", "65534"), old=("down", "1"))
    found = [
        adapter("10.9.9.9", name="corp"),
        adapter("192.0.2.7", "2001:db8::7", "2001:db8::8", "fe80::1", name="eth0"),
        adapter("192.0.2.8", name="old"),
        adapter("127.0.0.1", name="lo"),
    ]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: found)
    monkeypatch.setattr(interfaces, "source_of", lambda outside: None if ":" in outside else "10.9.9.9")
    assert [own.address for own in interfaces.own_addresses(interfaces.adapters())] == [
        "192.0.2.7",
        "2001:db8::8",
        "10.9.9.9",
    ]


def test_own_addresses_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse() -> None:
        raise PermissionError

    monkeypatch.setattr(interfaces, "_SYSTEM", tmp_path / "none")
    monkeypatch.setattr(interfaces, "_IF_INET6", tmp_path / "none")
    monkeypatch.setattr(ifaddr, "get_adapters", refuse)
    monkeypatch.setattr(interfaces, "source_of", lambda outside: None if ":" in outside else "192.0.2.7")
    assert [own.address for own in interfaces.own_addresses(interfaces.adapters())] == ["192.0.2.7"]


def test_own_addresses_of_this_machine() -> None:
    for own in interfaces.own_addresses(interfaces.adapters()):
        assert not ipaddress.ip_address(own.address).is_loopback
