"""What keeps the transfers: the seam between the rules and where their state lives.

A store loads a transfer, applies :mod:`p2pal.server.rules`, and writes the result as one atomic step, then hands the
effects that concern sockets to its listener, in the order of those steps. Sockets are named by ids that are unique
over all server instances, so a shared store brings each effect to the instance that holds the socket.

Any method may raise :class:`~p2pal.server.state.Denied` with ``unavailable`` while a shared store cannot be reached.
Whether the step was taken is then unknown; every command may be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from p2pal.rate_limit import Rate
from p2pal.server.state import CloseSocket, Missed, Note, Rendezvous, RendezvousCommand, Tell
from p2pal.wire.rendezvous import State

News = Tell | CloseSocket | Note | Missed

StoreListener = Callable[[str, News], None]
"""Called with the rendezvous id and one effect, in order, never blocking. Notes come to the instance that acted."""


class Store(Protocol):
    """Transfers and their logs. Every method that names a transfer first carries out what time has decided."""

    instance: str
    """The name of this server instance: ids of its sockets begin with it and a dot."""

    def now(self) -> float:
        """The store's clock, in seconds."""

    def listen(self, listener: StoreListener) -> None:
        """Name the one listener for effects that concern sockets."""

    async def create(self, ttl: float, owner: str = "") -> tuple[Rendezvous, str]:
        """Open a transfer and return it with its sender's token.

        Args:
            ttl: Seconds that it waits for its first accept, and later without anyone.
            owner: The address that the limit on open transfers counts it for; empty for none.

        Raises:
            Denied: ``full``, ``too-many-open``.
        """

    async def join(self, slot: int) -> tuple[Rendezvous, int, str]:
        """Open an attempt; return the transfer, the attempt's number and its token.

        Raises:
            Denied: ``unknown``, ``expired``, ``over``, ``queue-full``.
        """

    async def meet(
        self, rendezvous_id: str, ttl: float, *, sender: bool, owner: str = ""
    ) -> tuple[Rendezvous, int, str]:
        """Come to a meeting, which begins anew if it is unknown or over.

        Returns:
            The transfer, whose token it is (``SENDER`` or the number of a new attempt), and the token.

        Raises:
            Denied: ``full``, ``too-many-open``; ``unknown`` if the id is that of a transfer with a slot.
        """

    async def authorise(self, token: str) -> tuple[Rendezvous, int]:
        """Return the transfer that the token is for, and whose token it is.

        Raises:
            Denied: ``unauthorised``, ``unknown``.
        """

    async def load(self, rendezvous_id: str) -> Rendezvous:
        """Return a transfer as it stands.

        Raises:
            Denied: ``unknown``.
        """

    async def execute(self, rendezvous_id: str, command: RendezvousCommand) -> Rendezvous:
        """Carry out a command, atomically.

        Raises:
            Denied: As the rules say, and ``unknown``.
        """

    async def spend(self, purpose: str, address: str, rate: Rate) -> float:
        """Take one from what an address may do at this rate.

        Returns:
            0 if it may, else the seconds after which it may; nothing is taken then.
        """

    async def check(self) -> None:
        """Ask the store for a sign of life.

        Raises:
            Denied: ``unavailable``.
        """

    async def available(self) -> None:
        """Return once the store can be reached, as far as is known; at once if it can."""

    def census(self) -> Counter[State]:
        """Count the transfers whose sender has a socket on this instance, by state."""

    async def run(self) -> None:
        """Carry out what time decides and keep in touch with other instances, until cancelled."""
