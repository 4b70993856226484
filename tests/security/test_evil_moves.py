"""A malicious server that pairs whom it likes, repeats what it said, goes back in time, and names hostile servers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.security.evil_server import EvilServer, Fields, Say, evil_server
from tests.security.hostile import Watched, connect
from tests.security.test_evil_server import CONTENT, EITHER, NAME, count_guesses, hurry, source, transfer
from tests.unit.server.kit import odd_server

from p2pal.app import events
from p2pal.app.options import LANES, ReceiveOptions, SendOptions
from p2pal.app.receive import receive
from p2pal.app.send import send
from p2pal.crypto import codes
from p2pal.errors import P2palError, ServerRefused, WrongCode
from p2pal.peer.key_exchange import MAX_GUESSES
from p2pal.rendezvous.client import RendezvousClient

__all__ = ["source"]

OTHER = b"what somebody else sends, which nobody here has asked for"


def ends_clearly(side: Watched) -> bool:
    """Whether it went well; if not, it ended in an error of ours with one line for people."""
    error = side.error
    assert error is None or isinstance(error, P2palError), repr(error)
    assert error is None or (str(error) and len(str(error).splitlines()) == 1)
    return error is None


def nothing_wrong(out: Path, source: Path, sent: Watched, received: Watched) -> None:
    """Both ended clearly, and what arrived is right or is not there."""
    went_well = [ends_clearly(sent), ends_clearly(received)]
    arrived = out / source.name / NAME
    if any(went_well):
        assert arrived.read_bytes() == CONTENT
    else:
        assert os.listdir(out) == []


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def sending(evil: EvilServer, path: Path, ttl: float = 60.0) -> Watched:
    return Watched(send([path], options=SendOptions(recursive=True, ttl=ttl), connect=connect(evil.url, max_retries=0)))


def receiving(evil: EvilServer, code: str, out: Path) -> Watched:
    return Watched(receive(code, options=ReceiveOptions(out=out), connect=connect(evil.url, max_retries=0)))


async def code_of(sent: Watched) -> codes.JoinCode:
    told = await sent.until(events.Code)
    assert isinstance(told, events.Code)
    return codes.parse(told.code).code


# Whom it pairs.


async def test_the_receivers_of_two_senders_are_exchanged(
    source: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each joins the other's slot and is told that it is the right one: both fail, and it costs each sender a guess."""
    tried = count_guesses(monkeypatch)
    other = tmp_path / "other"
    other.write_bytes(OTHER)

    async with evil_server() as evil:
        senders = [sending(evil, source), sending(evil, other)]
        told = [await code_of(each) for each in senders]
        crossed = {told[0].slot: told[1].slot, told[1].slot: told[0].slot}
        evil.ask = lambda path, body: body | {"slot": crossed[body["slot"]]} if path == "join" else body
        receivers = [receiving(evil, str(code), out) for code in told]
        for receiver in receivers:
            assert isinstance(await receiver.end(), WrongCode)
        assert os.listdir(out) == []
        assert len(tried) == 2
        evil.ask = lambda _path, body: body
        for code, each in zip(told, senders, strict=True):
            assert await receiving(evil, str(code), out).end() is None
            assert await each.end() is None
    assert (out / source.name / NAME).read_bytes() == CONTENT
    assert (out / "other").read_bytes() == OTHER


@pytest.mark.parametrize("words", [False, True], ids=["other-words", "the-same-words"])
async def test_a_join_is_answered_with_another_transfer(
    source: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: bool
) -> None:
    """Even where the words happened to be the same, the transfer's name is part of what is proved."""
    other = tmp_path / "other"
    other.write_bytes(OTHER)
    if words:
        monkeypatch.setattr(codes, "make", lambda slot, **_: codes.JoinCode(("zebra", "luna"), slot))

    async with evil_server() as evil:
        names: list[str] = []

        def answer(path: str, body: Fields) -> Fields:
            if path == "transfer":
                names.append(body["rendezvous_id"])
            # It claims that the receiver is at the transfer it asked for.
            return body | {"rendezvous_id": names[0]} if path == "join" else body

        evil.answer = answer
        mine = sending(evil, source)
        my_code = await code_of(mine)
        theirs = sending(evil, other)
        their_code = await code_of(theirs)
        evil.ask = lambda path, body: body | {"slot": their_code.slot} if path == "join" else body
        error = await receiving(evil, str(my_code), out).end()
        assert isinstance(error, WrongCode)
        assert os.listdir(out) == []
        for each in (mine, theirs):
            each.over.cancel()


async def test_a_third_with_clients_of_its_own_stands_between(
    source: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs an honest sender and an honest receiver itself, each with words that it guessed."""
    tried = count_guesses(monkeypatch)
    bait, loot = tmp_path / "bait", tmp_path / "loot"
    bait.write_bytes(OTHER)
    loot.mkdir()

    async with evil_server() as evil:
        sent = sending(evil, source)
        code = await code_of(sent)
        its_sender = sending(evil, bait)
        its_code = await code_of(its_sender)
        guess = codes.JoinCode(its_code.words, code.slot)
        for n in range(1, MAX_GUESSES + 1):
            # The real receiver is led to its sender; its own receiver guesses at the real one.
            evil.ask = lambda path, body: body | {"slot": its_code.slot} if path == "join" else body
            received = receiving(evil, str(code), out)
            assert isinstance(await received.end(), WrongCode)
            evil.ask = lambda _path, body: body
            thief = receiving(evil, str(guess), loot)
            assert isinstance(await thief.end(), WrongCode)
            assert len(tried) == 2 * n
        assert isinstance(await sent.end(), WrongCode)
        assert isinstance(await its_sender.end(), WrongCode)
    assert os.listdir(out) == os.listdir(loot) == []


async def two_with_one_attempt(source: Path, out: Path, second: Path) -> None:
    async with evil_server() as evil:
        sent = sending(evil, source)
        code = await code_of(sent)
        first: list[Fields] = []

        def answer(path: str, body: Fields) -> Fields:
            if path != "join":
                return body
            first.append(body)
            return first[0]

        evil.answer = answer
        receivers = [receiving(evil, str(code), out), receiving(evil, str(code), second)]
        for each in (*receivers, sent):
            await each.end()
            ends_clearly(each)
        for receiver, where in zip(receivers, (out, second), strict=True):
            if receiver.error is None:
                assert (where / source.name / NAME).read_bytes() == CONTENT
            else:
                assert os.listdir(where) == []
        assert [receiver.error for receiver in receivers].count(None) <= 1


def test_two_receivers_are_given_the_same_attempt(source: Path, out: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    asyncio.run(two_with_one_attempt(source, out, second))


# What it says, and when.

REPEATED: dict[str, Fields] = {
    "attempt": {"type": "attempt", "attempt": 1},
    "next attempt": {"type": "attempt", "attempt": 2},
    "welcome": {"type": "welcome", "state": "ready", "expires_in": 60.0, "attempt": 1},
    "released": {"type": "released", "attempt": 1, "reason": "left"},
    "knock": {"type": "knock", "attempt": 2},
    "own knock": {"type": "knock", "attempt": 1},
    "pending": {"type": "state", "state": "pending", "expires_in": 60.0, "attempt": 0},
    "active": {"type": "state", "state": "active", "expires_in": 60.0, "attempt": 1},
    "completed": {"type": "state", "state": "completed", "expires_in": 0.0, "attempt": 0},
    "aborted": {"type": "state", "state": "aborted", "expires_in": 0.0, "attempt": 0},
    "peer": {"type": "peer", "online": False},
    "ice": {"type": "ice", "servers": []},
    "appended": {"type": "appended", "attempt": 1, "index": 0},
    "never appended": {"type": "appended", "attempt": 1, "index": 500},
    "error": {"type": "error", "code": "conflict", "message": "\\x1b[2J", "attempt": 1},
    "nonsense": {"type": "state", "state": "somewhere", "expires_in": -1e308, "attempt": -1},
    "negative time": {"type": "state", "state": "active", "expires_in": -5.0, "attempt": 1},
    "huge time": {"type": "state", "state": "active", "expires_in": 1e300, "attempt": 1},
}
MOMENTS = (1, 3, 6, 9)
HARMLESS = {"peer", "ice", "appended", "knock", "pending", "active"}


def also(side: int, moment: int, extra: Fields) -> Say:
    """Say something more to one side, behind its n-th message."""
    count = 0

    def say(who: int, message: Fields) -> list[Fields]:
        nonlocal count
        if min(who, 1) != side:
            return [message]
        count += 1
        return [message, extra] if count == moment else [message]

    return say


@pytest.mark.parametrize("side", [0, 1], ids=["to-sender", "to-receiver"])
@pytest.mark.parametrize("name", REPEATED)
def test_what_it_says_at_a_wrong_moment_does_no_harm(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, name: str, side: int
) -> None:
    tried = count_guesses(monkeypatch)
    if side or name not in HARMLESS:
        hurry(monkeypatch)
    monkeypatch.setattr("p2pal.link.retry.MAX_BACKOFF", 2.0)  # how long an offer is waited for

    async def attack(moment: int) -> None:
        where = out / str(moment)
        where.mkdir()
        async with evil_server() as evil:
            evil.say = also(side, moment, REPEATED[name])
            sent, received, _ = await transfer(evil, source, where, ttl=2.0)
        nothing_wrong(where, source, sent, received)

    async def attacks() -> None:
        await asyncio.gather(*map(attack, MOMENTS))

    asyncio.run(attacks())
    assert len(tried) <= len(MOMENTS), "nothing that it says is a guess"


@EITHER
async def test_what_was_said_already_is_taken_as_a_repeat(source: Path, out: Path, lanes: Sequence[str]) -> None:
    """As a server does that lost touch with its store: everything that does not grow old, again and again."""
    said: dict[int, list[Fields]] = {0: [], 1: []}

    def say(who: int, message: Fields) -> list[Fields]:
        before = said[min(who, 1)]
        if message["type"] not in ("welcome", "attempt", "ice"):
            before.append(message)
        latest = [each for each in before if each["type"] != "state"] + [
            each for each in before if each["type"] == "state"
        ][-1:]
        return [message, *latest]

    async with evil_server() as evil:
        evil.say = say
        sent, received, _ = await transfer(evil, source, out, lanes=lanes)
    assert sent.error is received.error is None
    assert (out / source.name / NAME).read_bytes() == CONTENT
    messages = [sum(each["type"] == "message" for each in said[who]) for who in (0, 1)]
    assert messages[0] >= 2, "the receiver's half of the key exchange, and its hello"
    assert messages[1] >= 3, "the sender's two parts of the key exchange, and its hello"
    assert lanes == LANES or all(len(each) > 8 for each in said.values())


async def test_one_that_goes_back_in_time_changes_nothing(source: Path, out: Path) -> None:
    """After every message it says where everything stood in the beginning."""
    first: dict[int, Fields] = {}

    def say(who: int, message: Fields) -> list[Fields]:
        if message["type"] != "state":
            return [message, first[who]] if who in first else [message]
        first.setdefault(who, message)
        return [message, first[who]]

    async with evil_server() as evil:
        evil.say = say
        sent, received, _ = await transfer(evil, source, out)
    nothing_wrong(out, source, sent, received)
    assert first


@EITHER
@pytest.mark.parametrize("side", [0, 1], ids=["sender", "receiver"])
async def test_one_whose_log_has_become_shorter_ends_it_clearly_or_not_at_all(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, side: int, lanes: Sequence[str]
) -> None:
    """It drops the socket, and has forgotten messages that the client has read already.

    By default the last message that is sure to come is a hello: the second that the sender gets, the receiver's third.
    """
    hurry(monkeypatch)
    at = 1 + side if lanes == LANES else 2
    dropped: list[int] = []

    async with evil_server() as evil:

        def say(who: int, message: Fields) -> list[Fields]:
            if min(who, 1) == side and message["type"] == "message" and message["index"] >= at and not dropped:
                dropped.append(message["index"])
                drops.append(asyncio.ensure_future(evil.drop()))
            if dropped and message["type"] == "message" and message["index"] > 0:
                return [message | {"index": message["index"] - 1}]
            return [message]

        drops: list[asyncio.Future[None]] = []
        evil.say = say
        sent, received, _ = await transfer(evil, source, out, ttl=3.0, lanes=lanes)
        await asyncio.gather(*drops)
    nothing_wrong(out, source, sent, received)
    assert dropped


# Whom it names.

URLS = [f"stun:127.0.0.1:{port}" for port in range(1, 60)]
HOSTILE_ICE: dict[str, list[Any]] = {
    "too many": [{"urls": URLS}],
    "many servers": [{"urls": [url]} for url in URLS],
    "schemes": [{"urls": ["file:///etc/passwd", "javascript:alert(1)", "http://127.0.0.1/", "gopher:x", ""]}],
    "huge": [{"urls": ["stun:" + "a" * 20_000]}, {"urls": ["turn:127.0.0.1:9"], "username": "u" * 20_000}],
    "controls": [{"urls": ["stun:\\x1b[2J\\x00\\r\\nX: y", "stun:127.0.0.1:1\\n", "stun:\\u202eevil"]}],
    "its own turn": [{"urls": ["turn:127.0.0.1:1?transport=udp"], "username": "spy", "credential": "spy"}],
    "no urls": [{"urls": []}, {"urls": [""]}],
    "not a list": ["stun:127.0.0.1:1"],
    "no strings": [{"urls": [1, None, {}]}],
}


@pytest.mark.parametrize("where", ["http", "mailbox"])
@pytest.mark.parametrize("name", HOSTILE_ICE)
async def test_hostile_ice_servers_are_passed_over_or_refused(source: Path, out: Path, name: str, where: str) -> None:
    servers = HOSTILE_ICE[name]

    async with evil_server() as evil:
        if where == "http":
            evil.answer = lambda _path, body: body | {"ice_servers": servers}
            sent = sending(evil, source)
            if name in ("not a list", "no strings"):
                assert isinstance(await sent.end(), ServerRefused)
                return
            received = receiving(evil, str(await code_of(sent)), out)
            await received.end()
            await sent.end()
        else:
            evil.say = lambda _who, said: [said | {"servers": servers}] if said["type"] == "ice" else [said]
            sent, received, _ = await transfer(evil, source, out)
    nothing_wrong(out, source, sent, received)
    if name not in ("not a list", "no strings"):
        assert sent.error is received.error is None


# What it says of time.

TIMES: list[Any] = [-1, -1e300, 1e300, 2**70, "soon", None]


@pytest.mark.parametrize("seconds", TIMES, ids=str)
async def test_times_that_cannot_be_are_refused(source: Path, seconds: object) -> None:
    async with evil_server() as evil:
        evil.answer = lambda _path, body: body | {"expires_in": seconds}
        sent = sending(evil, source)
        assert isinstance(await sent.end(), ServerRefused)


def refusing(status: int, retry_after: str) -> Callable[[web.Request], Any]:
    async def answer(_request: web.Request) -> web.Response:
        body = {"error": {"code": "too-often" if status == 429 else "unavailable", "message": "pwned"}}
        return web.json_response(body, status=status, headers={"Retry-After": retry_after})

    return answer


@pytest.mark.parametrize(
    "retry_after", ["1e9", "99999999999999999999", "-5", "nan", "inf", "Wed, 21 Oct 2099 07:28:00 GMT"]
)
@pytest.mark.parametrize("status", [429, 503])
async def test_one_that_wants_to_be_left_alone_for_ever_is_not_waited_for(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, status: int, retry_after: str
) -> None:
    defaults = RendezvousClient.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "not_ready", 0.5)

    async with odd_server(refusing(status, retry_after)) as url:
        sent = Watched(send([source], options=SendOptions(recursive=True), connect=connect(url)))
        received = Watched(receive("zebra-luna-7", options=ReceiveOptions(out=out), connect=connect(url)))
        for side in (sent, received):
            error = await side.end()
            assert isinstance(error, ServerRefused)
            assert ends_clearly(side) is False
            assert "pwned" not in f"{error} {error.hint}"
