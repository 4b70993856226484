"""Attacks on the signaling server, and through it on a transfer."""

from __future__ import annotations

import asyncio
import io
import socket

import aiohttp
import pytest
from tests.unit.server.kit import Kit, serving

from p2pal.server import logs
from p2pal.server.config import Limits, ServerConfig
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode, State


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", CloseCode.PROTOCOL),
        ("null", CloseCode.PROTOCOL),
        ('{"type":"accept","attempt":1}', CloseCode.PROTOCOL),
        ('{"type":"hello","token":' + "[" * 80_000, CloseCode.PROTOCOL),
        ('{"type":"hello","token":"' + "t" * 32 + '"}', CloseCode.UNAUTHORISED),
        ("x" * (wire.MAX_FRAME + 1), aiohttp.WSCloseCode.MESSAGE_TOO_BIG),
    ],
)
async def test_a_malformed_or_oversized_first_message_closes_the_socket(text: str, code: int) -> None:
    async with serving() as kit:
        raw = await kit.socket()
        await raw.ws.send_str(text)
        assert await raw.close_code() == code
        await kit.create()


async def test_binary_and_second_hellos_close_the_socket() -> None:
    async with serving() as kit:
        created = await kit.create()
        raw = await kit.hello(created.token)
        await raw.ws.send_bytes(b"\x00")
        assert await raw.close_code() == CloseCode.PROTOCOL
        raw = await kit.hello(created.token)
        await raw.send(wire.ClientHello(created.token))
        assert await raw.close_code() == CloseCode.PROTOCOL


async def test_an_oversized_mailbox_message_closes_the_socket_and_is_not_stored() -> None:
    async with serving() as kit:
        _, sender, receiver = await kit.pair()
        await receiver.send(wire.Append(0, bytes(wire.MAX_BODY + 1)))
        assert (await receiver.expect(wire.Error)).code == "too-large"
        assert await receiver.close_code() == CloseCode.TOO_LARGE
        assert await sender.expect(wire.PeerPresence) == wire.PeerPresence(online=True)
        assert not (await sender.expect(wire.PeerPresence)).online


async def test_a_log_has_an_end() -> None:
    async with serving() as kit:
        _, sender, receiver = await kit.pair()
        count = Limits().log_bytes // wire.MAX_BODY
        for n in range(count + 1):
            await receiver.send(wire.Append(n, bytes(wire.MAX_BODY)))
        assert (await receiver.expect(wire.Error)).code == "log-full"
        for n in range(count):
            assert (await sender.expect(wire.LogMessage)).index == n


async def test_duplicates_gaps_and_rewrites_change_nothing() -> None:
    async with serving() as kit:
        _, sender, receiver = await kit.pair()
        for append in (wire.Append(0, b"a"), wire.Append(0, b"b"), wire.Append(2, b"c"), wire.Append(0, b"a")):
            await receiver.send(append)
        assert await receiver.expect(wire.Appended) == wire.Appended(1, 0)
        assert (await receiver.expect(wire.Error)).code == "conflict"
        assert (await receiver.expect(wire.Error)).code == "gap"
        assert await receiver.expect(wire.Appended) == wire.Appended(1, 0)
        await receiver.send(wire.Append(1, b"end"))
        assert await sender.expect(wire.LogMessage) == wire.LogMessage(1, 0, b"a")
        assert await sender.expect(wire.LogMessage) == wire.LogMessage(1, 1, b"end")


async def test_a_silent_joiner_cannot_squat() -> None:
    async with serving(limits=Limits(silence=0.1)) as kit:
        created = await kit.create()
        sender = await kit.hello(created.token)
        silent = await kit.hello((await kit.join(created.slot)).token)
        assert (await sender.expect(wire.Served)).attempt == 1
        honest = await kit.hello((await kit.join(created.slot)).token)
        assert (await sender.expect(wire.Released)).reason == "silent"
        assert await silent.close_code() == CloseCode.RELEASED
        assert (await sender.expect(wire.Served)).attempt == 2
        await honest.send(wire.Append(0, b"hello"))
        assert (await sender.expect(wire.LogMessage)).attempt == 2


async def test_joiners_without_sockets_cannot_fill_the_queue_for_long() -> None:
    async with serving(limits=Limits(join_grace=0.1)) as kit:
        created = await kit.create()
        sender = await kit.hello(created.token)
        for _ in range(8):
            await kit.join(created.slot)
        assert (await kit.post("/api/join", {"slot": created.slot}))[0] == 429
        async with asyncio.timeout(20):
            # A client can only ask again: nothing tells it that a place is free.
            while (answer := await kit.post("/api/join", {"slot": created.slot}))[0] == 429:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await kit.hello(answer[1]["token"])
        assert (await sender.expect(wire.Served)).attempt == 9


async def test_a_wrong_joiner_is_released_and_the_right_one_is_served() -> None:
    async with serving() as kit:
        created, sender, wrong = await kit.pair()
        right = await kit.hello((await kit.join(created.slot)).token)
        await wrong.send(wire.Append(0, b"guess"))
        await sender.expect(wire.LogMessage)
        await sender.send(wire.Release(1, "wrong-code"))
        assert await wrong.close_code() == CloseCode.RELEASED
        assert (await sender.expect(wire.Served)).attempt == 2
        await right.expect(wire.PeerPresence)


async def test_a_released_token_reads_and_writes_nothing() -> None:
    async with serving() as kit:
        created = await kit.create()
        joined = await kit.join(created.slot)
        sender, wrong = await kit.hello(created.token), await kit.hello(joined.token)
        await sender.expect(wire.Served)
        await sender.send(wire.Append(0, b"element", 1))
        await sender.send(wire.Release(1, "wrong-code"))
        await wrong.close_code()
        again = await kit.hello(joined.token)
        assert isinstance(await again.receive(), wire.Welcome)
        assert isinstance(await again.receive(), wire.Released)
        assert await again.close_code() == CloseCode.RELEASED


async def test_a_receiver_cannot_decide_or_reach_another_log() -> None:
    async with serving() as kit:
        created, sender, first = await kit.pair()
        second = await kit.hello((await kit.join(created.slot)).token)
        forbidden: list[wire.ClientMessage] = [
            wire.ClientAccept(1),
            wire.Release(1, "x"),
            wire.ClientComplete(),
            wire.Append(0, b"forged", 1),
        ]
        for message in forbidden:
            await second.send(message)
            assert (await second.expect(wire.Error)).code == "forbidden"
        await second.send(wire.Append(0, b"early"))
        assert (await second.expect(wire.Error)).code == "not-served"
        await first.send(wire.Append(0, b"mine"))
        assert (await sender.expect(wire.LogMessage)).body == b"mine"


async def test_slots_cannot_be_walked_in_order_and_are_not_reused_at_once() -> None:
    async with serving() as kit:
        slots = []
        for _ in range(30):
            created = await kit.create()
            slots.append(created.slot)
            await kit.request("DELETE", f"/api/transfer/{created.rendezvous_id}", token=created.token)
        assert len(set(slots)) == 30
        assert slots != sorted(slots)
        assert [(await kit.post("/api/join", {"slot": slot}))[0] for slot in slots] == [410] * 30


async def test_a_join_takes_nothing_from_the_one_being_served() -> None:
    async with serving() as kit:
        created, sender, receiver = await kit.pair()
        for _ in range(8):
            await kit.hello((await kit.join(created.slot)).token)
        await receiver.send(wire.Append(0, b"still here"))
        assert (await sender.expect(wire.LogMessage)).body == b"still here"
        await sender.send(wire.ClientAccept(1))
        while (await receiver.expect(wire.StateChanged)).state is not State.ACTIVE:
            pass


async def test_a_mute_socket_is_closed() -> None:
    async with serving(ServerConfig(port=0, hello_timeout=0.05)) as kit:
        assert await (await kit.socket()).close_code() == CloseCode.HELLO_TIMEOUT


async def test_a_request_body_that_never_ends_is_answered() -> None:
    async with serving(ServerConfig(port=0, request_timeout=0.05, drain=0.1)) as kit:
        reader, writer = await asyncio.open_connection("127.0.0.1", kit.server.port)
        writer.write(b"POST /api/join HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_a_client_that_does_not_read_is_cut_and_loses_nothing() -> None:
    async with serving(ServerConfig(port=0, heartbeat=0.3, drain=0.2)) as kit:
        created = await kit.create()
        joined = await kit.join(created.slot)
        sender = await kit.hello(created.token)
        deaf = await _deaf_socket(kit, joined.token)
        await sender.expect(wire.Served)
        bodies = [bytes([n]) * wire.MAX_BODY for n in range(Limits().log_bytes // wire.MAX_BODY)]
        for n, body in enumerate(bodies):
            await sender.send(wire.Append(n, body, 1))
        assert (await sender.expect(wire.PeerPresence)).online
        assert not (await sender.expect(wire.PeerPresence)).online  # cut; the sender's own socket never waited for it
        deaf.close()
        again = await kit.hello(joined.token, {1: 0})
        for n, body in enumerate(bodies):
            assert await again.expect(wire.LogMessage) == wire.LogMessage(1, n, body)


async def _deaf_socket(kit: Kit, token: str) -> socket.socket:
    """A WebSocket client with tiny buffers that says hello, and reads nothing but the answer to its request."""
    loop = asyncio.get_running_loop()
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.setblocking(False)
    await loop.sock_connect(deaf, ("127.0.0.1", kit.server.port))
    await loop.sock_sendall(
        deaf,
        b"GET /api/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += await loop.sock_recv(deaf, 1)
    hello = wire.encoder.encode(wire.ClientHello(token))
    assert len(hello) < 126
    await loop.sock_sendall(deaf, bytes((0x81, 0x80 | len(hello), 0, 0, 0, 0)) + hello)
    return deaf


async def test_commands_without_reading_end_in_a_close_not_in_memory() -> None:
    async with serving(ServerConfig(port=0, send_timeout=0.3, heartbeat=1.0, drain=0.1)) as kit:
        created = await kit.create()
        deaf = await _deaf_socket(kit, created.token)
        ask = wire.encoder.encode(wire.Release(7, "x" * 40))
        frame = bytes((0x81, 0x80 | len(ask), 0, 0, 0, 0)) + ask
        async with asyncio.timeout(30):
            with pytest.raises(ConnectionError):
                await _flood(deaf, frame * 500)
        deaf.close()
        await kit.create()


async def _flood(deaf: socket.socket, data: bytes) -> None:
    while True:
        await asyncio.get_running_loop().sock_sendall(deaf, data)


MEETING = "abcdefgh234567ijklmnopqrst"


@pytest.mark.parametrize(
    "name",
    [
        "",
        MEETING[:25],
        MEETING + "a",
        MEETING.upper(),
        MEETING[:25] + "1",
        MEETING + "\n",
        "../" + MEETING[3:],
        7,
        None,
    ],
)
async def test_a_meeting_has_a_name_that_nobody_guesses(name: object) -> None:
    async with serving() as kit:
        status, body = await kit.post("/api/meet", {"rendezvous_id": name, "role": "send"})
        assert (status, body["error"]["code"]) == (400, "malformed")


async def test_a_transfer_with_a_code_cannot_be_met() -> None:
    async with serving() as kit:
        created = await kit.create()
        for role in ("send", "receive"):
            status, _ = await kit.post("/api/meet", {"rendezvous_id": created.rendezvous_id, "role": role})
            assert status == 400
        sender = await kit.hello(created.token)
        assert (await sender.expect(wire.Welcome)).state is State.PENDING


async def test_only_what_meets_as_the_sender_decides() -> None:
    async with serving() as kit:
        _, met = await kit.post("/api/meet", {"rendezvous_id": MEETING, "role": "receive"})
        receiver = await kit.hello(met["token"])
        await receiver.expect(wire.Welcome)
        for command in (wire.ClientAccept(1), wire.Release(1), wire.ClientComplete()):
            await receiver.send(command)
            assert (await receiver.expect(wire.Error)).code == "forbidden"
        status, body = await kit.request("DELETE", f"/api/transfer/{MEETING}", token=met["token"])
        assert (status, body["error"]["code"]) == (403, "forbidden")
        nobody = await kit.hello(f"{MEETING}.0.{'x' * 32}")
        assert await nobody.close_code() == CloseCode.UNAUTHORISED


async def test_who_knocks_reads_and_writes_nothing_and_does_not_stay() -> None:
    async with serving(limits=Limits(knock=0.3, attempts=2)) as kit:
        created, sender, receiver = await kit.pair()
        await receiver.send(wire.Append(0, b"private"))
        await sender.send(wire.Append(0, b"private", 1))
        await sender.send(wire.ClientAccept(1))
        await receiver.expect(wire.StateChanged)
        joined = [await kit.join(created.slot) for _ in range(2)]
        status, body = await kit.post("/api/join", {"slot": created.slot})
        assert (status, body["error"]["code"]) == (429, "queue-full")
        strangers = [await kit.hello(each.token, {1: 0}) for each in joined]
        for stranger in strangers:
            await stranger.send(wire.Append(0, b"hello"))
            assert (await stranger.expect(wire.Error)).code == "not-served"
        for stranger in strangers:
            assert (await stranger.receive()) == wire.Released(joined[strangers.index(stranger)].attempt, "busy")
            assert await stranger.close_code() == CloseCode.RELEASED
        await receiver.send(wire.Append(1, b"still here"))
        while (await sender.expect(wire.LogMessage)).body != b"still here":
            pass


@pytest.mark.parametrize("style", ["text", "json"])
def test_no_secret_reaches_the_log(style: str) -> None:
    stream = io.StringIO()
    before = logs.LOGGER.handlers[:], logs.LOGGER.level, logs.LOGGER.propagate
    logs.configure("json" if style == "json" else "text", stream)

    async def run() -> None:
        async with serving() as kit:
            created = await kit.create()
            joined = await kit.join(created.slot)
            sender, receiver = await kit.hello(created.token), await kit.hello(joined.token)
            await sender.expect(wire.Served)
            await receiver.send(wire.Append(0, b"very private"))
            await sender.expect(wire.LogMessage)
            await kit.hello("forged-" + "t" * 40)
            await kit.request("GET", f"/api/transfer/{'0' * 32}", token=joined.token)
            reader, writer = await asyncio.open_connection("127.0.0.1", kit.server.port)
            writer.write(b"GARBAGE very private\r\nAuthorization: Bearer " + created.token.encode() + b"\r\n\r\n")
            await reader.read()
            writer.close()
            await sender.send(wire.Release(1, "wrong-code"))
            await sender.expect(wire.Released)
            status, met = await kit.post("/api/meet", {"rendezvous_id": MEETING, "role": "receive"})
            assert status == 201
            await (await kit.hello(met["token"])).expect(wire.Welcome)
            secrets.extend([created.token, joined.token, created.token[-32:], joined.token[-32:]])
            secrets.extend([met["token"], met["token"][-32:], MEETING, MEETING[:9]])

    secrets = ["very private", "dmVyeSBwcml2YXRl", "forged", "127.0.0.1:"]
    try:
        asyncio.run(run())
    finally:
        logs.LOGGER.handlers[:], logs.LOGGER.level, logs.LOGGER.propagate = before
    text = stream.getvalue()
    assert "served" in text
    assert "wrong-code" in text
    assert not [secret for secret in secrets if secret in text]
