"""Signaling between the peers, whichever rendezvous carries it.

It begins in the mailbox in which the code was used. That may end under a running session: the server restarts and
forgets, the attempt is let go, the sender gives the code's mailbox back to somebody who knocks. Then both sides go to
a *meeting place*, a rendezvous whose name follows from the session's master: both can create or join it, at any
server that their address leads to now, and nobody else can name it. If that ends too, they meet there again.

While a lane is alive all this is quiet, and goes on trying in the background, so that a later cut finds both there.
What was on its way when the place changed is lost, and that it did is told (:class:`~p2pal.peer.events.Moved`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from p2pal.crypto.keys import NONCE_BYTES, Master
from p2pal.crypto.seal import BadSeal
from p2pal.errors import P2palError, ServerRefused
from p2pal.peer.events import HomeLeft, MailboxLost, Moved, Online, Said, SignalingEvent, SignalingFailed
from p2pal.peer.key_exchange import Introduction
from p2pal.peer.sealed_logs import MEETING, Conversation
from p2pal.rendezvous.events import (
    AttemptKnocked,
    AttemptReleased,
    AttemptServed,
    IceServersOffered,
    MailboxEvent,
    PeerMessage,
    PeerOnline,
    ServerOffline,
)
from p2pal.rendezvous.mailbox import Mailbox
from p2pal.wire.rendezvous import IceServer
from p2pal.wire.signal import SignalMessage

ANSWER: Final = 0.5
"""Seconds that the server gets for an answer when the link is in trouble; without one the socket is replaced."""

RENEW: Final = 10.0
"""Seconds between two new sockets while the link is down and the mailbox is silent."""

ICE_PATIENCE: Final = 2.0
"""Seconds that a new connection waits for the server's word on STUN and TURN servers. It needs the server anyway."""

ICE_AGE: Final = 5.0
"""Seconds for which that word counts: the credentials in it end, and what the server gives may have changed."""

KNOCK_LIMIT: Final = 3.0
"""Seconds in which the receiver must be heard when somebody else comes with the code; else it is taken for gone."""

MOST_KNOCKS: Final = 8
"""Knocks that wait together for one answer; the server may make up as many as it likes."""

_KNOCK_LOOK: Final = 0.1
_FIRST_PAUSE: Final = 0.25
_MAX_PAUSE: Final = 15.0
_MAX_DOUBLINGS: Final = 6


@dataclass(frozen=True, slots=True)
class MeetingPlace:
    """One side's way to a meeting place.

    Attributes:
        mailbox: This side's, which is not running yet.
        ice_servers: The STUN and TURN servers that the server offers there.
    """

    mailbox: Mailbox
    ice_servers: Sequence[IceServer] = ()


Meet = Callable[[str], Awaitable[MeetingPlace]]
"""Creates or joins the rendezvous of this name."""


class LanesView(Protocol):
    """What signaling asks of the lanes, which may need it or not."""

    @property
    def heard(self) -> bool:
        """A lane is open and heard: signaling is not needed now."""

    @property
    def stood(self) -> bool:
        """A lane was open once. Before that there is no second place: the first attempt is over soon enough."""

    @property
    def heard_at(self) -> float:
        """When a lane last brought anything, in seconds."""


class Signaling:
    """The way to the other side's signaling, as long as the session lives.

    Args:
        introduction: Where it begins. That mailbox is run by whoever made it, and read here.
        master: The session's.
        meet: Makes the way to the meeting place; those mailboxes are run here.
        lanes: Whether one is open, and heard, decides who is believed; before the first there is no second place.
        probe: Asks the other side, over every lane, whether it lives.
        offered: Takes the STUN and TURN servers that the server offers, before anyone who waits for them goes on.
        wake: Has :meth:`events` drained at the end of this turn of the loop.
        sender: Which side this is.
    """

    def __init__(
        self,
        introduction: Introduction,
        master: Master,
        meet: Meet,
        *,
        lanes: LanesView,
        probe: Callable[[], None],
        offered: Callable[[Sequence[IceServer]], None],
        wake: Callable[[], None],
        sender: bool,
    ) -> None:
        self._home = introduction.mailbox
        self._master = master
        self._meet = meet
        self._lanes = lanes
        self._probe = probe
        self._offered = offered
        self._wake = wake
        self._events: deque[SignalingEvent] = deque()
        self._sender = sender
        self._mailbox: Mailbox | None = introduction.mailbox
        self._conversation: Conversation | None = Conversation.of(introduction)
        self._here = self._peer_online = True
        self._told = (True, True)
        self._ended = False  # the mailbox did
        self._heard_at = monotonic()
        self._renewing = False  # the socket ends because we want it to
        self._ice_known = asyncio.Event()  # the server answered what we asked last
        self._ice_at = float("-inf")  # when it did
        self._hurried = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        self._answering: asyncio.Task[None] | None = None
        self._knocks: list[int] = []  # attempts that wait for its outcome

    @property
    def at_home(self) -> bool:
        """Whether this is still the mailbox in which the code was used."""
        return self._mailbox is self._home

    def events(self) -> Iterator[SignalingEvent]:
        """Yield what happened since the last time."""
        while self._events:
            yield self._events.popleft()

    def _happened(self, event: SignalingEvent) -> None:
        self._events.append(event)
        self._wake()

    def send(self, message: SignalMessage) -> None:
        """Say something. It is dropped where nobody could hear it: both sides begin anew when they have met."""
        if self._conversation is not None and self._conversation.fresh:
            self._conversation.say(message)
            self._append()

    def hurry(self) -> None:
        """The link is in trouble: the socket may be as dead as the lane. It is asked, and replaced if it is."""
        self._hurried.set()
        if self._mailbox is not None and self._asking is None:
            self._asking = asyncio.create_task(self._ask(self._mailbox))

    async def _ask(self, mailbox: Mailbox) -> None:
        """Ask the server something that it answers at once, and that is of use: credentials of a TURN server end."""
        asked = monotonic()
        self._ask_ice(mailbox)
        await asyncio.sleep(ANSWER)
        self._asking = None
        if self._mailbox is mailbox and self._heard_at < asked and not self._lanes.heard:
            self._renew(mailbox)

    async def ice_known(self) -> None:
        """Return when the server has named its STUN and TURN servers anew, or has taken too long.

        Without this a connection would begin with what was offered before the sender accepted, or with credentials
        that have ended meanwhile, and would have to fail first.
        """
        if self._mailbox is not None and self._ice_known.is_set() and monotonic() > self._ice_at + ICE_AGE:
            self._ask_ice(self._mailbox)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ICE_PATIENCE):
                await self._ice_known.wait()

    def _ask_ice(self, mailbox: Mailbox) -> None:
        self._ice_known.clear()
        mailbox.ask_ice()

    def _renew(self, mailbox: Mailbox) -> None:
        self._heard_at = monotonic()
        self._renewing = True
        mailbox.renew()

    async def run(self) -> None:
        """Read what comes, and move where it is needed; runs until it is cancelled."""
        try:
            await self._run()
        finally:
            for task in (self._asking, self._answering):
                if task is not None:
                    task.cancel()

    async def _run(self) -> None:
        await self._read(self._home)
        self._leave()
        if not self._lanes.stood:
            return
        if not self._ended:
            self._happened(HomeLeft())
        failures = 0
        while True:
            try:
                place = await self._meet(self._master.rendezvous_id(MEETING))
            except P2palError:
                self._here = False
                met = False
            else:
                self._offered(place.ice_servers)
                met = await self._visit(place.mailbox)
            self._leave()
            failures = 0 if met else failures + 1
            pause = min(_FIRST_PAUSE * 2 ** min(failures, _MAX_DOUBLINGS), _MAX_PAUSE)
            self._hurried.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter
                    await self._hurried.wait()

    async def _visit(self, mailbox: Mailbox) -> bool:
        """Stay at a meeting place until it is of no use; return whether the other side was met there."""
        self._mailbox = mailbox
        self._here, self._peer_online = True, False
        tender = asyncio.create_task(_tend(mailbox))
        try:
            self._tell()
            return await self._read(mailbox)
        finally:
            # Our last word gets its second, also when we are cancelled: that is how a session ends.
            await mailbox.close()
            await tender

    async def _read(self, mailbox: Mailbox) -> bool:
        """Read a mailbox until it ended or is of no use any more; return whether anything good came of it."""
        good = False
        if self.at_home:
            self._ask_ice(mailbox)  # what the server offered before the sender accepted is not all
        while True:
            try:
                async with asyncio.timeout(RENEW):
                    event = await mailbox.get()
            except TimeoutError:
                if self._lanes.stood and not self._lanes.heard:
                    self._renew(mailbox)
                continue
            except ServerRefused:
                self._ended = True
                if not self._lanes.stood:
                    self._happened(MailboxLost(released=False))
                return good
            if not isinstance(event, ServerOffline):
                self._heard_at = monotonic()
            if not self._handle(mailbox, event):
                return good
            good = good or (self._conversation is not None and self._conversation.fresh)

    def _handle(self, mailbox: Mailbox, event: MailboxEvent) -> bool:
        """Take one event; return whether this mailbox is still of use."""
        stays = True
        self._here = not isinstance(event, ServerOffline) or (self._renewing and self._here)
        self._renewing = False
        match event:
            case AttemptServed(attempt) if not self.at_home:
                self._begin(attempt)
            case PeerMessage(attempt, index, body):
                stays = self._hear(mailbox, attempt, index, body)
            case PeerOnline(online):
                self._peer_online = online
            case AttemptReleased(attempt):
                stays = self._released(attempt)
            case AttemptKnocked(attempt):
                stays = self._knocked(mailbox, attempt)
            case IceServersOffered(servers):
                self._offered(servers)
                self._ice_at = monotonic()
                self._ice_known.set()
        self._tell()
        return stays

    def _begin(self, attempt: int) -> None:
        """Talk in a new attempt."""
        self._conversation = Conversation(self._master, attempt, os.urandom(NONCE_BYTES), sender=self._sender)
        self._append()

    def _hear(self, mailbox: Mailbox, attempt: int, index: int, body: bytes) -> bool:
        if self._conversation is None and index == 0 and not (self._sender or self.at_home):
            self._begin(attempt)  # the sender spoke first: it is told who comes, the receiver is not
        conversation = self._conversation
        if conversation is None or conversation.attempt != attempt:
            return True
        was_fresh = conversation.fresh
        try:
            message = conversation.hear(index, body)
            self._append()
            if conversation.fresh and not was_fresh:
                self._peer_online = True
                self._tell()
                self._ask_ice(mailbox)  # nor what it offered to one who was alone
                self._happened(Moved())
            if message is not None:
                self._happened(Said(message))
        except BadSeal as error:
            # Not the other side's, or out of order: the server's doing. It shall not end what it cannot see.
            if self._lanes.stood:
                return self._drop(mailbox)
            self._happened(SignalingFailed(error))
        except P2palError as error:
            self._happened(SignalingFailed(error))
        return True

    def _drop(self, mailbox: Mailbox) -> bool:
        """Give the attempt up, so that the other side begins anew as well; return whether the mailbox is still good."""
        if self._conversation is not None and self._sender:
            mailbox.release(self._conversation.attempt, "moved")
        elif self._conversation is not None:
            mailbox.leave()
        self._conversation = None
        return self._sender and not self.at_home

    def _released(self, attempt: int) -> bool:
        if self._conversation is None:
            return not self.at_home  # it was ours, given up before
        if attempt != self._conversation.attempt:
            return True
        if not self._lanes.stood:
            self._happened(MailboxLost(released=True))
            return True
        self._conversation = None
        return self._sender and not self.at_home

    def _knocked(self, mailbox: Mailbox, attempt: int) -> bool:
        """Somebody else came with the code. The mailbox is theirs if we cannot do anything with it now."""
        if self._lanes.stood and not self._lanes.heard:
            return self._drop(mailbox)
        if not self._lanes.stood or len(self._knocks) >= MOST_KNOCKS:
            mailbox.release(attempt, "busy")
            return True
        self._knocks.append(attempt)
        if self._answering is None:
            self._answering = asyncio.create_task(self._answer(mailbox))
        return True

    async def _answer(self, mailbox: Mailbox) -> None:
        """Find out whether the receiver still lives: whoever knocks may be it, started again a second after its end."""
        heard = await self._is_heard()
        knocks, self._knocks, self._answering = self._knocks, [], None
        if self._mailbox is not mailbox:
            return
        if not heard:
            self._drop(mailbox)
            return
        for attempt in knocks:
            mailbox.release(attempt, "busy")

    async def _is_heard(self) -> bool:
        asked = monotonic()
        while monotonic() - asked < KNOCK_LIMIT:
            self._probe()
            await asyncio.sleep(_KNOCK_LOOK)
            if self._lanes.heard_at > asked + _KNOCK_LOOK:  # not what had been under way
                return True
        return False

    def _append(self) -> None:
        conversation, mailbox = self._conversation, self._mailbox
        if conversation is None or mailbox is None:
            return
        try:
            for body in conversation.bodies():
                mailbox.append(conversation.attempt, body)
        except ServerRefused:
            # The log is full, after hundreds of candidates: another one is empty.
            self._drop(mailbox)

    def _leave(self) -> None:
        self._mailbox = self._conversation = None
        self._peer_online = False
        self._tell()

    def _tell(self) -> None:
        there = self._peer_online and self._conversation is not None and self._conversation.fresh
        if (self._here, there) != self._told:
            self._told = (self._here, there)
            self._happened(Online(self._here, there))


async def _tend(mailbox: Mailbox) -> None:
    """Run a mailbox. How it ended matters no more: the next one tells what is wrong."""
    with contextlib.suppress(P2palError):
        await mailbox.run()
