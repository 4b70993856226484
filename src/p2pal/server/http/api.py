"""The HTTP side: create, join, meet, look, delete, health. Every error is ``{"error": {"code", "message"}}``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TypeVar

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from p2pal.server.config import ServerConfig
from p2pal.server.http.gate import Gate
from p2pal.server.http_connection import HttpConnection
from p2pal.server.ice import IceServers
from p2pal.server.logs import REQUEST_ID, log, log_failure, place_of, request_id, short
from p2pal.server.responses import HEADERS, error_answer, json_answer, refusal_answer
from p2pal.server.state import SENDER, Delete, Denied, Rendezvous
from p2pal.server.stores.base import Store
from p2pal.server.ws.connection import shake_hands
from p2pal.server.ws.hub import Hub
from p2pal.server.ws.socket import Socket
from p2pal.wire import rendezvous as wire

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_T = TypeVar("_T")


class Api:
    """The handlers, over one store."""

    def __init__(self, store: Store, gate: Gate, hub: Hub, config: ServerConfig) -> None:
        self._store = store
        self._hub = hub
        self._config = config
        self._gate = gate
        self._ice = IceServers(config)

    def routes(self) -> list[web.RouteDef]:
        """Return all routes."""
        return [
            web.post("/api/transfer", self.create),
            web.post("/api/join", self.join),
            web.post("/api/meet", self.meet),
            web.get("/api/transfer/{id}", self.look, allow_head=False),
            web.delete("/api/transfer/{id}", self.delete),
            web.get("/api/ws", self.websocket, allow_head=False),
            web.get("/healthz", self.health),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """``POST /api/transfer``: open a transfer; 201 with its slot and the sender's token."""
        wanted = await self._body(request, wire.CreateRequest)
        _check_version(wanted.version)
        if not self._config.min_ttl <= wanted.ttl <= self._config.max_ttl:
            raise Denied("ttl", allowed=(self._config.min_ttl, self._config.max_ttl))
        owner = await self._gate.create(request)
        transfer, token = await self._store.create(wanted.ttl, owner)
        log("created", transfer=short(transfer.id), slot=transfer.slot, ttl=wanted.ttl)
        expires_in = transfer.expires_in(self._store.now())
        servers = self._ice.for_everyone()
        return json_answer(wire.Created(transfer.id, transfer.slot, token, expires_in, servers), 201)

    async def join(self, request: web.Request) -> web.Response:
        """``POST /api/join``: open an attempt on a slot; 201 with its token."""
        wanted = await self._body(request, wire.JoinRequest)
        _check_version(wanted.version)
        await self._gate.join(request)
        transfer, attempt, token = await self._store.join(wanted.slot)
        expires_in = transfer.expires_in(self._store.now())
        servers = self._ice.for_everyone()
        return json_answer(wire.Joined(transfer.id, attempt, token, expires_in, servers), 201)

    async def meet(self, request: web.Request) -> web.Response:
        """``POST /api/meet``: create or join a rendezvous that only the two peers can name; 201 with a token."""
        wanted = await self._body(request, wire.MeetRequest)
        _check_version(wanted.version)
        ttl = min(max(wanted.ttl, self._config.min_ttl), self._config.max_ttl)
        owner = await self._gate.create(request)
        sender = wanted.role == "send"
        transfer, who, token = await self._store.meet(wanted.rendezvous_id, ttl, sender=sender, owner=owner)
        expires_in = transfer.expires_in(self._store.now())
        servers = self._ice.for_everyone()
        return json_answer(wire.Met(who, token, expires_in, servers), 201)

    async def look(self, request: web.Request) -> web.Response:
        """``GET /api/transfer/{id}``: its state, for the sender."""
        transfer = await self._sender(request)
        expires_in = transfer.expires_in(self._store.now())
        return json_answer(wire.TransferInfo(transfer.id, transfer.slot, transfer.state, expires_in, transfer.served))

    async def delete(self, request: web.Request) -> web.Response:
        """``DELETE /api/transfer/{id}``: abort it; 204."""
        transfer = await self._sender(request)
        await self._store.execute(transfer.id, Delete(SENDER))
        return web.Response(status=204, headers=HEADERS)

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        """``GET /api/ws``: the mailbox."""
        answer = shake_hands(request, {REQUEST_ID: request_id.get()})
        if answer is None:
            return error_answer(400, "websocket-expected", "this address speaks WebSocket only")
        with ExitStack() as counted:
            limiter = counted.enter_context(self._gate.socket(request))
            hub = self._hub
            socket = Socket(hub.new_id(), self._store, self._ice, limiter, self._config, hub.metrics, hub.remove)
            connection = HttpConnection.of(request)
            if connection is not None:
                counted.callback(connection.release)
            socket.take_over(request, answer)
            hub.add(socket, counted.pop_all().close)
        return web.Response(status=101)  # sent already, and aiohttp has nobody to send it to

    async def health(self, _request: web.Request) -> web.Response:
        """``GET /healthz``: this process answers."""
        return web.json_response({"status": "ok"}, headers=HEADERS)

    async def _body(self, request: web.Request, kind: type[_T]) -> _T:
        async with asyncio.timeout(self._config.request_timeout):
            data = await request.read()
        return msgspec.json.decode(data, type=kind)

    async def _sender(self, request: web.Request) -> Rendezvous:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer":
            raise Denied("unauthorised")
        transfer, who = await self._store.authorise(token.strip())
        if transfer.id != request.match_info["id"]:
            raise Denied("unauthorised")
        if who != SENDER:
            raise Denied("forbidden")
        return transfer


@web.middleware
async def errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Turn everything that a handler raises into a JSON error without any of the request in it."""
    try:
        return await handler(request)
    except Denied as denied:
        return refusal_answer(denied)
    except (msgspec.MsgspecError, RecursionError):
        return error_answer(400, "malformed", "the request body is not what is expected here")
    except TimeoutError:
        return error_answer(408, "timeout", "the request took too long")
    except web.HTTPException as error:
        allow: dict[str, str] = {hdrs.ALLOW: error.headers[hdrs.ALLOW]} if hdrs.ALLOW in error.headers else {}
        return error_answer(error.status, _CODES.get(error.status, "refused"), error.reason.lower(), allow)
    except ConnectionError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the client and the log learn no details
        log_failure("internal-error", kind=type(error).__name__, where=place_of(error))
        return error_answer(500, "internal", "the server failed")


def plain_bodies(config: ServerConfig) -> Middleware:
    """Return the middleware that refuses bodies before anything is read: encoded ones, and those that are too long."""

    @web.middleware
    async def check(request: web.Request, handler: _Handler) -> web.StreamResponse:
        codings = request.headers.getall(hdrs.CONTENT_ENCODING, ())
        if any(coding.strip().lower() not in ("", "identity") for coding in codings):
            raise Denied("encoding")
        if (request.content_length or 0) > config.max_request:
            return error_answer(413, _CODES[413], "the request body is too large")
        return await handler(request)

    return check


_CODES = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}


def _check_version(version: int) -> None:
    if version != wire.VERSION:
        raise Denied("version")
