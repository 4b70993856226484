"""Datagram lanes against a peer that says what it likes of them in the mailbox, and against servers that do."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import pytest
from aioice import stun
from tests.sim.links import secrets
from tests.unit.peer.kit import Owner, pair, payloads

from p2pal.crypto.keys import Direction, SessionSecret
from p2pal.errors import ConnectionImpossible, ProtocolError
from p2pal.lanes.address_zones import Nearness, Zone
from p2pal.lanes.ice_candidates import IceCandidate
from p2pal.lanes.ice_servers import IceServerConfig, KnownServers, RelayUse
from p2pal.lanes.udp.addresses import MAX_LOCALS, CandidateKind, DatagramCandidate
from p2pal.lanes.udp.budget import MAX_IP_PROBES
from p2pal.lanes.udp.entropy import Entropy
from p2pal.lanes.udp.events import PathSelected
from p2pal.lanes.udp.factory import MAX_LOOKED_AT, MAX_SERVERS, UdpFactory
from p2pal.lanes.udp.packet import Header, Kind
from p2pal.lanes.udp.ports import open_port
from p2pal.lanes.udp.reflexive import Reflexive
from p2pal.lanes.udp.sockets import open_socket
from p2pal.link.datagrams import TRIES
from p2pal.peer.datagrams import DatagramDriver
from p2pal.peer.driver import PATH_NEWS
from p2pal.peer.peer import Peer
from p2pal.wire.signal import (
    DATAGRAM_LANES,
    MAX_UDP_CANDIDATES,
    Hello,
    Offer,
    SignalMessage,
    UdpCandidate,
    UdpCandidates,
    decode_signal,
    encode,
)

BOTH = ("udp", "webrtc")
FIRST = DATAGRAM_LANES + 1
ELSEWHERE = "127.0.0.99"
"""Somebody else's address, as the peer names it."""


# A peer that says what it likes through the mailbox


class Sockets:
    """The sockets that lanes opened."""

    def __init__(self) -> None:
        self.every: list[socket.socket] = []
        self.looks = 0

    @property
    def open(self) -> int:
        return sum(each.fileno() >= 0 for each in self.every)


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sockets]:
    found = Sockets()
    look = UdpFactory._look

    def counted(ip: str, port: int = 0) -> socket.socket:
        found.every.append(open_socket(ip, port))
        return found.every[-1]

    def looked(factory: UdpFactory) -> tuple[list[str], frozenset[str]]:
        found.looks += 1
        return look(factory)

    monkeypatch.setattr("p2pal.lanes.udp.factory.open_socket", counted)
    monkeypatch.setattr(UdpFactory, "_look", looked)
    yield found
    assert found.open == 0, "a socket was left open"


class Ear:
    """Hears nothing of its lanes."""

    def lane_closed(self, lane: object, reason: str) -> None:
        pass

    def lane_event(self, lane: object, event: object) -> None:
        pass


@contextmanager
def side(*, sender: bool) -> Iterator[tuple[DatagramDriver, list[SignalMessage]]]:
    said: list[SignalMessage] = []
    driver = DatagramDriver(
        SessionSecret(bytes(32)).master(),
        UdpFactory(near=Nearness(only_loopback=True)),
        sender=sender,
        listener=Ear(),  # type: ignore[arg-type]
        mail=said.append,
    )
    try:
        yield driver, said
    finally:
        driver.stop()


def words(lane: int, nonce: int = 0, ip: str = ELSEWHERE, first_port: int = 2000) -> UdpCandidates:
    told = tuple(UdpCandidate("host", ip, first_port + number) for number in range(MAX_UDP_CANDIDATES))
    return UdpCandidates(lane, nonce.to_bytes(16, "big"), told)


@pytest.mark.parametrize("together", [True, False])
async def test_a_leader_that_begins_lanes_without_end_has_few_sockets_opened(together: bool, sockets: Sockets) -> None:
    with side(sender=False) as (driver, said):
        await driver.prepare()
        await driver.start(words(FIRST))
        taking = [driver.take(words(FIRST + number, number)) for number in range(1, 300)]
        if together:
            await asyncio.gather(*taking)
        else:
            for each in taking:
                await each
        assert sockets.open <= MAX_LOCALS
        assert sockets.looks <= TRIES + 1
        assert len(sockets.every) <= MAX_LOCALS * (TRIES + 1)
        assert len(said) <= TRIES
        assert driver.lane is None or sockets.open == len(driver.lane._ports)


async def test_lanes_that_end_while_they_get_their_sockets_leave_none_open(
    monkeypatch: pytest.MonkeyPatch, sockets: Sockets
) -> None:
    """As on Windows, where a socket is not taken over at once."""

    async def later(*arguments: object, **options: bool) -> object:
        await asyncio.sleep(0)
        return await open_port(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("p2pal.lanes.udp.shell.open_port", later)
    with side(sender=False) as (driver, _):
        await driver.prepare()
        await asyncio.gather(
            driver.start(words(FIRST)),
            *(driver.take(words(FIRST + number, number)) for number in range(1, 12)),
            driver.move(),
            driver.move(),
        )
        assert driver.lane is not None
        assert driver.lane.id == FIRST + 11
        assert sockets.open == len(driver.lane._ports)
        ending = asyncio.gather(driver.move(), driver.take(words(FIRST + 12, 12)))
        await asyncio.sleep(0)
        driver.stop()
        await ending


async def test_a_receiver_that_speaks_of_a_lane_before_it_is_told_makes_one_lane(sockets: Sockets) -> None:
    with side(sender=True) as (driver, said):
        await driver.prepare()
        await driver.start(words(FIRST))
        assert driver.lane is not None
        first = driver.lane
        first.close()
        driver.closed(first, broken=False)
        await asyncio.gather(driver.begin(), driver.take(words(FIRST + 1)), driver.take(words(FIRST + 1)))
        assert [each.lane for each in said if isinstance(each, UdpCandidates)] == [FIRST + 1]
        assert driver.lane is not None
        assert driver.lane.id == FIRST + 1


async def test_all_lanes_of_a_session_have_one_budget() -> None:
    with side(sender=False) as (driver, _):
        await driver.prepare()
        await driver.start(words(FIRST))
        now = asyncio.get_running_loop().time()
        sent = Counter[str]()
        for number in range(1, TRIES):
            await driver.take(words(FIRST + number, number, first_port=2000 + 8 * number))
            assert driver.lane is not None
            machine = driver.lane._lane
            at = now
            while (due := machine.next_timeout()) is not None and due < now + 14:
                at = max(at + 1e-4, due)
                for batch in machine.datagrams(at):
                    sent[batch.ip] += 1
        assert sent.total() == sent[ELSEWHERE] <= MAX_IP_PROBES + 1


async def test_candidates_that_never_end_are_passed_over(sockets: Sockets) -> None:
    with side(sender=False) as (driver, _):
        await driver.prepare()
        await driver.start(words(FIRST))
        for number in range(500):
            await driver.take(words(FIRST, 0, first_port=2000 + 8 * number))
        assert driver.lane is not None
        assert len(driver.lane._lane._connectivity._remotes) <= MAX_UDP_CANDIDATES
        assert sockets.looks == 1


@pytest.mark.parametrize(
    "ip", ["127.0.0.1", "::1", "10.0.0.255", "224.0.0.1", "255.255.255.255", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
           "fe80::1", "0.0.0.0", "example.org", "127.1", "8.8.8.8%1"],
)  # fmt: skip
async def test_odd_candidates_are_passed_over(ip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UdpFactory, "_look", lambda _: (["127.0.0.1"], frozenset({"10.0.0.255"})))
    driver = DatagramDriver(
        SessionSecret(bytes(32)).master(),
        UdpFactory(near=Nearness()),
        sender=True,
        listener=Ear(),  # type: ignore[arg-type]
        mail=lambda _: None,
    )
    try:
        await driver.prepare()
        await driver.start(
            UdpCandidates(FIRST, bytes(16), (UdpCandidate("host", ip, 2000), UdpCandidate("host", "8.8.8.8", 53)))
        )
        assert driver.lane is not None
        assert not driver.lane._lane._connectivity._remotes
    finally:
        driver.stop()


async def test_who_moved_knows_the_broadcast_addresses_of_its_new_network(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(["127.0.0.1"], frozenset({"10.0.0.255"})), (["127.0.0.1"], frozenset({"10.9.0.255"}))]
    factory = UdpFactory()
    monkeypatch.setattr(factory, "_look", lambda: found.pop(0))
    own = await factory.open()
    try:
        remote = own.remote
        assert "10.0.0.255" in own.broadcast
        await factory.addresses()
        assert "10.9.0.255" in own.broadcast
        named = [IceCandidate("host", "udp", ip, 2000) for ip in ("10.9.0.255", "10.0.0.255")]
        assert [remote.takes(each, 0.0) for each in named] == [False, True]
    finally:
        own.close()


@pytest.mark.parametrize("lane", [0, DATAGRAM_LANES + 1, 2**31 - 1])
def test_an_offer_of_the_engine_has_no_number_of_a_datagram_lane(lane: int) -> None:
    with pytest.raises(ProtocolError):
        decode_signal(encode(Offer(1, lane, "v=0")))
    last = Offer(1, DATAGRAM_LANES, "v=0")
    assert decode_signal(encode(last)) == last


async def test_sockets_that_the_other_side_has_no_use_for_are_closed(sockets: Sockets) -> None:
    left, right = Owner(lanes=BOTH), Owner(lanes=("webrtc",))
    async with pair(left, right) as (running, _):
        await running.linked()
        assert sockets.every
        assert sockets.open == 0


async def test_a_side_that_has_no_other_lanes_and_tells_of_none_is_left_at_once(
    monkeypatch: pytest.MonkeyPatch, sockets: Sockets
) -> None:
    prepare = DatagramDriver.prepare

    async def silent(driver: DatagramDriver) -> UdpCandidates | None:
        found = await prepare(driver)
        return found if driver._sender else None

    monkeypatch.setattr(DatagramDriver, "prepare", silent)
    left, right = Owner(lanes=BOTH), Owner(lanes=("udp",))
    async with pair(left, right) as (running, _):
        error = (await running.end())[0]
        assert isinstance(error, ConnectionImpossible)
        assert "lanes" in error.message, "at once, and not because nothing opened in all the time there is"


async def test_a_peer_whose_path_looks_different_with_each_probe_fills_no_screen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its probes say what they like of its own end: each could be one more line on this side."""
    left, right = Owner(lanes=BOTH), Owner(lanes=BOTH)
    async with pair(left, right) as (running, _):
        await running.linked()
        await left.until(lambda: bool(left.paths))
        link = left.peer.link
        lane = link.datagrams.lane
        assert lane is not None
        used = lane._lane.path
        assert used is not None
        began, flips = monotonic(), 0
        while flips < 300 or monotonic() < began + 0.5:
            flips += 1
            lane._lane.path = used._replace(punched=bool(flips & 1))
            link.lane_event(lane, PathSelected(lane._lane.path))
            await asyncio.sleep(0)
        if not flips & 1:
            lane._lane.path = used._replace(punched=True)
            link.lane_event(lane, PathSelected(lane._lane.path))
        words = "direct, punched udp"
        await asyncio.sleep(PATH_NEWS[1])
        await left.until(lambda: left.paths[-1] == words)
        assert len(left.paths) <= PATH_NEWS[0] + (monotonic() - began) / PATH_NEWS[1] + 1


@pytest.mark.parametrize("lanes", [("udp", "\x1b[31m", "webrtc"), ("carrier pigeon",) * 7 + ("webrtc",)])
async def test_odd_words_for_lanes_do_no_harm(lanes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    mail = Peer._mail

    def odd(peer: Peer, message: SignalMessage) -> None:
        if isinstance(message, Hello) and not peer._config.sender:
            message = Hello(message.max_frame, message.window, message.relay, lanes)  # `udp` without its words
        mail(peer, message)

    monkeypatch.setattr(Peer, "_mail", odd)
    left, right = Owner(lanes=BOTH), Owner(lanes=BOTH)
    async with pair(left, right) as (running, _):
        await running.linked()
        assert left.paths == ["direct, host udp"]


async def test_a_side_that_hides_opens_no_socket_asks_nobody_and_tells_nothing(
    monkeypatch: pytest.MonkeyPatch, sockets: Sockets
) -> None:
    hellos: list[Hello] = []
    asked: list[object] = []
    mail = Peer._mail

    def kept(peer: Peer, message: SignalMessage) -> None:
        if isinstance(message, Hello) and peer._config.sender:
            hellos.append(message)
        mail(peer, message)

    async def asking(factory: UdpFactory) -> list[tuple[str, int]]:
        asked.append(factory)
        return []

    monkeypatch.setattr(Peer, "_mail", kept)
    monkeypatch.setattr(UdpFactory, "stun_servers", asking)
    left, right = Owner(lanes=BOTH, relay=RelayUse.ONLY), Owner(lanes=("webrtc",))
    async with pair(left, right):
        await left.until_true(lambda: bool(hellos))
        await right.until_true(lambda: right.peer._session is not None or right.peer._ended.done())
    assert [(hello.lanes, hello.udp) for hello in hellos] == [(("webrtc",), None)]
    assert (sockets.every, asked) == ([], [])


# Servers


@pytest.mark.parametrize(
    ("server", "seen"),
    [
        ("8.8.8.8", ("127.0.0.1", 4000)), ("8.8.8.8", ("192.168.1.7", 4000)), ("8.8.8.8", ("224.0.0.251", 5353)),
        ("8.8.8.8", ("255.255.255.255", 4000)), ("8.8.8.8", ("0.0.0.0", 4000)), ("8.8.8.8", ("1.1.1.1", 53)),
        ("8.8.8.8", ("1.1.1.1", 0)), ("192.168.1.1", ("127.0.0.1", 4000)),
    ],
)  # fmt: skip
def test_a_stun_server_that_sees_us_where_nobody_is_is_not_believed(server: str, seen: tuple[str, int]) -> None:
    reflexive = Reflexive(Entropy(bytes(32)))
    reflexive.add_socket(0, "10.0.0.2", 5000, 0.0)
    reflexive.add_servers([(server, 3478)], 0.0)
    ((address, request),) = reflexive.outputs(0.0)
    transaction = stun.parse_message(request).transaction_id
    answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction, {"XOR-MAPPED-ADDRESS": seen})
    assert reflexive.receive(bytes(answer), address) is None
    assert list(reflexive.outputs(100.0)) == [], "it has answered"


async def test_a_server_that_offers_very_many_stun_servers_has_few_looked_at() -> None:
    urls = tuple(f"stun:{number}.test:3478" for number in range(100))
    factory = UdpFactory(KnownServers([IceServerConfig(urls, offered=True)]), near=Nearness(Zone.PUBLIC))
    asked: list[str] = []
    loop = asyncio.get_running_loop()
    released = asyncio.Event()

    def resolve(host: str) -> list[str]:
        asked.append(host)
        if len(asked) == MAX_LOOKED_AT:
            loop.call_soon_threadsafe(released.set)
        return ["192.168.1.9", "127.0.0.1"]

    factory._offered._resolve = resolve
    assert await factory.stun_servers() == []
    await released.wait()
    assert len(asked) == MAX_LOOKED_AT


async def test_few_servers_of_each_family_are_asked() -> None:
    hosts = [*(f"8.8.4.{number}" for number in range(9)), *(f"[2001:4860:4860::{number}]" for number in range(1, 9))]
    factory = UdpFactory(KnownServers([IceServerConfig(tuple(f"stun:{host}:3478" for host in hosts), offered=True)]))
    found = await factory.stun_servers()
    assert Counter(":" in ip for ip, _ in found) == {False: MAX_SERVERS, True: MAX_SERVERS}


async def test_a_server_that_sees_us_at_ever_new_addresses_has_few_of_them_told() -> None:
    with side(sender=True) as (driver, said):
        await driver.prepare()
        await driver.start(words(FIRST))
        for number in range(100):
            driver.tell(DatagramCandidate(CandidateKind.SERVER_REFLEXIVE, "203.0.113.7", 2000 + number))
        told = [candidate for each in said if isinstance(each, UdpCandidates) for candidate in each.candidates]
        assert 0 < len(told) < MAX_UDP_CANDIDATES, "and those of the hello count, too"


@pytest.mark.parametrize("offered", [True, False])
async def test_with_loopback_only_no_name_is_looked_up(offered: bool) -> None:
    asked: list[str] = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    servers = [IceServerConfig(("stun:stun.test", "stun:8.8.8.8", "stun:localhost:99"), offered=offered)]
    factory = UdpFactory(KnownServers(servers), near=Nearness(only_loopback=True))
    factory._offered._resolve = factory._named._resolve = resolve
    assert await factory.stun_servers() == [("127.0.0.1", 99)]
    assert asked == ["localhost"]


# What is kept secret


async def test_no_key_tag_or_nonce_is_in_a_log_or_a_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hellos: list[Hello] = []
    mail = Peer._mail

    def kept(peer: Peer, message: SignalMessage) -> None:
        if isinstance(message, Hello):
            hellos.append(message)
        mail(peer, message)

    monkeypatch.setattr(Peer, "_mail", kept)
    left, right = Owner(payloads(3), lanes=BOTH), Owner(lanes=BOTH)
    async with pair(left, right) as (running, _):
        await running.linked()
        await right.until(lambda: len(right.received) == 3)
        driver = left.peer.link.datagrams
        lane = driver.lane
        assert lane is not None
        machine = lane._lane
        tags = [machine._receive_tag, machine._sealer._tag]
        nonces = [hello.udp.nonce for hello in hellos if hello.udp is not None]
        assert len(nonces) == 2
        keys = [driver._master.datagram_key(lane.id, way, nonce)[0] for nonce in nonces for way in Direction]
        header = Header(Kind.ACK, 1, tags[0])
        objects = (driver, driver._own, driver.schedule, driver._master, lane, machine, machine._sealer,
                   machine._opener, machine._connectivity, machine._entropy, header, secrets(), *hellos)  # fmt: skip
        texts = [caplog.text, *map(repr, objects), *map(str, objects)]
        with pytest.raises(ProtocolError) as error:
            await driver.take(UdpCandidates(lane.id, bytes(16)))
        texts.append(str(error.getrepr(style="native")))
    telling = [form for tag in tags for form in (str(tag), f"{tag:x}")]
    telling += [form for secret in (*keys, *nonces) for form in (repr(secret)[2:-1], secret.hex())]
    assert not [form for form in telling for text in texts if form in text]
