"""One live peer: drains the machines, carries out what they ask, arms their timers.

A :class:`Peer` starts from an :class:`~p2pal.peer.meeting.Introduction` and gives its owner an ordered stream of
payloads in both directions over whatever lanes there are. All state changes happen on the event loop's thread: a
lane's message, a mailbox message or a timer goes into a machine, and one flush at the end of the loop's turn takes
out everything that followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from p2pal.errors import Interrupted, first_error
from p2pal.lanes.destinations import zone_reached
from p2pal.lanes.networks import NetworkWatch
from p2pal.link.deadlines import earliest
from p2pal.link.negotiator import Negotiator
from p2pal.link.steps import GaveUp, Judge, LinkUp
from p2pal.peer.alarm import Alarm
from p2pal.peer.config import PeerConfig, PeerOwner
from p2pal.peer.correspondence import Correspondence
from p2pal.peer.farewell import CLOSE_GRACE, farewell
from p2pal.peer.lanes import Lanes
from p2pal.peer.meeting import Introduction
from p2pal.peer.outage import Outages
from p2pal.peer.signaling import Meet, Signaling
from p2pal.session.core import Session
from p2pal.session.events import Closed, Delivered, LaneAlive, LaneSilent
from p2pal.wire.frames import DATA_HEADER
from p2pal.wire.signal import Bye, Hello, SignalMessage

if TYPE_CHECKING:
    from p2pal.lanes.webrtc import WebRtcConnection

__all__ = ["Peer", "PeerConfig"]

WINDOW: Final = 16 << 20
"""Bytes of delivered but unconsumed payloads that we allow: what a slow disk may cost in memory."""

LAST_WORD: Final = 60.0
"""Seconds that the other side gets to take what we sent last, while we wait for its farewell."""

LINGER: Final = 0.03
"""Seconds in which the last frame leaves the engine."""


def jitter() -> float:
    """A factor around 1: two sides that failed together do not retry together."""
    return random.uniform(0.8, 1.2)  # noqa: S311 - not a secret


class Peer:
    """An ordered, encrypted stream of payloads to and from the other process.

    Use as ``await peer.run()`` in a task of its own; :meth:`close` makes it return. Raises from ``run``:
    ConnectionImpossible or PeerLost when the link cannot be had (back), ProtocolError when the other side breaks the
    rules, and whatever the mailbox raises while it is still needed.
    """

    def __init__(self, introduction: Introduction, config: PeerConfig, owner: PeerOwner, meet: Meet) -> None:
        self._master = introduction.secret.master()
        self._config = config
        self._max_frame = config.max_payload + DATA_HEADER
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._negotiator = Negotiator(
            leader=config.sender,
            max_retries=config.max_retries,
            backoff=config.retry_backoff,
            jitter=jitter,
            wait=config.wait,
            improve=config.improves,
        )
        reached = zone_reached(introduction.mailbox.reached)
        self.lanes = Lanes(self._master, config, self._negotiator, self, server=reached)
        self._correspondence = Correspondence(self, config, owner, self._negotiator, self.lanes)
        self._signaling = Signaling(introduction, self._master, meet, self._correspondence, sender=config.sender)
        self._session: Session | None = None
        self._outages = Outages(owner)
        self._alarm = Alarm(self._on_timer)
        self._flush_scheduled = False
        self._drained, self._session_over = asyncio.Event(), asyncio.Event()
        self._given = 0  # payload bytes
        self._arrived = 0  # of those, known to be at the other side
        self._closing = False
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._tasks: asyncio.TaskGroup | None = None
        self._working: set[asyncio.Task[None]] = set()

    # What the owner calls

    @property
    def writable(self) -> bool:
        """Whether another payload should be given now."""
        session = self._session
        return session is not None and session.writable and not self._closing

    @property
    def unacked_bytes(self) -> int:
        """Payload bytes that were given but not acknowledged yet."""
        return 0 if self._session is None else self._session.unacked_bytes

    @property
    def linked(self) -> bool:
        """Whether a lane is open now."""
        return self.lanes.linked

    @property
    def alive(self) -> bool:
        """Whether a lane is open, and heard: the server is not needed then."""
        return self.lanes.alive

    def probe(self) -> None:
        """Ask the other side, over every lane, whether it lives."""
        if self._session is not None:
            self._session.probe(monotonic())
            self.wake()

    @property
    def ending(self) -> bool:
        """Whether the end has begun, here or there."""
        return self._closing or self._ended.done()

    @property
    def stood(self) -> bool:
        """Whether the link ever stood. From then on the peer meets the other side again by itself."""
        return self.lanes.stood

    @property
    def transcript(self) -> bytes:
        """The session's public name, 32 bytes, which proofs are bound to."""
        return self._master.transcript()

    def resume_key(self) -> bytes:
        """Return the 32 bytes that both sides keep to prove later that they began this transfer together."""
        return self._master.resume_key()

    @property
    def path(self) -> str:
        """The path in use, or an empty string before the first."""
        return self.lanes.path

    def send(self, payload: list[bytes | memoryview]) -> None:
        """Send one payload, given as buffers to be joined. Call only while :attr:`writable`."""
        session = self._session
        if session is None or self._closing:
            raise RuntimeError("the session is not open")
        session.send(payload, monotonic())
        self._given += sum(map(len, payload))
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
        if session is not None and self.linked and not self._closing:
            self._check_drained(session)
            await self._wait(self._drained, CLOSE_GRACE)
        if self._closing:
            return
        self._closing = True
        if session is not None and not session.closed and self.linked:
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
        if error is None:
            if not self._ended.done() and not self._session_over.is_set():
                self._mail(Bye(Interrupted.code))
            self._end()
        else:
            self._fail(error)

    def _check_drained(self, session: Session) -> None:
        if session.drained or session.closed:
            self._drained.set()
        else:
            self._drained.clear()

    def _end(self) -> None:
        """Close every lane and let :meth:`run` return."""
        self._closing = True
        self._drained.set()
        self._session_over.set()
        self._negotiator.stop()
        self.lanes.close()
        if not self._ended.done():
            self._ended.set_result(None)

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()

    # The life of the peer

    async def run(self) -> None:
        """Connect, carry payloads, reconnect; return after :meth:`close` or the other side's CLOSE.

        Raises:
            P2palError: As the class says; never a group of errors.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._mail(Hello(max_frame=self._max_frame, window=WINDOW, relay=self._config.relay.value))
                self._negotiator.start(monotonic())
                for work in self._works():
                    self._spawn_work(work)
                self.wake()
                try:
                    await self._ended
                except BaseException as error:
                    # The other side need not wait for a lane that will not come back.
                    self._mail(Bye(farewell(error)))
                    raise
                finally:
                    self._closing = True
                    for task in tuple(self._working):
                        task.cancel()
        except BaseException as raised:  # noqa: BLE001 - it is raised again, out of its group
            raise (first_error(raised) if isinstance(raised, BaseExceptionGroup) else raised) from None
        finally:
            await self._tear_down()

    def _works(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What goes on all the time."""
        works = [self._signaling.run(), self.lanes.carry_out()]
        if self._config.improves and not self._config.only_loopback:
            works.append(NetworkWatch(self.networks_changed).run())
        return works

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

    def _spawn_work(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside that need not come to its end."""
        task = self._spawn(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _tear_down(self) -> None:
        self._closing = True
        self._drained.set()
        self._session_over.set()
        self._alarm.stop()
        self.lanes.tear_down()
        await self.lanes.tunnels.close()

    def _fail(self, error: BaseException) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    # The mailbox, and what the correspondence makes of it

    def _mail(self, message: SignalMessage) -> None:
        self._signaling.send(message)

    def greeted(self, hello: Hello) -> None:
        """The other side said what the session may carry: it begins."""
        self._session = self.lanes.session = Session(
            max_frame=self._max_frame,
            window=WINDOW,
            peer_max_frame=hello.max_frame,
            peer_window=hello.window,
            now=monotonic(),
        )

    async def ice_known(self) -> None:
        """Wait a moment for what the server offers now, if that is of interest."""
        if self._config.choose_ice is not None:
            await self._signaling.ice_known()

    def other_left(self, code: int, reason: str) -> None:
        """The other side ended the session."""
        self._closing = True
        self._owner.peer_closed(code, reason)
        if self._tasks is not None:
            self._tasks.create_task(self._linger())

    async def _linger(self) -> None:
        """Let our answer to the farewell get out; the other side ends the lane when it has it."""
        await self._wait(self.lanes.gone, LINGER)
        self._end()

    # What the lanes report

    def lane_lost(self, generation: int) -> None:
        """A connection is over, with its lane if that was open."""
        if self._closing:
            return
        self._note_progress()
        self._negotiator.handle_lane_closed(generation, monotonic())
        if self.stood and not self.linked:
            self._signaling.hurry()

    def networks_changed(self) -> None:
        """This machine came into another network, or one more."""
        self._negotiator.handle_networks(monotonic())
        self.wake()

    def path_changed(self, connection: WebRtcConnection) -> None:
        """Another path is in use: find out which."""
        if self._tasks is not None and not self.ending:
            self._spawn(self.lanes.look_at_path(connection))

    def path_found(self, path: str) -> None:
        """It is this one."""
        if not self._closing:
            self._owner.peer_path(path)

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
        self.lanes.gathered()
        try:
            session = self._session
            if session is not None:
                self._hear(session)
            self._note_progress()
            self._flush_link()
            self._flush_scheduled = False  # what happens from here on is for another flush
            if session is not None:
                self.lanes.drain(session)
                self._check_drained(session)
        except Exception as error:  # noqa: BLE001 - a callback has no caller: the owner of run() hears of it
            self._fail(error)
            return
        self._arm()

    def _flush_link(self) -> None:
        for message in self._negotiator.messages():
            self._mail(message)
        for action in self._negotiator.actions():
            if not isinstance(action, Judge):
                self.lanes.do(action)
            elif self._tasks is not None and not self._closing:
                self._spawn_work(self.lanes.judge(action))
        for event in self._negotiator.events():
            if isinstance(event, GaveUp):
                self._correspondence.link_given_up(event)
            else:
                self._outages.tell(event)
            if isinstance(event, LinkUp) and (used := self.lanes.connections.get(event.generation)) is not None:
                self.path_changed(used)

    def _hear(self, session: Session) -> None:
        """Tell the owner what happened; it answers by :meth:`send` and :meth:`consumed`."""
        for event in session.events():
            if isinstance(event, Delivered):
                self._negotiator.handle_progress()
                self._owner.peer_payload(event.payload)
            elif isinstance(event, Closed):
                self._session_over.set()
                if event.by_peer:
                    self.other_left(event.code, event.reason)
            elif isinstance(event, LaneAlive):
                if (generation := self.lanes.is_heard(event.lane_id)) is not None:
                    self._negotiator.handle_alive(monotonic(), generation)
            elif isinstance(event, LaneSilent):
                self._on_silence(event)
        self._owner.peer_turn()

    def _on_silence(self, event: LaneSilent) -> None:
        generation = self.lanes.fell_silent(event.lane_id)
        if generation is None:
            return
        self._negotiator.handle_silence(monotonic(), generation)
        if generation == self._negotiator.in_use:  # nothing else could take its place
            self._outages.silent(event.seconds)
            self._signaling.hurry()

    def _note_progress(self) -> None:
        """What arrives, in either direction, makes earlier failures of the link no longer count."""
        arrived = self._given - self.unacked_bytes
        if arrived > self._arrived:
            self._arrived = arrived
            self._negotiator.handle_progress()

    def _arm(self) -> None:
        session = None if self._session is None else self._session.next_timeout()
        self._alarm.set(earliest(self._negotiator.next_timeout(), session))

    def _on_timer(self, *, slept: bool) -> None:
        now = monotonic()
        if slept:
            self._on_woken(now)
        self._negotiator.handle_timeout(now)
        if self._session is not None:
            self._session.handle_timeout(now)
        self._flush()

    def _on_woken(self, now: float) -> None:
        """We stood still for a while. What came meanwhile is read in a moment; then nothing may be as it was."""
        if self._session is not None:
            self._session.probe(now)
        if self.stood:
            self._signaling.hurry()
