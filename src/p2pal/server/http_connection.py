"""One HTTP connection, between the network and aiohttp: what aiohttp is given, how much of it, and when.

aiohttp parses and answers. What it would keep for a client that never finishes, or asks faster than it is answered,
stays small here: it is given one request at a time, no more of a head and of a body than either may have, and what
comes after a refusal is thrown away unread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final, Protocol, cast

from aiohttp import web

from p2pal.server.address_limiter import AddressLimiter
from p2pal.server.logs import REQUEST_ID, choose_request_id
from p2pal.server.responses import refusal_answer
from p2pal.server.state import Denied

MAX_HEAD: Final = 16 * 1024
"""Bytes of a request's first line and headers."""

MAX_FRAMING: Final = 4
"""How many times as long as it may be a body may come, in chunks with their sizes."""

LINGER: Final = 2.0
"""Seconds in which a client may see why it was refused before its connection is cut (RFC 9112, section 9.6)."""

_MAX_DISCARDED: Final = 4 << 20
"""Bytes that are thrown away meanwhile."""

_HIGH_WATER: Final = 16 * 1024
_END: Final = b"\r\n\r\n"


class HttpSite(Protocol):
    """Where an HTTP connection belongs."""

    max_body: int
    """Bytes that the body of a request may have."""

    send_timeout: float
    """Seconds in which a client must take something of what it is sent."""

    def handler(self) -> web.RequestHandler:
        """Return what parses and answers one connection."""

    def limiter(self, peer: str) -> AddressLimiter | None:
        """Return the limiter that a connection counts for; None for that of a trusted proxy."""

    def entered(self, connection: HttpConnection) -> None:
        """A connection is taken."""

    def refused(self, denied: Denied) -> None:
        """Count a refusal."""

    def left(self, connection: HttpConnection) -> None:
        """The connection is over, or no longer one of HTTP."""


class HttpConnection(asyncio.Protocol):
    """What comes from one client, and goes to it.

    Args:
        site: Where it belongs.

    Attributes:
        limiter: Whom it counts for; None for a trusted proxy, whose requests count for its clients.
        late: The seconds after which its address may connect again; 0 if it may be served.
        paid: The next request is paid for, by the connection.
    """

    __slots__ = (
        "_admitted",
        "_counted",
        "_discarded",
        "_ended",
        "_fed",
        "_handler",
        "_head_fed",
        "_held",
        "_loop",
        "_paused",
        "_request",
        "_site",
        "_tail",
        "_timer",
        "_transport",
        "_unfinished",
        "_unread",
        "late",
        "limiter",
        "paid",
    )

    def __init__(self, site: HttpSite) -> None:
        self._site = site
        self._loop = asyncio.get_running_loop()
        self.limiter: AddressLimiter | None = None
        self.paid = False
        self._admitted = self._counted = False
        self.late = 0.0
        self._transport: asyncio.Transport | None = None
        self._handler: web.RequestHandler | None = None
        self._request: web.BaseRequest | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unread = self._tail = b""
        self._head_fed = self._paused = self._unfinished = self._ended = False
        self._fed = self._held = self._discarded = 0

    @staticmethod
    def of(request: web.BaseRequest) -> HttpConnection | None:
        """Return the connection that a request came over; None if it is gone, or not one of these."""
        transport = request.transport
        return transport.connection if isinstance(transport, HttpTransport) else None

    def admit(self, peer: object) -> bool:
        """Count the connection for an address, before anything else is done for it.

        Args:
            peer: Where it comes from, as the system tells it.

        Returns:
            Whether the address may have it.
        """
        self.limiter = self._site.limiter(str(peer[0]) if isinstance(peer, tuple) else "")
        self._admitted = True
        if self.limiter is None:
            return True
        if self.limiter.crowded:
            self._site.refused(Denied("too-many-sockets"))
            return False
        self._counted = self.paid = True
        self.limiter.connections += 1
        self.late = self.limiter.request(self._loop.time())
        return True

    # What the network tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is connected."""
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        self._site.entered(self)
        if not self._admitted and not self.admit(transport.get_extra_info("peername")):
            transport.abort()
            return
        transport.set_write_buffer_limits(_HIGH_WATER)
        if self.late:
            self._timer = self._loop.call_later(LINGER, self.cut)
            return
        self._handler = self._site.handler()
        self._handler.connection_made(HttpTransport(self, transport))

    def data_received(self, data: bytes) -> None:
        """Something came."""
        if self._ended:
            self._discarded += len(data)
            if self._discarded > _MAX_DISCARDED:
                self.cut()
            return
        if self.late:
            self._refuse(Denied("too-often", self.late))
            return
        self._held += len(data)
        if self.limiter is not None and not self.limiter.buffer(len(data)):
            self._refuse(Denied("too-many-sockets"))
            return
        self._unread = self._unread + data if self._unread else data
        self._feed()

    def eof_received(self) -> None:
        """The client says nothing more; the transport closes itself."""

    def pause_writing(self) -> None:
        """The client does not take what it is sent as fast as it comes."""
        if self._handler is not None:
            self._handler.pause_writing()
        if self._timer is None and self._transport is not None:
            self._watch(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It does again."""
        if not self._ended:
            self._stop_timer()
        if self._handler is not None:
            self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        handler, self._handler = self._handler, None
        self._transport = None
        self._ended = True
        self._let_go()
        self.release()
        if handler is not None:
            handler.connection_lost(exc)

    # What aiohttp is given.

    def _feed(self) -> None:
        """Give aiohttp what it may have of what came."""
        while self._unread and self._handler is not None and not self._paused:
            part = self._part_of_body() if self._head_fed else self._part_of_head()
            if not part:
                break
            self._unread = self._unread[len(part) :]
            self._fed += len(part)
            self._handler.data_received(part)
        if self._transport is not None and not self._ended:
            self._regulate(self._transport)

    def _part_of_head(self) -> bytes:
        """Return what there is of a head, and nothing of what comes after it."""
        if not self._fed:
            self._unread = self._unread.lstrip(b"\r\n")  # RFC 9112, section 2.2
        end = (self._tail + self._unread).find(_END)
        part = self._unread if end < 0 else self._unread[: end + len(_END) - len(self._tail)]
        if self._fed + len(part) > MAX_HEAD:
            self._refuse(Denied("head-too-large"))
            return b""
        self._head_fed = end >= 0
        self._tail = (self._tail + part)[1 - len(_END) :]
        return part

    def _part_of_body(self) -> bytes:
        """Return what there is for the body of the request that is being answered; nothing if it is complete."""
        if self._request is None or self._request.content.is_eof():
            return b""
        room = MAX_HEAD + MAX_FRAMING * self._site.max_body - self._fed
        if room <= 0:
            most = self._site.max_body
            self._request.content.set_exception(web.HTTPRequestEntityTooLarge(most, self._fed))
            return b""
        return self._unread[:room]

    def _regulate(self, transport: asyncio.Transport) -> None:
        if self._unread or self._paused:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def pause(self, *, paused: bool) -> None:
        """Give aiohttp nothing for now, or go on."""
        self._paused = paused
        if not paused:
            self._feed()

    # The life of requests, and of the connection.

    def request_began(self, request: web.BaseRequest) -> None:
        """A request is being answered: its body may come."""
        self._request = request
        self._feed()

    def request_ended(self, request: web.BaseRequest) -> None:
        """The answer is known: the next request may come."""
        self._unfinished = not request.content.is_eof()
        self._request = None
        self._head_fed = False
        self._tail = b""
        self._fed = 0
        self._hold(len(self._unread))
        self._loop.call_soon(self._feed)

    def finish(self) -> None:
        """Close once everything is sent. Who still sends gets time to read, or would never see the answer."""
        if self._transport is None or self._ended:
            return
        self._ended = True
        if not self._unfinished and not self._unread:
            self._transport.close()
            return
        self._unread = b""
        self._hold(0)
        self._stop_timer()
        self._timer = self._loop.call_later(LINGER, self.cut)
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def hand_over(self) -> tuple[asyncio.Transport, bytes]:
        """Give the connection to another protocol, which has to be set, with what came and nobody read.

        The connection counts for its limiter until :meth:`release`.

        Raises:
            ConnectionError: If it is gone already.
        """
        transport, unread = self._transport, self._unread
        if transport is None or self._ended or transport.is_closing():
            raise ConnectionResetError
        self._transport = None
        self._ended = True
        self._drop_handler()
        self._let_go()
        return transport, unread

    def release(self) -> None:
        """Count the connection no longer."""
        if self._counted and self.limiter is not None:
            self._counted = False
            self.limiter.connections -= 1

    def cut(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _refuse(self, denied: Denied) -> None:
        """Answer in aiohttp's place, and hear nothing more."""
        transport = self._transport
        if transport is None or self._ended:
            return
        self._site.refused(denied)
        self._drop_handler()
        transport.write(_raw(refusal_answer(denied)))
        self._unfinished = True
        self.finish()

    def _drop_handler(self) -> None:
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.transport = None  # otherwise aiohttp would close it
            handler.connection_lost(None)

    def _let_go(self) -> None:
        self._stop_timer()
        self._unread = b""
        self._hold(0)
        self._request = None
        self._site.left(self)

    def _hold(self, size: int) -> None:
        if self.limiter is not None:
            self.limiter.buffer(size - self._held)
        self._held = size

    def _watch(self, size: int) -> None:
        self._timer = self._loop.call_later(self._site.send_timeout, self._check, size)

    def _check(self, before: int) -> None:
        self._timer = None
        size = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if size >= before:
            self.cut()
        else:
            self._watch(size)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class HttpTransport(asyncio.Transport):
    """What aiohttp takes for the network.

    Args:
        connection: Whose it is.
        transport: The network.
    """

    __slots__ = ("_network", "connection")

    def __init__(self, connection: HttpConnection, transport: asyncio.Transport) -> None:
        self.connection = connection
        self._network = transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the network says about itself."""
        return self._network.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether nothing more is sent."""
        return self._network.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        self._network.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send all of them."""
        self._network.writelines(list_of_data)

    def get_write_buffer_size(self) -> int:
        """Return the bytes that are not sent yet."""
        return self._network.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Give aiohttp nothing for now."""
        self.connection.pause(paused=True)

    def resume_reading(self) -> None:
        """Go on."""
        self.connection.pause(paused=False)

    def close(self) -> None:
        """Close once everything is sent."""
        self.connection.finish()

    def abort(self) -> None:
        """Cut the connection."""
        self.connection.cut()


def _raw(response: web.Response) -> bytes:
    """Return an answer as bytes, for a request that aiohttp never saw."""
    body = response.body if isinstance(response.body, bytes) else b""
    headers = {name: value for name, value in response.headers.items() if name.title() != "Content-Length"}
    headers |= {REQUEST_ID: choose_request_id(""), "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("ascii") + _END + body
