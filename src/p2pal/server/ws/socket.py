"""One client's mailbox over one WebSocket: commands inwards, one after the other. The rules decide everything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from p2pal.rate_limit import spend
from p2pal.server import state as s
from p2pal.server.address_limiter import AddressLimiter
from p2pal.server.config import ServerConfig
from p2pal.server.ice import IceServers
from p2pal.server.logs import log_failure, place_of
from p2pal.server.metrics import Metrics
from p2pal.server.state import SENDER, Denied
from p2pal.server.stores.base import Store
from p2pal.server.ws.connection import ClientConnection
from p2pal.server.ws.view import ClientView
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode

_MAX_BACKLOG: Final = 2 * wire.MAX_LOG
"""Bytes that a client may leave unread: a log as base64, and then some."""

_MAX_INBOX: Final = 16
"""Messages that wait to be carried out before no more are read."""

_MAX_INBOX_BYTES: Final = 16 * 1024
"""Bytes of theirs, for the same; the largest message is longer."""

_FATAL: Final = {"unauthorised": CloseCode.UNAUTHORISED, "unknown": CloseCode.UNAUTHORISED}
_NOT_NOW: Final = 503
_GLANCE: Final = 1.0
"""Seconds after which a held-back socket looks again whether its client is still there."""

_T = TypeVar("_T")


class Socket:
    """What is said over one client's connection.

    Whoever has something for it calls :meth:`tell` or :meth:`close`, which never block. A task carries out what the
    client sends while there is something, and ends then, so that an idle socket costs no task.

    Args:
        name: Its id, unlike any other of all instances.
        store: The transfers.
        ice: The STUN and TURN servers to give out.
        limiter: Whom it counts for.
        config: How the server runs.
        metrics: What is counted.
        ended: Called once, when the connection is gone.
    """

    __slots__ = (
        "_again",
        "_attached",
        "_closing",
        "_config",
        "_context",
        "_ended",
        "_gone",
        "_ice",
        "_inbox",
        "_metrics",
        "_missed",
        "_patience",
        "_store",
        "_turn",
        "_view",
        "_whole_at",
        "_whose",
        "_worker",
        "connection",
        "id",
    )

    def __init__(
        self,
        name: str,
        store: Store,
        ice: IceServers,
        limiter: AddressLimiter,
        config: ServerConfig,
        metrics: Metrics,
        ended: Callable[[Socket], None],
    ) -> None:
        self.id = name
        self.connection = ClientConnection(self, limiter, config.send_timeout)
        self._store = store
        self._ice = ice
        self._config = config
        self._metrics = metrics
        self._ended = ended
        self._context: Context = copy_context()  # what is done later is logged under the request that began it
        self._inbox: list[bytes] = []  # empty it has a tenth of a deque's size
        self._worker: asyncio.Task[None] | None = None
        self._view = ClientView()
        self._turn = 0
        self._whose: tuple[str, int] | None = None  # the transfer, and who
        self._attached = False
        self._again: asyncio.Task[None] | None = None
        self._missed = False
        self._closing = self._gone = False
        self._whole_at = 0.0
        self._patience: asyncio.TimerHandle | None = None

    @property
    def close_code(self) -> int:
        """Why it is over: the server's code if it closed first, else the client's, or 1006 if it just was gone."""
        return self.connection.code

    def take_over(self, request: web.Request, answer: bytes) -> None:
        """Begin, over the connection of a request; the client's first message has to come in time.

        Raises:
            ConnectionError: If it is gone already.
        """
        self.connection.take_over(request, answer)
        loop, patience = asyncio.get_running_loop(), self._config.hello_timeout
        self._patience = loop.call_later(patience, self.close, CloseCode.HELLO_TIMEOUT)

    def tell(self, message: wire.ServerMessage) -> None:
        """Send a message. A client that lets too much pile up is cut off: it comes back with its cursors."""
        if self._closing:
            return
        in_step = not self._view.lost
        if not self._view.passes(message):
            if in_step and self._view.lost:
                self.attach_again()
            return
        self.connection.send(wire.encoder.encode(message))
        if self.connection.backlog > _MAX_BACKLOG:
            self.close(CloseCode.TOO_SLOW)

    def close(self, code: CloseCode) -> None:
        """Close once everything that was told is sent."""
        if not self._closing:
            self._closing = True
            self.connection.close(code)

    def abort(self) -> None:
        """Cut the connection without ceremony."""
        self.connection.abort()

    def attach_again(self) -> None:
        """Have this socket told where everything stands: it may have missed something."""
        self._view.lost = self._missed = True
        if self._attached and self._whose is not None and self._again is None and not self._closing:
            self._again = self._begin(self._attach_again(*self._whose))

    async def _attach_again(self, rendezvous_id: str, who: int) -> None:
        try:
            while self._missed and not self._closing:  # what the last attempt had it told may have been missed as well
                self._missed = False
                attach = s.Attach(who, self.id, self._view.cursors, self._turn, again=True)
                try:
                    await self._store.execute(rendezvous_id, attach)
                except Denied as denied:
                    if denied.code != "unavailable":
                        raise
                    self._missed = True
                    await asyncio.sleep(_GLANCE)
                    await self._store.available()
        except Denied as denied:
            self.close(_FATAL.get(denied.code, CloseCode.TRY_AGAIN))
        finally:
            self._again = None

    # What the connection tells.

    def text_received(self, text: bytes) -> bool:
        """Put a message behind the others; return whether more may be read."""
        if self._closing:
            self.connection.done(len(text))
            return True  # the client's close is among what follows
        self._inbox.append(text)
        if self._worker is None:
            self._worker = self._begin(self._work())
        return len(self._inbox) < _MAX_INBOX and sum(map(len, self._inbox)) < _MAX_INBOX_BYTES

    def binary_received(self) -> None:
        """Refuse it."""
        self._refuse("text expected")

    def connection_ended(self) -> None:
        """Let go of the transfer, after what is being carried out."""
        self._closing = self._gone = True
        self._inbox.clear()
        self._stop_waiting()
        if self._worker is None:
            self._context.run(self._leave)

    # Commands.

    async def _work(self) -> None:
        try:
            while self._inbox and not self._closing:
                text = self._inbox.pop(0)
                if await self._pace():
                    await self._carry_out(text)
                self.connection.done(len(text))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client and the log learn no details
            log_failure("internal-error", kind=type(error).__name__, where=place_of(error))
            self.close(CloseCode.TRY_AGAIN)
        finally:
            self._worker = None
            if self._gone:
                self._leave()
            else:
                self.connection.release()

    def _leave(self) -> None:
        if self._whose is not None:
            self._worker = self._begin(self._detach(*self._whose))
        else:
            self._ended(self)

    async def _detach(self, rendezvous_id: str, who: int) -> None:
        try:
            if self._again is not None:
                await asyncio.wait((self._again,))
            with contextlib.suppress(Denied):  # the transfer may be forgotten meanwhile
                await self._store.execute(rendezvous_id, s.Detach(who, self.id))
        finally:
            self._ended(self)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work, context=self._context)

    async def _carry_out(self, text: bytes) -> None:
        try:
            message = wire.client_decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._refuse("malformed message")
            return
        if self._whose is not None:
            await self._handle(*self._whose, message)
        elif isinstance(message, wire.ClientHello):
            self._stop_waiting()
            await self._greet(message)
        else:
            self._refuse("hello expected")

    async def _greet(self, hello: wire.ClientHello) -> None:
        try:
            transfer, who = await self._patiently(lambda: self._store.authorise(hello.token))
        except Denied as denied:
            self.close(_FATAL.get(denied.code, CloseCode.TRY_AGAIN))
            return
        if not self._gone:
            await self._attach(transfer.id, who, hello)

    async def _pace(self) -> bool:
        """Wait while the client is faster than it may be, reading nothing more; return whether it is still there."""
        rate = self._config.addresses.messages
        if rate is None or self._whose is None:
            return True
        now = asyncio.get_running_loop().time
        while True:
            self._whole_at, wait = spend(self._whole_at, now(), rate)
            if not wait:
                return True
            if self._closing:
                return False  # what it sent is not acknowledged: it will say so again
            self.connection.hold()
            await asyncio.sleep(min(wait, _GLANCE))

    async def _attach(self, rendezvous_id: str, who: int, hello: wire.ClientHello) -> None:
        """Take over as this token's socket; the store sends the log from the client's cursor on."""
        self._whose = (rendezvous_id, who)
        self._turn = hello.turn
        self._view.begin(hello.cursors if who == SENDER else {who: hello.cursors.get(who, 0)})
        attach = s.Attach(who, self.id, hello.cursors, hello.turn)
        try:
            await self._patiently(lambda: self._store.execute(rendezvous_id, attach))
        except Denied as denied:
            if denied.code == "cursor":
                self._refuse("cursor past the end")
            else:
                self.close(_FATAL.get(denied.code, CloseCode.TRY_AGAIN))
            return
        self._attached = True  # not sooner: attaching again yields to any other socket of the token
        if self._missed:
            self.attach_again()

    async def _patiently(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Do it, again if the store comes back within the time that an outage may take."""
        try:
            return await attempt()
        except Denied as denied:
            if denied.code != "unavailable":
                raise
        try:
            async with asyncio.timeout(self._config.outage):
                while True:
                    await self._store.available()
                    if self._gone:  # its client may be back over another socket, which this one must not replace
                        raise Denied("unavailable")
                    try:
                        return await attempt()
                    except Denied as denied:
                        if denied.code != "unavailable":
                            raise
        except TimeoutError:
            raise Denied("unavailable") from None

    async def _handle(self, rendezvous_id: str, who: int, message: wire.ClientMessage) -> None:
        attempt = getattr(message, "attempt", 0)
        command: s.RendezvousCommand
        match message:
            case wire.Append():
                attempt = message.attempt or who
                command = s.AppendMessage(who, attempt, message.index, message.body)
            case wire.ClientAccept():
                command = s.AcceptAttempt(who, message.attempt)
            case wire.Release():
                command = s.ReleaseAttempt(who, message.attempt, message.reason)
            case wire.ClientComplete():
                command = s.CompleteTransfer(who)
            case wire.Leave():
                command = s.LeaveAttempt(who)
            case wire.AskIce():
                await self._answer_ice(rendezvous_id, who)
                return
            case wire.ClientHello():
                self._refuse("hello twice")
                return
        try:
            await self._patiently(lambda: self._store.execute(rendezvous_id, command))
        except Denied as denied:
            self._deny(denied, attempt)

    def _deny(self, denied: Denied, attempt: int = 0) -> None:
        self._metrics.denials[denied.code] += 1
        if denied.status == _NOT_NOW:
            self.close(CloseCode.TRY_AGAIN)
            return
        self.tell(wire.Error(denied.code, denied.message, attempt))
        if denied.code == "too-large":
            self.close(CloseCode.TOO_LARGE)

    async def _answer_ice(self, rendezvous_id: str, who: int) -> None:
        try:
            transfer = await self._patiently(lambda: self._store.load(rendezvous_id))
        except Denied as denied:
            self._deny(denied)
            return
        self.tell(wire.Ice(self._ice.for_peer(transfer, who)))

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _refuse(self, why: str) -> None:
        self.tell(wire.Error("protocol", why))
        self.close(CloseCode.PROTOCOL)
