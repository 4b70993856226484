"""The kinds of lanes that keep the contract of :mod:`p2pal.lanes.base`, each as a way to make a pair.

Add a kind by adding an entry to :data:`KINDS`: an async function that takes the listeners of both ends and returns both
lanes, open or about to open, on the running event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256

from p2pal.lanes.address_zones import ONLY_LOOPBACK
from p2pal.lanes.base import CandidateFound, Connection, Lane, LaneListener, PathChanged
from p2pal.lanes.memory import EmulatedPath, MemoryLink
from p2pal.lanes.udp.ports import Port, SinglePort
from p2pal.lanes.udp.seal import LaneSecrets
from p2pal.lanes.udp.shell import UdpLane
from p2pal.lanes.webrtc.connection import WebRtcConnection, allow_loopback
from p2pal.wire.signal import Candidate

MakePair = Callable[[LaneListener, LaneListener], Awaitable[tuple[Lane, Lane]]]


async def memory(left: LaneListener, right: LaneListener) -> tuple[Lane, Lane]:
    """A link in memory on the event loop's own clock, slow enough that buffers fill."""
    path = EmulatedPath(delay=0.001, rate=100e6, queue=200_000)
    link = MemoryLink(asyncio.get_running_loop(), 1, left, right, path)
    return link.left, link.right


class Signaling:
    """What stands in for the mailbox at one end of a WebRTC pair: candidates go straight to the other end.

    Args:
        listener: Who hears of the lane.
    """

    def __init__(self, listener: LaneListener) -> None:
        self._listener = listener
        self._ready: list[Candidate] | None = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.other: WebRtcConnection
        self.paths = 0

    def deliver(self, other: WebRtcConnection) -> None:
        """Both descriptions are in place: candidates may go to the other end, those found before first."""
        self.other, found, self._ready = other, self._ready or [], None
        for candidate in found:
            self._give(candidate)

    def connection_event(self, connection: Connection, event: CandidateFound | PathChanged) -> None:
        if isinstance(event, PathChanged):
            self.paths += 1
        elif self._ready is not None:
            self._ready.append(event.candidate)
        else:
            self._give(event.candidate)

    def _give(self, candidate: Candidate) -> None:
        task = asyncio.get_running_loop().create_task(self.other.add_candidate(candidate))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def lane_opened(self, lane: Lane) -> None:
        self._listener.lane_opened(lane)

    def lane_message(self, lane: Lane, data: bytes) -> None:
        self._listener.lane_message(lane, data)

    def lane_writable(self, lane: Lane) -> None:
        self._listener.lane_writable(lane)

    def lane_closed(self, lane: Lane, reason: str) -> None:
        self._listener.lane_closed(lane, reason)


async def connect(
    left: LaneListener, right: LaneListener, *, lane_id: int = 1
) -> tuple[WebRtcConnection, WebRtcConnection]:
    """Two real connections in this process, over loopback, on their way to each other."""
    allow_loopback()
    ends = Signaling(left), Signaling(right)
    a, b = (WebRtcConnection(lane_id, 1, end, only_loopback=True) for end in ends)
    await a.accept(await b.answer(await a.offer()))
    ends[0].deliver(b)
    ends[1].deliver(a)
    return a, b


async def webrtc(left: LaneListener, right: LaneListener) -> tuple[Lane, Lane]:
    """The engine, over loopback."""
    return await connect(left, right)


class Ear:
    """Who hears of a datagram lane: passes on what every lane tells, and nothing else."""

    def __init__(self, listener: LaneListener) -> None:
        self.lane_opened, self.lane_message = listener.lane_opened, listener.lane_message
        self.lane_writable, self.lane_closed = listener.lane_writable, listener.lane_closed

    def lane_event(self, lane: Lane, event: object) -> None:
        pass


async def udp(
    left: LaneListener, right: LaneListener, *, ip: str = "127.0.0.1", batches: bool = True, watched: bool = True
) -> tuple[Lane, Lane]:
    """Datagrams over real sockets on loopback."""
    one, two = (sha256(text).digest() for text in (b"left", b"right"))
    both = LaneSecrets(one, two, 1, 2), LaneSecrets(two, one, 2, 1)
    lanes = [
        UdpLane(1, secrets, Ear(listener), leads=leads, zones=ONLY_LOOPBACK, batches=batches, watched=watched)
        for secrets, listener, leads in zip(both, (left, right), (True, False), strict=True)
    ]
    for lane, other in (lanes, reversed(lanes)):
        other.add_remote(await lane.bind(ip))
    ports: list[Port] = [port for lane in lanes for port in lane._ports.values()]
    assert all(isinstance(port, SinglePort) != watched for port in ports)
    return lanes[0], lanes[1]


KINDS: dict[str, MakePair] = {
    "memory": memory,
    "webrtc": webrtc,
    "udp": udp,
    "udp-ipv6": partial(udp, ip="::1"),
    "udp-single": partial(udp, batches=False),
    "udp-unwatched": partial(udp, watched=False),
    "udp-unwatched-ipv6": partial(udp, ip="::1", watched=False),
}
