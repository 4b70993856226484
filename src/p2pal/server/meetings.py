"""Meetings: transfers without a slot, whose id is a secret that the two peers share. Pure; see the rules."""

from __future__ import annotations

from msgspec.structs import replace

from p2pal.server import lifecycle
from p2pal.server import state as s
from p2pal.server.config import Limits
from p2pal.server.state import Attempt, Denied, Effect, Rendezvous
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode


def create(rendezvous_id: str, ttl: float, now: float, owner: str = "") -> Rendezvous:
    """Return a new meeting without anyone; the first :class:`~p2pal.server.state.JoinMeeting` follows."""
    return Rendezvous(
        id=rendezvous_id,
        slot=0,
        token=b"",
        ttl=ttl,
        expires_at=now + ttl,
        accepted=True,
        meeting=True,
        owner=owner,
    )


def meet(transfer: Rendezvous, command: s.JoinMeeting, now: float, limits: Limits, effects: list[Effect]) -> Rendezvous:
    """One of the two peers comes, perhaps again.

    Raises:
        Denied: If the transfer is no meeting.
    """
    if not transfer.meeting:
        raise Denied("unknown")
    transfer = replace(transfer, ttl=command.ttl)
    if transfer.expires_at is not None:
        transfer = replace(transfer, expires_at=now + command.ttl)
    if command.sender:
        return _meet_as_sender(transfer, command.token, now, limits, effects)
    for older in transfer.attempts:
        transfer = lifecycle.release(transfer, older, "renewed", now, limits, effects)
    number = transfer.joined + 1
    attempt = Attempt(number=number, token=command.token, deadline=now + limits.join_grace)
    effects.append(s.Note("met", number))
    return replace(transfer, joined=number, attempts=(attempt,))


def _meet_as_sender(
    transfer: Rendezvous, token: bytes, now: float, limits: Limits, effects: list[Effect]
) -> Rendezvous:
    lifecycle.close(effects, transfer.socket, CloseCode.REPLACED)
    transfer = replace(transfer, token=token, socket="", turn=0)
    effects.append(s.Note("met"))
    served = transfer.attempt(transfer.served)
    if served is not None and served.to_receiver.count:
        return lifecycle.release(transfer, served, "renewed", now, limits, effects)
    if served is not None:
        lifecycle.tell(effects, served.socket, wire.PeerPresence(online=False))
    return lifecycle.idle(transfer, now)
