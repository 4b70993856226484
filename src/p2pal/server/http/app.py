"""The server put together: an aiohttp application, and a :class:`Server` that listens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, cast

from aiohttp import web

from p2pal.errors import UsageError
from p2pal.server.config import ServerConfig, no_redis
from p2pal.server.http.api import Api, errors, plain_bodies
from p2pal.server.http.gate import Gate
from p2pal.server.http.listener import Listener
from p2pal.server.http.operations import Operations, ServerPhase
from p2pal.server.http.origins import guard
from p2pal.server.logs import log, log_failure, place_of
from p2pal.server.metrics import MeasuredStore, Metrics
from p2pal.server.stores.base import Store
from p2pal.server.stores.memory import MemoryStore
from p2pal.server.tls import context_for
from p2pal.server.ws.hub import Hub

_STORE_PATIENCE: Final = 2.0
"""Seconds that a start waits for the store; without it, requests get 503 until it is there."""
_PAUSE: Final = 1.0
MAX_LINE: Final = 8190
"""Bytes of a request's first line, and of one header."""
MAX_HEADERS: Final = 64
OPERATIONS: Final = web.AppKey("operations", Operations)
GATE: Final = web.AppKey("gate", Gate)
_silent: Final = logging.getLogger("p2pal.server.http_connection")
_silent.disabled = True  # aiohttp logs raw requests there, tokens and all; errors() logs what matters


def choose_store(config: ServerConfig) -> Store:
    """Return the store that the configuration names.

    Raises:
        UsageError: If the Redis URL is none, or the Redis client is not installed.
    """
    max_open, max_kept = config.addresses.open_transfers, config.addresses.log_bytes
    if config.redis_url:
        try:
            from p2pal.server.stores.redis import RedisStore  # loads the Redis client, which nobody else needs
        except ModuleNotFoundError as error:
            raise no_redis("the Redis URL", error) from error
        return RedisStore(config.redis_url, config.limits, max_open=max_open, max_kept=max_kept)
    return MemoryStore(
        config.limits,
        max_transfers=config.max_transfers,
        max_bytes=config.max_mailbox_bytes,
        max_open=max_open,
        max_kept=max_kept,
    )


def create_app(config: ServerConfig, store: Store | None = None) -> web.Application:
    """Return the application; it owns the store's clock work and closes its sockets on shutdown.

    Args:
        config: How it runs.
        store: Where transfers live; this process's memory by default.
    """
    store = store or choose_store(config)
    metrics = Metrics()
    hub = Hub(store.instance, metrics)
    store.listen(hub.handle)
    measured = MeasuredStore(store, metrics)
    operations = Operations(store, hub, metrics, config)
    app = web.Application(
        client_max_size=config.max_request,
        middlewares=[operations.observer(), guard(config), errors, plain_bodies(config)],
    )
    app[OPERATIONS] = operations
    app[GATE] = gate = Gate(measured, config)
    app.add_routes(Api(measured, gate, hub, config).routes())
    app.add_routes(operations.routes())

    async def watch() -> None:
        await hub.watch(config.heartbeat)

    async def keep_time(_app: web.Application) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(_for_ever(store.run)), asyncio.create_task(_for_ever(watch))]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STORE_PATIENCE):
                await store.available()
        yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def close_sockets(_app: web.Application) -> None:
        await hub.stop(config.drain)

    app.cleanup_ctx.append(keep_time)
    app.on_shutdown.append(close_sockets)
    return app


async def _for_ever(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do it again if it fails: the server lives from it."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the log learns no details
            log_failure("internal-error", kind=type(error).__name__, where=place_of(error))
        await asyncio.sleep(_PAUSE)


class Server:
    """A listening server, for ``p2pal server`` and for ``p2pal send --serve``.

    Args:
        config: How it runs.
        store: Where transfers live; this process's memory by default.
    """

    def __init__(self, config: ServerConfig, store: Store | None = None) -> None:
        self._config = config
        self._store = store
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None
        self._port = 0
        self._families: frozenset[int] = frozenset()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def families(self) -> frozenset[int]:
        """The address families that it listens for: ``AF_INET``, ``AF_INET6``."""
        return self._families

    @property
    def url(self) -> str:
        """Its URL from this machine."""
        host = self._config.host
        if host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            host = "127.0.0.1" if socket.AF_INET in self._families else "::1"
        scheme = "https" if self._config.tls_cert else "http"
        return f"{scheme}://[{host}]:{self._port}" if ":" in host else f"{scheme}://{host}:{self._port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            UsageError: If the address cannot be had, or the TLS files cannot be used.
        """
        tls = context_for(self._config)
        store = self._store or choose_store(self._config)
        app = create_app(self._config, store)
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=_silent,
            keepalive_timeout=self._config.keepalive,
            shutdown_timeout=self._config.drain,
            auto_decompress=False,  # nobody needs it, and a few bytes may stand for gigabytes
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
            lingering_time=0.0,  # see HttpConnection.finish
        )
        await runner.setup()
        listener = Listener(cast("web.Server", runner.server), app[GATE], app[OPERATIONS].counts, self._config, tls)
        try:
            await listener.start()
        except OSError as error:
            await runner.cleanup()
            where = f"{self._config.host or '*'}:{self._config.port}"
            message = f"cannot listen on {where}: {error.strerror or 'no such address'}"
            raise UsageError(message, hint="choose another --host or --port") from error
        self._listener = listener
        self._runner = runner
        self._port = listener.port
        self._families = listener.families
        log(
            "listening",
            host=self._config.host or "*",
            port=self._port,
            store="memory" if isinstance(store, MemoryStore) else "redis",
            tls=tls is not None,
            stun=len(self._config.stun),
            turn=len(self._config.turn),
            trusted_proxies=len(self._config.trusted_proxies),
        )

    async def stop(self) -> None:
        """Stop gracefully.

        For ``drain_delay`` only ``/readyz`` tells, so that balancers turn elsewhere. Then nothing begins any more, no
        connections are taken, sockets are closed with 1001, and requests end. Who cancels it cuts the delay short.
        """
        runner, self._runner = self._runner, None
        listener = self._listener
        if runner is None or listener is None:
            return
        operations = runner.app[OPERATIONS]
        log("stopping", sockets=operations.sockets, delay=self._config.drain_delay)
        try:
            if self._config.drain_delay > 0:
                operations.enter(ServerPhase.LEAVING)
                await asyncio.sleep(self._config.drain_delay)
        finally:
            sockets = operations.sockets
            listener.stop()
            await operations.drain(self._config.drain)  # first: cleaning up makes aiohttp deaf for closes and bodies
            await runner.cleanup()
            listener.cut()
            log("stopped", sockets=sockets)
