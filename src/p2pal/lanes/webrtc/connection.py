"""WebRTC lanes: one peer connection, one pre-negotiated data channel (RFC 8831), and the path it took.

The only module that imports the engine. Everything happens on the event loop's thread; the engine's own threads
do ICE, DTLS and SCTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Final, TypeVar

import webrtc

from p2pal.errors import ProtocolError
from p2pal.hosts import is_loopback
from p2pal.lanes.address_zones import ANYWHERE, ONLY_LOOPBACK
from p2pal.lanes.base import BUFFER_LIMIT, CandidateFound, ConnectionListener, PathChanged
from p2pal.lanes.candidate_filter import CandidateFilter, CandidateQuota, Destinations
from p2pal.lanes.ice_candidates import IceCandidate, parse_candidate, with_relay_transport
from p2pal.lanes.ice_servers import IceServerConfig, RelayUse
from p2pal.lanes.paths import Path, find_path, on_one_machine
from p2pal.lanes.webrtc.gathering import Gathering
from p2pal.wire import signal
from p2pal.wire.ice_urls import canonical_url, parse_turn_url

MAX_MESSAGE: Final = 256 * 1024
"""What both ends of this engine accept (its SDP says ``a=max-message-size:262144``)."""

_CHANNEL_ID: Final = 0
_REFUSED: Final = (webrtc.PythonWebRTCExceptionBase, ValueError, TypeError)
_MEDIA: Final = re.compile(r"^m=([a-z]*)", re.MULTILINE)

_CANDIDATE_LINES: Final = re.compile(r"^a=candidate[^\n]*\n?", re.MULTILINE)

_T = TypeVar("_T")


def allow_loopback() -> None:
    """Gather loopback candidates too. Process-wide, and only before the first connection is made."""
    try:
        webrtc.allow_loopback()
    except webrtc.InvalidStateError:
        # A connection exists already: the choice was made then.
        return


class WebRtcConnection:
    """One peer connection and its single lane.

    It implements :class:`p2pal.lanes.base.Lane` itself: with one channel on each connection there is nothing to tell
    apart.

    Args:
        lane_id: The number that the leader gave the lane.
        generation: The generation that this connection belongs to.
        listener: Who hears of it.
        ice_servers: STUN and TURN servers.
        relay: What the TURN servers may carry. With ``ONLY`` no address of this machine is told or used; with
            ``NEVER`` nobody's relay is.
        names: For the URL of each server that the engine knows by another one than was named, that one: it is reached
            with our help (:mod:`p2pal.lanes.turn.tunnel`), or by its address (:mod:`p2pal.lanes.server_addresses`).
        only_loopback: Send and take loopback candidates only.
        remote: Which of the other side's candidates are used; by default those that one generation may have.

    Attributes:
        gathering: What came of the search for paths so far.
        on_one_machine: Both ends of the path in use are on this machine, as far as :meth:`path` saw: its delays are
            those of the processor, and there is no queue to overrun.
    """

    max_message = MAX_MESSAGE
    likes_large = False
    """The engine moves no more bytes in larger messages, and each holds up what is behind it."""

    def __init__(
        self,
        lane_id: int,
        generation: int,
        listener: ConnectionListener,
        ice_servers: Sequence[IceServerConfig] = (),
        *,
        relay: RelayUse = RelayUse.ALLOWED,
        names: Mapping[str, str] | None = None,
        only_loopback: bool = False,
        remote: CandidateFilter | None = None,
    ) -> None:
        self.id = lane_id
        self.generation = generation
        self._listener = listener
        self._only_loopback = only_loopback
        self._remote = remote or Destinations(ONLY_LOOPBACK if only_loopback else ANYWHERE).generation()
        self._told = CandidateQuota()
        self._closed = False
        self._opened = False
        self._queued_at_most = 0
        self._relay = relay
        self._names = {canonical_url(url): named for url, named in (names or {}).items()}
        self.on_one_machine = False
        urls = dict.fromkeys(self._named(url) for server in ice_servers for url in server.urls)
        self.gathering = Gathering(tuple(urls))
        self._pc = _connection(ice_servers, only_relay=relay is RelayUse.ONLY)
        self._channel = self._pc.create_data_channel(
            "p2pal", webrtc.RTCDataChannelInit(negotiated=True, id=_CHANNEL_ID, ordered=True)
        )
        self._channel.buffered_amount_low_threshold = BUFFER_LIMIT // 2
        self._channel.on("open", self._on_open)
        self._channel.on("message", self._on_message)
        self._channel.on("bufferedamountlow", self._on_low)
        self._channel.on("close", self._on_channel_close)
        self._pc.on("icecandidate", self._on_candidate)
        self._pc.on("icecandidateerror", self._on_candidate_error)
        self._pc.on("connectionstatechange", self._on_state)
        self._pc.on("datachannel", self._on_other_channel)

    def _named(self, url: str) -> str:
        """Return the URL by which a server was named that the engine knows by this one."""
        return self._names.get(canonical_url(url), url)

    async def offer(self) -> str:
        """Return the SDP offer (RFC 8829), empty if the connection ended; candidates follow one by one (RFC 8838)."""
        return await self._while_open(self._offer()) or ""

    async def _offer(self) -> str | None:
        description = await self._pc.create_offer()
        await self._pc.set_local_description(description)
        return description.sdp

    async def answer(self, sdp: str) -> str:
        """Take the peer's offer and return the answer, empty if the connection ended.

        Raises:
            ProtocolError: If the engine refuses the description.
        """
        return await self._while_open(self._answer(sdp)) or ""

    async def _answer(self, sdp: str) -> str | None:
        await self._set_remote("offer", sdp)
        # Some of it the engine looks at only now: a role that leaves no connection, a fingerprint of odd length.
        with self._blamed_on_the_description():
            description = await self._pc.create_answer()
            await self._pc.set_local_description(description)
            return description.sdp
        return None

    async def accept(self, sdp: str) -> None:
        """Take the peer's answer.

        Raises:
            ProtocolError: If the engine refuses the description.
        """
        await self._while_open(self._set_remote("answer", sdp))

    async def _while_open(self, call: Awaitable[_T]) -> _T | None:
        """Return what a call of the engine gives; None if the connection ends under it: the engine cancels it then.

        Whoever awaits the call is not cancelled by that, and may go on.
        """
        try:
            return await call
        except _REFUSED:
            if not self._closed:
                raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._closed or (task is not None and task.cancelling()):
                raise
        return None

    async def _set_remote(self, kind: str, sdp: str) -> None:
        if _MEDIA.findall(sdp) != ["application"]:
            # Audio and video would start a large part of the engine that nobody asked for.
            raise ProtocolError("the other side's session description has other media than one data channel")
        sdp = _CANDIDATE_LINES.sub("", sdp)  # they come one by one, and are looked at
        with self._blamed_on_the_description():
            await self._pc.set_remote_description(webrtc.RTCSessionDescriptionInit(type=kind, sdp=sdp))  # type: ignore[arg-type]

    @contextlib.contextmanager
    def _blamed_on_the_description(self) -> Iterator[None]:
        """What the engine refuses in here is the other side's fault, unless the connection ended meanwhile."""
        try:
            yield
        except _REFUSED as error:
            if not self._closed:
                raise ProtocolError("the other side sent a session description that cannot be used") from error

    async def add_candidate(self, candidate: signal.Candidate) -> None:
        """Take one of the peer's candidates. One that cannot be used is passed over: others may work."""
        told = parse_candidate(candidate.candidate)
        if self._closed or told is None or (told.kind == "relay" and self._relay is RelayUse.NEVER):
            return
        if not self._remote.takes(told, monotonic()):
            return
        self.gathering.add_remote(told)
        init = webrtc.RTCIceCandidateInit(
            candidate=candidate.candidate, sdp_mid=candidate.mid, sdp_m_line_index=candidate.mline
        )
        try:
            await self._while_open(self._pc.add_ice_candidate(init))
        except _REFUSED:
            return
        if self._opened and not self._closed:
            # A check may arrive before its candidate does: only now is it clear what kind of path it came by.
            self._listener.connection_event(self, PathChanged())

    def send(self, message: bytes) -> None:
        """Queue one message; dropped if the lane is over.

        Raises:
            ValueError: If it is larger than :attr:`max_message`.
        """
        if len(message) > MAX_MESSAGE:
            raise ValueError("the message is larger than the lane carries")
        if self._closed or not self._opened:
            return
        self._queued_at_most += len(message)
        try:
            self._channel.send(message)
        except (webrtc.InvalidStateError, webrtc.OperationError):
            # The channel ended under us, or its queue is full, which the budget rules out for a live one.
            self._end("the channel refused a message")
        except TypeError:
            self._end("the other side's session description allows no messages of this size")

    def budget(self) -> int:
        """Bytes that fit before the engine's queue holds :data:`BUFFER_LIMIT`.

        Asking the engine takes a lock that its network thread holds most of the time. What was sent since it was last
        asked bounds what can be queued, so it is asked once for every few hundred kilobytes.
        """
        if self._closed or not self._opened:
            return 0
        if self._queued_at_most > BUFFER_LIMIT // 2:
            self._queued_at_most = self._channel.buffered_amount
        return BUFFER_LIMIT - self._queued_at_most

    def close(self) -> None:
        """Close the channel and the connection."""
        self._end("closed here")

    async def path(self) -> Path | None:
        """Return the way the bytes go; None if there is none, or none any more, or the engine does not say.

        Brings :attr:`on_one_machine` up to date.
        """
        if self._closed:
            return None
        try:
            report = await self._while_open(self._pc.get_stats())
        except _REFUSED:
            return None
        if report is None:
            return None
        pair_id = next(
            (s.selected_candidate_pair_id for s in report.values() if isinstance(s, webrtc.RTCTransportStats)), None
        )
        pair = report.get(pair_id) if pair_id else None
        if not isinstance(pair, webrtc.RTCIceCandidatePairStats):
            return None
        local, remote = (
            report.get(id_) if id_ else None for id_ in (pair.local_candidate_id, pair.remote_candidate_id)
        )
        ends = self._own(local), self._peers(remote)
        self.on_one_machine = on_one_machine(*ends, self.gathering.own_addresses)
        return find_path(*ends)

    def _own(self, stats: object) -> IceCandidate:
        """Return our end of the path."""
        seen = _seen(stats)
        through = _text(stats, "relay_protocol")
        if seen.kind == "relay" or through:
            # The other side may see our relay at another address than the relay told us: for ICE that is one of a NAT.
            transport = self._transport(_text(stats, "url"), through or seen.protocol)
            seen = replace(seen, kind="relay", relay_transport=transport)
        base = (_text(stats, "related_address"), getattr(stats, "related_port", None) or 0)
        return self.gathering.recognise_own(seen, base)

    def _transport(self, url: str, seen: str) -> str:
        """Return how a relay is reached: ``seen`` is what the engine does, up to where we take over."""
        named = parse_turn_url(self._names.get(canonical_url(url), ""))
        return seen if named is None else "tls" if named.tls else named.transport

    def _peers(self, stats: object) -> IceCandidate:
        """Return the other end."""
        found = self.gathering.recognise_remote(_seen(stats))
        if self._only_loopback and found.kind == "prflx":
            # The other engine also sends from addresses that its side keeps to itself: they are of this machine.
            return replace(found, kind="host")
        return found

    def _on_open(self, _event: object) -> None:
        if self._closed:
            return
        self._opened = True
        sctp = self._pc.sctp
        if sctp is not None:
            transport = sctp.transport.ice_transport
            transport.on("selectedcandidatepairchange", self._on_pair)
        self._listener.lane_opened(self)
        self._listener.connection_event(self, PathChanged())

    def _on_message(self, event: webrtc.MessageEvent) -> None:
        if self._closed:
            return
        data = event.data
        # Text is not part of the protocol; the empty message makes the frame decoder say so.
        self._listener.lane_message(self, data if isinstance(data, bytes) else b"")

    def _on_low(self, _event: object) -> None:
        if not self._closed:
            self._listener.lane_writable(self)

    def _on_candidate(self, event: webrtc.RTCPeerConnectionIceEvent) -> None:
        if self._closed:
            return
        found = event.candidate
        if found is None:
            self.gathering.end()
            self._tell_candidate("")
            return
        own = parse_candidate(found.candidate)
        if own is None or (self._only_loopback and not is_loopback(own.address)):
            return
        if not self._told.take(own):
            return  # the other side would pass it over
        line, url = found.candidate, found.url or ""
        if own.kind == "relay":
            transport = self._transport(url, _text(found, "relay_protocol") or own.protocol)
            own, line = replace(own, relay_transport=transport), with_relay_transport(line, transport)
        self.gathering.add_own(own, self._named(url))
        self._tell_candidate(line, found.sdp_mid or "0", found.sdp_m_line_index or 0)

    def _tell_candidate(self, line: str, mid: str = "0", mline: int = 0) -> None:
        told = signal.Candidate(self.generation, line, mid, mline)
        self._listener.connection_event(self, CandidateFound(told))

    def _on_candidate_error(self, event: webrtc.RTCPeerConnectionIceErrorEvent) -> None:
        self.gathering.add_error(self._named(event.url), event.error_code)

    def _on_pair(self, _event: object) -> None:
        if not self._closed:
            self._listener.connection_event(self, PathChanged())

    def _on_state(self, _event: object) -> None:
        state = self._pc.connection_state
        if state == "failed":
            self._end("ICE found no working path" if not self._opened else "the connection failed")
        elif state == "closed":
            self._end("the connection was closed")

    def _on_other_channel(self, _event: object) -> None:
        # What nobody reads would pile up in the engine.
        self._end("the other side opened a second channel")

    def _on_channel_close(self, _event: object) -> None:
        self._end("the other side closed the channel")

    def _end(self, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        self._channel.close()
        self._pc.close()
        self._listener.lane_closed(self, reason)


def _connection(servers: Sequence[IceServerConfig], *, only_relay: bool) -> webrtc.RTCPeerConnection:
    """Return a connection with all servers that the engine takes: the signaling server may hand out wrong ones."""
    policy = webrtc.RTCIceTransportPolicy.relay if only_relay else webrtc.RTCIceTransportPolicy.all
    every = [
        webrtc.RTCIceServer(urls=list(s.urls), username=s.username or None, credential=s.credential or None)
        for s in servers
    ]
    try:
        return webrtc.RTCPeerConnection(webrtc.RTCConfiguration(ice_servers=every, ice_transport_policy=policy))
    except _REFUSED:
        usable = [s for s in every if _is_usable(s)]
        return webrtc.RTCPeerConnection(webrtc.RTCConfiguration(ice_servers=usable, ice_transport_policy=policy))


def _is_usable(server: webrtc.RTCIceServer) -> bool:
    try:
        webrtc.RTCPeerConnection(webrtc.RTCConfiguration(ice_servers=[server])).close()
    except _REFUSED:
        return False
    return True


def _seen(stats: object) -> IceCandidate:
    """Return a candidate as the engine's statistics have it."""
    return IceCandidate(
        kind=_text(stats, "candidate_type"),
        protocol=_text(stats, "protocol") or "udp",
        address=_text(stats, "address"),
        port=getattr(stats, "port", None) or 0,
    )


def _text(stats: object, name: str) -> str:
    value = getattr(stats, name, None)
    return str(getattr(value, "value", value) or "")
