"""Whether a TURN server relays: two connections in this process meet at it and say something to each other.

That is what a transfer needs of it, by the same engine. One end may use nothing but this server's relay; the other end
may use everything, as the other machine would.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from p2pal.connect_failure import ConnectFailure
from p2pal.doctor.network_facts import Relaying, probe_target
from p2pal.errors import ProtocolError
from p2pal.hosts import connect_failure, connect_to, is_loopback
from p2pal.lanes.address_zones import Zone, Zones
from p2pal.lanes.base import CandidateFound, Connection, Lane, PathChanged
from p2pal.lanes.candidate_filter import Destinations
from p2pal.lanes.ice_candidates import parse_candidate
from p2pal.lanes.ice_servers import IceServerConfig, RelayUse
from p2pal.lanes.interfaces import source_of
from p2pal.lanes.turn.tunnel import Tunnels
from p2pal.lanes.webrtc.connection import WebRtcConnection
from p2pal.wire.signal import Candidate

TIMEOUT: Final = 5.0
"""Seconds; the engine itself asks a silent server for nearly ten."""
REACH_TIMEOUT: Final = 2.5
"""Seconds for the connection to the server itself and its TLS handshake."""
MAX_CANDIDATES: Final = 64
_GREETING: Final = 16


class _End:
    """One end of the trial, and what the engine tells of it."""

    def __init__(self) -> None:
        self.candidates: asyncio.Queue[Candidate] = asyncio.Queue(MAX_CANDIDATES)
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self.searched = asyncio.Event()
        """The search for candidates is over, or has found a relayed one."""
        self.relayed_at: float | None = None
        self.heard: asyncio.Queue[bytes] = asyncio.Queue(4)

    def connection_event(self, _connection: Connection, event: CandidateFound | PathChanged) -> None:
        if isinstance(event, PathChanged):
            return  # the last one is asked for once a message came through
        line = event.candidate.candidate
        if not line:
            self.searched.set()
            return
        told = parse_candidate(line)
        if told is not None and told.kind == "relay" and self.relayed_at is None:
            self.relayed_at = asyncio.get_running_loop().time()
            self.searched.set()
        with contextlib.suppress(asyncio.QueueFull):
            self.candidates.put_nowait(event.candidate)

    def lane_opened(self, _lane: Lane) -> None:
        self.opened.set()

    def lane_message(self, _lane: Lane, data: bytes) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self.heard.put_nowait(data)

    def lane_writable(self, _lane: Lane) -> None:
        """Two messages always fit."""

    def lane_closed(self, _lane: Lane, _reason: str) -> None:
        self.closed.set()

    async def over(self) -> None:
        """Return when no relay was found, or the connection has ended."""
        await self.searched.wait()
        if self.relayed_at is not None:
            await self.closed.wait()


async def try_relay(
    near: IceServerConfig,
    far: Sequence[IceServerConfig],
    *,
    only_loopback: bool = False,
    timeout: float = TIMEOUT,  # noqa: ASYNC109
) -> Relaying:
    """Have a message relayed by one TURN server, there and back.

    Args:
        near: The server, with the credentials of the end that may use only its relay. It has one URL.
        far: What the other end may use: the same server with credentials of its own, and STUN servers, because a relay
            may be told not to send to itself.
        only_loopback: Use loopback addresses only.
        timeout: Seconds.
    """
    tunnels = Tunnels()
    probing: asyncio.Task[ConnectFailure | None] | None = None
    url = near.urls[0]
    try:
        try:
            async with asyncio.timeout(timeout):
                led, others = await tunnels.lead_to((near,)), await tunnels.lead_to(far)
        except TimeoutError:
            return Relaying(url, cut=True)
        if not led:
            return Relaying(url, cause=tunnels.trouble.get(url))
        (through,) = led
        if through.urls == near.urls:  # else it is a port of ours that leads there, and knows why it does not
            probing = asyncio.create_task(why_not_reached(url, min(timeout, REACH_TIMEOUT)))
        found = await _meet(url, through, others, tunnels.names, only_loopback=only_loopback, seconds=timeout)
        if found.allocated is not None:
            return found
        if probing is not None:
            return replace(found, cause=await probing)
        return replace(found, cause=tunnels.trouble.get(url, ConnectFailure.NO_ANSWER if found.cut else None))
    finally:
        if probing is not None:
            probing.cancel()
        await tunnels.close()


async def _meet(
    url: str,
    near: IceServerConfig,
    far: Sequence[IceServerConfig],
    names: Mapping[str, str],
    *,
    only_loopback: bool,
    seconds: float,
) -> Relaying:
    """Have two ends meet at the server with this URL; the engine has others for them, whose ``names`` are known."""
    loop = asyncio.get_running_loop()
    started, ends = loop.time(), (_End(), _End())
    made: list[WebRtcConnection] = []
    # Both ends are ours, but what the relay's address is, the server says.
    nearest = Zone.LOOPBACK if only_loopback or is_loopback(probe_target(url).host) else Zone.LOCAL
    relayed, words, cut = None, "", False
    try:
        async with asyncio.timeout(seconds):
            for end, servers, relay in zip(ends, ((near,), far), (RelayUse.ONLY, RelayUse.ALLOWED), strict=True):
                made.append(
                    WebRtcConnection(
                        *(1, 1, end, servers),
                        relay=relay,
                        names=names,
                        only_loopback=only_loopback,
                        remote=Destinations(Zones(nearest)).generation(),
                    )
                )
            a, b = made
            talk = asyncio.create_task(_talk(a, b, ends))
            over = asyncio.create_task(ends[0].over())
            try:
                await asyncio.wait((talk, over), return_when=asyncio.FIRST_COMPLETED)
                if talk.done() and talk.result():
                    relayed = loop.time() - started
                    path = await a.path()
                    words = path.words if path is not None else ""
            finally:
                for task in (talk, over):
                    task.cancel()
                await asyncio.wait((talk, over))
    except TimeoutError:
        cut = relayed is None
    except ProtocolError:
        pass
    finally:
        for connection in made:
            connection.close()
    found = ends[0].relayed_at
    errors = made[0].gathering.errors if made else {}
    return Relaying(
        url,
        allocated=None if found is None else found - started,
        relayed=relayed,
        error=0 if relayed is not None else next(iter(errors.values()), 0),
        words=words,
        cut=cut,
    )


async def _talk(a: WebRtcConnection, b: WebRtcConnection, ends: tuple[_End, _End]) -> bool:
    """Connect both ends and return whether one's message came back from the other."""
    answer = await b.answer(await a.offer())
    await a.accept(answer)
    async with asyncio.TaskGroup() as tasks:
        passing = [tasks.create_task(_pass(ends[0], b)), tasks.create_task(_pass(ends[1], a))]
        await asyncio.gather(*(end.opened.wait() for end in ends))
        greeting = secrets.token_bytes(_GREETING)
        a.send(greeting)
        b.send(await ends[1].heard.get())
        same = await ends[0].heard.get() == greeting
        for task in passing:
            task.cancel()
    return same


async def _pass(end: _End, other: WebRtcConnection) -> None:
    while True:
        await other.add_candidate(await end.candidates.get())


async def why_not_reached(url: str, timeout: float = REACH_TIMEOUT) -> ConnectFailure | None:  # noqa: ASYNC109
    """Connect to a server directly, as the engine does; return why that does not work, None if it does.

    That is as far as it shows without speaking TURN to it.

    Over UDP nothing is sent: only its name is looked up, and whether there is a route to one of its addresses.

    Args:
        url: A TURN URL.
        timeout: Seconds.
    """
    place = probe_target(url)
    try:
        async with asyncio.timeout(timeout):
            if place.transport == "udp":
                found = await asyncio.get_running_loop().getaddrinfo(place.host, place.port)
                return None if any(source_of(str(entry[4][0])) for entry in found) else ConnectFailure.NO_ROUTE
            context = await asyncio.to_thread(ssl.create_default_context) if place.transport == "tls" else None
            _, writer = await connect_to(place.host, place.port, context=context)
            writer.transport.abort()
    except TimeoutError:
        return ConnectFailure.NOT_RESOLVED if place.transport == "udp" else ConnectFailure.NO_ANSWER
    except (OSError, ValueError) as error:
        return connect_failure(error)
    return None
