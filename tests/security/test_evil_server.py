"""A malicious signaling server: it learns nothing, alters nothing, and gets no more than three guesses at the words."""

from __future__ import annotations

import asyncio
import json
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.security.evil_server import Bend, EvilServer, Fields, evil_server
from tests.security.hostile import PATIENCE, Watched, connect
from tests.unit.server.kit import odd_server

from p2pal.app import connect as connect_module
from p2pal.app import events
from p2pal.app.options import LANES, ReceiveOptions, SendOptions
from p2pal.app.receive import receive
from p2pal.app.send import send
from p2pal.crypto import codes
from p2pal.crypto import pake as pake_module
from p2pal.crypto.codes import JoinCode
from p2pal.crypto.pake import ReceiverPake, SenderPake
from p2pal.crypto.words import WORDS
from p2pal.errors import CodeExpired, P2palError, ProtocolError, WrongCode
from p2pal.peer.key_exchange import MAX_GUESSES, Guesses, GuessReason, meet_receiver, meet_sender
from p2pal.rendezvous.client import RendezvousClient
from p2pal.wire.signal import PakeAnswer, PakeConfirm, PakeElement, decode_pake, encode

CONTENT = b"what the file says, and nobody else shall read" * 100
NAME = "an-unmistakable-file-name.txt"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tree = tmp_path / "an-unmistakable-directory"
    tree.mkdir()
    (tree / NAME).write_bytes(CONTENT)
    return tree


WEBRTC = ("webrtc",)
EITHER = pytest.mark.parametrize("lanes", [LANES, WEBRTC], ids=["default", "webrtc"])
"""A datagram lane is agreed on in the hellos, so that by default a server may carry nothing behind them: three messages
of the key exchange and two hellos. An engine adds an offer, an answer and candidates."""


async def transfer(
    evil: EvilServer, source: Path, out: Path, *, words: int = 2, ttl: float = 60.0, lanes: Sequence[str] = LANES
) -> tuple[Watched, Watched, str]:
    """Send and receive through the evil server, to whatever end; nothing lasts longer than a person would wait."""
    options = SendOptions(recursive=True, words=words, ttl=ttl)
    way = connect(evil.url, max_retries=0, lanes=lanes)
    sent = Watched(send([source], options=options, connect=way))
    told = await sent.until(events.Code)
    assert isinstance(told, events.Code)
    received = Watched(receive(told.code, options=ReceiveOptions(out=out), connect=way))
    await received.end()
    await sent.end()
    return sent, received, told.code


# What it sees


@EITHER
async def test_it_learns_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lanes: Sequence[str]
) -> None:
    # Words that the protocol does not use itself, as it does "confirm" or "complete".
    words = ("hospital", "biology", "lollipop", "theorem", "wearable", "journey", "bandage", "raffle")
    assert set(words) <= set(WORDS)
    monkeypatch.setattr(codes, "make", lambda slot, **_: JoinCode(words, slot))
    out = tmp_path / "out"
    out.mkdir()
    async with evil_server() as evil:
        sent, received, code = await transfer(evil, source, out, words=8, lanes=lanes)
        assert (sent.error, received.error) == (None, None)
        assert (out / source.name / NAME).read_bytes() == CONTENT
    seen = b"\n".join(evil.seen).lower()
    assert len(evil.bodies) >= (5 if lanes == LANES else 7), "the sealed messages passed through it"
    secrets = [NAME, source.name, CONTENT[:20].decode(), code, code.rpartition("-")[0]]
    # Shorter words could be part of a token by chance.
    secrets += [word for word in code.split("-")[:-1] if len(word) > 6]
    secrets += ["127.0.0.1", "::1", "candidate:", "fingerprint", "m=application", "ice-pwd", "ice-ufrag", "typ host"]
    for secret in secrets:
        assert secret.lower().encode() not in seen, secret


async def test_only_the_key_exchange_is_clear_and_the_rest_is_padded(source: Path, tmp_path: Path) -> None:
    async with evil_server() as evil:
        await transfer(evil, source, tmp_path)
    clear = []
    for body in evil.bodies:
        try:
            clear.append(type(decode_pake(body)))
        except ProtocolError:
            assert len(body) % 256 == 0
    assert sorted(kind.__name__ for kind in clear) == ["PakeAnswer", "PakeConfirm", "PakeElement"]


# What it changes


def drop(at: int) -> Bend:
    return lambda message: [] if message["index"] == at else [message]


def repeat(at: int) -> Bend:
    return lambda message: [message, message] if message["index"] == at else [message]


def again_as_the_next(at: int) -> Bend:
    """Replay a message at the next index, and everything behind it one later."""

    def bend(message: Fields) -> list[Fields]:
        index = message["index"]
        if index < at:
            return [message]
        later = message | {"index": index + 1}
        return [message, later] if index == at else [later]

    return bend


def swap(at: int) -> Bend:
    """Exchange the bodies of two messages."""
    held: list[Fields] = []

    def bend(message: Fields) -> list[Fields]:
        if message["index"] == at:
            held.append(message)
            return []
        if message["index"] == at + 1 and held:
            return [held[0] | {"body": message["body"]}, message | {"body": held[0]["body"]}]
        return [message]

    return bend


def disorder(at: int) -> Bend:
    """Deliver a message behind its successor."""
    held: list[Fields] = []

    def bend(message: Fields) -> list[Fields]:
        if message["index"] == at:
            held.append(message)
            return []
        return [message, *held] if message["index"] == at + 1 else [message]

    return bend


def rewrite(change: Callable[[bytes], bytes]) -> Callable[[int], Bend]:
    def make(at: int) -> Bend:
        def bend(message: Fields) -> list[Fields]:
            if message["index"] != at:
                return [message]
            return [message | {"body": b64encode(change(b64decode(message["body"]))).decode()}]

        return bend

    return make


def shift_attempt(at: int) -> Bend:
    return lambda message: [message | {"attempt": 2}] if message["index"] == at else [message]


BENDS: dict[str, Callable[[int], Bend]] = {
    "drop": drop,
    "repeat": repeat,
    "again as the next": again_as_the_next,
    "swap": swap,
    "disorder": disorder,
    "flip a bit": rewrite(lambda body: body[:-20] + bytes((body[-20] ^ 1,)) + body[-19:]),
    "truncate": rewrite(lambda body: body[:-1]),
    "extend": rewrite(lambda body: body + bytes(256)),
    "forge": rewrite(lambda body: os.urandom(256)),
    "empty": rewrite(lambda body: b""),
    "another attempt": shift_attempt,
}
HARMLESS = {"repeat"}


@pytest.mark.parametrize("to_sender", [True, False], ids=["to-sender", "to-receiver"])
@pytest.mark.parametrize("at", [0, 1, 2, 3])
@pytest.mark.parametrize("name", BENDS)
async def test_whatever_it_changes_ends_in_an_error_or_changes_nothing(
    source: Path, tmp_path: Path, name: str, at: int, to_sender: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = count_guesses(monkeypatch)
    if name not in HARMLESS:
        hurry(monkeypatch)

    out = tmp_path / "out"
    out.mkdir()
    async with evil_server() as evil:
        bend = BENDS[name](at)
        if to_sender:
            evil.to_sender = bend
        else:
            evil.to_receiver = bend
        sent, received, _ = await transfer(evil, source, out, ttl=2.0)
    arrived = out / source.name / NAME
    for side in (sent, received):
        assert side.error is None or isinstance(side.error, P2palError), repr(side.error)
    if received.error is None or sent.error is None:
        assert arrived.read_bytes() == CONTENT
    else:
        assert os.listdir(out) == []
    if name in HARMLESS:
        assert (sent.error, received.error) == (None, None)
    assert len(tried) <= MAX_GUESSES


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for a server that does not mean to answer."""
    monkeypatch.setattr("p2pal.rendezvous.mailbox._FIRST_BACKOFF", 0.0)
    monkeypatch.setattr("p2pal.rendezvous.mailbox._FLUSH", 0.01)
    for module in ("generations", "retry"):
        monkeypatch.setattr(f"p2pal.link.{module}.ATTEMPT_TIMEOUT", 2.0)
    monkeypatch.setattr("p2pal.link.generations.FIRST_ATTEMPT", 2.0)


def count_guesses(monkeypatch: pytest.MonkeyPatch) -> list[SenderPake]:
    """Keep each instance of the key exchange that was tried."""
    tried: list[SenderPake] = []
    genuine = SenderPake.finish

    def finish(self: SenderPake, element: bytes, confirmation: bytes) -> object:
        tried.append(self)
        return genuine(self, element, confirmation)

    monkeypatch.setattr(pake_module.SenderPake, "finish", finish)
    return tried


# What it plays itself

RENDEZVOUS = "0123456789abcdef"
PASSWORD = b"zebra-luna"


def message(attempt: int, index: int, body: bytes) -> Fields:
    return {"type": "message", "attempt": attempt, "index": index, "body": b64encode(body).decode()}


def welcome(attempt: int = 0) -> Fields:
    return {"type": "welcome", "state": "pending", "expires_in": 60.0, "attempt": attempt}


class Script:
    """A server that says, on each socket in turn, what it was given, and then keeps quiet; it closes all but the last.

    Attributes:
        heard: The bodies that the client appended, with attempt and index.
    """

    def __init__(self, sockets: list[list[Fields]]) -> None:
        self._sockets = sockets
        self.heard: list[tuple[int, int, bytes]] = []

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.receive()
        for fields in self._sockets.pop(0) if self._sockets else []:
            await ws.send_json(fields)
        if self._sockets:
            await ws.close(code=1001)
            return ws
        async for received in ws:
            if received.type is WSMsgType.TEXT:
                said: dict[str, Any] = json.loads(received.data)
                if said["type"] == "append":
                    self.heard.append((said["attempt"], said["index"], b64decode(said["body"])))
        return ws


def wrong_answer(attempt: int) -> bytes:
    """An answer by someone with other words, who has not seen the element: it fails like any wrong one."""
    stranger = ReceiverPake(b"other-words", RENDEZVOUS, attempt)
    element, confirmation = stranger.answer(SenderPake(b"other-words", RENDEZVOUS, attempt).element)
    return encode(PakeAnswer(element, confirmation))


STEPS = st.sampled_from(
    ["serve next", "serve same", "serve old", "answer", "answer later", "answer old", "release", "release old",
     "reconnect", "pending", "ready", "active", "peer", "appended", "version", "reject"]
)  # fmt: skip


def script(steps: list[str]) -> list[list[Fields]]:  # noqa: C901 - a table of steps
    """What the steps mean, one list for each socket."""
    sockets, current, attempt, index = [[welcome()]], 0, 0, 0
    for step in steps:
        say = sockets[-1].append
        match step:
            case "serve next":
                attempt, index = attempt + 1, 0
                current = attempt
                say({"type": "attempt", "attempt": attempt})
            case "serve same" if current:
                say({"type": "attempt", "attempt": current})
            case "serve old" if attempt > 1:
                say({"type": "attempt", "attempt": attempt - 1})
            case "answer" if current:
                say(message(current, index, wrong_answer(current)))
                index += 1
            case "answer later" if current:
                say(message(current, index + 1, wrong_answer(current)))
            case "answer old" if current:
                say(message(current, max(index - 1, 0), wrong_answer(current)))
            case "version" if current:
                say(message(current, index, encode(PakeElement(bytes(33), version=2))))
                index += 1
            case "reject" if current:
                say(message(current, index, encode(PakeConfirm(bytes(32)))))
                index += 1
            case "release" if current:
                say({"type": "released", "attempt": current, "reason": "wrong-code"})
                current = 0
            case "release old" if attempt > 1:
                say({"type": "released", "attempt": attempt - 1, "reason": ""})
            case "reconnect":
                sockets.append([welcome(current)])
            case "pending" | "ready" | "active":
                say({"type": "state", "state": step, "expires_in": 60.0, "attempt": current})
            case "peer":
                say({"type": "peer", "online": False})
            case "appended" if current:
                say({"type": "appended", "attempt": current, "index": 0})
            case _:
                pass
    return sockets


async def play_against_the_sender(
    sockets: list[list[Fields]],
) -> tuple[Script, list[tuple[GuessReason, int]], P2palError]:
    """Let the sender meet such a server; return what it heard, the failed guesses, and how the sender ended."""
    played, failed = (
        Script([*sockets[:-1], [*sockets[-1], {"type": "state", "state": "aborted", "expires_in": 0.0}]]),
        [],
    )
    async with asyncio.timeout(PATIENCE), odd_server(played.handle) as url, RendezvousClient(url) as client:
        mailbox = client.mailbox("send", "t" * 32)
        tender = asyncio.create_task(mailbox.run())
        try:
            await meet_receiver(
                mailbox, PASSWORD, RENDEZVOUS, Guesses(), lambda reason, left: failed.append((reason, left))
            )
        except P2palError as error:
            return played, failed, error
        finally:
            await mailbox.close()
            await asyncio.gather(tender, return_exceptions=True)
    raise AssertionError("nobody knew the words")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=25))
def test_no_order_of_messages_gives_more_than_three_guesses(monkeypatch: pytest.MonkeyPatch, steps: list[str]) -> None:
    with monkeypatch.context() as patched:
        hurry(patched)
        tried = count_guesses(patched)
        played, failed, _ = asyncio.run(play_against_the_sender(script(steps)))
    wrong = [left for reason, left in failed if reason == "wrong-code"]
    assert len(tried) <= MAX_GUESSES
    assert wrong == list(range(MAX_GUESSES - 1, -1, -1))[: len(wrong)]
    assert len(set(tried)) == len(tried), "an instance was tried twice"
    said = [(attempt, decode_pake(body)) for attempt, _, body in played.heard]
    assert not any(isinstance(each, PakeConfirm) for _, each in said), "it proved itself to nobody"
    elements: dict[int, set[bytes]] = {}
    for attempt, each in said:
        if isinstance(each, PakeElement):
            elements.setdefault(attempt, set()).add(each.element)
    assert all(len(each) == 1 for each in elements.values()), "one element for an attempt, however often it is said"
    assert len(set().union(*elements.values())) == len(elements), "and another one for every attempt"


async def test_three_guesses_in_a_row_and_no_fourth() -> None:
    steps = ["serve next", "answer", "release"] * 6
    played, failed, error = await play_against_the_sender(script(steps))
    assert isinstance(error, WrongCode)
    assert failed == [("wrong-code", 2), ("wrong-code", 1), ("wrong-code", 0)]
    assert not any(isinstance(decode_pake(body), PakeConfirm) for *_, body in played.heard)


def element(attempt: int, words: bytes = b"other-words") -> bytes:
    return encode(PakeElement(SenderPake(words, RENDEZVOUS, attempt).element))


RECEIVER_STEPS = st.lists(st.sampled_from(["element", "confirm", "old", "gap", "reconnect", "attempt"]), max_size=10)


def receiver_script(steps: list[str]) -> list[list[Fields]]:
    sockets, index = [[welcome(1)]], 0
    for step in steps:
        say = sockets[-1].append
        match step:
            case "element":
                say(message(1, index, element(1)))
                index += 1
            case "confirm":
                say(message(1, index, encode(PakeConfirm(bytes(32)))))
                index += 1
            case "old":
                say(message(1, 0, element(1)))
                index = max(index, 1)
            case "gap":
                say(message(1, index + 1, element(1)))
            case "attempt":
                say(message(2, 0, element(2)))
            case _:
                sockets.append([welcome(1)])
    return sockets


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RECEIVER_STEPS)
def test_a_receiver_answers_once_whatever_the_server_says(monkeypatch: pytest.MonkeyPatch, steps: list[str]) -> None:
    sockets = receiver_script(steps)
    end: Fields = {"type": "state", "state": "aborted", "expires_in": 0.0}
    played = Script([*sockets[:-1], [*sockets[-1], end]])
    answered: list[bytes] = []
    genuine = ReceiverPake.answer

    def answer(self: ReceiverPake, element: bytes) -> tuple[bytes, bytes]:
        answered.append(element)
        return genuine(self, element)

    async def play() -> None:
        async with asyncio.timeout(PATIENCE), odd_server(played.handle) as url, RendezvousClient(url) as client:
            mailbox = client.mailbox("receive", "t" * 32)
            tender = asyncio.create_task(mailbox.run())
            try:
                with pytest.raises(P2palError):
                    await meet_sender(mailbox, PASSWORD, RENDEZVOUS, 1)
            finally:
                await mailbox.close()
                await asyncio.gather(tender, return_exceptions=True)

    with monkeypatch.context() as patched:
        hurry(patched)
        patched.setattr(pake_module.ReceiverPake, "answer", answer)
        asyncio.run(play())
    assert len(answered) <= 1
    assert len({body for *_, body in played.heard if isinstance(decode_pake(body), PakeAnswer)}) <= 1


async def test_a_receiver_whose_attempt_is_another_than_it_was_told_proves_nothing_for_it() -> None:
    played = Script([[welcome(2), message(2, 0, element(2, PASSWORD))]])
    async with asyncio.timeout(PATIENCE), odd_server(played.handle) as url, RendezvousClient(url) as client:
        mailbox = client.mailbox("receive", "t" * 32)
        tender = asyncio.create_task(mailbox.run())
        meeting = asyncio.create_task(meet_sender(mailbox, PASSWORD, RENDEZVOUS, 1))
        await asyncio.wait({meeting, tender}, timeout=0.3, return_when=asyncio.FIRST_COMPLETED)
        meeting.cancel()
        await mailbox.close()
        await asyncio.gather(tender, meeting, return_exceptions=True)
    assert played.heard == []
    key = SenderPake(PASSWORD, RENDEZVOUS, 2)
    element_, confirmation = ReceiverPake(PASSWORD, RENDEZVOUS, 1).answer(key.element)
    with pytest.raises(WrongCode):
        key.finish(element_, confirmation)


# When it only waits


async def test_a_server_that_never_ends_the_time_of_a_code_is_not_waited_for(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect_module, "TTL_SLACK", 0.1)

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/api/ws":
            return await Script([[welcome(1 if "join" in opened else 0)]]).handle(request)
        opened.append(request.path.rpartition("/")[2])
        made = {"rendezvous_id": RENDEZVOUS, "slot": 7, "attempt": 1, "token": "t" * 32, "expires_in": 0.5}
        return web.json_response(made, status=201)

    opened: list[str] = []

    async with odd_server(answer) as url:
        options = SendOptions(ttl=0.5, recursive=True)
        sent = Watched(send([source], options=options, connect=connect(url)))
        assert isinstance(await sent.end(), CodeExpired)
        opened.append("join")
        received = Watched(receive("zebra-luna-7", options=ReceiveOptions(out=tmp_path), connect=connect(url)))
        assert isinstance(await received.end(), CodeExpired)


async def test_texts_of_the_server_are_never_shown(source: Path) -> None:
    hostile = "\x1b]0;pwned\x07 call 555-0100 to restore your files"

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"error": {"code": "ttl", "message": hostile}}, status=400, reason="pwned 555-0100")

    async with odd_server(answer) as url:
        sent = Watched(send([source], options=SendOptions(recursive=True), connect=connect(url)))
        error = await sent.end()
    told = f"{error} {sent.told}"
    assert isinstance(error, P2palError)
    assert not re.search(r"pwned|555|\x1b", told)
