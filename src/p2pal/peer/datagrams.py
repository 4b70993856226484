"""The datagram lanes of one peer: makes one where the schedule says so, and lets it move with its machine.

What both sides say of a lane is a nonce and candidates (:class:`~p2pal.wire.signal.UdpCandidates`). The lane is made
once both sides' are known here.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from time import monotonic
from typing import Final

from p2pal.crypto.keys import Direction, Master
from p2pal.errors import ProtocolError
from p2pal.lanes.ice_candidates import IceCandidate
from p2pal.lanes.udp.addresses import CandidateKind, DatagramCandidate
from p2pal.lanes.udp.factory import UdpFactory, UdpSockets, candidate_of
from p2pal.lanes.udp.seal import LaneSecrets
from p2pal.lanes.udp.shell import UdpLane, UdpListener
from p2pal.link.datagrams import DatagramSchedule
from p2pal.wire.signal import MAX_UDP_CANDIDATES, SignalMessage, UdpCandidate, UdpCandidates

_KINDS: Final = {"host": CandidateKind.HOST, "srflx": CandidateKind.SERVER_REFLEXIVE}


class DatagramDriver:
    """One side's datagram lanes, one at a time.

    Args:
        master: The session's, for the lanes' keys.
        factory: Opens their sockets; None if this side uses no datagrams.
        sender: Which side this is.
        listener: Hears of the lanes.
        mail: Takes a message for the other side.

    Attributes:
        schedule: The pure machine that says when.
        lane: The newest lane, None before the first and after it ended.
    """

    __slots__ = (
        "_factory", "_listener", "_mail", "_master", "_own", "_sender", "_their_nonce", "_theirs", "_told", "lane",
        "schedule",
    )  # fmt: skip

    def __init__(
        self,
        master: Master,
        factory: UdpFactory | None,
        *,
        sender: bool,
        listener: UdpListener,
        mail: Callable[[SignalMessage], None],
    ) -> None:
        self._master = master
        self._factory = factory
        self._sender = sender
        self._listener = listener
        self._mail = mail
        self._own: UdpSockets | None = None
        self._their_nonce: bytes | None = None
        self._theirs: list[UdpCandidate] = []
        self._told = 0
        self.schedule = DatagramSchedule(leader=sender)
        self.lane: UdpLane | None = None

    @property
    def prepared(self) -> bool:
        """Whether the first lane's sockets are open, or a lane of them."""
        return self._own is not None

    # How a lane begins

    async def prepare(self) -> UdpCandidates | None:
        """Return what the hello says of the first lane; None if this side uses no datagrams."""
        if self._factory is None:
            return None
        self._own = await self._factory.open()
        return self._say(self.schedule.lane + 1, self._own.candidates)

    async def start(self, theirs: UdpCandidates) -> None:
        """The other side said this of the first lane in its hello: it is tried.

        Raises:
            ProtocolError: If it speaks of another lane.
        """
        if self._factory is None or self._own is None:
            return
        lane = self.schedule.start(monotonic())
        if theirs.lane != lane:
            raise ProtocolError("the other side began with another datagram lane than the first")
        self._their_nonce, self._theirs = theirs.nonce, list(theirs.candidates)
        await self._launch()

    async def begin(self) -> None:
        """Leader: the next lane is tried."""
        if self._factory is None:
            return
        lane = self.schedule.begin(monotonic())
        self._forget()
        own = await self._factory.open()
        if self.schedule.takes(lane):
            self._own = own
            self._mail(self._say(lane, own.candidates))
            await self._launch()  # where the other side spoke of it already
        else:
            own.close()

    async def take(self, message: UdpCandidates) -> None:
        """Take what the other side says of a lane. What is late is passed over.

        Raises:
            ProtocolError: If it begins a lane though it follows, or contradicts itself.
        """
        if self._factory is None or not self.schedule.enabled:
            return
        if not self.schedule.takes(message.lane):
            if self._sender and message.lane > self.schedule.lane:
                raise ProtocolError("the other side began a datagram lane, which is not its to begin")
            if self._sender or not self.schedule.accept(message.lane, monotonic()):
                return
            await self._follow(message)
        elif self._their_nonce is None:
            self._their_nonce, self._theirs = message.nonce, list(message.candidates)
            await self._launch()
        elif message.nonce != self._their_nonce:
            raise ProtocolError("the other side said two things of one datagram lane")
        elif self.lane is not None:
            self._add(message.candidates)
        else:
            self._theirs = (self._theirs + list(message.candidates))[:MAX_UDP_CANDIDATES]

    async def _follow(self, message: UdpCandidates) -> None:
        if self._factory is None:
            return
        before, self.lane = self.lane, None
        if before is not None:
            before.close()
        self._forget()
        self._their_nonce, self._theirs = message.nonce, list(message.candidates)
        own = await self._factory.open()
        if not self.schedule.takes(message.lane):
            own.close()
            return
        self._own = own
        self._mail(self._say(message.lane, own.candidates))
        await self._launch()

    def _say(self, lane: int, candidates: tuple[UdpCandidate, ...]) -> UdpCandidates:
        if self._own is None:
            raise RuntimeError("there are no sockets to speak of")
        self._told += len(candidates)
        return UdpCandidates(lane, self._own.nonce, candidates)

    async def _launch(self) -> None:
        """Both sides' words are known: make the lane."""
        own, theirs, factory = self._own, self._their_nonce, self._factory
        if own is None or theirs is None or factory is None or self.lane is not None:
            return
        number = self.schedule.lane
        outward, inward = Direction.TO_RECEIVER, Direction.TO_SENDER
        if not self._sender:
            outward, inward = inward, outward
        seal_key, send_tag = self._master.datagram_key(number, outward, own.nonce)
        open_key, receive_tag = self._master.datagram_key(number, inward, theirs)
        secrets = LaneSecrets(seal_key, open_key, send_tag, receive_tag)
        self.schedule.on_made()
        lane = self.lane = UdpLane(
            number,
            secrets,
            self._listener,
            leads=self._sender,
            zones=factory.zones,
            broadcast=own.broadcast,
            budget=factory.probes,
        )
        await _adopt(lane, own.take())
        if self.lane is not lane:
            return
        self._add(tuple(self._theirs))
        self._theirs.clear()
        servers = await factory.stun_servers()
        if self.lane is lane:
            lane.ask(servers)

    def _add(self, candidates: tuple[UdpCandidate, ...]) -> None:
        own, lane = self._own, self.lane
        if own is None or lane is None:
            return
        for told in candidates:
            if own.remote.takes(IceCandidate(told.kind, "udp", told.ip, told.port), monotonic()):
                lane.add_remote(DatagramCandidate(_KINDS[told.kind], told.ip, told.port))

    # While it lives

    def tell(self, found: DatagramCandidate) -> None:
        """A server sees one of our sockets at this address: the other side hears of it."""
        if self._told < MAX_UDP_CANDIDATES and self.lane is not None:
            self._mail(self._say(self.lane.id, (UdpCandidate("srflx", found.ip, found.port),)))

    async def move(self) -> None:
        """This machine came into another network: the lane gets sockets there, and loses those of networks that went.

        The other side hears of the new ones from the probes that come from there, if it is not told any more.
        """
        lane, factory = self.lane, self._factory
        if lane is None or factory is None:
            return
        addresses = await factory.addresses()
        if self.lane is not lane:
            return
        for opened in factory.bind([each for each in addresses if each not in lane.addresses]):
            candidate = candidate_of(opened)
            if await _adopt(lane, [opened]) and self.lane is lane and self._told < MAX_UDP_CANDIDATES:
                self._mail(self._say(lane.id, (candidate,)))
        if self.lane is lane and not lane.addresses.isdisjoint(addresses):  # a lane without a socket would be over
            lane.keep(addresses)

    # How it ends

    def closed(self, lane: UdpLane, *, broken: bool) -> None:
        """The lane is over."""
        if lane is self.lane:
            self.lane = None
            self._forget()
            self.schedule.on_closed(monotonic(), broken=broken)

    def handle_timeout(self, now: float) -> None:
        """Give up a lane of which the other side said nothing."""
        if self.schedule.take_unanswered(now):
            self._forget()

    def _forget(self) -> None:
        if self._own is not None:
            self._own.close()
        self._own = self._their_nonce = None
        self._theirs.clear()
        self._told = 0

    def stop(self) -> None:
        """End it, and open no other."""
        self.schedule.disable()
        if self.lane is not None:
            self.lane.close()
        self._forget()


async def _adopt(lane: UdpLane, sockets: list[socket.socket]) -> bool:
    """Hand a lane its sockets; those that it does not take are closed. Return whether it took all."""
    try:
        while sockets:
            await lane.adopt(sockets.pop(0))
    except ValueError:  # there are as many as a lane has, or it ended meanwhile
        return False
    finally:
        for left in sockets:
            left.close()
    return True
