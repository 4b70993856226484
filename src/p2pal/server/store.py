"""What keeps the transfers: the seam between the rules and where their state lives.

A store loads a transfer, applies :mod:`p2pal.server.rules`, and writes the result as one atomic step, then hands the
effects that concern sockets to its listener. Sockets are named by ids that are unique over all server instances, so
a shared store may publish effects to all instances and each ignores what it does not hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from p2pal.server.state import Close, Command, Note, Tell, Transfer

Listener = Callable[[str, Tell | Close | Note], None]
"""Called with the rendezvous id and one effect, in order, never blocking."""


class Store(Protocol):
    """Transfers and their logs. Every method that names a transfer first carries out what time has decided."""

    def now(self) -> float:
        """The store's clock, in seconds."""

    def listen(self, listener: Listener) -> None:
        """Name the one listener for effects that concern sockets."""

    async def create(self, ttl: float) -> tuple[Transfer, str]:
        """Open a transfer and return it with its sender's token.

        Raises:
            Denied: ``full``.
        """

    async def join(self, slot: int) -> tuple[Transfer, int, str]:
        """Open an attempt; return the transfer, the attempt's number and its token.

        Raises:
            Denied: ``unknown``, ``expired``, ``over``, ``busy``, ``queue-full``.
        """

    async def meet(self, rendezvous_id: str, ttl: float, *, sender: bool) -> tuple[Transfer, int, str]:
        """Come to a meeting, which begins anew if it is unknown or over.

        Returns:
            The transfer, whose token it is (``SENDER`` or the number of a new attempt), and the token.

        Raises:
            Denied: ``full``.
        """

    async def authorise(self, token: str) -> tuple[Transfer, int]:
        """Return the transfer that the token is for, and whose token it is.

        Raises:
            Denied: ``unauthorised``, ``unknown``.
        """

    async def load(self, rendezvous_id: str) -> Transfer:
        """Return a transfer as it stands.

        Raises:
            Denied: ``unknown``.
        """

    async def execute(self, rendezvous_id: str, command: Command) -> Transfer:
        """Carry out a command, atomically.

        Raises:
            Denied: As the rules say, and ``unknown``.
        """

    async def read(self, rendezvous_id: str, attempt: int, start: int, *, by_sender: bool) -> list[bytes]:
        """Return a log's bodies from index ``start`` on; empty if the attempt is over."""

    async def run(self) -> None:
        """Carry out what time decides, until cancelled."""
