"""The lanes of one peer: the connections under them, their keys, and who is heard.

What is said over a lane: 16 random bytes of each side, from which the keys come, then sealed frames
(:mod:`p2pal.crypto.seal`). The frames are the session's. Whatever breaks the seal ends the lane, never the session.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from p2pal.crypto.keys import Direction, Master
from p2pal.crypto.seal import LaneExhausted, LaneOpener, LaneSealer
from p2pal.errors import ProtocolError
from p2pal.lanes.base import Lane
from p2pal.lanes.destinations import Destinations, Zone
from p2pal.lanes.gathering import Gathering
from p2pal.lanes.ice_servers import IceServer, RelayUse, known_servers, servers_for, servers_without_relays
from p2pal.lanes.interfaces import broadcasts
from p2pal.lanes.paths import PathKind
from p2pal.lanes.server_addresses import ServerAddresses
from p2pal.lanes.tunnel import Tunnels
from p2pal.link.negotiator import Negotiator
from p2pal.link.steps import Action, CreateAnswer, CreateOffer, DropConnection, Judge, TakeAnswer, TakeCandidate
from p2pal.peer.better import is_better
from p2pal.peer.config import PeerConfig
from p2pal.peer.tried import no_relay, no_relay_through_proxy
from p2pal.session.core import Session

if TYPE_CHECKING:
    from p2pal.lanes.webrtc import WebRtcConnection

SETTLE: Final = 0.3
"""Seconds in which the peer's candidates catch up with its first connectivity check."""

GATHER_BYTES: Final = 480 << 10
GATHER_SECONDS: Final = 0.001
"""Large messages are dealt with together until so many bytes came, or for so long; small ones, such as ACK, at once.

The engine hands over what has come in a turn of the loop, often a single message: waking the disk's thread for each
costs more than the rest.
"""
LARGE: Final = 4096

_LANE_NONCE: Final = 16
_GATHERINGS: Final = 4
"""As many connections are remembered to say what was tried."""


class LanesOwner(Protocol):
    """Who uses the lanes. All calls come on the event loop's thread."""

    def wake(self) -> None:
        """Something came in, or can go out: see what follows, once for this turn of the loop."""

    def abandon(self, error: BaseException) -> None:
        """The other side broke the rules of the session."""

    async def ice_known(self) -> None:
        """Return when the STUN and TURN servers for the next connection are known; that takes a moment at most."""

    def lane_lost(self, generation: int) -> None:
        """This generation's connection is over, with its lane if that was open."""

    def path_changed(self, connection: WebRtcConnection) -> None:
        """Another path may be in use; :meth:`Lanes.look_at_path` finds out."""

    def path_found(self, path: str) -> None:
        """This path is in use, another one than before."""


class LiveLane:
    """An open lane with its keys. The opener exists, and ``heard`` is set, once the peer's opening bytes arrived."""

    __slots__ = ("heard", "lane", "opener", "sealer")

    def __init__(self, lane: Lane, sealer: LaneSealer) -> None:
        self.lane = lane
        self.sealer = sealer
        self.opener: LaneOpener | None = None
        self.heard = asyncio.Event()


class Lanes:
    """The connections that the negotiator asks for, and the lanes on them.

    Args:
        master: The session's, for the lanes' keys.
        config: How this side connects.
        negotiator: Hears what becomes of its actions, and of lanes that open.
        owner: Hears the rest.
        server: How near the signaling server was reached.

    Attributes:
        session: Whose frames the lanes carry; without it none opens.
        ice_servers: The STUN and TURN servers of the connections to come.
        connections: Those there are, by generation.
        live: The open lanes, by number.
        stood: Whether a lane was ever open.
        heard_at: When a lane last brought a frame, in seconds.
        path: The path in use, or an empty string before the first.
        relay: What TURN servers may carry, as both sides want it.
        addresses: Of those that the signaling server names, the ones that may be asked.
        tunnels: The way to those that are reached with our help.
        gatherings: What came of the search for paths, of the newest connections.
        gone: Set when the last open lane ended.
    """

    __slots__ = (
        "_actions", "_beside", "_destinations", "_gathered", "_gathering", "_inward", "_loop", "_master", "_negotiator",
        "_only_loopback", "_outward", "_owner", "_silent", "_wake", "addresses", "connections", "gatherings", "gone",
        "heard_at", "ice_servers", "live", "path", "relay", "session", "stood", "tunnels",
    )  # fmt: skip

    def __init__(
        self,
        master: Master,
        config: PeerConfig,
        negotiator: Negotiator,
        owner: LanesOwner,
        *,
        server: Zone = Zone.PUBLIC,
    ) -> None:
        self._master = master
        self._negotiator = negotiator
        self._owner = owner
        self._wake = owner.wake
        self._loop = asyncio.get_running_loop()
        self._outward = Direction.TO_RECEIVER if config.sender else Direction.TO_SENDER
        self._inward = Direction.TO_SENDER if config.sender else Direction.TO_RECEIVER
        self._only_loopback = config.only_loopback
        near = config.only_loopback or (server is Zone.LOOPBACK and not config.own_server)
        self._destinations = Destinations(
            nearest=Zone.LOOPBACK if near else Zone.LOCAL,
            farthest=Zone.LOOPBACK if config.only_loopback else Zone.PUBLIC,
        )
        self._actions: asyncio.Queue[Action] = asyncio.Queue()
        self._silent: set[int] = set()
        self._beside: set[int] = set()  # the generations that are tried for a better path
        self._gathered = 0
        self._gathering: asyncio.TimerHandle | None = None
        self.session: Session | None = None
        self.ice_servers = config.ice_servers
        self.relay = config.relay
        self.addresses = ServerAddresses(
            nearest=Zone.LOOPBACK if config.only_loopback else server,
            farthest=Zone.LOOPBACK if config.only_loopback else Zone.PUBLIC,
        )
        self.tunnels = Tunnels(self.addresses.addresses)
        self.gatherings: deque[Gathering] = deque(maxlen=_GATHERINGS)
        self.connections: dict[int, WebRtcConnection] = {}
        self.live: dict[int, LiveLane] = {}
        self.stood = False
        self.heard_at = 0.0
        self.path = ""
        self.gone = asyncio.Event()

    @property
    def linked(self) -> bool:
        """Whether a lane is open."""
        return bool(self.live)

    @property
    def alive(self) -> bool:
        """Whether a lane is open, and heard."""
        return len(self.live) > len(self._silent)

    def fell_silent(self, lane_id: int) -> int | None:
        """Note that nothing comes over a lane; return its generation, None if it is over."""
        if lane_id in self.live:
            self._silent.add(lane_id)
        return self._find(lane_id)

    def is_heard(self, lane_id: int) -> int | None:
        """Note that a silent lane is heard again; return its generation, None if it is over."""
        self._silent.discard(lane_id)
        return self._find(lane_id)

    def _find(self, lane_id: int) -> int | None:
        live = self.live.get(lane_id)
        return None if live is None else self._generation_of(live.lane)

    def _generation_of(self, lane: Lane) -> int | None:
        return next((g for g, connection in self.connections.items() if connection is lane), None)

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self.connections.values()):
            connection.close()

    def tear_down(self) -> None:
        """Nothing is used any more."""
        self.gathered()
        self.close()
        self.connections.clear()
        self.live.clear()
        self.gone.set()

    # The negotiator's actions: one at a time, in order

    def do(self, action: Action) -> None:
        """Queue an action for :meth:`carry_out`; what is to be dropped is closed at once: nothing more goes there."""
        dropped = self.connections.get(action.generation) if isinstance(action, DropConnection) else None
        if dropped is None:
            self._actions.put_nowait(action)
        else:
            dropped.close()

    async def carry_out(self) -> None:
        """Carry actions out until cancelled.

        Raises:
            ProtocolError: If the other side's description cannot be used. Where a better path is tried beside a lane
                that is well, only that try fails.
            ConnectionImpossible: If only relays may be used, and none is known.
        """
        while True:
            action = await self._actions.get()
            try:
                await self._carry_out(action)
            except Exception:
                if action.generation not in self._beside:
                    raise
                self._fail_beside(action.generation)
            self._wake()

    async def _carry_out(self, action: Action) -> None:
        if isinstance(action, (CreateOffer, CreateAnswer)):
            connection = await self._make(action)
            if isinstance(action, CreateOffer):
                sdp = await connection.offer()
                self._negotiator.handle_local_offer(action.generation, sdp, monotonic())
            else:
                sdp = await connection.answer(action.sdp)
                self._negotiator.handle_local_answer(action.generation, sdp, monotonic())
        elif (found := self.connections.get(action.generation)) is None:
            return
        elif isinstance(action, TakeAnswer):
            await found.accept(action.sdp)
        elif isinstance(action, TakeCandidate):
            await found.add_candidate(action.candidate, action.mid, action.mline)
        elif isinstance(action, DropConnection):
            found.close()

    async def _make(self, action: CreateOffer | CreateAnswer) -> WebRtcConnection:
        from p2pal.lanes.webrtc import WebRtcConnection

        if action.direct:
            self._beside.add(action.generation)
        servers, relay = await self._servers(direct=action.direct)
        broadcast = frozenset() if self._only_loopback else await asyncio.to_thread(broadcasts)
        connection = WebRtcConnection(
            action.lane,
            action.generation,
            self,
            servers,
            relay=relay,
            names=self.addresses.names | self.tunnels.names,
            only_loopback=self._only_loopback,
            remote=self._destinations.generation(broadcast),
        )
        self.gatherings.append(connection.gathering)
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
        self._beside.discard(generation)
        self._owner.lane_lost(generation)

    async def _servers(self, *, direct: bool) -> tuple[list[IceServer], RelayUse]:
        """Return the STUN and TURN servers for a new connection, and what the latter may carry.

        Args:
            direct: Whether it is to be made without relays.

        Raises:
            ConnectionImpossible: If only relays may be used for the first one, and none is known.
            ProtocolError: If it is to be made without relays where nothing else may be used.
        """
        if direct and self.relay is RelayUse.ONLY:
            raise ProtocolError("the other side asks for the addresses that this side hides")
        if direct:
            return await self.addresses.usable(servers_without_relays(self.ice_servers)), RelayUse.NEVER
        only = self.relay is RelayUse.ONLY
        servers = await known_servers(
            lambda: servers_for(self.ice_servers, self.relay), self._owner.ice_known, needed=only
        )
        if only and not servers and not self.stood:
            raise no_relay()
        led = await self.tunnels.lead_to(await self.addresses.usable(servers, hide=only), hide=only)
        if only and servers and not led and not self.stood:
            raise no_relay_through_proxy()
        return led, self.relay

    async def judge(self, action: Judge) -> None:
        """Compare the paths of two open lanes."""
        new, used = self.connections.get(action.generation), self.connections.get(action.used)
        live = None if new is None else self.live.get(new.id)
        if new is not None and used is not None and live is not None:
            try:
                better = await is_better(new, used, live.heard)
            except Exception:  # noqa: BLE001 - the lane in use is well, whatever the engine says of the other one
                better = False
            self._negotiator.handle_judged(action.generation, better, monotonic())
            self._wake()

    # What connections and their lanes report

    def candidate_found(self, connection: WebRtcConnection, candidate: str, mid: str, mline: int) -> None:
        """A local candidate is to be sent."""
        self._negotiator.handle_local_candidate(connection.generation, candidate, mid, mline, monotonic())
        self._wake()

    def lane_opened(self, lane: Lane) -> None:
        """A lane is open: send our opening bytes and hand the lane to the session."""
        generation = self._generation_of(lane)
        if generation is None or self.session is None:
            return
        now = monotonic()
        self._negotiator.handle_lane_open(generation, now)
        if not self._negotiator.is_open(generation):
            return  # it was dropped just now; the engine hears of it in a moment
        self.stood = True
        self.gone.clear()
        nonce = os.urandom(_LANE_NONCE)
        self.live[lane.id] = LiveLane(lane, LaneSealer(self._master.lane_key(lane.id, self._outward, nonce)))
        lane.send(nonce)
        self.session.lane_up(lane.id, now)
        self._wake()

    def lane_message(self, lane: Lane, data: bytes) -> None:
        """A message arrived: the peer's opening bytes, then sealed frames."""
        live = self.live.get(lane.id)
        session = self.session
        if live is None or session is None:
            return
        try:
            if live.opener is None:
                if len(data) != _LANE_NONCE:
                    raise ProtocolError("the other side opened a lane the wrong way")
                live.opener = LaneOpener(self._master.lane_key(lane.id, self._inward, data))
                live.heard.set()
                return
            frame = live.opener.open(data)
        except ProtocolError:
            # Whoever broke this lane does not have the keys: the lane ends, the session goes on.
            lane.close()
            return
        self.heard_at = now = monotonic()
        try:
            session.handle_frame(lane.id, frame, now)
        except ProtocolError as error:
            self._owner.abandon(error)
            return
        self._gathered += len(data)
        if len(data) < LARGE or self._gathered >= GATHER_BYTES:
            self._wake()
        elif self._gathering is None:
            self._gathering = self._loop.call_later(GATHER_SECONDS, self._wake)

    def gathered(self) -> None:
        """What came is dealt with now."""
        self._gathered = 0
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    def lane_writable(self, lane: Lane) -> None:  # noqa: ARG002 - the flush asks every lane
        """A lane's buffer drained."""
        self._wake()

    def lane_closed(self, lane: Lane, reason: str) -> None:  # noqa: ARG002
        """A lane is over: its frames travel again on the next one."""
        generation = self._generation_of(lane)
        if self.live.pop(lane.id, None) is not None and self.session is not None:
            self.session.lane_down(lane.id, monotonic())
        self._silent.discard(lane.id)
        if not self.live:
            self.gone.set()
        if generation is not None:
            del self.connections[generation]
            self._lose(generation)
        self._wake()

    def path_changed(self, connection: WebRtcConnection) -> None:
        """Another path is in use."""
        self._owner.path_changed(connection)

    async def look_at_path(self, connection: WebRtcConnection) -> None:
        """Find out which path a lane takes; the session limits what is on the way if it leads out of this machine."""
        path = await connection.path()
        if path is not None and not path.certain:
            await asyncio.sleep(SETTLE)
            path = await connection.path()
        if path is None or connection.id not in self.live:
            return
        if path.kind is PathKind.RELAYED and self.relay is RelayUse.NEVER:
            connection.close()  # both sides agreed on none: the other side broke its word
            return
        if self.session is not None:
            self.session.lane_controlled(connection.id, not connection.on_one_machine, monotonic())
            self._wake()
        if connection.generation != self._negotiator.in_use:
            return
        self._negotiator.handle_path(path.kind is PathKind.RELAYED, monotonic())
        self._wake()
        if path.words != self.path:
            self.path = path.words
            self._owner.path_found(path.words)

    # What goes out

    def drain(self, session: Session) -> None:
        """Put on every lane what the session has for it and what fits.

        One that may not stay carries no DATA: what is on its way there would have to be sent again.
        """
        several = len(self.live) > 1
        for live in list(self.live.values()):
            lane, seal, send = live.lane, live.sealer.seal, live.lane.send
            waits = several and self._generation_of(lane) != self._negotiator.in_use
            try:
                for frame in session.outputs(lane.id, 0 if waits else lane.budget(), monotonic()):
                    send(seal(frame))
            except LaneExhausted:
                lane.close()  # its key has sealed all that one key may; the next lane has another
