"""One WebSocket connection (RFC 6455), made to cost little while nothing is said.

aiohttp takes the request; once it is found good the connection is taken from aiohttp, with all that it holds for a
request, and frames are read and made by the pure core of the ``websockets`` library. A connection that is silent then
has no task, no request and no timer: the hub looks at all of them from time to time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, Protocol

from aiohttp import web
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from p2pal.server.address_limiter import AddressLimiter
from p2pal.server.http_connection import HttpConnection
from p2pal.wire.rendezvous import MAX_FRAME, CloseCode

CLOSE_TIMEOUT: Final = 2.0
"""Seconds that the client has to answer a close."""

LOST: Final = 1006
"""How RFC 6455 calls a connection that just was gone."""

_PART: Final = 4096
"""Bytes that are read at once: what was not read yet can wait as it is, so that small frames cannot fill memory."""

_MAX_UNREAD: Final = 16 * 1024
"""Bytes that may wait to be read before no more is taken in. Up to here it is noticed when the client goes."""

_HIGH_WATER: Final = 4096
"""Bytes beyond the system's own buffers from which on it counts how fast the client reads."""

_MAX_BACKLOG: Final = 4 << 20
"""Bytes that the client may leave unread whatever it is that it is sent."""

_MAX_CONTROL: Final = 256
"""Pings and pongs between two looks: they cost, and nothing else counts them."""

_MAX_FRAGMENTS: Final = 1024
"""Frames of one message: empty ones cost, too."""

_CLOSE_DEADLINE: Final = 30.0
"""Seconds that a close may take in all, with what was sent before it."""

_SWITCHING: Final = 101
_silent: Final = logging.getLogger("p2pal.server.frames")
_silent.disabled = True  # the library would log every frame, tokens and all
_silent.setLevel(logging.CRITICAL)  # nor make the text for it


class ConnectionOwner(Protocol):
    """Who speaks over a connection."""

    def text_received(self, text: bytes) -> bool:
        """Take one message, in UTF-8 as far as is known; return whether more may come now.

        Its bytes count for the limiter until :meth:`Connection.done`.
        """

    def binary_received(self) -> None:
        """The client sent a message that is no text."""

    def connection_ended(self) -> None:
        """The connection is gone; nothing more comes."""


class ClientConnection(asyncio.Protocol):
    """Frames to and from one client.

    Args:
        owner: Who speaks.
        limiter: Whom its buffers and frames count for.
        send_timeout: Seconds in which a client must take something of what it is sent, or it is cut off.
    """

    __slots__ = (
        "_charged",
        "_code",
        "_control",
        "_deadline",
        "_due",
        "_fragments",
        "_frames",
        "_heard_at",
        "_held",
        "_limiter",
        "_loop",
        "_owner",
        "_parts",
        "_paused",
        "_pinged_at",
        "_queued",
        "_send_timeout",
        "_stuck",
        "_taken",
        "_timer",
        "_transport",
        "_unread",
        "_waking",
        "_written",
    )

    def __init__(self, owner: ConnectionOwner, limiter: AddressLimiter, send_timeout: float) -> None:
        self._owner = owner
        self._limiter = limiter
        self._charged = 0  # bytes that the limiter was told of
        self._queued = 0  # of messages that the owner is not done with
        self._due = 0.0  # when frames may be read; 0 if that is not settled
        self._send_timeout = send_timeout
        self._loop = asyncio.get_running_loop()
        self._frames = ServerProtocol(state=OPEN, max_size=MAX_FRAME, logger=_silent)
        self._fragments = b""
        self._parts = self._control = 0
        self._transport: asyncio.Transport | None = None
        self._unread = b""
        self._held = self._paused = self._stuck = False
        self._waking: asyncio.Handle | None = None
        self._deadline: float | None = None
        self._written = self._taken = 0
        self._heard_at = self._loop.time()
        self._pinged_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._code = 0

    @property
    def code(self) -> int:
        """Why it is over: the server's close code if it closed first, else the client's, or 1006."""
        said = self._frames.close_rcvd if self._frames.close_rcvd_then_sent else self._frames.close_sent
        return self._code or (said.code if said is not None else LOST)

    @property
    def backlog(self) -> int:
        """Bytes that the client has not taken."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def take_over(self, request: web.Request, answer: bytes) -> None:
        """Take the request's connection from aiohttp, and send the client the answer of :func:`shake_hands`.

        Raises:
            ConnectionError: If it is gone already.
        """
        connection = HttpConnection.of(request)
        if connection is not None:
            transport, unread = connection.hand_over()
        else:
            transport, unread = _take_from_aiohttp(request), b""
        transport.pause_reading()
        transport.set_protocol(self)
        self._transport = transport
        transport.set_write_buffer_limits(_HIGH_WATER)
        transport.resume_reading()
        transport.write(answer)
        if unread:
            self.data_received(unread)

    # What the owner does.

    def send(self, text: bytes) -> None:
        """Send one message."""
        if self._frames.state is OPEN:
            self._frames.send_text(text)
            self._flush()
            self._charge()

    def close(self, code: CloseCode) -> None:
        """Close once everything sent before is out, and cut the connection if the client does not go on then."""
        if self._frames.state is OPEN:
            self._code = int(code)
            self._frames.send_close(code)
            self._flush()
            self._watch(CLOSE_TIMEOUT)

    def abort(self) -> None:
        """Cut the connection without ceremony."""
        if self._transport is not None:
            self._transport.abort()

    def hold(self) -> None:
        """Make nothing of what comes until :meth:`release`."""
        self._held = True

    def done(self, size: int) -> None:
        """The owner is done with a message of so many bytes."""
        self._queued -= size
        if self._transport is not None:
            self._charge()

    def release(self) -> None:
        """Read on."""
        if self._held:
            self._held = False
            self._read()

    def look(self, now: float, heartbeat: float) -> None:
        """Ping a client that is silent for ``heartbeat`` seconds; cut it if it does not answer in half that time."""
        if self._frames.state is not OPEN:
            return
        self._control = 0
        taken = self._written - self.backlog
        if taken > self._taken and self._stuck:
            self._heard_at = now  # it takes what it is sent: that is a sign of life
        self._taken = taken
        if self._paused:  # whether it is there shows no more, and it has long been saying too much
            if now - self._heard_at >= 1.5 * heartbeat:
                self.abort()
        elif self._pinged_at is not None and self._heard_at < self._pinged_at:
            if now - self._pinged_at >= heartbeat / 2:
                self.abort()
        elif now - self._heard_at >= heartbeat:
            self._pinged_at = now
            self._frames.send_ping(b"")
            self._flush()

    # What the transport tells.

    def data_received(self, data: bytes) -> None:
        """Read frames."""
        self._heard_at = self._loop.time()
        self._unread = self._unread + data if self._unread else data
        if self._waking is None:
            self._read()
        else:
            self._regulate()
            self._charge()

    def pause_writing(self) -> None:
        """The client does not take what it is sent as fast as it comes: it is not heard either."""
        self._stuck = True
        self._regulate()
        self._charge()
        if self._frames.state is OPEN:
            self._watch(self._send_timeout)

    def resume_writing(self) -> None:
        """It does again."""
        self._stuck = False
        self._read()
        if self._frames.state is OPEN:
            self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why makes no difference
        """The connection is gone."""
        self._stop_watching()
        if self._waking is not None:
            self._waking.cancel()
        self._transport = None
        self._unread = self._fragments = b""
        self._limiter.buffer(-self._charged)
        self._charged = 0
        self._owner.connection_ended()

    # Frames.

    def _read(self) -> None:
        """Make something of a part of what came; of the rest when others had their turn."""
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        if self._unread and not self._held and not self._stuck and self._is_due():
            part, self._unread = self._unread[:_PART], self._unread[_PART:]
            self._frames.receive_data(part)
            count = 0
            for event in self._frames.events_received():
                count += 1
                if isinstance(event, Frame):
                    self._take(event)
            if count > 1:  # one was taken before it was there
                self._limiter.frames(self._loop.time(), count - 1)
            self._flush()
            if self._unread:
                self._waking = self._loop.call_soon(self._read)
        self._regulate()
        self._charge()

    def _is_due(self) -> bool:
        """Whether frames may be read now; if not, they are when the limiter covers one more."""
        now = self._loop.time()
        if not self._due:
            self._due = now + self._limiter.frames(now, 1)
        if self._due > now:
            self._waking = self._loop.call_later(self._due - now, self._read)
            return False
        self._due = 0.0
        return True

    def _charge(self) -> None:
        """Tell the limiter what the buffers hold. Who holds too much in all is cut off: it comes back."""
        begun = len(self._frames.reader.buffer) + len(self._fragments)
        size = len(self._unread) + begun + self._queued + self.backlog
        change, self._charged = size - self._charged, size
        if change and not self._limiter.buffer(change):
            self.abort()

    def _regulate(self) -> None:
        """Take nothing more in while enough waits: that the client goes is noticed until then."""
        paused = self._stuck or len(self._unread) > _MAX_UNREAD
        if self._transport is None or paused == self._paused:
            return
        self._paused = paused
        if paused:
            self._transport.pause_reading()
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    def _take(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.BINARY:
                self._owner.binary_received()
            case Opcode.TEXT | Opcode.CONT:
                self._parts += 1
                self._fragments += frame.data
                if frame.fin:
                    text, self._fragments, self._parts = self._fragments, b"", 0
                    self._queued += len(text)
                    if not self._owner.text_received(text):
                        self.hold()
                elif self._parts > _MAX_FRAGMENTS:
                    self.close(CloseCode.PROTOCOL)
            case Opcode.PING | Opcode.PONG:
                self._control += 1
                if self._control > _MAX_CONTROL:
                    self.close(CloseCode.PROTOCOL)
                    self.hold()  # nothing more of it counts

    def _flush(self) -> None:
        transport = self._transport
        for data in self._frames.data_to_send():
            if transport is None:
                return
            if data:
                self._written += len(data)
                transport.write(data)
                if transport.get_write_buffer_size() > _MAX_BACKLOG:
                    transport.abort()
                continue
            # The library's sign that nothing more is sent.
            if self._frames.close_rcvd is not None:
                transport.close()
            elif transport.can_write_eof():
                transport.write_eof()  # closed with something unread, the client would not see why
            self._watch(CLOSE_TIMEOUT)

    def _watch(self, seconds: float) -> None:
        """Cut the connection if the client takes nothing for so long, or if it is to be closed and that lasts."""
        if self._frames.state is not OPEN and self._deadline is None:
            self._deadline = self._loop.time() + _CLOSE_DEADLINE
        self._stop_watching()
        self._timer = self._loop.call_later(seconds, self._check, seconds, self._written - self.backlog)

    def _check(self, seconds: float, taken: int) -> None:
        # With TLS the backlog counts more than what was written: only growth is progress.
        late = self._deadline is not None and self._loop.time() >= self._deadline
        if late or self._written - self.backlog <= taken:
            self.abort()
        else:
            self._watch(seconds)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _take_from_aiohttp(request: web.Request) -> asyncio.Transport:
    """Take the request's connection from aiohttp itself.

    Raises:
        ConnectionError: If it is gone already.
    """
    protocol, transport = request.protocol, request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError
    protocol.transport = None  # otherwise aiohttp would close it
    protocol.connection_lost(None)
    return transport


def shake_hands(request: web.Request, headers: Mapping[str, str]) -> bytes | None:
    """Return the answer to a WebSocket's opening request, RFC 6455 section 4.2.2; None if it is no such request.

    Args:
        request: The request.
        headers: Further headers of the answer.
    """
    asked = Headers()
    for name, value in request.headers.items():
        asked[name] = value
    try:
        answer = ServerProtocol(logger=_silent).accept(Request(request.path, asked))
    except InvalidHandshake:  # raised for what cannot even be put into the library's own refusal
        return None
    if answer.status_code != _SWITCHING:
        return None
    for name, value in headers.items():
        answer.headers[name] = value
    return answer.serialize()
