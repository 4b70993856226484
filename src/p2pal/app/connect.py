"""What sending and receiving share: the way to the other side, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Final, Literal, TypeVar

from p2pal.app.events import AnyEvent, Connected, PeerJoined, Waiting
from p2pal.app.options import DEFAULT_STUN, ConnectOptions
from p2pal.app.transfer import Transfer
from p2pal.app.transfer_session import TransferSession
from p2pal.crypto import pake
from p2pal.errors import CodeExpired, P2palError, ServerRefused
from p2pal.lanes.address_zones import Nearness, zone_reached
from p2pal.lanes.candidate_filter import Destinations
from p2pal.lanes.ice_servers import IceServerConfig, KnownServers
from p2pal.lanes.udp.factory import UdpFactory
from p2pal.lanes.webrtc.factory import WebRtcFactory, load_engine
from p2pal.peer.config import PeerConfig
from p2pal.peer.key_exchange import Introduction
from p2pal.peer.signaling import Meet, MeetingPlace
from p2pal.rendezvous.client import RendezvousClient
from p2pal.rendezvous.mailbox import Mailbox
from p2pal.role import Role
from p2pal.wire.rendezvous import IceServer

TTL_SLACK: Final = 30.0
"""Seconds after the end of the code's time in which the server should have said so; a hostile one never does."""

FAREWELL: Final = 1.5
"""Seconds that the server gets to hear that we leave;"""

HASTY_FAREWELL: Final = 0.3
"""and as many when a person waits for the prompt."""

_OPEN: Final[tuple[tuple[str, ...], ...]] = ((), (DEFAULT_STUN,))
"""What leaves the choice of STUN servers to the signaling server."""

_T = TypeVar("_T")


class Shell(Transfer):
    """The base of both use cases."""

    def __init__(self, connect: ConnectOptions) -> None:
        super().__init__()
        self._connect = connect
        self._parting = False
        self._mailbox_failed = False
        self._mailbox_missed = False  # that is told, and not yet that it is back

    @property
    @abstractmethod
    def _session(self) -> TransferSession | None:
        """The session that counts, once there is one."""

    def _stop(self) -> bool:
        session = self._session
        return session is not None and session.stop()

    def _prepare(self, tasks: asyncio.TaskGroup) -> None:
        """Load what is sure to be needed, while there is something to wait for anyway."""
        tasks.create_task(asyncio.to_thread(pake.load))
        if not self._connect.tries_datagrams:
            tasks.create_task(load_engine(loopback=self._connect.on_this_machine))

    # The mailbox

    def _rendezvous(self) -> RendezvousClient:
        """Return the client of the signaling server; that it has to wait there is told."""
        return RendezvousClient(self._connect.server, waiting=self._server_waited_for)

    def _server_waited_for(self, seconds: float) -> None:
        self._emit(Waiting(what="server" if seconds else "", seconds=seconds))

    def _mailbox_waited_for(self, seconds: float) -> None:
        """The mailbox lost the server, or is back. A link that stood once does not need it."""
        peer = None if self._session is None else self._session.peer
        if seconds and not self._parting and (peer is None or not peer.link.lanes.stood):
            self._mailbox_missed = True
            self._server_waited_for(seconds)
        elif not seconds:
            self._mailbox_back()

    def _mailbox_back(self) -> None:
        if self._mailbox_missed:
            self._mailbox_missed = False
            self._server_waited_for(0.0)

    def _emit(self, event: AnyEvent) -> None:
        if isinstance(event, Connected):  # nobody waits for the server any more
            self._mailbox_back()
        super()._emit(event)

    async def _tend(self, mailbox: Mailbox) -> None:
        """Keep the mailbox connected. Once the peers' link has stood they can meet again without it."""
        try:
            await mailbox.run()
        except P2palError:
            self._mailbox_failed = True
            peer = None if self._session is None else self._session.peer
            if not self._parting and (peer is None or not peer.link.lanes.stood):
                raise

    async def _meet(
        self, meeting: Coroutine[None, None, Introduction], tender: asyncio.Task[None], ttl: float
    ) -> Introduction:
        """Await the key exchange; where the mailbox ended under it, say why that was. ``ttl`` is in seconds."""
        try:
            async with asyncio.timeout(ttl + TTL_SLACK):
                introduction = await meeting
        except TimeoutError:
            raise CodeExpired("the code has expired") from None
        except ServerRefused:
            if tender.done():
                tender.result()
            raise
        self._emit(PeerJoined())
        return introduction

    @contextlib.asynccontextmanager
    async def _tended(
        self, mailbox: Mailbox, last_word: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[asyncio.Task[None]]:
        """Keep the mailbox connected for the length of the block, and leave the server in good order.

        The mailbox has a group of its own: when another task fails, what is still to be said gets out.

        Args:
            mailbox: The mailbox; its task is what the block gets.
            last_word: Tells the server how it ended.
        """
        async with asyncio.TaskGroup() as keeper:
            tender = keeper.create_task(self._tend(mailbox))
            try:
                yield tender
            finally:
                self._parting = True
                with contextlib.suppress(P2palError, TimeoutError):
                    async with asyncio.timeout(HASTY_FAREWELL if self._cancelled else FAREWELL):
                        await last_word()
                        await mailbox.close()
                tender.cancel()


def meeting_place(client: RendezvousClient, role: Role) -> Meet:
    """Return how a peer comes to the place where both sides meet again."""

    async def meet(rendezvous_id: str) -> MeetingPlace:
        met = await client.meet(rendezvous_id, role)
        return MeetingPlace(client.mailbox(role, met.token, patience=None), met.ice_servers)

    return meet


async def in_thread(work: Callable[[], _T], *, undo: Callable[[_T], None]) -> _T:
    """Do something that blocks; if nobody waits for it any more when it is done, undo it, in a thread as well.

    Not even the end of the loop keeps it from being undone: that waits for the threads, but calls nobody back.
    """
    made: list[_T] = []
    left = False
    lock = threading.Lock()

    def run() -> _T:
        result = work()
        with lock:
            if not left:
                made.append(result)
                return result
        undo(result)
        return result

    loop = asyncio.get_running_loop()
    try:
        return await loop.run_in_executor(None, run)
    except asyncio.CancelledError:
        with lock:
            left = True
        if made:
            loop.run_in_executor(None, undo, made[0])
        raise


def ice_servers(connect: ConnectOptions, offered: Iterable[IceServer]) -> list[IceServerConfig]:
    """Return the STUN and TURN servers to use: the caller's own, and of each kind that it left open the server's.

    The default STUN server is used where the server offers none. ``connect.stun`` of None switches STUN off.
    """
    stun = [] if connect.stun is None else [IceServerConfig((url,)) for url in connect.stun]
    turn = [IceServerConfig(connect.turn, connect.turn_user, connect.turn_pass)] if connect.turn else []
    offered = list(offered)
    if connect.stun in _OPEN:
        stun = _of_kind(offered, "stun") or stun
    return stun + (turn or _of_kind(offered, "turn"))


def _of_kind(offered: Iterable[IceServer], kind: Literal["stun", "turn"]) -> list[IceServerConfig]:
    """Return the STUN or the TURN URLs that the server offers, with what they need."""
    found: list[IceServerConfig] = []
    for server in offered:
        urls = tuple(url for url in server.urls if url.startswith((f"{kind}:", f"{kind}s:")))
        if urls:
            secret = (server.username, server.credential) if kind == "turn" else ("", "")
            found.append(IceServerConfig(urls, *secret, offered=True))
    return found


def peer_config(
    connect: ConnectOptions,
    offered: Iterable[IceServer],
    *,
    reached: str,
    sender: bool,
    max_payload: int,
    small_payload: int | None = None,
) -> PeerConfig:
    """Return how the peer connects.

    Args:
        connect: The caller's choices.
        offered: The STUN and TURN servers that the signaling server offers.
        reached: The address that this server was reached at.
        sender: Which side this is.
        max_payload: Bytes of the largest payload this side sends.
        small_payload: The same over a lane that does not like large messages; None for ``max_payload``.
    """
    # Where nothing is left open no connection need wait for what the server says.
    choose = None if connect.turn and connect.stun not in _OPEN else functools.partial(ice_servers, connect)
    servers = KnownServers(ice_servers(connect, offered), choose)
    near = Nearness(server=zone_reached(reached), own_server=connect.own_server, only_loopback=connect.only_loopback)
    destinations = Destinations(near.peers)
    return PeerConfig(
        sender=sender,
        max_payload=max_payload,
        small_payload=small_payload,
        connections=WebRtcFactory(servers, near, destinations),
        servers=servers,
        datagrams=UdpFactory(servers, near, destinations) if "udp" in connect.lanes else None,
        engine="webrtc" in connect.lanes,
        max_retries=connect.max_retries,
        retry_backoff=connect.retry_backoff,
        wait=connect.wait,
        relay=connect.relay,
        roams=not connect.only_loopback,
    )
