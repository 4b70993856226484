"""What one address may do: how often, and how much at once. Who asks for more is refused before anything is kept.

Creates and joins are counted in the store, for all instances together; connections, requests and WebSockets here.
Wrong tokens are not counted apart: nobody guesses 192 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import hdrs, web

from p2pal.rate_limit import Rate
from p2pal.server import addresses
from p2pal.server.address_limiter import AddressLimiter, AddressLimiters
from p2pal.server.config import ServerConfig
from p2pal.server.logs import log_warning
from p2pal.server.state import Denied
from p2pal.server.stores.base import Store

_UNKNOWN: Final = "unknown"  # all peers without an address together: to have none is no way around a limit


class Gate:
    """Counts for each address. Times are seconds; WebSockets are those of this instance."""

    def __init__(self, store: Store, config: ServerConfig) -> None:
        self._store = store
        self._limits = config.addresses
        self._trusted = config.trusted_proxies
        self._limiters = AddressLimiters(config.addresses)
        self._told = False

    async def create(self, request: web.Request) -> str:
        """Count a transfer or meeting, and return the owner that the store counts it for.

        Raises:
            Denied: ``too-often``.
        """
        address = self._address(request)
        await self._spend("create", address, self._limits.creates)
        return address if self._limits.open_transfers else ""

    async def join(self, request: web.Request) -> None:
        """Count a join, whether or not anybody has the slot: otherwise slots could be tried one by one.

        Raises:
            Denied: ``too-often``.
        """
        await self._spend("join", self._address(request), self._limits.joins)

    @contextmanager
    def socket(self, request: web.BaseRequest) -> Iterator[AddressLimiter]:
        """Count a WebSocket for as long as the block runs; yield the limiter that it counts for.

        Raises:
            Denied: ``too-many-sockets``.
        """
        limiter = self.limiter(request)
        if limiter.socketed:
            raise Denied("too-many-sockets")
        limiter.sockets += 1
        try:
            yield limiter
        finally:
            limiter.sockets -= 1

    def limiter(self, request: web.BaseRequest) -> AddressLimiter:
        """Return the limiter of a request's client."""
        return self._limiters.of(self._address(request))

    def limiter_of_peer(self, peer: str) -> AddressLimiter | None:
        """Return the limiter of who connects from this address; None for a trusted proxy."""
        if addresses.trusts(peer, self._trusted):
            return None
        return self._limiters.of(addresses.group(peer) or _UNKNOWN)

    async def _spend(self, purpose: str, address: str, rate: Rate | None) -> None:
        wait = await self._store.spend(purpose, address, rate) if rate is not None else 0.0
        if wait > 0:
            raise Denied("too-often", wait)

    def _address(self, request: web.BaseRequest) -> str:
        peer = request.remote or ""
        forwarded = request.headers.getall(hdrs.X_FORWARDED_FOR, ())
        if forwarded and not self._told and not addresses.trusts(peer, self._trusted):
            # Behind a proxy that nobody named all clients are one: its operator has to know. Said once, because
            # everybody can send the header.
            self._told = True
            log_warning("proxy-not-trusted", hint="if a proxy of yours is in front, name it with --trusted-proxy")
        return addresses.group(addresses.client_address(peer, forwarded, self._trusted)) or _UNKNOWN
