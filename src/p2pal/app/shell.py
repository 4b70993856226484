"""What sending and receiving share: the shell around a machine, a peer and a mailbox.

A machine's inputs arrive from several tasks (the peer, the disk, the clock). Each is followed by one ``_drain``, which
moves everything that the machine has to say to where it belongs. There is no lock and no queue between: all of it
happens on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from time import monotonic
from typing import Final, Protocol

from p2pal.app.base import Transfer
from p2pal.app.events import Connected, PeerJoined, Reconnected, Reconnecting, Silence
from p2pal.app.options import ConnectOptions
from p2pal.app.tracker import Tracker
from p2pal.errors import CodeExpired, ConnectionImpossible, DiskError, Interrupted, P2palError, PeerLost, ServerRefused
from p2pal.lanes.base import IceServer
from p2pal.peer.meeting import Introduction
from p2pal.peer.peer import Peer, PeerConfig
from p2pal.rendezvous.mailbox import Mailbox
from p2pal.wire.transfer import Reason

TICK: Final = 0.2
"""Seconds between two looks at progress and timers: what a person sees moves smoothly, and costs nothing."""

STOP_LIMIT: Final = 2.0
"""Seconds that the peer gets, once the user stops us, to tell what became of the files on their way."""

TTL_SLACK: Final = 30.0
"""Seconds after the end of the code's time in which the server should have said so; a hostile one never does."""

FAREWELL: Final = 1.5
"""Seconds that the server gets to hear that we leave."""


class Machine(Protocol):
    """What both machines of a transfer have in common."""

    @property
    def done(self) -> bool:
        """Nothing more will come in or go out."""

    def outputs(self) -> Iterable[list[bytes | memoryview]]:
        """Payloads for the peer."""

    def events(self) -> Iterable[object]:
        """What happened."""

    def handle_payload(self, payload: bytes | memoryview, now: float) -> None:
        """Take a payload of the peer."""

    def cancel(self, reason: Reason, text: str, now: float) -> None:
        """Stop."""


class IceServerLike(Protocol):
    """An ICE server as the rendezvous hands it out."""

    @property
    def urls(self) -> list[str]:
        """STUN or TURN URLs."""

    @property
    def username(self) -> str:
        """For TURN."""

    @property
    def credential(self) -> str:
        """For TURN."""


class Shell(Transfer):
    """The base of both use cases; owns the peer once there is one."""

    _machine: Machine
    _tracker: Tracker

    def __init__(self, connect: ConnectOptions) -> None:
        super().__init__()
        self._connect = connect
        self._peer: Peer | None = None
        self._closing: asyncio.Task[None] | None = None
        self._path_known = asyncio.Event()
        self._parting = False
        self._mailbox_failed = False
        self._peer_stopped = False

    @property
    def _path(self) -> str:
        return "" if self._peer is None else self._peer.path

    @abstractmethod
    def _move(self) -> None:
        """Move what the machine has for the disk."""

    @abstractmethod
    def _handle_event(self, event: object) -> None:
        """Take one of the machine's events."""

    # The mailbox

    async def _tend(self, mailbox: Mailbox) -> None:
        """Keep the mailbox connected.

        A server that goes away, or forgets us, while the peers are linked or done with each other is not missed.
        """
        try:
            await mailbox.run()
        except P2palError:
            self._mailbox_failed = True
            over = self._parting or self._tracker.finished is not None
            if not over and (self._peer is None or not self._peer.linked):
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
                    async with asyncio.timeout(FAREWELL):
                        await last_word()
                        await mailbox.close()
                tender.cancel()

    # The peer

    async def _stream(self, peer: Peer) -> None:
        """Run the peer until the transfer is over.

        Raises:
            PeerLost: If the session ended before the machine did.
        """
        self._peer = peer
        ticker = asyncio.create_task(self._tick(peer))
        try:
            if self._cancelled:
                self._machine.cancel(Reason.CANCELLED, "", monotonic())
            await peer.run()
        except (PeerLost, ConnectionImpossible):
            # Every file has its end: how the link ended matters no more.
            if self._tracker.finished is None:
                raise
        finally:
            self._parting = True
            ticker.cancel()
            if self._closing is not None:
                await self._closing
        if self._tracker.finished is None:
            if self._peer_stopped:
                raise PeerLost("the other side stopped the transfer", hint="files that were complete are kept")
            raise PeerLost("the other side ended the session before the transfer was complete")

    async def _tick(self, peer: Peer) -> None:
        try:
            while True:
                await asyncio.sleep(TICK)
                self._look(monotonic())
        except Exception as error:  # noqa: BLE001 - nobody awaits this task: who runs the peer hears of it
            peer.abandon(error)

    def _look(self, now: float) -> None:
        """Look at the clock, a few times a second."""
        self._tracker.progress(now)

    def _drain(self) -> None:
        """Move everything that the machine has to say to where it belongs."""
        machine, peer = self._machine, self._peer
        if peer is not None and peer.writable:
            for payload in machine.outputs():
                peer.send(payload)
                if not peer.writable:
                    break
        self._move()
        for event in machine.events():
            self._handle_event(event)
        if machine.done and peer is not None and self._closing is None:
            self._closing = self._loop.create_task(self._close(peer))

    @abstractmethod
    async def _close(self, peer: Peer) -> None:
        """The machine is done: end the session."""

    def _stop(self) -> bool:
        peer = self._peer
        ending = self._tracker.finished is not None  # already, and it knows how
        if peer is None or not (peer.linked or ending):
            return False
        # A peer that stands still, or never stops talking, does not keep us.
        self._loop.call_later(STOP_LIMIT, self._abandon, peer)
        if not ending:
            self._machine.cancel(Reason.CANCELLED, "", monotonic())
            self._drain()
        return True

    def _abandon(self, peer: Peer) -> None:
        peer.abandon(None if self._tracker.finished is not None else Interrupted("stopped", hint=""))

    # What the peer reports

    def peer_payload(self, payload: bytes | memoryview) -> None:
        """Give a payload to the machine."""
        with keeping_the_list():
            self._machine.handle_payload(payload, monotonic())
        self._credit()

    @abstractmethod
    def _credit(self) -> None:
        """Note that one more payload was taken; the peer may send another once it is dealt with."""

    def peer_turn(self) -> None:
        """Deal with what the payloads brought, and give the session more."""
        self._drain()

    def peer_path(self, path: str) -> None:
        """Pass it on."""
        self._emit(Connected(path=path))
        self._path_known.set()

    def peer_retrying(self, attempt: int, attempts: int, delay: float) -> None:
        """Pass it on."""
        self._emit(Reconnecting(attempt=attempt, attempts=attempts, delay=delay))

    def peer_back(self) -> None:
        """Pass it on."""
        self._emit(Reconnected())

    def peer_silent(self, seconds: float) -> None:
        """Pass it on."""
        self._emit(Silence(seconds=seconds))

    def peer_closed(self, code: int, reason: str) -> None:  # noqa: ARG002 - the machine knows better why
        """The other side ended the session; its last records came before, unless it did not wait for them to."""
        self._peer_stopped = reason == Interrupted.code
        self._drain()


@contextlib.contextmanager
def keeping_the_list() -> Iterator[None]:
    """Say what it means when the temporary file of a manifest fails.

    Raises:
        DiskError: Instead of OSError.
    """
    try:
        yield
    except OSError as error:
        message = f"the list of files could not be kept: {error.strerror or 'the operation failed'}"
        raise DiskError(message, hint="make room for temporary files, or set TMPDIR") from error


async def load_engine(*, loopback: bool) -> None:
    """Import the engine in a thread, while there is something to wait for anyway: it takes a tenth of a second."""

    def load() -> None:
        from p2pal.lanes import webrtc

        if loopback:
            webrtc.allow_loopback()

    await asyncio.to_thread(load)


def ice_servers(connect: ConnectOptions, offered: Iterable[IceServerLike]) -> list[IceServer]:
    """Return the STUN and TURN servers to use: the caller's own, else those that the server offers.

    ``connect.stun`` of None switches STUN off, the server's too.
    """
    servers = []
    if connect.stun is not None:
        servers += [IceServer((url,)) for url in connect.stun]
        servers += [IceServer(tuple(s.urls), s.username, s.credential) for s in offered]
    if connect.turn:
        servers.append(IceServer(connect.turn, connect.turn_user, connect.turn_pass))
    return servers


def peer_config(
    connect: ConnectOptions, offered: Iterable[IceServerLike], *, sender: bool, max_payload: int
) -> PeerConfig:
    """Return how the peer connects: the caller's choices, and the STUN and TURN servers that are ``offered``."""
    return PeerConfig(
        sender=sender,
        max_payload=max_payload,
        ice_servers=ice_servers(connect, offered),
        max_retries=10**9 if connect.max_retries is None else connect.max_retries,
        retry_backoff=connect.retry_backoff,
        only_loopback=connect.only_loopback,
    )
