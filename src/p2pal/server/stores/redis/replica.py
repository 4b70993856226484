"""What this instance knows of a transfer in which it holds sockets, and in which order it learns it. Pure.

Every step of a transfer has a version. An instance hears of its own steps by Redis' answers and of the others' by
its subscription, so that a later step may come first. A :class:`Following` puts them in order, and notices when one
does not come at all: publications are sent at most once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from p2pal.server.state import Rendezvous
from p2pal.wire import rendezvous as wire

PATIENCE: Final = 1.0
"""Seconds that a step may come later than one that follows it."""

_MAX_EARLY: Final = 64


class Told(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """A socket of another instance is sent this."""

    socket: str
    message: wire.ServerMessage


class SocketClosed(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """A socket of another instance is closed with this code."""

    socket: str
    code: int


class Update(msgspec.Struct, frozen=True, array_like=True):
    """One step: who took it, the version after it, the state, and what it says to the sockets of one instance."""

    by: str
    id: str
    version: int
    transfer: Rendezvous
    news: list[Told | SocketClosed]


encoder: Final = msgspec.msgpack.Encoder()
update_decoder: Final = msgspec.msgpack.Decoder(Update)
state_decoder: Final = msgspec.msgpack.Decoder(Rendezvous)


@dataclass(frozen=True, slots=True)
class Known:
    """A transfer as it stood at a version."""

    version: int
    transfer: Rendezvous


class Following:
    """The steps of one transfer, brought into order.

    Attributes:
        sockets: The sockets that this instance holds in it, and whose they are.
        current: The last step in order; None before the first, and after something was missed.
        held_until: Until when its slot is known to be held, in the store's seconds.
        renew_at: When Redis has to be told that the transfer lives on; None if its end is known.
    """

    __slots__ = ("_early", "_since", "current", "held_until", "renew_at", "sockets")

    def __init__(self) -> None:
        self.sockets: dict[str, int] = {}
        self.current: Known | None = None
        self.held_until = 0.0
        self.renew_at: float | None = None
        self._early: dict[int, Update] = {}
        self._since: float | None = None

    def take(self, update: Update, now: float, *, own: bool = False) -> list[Update]:
        """Take a step and return those that are due now, in order.

        Args:
            update: The step.
            now: The time, in seconds.
            own: This instance took the step: if nothing is known before, the order begins with it.
        """
        if self.current is None:
            if not own:
                if len(self._early) < _MAX_EARLY:
                    self._early[update.version] = update
                return []
            self._early = {version: early for version, early in self._early.items() if version > update.version}
        elif update.version <= self.current.version:
            return []
        elif update.version > self.current.version + 1:
            self._early[update.version] = update
            self._since = now if self._since is None else self._since
            return []
        due = [update]
        while (after := self._early.pop(due[-1].version + 1, None)) is not None:
            due.append(after)
        self.current = Known(due[-1].version, due[-1].transfer)
        self._since = now if self._early else None
        return due

    def overdue(self, now: float) -> list[Update] | None:
        """Return the steps after a gap that was waited for long enough, if there is one: something was missed."""
        if self._since is None or now < self._since + PATIENCE:
            return None
        early = [self._early[version] for version in sorted(self._early)]
        self.miss()
        return early

    def miss(self) -> None:
        """Something was missed: begin anew with this instance's next step."""
        self.current = None
        self._early.clear()
        self._since = None

    def lost_sockets(self, updates: list[Update]) -> list[str]:
        """Return sockets that these steps of others took for closed: this instance was given up for dead, and lives."""
        if self.current is None:
            return []
        closed = {each.socket for update in updates for each in update.news if isinstance(each, SocketClosed)}
        attached = {socket for _, socket in sockets_of(self.current.transfer)}
        return [socket for socket in self.sockets if socket not in attached and socket not in closed]

    @property
    def waits_until(self) -> float | None:
        """When :meth:`overdue` has something, in seconds; None if there is no gap."""
        return None if self._since is None else self._since + PATIENCE


def sockets_of(transfer: Rendezvous) -> list[tuple[int, str]]:
    """Return all sockets of a transfer, with whose they are."""
    sockets = [(0, transfer.socket)] + [(attempt.number, attempt.socket) for attempt in transfer.attempts]
    return [(who, socket) for who, socket in sockets if socket]


def instance_of(socket: str) -> str:
    """Return the instance that holds a socket."""
    return socket.partition(".")[0]
