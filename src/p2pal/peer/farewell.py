"""The words in which a side that ends tells the other why, and what the other side makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from p2pal.errors import ConnectionImpossible, Interrupted, NoRelay, P2palError, PeerError, PeerLost
from p2pal.lanes.ice_servers import RelayUse
from p2pal.link.actions import GaveUp

CLOSE_GRACE: Final = 1.0
"""Seconds that a farewell may take, from our CLOSE to the other side's answer."""

FORGOTTEN = "the signaling server lost this transfer before the connection stood"
LEFT = "the other side left before the connection stood"
_LANES: Final = ("webrtc", "udp")
_LOST = "the connection to the other side was lost"


def farewell(error: BaseException) -> str:
    """Return the word for the other side when an error ends this one."""
    if isinstance(error, asyncio.CancelledError):
        return Interrupted.code
    return error.code if isinstance(error, P2palError) else PeerLost.code


def understood(code: str, impossible: Callable[[], ConnectionImpossible], *, stood: bool) -> PeerError | None:
    """Return the error that the other side's word makes of this session; None if it just left.

    Args:
        code: The word.
        impossible: Says why there is no path, as far as this side saw.
        stood: Whether the link ever stood here: then there was a path, whatever the other side says.
    """
    if stood and code in (ConnectionImpossible.code, NoRelay.code):
        return PeerLost(_LOST)
    if code == ConnectionImpossible.code:
        return impossible()
    if code == NoRelay.code:
        return _no_relay_there()
    return PeerLost(_LOST) if code == PeerLost.code else None


def gave_up(event: GaveUp, impossible: Callable[[], ConnectionImpossible], *, peer_online: bool) -> PeerError:
    """Return the error for a link that is not tried again; ``impossible`` as for :func:`understood`."""
    if event.connected_before:
        return PeerLost(_LOST)
    if not peer_online:
        return PeerLost("the other side went away before the connection stood")
    return impossible()


def check_relays(ours: RelayUse, theirs: RelayUse) -> None:
    """Check that both sides' wishes about relays leave a path.

    Raises:
        ConnectionImpossible: If one side wants nothing but relays, and the other one none.
    """
    if {ours, theirs} == {RelayUse.ONLY, RelayUse.NEVER}:
        here, there = ("--relay-only", "--no-relay") if ours is RelayUse.ONLY else ("--no-relay", "--relay-only")
        message = f"this side was started with {here}, the other one with {there}"
        raise ConnectionImpossible(message, hint="leave one out")


def check_lanes(ours: Sequence[str], theirs: Sequence[str]) -> None:
    """Check that both sides can use one kind of lane at least.

    Raises:
        ConnectionImpossible: If they have none in common.
    """
    if not set(ours) & set(theirs):
        message = f"this side uses {_named(ours)} lanes, the other one {_named(theirs)} lanes"
        raise ConnectionImpossible(message, hint="leave out -lane, or --relay-only, on one of the sides")


def _named(lanes: Sequence[str]) -> str:
    return " and ".join(each for each in lanes if each in _LANES) or "other"


def _no_relay_there() -> ConnectionImpossible:
    """Return the error where that is so on the other side."""
    return ConnectionImpossible(
        "the other side was started with --relay-only, but knows no TURN server",
        hint="it needs -turn, or a signaling server that offers one; then send again",
    )
