"""Bytes from a stranger, a server or a peer that no decoder can read: an error of ours, never a crash."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import msgspec
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.peer.kit import WORDS, rendezvous
from tests.unit.server.kit import Kit, odd_server, serving

from p2pal.errors import P2palError, ProtocolError, ServerError, VersionMismatch
from p2pal.rendezvous.client import RendezvousClient
from p2pal.wire import transfer
from p2pal.wire.signal import decode_pake, decode_signal

DEEP = b"\x91" * 60_000 + b"\xc0"
"""Arrays in arrays, deeper than any decoder goes."""

NO_TEXT = b"\xa1\xff"
"""MessagePack says that it is text; UTF-8 says that it is not."""

PAKE = {
    "deep version": b"\x81\xa7version" + DEEP,
    "deep unknown field": b"\x82\xa1t\xa6pake-x\xa1x" + DEEP,
    "version is no text": b"\x81\xa7version" + NO_TEXT,
    "key is no text": b"\x81" + NO_TEXT + b"\x01",
    "tag is no text": b"\x81\xa1t" + NO_TEXT,
    "reason is no text": b"\x82\xa1t\xa6pake-x\xa6reason" + NO_TEXT,
}
SIGNAL = {
    "deep unknown field": b"\x83\xa1t\xa3bye\xa4code\xa1a\xa1x" + DEEP,
    "code is no text": b"\x82\xa1t\xa3bye\xa4code" + NO_TEXT,
    "key is no text": b"\x82\xa1t\xa3bye" + NO_TEXT + b"\x01",
}


def record(number: int, body: bytes) -> bytes:
    return struct.pack("!BI", number, len(body)) + body


RECORDS = {
    "text is no text": record(0x2F, b"\x92\x00" + NO_TEXT),
    "deep further field": record(0x2F, b"\x93\x00\xa0" + DEEP),
    "deep entry": record(0x02, b"\x92\x00\x91\x97\xa1a\x00\x00\x00\x00\xc4\x00" + DEEP),
}


@pytest.mark.parametrize("data", PAKE.values(), ids=PAKE)
def test_a_key_exchange_message_that_cannot_be_read(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_pake(data)


@pytest.mark.parametrize("data", SIGNAL.values(), ids=SIGNAL)
def test_a_sealed_message_that_cannot_be_read(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_signal(data)


@pytest.mark.parametrize("data", RECORDS.values(), ids=RECORDS)
def test_a_record_that_cannot_be_read(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(transfer.decode_payload(data))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_at_all(data: bytes) -> None:
    allowed: list[tuple[Callable[[bytes], object], type[P2palError]]] = [
        (decode_pake, VersionMismatch),
        (decode_signal, ProtocolError),
        (lambda body: list(transfer.decode_payload(body)), ProtocolError),
        *(
            (lambda body, n=number: list(transfer.decode_payload(record(n, body))), ProtocolError)
            for number in range(0x30)
        ),
    ]
    for decode, error in allowed:
        try:
            decode(data)
        except (ProtocolError, error):
            continue


@pytest.mark.parametrize("body", PAKE.values(), ids=PAKE)
async def test_a_stranger_cannot_crash_the_sender_and_has_spent_a_guess(body: bytes) -> None:
    async with rendezvous() as place:
        serving_ = place.serve()
        mailbox, attempt = await place.join()
        mailbox.append(attempt, body)
        introduction = await place.guess(WORDS)
        assert introduction.attempt == attempt + 1
        await serving_
        assert place.failed == [("wrong-code", 2)]


ANSWERS = {
    "no text": b'{"error":{"code":"\xff"}}',
    "deep": b'{"error":' + b"[" * 30_000,
    "no JSON": b"\x00\xff",
    "another type": b'{"error":7}',
}


@pytest.mark.parametrize("status", [201, 400, 404, 503])
@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS)
async def test_an_http_answer_that_cannot_be_read(body: bytes, status: int) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    async with odd_server(answer) as url, RendezvousClient(url, not_ready=0.0) as client:
        with pytest.raises(ServerError):
            await client.create(60)
        with pytest.raises(ServerError):
            await client.join(7)


REQUESTS = [
    b'{"ttl":1,"version":' + b"[" * 2000,
    b'{"ttl":"\xff"}',
    b'{"ttl":1e999}',
    b"\xff",
    msgspec.json.encode({"ttl": True}),
]


@pytest.mark.parametrize("body", REQUESTS)
async def test_a_request_that_cannot_be_read_is_the_clients_fault(body: bytes) -> None:
    kit: Kit
    async with asyncio.timeout(20), serving() as kit:
        status, answer = await kit.post("/api/transfer", body)
        assert (status, answer["error"]["code"]) == (400, "malformed")
