"""The engine's connections of one peer: carries out what the negotiator asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from p2pal.errors import ProtocolError
from p2pal.lanes.base import ConnectionFactory, ConnectionListener, DescribedConnection, Lane
from p2pal.lanes.ice_servers import RelayUse
from p2pal.link.actions import Action, CreateAnswer, CreateOffer, DropConnection, Judge, TakeAnswer, TakeCandidate
from p2pal.link.negotiator import Negotiator
from p2pal.peer.live_lanes import LiveLanes
from p2pal.peer.path_comparison import is_better


class EngineDriver:
    """One side's connections, and what is to become of them.

    Args:
        negotiator: Says what is to be done, and hears what came of it.
        factory: Makes the connections.
        lanes: The open lanes.
        listener: Hears of the connections.
        learn: Waits a moment at most for what the signaling server says of STUN and TURN servers.

    Attributes:
        connections: Those there are, by generation.
        relay: What relays may carry, as both sides want it.
    """

    __slots__ = (
        "_actions", "_beside", "_factory", "_lanes", "_learn", "_listener", "_negotiator", "connections", "relay",
    )  # fmt: skip

    def __init__(
        self,
        negotiator: Negotiator,
        factory: ConnectionFactory,
        lanes: LiveLanes,
        listener: ConnectionListener,
        *,
        relay: RelayUse,
        learn: Callable[[], Awaitable[None]],
    ) -> None:
        self._negotiator = negotiator
        self._factory = factory
        self._lanes = lanes
        self._listener = listener
        self._learn = learn
        self._actions: asyncio.Queue[Action] = asyncio.Queue()
        self._beside: set[int] = set()  # the generations that are tried for a better path
        self.connections: dict[int, DescribedConnection] = {}
        self.relay = relay

    def do(self, action: Action) -> None:
        """Begin an action: they follow each other. What is to be dropped is closed at once: nothing more goes there."""
        dropped = self.connections.get(action.generation) if isinstance(action, DropConnection) else None
        if dropped is not None:
            dropped.close()
        else:
            self._actions.put_nowait(action)

    async def run(self, done: Callable[[], None]) -> None:
        """Carry actions out until cancelled; ``done`` is called after each.

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
            done()

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
            await found.add_candidate(action.candidate)
        elif isinstance(action, DropConnection):
            found.close()

    async def _make(self, action: CreateOffer | CreateAnswer) -> DescribedConnection:
        if action.direct:
            self._beside.add(action.generation)
            if self.relay is RelayUse.ONLY:
                raise ProtocolError("the other side asks for the addresses that this side hides")
        connection = await self._factory.connect(
            action.lane,
            action.generation,
            self._listener,
            relay=self.relay,
            direct=action.direct,
            first=not self._lanes.stood,
            learn=self._learn,
        )
        self.connections[action.generation] = connection
        return connection

    def _fail_beside(self, generation: int) -> None:
        """A try at a better path failed, whoever is to blame: what it was tried beside is well."""
        connection = self.connections.get(generation)
        if connection is None:
            self.lose(generation)
        else:
            connection.close()

    def closed(self, generation: int) -> None:
        """A connection is over, with its lane if that was open."""
        del self.connections[generation]

    def lose(self, generation: int) -> None:
        """The negotiator hears that a connection is over, or did not come to be."""
        self._beside.discard(generation)
        self._negotiator.handle_lane_closed(generation, monotonic())

    async def judge(self, action: Judge) -> None:
        """Compare the paths of two open lanes."""
        new, used = self.connections.get(action.generation), self.connections.get(action.used)
        live = None if new is None else self._lanes.by_id.get(new.id)
        if new is not None and used is not None and live is not None:
            try:
                better = await is_better(new, used, live.heard)
            except Exception:  # noqa: BLE001 - the lane in use is well, whatever the engine says of the other one
                better = False
            self._negotiator.handle_judged(action.generation, better, monotonic())

    def generation_of(self, lane: Lane | None) -> int | None:
        """Return the generation whose lane this is, None if it is none of them."""
        return next((g for g, connection in self.connections.items() if connection is lane), None)

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self.connections.values()):
            connection.close()
