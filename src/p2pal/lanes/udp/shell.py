"""A datagram lane on the event loop: its sockets, its timer, and its listener."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Container, Iterable
from math import inf
from typing import Final, Protocol

from p2pal.lanes.address_zones import Zones
from p2pal.lanes.base import LaneListener
from p2pal.lanes.paths import Path, PathKind
from p2pal.lanes.udp.addresses import Address, CandidateKind, DatagramCandidate, is_ipv6, plain
from p2pal.lanes.udp.budget import ProbeBudget
from p2pal.lanes.udp.entropy import SEED_BYTES
from p2pal.lanes.udp.events import (
    Closed,
    Message,
    Opened,
    PathSelected,
    ReflexiveFound,
    Resumed,
    Stalled,
    Writable,
)
from p2pal.lanes.udp.lane import DatagramLane
from p2pal.lanes.udp.packet import Batch
from p2pal.lanes.udp.ports import MOST_REST, Port, open_port
from p2pal.lanes.udp.seal import LaneSecrets
from p2pal.lanes.udp.sockets import BUFFER, open_socket
from p2pal.lanes.udp.stream import MAX_MESSAGE
from p2pal.lanes.udp.time_slice import shorten_turns

TURN: Final = 48
"""Batches that leave in a row before anything else of the loop has its turn."""


LATE: Final = 0.002
"""Seconds after which a timer is late."""
POLLS: Final = 64
"""Times that every socket is read then, :data:`~p2pal.lanes.udp.ports.READ_BYTES` each."""
REST_SHARE: Final = 1 / 16
"""Of the round trip: how long a socket may rest while datagrams come (:attr:`~p2pal.lanes.udp.ports.Port.rest`)."""
LEAST_REST: Final = 0.0003
"""Seconds below which a rest gathers too little to be worth its timer."""
KEPT_HEAP: Final = 4 << 20
"""Bytes of the heap, and as many again, that the C library keeps for the next datagrams."""


def keep_heap() -> None:
    """Let the GNU C library keep what is free at the end of its heap; elsewhere this does nothing.

    It gives back what is more than 128 KiB, or twice the largest block that it ever returned to the system on its own
    (mallopt(3), M_MMAP_THRESHOLD). A burst of datagrams is more than 128 KiB: each one met its page faults anew, which
    were half of the receiver's processor time.
    """
    bytes(KEPT_HEAP)


class UdpListener(LaneListener, Protocol):
    """Who hears of a datagram lane."""

    def lane_event(self, lane: UdpLane, event: PathSelected | ReflexiveFound | Stalled | Resumed) -> None:
        """Something came up beside messages, or before the lane did."""


class UdpLane:
    """One end of a datagram lane; implements :class:`p2pal.lanes.base.Lane`.

    Everything happens on the event loop's thread. Bind sockets with :meth:`bind`, tell the peer what it returns, and
    hand what the peer tells to :meth:`add_remote`; the lane opens when a path is found.

    Args:
        lane_id: The number that the leader gave the lane.
        secrets: Its keys and tags.
        listener: Who hears of it.
        leads: Whether we nominate paths: the sender of the files does.
        zones: Where the peer may be.
        broadcast: Addresses that mean everybody in a network of this machine.
        budget: The session's, of probes to addresses that do not answer; None for one of its own.
        batches: Whether datagrams may leave in batches where the system can; False for tests and comparisons.
        watched: Whether the loop may watch sockets itself; False is what Windows is like.
        buffer: Bytes asked for on either side of each socket.

    Attributes:
        broken: Whether it ended because the other side, or somebody on the way, broke the protocol.
    """

    max_message = MAX_MESSAGE

    def __init__(
        self,
        lane_id: int,
        secrets: LaneSecrets,
        listener: UdpListener,
        *,
        leads: bool,
        zones: Zones,
        broadcast: Container[str] = (),
        budget: ProbeBudget | None = None,
        batches: bool = True,
        watched: bool = True,
        buffer: int = BUFFER,
    ) -> None:
        self.id = lane_id
        self._listener = listener
        self._batches = batches
        self._watched = watched
        self._buffer = buffer
        self._loop = asyncio.get_running_loop()
        keep_heap()
        shorten_turns()
        seed = os.urandom(SEED_BYTES)
        self._lane = DatagramLane(
            lane_id,
            secrets,
            leads=leads,
            seed=seed,
            now=self._loop.time(),
            zones=zones,
            broadcast=broadcast,
            budget=budget,
        )
        self._ports: dict[int, Port] = {}
        self._next_port = 0
        self._bound: dict[int, str] = {}
        self._held: Batch | None = None  # a socket was full
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._soon = False
        self._closed = False
        self.broken = False
        self._pumping = False

    @property
    def on_one_machine(self) -> bool:
        """Whether the path in use stays on this machine."""
        return self._lane.path is not None and self._lane.path.loopback

    async def path(self) -> Path | None:
        """Return the path in use, None before it opened."""
        used = self._lane.path
        if used is None:
            return None
        return Path(
            PathKind.PUNCHED if used.punched else PathKind.HOST, ipv6=is_ipv6(used.ip) and not used.loopback, lane="udp"
        )

    @property
    def stalled(self) -> bool:
        """Whether nothing of what was sent is acknowledged for a while."""
        return self._lane.stalled

    async def bind(self, ip: str) -> DatagramCandidate:
        """Open a socket on one of this machine's addresses and return the candidate to tell the peer.

        Raises:
            OSError: If that is no address of this machine.
            ValueError: If there are as many sockets as a lane has.
        """
        return await self.adopt(open_socket(ip, buffer=self._buffer))

    async def adopt(self, opened: socket.socket) -> DatagramCandidate:
        """Take a bound socket over and return the candidate to tell the peer.

        Raises:
            ValueError: If there are as many sockets as a lane has, or the lane is over: the socket is closed.
        """
        if self._closed:
            opened.close()
            raise ValueError("the lane is over")
        ip = opened.getsockname()[0]
        self._lane.sender.buffer = opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        index = self._next_port
        self._next_port += 1
        port = opened.getsockname()[1]
        try:
            self._lane.add_local(index, ip, port, self._loop.time())
        except ValueError:
            opened.close()
            raise
        self._bound[index] = plain(ip)
        try:
            opening = await open_port(index, opened, self, batches=self._batches, watched=self._watched)
        except BaseException:
            self._bound.pop(index, None)
            self._lane.remove_local(index, self._loop.time())
            opened.close()
            raise
        if index not in self._bound:  # the lane ended meanwhile, or the address went
            opening.close()
            raise ValueError("the lane is over")
        self._ports[index] = opening
        self._pump_soon()
        return DatagramCandidate(CandidateKind.HOST, plain(ip), port)

    @property
    def addresses(self) -> frozenset[str]:
        """The addresses that its sockets are bound to."""
        return frozenset(self._bound.values())

    def keep(self, addresses: Container[str]) -> None:
        """Close the sockets of all other addresses: this machine has them no more."""
        for index, address in list(self._bound.items()):
            if address not in addresses:
                self.port_lost(index)

    def ask(self, servers: Iterable[tuple[str, int]]) -> None:
        """Ask these STUN servers, IP addresses and ports, how they see our sockets."""
        self._lane.ask(servers, self._loop.time())
        self._pump_soon()

    def add_remote(self, candidate: DatagramCandidate) -> bool:
        """The peer told a candidate; return whether it is used."""
        used = self._lane.add_remote(candidate, self._loop.time())
        self._pump_soon()
        return used

    # The lane

    def send(self, message: bytes) -> None:
        """Queue one message; dropped if the lane is not open."""
        self._lane.send(message)
        self._pump_soon()

    def budget(self) -> int:
        """Bytes it takes now."""
        return self._lane.budget()

    @property
    def likes_large(self) -> bool:
        """Whether large messages suit the path in use."""
        return self._lane.likes_large

    def close(self) -> None:
        """End it: the peer is told, and the sockets are closed."""
        self._lane.close()
        self._end("closed here")
        self._held = None
        self._pump()

    def _end(self, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._listener.lane_closed(self, reason)

    def limit_mtu(self, size: int) -> None:
        """Never send datagrams of more bytes than this, whatever the path carries: for tests and comparisons."""
        self._lane.sender.limit_mtu(size)

    def figures(self) -> dict[str, float]:
        """Return what the log may say of the lane: sizes in bytes, times in seconds, rates in bytes per second."""
        return self._lane.sender.figures()

    # What comes from the sockets

    def port_received(self, index: int, data: bytes, ip: str, port: int, segment: int, received: float | None) -> None:
        """Datagrams came."""
        self._lane.receive_datagram(data, Address(ip, port, index), self._loop.time(), segment, received)

    def port_drained(self) -> None:
        """What came together is through."""
        self._pump()

    def port_writable(self) -> None:
        """A full socket takes datagrams again."""
        held, self._held = self._held, None
        if held is None or self._send(held):
            self._pump()

    def port_unreachable(self, address: Address) -> None:
        """An address cannot be reached now."""
        self._lane.on_unreachable(address, self._loop.time())

    def port_lost(self, index: int) -> None:
        """A port is of no use any more."""
        port = self._ports.pop(index, None)
        self._bound.pop(index, None)
        if port is not None:
            port.close()
            if self._held is not None and self._held.local == index:
                self._held = None
            self._lane.remove_local(index, self._loop.time())
            self._pump_soon()

    def port_too_large(self, size: int) -> None:
        """The system refused a datagram of this size."""
        self._lane.on_too_large(size, self._loop.time())

    # What goes to the sockets, and to the listener

    def _pump_soon(self) -> None:
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._pump_now)

    def _pump_now(self) -> None:
        self._soon = False
        self._pump()

    def _pump(self) -> None:
        if self._pumping:
            self._pump_soon()
            return
        self._pumping = True
        try:
            # First what the other side waits for, acknowledgements above all, and then what our listener makes of it.
            if self._held is None:
                self._send_due()
            self._report()
        finally:
            self._pumping = False
        if self._lane.over:
            self._tear_down()
        else:
            self._arm()

    def _send_due(self) -> None:
        for sent, batch in enumerate(self._lane.datagrams(self._loop.time())):
            if not self._send(batch):
                return
            if sent == TURN:
                self._pump_soon()
                return

    def _send(self, batch: Batch) -> bool:
        port = self._ports.get(batch.local)
        self._held = None if port is None else port.send(batch)
        return self._held is None

    def _report(self) -> None:
        """Tell the listener what happened; whatever it does meanwhile, in order, and nothing after the end."""
        for event in self._lane.events():
            if self._closed:
                continue
            if isinstance(event, Message):
                self._listener.lane_message(self, event.data)
            elif isinstance(event, Writable):
                self._listener.lane_writable(self)
            elif isinstance(event, Opened):
                self._set_rest()
                self._listener.lane_opened(self)
            elif isinstance(event, Closed):
                self.broken = event.broken
                self._end(event.reason)
            else:
                if isinstance(event, PathSelected):
                    self._set_rest()
                self._listener.lane_event(self, event)

    def _set_rest(self) -> None:
        """Let sockets rest by the round trip of the path in use: nobody notices a small part of it."""
        rest = min(self._lane.sender.loss.rtt.smoothed * REST_SHARE, MOST_REST)
        for port in self._ports.values():
            port.rest = rest if rest >= LEAST_REST else 0.0

    def _arm(self) -> None:
        at = self._lane.next_timeout()
        if at is None or at == inf:
            return
        if self._held is not None:
            at = max(at, self._loop.time() + 0.001)  # the socket wakes us before
        if self._timer is None or at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._loop.time() > self._timer_at + LATE:
            self._catch_up()
        self._lane.handle_timeout(self._loop.time())
        self._pump()

    def _catch_up(self) -> None:
        """The loop was busy: read what came meanwhile before anything counts as missing."""
        for _ in range(POLLS):
            more = [port.poll() for port in list(self._ports.values())]
            if not any(more):
                return

    def _tear_down(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for port in self._ports.values():
            port.close()
        self._ports.clear()
        self._bound.clear()
        self._end("the lane ended")
