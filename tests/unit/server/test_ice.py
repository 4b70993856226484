from __future__ import annotations

import base64
import hashlib
import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.server.kit import Kit, Raw, serving

from p2pal.server import ice
from p2pal.server.config import ServerConfig
from p2pal.server.ice import RENEWAL, IceServers, check_stun, check_turn, make_credential, may_relay
from p2pal.server.state import SENDER, Attempt, Rendezvous
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import IceServer, State

STUN = "stun:stun.example:3478"
TURN = ("turn:turn.example:3478", "turns:turn.example?transport=tcp")
SECRET = "between the two servers"
CONFIG = ServerConfig(port=0, drain=0.2, stun=(STUN,), turn=TURN, turn_secret=SECRET, turn_ttl=600.0)
ATTEMPTS = (Attempt(1, b"one", "socket"), Attempt(2, b"two", "socket"))


class Clock:
    """A wall clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.25

    def __call__(self) -> float:
        return self.now


def transfer(state: State, served: int = 1, *, meeting: bool = False, name: str = "a-transfer") -> Rendezvous:
    return Rendezvous(
        name, 0 if meeting else 47, b"", 60.0, None, state, accepted=True, meeting=meeting, attempts=ATTEMPTS,
        served=served,
    )  # fmt: skip


def relays(servers: list[IceServer]) -> list[IceServer]:
    return [server for server in servers if any(url.startswith("turn") for url in server.urls)]


def test_a_credential_is_what_a_turn_server_computes() -> None:
    username, password = make_credential("north", "name", 1_700_000_600)
    assert username == "1700000600:name"
    assert base64.b64decode(password, validate=True) == hmac.new(b"north", username.encode(), hashlib.sha1).digest()
    assert make_credential("north", "1", 2) == ("2:1", "lseyK4ld7i3fijiuKsszphuyXhw=")


def test_turn_comes_with_a_credential_that_ends_and_says_nothing() -> None:
    servers = IceServers(CONFIG, Clock())
    assert servers.for_everyone() == [IceServer([STUN])]
    stun, relay = servers.for_peer(transfer(State.ACTIVE), SENDER)
    assert (stun.urls, relay.urls) == ([STUN], list(TURN))
    assert re.fullmatch(r"1700000600:[0-9a-f]{16}", relay.username)
    assert (relay.username, relay.credential) == make_credential(SECRET, relay.username.split(":")[1], 1_700_000_600)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("meeting", [True, False])
def test_only_the_two_sides_of_an_attempt_get_turn(state: State, meeting: bool) -> None:
    agreed = state is State.ACTIVE or (meeting and state is State.READY)
    for who in (SENDER, 1, 2):
        assert may_relay(transfer(state, meeting=meeting), who) is (agreed and who != 2)


def test_what_is_over_with_an_attempt_is_over_for_the_relay_too() -> None:
    """The transfer was accepted once; whoever comes now has shown nothing yet."""
    servers = IceServers(CONFIG, Clock())
    for state, served in ((State.PENDING, 0), (State.READY, 2), (State.COMPLETED, 0), (State.ABORTED, 0)):
        for who in (SENDER, 1, 2):
            assert servers.for_peer(transfer(state, served), who) == [IceServer([STUN])]


def test_each_side_gets_its_own_and_a_fresh_one_when_it_asks_again_later() -> None:
    clock = Clock()
    servers = IceServers(CONFIG, clock)
    names = set()
    for _ in range(3):
        for side in (SENDER, 1):
            given = servers.for_peer(transfer(State.ACTIVE), side)
            assert servers.for_peer(transfer(State.ACTIVE), side) == given
            clock.now += RENEWAL / 2
            assert servers.for_peer(transfer(State.ACTIVE), side) == given
            names.add(given[1].username)
            clock.now += RENEWAL
    names.add(servers.for_peer(transfer(State.ACTIVE, name="another"), SENDER)[1].username)
    assert len(names) == 7
    assert len({name.partition(":")[2] for name in names}) == 7


@given(st.floats(0.1, 100.0))
def test_what_is_given_again_has_half_of_its_time_left(ttl: float) -> None:
    clock = Clock()
    servers = IceServers(ServerConfig(turn=TURN, turn_secret=SECRET, turn_ttl=ttl), clock)
    for _ in range(30):
        (relay,) = servers.for_peer(transfer(State.ACTIVE), SENDER)
        assert int(relay.username.partition(":")[0]) > clock.now + ttl / 2 - 1.001
        clock.now += 0.7


def test_a_clock_that_is_set_back_makes_fresh_ones() -> None:
    clock = Clock()
    servers = IceServers(CONFIG, clock)
    (first,) = relays(servers.for_peer(transfer(State.ACTIVE), SENDER))
    clock.now -= 10_000
    (second,) = relays(servers.for_peer(transfer(State.ACTIVE), SENDER))
    assert int(second.username.partition(":")[0]) == int(first.username.partition(":")[0]) - 10_000


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "MAX_KEPT", 10)
    clock = Clock()
    servers = IceServers(CONFIG, clock)
    for number in range(100):
        servers.for_peer(transfer(State.ACTIVE, name=str(number)), SENDER)
        assert len(servers._kept) <= 10
    clock.now += RENEWAL
    servers.for_peer(transfer(State.ACTIVE), SENDER)
    assert len(servers._kept) == 1


def test_static_entries_follow_the_same_rule() -> None:
    mixed = IceServer(["stun:h", "turn:h"], "user", "secret")
    static = IceServer(["turns:h"], "user", "secret")
    servers = IceServers(ServerConfig(ice_servers=(mixed, static), stun=(STUN,)))
    assert servers.for_everyone() == [IceServer([STUN]), IceServer(["stun:h"])]
    assert servers.for_peer(transfer(State.READY), SENDER) == servers.for_everyone()
    assert servers.for_peer(transfer(State.ACTIVE), SENDER) == [IceServer([STUN]), mixed, static]


def test_a_server_without_any_offers_none() -> None:
    servers = IceServers(ServerConfig())
    assert servers.for_everyone() == servers.for_peer(transfer(State.ACTIVE), SENDER) == []


@pytest.mark.parametrize("url", ["stun:h", "stuns:h:5349", "stun:[::1]:3478", "stun:192.0.2.1"])
def test_stun_urls(url: str) -> None:
    check_stun(url)
    with pytest.raises(ValueError, match="TURN URL"):
        check_turn(url)


@pytest.mark.parametrize("url", ["turn:h", "turns:h:443?transport=tcp", "turn:[::1]:1?transport=udp"])
def test_turn_urls(url: str) -> None:
    check_turn(url)
    with pytest.raises(ValueError, match="STUN URL"):
        check_stun(url)


@pytest.mark.parametrize(
    "rest", ["", "h:0", "h:65536", "h:x", "//h", "user:hidden@h", "h?transport=sctp", "[h]", "h\n", "h:1:2", "ä"]
)
def test_urls_that_no_client_could_use_are_refused_and_not_repeated(rest: str) -> None:
    for check, scheme in ((check_stun, "stun:"), (check_turn, "turn:")):
        with pytest.raises(ValueError) as caught:
            check(scheme + rest)
        assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ServerConfig(turn=TURN), "needs the secret"),
        (ServerConfig(turn=("turn:user:hidden@h",), turn_secret=SECRET), "a TURN URL is"),
        (ServerConfig(stun=("turn:h",)), "a STUN URL is"),
        (ServerConfig(stun=(STUN,) * 7, turn=TURN, turn_secret=SECRET), "more than 8"),
        (ServerConfig(turn=TURN, turn_secret=SECRET, turn_ttl=0.0), "some time"),
    ],
)
def test_settings_that_cannot_work_are_refused(config: ServerConfig, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        IceServers(config)
    assert SECRET not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_no_secret_shows() -> None:
    servers = IceServers(CONFIG, Clock())
    offered = servers.for_peer(transfer(State.ACTIVE), SENDER)
    for shown in (repr(CONFIG), repr(servers), repr(offered), repr(wire.Ice(offered))):
        assert SECRET not in shown
        assert offered[1].credential not in shown


# With a real server


async def asked(side: Raw) -> list[IceServer]:
    await side.send(wire.AskIce())
    return (await side.expect(wire.Ice)).servers


async def meet(kit: Kit, role: str) -> wire.Met:
    status, body = await kit.post("/api/meet", {"rendezvous_id": "abcdefghijklmnopqrstuvwxyz", "role": role})
    assert status == 201
    assert body["ice_servers"] == [{"urls": [STUN]}]
    return wire.Met(body["attempt"], body["token"], body["expires_in"])


async def test_before_the_accept_nobody_gets_turn() -> None:
    async with serving(CONFIG) as kit:
        created = await kit.create()
        sender = await kit.hello(created.token)
        assert created.ice_servers == await asked(sender) == [IceServer([STUN])]
        joined = await kit.join(created.slot)
        receiver = await kit.hello(joined.token)
        await sender.expect(wire.Served)
        assert joined.ice_servers == await asked(receiver) == await asked(sender) == [IceServer([STUN])]
        waiting = await kit.hello((await kit.join(created.slot)).token)
        assert await asked(waiting) == [IceServer([STUN])]
        await sender.send(wire.ClientAccept(1))
        ours, theirs = relays(await asked(sender)), relays(await asked(receiver))
        assert len(ours) == len(theirs) == 1
        assert ours != theirs
        assert relays(await asked(await kit.hello(created.token))) == ours, "another socket makes no other credential"


async def test_who_knocks_and_who_comes_next_gets_no_turn() -> None:
    async with serving(CONFIG) as kit:
        created, sender, _ = await kit.pair()
        await sender.send(wire.ClientAccept(1))
        assert relays(await asked(sender))
        knocking = await kit.hello((await kit.join(created.slot)).token)
        assert (await sender.expect(wire.Knock)).attempt == 2
        assert await asked(knocking) == [IceServer([STUN])]
        await sender.send(wire.Release(1, "moved"))
        assert (await sender.expect(wire.Served)).attempt == 2
        assert await asked(knocking) == await asked(sender) == [IceServer([STUN])]


async def test_who_is_alone_at_a_meeting_gets_no_turn() -> None:
    async with serving(CONFIG) as kit:
        sender = await kit.hello((await meet(kit, "send")).token)
        assert await asked(sender) == [IceServer([STUN])]
        met = await meet(kit, "receive")
        assert await asked(sender) == [IceServer([STUN])]
        receiver = await kit.hello(met.token)
        await sender.expect(wire.Served)
        assert relays(await asked(sender))
        assert relays(await asked(receiver))
        await receiver.send(wire.Leave())
        await sender.expect(wire.Released)
        assert await asked(sender) == [IceServer([STUN])]
