"""One WebSocket: a bounded queue outwards, commands inwards. The rules decide everything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
from aiohttp import WSMessage, WSMsgType, web

from p2pal.server import state as s
from p2pal.server.config import ServerConfig
from p2pal.server.ice import IceServers
from p2pal.server.limits import spend
from p2pal.server.metrics import Metrics
from p2pal.server.state import SENDER, Denied
from p2pal.server.store import Store
from p2pal.server.view import View
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode

_MAX_QUEUED: Final = 2 * wire.MAX_MESSAGES
_MAX_QUEUED_BYTES: Final = 2 * wire.MAX_LOG
_FATAL: Final = {"unauthorised": CloseCode.UNAUTHORISED, "unknown": CloseCode.UNAUTHORISED}
_CLOSE_TIMEOUT: Final = 2.0
_GLANCE: Final = 1.0  # seconds after which one that waits is looked at: it may be gone
_LOST: Final = 1006  # never sent: RFC 6455, section 7.1.5
_T = TypeVar("_T")


class Socket:
    """One client's WebSocket.

    Whoever has something for it calls :meth:`tell` or :meth:`close`, which never block; a task writes while there is
    something to write and ends then, so that an idle socket costs no task of its own beyond its reader.
    """

    __slots__ = (
        "_again",
        "_attached",
        "_closing",
        "_code",
        "_config",
        "_ice",
        "_metrics",
        "_missed",
        "_queue",
        "_queued",
        "_request",
        "_store",
        "_view",
        "_whole_at",
        "_writer",
        "_ws",
        "id",
    )

    def __init__(
        self,
        name: str,
        request: web.Request,
        store: Store,
        ice: IceServers,
        config: ServerConfig,
        metrics: Metrics,
    ) -> None:
        self.id = name
        self._request = request
        self._store = store
        self._ice = ice
        self._config = config
        self._metrics = metrics
        self._ws = web.WebSocketResponse(
            heartbeat=config.heartbeat, compress=False, max_msg_size=wire.MAX_FRAME, timeout=_CLOSE_TIMEOUT
        )
        self._queue: list[wire.ServerMessage | CloseCode] = []  # empty it has a tenth of a deque's size
        self._queued = 0
        self._writer: asyncio.Task[None] | None = None
        self._view = View()
        self._attached: tuple[str, int] | None = None
        self._again: asyncio.Task[None] | None = None
        self._missed = False
        self._closing = False
        self._whole_at = 0.0
        self._code: CloseCode | None = None

    @property
    def close_code(self) -> int:
        """Why it is over: the server's code if it closed first, else the client's, or 1006 if it just was gone."""
        return self._code or self._ws.close_code or _LOST

    def tell(self, message: wire.ServerMessage) -> None:
        """Queue a message. A client that lets too much pile up is cut off: it comes back with its cursors."""
        if self._closing:
            return
        in_step = not self._view.lost
        if not self._view.passes(message):
            if in_step and self._view.lost:
                self.attach_again()
            return
        if isinstance(message, wire.Message):
            self._queued += len(message.body)
        self._queue.append(message)
        if len(self._queue) > _MAX_QUEUED or self._queued > _MAX_QUEUED_BYTES:
            self._queue.clear()
            self._queued = 0
            self.close(CloseCode.TOO_SLOW)
        self._wake()

    def close(self, code: CloseCode) -> None:
        """Close once everything queued is written."""
        if not self._closing:
            self._closing = True
            self._code = code
            self._queue.append(code)
            self._wake()

    def attach_again(self) -> None:
        """Have this socket told where everything stands: it may have missed something."""
        self._view.lost = self._missed = True
        if self._attached is not None and self._again is None and not self._closing:
            self._again = asyncio.create_task(self._attach_again(*self._attached))

    async def _attach_again(self, rendezvous_id: str, who: int) -> None:
        try:
            while self._missed:  # what the last attempt had it told may have been missed as well
                self._missed = False
                await self._store.execute(rendezvous_id, s.Attach(who, self.id, self._view.cursors, again=True))
        except Denied as denied:
            if denied.code != "unavailable":  # then the store will say so once more
                self.close(_FATAL.get(denied.code, CloseCode.TRY_AGAIN))
        finally:
            self._again = None

    def abort(self) -> None:
        """Cut the connection without ceremony."""
        transport = self._request.transport
        if transport is not None:
            transport.abort()

    async def serve(self) -> web.WebSocketResponse:
        """Speak with the client until the socket is over."""
        await self._ws.prepare(self._request)
        try:
            async with asyncio.timeout(self._config.hello_timeout):
                hello = self._decode(await self._ws.receive())
        except TimeoutError:
            self.close(CloseCode.HELLO_TIMEOUT)
            return await self._finish()
        if isinstance(hello, wire.Hello):
            await self._speak(hello)
        elif hello is not None:
            self._refuse("hello expected")
        return await self._finish()

    async def _speak(self, hello: wire.Hello) -> None:
        try:
            transfer, who = await self._patiently(lambda: self._store.authorise(hello.token))
        except Denied as denied:
            self.close(_FATAL.get(denied.code, CloseCode.TRY_AGAIN))
            return
        try:
            await self._attach(transfer.id, who, hello.cursors)
            while not self._closing:
                message = self._decode(await self._ws.receive())
                if message is None or not await self._pace():
                    return
                await self._handle(transfer.id, who, message)
        finally:
            if self._again is not None:
                await asyncio.wait((self._again,))
            with contextlib.suppress(Denied):  # the transfer may be forgotten meanwhile
                await self._store.execute(transfer.id, s.Detach(who, self.id))

    async def _pace(self) -> bool:
        """Wait while the client is faster than it may be, reading nothing more; return whether it is still there."""
        rate = self._config.addresses.messages
        if rate is None:
            return True
        now = asyncio.get_running_loop().time
        while True:
            self._whole_at, wait = spend(self._whole_at, now(), rate)
            if not wait:
                return True
            if self._closing or self._request.transport is None:
                return False  # what it sent is not acknowledged: it will say so again
            await asyncio.sleep(min(wait, _GLANCE))

    async def _attach(self, rendezvous_id: str, who: int, cursors: dict[int, int]) -> None:
        """Take over as this token's socket; the store sends the log from the client's cursor on."""
        self._view.begin(cursors if who == SENDER else {who: cursors.get(who, 0)})
        try:
            await self._patiently(lambda: self._store.execute(rendezvous_id, s.Attach(who, self.id, cursors)))
        except Denied as denied:
            if denied.code == "cursor":
                self._refuse("cursor past the end")
            else:
                self.close(_FATAL.get(denied.code, CloseCode.TRY_AGAIN))
            return
        self._attached = (rendezvous_id, who)  # not sooner: attaching again yields to any other socket of the token
        if self._missed:
            self.attach_again()

    async def _patiently(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Do it, again if the store comes back within the time that an outage may take."""
        try:
            async with asyncio.timeout(self._config.outage):
                while True:
                    try:
                        return await attempt()
                    except Denied as denied:
                        if denied.code != "unavailable":
                            raise
                    await self._store.available()
        except TimeoutError:
            raise Denied("unavailable") from None

    async def _handle(self, rendezvous_id: str, who: int, message: wire.ClientMessage) -> None:
        attempt = getattr(message, "attempt", 0)
        command: s.Command
        match message:
            case wire.Append():
                attempt = message.attempt or who
                command = s.Append(who, attempt, message.index, message.body)
            case wire.Accept():
                command = s.Accept(who, message.attempt)
            case wire.Release():
                command = s.Release(who, message.attempt, message.reason)
            case wire.Complete():
                command = s.Complete(who)
            case wire.Leave():
                command = s.Leave(who)
            case wire.AskIce():
                await self._answer_ice(rendezvous_id, who)
                return
            case wire.Hello():
                self._refuse("hello twice")
                return
        try:
            await self._patiently(lambda: self._store.execute(rendezvous_id, command))
        except Denied as denied:
            self._deny(denied, attempt)

    def _deny(self, denied: Denied, attempt: int = 0) -> None:
        self._metrics.denials[denied.code] += 1
        if denied.code == "unavailable":
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

    def _decode(self, received: WSMessage) -> wire.ClientMessage | None:
        """Return the client's message, or None when the socket is over (:meth:`_refuse` included)."""
        if received.type is WSMsgType.TEXT:
            try:
                return wire.client_decoder.decode(received.data)
            except (msgspec.MsgspecError, RecursionError):
                self._refuse("malformed message")
        elif received.type is WSMsgType.BINARY:
            self._refuse("text expected")
        return None

    def _refuse(self, why: str) -> None:
        self.tell(wire.Error("protocol", why))
        self.close(CloseCode.PROTOCOL)

    def _wake(self) -> None:
        if self._writer is None and self._ws.prepared:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._queue:
                item = self._queue.pop(0)
                if isinstance(item, CloseCode):
                    await self._ws.close(code=item)
                    return
                if isinstance(item, wire.Message):
                    self._queued -= len(item.body)
                async with asyncio.timeout(self._config.send_timeout):
                    await self._ws.send_str(wire.encoder.encode(item).decode())
        except TimeoutError:
            self.abort()
        except ConnectionError:
            self._queue.clear()  # the reader sees the end too
        finally:
            self._writer = None

    async def _finish(self) -> web.WebSocketResponse:
        self._closing = True
        if self._writer is not None:
            await asyncio.wait((self._writer,))
        return self._ws
