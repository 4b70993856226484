"""One live peer: drains the machines, carries out what they ask, arms their timers.

A :class:`Peer` starts from an :class:`~p2pal.peer.meeting.Introduction` and gives its owner an ordered stream of
payloads in both directions over whatever lanes there are. All state changes happen on the event loop's thread: a
lane's message, a mailbox message or a timer goes into a machine, and one flush at the end of the loop's turn takes
out everything that followed.

Time is ``time.monotonic``, not the loop's: a loop's clock may count whole milliseconds and stand still within a turn
(uvloop's does), and the congestion controller steers by less than that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from p2pal.crypto.keys import Direction
from p2pal.crypto.seal import LaneExhausted, LaneOpener, LaneSealer
from p2pal.errors import (
    ConnectionImpossible,
    Interrupted,
    P2palError,
    PeerError,
    PeerLost,
    ProtocolError,
    first_error,
)
from p2pal.lanes.base import Lane
from p2pal.link.negotiator import Negotiator
from p2pal.link.steps import (
    Action,
    CreateAnswer,
    CreateOffer,
    DropConnection,
    GaveUp,
    LinkUp,
    Retrying,
    TakeAnswer,
    TakeCandidate,
    WaitingFor,
)
from p2pal.peer.config import PeerConfig, PeerOwner
from p2pal.peer.meeting import Introduction
from p2pal.peer.signaling import Meet, Signaling
from p2pal.session.core import Session
from p2pal.session.events import Closed, Delivered, LaneAlive, LaneSilent
from p2pal.wire.frames import DATA_HEADER
from p2pal.wire.rendezvous import IceServer
from p2pal.wire.signal import Bye, Fresh, Hello, SignalMessage

if TYPE_CHECKING:
    from p2pal.lanes.webrtc import WebRtcConnection

__all__ = ["Peer", "PeerConfig"]

WINDOW: Final = 16 << 20
"""Bytes of delivered but unconsumed payloads that we allow: what a slow disk may cost in memory."""

SLEPT: Final = 3.0
"""Seconds that a timer may be late. Later means that the process or the machine stood still, and the network may be
another one now."""

CLOSE_GRACE: Final = 1.0
"""Seconds that a farewell may take, from our CLOSE to the other side's answer."""

LAST_WORD: Final = 60.0
"""Seconds that the other side gets to take what we sent last, while we wait for its farewell."""

SETTLE: Final = 0.3
"""Seconds in which the peer's candidates catch up with its first connectivity check."""

LINGER: Final = 0.03
"""Seconds in which the last frame leaves the engine."""

GATHER_BYTES: Final = 480 << 10
GATHER_SECONDS: Final = 0.001
"""Large messages are dealt with together until so many bytes came, or for so long; small ones, such as ACK, at once.

The engine hands over what has come in a turn of the loop, often a single message: waking the disk's thread for each
costs more than the rest.
"""
LARGE: Final = 4096

_LANE_NONCE: Final = 16
_FORGOTTEN: Final = "the signaling server lost this transfer before the connection stood"
_LEFT: Final = "the other side left before the connection stood"


class _LiveLane:
    """A lane with its keys. The opener exists once the peer's opening bytes arrived."""

    __slots__ = ("lane", "opener", "sealer")

    def __init__(self, lane: Lane, sealer: LaneSealer) -> None:
        self.lane = lane
        self.sealer = sealer
        self.opener: LaneOpener | None = None


def _farewell(error: BaseException) -> str:
    """The word for the other side when an error ends this one."""
    if isinstance(error, asyncio.CancelledError):
        return Interrupted.code
    return error.code if isinstance(error, P2palError) else PeerLost.code


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
        self._signaling = Signaling(introduction, self._master, meet, self, sender=config.sender)
        self._config = config
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._outward = Direction.TO_RECEIVER if config.sender else Direction.TO_SENDER
        self._inward = Direction.TO_SENDER if config.sender else Direction.TO_RECEIVER
        self._negotiator = Negotiator(
            leader=config.sender,
            max_retries=config.max_retries,
            backoff=config.retry_backoff,
            jitter=jitter,
            wait=config.wait,
        )
        self._session: Session | None = None
        self._ice_servers = config.ice_servers
        self._connections: dict[int, WebRtcConnection] = {}
        self._lanes: dict[int, _LiveLane] = {}
        self._silent: set[int] = set()  # lanes
        self._told_silent = False
        self._actions: asyncio.Queue[Action] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._slept = _slept()
        self._flush_scheduled = False
        self._gathered = 0
        self._gathering: asyncio.TimerHandle | None = None
        self._no_lanes = asyncio.Event()
        self._session_over = asyncio.Event()
        self._drained = asyncio.Event()
        self._peer_online = True
        self._stood = self._linked_before = False
        self._in_trouble = False
        self._heard_at = 0.0
        self._given = 0  # payload bytes
        self._arrived = 0  # of those, known to be at the other side
        self._closing = False
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._tasks: asyncio.TaskGroup | None = None
        self._path = ""

    # What the owner calls

    @property
    def writable(self) -> bool:
        """Whether another payload should be given now."""
        session = self._session
        return session is not None and session.writable and not self._closing

    @property
    def max_payload(self) -> int:
        """Bytes of the largest payload, once both sides said what they take; before that our own wish."""
        return self._config.max_payload if self._session is None else self._session.max_payload

    @property
    def unacked_bytes(self) -> int:
        """Payload bytes that were given but not acknowledged yet."""
        return 0 if self._session is None else self._session.unacked_bytes

    @property
    def linked(self) -> bool:
        """Whether a lane is open now."""
        return bool(self._lanes)

    @property
    def alive(self) -> bool:
        """Whether a lane is open, and heard: the server is not needed then."""
        return len(self._lanes) > len(self._silent)

    @property
    def heard_at(self) -> float:
        """When a lane last brought anything, in seconds."""
        return self._heard_at

    def probe(self) -> None:
        """Ask the other side, over every lane, whether it lives."""
        if self._session is not None:
            self._session.probe(monotonic())
            self._wake()

    @property
    def stood(self) -> bool:
        """Whether the link ever stood. From then on the peer meets the other side again by itself."""
        return self._stood

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
        return self._path

    def send(self, payload: list[bytes | memoryview]) -> None:
        """Send one payload, given as buffers to be joined. Call only while :attr:`writable`."""
        session = self._session
        if session is None or self._closing:
            raise RuntimeError("the session is not open")
        session.send(payload, monotonic())
        self._given += sum(map(len, payload))
        self._wake()

    def consumed(self, count: int) -> None:
        """The owner is done with the ``count`` oldest payloads; as many more may come."""
        if self._session is not None and count:
            self._session.consumed(count, monotonic())
            self._wake()

    async def close(self, code: int = 0, reason: str = "done") -> None:
        """Let what was sent arrive, say farewell, and end :meth:`run`.

        Takes at most twice :data:`CLOSE_GRACE` seconds.

        Args:
            code: 0 when all is well.
            reason: A short word for the other side's log.
        """
        session = self._session
        if session is not None and self._lanes and not self._closing:
            self._check_drained(session)
            await self._wait(self._drained, CLOSE_GRACE)
        if self._closing:
            return
        self._closing = True
        if session is not None and not session.closed and self._lanes:
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
        for connection in list(self._connections.values()):
            connection.close()
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
                self._mail(Hello(max_frame=self._max_frame, window=WINDOW))
                self._negotiator.start(monotonic())
                work = [self._spawn(self._signaling.run()), self._spawn(self._carry_out())]
                self._wake()
                try:
                    await self._ended
                except BaseException as error:
                    # The other side need not wait for a lane that will not come back.
                    self._mail(Bye(_farewell(error)))
                    raise
                finally:
                    self._closing = True
                    for task in work:
                        task.cancel()
        except BaseException as raised:  # noqa: BLE001 - it is raised again, out of its group
            raise (first_error(raised) if isinstance(raised, BaseExceptionGroup) else raised) from None
        finally:
            self._tear_down()

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

    @property
    def _max_frame(self) -> int:
        return self._config.max_payload + DATA_HEADER

    def _tear_down(self) -> None:
        self._closing = True
        for awaited in (self._drained, self._session_over, self._no_lanes):
            awaited.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        for connection in list(self._connections.values()):
            connection.close()
        self._connections.clear()
        self._lanes.clear()

    def _fail(self, error: BaseException) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    # The mailbox

    def _mail(self, message: SignalMessage) -> None:
        self._signaling.send(message)

    def signal_message(self, message: SignalMessage) -> None:
        """The other side said something through the mailbox."""
        now = monotonic()
        if isinstance(message, Hello):
            if self._session is not None:
                raise ProtocolError("the other side said hello twice")
            self._session = Session(
                max_frame=self._max_frame,
                window=WINDOW,
                peer_max_frame=message.max_frame,
                peer_window=message.window,
                now=now,
            )
        elif isinstance(message, Bye):
            # A farewell on the lane says more, and is on its way if there is a lane.
            self._loop.call_later(CLOSE_GRACE if self._lanes else 0.0, self._handle_bye, message)
        elif self._session is None or isinstance(message, Fresh):
            raise ProtocolError("the other side began to connect before it said hello")
        else:
            self._negotiator.handle_message(message, now)
        self._wake()

    def signal_online(self, here: bool, there: bool) -> None:
        """Who reaches the server."""
        self._peer_online = there
        self._negotiator.handle_online(here, there, monotonic())
        self._wake()

    def signal_moved(self) -> None:
        """Both sides met at another place."""
        self._negotiator.handle_moved(monotonic())
        self._wake()

    def signal_ice(self, servers: Sequence[IceServer]) -> None:
        """The generations from now on use what the server offers now."""
        if servers and self._config.choose_ice is not None:
            self._ice_servers = self._config.choose_ice(servers)

    def signal_left(self) -> None:
        """The code's mailbox is free."""
        if self._config.sender and not self._closing:
            self._owner.peer_moved()

    def signal_lost(self, *, released: bool) -> None:
        """Before the link stood, there is no other way."""
        if released:
            # The farewell that the other side may have mailed before says more.
            self._loop.call_later(CLOSE_GRACE, self._lose_mailbox, _LEFT)
        else:
            self._lose_mailbox(_FORGOTTEN)

    def signal_failed(self, error: Exception) -> None:
        """The other side broke the protocol."""
        self._fail(error)

    def _lose_mailbox(self, why: str) -> None:
        if not self._stood and not self._lanes and not self._closing:
            self._fail(PeerLost(why))

    def _handle_bye(self, bye: Bye) -> None:
        if self._closing or self._ended.done():
            return
        if bye.code == ConnectionImpossible.code:
            self._fail(ConnectionImpossible("no network path to the other side was found"))
        elif bye.code == PeerLost.code:
            self._fail(PeerLost("the connection to the other side was lost"))
        else:
            self._peer_left(1, bye.code)

    # The negotiator's actions: one at a time, in order

    async def _carry_out(self) -> None:
        from p2pal.lanes.webrtc import WebRtcConnection

        while True:
            action = await self._actions.get()
            if isinstance(action, (CreateOffer, CreateAnswer)):
                connection = WebRtcConnection(
                    action.lane,
                    action.generation,
                    self,
                    self._ice_servers,
                    only_loopback=self._config.only_loopback,
                )
                self._connections[action.generation] = connection
                if isinstance(action, CreateOffer):
                    sdp = await connection.offer()
                    self._negotiator.handle_local_offer(action.generation, sdp, monotonic())
                else:
                    sdp = await connection.answer(action.sdp)
                    self._negotiator.handle_local_answer(action.generation, sdp, monotonic())
            elif (found := self._connections.get(action.generation)) is None:
                continue
            elif isinstance(action, TakeAnswer):
                await found.accept(action.sdp)
            elif isinstance(action, TakeCandidate):
                await found.add_candidate(action.candidate, action.mid, action.mline)
            elif isinstance(action, DropConnection):
                found.close()
            self._wake()

    # What lanes report

    def lane_opened(self, lane: Lane) -> None:
        """A lane is open: send our opening bytes and hand the lane to the session."""
        generation = self._generation_of(lane)
        if generation is None or self._session is None:
            return
        now = monotonic()
        self._negotiator.handle_lane_open(generation, now)
        if self._negotiator.in_use != generation:
            return  # it was dropped just now; the engine hears of it in a moment
        self._stood = True
        self._no_lanes.clear()
        nonce = os.urandom(_LANE_NONCE)
        self._lanes[lane.id] = _LiveLane(lane, LaneSealer(self._master.lane_key(lane.id, self._outward, nonce)))
        lane.send(nonce)
        self._session.lane_up(lane.id, now)
        self._wake()

    def lane_message(self, lane: Lane, data: bytes) -> None:
        """A message arrived: the peer's opening bytes, then sealed frames."""
        live = self._lanes.get(lane.id)
        session = self._session
        if live is None or session is None:
            return
        try:
            if live.opener is None:
                if len(data) != _LANE_NONCE:
                    raise ProtocolError("the other side opened a lane the wrong way")
                live.opener = LaneOpener(self._master.lane_key(lane.id, self._inward, data))
                return
            frame = live.opener.open(data)
        except ProtocolError:
            # Whoever broke this lane does not have the keys: the lane ends, the session goes on.
            lane.close()
            return
        self._heard_at = now = monotonic()
        try:
            session.handle_frame(lane.id, frame, now)
        except ProtocolError as error:
            self._fail(error)
            return
        self._gathered += len(data)
        if len(data) < LARGE or self._gathered >= GATHER_BYTES:
            self._wake()
        elif self._gathering is None and not self._flush_scheduled:
            self._gathering = self._loop.call_later(GATHER_SECONDS, self._wake)

    def lane_writable(self, lane: Lane) -> None:  # noqa: ARG002 - the flush asks every lane
        """A lane's buffer drained."""
        self._wake()

    def lane_closed(self, lane: Lane, reason: str) -> None:  # noqa: ARG002
        """A lane is over: its frames travel again on the next one."""
        generation = self._generation_of(lane)
        now = monotonic()
        if self._lanes.pop(lane.id, None) is not None and self._session is not None:
            self._session.lane_down(lane.id, now)
        self._silent.discard(lane.id)
        if not self._lanes:
            self._no_lanes.set()
        if generation is not None:
            del self._connections[generation]
            if not self._closing:
                self._note_progress()
                self._negotiator.handle_lane_closed(generation, now)
                if self._stood and not self._lanes:
                    self._signaling.hurry()
        self._wake()

    def candidate_found(self, connection: WebRtcConnection, candidate: str, mid: str, mline: int) -> None:
        """A local candidate is to be sent."""
        self._negotiator.handle_local_candidate(connection.generation, candidate, mid, mline, monotonic())
        self._wake()

    def path_changed(self, connection: WebRtcConnection) -> None:
        """Another path is in use: find out which, and tell the owner."""
        if self._tasks is not None and not self._closing and not self._ended.done():
            self._spawn(self._report_path(connection))

    async def _report_path(self, connection: WebRtcConnection) -> None:
        path = await connection.path()
        if path == "direct, punched" and not self._path:
            # The first check often overtakes the candidate that tells whose address it came from.
            await asyncio.sleep(SETTLE)
            path = await connection.path()
        if self._session is not None and connection.id in self._lanes:
            self._session.lane_controlled(connection.id, not connection.on_one_machine, monotonic())
            self._wake()
        if path != self._path and connection.id in self._lanes and not self._closing:
            self._path = path
            self._owner.peer_path(path)

    def _generation_of(self, lane: Lane) -> int | None:
        return next((g for g, connection in self._connections.items() if connection is lane), None)

    # The flush: what the machines have to say, once for everything that came in about the same time

    def _wake(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._ended.done():
            return
        self._flush_scheduled = True
        self._gathered = 0
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        try:
            session = self._session
            if session is not None:
                self._hear(session)
            self._note_progress()
            self._flush_link()
            self._flush_scheduled = False  # what happens from here on is for another flush
            if session is not None:
                for live in list(self._lanes.values()):
                    self._drain_into(session, live)
                self._check_drained(session)
        except Exception as error:  # noqa: BLE001 - a callback has no caller: the owner of run() hears of it
            self._fail(error)
            return
        self._arm()

    def _flush_link(self) -> None:
        for message in self._negotiator.messages():
            self._mail(message)
        for action in self._negotiator.actions():
            self._actions.put_nowait(action)
        for event in self._negotiator.events():
            match event:
                case Retrying():
                    self._in_trouble = True
                    self._owner.peer_retrying(event.attempt, event.attempts, event.delay)
                case WaitingFor():
                    self._in_trouble = self._in_trouble or bool(event.what)
                    self._owner.peer_waiting(event.what, event.seconds_left)
                case GaveUp():
                    self._fail(self._gave_up(event))
                case LinkUp():
                    self._on_link_up()

    def _on_link_up(self) -> None:
        if self._told_silent:
            self._told_silent = False
            self._owner.peer_silent(0.0)
        if self._linked_before and self._in_trouble:
            self._owner.peer_back()
        self._linked_before = True
        self._in_trouble = False

    def _gave_up(self, event: GaveUp) -> PeerError:
        if event.connected_before:
            return PeerLost("the connection to the other side was lost")
        if not self._peer_online:
            return PeerLost("the other side went away before the connection stood")
        return ConnectionImpossible("no network path to the other side was found")

    def _hear(self, session: Session) -> None:
        """Tell the owner what happened; it answers by :meth:`send` and :meth:`consumed`."""
        for event in session.events():
            if isinstance(event, Delivered):
                self._negotiator.handle_progress()
                self._owner.peer_payload(event.payload)
            elif isinstance(event, Closed):
                self._session_over.set()
                if event.by_peer:
                    self._peer_left(event.code, event.reason)
            elif isinstance(event, LaneAlive):
                self._on_heard(event)
            elif isinstance(event, LaneSilent):
                self._on_silence(event)
        self._owner.peer_turn()

    def _on_silence(self, event: LaneSilent) -> None:
        self._silent.add(event.lane_id)
        if self._in_use(event.lane_id):
            self._told_silent = True
            self._owner.peer_silent(event.seconds)
            self._signaling.hurry()
            self._negotiator.handle_silence(monotonic())

    def _on_heard(self, event: LaneAlive) -> None:
        self._silent.discard(event.lane_id)
        if self._in_use(event.lane_id):
            self._negotiator.handle_alive(monotonic())

    def _in_use(self, lane_id: int) -> bool:
        live = self._lanes.get(lane_id)
        return live is not None and self._generation_of(live.lane) == self._negotiator.in_use

    def _note_progress(self) -> None:
        """What arrives, in either direction, makes earlier failures of the link no longer count."""
        arrived = self._given - self.unacked_bytes
        if arrived > self._arrived:
            self._arrived = arrived
            self._negotiator.handle_progress()

    def _drain_into(self, session: Session, live: _LiveLane) -> None:
        seal, send = live.sealer.seal, live.lane.send
        try:
            for frame in session.outputs(live.lane.id, live.lane.budget(), monotonic()):
                send(seal(frame))
        except LaneExhausted:
            live.lane.close()  # its key has sealed all that one key may; the next lane has another

    def _peer_left(self, code: int, reason: str) -> None:
        self._closing = True
        self._owner.peer_closed(code, reason)
        if self._tasks is not None:
            self._tasks.create_task(self._linger())

    async def _linger(self) -> None:
        """Let our answer to the farewell get out; the other side ends the lane when it has it."""
        await self._wait(self._no_lanes, LINGER)
        self._end()

    def _arm(self) -> None:
        due = self._negotiator.next_timeout()
        if self._session is not None:
            other = self._session.next_timeout()
            due = other if due is None else due if other is None else min(due, other)
        # A timer that fires too early costs one look; re-arming it at every frame would cost more.
        if due is None or (self._timer is not None and self._timer_due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = max(due, monotonic())
        self._timer = self._loop.call_later(max(0.0, due - monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = monotonic()
        slept = _slept()
        if now - self._timer_due > SLEPT or slept - self._slept > SLEPT:
            self._on_woken(now)
        self._slept = slept
        self._negotiator.handle_timeout(now)
        if self._session is not None:
            self._session.handle_timeout(now)
        self._flush()

    def _on_woken(self, now: float) -> None:
        """We stood still for a while. What came meanwhile is read in a moment; then nothing may be as it was."""
        if self._session is not None:
            self._session.probe(now)
        if self._stood:
            self._signaling.hurry()


def _slept() -> float:
    """Seconds that this machine has been suspended, as far as the system tells: ``monotonic`` stands still then."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if boot_time is None else time.clock_gettime(boot_time) - monotonic()
