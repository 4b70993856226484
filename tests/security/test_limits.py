"""What strangers may do to a server, and how often: each attack against a running one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from ipaddress import ip_network

import aiohttp
import pytest
from tests.unit.server.kit import Kit, serving

from p2pal.rate_limit import Rate
from p2pal.server.config import AddressLimits, ServerConfig
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode, State

HOUR = 3600.0


def _config(*, trusted: str = "", origins: tuple[str, ...] = (), **limits: int | Rate | None) -> ServerConfig:
    proxies = (ip_network(trusted),) if trusted else ()
    addresses = AddressLimits(**limits)  # type: ignore[arg-type] # the names say which is which
    return ServerConfig(port=0, drain=0.2, addresses=addresses, trusted_proxies=proxies, origins=origins)


async def _status(kit: Kit, path: str, body: object, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with kit.session.post(kit.server.url + path, json=body, headers=named) as response:
        await response.read()
        return response.status


async def test_slots_cannot_be_tried_one_by_one() -> None:
    async with serving(_config(joins=Rate(20, HOUR))) as kit:
        hidden = await kit.create()
        guesses = [slot for slot in range(1, 42) if slot != hidden.slot][:40]
        answers = [await _status(kit, "/api/join", {"slot": slot}) for slot in guesses]
        assert answers == [404] * 20 + [429] * 20
        assert await _status(kit, "/api/join", {"slot": hidden.slot}) == 429, "nor is the right one told from others"


async def test_a_forged_x_forwarded_for_is_no_new_address() -> None:
    async with serving(_config(joins=Rate(3, HOUR), creates=Rate(3, HOUR))) as kit:
        for path, body in (("/api/join", {"slot": 99999}), ("/api/transfer", {"ttl": 60})):
            answers = [await _status(kit, path, body, X_Forwarded_For=f"192.0.2.{n}") for n in range(6)]
            assert answers[3:] == [429] * 3
            assert 429 not in answers[:3]


async def test_what_a_client_writes_before_its_proxy_does_is_no_new_address() -> None:
    async with serving(_config(joins=Rate(3, HOUR), trusted="127.0.0.1/32")) as kit:
        forged = ["198.51.100.1", "127.0.0.1", "junk", "x" * 4000, "[::1]:1, 127.0.0.1", ",,,"]
        body = {"slot": 99999}
        answers = [await _status(kit, "/api/join", body, X_Forwarded_For=f"{each}, 192.0.2.1") for each in forged]
        assert answers == [404] * 3 + [429] * 3
        assert await _status(kit, "/api/join", body, X_Forwarded_For="192.0.2.2") == 404, "another client is another"


async def test_an_ipv6_network_is_one_address() -> None:
    async with serving(_config(creates=Rate(3, HOUR), trusted="127.0.0.1/32")) as kit:
        body = {"ttl": 60}
        answers = [await _status(kit, "/api/transfer", body, X_Forwarded_For=f"2001:db8::{n:x}") for n in range(6)]
        assert answers == [201] * 3 + [429] * 3
        assert await _status(kit, "/api/transfer", body, X_Forwarded_For="2001:db8:0:1::1") == 201


async def test_one_address_cannot_take_all_transfers() -> None:
    async with serving(_config(open_transfers=4, trusted="127.0.0.1/32")) as kit:
        body = {"ttl": 60}
        answers = [await _status(kit, "/api/transfer", body, X_Forwarded_For="192.0.2.1") for _ in range(8)]
        assert answers == [201] * 4 + [429] * 4
        meeting = {"rendezvous_id": "d4" * 13, "role": "send"}
        assert await _status(kit, "/api/meet", meeting, X_Forwarded_For="192.0.2.1") == 429
        assert await _status(kit, "/api/transfer", body, X_Forwarded_For="192.0.2.2") == 201


async def test_sockets_are_given_back_however_they_end() -> None:
    async with serving(_config(sockets=1)) as kit:
        created = await kit.create()
        for how in ("closed", "malformed", "unauthorised", "cut", "reset", "no upgrade"):
            await _end_a_socket(kit, how, created.token)
            raw = await kit.socket_in_time()
            await raw.send(wire.ClientHello(created.token))
            assert (await raw.expect(wire.Welcome)).state is State.PENDING, how
            await raw.ws.close()


async def _end_a_socket(kit: Kit, how: str, token: str) -> None:
    if how == "no upgrade":  # one that looks like it until its key is read
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        async with kit.session.get(kit.server.url + "/api/ws", headers=headers) as response:
            assert response.status == 400
        return
    async with aiohttp.ClientSession() as session:
        raw = await Kit(kit.server, session).socket_in_time()
        match how:
            case "closed":
                await raw.ws.close()
            case "malformed":
                await raw.ws.send_str("{")
                assert await raw.close_code() == CloseCode.PROTOCOL
            case "unauthorised":
                await raw.send(wire.ClientHello("forged-" + "t" * 40))
                assert await raw.close_code() == CloseCode.UNAUTHORISED
            case _:
                await raw.send(wire.ClientHello(token))
                await raw.expect(wire.Welcome)
                if how == "reset":
                    linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
                    raw.ws.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


async def test_a_socket_that_floods_is_read_later_and_holds_up_nobody_else() -> None:
    async with serving(_config(messages=Rate(3, HOUR))) as kit:
        created, sender, receiver = await kit.pair()
        for n in range(100):
            await sender.send(wire.Append(n, b"flood", 1))
        assert [(await receiver.expect(wire.LogMessage)).index for _ in range(3)] == [0, 1, 2]
        await receiver.send(wire.Append(0, b"not held up"))
        assert (await sender.expect(wire.LogMessage)).body == b"not held up"
        path = f"/api/transfer/{created.rendezvous_id}"
        assert (await kit.request("DELETE", path, token=created.token))[0] == 204
        assert await receiver.receive() == wire.Appended(1, 0)
        assert isinstance(last := await receiver.receive(), wire.StateChanged), "the rest of the flood was not read"
        assert last.state is State.ABORTED
        assert await sender.close_code() == CloseCode.OVER


async def test_one_that_floods_and_goes_is_not_waited_for() -> None:
    async with serving(_config(messages=Rate(2, HOUR), sockets=2)) as kit:
        created = await kit.create()
        receiver = await kit.hello((await kit.join(created.slot)).token)
        async with aiohttp.ClientSession() as session:
            sender = await Kit(kit.server, session).hello(created.token)
            await sender.expect(wire.Served)
            for n in range(100):
                await sender.send(wire.Append(n, b"flood", 1))
            assert [(await receiver.expect(wire.LogMessage)).index for _ in range(2)] == [0, 1]
        while (await receiver.expect(wire.PeerPresence)).online:
            pass
        again = await kit.socket_in_time()
        await again.send(wire.ClientHello(created.token))
        await again.send(wire.Append(2, b"calm", 1))
        assert (await receiver.expect(wire.LogMessage)).body == b"calm", "what was left of the flood is dropped"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "x" * 7000, "a\tb", ""]
)
async def test_a_page_of_another_site_can_neither_open_a_mailbox_nor_ask(origin: str) -> None:
    async with serving(_config(origins=("https://files.example",))) as kit:
        created = await kit.create()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await kit.session.ws_connect(kit.server.url + "/api/ws", headers={"Origin": origin})
        assert refused.value.status == 403
        assert await _status(kit, "/api/join", {"slot": created.slot}, Origin=origin) == 403
        assert await _status(kit, "/api/transfer", {"ttl": 60}, Origin=origin) == 403
        assert (await kit.join(created.slot)).attempt == 1, "the page's join took nothing"


async def test_two_origins_are_none_that_is_allowed() -> None:
    async with serving(_config(origins=("https://files.example",))) as kit:
        reader, writer = await asyncio.open_connection("127.0.0.1", kit.server.port)
        origin = b"Origin: https://files.example\r\n"
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + origin * 2 + b"\r\n")
        async with asyncio.timeout(20):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 403")
        assert b"Access-Control-Allow-Origin" not in answer
        writer.close()


async def test_who_closes_at_once_has_an_address_all_the_same() -> None:
    async with serving(_config(creates=Rate(5, HOUR), open_transfers=5)) as kit:
        body = b'{"ttl": 60}'
        head = b"POST /api/transfer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", kit.server.port)
            writer.write(head + body)
            writer.transport.abort()
        statuses = [await _status(kit, "/api/transfer", {"ttl": 60}) for _ in range(6)]
        assert statuses[-1] == 429


async def test_a_request_whose_head_never_ends_is_cut() -> None:
    async with serving(ServerConfig(port=0, drain=0.2, keepalive=0.2)) as kit:
        reader, writer = await asyncio.open_connection("127.0.0.1", kit.server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                while not reader.at_eof():
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.05)
        writer.close()
