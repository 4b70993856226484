"""What the other side says through the mailbox, and what this side makes of it.

It begins with a greeting from each side, which says what the session may carry and whether relays may. From then on the
mailbox carries the link's messages, which are the negotiator's, and at last a farewell. The link may be lost on purpose
or by accident, and a lane that ends does not say which: so both a farewell by the mailbox and the end of the link's
patience wait a moment for whatever says more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Final, Protocol

from p2pal.errors import ConnectionImpossible, PeerLost, ProtocolError
from p2pal.lanes.ice_servers import RelayUse
from p2pal.link.negotiator import Negotiator
from p2pal.link.steps import GaveUp
from p2pal.peer.config import PeerConfig, PeerOwner
from p2pal.peer.farewell import CLOSE_GRACE, FORGOTTEN, LEFT, gave_up, understood
from p2pal.peer.lanes import Lanes
from p2pal.peer.tried import contradiction, impossible
from p2pal.wire.rendezvous import IceServer
from p2pal.wire.signal import Bye, Fresh, Hello, SignalMessage

FAREWELL_GRACE: Final = 3.0
"""Seconds that a farewell by the mailbox may come after the lane is gone: the other side takes up to two to stop."""

FIRST_GRACE: Final = 0.5
"""The same before the first lane: the other side says at once that it gives up, and the user waits for the answer."""


class Correspondent(Protocol):
    """Whose correspondence it is. All calls come on the event loop's thread."""

    @property
    def ending(self) -> bool:
        """Whether its end has begun: nothing that is said now changes that."""

    def wake(self) -> None:
        """Something was said: see what follows, once for this turn of the loop."""

    def probe(self) -> None:
        """Ask the other side, over every lane, whether it lives."""

    def greeted(self, hello: Hello) -> None:
        """The other side said what the session may carry: it begins."""

    def other_left(self, code: int, reason: str) -> None:
        """The other side just left."""

    def abandon(self, error: BaseException) -> None:
        """End with this error."""


class Correspondence:
    """Takes what comes by :class:`~p2pal.peer.signaling.Signaling`, whose owner it is.

    Args:
        correspondent: Whose it is.
        config: How that side connects.
        owner: Hears that the code's mailbox is free.
        negotiator: Takes the link's messages.
        lanes: Whether there are some decides who is believed.
    """

    __slots__ = ("_config", "_correspondent", "_lanes", "_loop", "_negotiator", "_owner", "_peer_online")

    def __init__(
        self, correspondent: Correspondent, config: PeerConfig, owner: PeerOwner, negotiator: Negotiator, lanes: Lanes
    ) -> None:
        self._correspondent = correspondent
        self._config = config
        self._owner = owner
        self._negotiator = negotiator
        self._lanes = lanes
        self._loop = asyncio.get_running_loop()
        self._peer_online = True

    # What signaling asks

    @property
    def alive(self) -> bool:
        """Whether a lane is open, and heard."""
        return self._lanes.alive

    @property
    def stood(self) -> bool:
        """Whether the link ever stood."""
        return self._lanes.stood

    @property
    def heard_at(self) -> float:
        """When a lane last brought anything, in seconds."""
        return self._lanes.heard_at

    def probe(self) -> None:
        """Ask the other side, over every lane, whether it lives."""
        self._correspondent.probe()

    # What the other side says

    def signal_message(self, message: SignalMessage) -> None:
        """The other side said something.

        Raises:
            ProtocolError: If that is not its to say, or not now.
            ConnectionImpossible: If both sides' wishes about relays leave no path.
        """
        if isinstance(message, Hello):
            if self._lanes.session is not None:
                raise ProtocolError("the other side said hello twice")
            self._agree(RelayUse(message.relay))
            self._correspondent.greeted(message)
        elif isinstance(message, Bye):
            # A farewell on the lane says more, and is on its way if there is a lane.
            self._loop.call_later(CLOSE_GRACE if self._lanes.linked else 0.0, self._handle_bye, message)
        elif self._lanes.session is None or isinstance(message, Fresh):
            raise ProtocolError("the other side began to connect before it said hello")
        else:
            self._negotiator.handle_message(message, monotonic())
        self._correspondent.wake()

    def _agree(self, theirs: RelayUse) -> None:
        """Take the other side's wish about relays into account."""
        ours = self._config.relay
        if {ours, theirs} == {RelayUse.ONLY, RelayUse.NEVER}:
            raise contradiction(ours)
        if theirs is RelayUse.ONLY:
            self._negotiator.keep_path()
        if theirs is RelayUse.NEVER and ours is RelayUse.ALLOWED:
            self._lanes.relay = theirs
            if any(server.relays for server in self._lanes.ice_servers):
                # What is tried already may lead through our relay: the other side would take its word for direct.
                self._negotiator.handle_moved(monotonic())

    def _handle_bye(self, bye: Bye) -> None:
        if self._correspondent.ending:
            return
        error = understood(bye.code, self._impossible, stood=self.stood)
        if error is None:
            self._correspondent.other_left(1, bye.code)
        else:
            self._correspondent.abandon(error)

    # What becomes of the mailbox

    def signal_online(self, here: bool, there: bool) -> None:
        """Who reaches the server."""
        self._peer_online = there
        self._negotiator.handle_online(here, there, monotonic())
        self._correspondent.wake()

    def signal_moved(self) -> None:
        """Both sides met at another place."""
        self._negotiator.handle_moved(monotonic())
        self._correspondent.wake()

    def signal_ice(self, servers: Sequence[IceServer]) -> None:
        """The generations from now on use what the server offers now."""
        if servers and self._config.choose_ice is not None:
            self._lanes.ice_servers = self._config.choose_ice(servers)

    def signal_left(self) -> None:
        """The code's mailbox is free."""
        if self._config.sender and not self._correspondent.ending:
            self._owner.peer_moved()

    def signal_lost(self, *, released: bool) -> None:
        """Before the link stood, there is no other way."""
        # The farewell that the other side may have mailed before says more, and is dealt with in a moment.
        self._loop.call_later(CLOSE_GRACE, self._lose_mailbox, LEFT if released else FORGOTTEN)

    def _lose_mailbox(self, why: str) -> None:
        if not self._lanes.stood and not self._correspondent.ending:
            self._correspondent.abandon(PeerLost(why))

    def signal_failed(self, error: Exception) -> None:
        """The other side broke the protocol."""
        self._correspondent.abandon(error)

    # What becomes of the link

    def link_given_up(self, event: GaveUp) -> None:
        """The link is not tried again: that is the end, unless the other side says goodbye now.

        It may have ended the lane on purpose: its farewell by the mailbox says so, and why.
        """
        error = gave_up(event, self._impossible, peer_online=self._peer_online)
        self._loop.call_later(FAREWELL_GRACE if self._lanes.stood else FIRST_GRACE, self._correspondent.abandon, error)

    def _impossible(self) -> ConnectionImpossible:
        lanes = self._lanes
        trouble = lanes.addresses.trouble | lanes.tunnels.trouble
        return impossible(lanes.gatherings, trouble, ours=self._config.relay, agreed=lanes.relay)
