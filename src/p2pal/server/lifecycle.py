"""The life of attempts and transfers, for the rules: an attempt is served, released, followed by the next. Pure.

Every function takes a transfer and returns the changed one; what is to be said or closed is added to ``effects``.
"""

from __future__ import annotations

from msgspec.structs import replace

from p2pal.server import state as s
from p2pal.server.config import Limits
from p2pal.server.state import Attempt, Effect, Rendezvous
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode, State


def release(
    transfer: Rendezvous, attempt: Attempt, reason: str, now: float, limits: Limits, effects: list[Effect]
) -> Rendezvous:
    """Take the attempt out, and serve the next if it was the served one. The sender hears of it in any case."""
    number = attempt.number
    past = (*transfer.past, s.Past(number, attempt.token, reason))[-limits.remembered :]
    transfer = replace(transfer, attempts=tuple(a for a in transfer.attempts if a.number != number), past=past)
    effects += (s.Note("released", number, reason), s.Drop(number))
    tell(effects, attempt.socket, wire.Released(number, reason))
    close(effects, attempt.socket, CloseCode.RELEASED)
    tell(effects, transfer.socket, wire.Released(number, reason))
    if number != transfer.served:
        return idle(transfer, now)
    waiting = tuple(replace(a, knock_ends=None) for a in transfer.attempts)
    transfer = idle(replace(transfer, state=State.PENDING, attempts=waiting, served=0, silent_at=None), now)
    tell_state(effects, transfer, now)
    return serve(transfer, now, limits, effects)


def serve(transfer: Rendezvous, now: float, limits: Limits, effects: list[Effect]) -> Rendezvous:
    """Serve the first attempt that has a socket, if none is served and the sender can hear of it."""
    if transfer.state is not State.PENDING or not transfer.socket:
        return transfer
    for attempt in transfer.attempts:
        if attempt.socket:
            break
    else:
        return transfer
    silent_at = None if transfer.meeting else now + limits.silence
    transfer = idle(replace(transfer, state=State.READY, served=attempt.number, silent_at=silent_at), now)
    effects.append(s.Note("served", attempt.number))
    tell(effects, transfer.socket, wire.Served(attempt.number))
    tell_state(effects, transfer, now)
    tell(effects, transfer.socket, wire.PeerPresence(online=True))
    tell(effects, attempt.socket, wire.PeerPresence(online=True))
    return transfer


def end_transfer(
    transfer: Rendezvous, state: State, now: float, limits: Limits, effects: list[Effect], *, expired: bool = False
) -> Rendezvous:
    """End the transfer for everyone; it is remembered for ``limits.rest`` seconds."""
    sockets = [transfer.socket, *(attempt.socket for attempt in transfer.attempts)]
    past = (*transfer.past, *(s.Past(a.number, a.token, "over") for a in transfer.attempts))
    effects += (s.Drop(attempt.number) for attempt in transfer.attempts)
    transfer = replace(
        transfer,
        state=state,
        socket="",
        expired=expired,
        attempts=(),
        past=past,
        served=0,
        silent_at=None,
        expires_at=None,
        forget_at=now + limits.rest,
    )
    effects.append(s.Note("expired" if expired else str(state)))
    for socket in sockets:
        tell(effects, socket, state_of(transfer, now))
        close(effects, socket, over_code(transfer))
    return transfer


def idle(transfer: Rendezvous, now: float) -> Rendezvous:
    """Start or stop the idle clock; before the first accept the TTL is absolute."""
    if not transfer.accepted:
        return transfer
    if transfer.socket or any(a.socket for a in transfer.attempts if transfer.meeting or a.number == transfer.served):
        return replace(transfer, expires_at=None)
    if transfer.expires_at is None:
        return replace(transfer, expires_at=now + transfer.ttl)
    return transfer


def with_attempt(transfer: Rendezvous, changed: Attempt) -> Rendezvous:
    """Put a changed attempt in the place of what it was."""
    return replace(transfer, attempts=tuple(changed if a.number == changed.number else a for a in transfer.attempts))


def past_reason(transfer: Rendezvous, number: int) -> str:
    """Return why an attempt that is over ended; ``over`` if that is forgotten."""
    return next((past.reason for past in transfer.past if past.number == number), "over")


def over_code(transfer: Rendezvous) -> CloseCode:
    """Return the close code of a transfer that is over."""
    return CloseCode.EXPIRED if transfer.expired else CloseCode.OVER


def state_of(transfer: Rendezvous, now: float) -> wire.StateChanged:
    """Return the message that tells the state."""
    return wire.StateChanged(transfer.state, transfer.expires_in(now), transfer.served)


def tell_state(effects: list[Effect], transfer: Rendezvous, now: float) -> None:
    """Tell the sender and the served attempt the state."""
    tell(effects, transfer.socket, state_of(transfer, now))
    served = transfer.attempt(transfer.served)
    if served is not None:
        tell(effects, served.socket, state_of(transfer, now))


def tell(effects: list[Effect], socket: str, message: wire.ServerMessage) -> None:
    """Say something to a socket, if there is one."""
    if socket:
        effects.append(s.Tell(socket, message))


def close(effects: list[Effect], socket: str, code: CloseCode) -> None:
    """Close a socket, if there is one."""
    if socket:
        effects.append(s.CloseSocket(socket, code))
