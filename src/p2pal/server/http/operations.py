"""What an operator needs: readiness, metrics, the description of the API, a line in the log per request, a calm end."""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum
from time import perf_counter
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from p2pal.server.config import EXTRA, ServerConfig, missing_package
from p2pal.server.http.listener import LATE
from p2pal.server.logs import REQUEST_ID, choose_request_id, log, log_detail, log_warning, request_id
from p2pal.server.metrics import OTHER, Metrics
from p2pal.server.responses import HEADERS, error_answer, refusal_answer
from p2pal.server.state import Denied
from p2pal.server.stores.base import Store
from p2pal.server.ws.hub import Hub
from p2pal.wire import rendezvous as wire

if TYPE_CHECKING:
    from p2pal.server.http.exposition import Exposition

READY_TIMEOUT: Final = 2.0
"""Seconds in which the store must give a sign of life for ``/readyz``."""

_PROBES: Final = frozenset(("/healthz", "/readyz", "/metrics"))  # asked every few seconds, and not by users
_BEGINNINGS: Final = frozenset(("/api/transfer", "/api/join", "/api/meet", "/api/ws"))
_METHODS: Final = hdrs.METH_ALL
_NO_ROUTE: Final = "none"
_SWITCHING: Final = 101
_GONE: Final = 499  # never sent: the client went away before there was an answer
_errors: Final = msgspec.json.Decoder(wire.ErrorBody)


class ServerPhase(Enum):
    """How far the end of a server instance is."""

    RUNNING = "running"
    LEAVING = "leaving"  # /readyz tells balancers to look elsewhere; everything else goes on
    STOPPING = "stopping"  # nothing new begins


class Operations:
    """The routes and middlewares for operators.

    Args:
        store: The transfers.
        hub: The sockets of this instance.
        metrics: Its counts.
        config: How it runs.
    """

    def __init__(self, store: Store, hub: Hub, metrics: Metrics, config: ServerConfig) -> None:
        self._store = store
        self._hub = hub
        self._counts = metrics
        self._config = config
        self._phase = ServerPhase.RUNNING
        self._active = 0
        self._fewer = asyncio.Event()
        self._exposition: Exposition | None = None
        self._missing_told = False
        self._description = b""

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/readyz", self.ready, allow_head=False),
            web.get("/metrics", self.metrics, allow_head=False),
            web.get("/openapi.json", self.openapi, allow_head=False),
        ]

    @property
    def counts(self) -> Metrics:
        """What is counted."""
        return self._counts

    @property
    def sockets(self) -> int:
        """WebSockets that are open."""
        return len(self._hub)

    def enter(self, phase: ServerPhase) -> None:
        """Come closer to the end."""
        self._phase = phase

    async def drain(self, patience: float) -> None:
        """Begin nothing any more, close the sockets and let requests end, for ``patience`` seconds at most."""
        self.enter(ServerPhase.STOPPING)
        await asyncio.gather(self._hub.stop(patience), self._requests_end(patience))

    async def _requests_end(self, patience: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self._active:
                    self._fewer.clear()
                    await self._fewer.wait()

    async def ready(self, _request: web.Request) -> web.Response:
        """``GET /readyz``: this instance can serve; 503 ``stopping`` or ``unavailable`` if not."""
        if self._phase is not ServerPhase.RUNNING:
            raise Denied("stopping")
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                await self._store.check()
        except TimeoutError:
            raise Denied("unavailable") from None
        return web.json_response({"status": "ready"}, headers=HEADERS)

    async def metrics(self, request: web.Request) -> web.Response:
        """``GET /metrics``: for Prometheus; 501 where its library is not installed."""
        if self._exposition is None:
            try:
                exposition = await asyncio.to_thread(_load_exposition)  # the sockets do not wait for the disk
            except ModuleNotFoundError as error:
                return self._without_metrics(missing_package(error))
            self._exposition = exposition(self._counts, self._store, self._hub)
        body, content_type = self._exposition.render(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=body, headers={**HEADERS, hdrs.CONTENT_TYPE: content_type})

    def _without_metrics(self, package: str) -> web.Response:
        hint = f"install {EXTRA}"
        if not self._missing_told:
            self._missing_told = True
            log_warning("metrics-missing", package=package, hint=hint)
        return error_answer(501, "no-metrics", f"metrics need the package {package}, which is not installed; {hint}")

    async def openapi(self, _request: web.Request) -> web.Response:
        """``GET /openapi.json``: what this server answers to what."""
        if not self._description:
            from p2pal.server.http.openapi import document

            self._description = msgspec.json.encode(document(self._config))
        return web.Response(body=self._description, content_type="application/json", headers=HEADERS)

    def observer(self) -> Middleware:
        """Return the outermost middleware: it names, counts and logs requests, and lets nothing begin at the end.

        WebSockets are counted and logged by the :class:`~p2pal.server.ws.hub.Hub`.
        """

        @web.middleware
        async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
            name = choose_request_id(request.headers.get(REQUEST_ID, ""))
            token = request_id.set(name)
            started = perf_counter()
            self._active += 1
            response: web.StreamResponse | None = None
            status = 500
            try:
                if LATE in request:
                    response = refusal_answer(Denied("too-often", request[LATE]))
                elif self._phase is ServerPhase.STOPPING and _route(request) in _BEGINNINGS:
                    response = refusal_answer(Denied("stopping"))
                else:
                    response = await handler(request)
                status = response.status
                response.headers[REQUEST_ID] = name
                if self._phase is not ServerPhase.RUNNING:
                    response.force_close()
                return response
            except (ConnectionError, asyncio.CancelledError):
                status = _GONE
                raise
            finally:
                self._active -= 1
                self._fewer.set()
                if status != _SWITCHING:
                    self._record(request, response, status, perf_counter() - started)
                request_id.reset(token)

        return observe

    def _record(self, request: web.Request, response: web.StreamResponse | None, status: int, seconds: float) -> None:
        route = _route(request)
        method = request.method if request.method in _METHODS else OTHER
        self._counts.requests[method, route, f"{status // 100}xx"] += 1
        fields: dict[str, str | int | float] = {"method": method, "route": route, "status": status}
        if isinstance(response, web.Response) and status >= 400 and isinstance(response.body, bytes):
            code = _errors.decode(response.body).error.code
            self._counts.denials[code] += 1
            fields["code"] = code
        (log_detail if route in _PROBES else log)("request", **fields, duration_ms=round(seconds * 1000, 1))


def _load_exposition() -> type[Exposition]:
    from p2pal.server.http.exposition import Exposition

    return Exposition


def _route(request: web.Request) -> str:
    """Return the pattern of the route, never the path: nothing that a client chose."""
    resource = request.match_info.route.resource
    return _NO_ROUTE if resource is None else resource.canonical
