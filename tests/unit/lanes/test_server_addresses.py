"""Where the STUN and TURN servers may be that a signaling server names; and what was looked at is what is asked."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import pytest

from p2pal.connect_failure import ConnectFailure
from p2pal.lanes import server_addresses
from p2pal.lanes.address_zones import ONLY_LOOPBACK, Zone, Zones
from p2pal.lanes.ice_servers import IceServerConfig
from p2pal.lanes.server_addresses import ServerAddresses, resolve

BOOK: Mapping[str, Sequence[str]] = {
    "public.test": ["8.8.8.8", "8.8.4.4", "2606:4700::1", "2606:4700::2"],
    "local.test": ["192.168.1.9"],
    "here.test": ["127.0.0.1", "::1"],
    "mixed.test": ["127.0.0.1", "192.168.1.1", "8.8.8.8", "fe80::1"],
    "nobody.test": ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "::ffff:127.0.0.1"],
    "127.1": ["127.0.0.1"],
}


class Book:
    """Looks names up in the book, and knows how often."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        if host not in BOOK:
            raise OSError("no such name")
        return list(BOOK[host])


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def offered(*urls: str) -> IceServerConfig:
    return IceServerConfig(urls, "user", "password", offered=True)


async def given(nearest: Zone, *urls: str) -> tuple[str, ...]:
    """What the engine is given of these URLs."""
    servers = await ServerAddresses(Zones(nearest), resolve=Book()).usable([offered(*urls)])
    return servers[0].urls if servers else ()


@pytest.mark.parametrize(
    ("url", "nearest", "urls"),
    [
        ("stun:public.test", Zone.PUBLIC, ("stun:8.8.8.8:3478", "stun:[2606:4700::1]:3478")),
        ("stun:public.test:99", Zone.LOOPBACK, ("stun:8.8.8.8:99", "stun:[2606:4700::1]:99")),
        ("turn:mixed.test?transport=tcp", Zone.PUBLIC, ("turn:8.8.8.8:3478?transport=tcp",)),
        ("turn:mixed.test", Zone.LOCAL, ("turn:192.168.1.1:3478",)),
        ("turn:local.test", Zone.PUBLIC, ()),
        ("turn:local.test", Zone.LOCAL, ("turn:192.168.1.9:3478",)),
        ("turn:here.test", Zone.LOCAL, ()),
        ("turn:here.test", Zone.LOOPBACK, ("turn:127.0.0.1:3478", "turn:[::1]:3478")),
        ("stun:nobody.test", Zone.LOOPBACK, ()),
        ("stun:127.1", Zone.LOCAL, ()),
        ("stun:127.0.0.1", Zone.LOCAL, ()),
        ("stun:0.0.0.0", Zone.LOOPBACK, ()),
        ("stun:224.0.0.1", Zone.LOOPBACK, ()),
        ("stun:[::ffff:127.0.0.1]", Zone.LOOPBACK, ()),
        ("stun:192.168.1.1", Zone.PUBLIC, ()),
        ("stun:192.168.1.1", Zone.LOCAL, ("stun:192.168.1.1",)),
        ("stun:8.8.8.8", Zone.PUBLIC, ("stun:8.8.8.8",)),
        ("turns:public.test:443", Zone.PUBLIC, ("turns:public.test:443",)),
        ("turns:here.test:443", Zone.PUBLIC, ()),
        ("stuns:here.test:443", Zone.PUBLIC, ()),
        ("stuns:public.test:443", Zone.PUBLIC, ("stuns:8.8.8.8:443", "stuns:[2606:4700::1]:443")),
        ("stun:unknown.test", Zone.LOOPBACK, ()),
        ("nonsense", Zone.LOOPBACK, ()),
    ],
)
async def test_a_server_names_nothing_that_is_nearer_than_itself(
    url: str, nearest: Zone, urls: tuple[str, ...]
) -> None:
    assert await given(nearest, url) == urls


async def test_what_the_user_named_is_asked_wherever_it_is() -> None:
    book = Book()
    named = IceServerConfig(("stun:here.test", "turn:127.0.0.1"), "user", "password")
    assert await ServerAddresses(Zones(Zone.PUBLIC), resolve=book).usable([named]) == [named]
    assert book.asked == []


async def test_only_loopback_is_only_loopback() -> None:
    addresses = ServerAddresses(ONLY_LOOPBACK, resolve=Book())
    found = await addresses.usable([offered("stun:public.test", "stun:127.0.0.1:9", "stun:8.8.8.8")])
    assert [server.urls for server in found] == [("stun:127.0.0.1:9",)]


async def test_why_one_is_not_asked_and_what_an_address_stands_for() -> None:
    addresses = ServerAddresses(Zones(Zone.PUBLIC), resolve=Book())
    urls = ("turn:here.test", "turn:unknown.test", "turn:public.test?transport=udp", "turn:127.0.0.1")
    (server,) = await addresses.usable([offered(*urls)])
    assert (server.username, server.credential) == ("user", "password")
    assert addresses.trouble == {
        "turn:here.test": ConnectFailure.TOO_NEAR,
        "turn:127.0.0.1": ConnectFailure.TOO_NEAR,
        "turn:unknown.test": ConnectFailure.NOT_RESOLVED,
    }
    assert addresses.names == {
        "turn:8.8.8.8:3478?transport=udp": "turn:public.test?transport=udp",
        "turn:[2606:4700::1]:3478?transport=udp": "turn:public.test?transport=udp",
    }


async def test_who_connects_by_name_gets_the_addresses_that_were_looked_at() -> None:
    addresses = ServerAddresses(Zones(Zone.PUBLIC), resolve=Book())
    assert await addresses.addresses("mixed.test") == ("8.8.8.8",)
    assert await addresses.addresses("here.test") == ()
    assert await addresses.addresses("127.0.0.1") == ()
    assert await addresses.addresses("8.8.8.8") == ("8.8.8.8",)


async def test_a_name_is_looked_up_once_in_a_while_and_others_not_without_end() -> None:
    book = Book()
    addresses = ServerAddresses(Zones(Zone.PUBLIC), resolve=book)
    for _ in range(5):
        await addresses.usable([offered("stun:public.test", "turn:public.test")])
    assert book.asked == ["public.test"]
    for number in range(100):
        await addresses.usable([offered(f"stun:{number}.test")])
    assert len(book.asked) == server_addresses.LOOK_UPS[0]


async def test_a_name_server_that_does_not_answer_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_addresses, "PATIENCE", 0.01)
    answers = threading.Event()

    def ask(host: str) -> list[str]:
        answers.wait(10)
        return ["8.8.8.8"]

    addresses = ServerAddresses(Zones(Zone.PUBLIC), resolve=ask)
    stun = offered("stun:slow.test")
    assert await addresses.usable([stun]) == []
    monkeypatch.setattr(server_addresses, "PATIENCE", 10)
    answers.set()
    assert [each.urls for each in await addresses.usable([stun])] == [("stun:8.8.8.8:3478",)]


async def test_a_proxy_looks_names_up_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://192.0.2.1:3128")
    book = Book()
    addresses = ServerAddresses(Zones(Zone.PUBLIC), resolve=book)
    urls = ("turns:unknown.test:443", "turn:unknown.test?transport=tcp", "turns:127.0.0.1:443", "turns:192.168.1.1:443")
    (server,) = await addresses.usable([offered(*urls)])
    assert server.urls == urls[:2]
    assert book.asked == []


def test_the_system_resolves() -> None:
    assert resolve("127.0.0.1") == ["127.0.0.1"]
    assert set(resolve("localhost")) <= {"127.0.0.1", "::1"}
