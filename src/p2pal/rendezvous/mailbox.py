"""The mailbox: a WebSocket that comes back, under a :class:`~p2pal.rendezvous.delivery.Delivery` that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from p2pal.errors import CodeExpired, CodeUnknown, P2palError, ServerRefused, ServerUnreachable
from p2pal.rendezvous.connect_errors import LOST, NO_ANSWER, Trouble, proxy_answered, trouble
from p2pal.rendezvous.delivery import Delivery, bad_message
from p2pal.rendezvous.events import MailboxEvent, ServerOffline, ServerOnline
from p2pal.rendezvous.http import Redirected, connect_timeout
from p2pal.rendezvous.transport import ServerUrl, pause, retry_after
from p2pal.role import Role
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode

DEFAULT_PATIENCE: Final = 120.0
TOLD_AFTER: Final = 3.0
"""Seconds without the server after which a person is told."""
HEARTBEAT: Final = 10.0
"""Seconds of silence before a ping; without an answer in half that time the socket is lost."""
_FIRST_BACKOFF: Final = 0.25
_MAX_BACKOFF: Final = 5.0
_FLUSH: Final = 1.0
_CONNECT: Final = 10.0
_WAITING_EVENTS: Final = 256
_REFUSED: Final = {429: "it takes no more connections from this address", 503: "it is not ready (HTTP 503)"}
"""What it says for a while instead of opening a socket."""
_ENDS: Final = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED)
_T = TypeVar("_T")


class Mailbox:
    """One side's way to the other through the server; see :meth:`p2pal.rendezvous.client.RendezvousClient.mailbox`.

    The owner runs :meth:`run` in its TaskGroup and awaits :meth:`get`. What it queues survives lost sockets; every
    message arrives once and in order. While the owner does not take events, the socket is not read.

    Attributes:
        reached: The address that the server was last reached at. Before that, and through a proxy, the one that its URL
            says; empty where that is a name.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        address: ServerUrl,
        role: Role,
        token: str,
        *,
        patience: float | None,
        waiting: Callable[[float], None] | None = None,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self._session = session
        self._address = address
        self._token = token
        self._patience = patience
        self._waiting = waiting
        self._heartbeat = heartbeat
        self._telling: asyncio.TimerHandle | None = None  # of an outage that may be over in a moment
        self._told_waiting = False
        self._delivery = Delivery(role)
        self._events: asyncio.Queue[MailboxEvent | None] = asyncio.Queue(_WAITING_EVENTS)
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._stop = asyncio.Event()
        self._renewed = asyncio.Event()
        self._untold: deque[MailboxEvent] = deque()
        self._leaving: set[asyncio.Task[bool]] = set()
        self._ended = asyncio.Event()
        self._running = False
        self._closing = False
        self._turn = 0
        self._offline_since: float | None = None
        self._told_offline = False
        self._trouble = NO_ANSWER
        self._asked: float | None = None  # seconds for which the server wants to be left alone
        self.reached = address.literal

    async def run(self) -> None:
        """Keep the mailbox connected until :meth:`close`, the end of the transfer, or a receiver's release.

        Raises:
            ServerUnreachable: If there was no connection for longer than ``patience`` seconds (never if that is None).
            CodeExpired: If the transfer's time ran out.
            CodeUnknown: If the server does not know the token (any more), or the transfer was aborted.
            ServerRefused: If the server refuses the mailbox or breaks the protocol.
        """
        self._running = True
        work = asyncio.create_task(self._work())
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not work.done():
                work.cancel()
            try:
                await asyncio.wait((work, stop))
                if self._leaving:
                    await asyncio.wait(self._leaving)
            finally:
                self._ended.set()
                self._stop_telling()
                self._end_events()
        if not work.cancelled():
            work.result()

    async def get(self) -> MailboxEvent:
        """Return the next event.

        Raises:
            ServerRefused: Once the mailbox has ended and all its events were taken.
        """
        if not (self._ended.is_set() and self._events.empty()):
            event = await self._events.get()
            if event is not None:
                return event
            self._end_events()
        raise ServerRefused("the mailbox on the signaling server is closed")

    def append(self, attempt: int, body: bytes) -> int:
        """Queue a message for the other side and return its index.

        Raises:
            ServerRefused: If the log is full.
            ValueError: If it is larger than 64 KiB.
        """
        index = self._delivery.append(attempt, body)
        self._wake.set()
        return index

    def accept(self, attempt: int) -> None:
        """Sender: the served attempt knows the words."""
        self._delivery.accept(attempt)
        self._wake.set()

    def release(self, attempt: int, reason: str) -> None:
        """Sender: the served attempt, or one that knocks, is over.

        The other side sees ``reason``: small letters and dashes, at most 40.
        """
        self._delivery.release(attempt, reason)
        self._wake.set()

    def complete(self) -> None:
        """Sender: the transfer is done; the mailbox ends once the server knows."""
        self._delivery.complete()
        self._wake.set()

    def leave(self) -> None:
        """Receiver: give the attempt up; the mailbox ends once the server knows."""
        self._delivery.leave()
        self._wake.set()

    def ask_ice(self) -> None:
        """Ask for the server's STUN and TURN servers; the answer is an event."""
        self._delivery.ask_ice()
        self._wake.set()

    def renew(self) -> None:
        """Leave the current socket and connect anew at once, resolving the server's name again; nothing is lost."""
        self._renewed.set()

    async def close(self) -> None:
        """Give what is queued a second to get out, then end :meth:`run`."""
        self._closing = True
        self._drop_events()
        if self._running and not self._ended.is_set() and not self._delivery.settled:
            self._settled.clear()
            self._wake.set()
            settled, ended = (asyncio.create_task(event.wait()) for event in (self._settled, self._ended))
            try:
                await asyncio.wait((settled, ended), timeout=_FLUSH, return_when=asyncio.FIRST_COMPLETED)
            finally:
                settled.cancel()
                ended.cancel()
        self._stop.set()
        if self._running:
            await self._ended.wait()
            self._end_events()

    # One socket after the other.

    async def _work(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            try:
                welcomed = await self._until_renewed(self._one_socket())
            finally:
                self._delivery.disconnected()
            if self._delivery.over:
                if self._delivery.over == "aborted":
                    raise CodeUnknown("the transfer was closed by the other side or the server")
                return
            if welcomed:
                backoff = _FIRST_BACKOFF
            left = await self._tell_offline()
            await self._until_renewed(asyncio.sleep(min(pause(backoff, self._asked), max(left, _FIRST_BACKOFF))))
            backoff = min(_MAX_BACKOFF, backoff * 2)
            if self._renewed.is_set():
                self._renewed.clear()
                backoff = _FIRST_BACKOFF
                self._forget_addresses()

    async def _until_renewed(self, work: Coroutine[Any, Any, _T]) -> _T | None:
        """Return what the work does, or None at once when :meth:`renew` was or is called."""
        task = asyncio.create_task(work)
        renewed = asyncio.create_task(self._renewed.wait())
        try:
            await asyncio.wait((task, renewed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (task, renewed):
                each.cancel()
            await asyncio.wait((task, renewed))
            failure = None if task.cancelled() else task.exception()
        if failure is not None:
            raise failure
        return None if task.cancelled() else task.result()

    def _forget_addresses(self) -> None:
        """A new network may answer for the server's name with other addresses."""
        connector = self._session.connector
        if isinstance(connector, aiohttp.TCPConnector):
            connector.clear_dns_cache()

    async def _tell_offline(self) -> float:
        """Tell the owner, and return the seconds that are left of our patience."""
        now = asyncio.get_running_loop().time()
        if self._offline_since is None:
            self._offline_since = now
            if self._waiting is not None:
                self._telling = asyncio.get_running_loop().call_later(TOLD_AFTER, self._tell_waiting)
        seconds = now - self._offline_since
        if self._patience is not None and seconds >= self._patience:
            message = f"lost the signaling server at {self._address}: {self._trouble.cause}"
            raise ServerUnreachable(message, hint=self._trouble.hint)
        self._told_offline = True
        await self._put(ServerOffline(seconds))
        return math.inf if self._patience is None else self._patience - seconds

    async def _one_socket(self) -> bool:
        """Connect and speak until the socket is over; return whether the server welcomed us."""
        self._asked = None
        try:
            async with asyncio.timeout(connect_timeout(self._address.proxy())):
                ws = await self._session.ws_connect(
                    self._address.websocket(),
                    heartbeat=self._heartbeat,
                    compress=0,
                    max_msg_size=wire.MAX_FRAME,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                )
        except Redirected as error:
            raise self._address.redirects(error.status, error.headers) from error
        except aiohttp.WSServerHandshakeError as error:
            if error.status == 407 and (proxy := self._address.plain_proxy()) is not None:
                self._trouble = proxy_answered(error.status, proxy)
                return False
            if error.status < 500 and error.status not in (408, 425, 429):
                proxy = self._address.proxy()
                hint = "check the -server address"
                if proxy is not None:
                    hint = f"{hint}, and that the proxy {proxy.named} passes WebSockets on"
                raise ServerRefused("what answers at the server's address has no p2pal mailbox", hint=hint) from error
            self._trouble = Trouble(_REFUSED.get(error.status, f"it has a problem (HTTP {error.status})"))
            self._asked = retry_after(error.headers or {})
            return False
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._trouble = trouble(error, self._address.proxy())
            return False
        if not self._address.proxy() and (peer := ws.get_extra_info("peername")):
            self.reached = str(peer[0])
        try:
            return await self._speak(ws)
        finally:
            # Saying goodbye takes a second where nobody answers; the next socket need not wait for it.
            leaving = asyncio.create_task(ws.close())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def _speak(self, ws: aiohttp.ClientWebSocketResponse) -> bool:
        now = asyncio.get_running_loop().time
        welcomed = False
        writer: asyncio.Task[None] | None = None
        self._trouble = LOST
        try:
            async with asyncio.timeout(_CONNECT) as limit:
                self._turn += 1
                hello = wire.ClientHello(self._token, self._delivery.connected(), self._turn)
                await ws.send_str(wire.encoder.encode(hello).decode())
                while (received := await ws.receive()).type not in _ENDS:
                    self._delivery.handle(_decode(received))
                    if not welcomed:
                        welcomed = True
                        limit.reschedule(None)
                        writer = asyncio.create_task(self._write(ws))
                        self._tell_online()
                    await self._tell_events()
                    if self._delivery.over:
                        limit.reschedule(now() + _FLUSH)  # the close says why
        except TimeoutError:
            self._trouble = NO_ANSWER
            return welcomed
        except (aiohttp.ClientError, ConnectionError):
            return welcomed
        finally:
            if writer is not None:
                writer.cancel()
                await asyncio.wait((writer,))
        # Not the socket's own close_code: that is 1006 if the server is gone before it has our answer to its close.
        _raise_for_close(received.data if received.type is aiohttp.WSMsgType.CLOSE else ws.close_code)
        return welcomed

    def _tell_waiting(self) -> None:
        """The outage lasts: whoever waits hears for how long it still may."""
        if self._waiting is not None and not self._closing:
            self._told_waiting = True
            self._waiting(math.inf if self._patience is None else max(0.0, self._patience - TOLD_AFTER))

    def _stop_telling(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None

    def _tell_online(self) -> None:
        self._offline_since = None
        self._stop_telling()
        if self._told_waiting and self._waiting is not None:
            self._told_waiting = False
            self._waiting(0.0)
        if self._told_offline:
            self._told_offline = False
            self._untold.append(ServerOnline())

    async def _tell_events(self) -> None:
        self._wake.set()
        if self._delivery.settled:
            self._settled.set()
        self._untold += self._delivery.events()
        while self._untold:
            await self._put(self._untold[0])  # renewing may end this here: what is not put yet is told later
            self._untold.popleft()

    async def _write(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):  # the reader sees the end too
            while True:
                self._wake.clear()
                for message in self._delivery.outputs():
                    await ws.send_str(wire.encoder.encode(message).decode())
                await self._wake.wait()

    # Events.

    async def _put(self, event: MailboxEvent) -> None:
        if not self._closing:
            await self._events.put(event)

    def _drop_events(self) -> None:
        """A closing owner takes no more events; make room so that the socket is read on."""
        while not self._events.empty():
            self._events.get_nowait()

    def _end_events(self) -> None:
        """Wake whoever waits in :meth:`get`; events not taken yet stay in front."""
        with contextlib.suppress(asyncio.QueueFull):
            self._events.put_nowait(None)


def _decode(received: aiohttp.WSMessage) -> wire.ServerMessage:
    if received.type is aiohttp.WSMsgType.TEXT:
        with contextlib.suppress(msgspec.MsgspecError, RecursionError):
            return wire.server_decoder.decode(received.data)
    elif received.type is aiohttp.WSMsgType.ERROR and not isinstance(received.data, aiohttp.WebSocketError):
        raise ConnectionError
    raise bad_message()


_FINAL: Final[dict[int, tuple[type[P2palError], str]]] = {
    CloseCode.UNAUTHORISED: (CodeUnknown, "the signaling server does not know this transfer any more"),
    CloseCode.EXPIRED: (CodeExpired, "the code has expired"),
    CloseCode.REPLACED: (ServerRefused, "this transfer's mailbox was opened a second time"),
    CloseCode.PROTOCOL: (ServerRefused, "the signaling server does not understand this p2pal"),
    CloseCode.TOO_LARGE: (ServerRefused, "a message is too large for the signaling server"),
    aiohttp.WSCloseCode.MESSAGE_TOO_BIG: (ServerRefused, "a message is too large for the signaling server"),
}


def _raise_for_close(code: int | None) -> None:
    """Raise for a close after which coming back is no use."""
    if code in _FINAL:
        kind, message = _FINAL[code]
        raise kind(message)
