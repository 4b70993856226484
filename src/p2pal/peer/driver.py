"""The link of one peer: its lanes of both kinds, which of them carries the frames, and what is told of it.

Two parts bring lanes up: :class:`~p2pal.peer.engine.EngineDriver`, which the negotiator drives, and
:class:`~p2pal.peer.datagrams.DatagramDriver`. A datagram lane that is open and heard carries the frames; the engine's
lane stands by, and steps in when the other one stalls.

All calls come on the event loop's thread. What follows from them waits for :meth:`LinkDriver.flush`, which mails what
the negotiator says, begins what it asks for, and returns what happened; :meth:`LinkDriver.drain` then puts frames on
the lanes.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any, Final

from p2pal.crypto.keys import Master
from p2pal.errors import ConnectionImpossible, ProtocolError
from p2pal.lanes.base import CandidateFound, Connection, Lane, PathChanged
from p2pal.lanes.ice_servers import RelayUse
from p2pal.lanes.networks import NetworkWatch
from p2pal.lanes.paths import LaneKind, PathKind
from p2pal.lanes.udp import events as udp
from p2pal.lanes.udp.shell import UdpLane
from p2pal.link.actions import Action, Judge, LinkUp, Retrying
from p2pal.link.datagrams import HEAD_START
from p2pal.link.deadlines import earliest
from p2pal.link.negotiator import Negotiator
from p2pal.peer.config import PeerConfig
from p2pal.peer.datagrams import DatagramDriver
from p2pal.peer.engine import EngineDriver
from p2pal.peer.events import LinkEvent, LinkFailed, LinkLost, LinkSilent, Moved, Online, PathFound
from p2pal.peer.live_lanes import LiveLanes
from p2pal.rate_limit import Allowance
from p2pal.session.core import Session
from p2pal.wire.signal import BETTER, Answer, Candidate, Hello, Offer, Retry, SignalMessage, UdpCandidates

SETTLE: Final = 0.3
"""Seconds in which the peer's candidates catch up with its first connectivity check."""

PATH_NEWS: Final = (10, 1.0)
"""Times that the owner is told of another path at once, and seconds after which it is once more: what a peer says of
its end of a path may change with each datagram. What is so at last is told in the end."""
GATHER_BYTES: Final = 480 << 10
GATHER_SECONDS: Final = 0.001
"""Large messages are dealt with together until so many bytes came, or for so long; small ones, such as ACK, at once.

A lane hands over what has come in a turn of the loop, often a single message: waking the disk's thread for each costs
more than the rest.
"""
LARGE: Final = 4096

MOVES: Final = 1 << 20
"""Bytes that arrived, in either direction, from which on data moves: a standby is worth its price."""


def jitter() -> float:
    """A factor around 1: two sides that failed together do not retry together."""
    return random.uniform(0.8, 1.2)  # noqa: S311 - not a secret


class LinkDriver:
    """One side of the link, and everything that it needs.

    Args:
        master: The session's, for the lanes' keys.
        config: How this side connects.
        mail: Takes a message for the other side.
        wake: Has :meth:`flush` called at the end of this turn of the loop.
        learn: Waits a moment at most for what the signaling server says of STUN and TURN servers.

    Attributes:
        negotiator: The pure machine that decides about the engine's connections; nobody else gives it anything.
        engine: Those connections.
        datagrams: The datagram lanes.
        lanes: The open ones, of both kinds.
        path: The path in use, or an empty string before the first.
        lane: The kind of lane that takes it.
    """

    __slots__ = (
        "_config", "_events", "_gathered", "_gathering", "_loop", "_mail", "_mending", "_path_news",
        "_path_news_waits", "_progress", "_running", "_session", "_wake", "datagrams", "engine", "lane", "lanes",
        "negotiator", "path",
    )  # fmt: skip

    def __init__(
        self,
        master: Master,
        config: PeerConfig,
        *,
        mail: Callable[[SignalMessage], None],
        wake: Callable[[], None],
        learn: Callable[[], Awaitable[None]],
    ) -> None:
        self._config = config
        self._mail = mail
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._events: deque[LinkEvent] = deque()
        self._mending = True
        self._progress = 0  # the session's
        self._gathered = 0
        self._gathering: asyncio.TimerHandle | None = None
        self.negotiator = Negotiator(
            leader=config.sender,
            max_retries=config.max_retries,
            backoff=config.retry_backoff,
            jitter=jitter,
            wait=config.wait,
            improve=config.improves,
            engine=config.engine,
        )
        self.lanes = LiveLanes(master, sender=config.sender)
        self.engine = EngineDriver(
            self.negotiator, config.connections, self.lanes, self, relay=config.relay, learn=learn
        )
        datagrams = None if config.relay is RelayUse.ONLY else config.datagrams
        self.datagrams = DatagramDriver(master, datagrams, sender=config.sender, listener=self, mail=mail)
        self.path = ""
        self.lane: LaneKind = "webrtc"
        self._path_news = Allowance(*PATH_NEWS)
        self._path_news_waits = False

    # What others ask

    @property
    def linked(self) -> bool:
        """Whether a lane is open."""
        return bool(self.lanes.by_id)

    @property
    def likes_large(self) -> bool:
        """Whether large messages suit the lane in use."""
        in_use = self.in_use
        return in_use is not None and in_use.likes_large

    def probe(self) -> None:
        """Ask the other side, over every lane, whether it lives."""
        if self._session is not None:
            self._session.probe(monotonic())
            self._wake()

    def impossible(self) -> ConnectionImpossible:
        """Return the error for a link that never stood: what was tried, and what would help."""
        return self._config.connections.why_none(ours=self._config.relay, agreed=self.engine.relay)

    # Its life

    def start(self) -> None:
        """Begin: the leader makes its first offer, the follower waits for it."""
        self.negotiator.start(monotonic(), after=HEAD_START if self.datagrams.prepared else 0.0)
        self._spawn(self.engine.run(self._wake))
        if self._config.improves and self._config.roams:
            self._spawn(NetworkWatch(self._on_networks).run())

    def begin(self, session: Session, hello: Hello) -> None:
        """Carry this session's frames, as the other side's hello has it; before it no lane opens."""
        self._session = session
        self._agree(RelayUse(hello.relay))
        if "webrtc" not in hello.lanes:
            self.negotiator.disable_engine()
        if self.datagrams.prepared and hello.udp is not None and "udp" in hello.lanes:
            self._spawn(self.datagrams.start(hello.udp))
        else:
            self.datagrams.stop()
            self.negotiator.hurry(monotonic())

    def let_go(self) -> None:
        """The end has begun: a lane that is lost from now on is not missed."""
        self._mending = False

    def stop(self) -> None:
        """End the link, and every connection."""
        self.let_go()
        self.negotiator.stop()
        self.engine.close()
        self.datagrams.stop()

    async def close(self) -> None:
        """Stop, and wait until nothing runs any more."""
        self.stop()
        self._deal()
        self.engine.connections.clear()
        self.lanes.clear()
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._config.connections.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ran)

    def _ran(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._tell(LinkFailed(error))

    def _tell(self, event: LinkEvent) -> None:
        self._events.append(event)
        self._wake()

    # What the other side says, and what is known of the mailbox

    def take(self, news: Offer | Answer | Candidate | UdpCandidates | Retry | Online | Moved) -> None:
        """Take what came by the mailbox, or became of it.

        Raises:
            ProtocolError: If the other side plays this one's part, floods, or speaks before the session began.
        """
        now = monotonic()
        if isinstance(news, Online):
            self.negotiator.handle_online(news.here, news.there, now)
            if news.here and news.there and not self.lanes.heard:
                self.datagrams.schedule.on_missed(now)
        elif isinstance(news, Moved):
            self.negotiator.handle_moved(now)
        elif self._session is None:
            raise ProtocolError("the other side began to connect before it said hello")
        elif isinstance(news, UdpCandidates):
            self._spawn(self.datagrams.take(news))
        else:
            if isinstance(news, Retry) and news.reason == BETTER:
                self.datagrams.schedule.on_networks(now)
            self.negotiator.handle_message(news, now)

    def _agree(self, theirs: RelayUse) -> None:
        """Take the other side's wish about relays into account; both sides' wishes leave a path."""
        if theirs is RelayUse.ONLY:
            self.negotiator.keep_path()
        if theirs is RelayUse.NEVER and self.engine.relay is RelayUse.ALLOWED:
            self.engine.relay = theirs
            if self._config.servers.relays:
                # What is tried already may lead through our relay: the other side would take its word for direct.
                self.negotiator.handle_moved(monotonic())

    # The flush, and time

    def flush(self) -> list[LinkEvent]:
        """Mail and begin what follows from all that came in, and return what happened."""
        self._deal()
        self._note_progress()
        negotiator = self.negotiator
        for message in negotiator.messages():
            self._mail(message)
        for action in negotiator.actions():
            self._do(action)
        for event in negotiator.events():
            self._events.append(event)
            if isinstance(event, LinkUp) and (used := self.in_use) is not None:
                # Also after a stall and its end: another lane carries then, and the path that is told is that one's.
                self._spawn(self._look_at_path(used))
            elif isinstance(event, Retrying):
                self.datagrams.schedule.on_missed(monotonic())
        events = list(self._events)
        self._events.clear()
        return events

    def next_timeout(self) -> float | None:
        """When :meth:`handle_timeout` is due, or None."""
        session = None if self._session is None else self._session.next_timeout()
        return earliest(self.negotiator.next_timeout(), self.datagrams.schedule.next_timeout(), session)

    def handle_timeout(self, now: float) -> None:
        """Let the link and the session do what fell due."""
        self.negotiator.handle_timeout(now)
        self.datagrams.handle_timeout(now)
        if self.datagrams.schedule.take_standby(now):
            self.negotiator.handle_standby(now)
        if self.datagrams.schedule.take_due(now):
            self._spawn(self.datagrams.begin())
        if self._session is not None:
            self._session.handle_timeout(now)

    def _note_progress(self) -> None:
        """What arrives, in either direction, makes earlier failures of the link no longer count."""
        progress = 0 if self._session is None else self._session.progress
        if progress > self._progress:
            self._progress = progress
            self.negotiator.handle_progress()
            if progress > MOVES:
                self.datagrams.schedule.on_data(monotonic())

    def _on_networks(self) -> None:
        """This machine came into another network, or one more."""
        self.negotiator.handle_networks(monotonic())
        self.datagrams.schedule.on_networks(monotonic())
        self._spawn(self.datagrams.move())
        self._wake()

    def lane_silent(self, lane_id: int, seconds: float) -> None:
        """The session misses something over this lane."""
        lane = self.lanes.fall_silent(lane_id)
        if lane is None:
            return
        generation = self.engine.generation_of(lane)
        if generation is not None:
            self.negotiator.handle_silence(monotonic(), generation)
        elif lane is self.datagrams.lane:
            self._step_in()
        if self.in_use in {lane, None}:  # nothing else took its place
            self._events.append(LinkSilent(seconds))

    def lane_alive(self, lane_id: int) -> None:
        """A lane that was silent is heard again."""
        lane = self.lanes.wake(lane_id)
        generation = self.engine.generation_of(lane)
        if generation is not None:
            self.negotiator.handle_alive(monotonic(), generation)
        elif lane is not None and lane is self.datagrams.lane:
            self._step_back()

    def _step_in(self) -> None:
        """The datagram lane carries no more: what is on its way there also goes over the engine's, if that is open."""
        lane = self.datagrams.lane
        self.datagrams.schedule.on_silent()
        if self._session is not None and lane is not None and lane.id in self.lanes.by_id and self.negotiator.in_use:
            self._session.lane_stalled(lane.id, monotonic())
        self.negotiator.handle_carried(False, monotonic())
        self._wake()

    def _step_back(self) -> None:
        """The datagram lane is heard again."""
        lane = self.datagrams.lane
        self.datagrams.schedule.on_alive()
        if self.datagrams.schedule.carries and lane is not None and self._session is not None:
            self._session.lane_resumed(lane.id, monotonic())
            self.negotiator.handle_carried(True, monotonic())
        self._wake()

    # The negotiator's actions

    def _do(self, action: Action) -> None:
        if isinstance(action, Judge):
            self._spawn(self._judge(action))
        else:
            self.engine.do(action)

    async def _judge(self, action: Judge) -> None:
        await self.engine.judge(action)
        self._wake()

    def _lose(self, generation: int) -> None:
        """A connection of the engine is over, with its lane if that was open."""
        self.engine.closed(generation)
        if not self._mending:
            return
        self._note_progress()
        self.engine.lose(generation)
        if not self.negotiator.standing_by:
            self.datagrams.schedule.on_standby_lost(monotonic())

    # What connections and their lanes report

    def connection_event(self, connection: Connection, event: CandidateFound | PathChanged) -> None:
        """A local candidate is to be sent, or another path may be in use."""
        if isinstance(event, CandidateFound):
            self.negotiator.handle_local_candidate(event.candidate, monotonic())
            self._wake()
        elif self._mending:
            self._spawn(self._look_at_path(connection))

    def lane_event(
        self, lane: UdpLane, event: udp.PathSelected | udp.ReflexiveFound | udp.Stalled | udp.Resumed
    ) -> None:
        """Something came up at a datagram lane."""
        if lane is not self.datagrams.lane or not self._mending:
            return
        match event:
            case udp.PathSelected():
                self._spawn(self._look_at_path(lane))
            case udp.ReflexiveFound(candidate):
                self.datagrams.tell(candidate)
            case udp.Stalled():
                self._spawn(self.datagrams.move())  # sooner than the next look at this machine's networks
                if self.negotiator.in_use:
                    self._step_in()
                else:  # alone it is what there is, and the session tells if it stays silent
                    self.datagrams.schedule.on_stalled(monotonic())
                    self._wake()
            case udp.Resumed():
                self._step_back()

    def lane_opened(self, lane: Lane) -> None:
        """A lane is open: send our opening bytes and hand the lane to the session."""
        if self._session is None:
            return
        now = monotonic()
        generation = self.engine.generation_of(lane)
        if generation is not None:
            self.negotiator.handle_lane_open(generation, now)
            if not self.negotiator.is_open(generation):
                return  # it was dropped just now; the engine hears of it in a moment
        elif lane is self.datagrams.lane:
            self.datagrams.schedule.on_open(now)
        else:
            return
        self.lanes.open(lane)
        # A datagram lane has a congestion control of its own.
        self._session.lane_up(lane.id, now, controlled=generation is not None)
        if generation is None:
            self.negotiator.handle_carried(True, now)
        elif (datagrams := self.datagrams.lane) is not None and datagrams.stalled:
            self._step_in()
        self._wake()

    def lane_message(self, lane: Lane, data: bytes) -> None:
        """A message arrived: the peer's opening bytes, then sealed frames."""
        session = self._session
        if session is None or (frame := self.lanes.frame(lane, data)) is None:
            return
        try:
            session.handle_frame(lane.id, frame, monotonic())
        except ProtocolError as error:
            self._tell(LinkFailed(error))
            return
        self._gathered += len(data)
        if len(data) < LARGE or self._gathered >= GATHER_BYTES:
            self._wake()
        elif self._gathering is None:
            self._gathering = self._loop.call_later(GATHER_SECONDS, self._wake)

    def _deal(self) -> None:
        """What came is dealt with now."""
        self._gathered = 0
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    def lane_writable(self, lane: Lane) -> None:  # noqa: ARG002 - the drain asks every lane
        """A lane's buffer drained."""
        self._wake()

    def lane_closed(self, lane: Lane, reason: str) -> None:  # noqa: ARG002
        """A lane is over: its frames travel again on the next one."""
        generation = self.engine.generation_of(lane)
        forged = self.lanes.forged(lane)
        if self.lanes.drop(lane) and self._session is not None:
            self._session.lane_down(lane.id, monotonic())
        if generation is not None:
            self._lose(generation)
        elif isinstance(lane, UdpLane):
            self._note_progress()
            self.datagrams.closed(lane, broken=lane.broken or forged)
            if self._mending and not self.datagrams.schedule.carries:
                self.negotiator.handle_carried(False, monotonic())
        if self._mending and self.lanes.stood and not self.linked:
            self._events.append(LinkLost())
        self._wake()

    @property
    def in_use(self) -> Connection | None:
        """The connection that carries DATA, None if there is none."""
        if self.datagrams.schedule.carries:
            return self.datagrams.lane
        return self.engine.connections.get(self.negotiator.in_use)

    async def _look_at_path(self, connection: Connection) -> None:
        """Find out which path a lane takes; the session limits what is on the way if it leads out of this machine."""
        path = await connection.path()
        if path is not None and not path.certain:
            await asyncio.sleep(SETTLE)
            path = await connection.path()
        if path is None or connection.id not in self.lanes.by_id:
            return
        if path.kind is PathKind.RELAYED and self.engine.relay is RelayUse.NEVER:
            connection.close()  # both sides agreed on none: the other side broke its word
            return
        if self._session is not None and path.lane == "webrtc":
            self._session.lane_controlled(connection.id, not connection.on_one_machine, monotonic())
            self._wake()
        if connection is not self.in_use:
            return
        if path.lane == "webrtc":
            self.negotiator.handle_path(path.kind is PathKind.RELAYED, monotonic())
        self._wake()
        if (path.words, path.lane) == (self.path, self.lane) or not self._mending:
            return
        now = monotonic()
        if self._path_news.take(now):
            self.path, self.lane = path.words, path.lane
            self._tell(PathFound(path.words, path.lane))
        elif not self._path_news_waits:
            self._path_news_waits = True
            await asyncio.sleep(self._path_news.free_at - now)
            self._path_news_waits = False
            if (carrying := self.in_use) is not None:
                await self._look_at_path(carrying)

    # What goes out

    def drain(self) -> None:
        """Put frames on the lanes; beside another one only the lane in use carries DATA."""
        if self._session is not None:
            in_use = self.in_use
            self.lanes.drain(self._session, lambda lane: lane is not in_use)
