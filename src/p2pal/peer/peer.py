"""One live peer: an ordered stream of payloads, over whatever lanes there are, until either side ends it.

A :class:`Peer` starts from an :class:`~p2pal.peer.key_exchange.Introduction`. It owns the session and two shells:
:class:`~p2pal.peer.signaling.Signaling` for the mailbox, and :class:`~p2pal.peer.driver.LinkDriver` for the link. All
state changes happen on the event loop's thread: what comes by a lane, by the mailbox or with time goes into a machine,
and one flush at the end of the loop's turn takes out everything that followed.

The link may be lost on purpose or by accident, and a lane that ends does not say which: so both a farewell by the
mailbox and the end of the link's patience wait a moment for whatever says more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Final

from p2pal.errors import Interrupted, PeerLost, ProtocolError, first_error
from p2pal.lanes.ice_servers import RelayUse
from p2pal.link.actions import GaveUp
from p2pal.peer.config import PeerConfig, PeerOwner
from p2pal.peer.driver import LinkDriver
from p2pal.peer.events import (
    ClosedByPeer,
    HomeLeft,
    LinkEvent,
    LinkFailed,
    LinkLost,
    LinkSilent,
    MailboxFree,
    MailboxLost,
    Online,
    PathFound,
    PeerEvent,
    Said,
    SignalingEvent,
    SignalingFailed,
)
from p2pal.peer.farewell import CLOSE_GRACE, FORGOTTEN, LEFT, check_lanes, check_relays, farewell, gave_up, understood
from p2pal.peer.key_exchange import Introduction
from p2pal.peer.outage import Outages
from p2pal.peer.signaling import Meet, Signaling
from p2pal.peer.timer import Alarm
from p2pal.session.core import Session
from p2pal.session.events import Delivered, LaneAlive, LaneSilent, SessionClosed
from p2pal.wire.frames import DATA_HEADER
from p2pal.wire.signal import Bye, Fresh, Hello, SignalMessage

__all__ = ["Peer", "PeerConfig"]

WINDOW: Final = 32 << 20
"""Bytes of delivered but unconsumed payloads that we allow: what a slow disk may cost in memory.

1 Gbit/s over a round trip of 200 ms needs 25 MB. The other side has its own, and may say less.
"""

LAST_WORD: Final = 60.0
"""Seconds that the other side gets to take what we sent last, while we wait for its farewell."""

LINGER: Final = 0.03
"""Seconds in which the last frame leaves the engine."""

FAREWELL_GRACE: Final = 3.0
"""Seconds that a farewell by the mailbox may come after the lane is gone: the other side takes up to two to stop."""

FIRST_GRACE: Final = 0.5
"""The same before the first lane: the other side says at once that it gives up, and the user waits for the answer."""


class Peer:
    """An ordered, encrypted stream of payloads to and from the other process.

    Use as ``await peer.run()`` in a task of its own; :meth:`close` makes it return. Raises from ``run``:
    ConnectionImpossible or PeerLost when the link cannot be had (back), ProtocolError when the other side breaks the
    rules, and whatever the mailbox raises while it is still needed.

    Attributes:
        link: Its state may be asked; what happens to it is the peer's business.
    """

    def __init__(self, introduction: Introduction, config: PeerConfig, owner: PeerOwner, meet: Meet) -> None:
        self._master = introduction.secret.master()
        self._config = config
        self._max_frame = config.max_payload + DATA_HEADER
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self.link = LinkDriver(self._master, config, mail=self._mail, wake=self.wake, learn=self._learn_servers)
        self._signaling = Signaling(
            introduction,
            self._master,
            meet,
            lanes=self.link.lanes,
            probe=self.link.probe,
            offered=config.servers.offered,
            wake=self.wake,
            sender=config.sender,
        )
        self._session: Session | None = None
        self._outages = Outages()
        self._told: list[PeerEvent] = []  # what the owner hears with the next turn
        self._alarm = Alarm(self._on_timer)
        self._flush_scheduled = False
        self._drained, self._session_over = asyncio.Event(), asyncio.Event()
        self._closing = False
        self._peer_online = True
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._tasks: asyncio.TaskGroup | None = None

    # What the owner calls

    @property
    def writable(self) -> bool:
        """Whether another payload should be given now."""
        session = self._session
        return session is not None and session.writable and not self._closing

    @property
    def payload_limit(self) -> int:
        """Bytes of the largest payload that should be given now, which is what suits the lane in use."""
        return self._config.payload_limit(large=self.link.likes_large)

    @property
    def unacked_bytes(self) -> int:
        """Payload bytes that were given but not acknowledged yet."""
        return 0 if self._session is None else self._session.unacked_bytes

    @property
    def transcript(self) -> bytes:
        """The session's public name, 32 bytes, which proofs are bound to."""
        return self._master.transcript()

    def resume_key(self) -> bytes:
        """Return the 32 bytes that both sides keep to prove later that they began this transfer together."""
        return self._master.resume_key()

    def send(self, payload: list[bytes | memoryview]) -> None:
        """Send one payload, given as buffers to be joined. Call only while :attr:`writable`."""
        session = self._session
        if session is None or self._closing:
            raise RuntimeError("the session is not open")
        session.send(payload, monotonic())
        self.wake()

    def consumed(self, count: int) -> None:
        """The owner is done with the ``count`` oldest payloads; as many more may come."""
        if self._session is not None and count:
            self._session.consumed(count, monotonic())
            self.wake()

    async def close(self, code: int = 0, reason: str = "done") -> None:
        """Let what was sent arrive, say farewell, and end :meth:`run`.

        Takes at most twice :data:`CLOSE_GRACE` seconds.

        Args:
            code: 0 when all is well.
            reason: A short word for the other side's log.
        """
        session = self._session
        if session is not None and self.link.linked and not self._closing:
            self._check_drained(session)
            await self._wait(self._drained, CLOSE_GRACE)
        if self._closing:
            return
        self._begin_closing()
        if session is not None and not session.closed and self.link.linked:
            session.close(code, reason, monotonic())
            self._flush()
            await self._wait(self._session_over, CLOSE_GRACE)
        if code or not self._session_over.is_set():
            # What the lane could not carry the mailbox may.
            self._mail(Bye(reason[:40]))
        self._end()

    async def wait_closed(self, seconds: float) -> None:
        """Wait until the other side ended the session, at most so long after everything that we sent has arrived.

        That, in turn, may take :data:`LAST_WORD`.
        """
        session = self._session
        if session is not None and not self._closing:
            self._check_drained(session)
            await self._wait(self._drained, LAST_WORD)
        await self._wait(self._session_over, seconds)

    def abandon(self, error: BaseException | None = None) -> None:
        """End :meth:`run` now, with this error if there is one. After the end it changes nothing."""
        if error is not None:
            self._fail(error)
            return
        if not self._ended.done() and not self._session_over.is_set():
            self._mail(Bye(Interrupted.code))
        self._end()

    # The life of the peer

    async def run(self) -> None:
        """Connect, carry payloads, reconnect; return after :meth:`close` or the other side's CLOSE.

        Raises:
            P2palError: As the class says; never a group of errors.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                udp = await self.link.datagrams.prepare()
                config = self._config
                self._mail(Hello(self._max_frame, WINDOW, config.relay.value, config.lanes, udp))
                self.link.start()
                signaling = self._spawn(self._signaling.run())
                self.wake()
                try:
                    await self._ended
                except BaseException as error:
                    # The other side need not wait for a lane that will not come back.
                    self._mail(Bye(farewell(error)))
                    raise
                finally:
                    self._begin_closing()
                    signaling.cancel()
        except BaseException as raised:  # noqa: BLE001 - it is raised again, out of its group
            raise (first_error(raised) if isinstance(raised, BaseExceptionGroup) else raised) from None
        finally:
            self._begin_closing()
            self._drained.set()
            self._session_over.set()
            self._alarm.stop()
            await self.link.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside; what it raises ends :meth:`run`, after the farewell."""
        if self._tasks is None:
            raise RuntimeError("the peer does not run")

        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - run() raises it
                self._fail(error)

        return self._tasks.create_task(guarded())

    def _begin_closing(self) -> None:
        self._closing = True
        self.link.let_go()

    def _fail(self, error: BaseException) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    def _end(self) -> None:
        """Close every lane and let :meth:`run` return."""
        self._begin_closing()
        self._drained.set()
        self._session_over.set()
        self.link.stop()
        if not self._ended.done():
            self._ended.set_result(None)

    @property
    def _ending(self) -> bool:
        """Whether the end has begun, here or there."""
        return self._closing or self._ended.done()

    def _check_drained(self, session: Session) -> None:
        if session.drained or session.closed:
            self._drained.set()
        else:
            self._drained.clear()

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()

    # The mailbox

    def _mail(self, message: SignalMessage) -> None:
        self._signaling.send(message)

    async def _learn_servers(self) -> None:
        await self._signaling.ice_known()

    def _on_signaling(self, event: SignalingEvent) -> None:
        match event:
            case Said(message):
                self._on_message(message)
            case HomeLeft():
                if self._config.sender and not self._ending:
                    self._told.append(MailboxFree())
            case MailboxLost(released):
                # The farewell that the other side may have mailed before says more, and is dealt with in a moment.
                self._loop.call_later(CLOSE_GRACE, self._lose_mailbox, LEFT if released else FORGOTTEN)
            case SignalingFailed(error):
                self._fail(error)
            case Online():
                self._peer_online = event.there
                self.link.take(event)
            case _:
                self.link.take(event)

    def _on_message(self, message: SignalMessage) -> None:
        """Take what the other side says.

        Raises:
            ProtocolError: If that is not its to say, or not now.
            ConnectionImpossible: If both sides' wishes about relays leave no path.
        """
        if isinstance(message, Hello):
            self._on_hello(message)
        elif isinstance(message, Bye):
            # A farewell on the lane says more, and is on its way if there is a lane.
            self._loop.call_later(CLOSE_GRACE if self.link.linked else 0.0, self._on_bye, message)
        elif isinstance(message, Fresh):
            raise ProtocolError("the other side began twice")
        else:
            self.link.take(message)

    def _on_hello(self, hello: Hello) -> None:
        """The other side said what the session may carry: it begins."""
        if self._session is not None:
            raise ProtocolError("the other side said hello twice")
        theirs = RelayUse(hello.relay)
        check_relays(self._config.relay, theirs)
        # Who says nothing of its sockets has none, whatever it calls itself.
        check_lanes(self._config.lanes, [kind for kind in hello.lanes if kind != "udp" or hello.udp is not None])
        self._session = Session(
            max_frame=self._max_frame,
            usual_frame=self._config.payload_limit(large=False) + DATA_HEADER,
            window=WINDOW,
            peer_max_frame=hello.max_frame,
            peer_window=hello.window,
            now=monotonic(),
        )
        self.link.begin(self._session, hello)

    def _on_bye(self, bye: Bye) -> None:
        if self._ending:
            return
        error = understood(bye.code, self.link.impossible, stood=self.link.lanes.stood)
        if error is None:
            self._on_left(1, bye.code)
        else:
            self._fail(error)

    def _lose_mailbox(self, why: str) -> None:
        """Before the link stood, there is no other way."""
        if not self.link.lanes.stood and not self._ending:
            self._fail(PeerLost(why))

    # The other side's end

    def _on_left(self, code: int, reason: str) -> None:
        """The other side ended the session."""
        self._begin_closing()
        self._told.append(ClosedByPeer(code, reason))
        self.wake()
        if self._tasks is not None:
            self._tasks.create_task(self._linger())

    async def _linger(self) -> None:
        """Let our answer to the farewell get out; the other side ends the lane when it has it."""
        await self._wait(self.link.lanes.gone, LINGER)
        self._end()

    # The link

    def _on_link(self, event: LinkEvent) -> None:
        match event:
            case GaveUp():
                # It may have ended the lane on purpose: its farewell by the mailbox says so, and why.
                error = gave_up(event, self.link.impossible, peer_online=self._peer_online)
                grace = FAREWELL_GRACE if self.link.lanes.stood else FIRST_GRACE
                self._loop.call_later(grace, self._fail, error)
            case LinkFailed(error):
                self._fail(error)
            case LinkLost():
                self._signaling.hurry()
            case PathFound():
                self._told.append(event)
            case _:
                self._told += self._outages.told(event)
                if isinstance(event, LinkSilent):
                    self._signaling.hurry()

    # The flush: what the machines have to say, once for everything that came in about the same time

    def wake(self) -> None:
        """Something came in: let the flush see what follows, at the end of this turn of the loop."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._ended.done():
            return
        self._flush_scheduled = True
        try:
            for event in self._signaling.events():
                self._on_signaling(event)
            session = self._session
            if session is not None:
                self._hear(session)
            for happened in self.link.flush():
                self._on_link(happened)
            told, self._told = self._told, []
            self._owner.peer_turn(told)
            self._flush_scheduled = False  # what happens from here on is for another flush
            self.link.drain()
            if session is not None:
                self._check_drained(session)
        except Exception as error:  # noqa: BLE001 - a callback has no caller: the owner of run() hears of it
            self._fail(error)
            return
        self._alarm.set(self.link.next_timeout())

    def _hear(self, session: Session) -> None:
        """Give the owner what arrived; it answers by :meth:`send` and :meth:`consumed`."""
        for event in session.events():
            if isinstance(event, Delivered):
                self._owner.peer_payload(event.payload)
            elif isinstance(event, SessionClosed):
                self._session_over.set()
                if event.by_peer:
                    self._on_left(event.code, event.reason)
            elif isinstance(event, LaneAlive):
                self.link.lane_alive(event.lane_id)
            elif isinstance(event, LaneSilent):
                self.link.lane_silent(event.lane_id, event.seconds)

    def _on_timer(self, *, slept: bool) -> None:
        now = monotonic()
        if slept:
            # We stood still for a while. What came meanwhile is read in a moment; then nothing may be as it was.
            self.link.probe()
            if self.link.lanes.stood:
                self._signaling.hurry()
        self.link.handle_timeout(now)
        self._flush()
