from __future__ import annotations

import asyncio
import io
import logging
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.unit.server.kit import Kit, serving

from p2pal.rate_limit import Rate
from p2pal.server import logs
from p2pal.server.config import AddressLimits, ServerConfig
from p2pal.server.http.app import create_app
from p2pal.wire import rendezvous as wire

LOOPBACK = (ip_network("127.0.0.0/8"),)
MEETING = "c3" * 13


def config(addresses: AddressLimits, *, proxied: bool = False) -> ServerConfig:
    return ServerConfig(port=0, drain=0.2, addresses=addresses, trusted_proxies=LOOPBACK if proxied else ())


async def post(kit: Kit, path: str, body: dict[str, Any], client: str = "") -> tuple[int, str, int]:
    """Ask as that client, behind a proxy; return the status, the error's code and Retry-After."""
    headers = {"X-Forwarded-For": client} if client else {}
    async with kit.session.post(kit.server.url + path, json=body, headers=headers) as response:
        answer = await response.json()
        code = answer["error"]["code"] if "error" in answer else ""
        return response.status, code, int(response.headers.get("Retry-After", 0))


async def test_creates_and_meetings_are_counted_together() -> None:
    async with serving(config(AddressLimits(creates=Rate(2, 60.0)))) as kit:
        assert (await post(kit, "/api/transfer", {"ttl": 60}))[0] == 201
        assert (await post(kit, "/api/meet", {"rendezvous_id": MEETING, "role": "send"}))[0] == 201
        for path, body in (("/api/transfer", {"ttl": 60}), ("/api/meet", {"rendezvous_id": MEETING, "role": "send"})):
            status, code, wait = await post(kit, path, body)
            assert (status, code) == (429, "too-often")
            assert 1 <= wait <= 30
        assert (await post(kit, "/api/join", {"slot": 99999}))[:2] == (404, "unknown"), "joins are another allowance"


async def test_requests_that_are_wrong_take_nothing() -> None:
    async with serving(config(AddressLimits(creates=Rate(1, 60.0), joins=Rate(1, 60.0)))) as kit:
        for path, body in (
            ("/api/transfer", {"ttl": "60"}),
            ("/api/transfer", {"ttl": 1e8}),
            ("/api/transfer", {"ttl": 60, "version": 9}),
            ("/api/meet", {"rendezvous_id": "x", "role": "send"}),
            ("/api/join", {"slot": -1}),
        ):
            assert (await post(kit, path, body))[0] == 400
        created = await kit.create()
        await kit.join(created.slot)


async def test_every_client_behind_a_trusted_proxy_has_its_own_allowance() -> None:
    async with serving(config(AddressLimits(creates=Rate(1, 60.0), joins=Rate(1, 60.0)), proxied=True)) as kit:
        for client in ("192.0.2.1", "192.0.2.2", "2001:db8:0:1::1", "2001:db8:0:2::1", ""):
            assert (await post(kit, "/api/transfer", {"ttl": 60}, client))[0] == 201
            assert (await post(kit, "/api/join", {"slot": 99999}, client))[0] == 404
        for client in ("192.0.2.1", "2001:db8:0:1:ffff::2", "::ffff:192.0.2.2", ""):
            assert (await post(kit, "/api/transfer", {"ttl": 60}, client))[:2] == (429, "too-often")
            assert (await post(kit, "/api/join", {"slot": 99999}, client))[:2] == (429, "too-often")


async def test_open_transfers_are_counted_until_they_are_over() -> None:
    async with serving(config(AddressLimits(open_transfers=2), proxied=True)) as kit:
        status, mine = await kit.post("/api/transfer", {"ttl": 60})
        assert status == 201
        assert (await post(kit, "/api/meet", {"rendezvous_id": MEETING, "role": "send"}))[0] == 201
        status, code, wait = await post(kit, "/api/transfer", {"ttl": 60})
        assert (status, code) == (429, "too-many-open")
        assert wait >= 1
        assert (await post(kit, "/api/meet", {"rendezvous_id": MEETING, "role": "receive"}))[0] == 201, "it is open"
        assert (await post(kit, "/api/transfer", {"ttl": 60}, "192.0.2.1"))[0] == 201
        await kit.request("DELETE", f"/api/transfer/{mine['rendezvous_id']}", token=mine["token"])
        assert (await post(kit, "/api/transfer", {"ttl": 60}))[0] == 201


async def test_sockets_are_counted_and_given_back() -> None:
    async with serving(config(AddressLimits(sockets=2))) as kit:
        sockets = [await kit.socket() for _ in range(2)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await kit.socket()
        assert refused.value.status == 429
        assert refused.value.headers is not None
        assert int(refused.value.headers["Retry-After"]) >= 1
        assert (await kit.request("GET", "/api/ws"))[1]["error"]["code"] == "websocket-expected"
        await sockets[0].ws.close()
        sockets.append(await kit.socket_in_time())
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await kit.socket()


async def test_none_and_zero_are_no_limits() -> None:
    none = AddressLimits(creates=None, joins=None, open_transfers=0, sockets=0, messages=None)
    async with serving(config(none)) as kit:
        slots = [(await kit.create()).slot for _ in range(70)]
        for slot in slots:
            await kit.join(slot)
        sockets = [await kit.socket() for _ in range(5)]
        _, sender, receiver = await kit.pair()
        assert not any(socket.ws.closed for socket in sockets)
        await sender.send(wire.Append(0, b"unhurried", 1))
        assert (await receiver.expect(wire.LogMessage)).body == b"unhurried"


@pytest.mark.skipif(sys.platform == "win32", reason="asyncio has no Unix sockets on Windows")
async def test_peers_without_an_address_are_one(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    limits = AddressLimits(creates=Rate(3, 60.0), open_transfers=2, sockets=1)

    runner = web.AppRunner(create_app(config(limits, proxied=True)), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.UnixSite(runner, path).start()
    try:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session:
            for n, expected in enumerate(("", "", "too-many-open", "too-often")):
                headers = {"X-Forwarded-For": f"192.0.2.{n}"}
                url = "http://p2pal.example/api/transfer"
                async with session.post(url, json={"ttl": 60}, headers=headers) as response:
                    assert (await response.json()).get("error", {}).get("code", "") == expected
            async with session.ws_connect("http://p2pal.example/api/ws"):
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await session.ws_connect("http://p2pal.example/api/ws")
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("proxied", [False, True])
def test_a_proxy_that_is_not_trusted_is_told_of_once_and_without_its_address(*, proxied: bool) -> None:
    stream = io.StringIO()
    before = logs.LOGGER.handlers[:], logs.LOGGER.level, logs.LOGGER.propagate
    logs.configure("text", stream, logging.WARNING)

    async def run() -> None:
        async with serving(config(AddressLimits(), proxied=proxied)) as kit:
            for client in ("192.0.2.1", "192.0.2.2"):
                assert (await post(kit, "/api/transfer", {"ttl": 60}, client))[0] == 201

    try:
        asyncio.run(run())
    finally:
        logs.LOGGER.handlers[:], logs.LOGGER.level, logs.LOGGER.propagate = before
    assert stream.getvalue().count("proxy-not-trusted") == (0 if proxied else 1)
    assert stream.getvalue().count("--trusted-proxy") == (0 if proxied else 1)
    assert "192.0.2." not in stream.getvalue()
