"""The link of one peer: drives the negotiator, the connections that it asks for, and the lanes on them.

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
from p2pal.lanes.paths import PathKind
from p2pal.link.actions import (
    Action,
    CreateAnswer,
    CreateOffer,
    DropConnection,
    Judge,
    LinkUp,
    TakeAnswer,
    TakeCandidate,
)
from p2pal.link.deadlines import earliest
from p2pal.link.negotiator import Negotiator
from p2pal.peer.config import PeerConfig
from p2pal.peer.events import LinkEvent, LinkFailed, LinkLost, LinkSilent, Moved, Online, PathFound
from p2pal.peer.live_lanes import LiveLanes
from p2pal.peer.path_comparison import is_better
from p2pal.session.core import Session
from p2pal.wire.signal import Answer, Candidate, Offer, Retry, SignalMessage

SETTLE: Final = 0.3
"""Seconds in which the peer's candidates catch up with its first connectivity check."""

GATHER_BYTES: Final = 480 << 10
GATHER_SECONDS: Final = 0.001
"""Large messages are dealt with together until so many bytes came, or for so long; small ones, such as ACK, at once.

The engine hands over what has come in a turn of the loop, often a single message: waking the disk's thread for each
costs more than the rest.
"""
LARGE: Final = 4096


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
        negotiator: The pure machine that decides; nobody else gives it anything.
        connections: Those there are, by generation.
        lanes: The open ones.
        path: The path in use, or an empty string before the first.
        relay: What relays may carry, as both sides want it.
    """

    __slots__ = (
        "_actions", "_beside", "_config", "_events", "_factory", "_gathered", "_gathering", "_learn", "_loop",
        "_mail", "_mending", "_progress", "_running", "_session", "_wake", "connections", "lanes", "negotiator",
        "path", "relay",
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
        self._factory = config.connections
        self._mail = mail
        self._wake = wake
        self._learn = learn
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._actions: asyncio.Queue[Action] = asyncio.Queue()
        self._running: set[asyncio.Task[None]] = set()
        self._events: deque[LinkEvent] = deque()
        self._mending = True
        self._beside: set[int] = set()  # the generations that are tried for a better path
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
        )
        self.relay = config.relay
        self.connections: dict[int, Connection] = {}
        self.lanes = LiveLanes(master, sender=config.sender)
        self.path = ""

    # What others ask

    @property
    def linked(self) -> bool:
        """Whether a lane is open."""
        return bool(self.lanes.by_id)

    @property
    def alive(self) -> bool:
        """Whether a lane is open, and heard."""
        return self.lanes.heard

    @property
    def stood(self) -> bool:
        """Whether the link ever stood: from then on both sides meet again by themselves."""
        return self.lanes.stood

    @property
    def heard_at(self) -> float:
        """When a lane last brought a frame, in seconds."""
        return self.lanes.heard_at

    def probe(self) -> None:
        """Ask the other side, over every lane, whether it lives."""
        if self._session is not None:
            self._session.probe(monotonic())
            self._wake()

    def impossible(self) -> ConnectionImpossible:
        """Return the error for a link that never stood: what was tried, and what would help."""
        return self._factory.why_none(ours=self._config.relay, agreed=self.relay)

    # Its life

    def start(self) -> None:
        """Begin: the leader makes its first offer, the follower waits for it."""
        self.negotiator.start(monotonic())
        self._spawn(self._carry_out())
        if self._config.improves and self._config.roams:
            self._spawn(NetworkWatch(self._on_networks).run())

    def begin(self, session: Session) -> None:
        """Carry this session's frames; before it no lane opens."""
        self._session = session

    def let_go(self) -> None:
        """The end has begun: a lane that is lost from now on is not missed."""
        self._mending = False

    def stop(self) -> None:
        """End the link, and every connection."""
        self.let_go()
        self.negotiator.stop()
        for connection in list(self.connections.values()):
            connection.close()

    async def close(self) -> None:
        """Stop, and wait until nothing runs any more."""
        self.stop()
        self._deal()
        self.connections.clear()
        self.lanes.clear()
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._factory.close()

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

    def take(self, news: Offer | Answer | Candidate | Retry | Online | Moved) -> None:
        """Take what came by the mailbox, or became of it.

        Raises:
            ProtocolError: If the other side plays this one's part, floods, or speaks before the session began.
        """
        now = monotonic()
        if isinstance(news, Online):
            self.negotiator.handle_online(news.here, news.there, now)
        elif isinstance(news, Moved):
            self.negotiator.handle_moved(now)
        elif self._session is None:
            raise ProtocolError("the other side began to connect before it said hello")
        else:
            self.negotiator.handle_message(news, now)

    def agree(self, theirs: RelayUse) -> None:
        """Take the other side's wish about relays into account; both sides' wishes leave a path."""
        if theirs is RelayUse.ONLY:
            self.negotiator.keep_path()
        if theirs is RelayUse.NEVER and self.relay is RelayUse.ALLOWED:
            self.relay = theirs
            if self._factory.relays:
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
            if isinstance(event, LinkUp) and (used := self.connections.get(event.generation)) is not None:
                self._spawn(self._look_at_path(used))
        events = list(self._events)
        self._events.clear()
        return events

    def next_timeout(self) -> float | None:
        """When :meth:`handle_timeout` is due, or None."""
        session = None if self._session is None else self._session.next_timeout()
        return earliest(self.negotiator.next_timeout(), session)

    def handle_timeout(self, now: float) -> None:
        """Let the link and the session do what fell due."""
        self.negotiator.handle_timeout(now)
        if self._session is not None:
            self._session.handle_timeout(now)

    def _note_progress(self) -> None:
        """What arrives, in either direction, makes earlier failures of the link no longer count."""
        progress = 0 if self._session is None else self._session.progress
        if progress > self._progress:
            self._progress = progress
            self.negotiator.handle_progress()

    def _on_networks(self) -> None:
        """This machine came into another network, or one more."""
        self.negotiator.handle_networks(monotonic())
        self._wake()

    def lane_silent(self, lane_id: int, seconds: float) -> None:
        """The session misses something over this lane."""
        generation = self._generation_of(self.lanes.fall_silent(lane_id))
        if generation is None:
            return
        self.negotiator.handle_silence(monotonic(), generation)
        if generation == self.negotiator.in_use:  # nothing else could take its place
            self._events.append(LinkSilent(seconds))

    def lane_alive(self, lane_id: int) -> None:
        """A lane that was silent is heard again."""
        generation = self._generation_of(self.lanes.wake(lane_id))
        if generation is not None:
            self.negotiator.handle_alive(monotonic(), generation)

    # The negotiator's actions: one at a time, in order

    def _do(self, action: Action) -> None:
        """Begin an action. What is to be dropped is closed at once: nothing more goes there."""
        dropped = self.connections.get(action.generation) if isinstance(action, DropConnection) else None
        if dropped is not None:
            dropped.close()
        elif isinstance(action, Judge):
            self._spawn(self._judge(action))
        else:
            self._actions.put_nowait(action)

    async def _carry_out(self) -> None:
        """Carry actions out until cancelled.

        Raises:
            ProtocolError: If the other side's description cannot be used. Where a better path is tried beside a lane
                that is well, only that try fails.
            ConnectionImpossible: If only relays may be used, and none is known.
        """
        while True:
            action = await self._actions.get()
            try:
                await self._carry_out_one(action)
            except Exception:
                if action.generation not in self._beside:
                    raise
                self._fail_beside(action.generation)
            self._wake()

    async def _carry_out_one(self, action: Action) -> None:
        if isinstance(action, (CreateOffer, CreateAnswer)):
            connection = await self._make(action)
            if isinstance(action, CreateOffer):
                sdp = await connection.offer()
                self.negotiator.handle_local_offer(action.generation, sdp, monotonic())
            else:
                sdp = await connection.answer(action.sdp)
                self.negotiator.handle_local_answer(action.generation, sdp, monotonic())
        elif (found := self.connections.get(action.generation)) is None:
            return
        elif isinstance(action, TakeAnswer):
            await found.accept(action.sdp)
        elif isinstance(action, TakeCandidate):
            await found.add_candidate(action.candidate)
        elif isinstance(action, DropConnection):
            found.close()

    async def _make(self, action: CreateOffer | CreateAnswer) -> Connection:
        if action.direct:
            self._beside.add(action.generation)
            if self.relay is RelayUse.ONLY:
                raise ProtocolError("the other side asks for the addresses that this side hides")
        connection = await self._factory.connect(
            action.lane,
            action.generation,
            self,
            relay=self.relay,
            direct=action.direct,
            first=not self.stood,
            learn=self._learn,
        )
        self.connections[action.generation] = connection
        return connection

    def _fail_beside(self, generation: int) -> None:
        """A try at a better path failed, whoever is to blame: what it was tried beside is well."""
        connection = self.connections.get(generation)
        if connection is None:
            self._lose(generation)
        else:
            connection.close()

    def _lose(self, generation: int) -> None:
        """A connection is over, with its lane if that was open."""
        self._beside.discard(generation)
        if not self._mending:
            return
        self._note_progress()
        self.negotiator.handle_lane_closed(generation, monotonic())
        if self.stood and not self.linked:
            self._events.append(LinkLost())

    async def _judge(self, action: Judge) -> None:
        """Compare the paths of two open lanes."""
        new, used = self.connections.get(action.generation), self.connections.get(action.used)
        live = None if new is None else self.lanes.by_id.get(new.id)
        if new is not None and used is not None and live is not None:
            try:
                better = await is_better(new, used, live.heard)
            except Exception:  # noqa: BLE001 - the lane in use is well, whatever the engine says of the other one
                better = False
            self.negotiator.handle_judged(action.generation, better, monotonic())
            self._wake()

    # What connections and their lanes report

    def connection_event(self, connection: Connection, event: CandidateFound | PathChanged) -> None:
        """A local candidate is to be sent, or another path may be in use."""
        if isinstance(event, CandidateFound):
            self.negotiator.handle_local_candidate(event.candidate, monotonic())
            self._wake()
        elif self._mending:
            self._spawn(self._look_at_path(connection))

    def lane_opened(self, lane: Lane) -> None:
        """A lane is open: send our opening bytes and hand the lane to the session."""
        generation = self._generation_of(lane)
        if generation is None or self._session is None:
            return
        now = monotonic()
        self.negotiator.handle_lane_open(generation, now)
        if not self.negotiator.is_open(generation):
            return  # it was dropped just now; the engine hears of it in a moment
        self.lanes.open(lane)
        self._session.lane_up(lane.id, now)
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
        generation = self._generation_of(lane)
        if self.lanes.drop(lane) and self._session is not None:
            self._session.lane_down(lane.id, monotonic())
        if generation is not None:
            del self.connections[generation]
            self._lose(generation)
        self._wake()

    def _generation_of(self, lane: Lane | None) -> int | None:
        return next((g for g, connection in self.connections.items() if connection is lane), None)

    async def _look_at_path(self, connection: Connection) -> None:
        """Find out which path a lane takes; the session limits what is on the way if it leads out of this machine."""
        path = await connection.path()
        if path is not None and not path.certain:
            await asyncio.sleep(SETTLE)
            path = await connection.path()
        if path is None or connection.id not in self.lanes.by_id:
            return
        if path.kind is PathKind.RELAYED and self.relay is RelayUse.NEVER:
            connection.close()  # both sides agreed on none: the other side broke its word
            return
        if self._session is not None:
            self._session.lane_controlled(connection.id, not connection.on_one_machine, monotonic())
            self._wake()
        if connection.generation != self.negotiator.in_use:
            return
        self.negotiator.handle_path(path.kind is PathKind.RELAYED, monotonic())
        self._wake()
        if path.words != self.path and self._mending:
            self.path = path.words
            self._tell(PathFound(path.words))

    # What goes out

    def drain(self) -> None:
        """Put frames on the lanes; beside another one only the lane in use carries DATA."""
        if self._session is not None:
            in_use = self.connections.get(self.negotiator.in_use)
            self.lanes.drain(self._session, lambda lane: lane is not in_use)
