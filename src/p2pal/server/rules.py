"""The rules of the rendezvous: (transfer, command, now) -> transfer and effects. Pure.

::

    pending --serve--> ready(n) --accept--> active(n) --complete--> completed
       ^                  |                    |
       +----- release ----+------- release ----+          any --delete, expiry--> aborted

- A join opens an attempt. The first one in order that has a socket is *served* once the sender has one too; the
  others wait. An accept sends those who wait away (``busy``).
- Who joins while another is active *knocks*: the sender hears of it, and releases either the newcomer (``busy``) or
  the active one (``moved``). Without an answer within ``limits.knock`` the newcomer is released.
- The served attempt must send its first message within ``limits.silence``; the clock stands still while the sender
  has no socket, because the sender speaks first. So neither a silent joiner nor one without a socket can squat.
- Until the first accept the TTL is absolute. Afterwards it is idle time: it runs only while neither the sender nor
  the served attempt has a socket.
- A *meeting* is a transfer without a slot: its id is a secret that the two peers share, so whoever names it is one of
  them, there is no silence to punish, and it counts as accepted. Coming again replaces: the sender's token, or the
  receiver's attempt. An attempt whose log to the receiver has begun cannot go on with a new sender (``renewed``).
- A socket may be attached *again*, when what it was told may have been lost on the way between server instances: it
  is told where everything stands, and the client takes that as repeats. The welcome that comes first is for the
  socket: it tells what is new from what is not, and passes on no second one (:mod:`p2pal.server.ws.view`).
- A command that is no longer needed (an append that is stored, a release of what is released) is acknowledged again:
  after a lost socket a client just repeats what was not acknowledged.

Everything that is not allowed raises :class:`~p2pal.server.state.Denied` and changes nothing.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from p2pal.server import meetings
from p2pal.server import state as s
from p2pal.server.config import Limits
from p2pal.server.lifecycle import (
    close,
    end_transfer,
    idle,
    over_code,
    past_reason,
    release,
    serve,
    state_of,
    tell,
    tell_state,
    with_attempt,
)
from p2pal.server.state import SENDER, Attempt, Denied, Effect, Rendezvous
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode, State

Step = tuple[Rendezvous, list[Effect]]


def create(rendezvous_id: str, slot: int, token: bytes, ttl: float, now: float, owner: str = "") -> Rendezvous:
    """Return a new transfer that waits ``ttl`` seconds."""
    return Rendezvous(id=rendezvous_id, slot=slot, token=token, ttl=ttl, expires_at=now + ttl, owner=owner)


def next_timeout(transfer: Rendezvous) -> float | None:
    """When :func:`handle_timeout` has something to do, or the transfer is to be forgotten."""
    if transfer.over:
        return transfer.forget_at
    times = [time for attempt in transfer.attempts for time in (attempt.deadline, attempt.knock_ends)]
    times += (transfer.expires_at, transfer.silent_at)
    return min((time for time in times if time is not None), default=None)


def handle_timeout(transfer: Rendezvous, now: float, limits: Limits) -> Step:
    """Carry out what time has decided."""
    effects: list[Effect] = []
    if transfer.over:
        return transfer, effects
    if transfer.expires_at is not None and now >= transfer.expires_at:
        return end_transfer(transfer, State.ABORTED, now, limits, effects, expired=True), effects
    for attempt in transfer.attempts:
        if attempt.deadline is not None and now >= attempt.deadline:
            transfer = release(transfer, attempt, "gone", now, limits, effects)
        elif attempt.knock_ends is not None and now >= attempt.knock_ends:
            transfer = release(transfer, attempt, "busy", now, limits, effects)
    # Serving the next one sets a deadline in the future: this ends.
    if transfer.silent_at is not None and now >= transfer.silent_at:
        served = transfer.attempt(transfer.served)
        if served is not None:
            transfer = release(transfer, served, "silent", now, limits, effects)
    return transfer, effects


def handle(transfer: Rendezvous, command: s.RendezvousCommand, now: float, limits: Limits) -> Step:
    """Carry out one command. Call :func:`handle_timeout` first when it is due.

    Raises:
        Denied: If it is not allowed; nothing has changed.
    """
    effects: list[Effect] = []
    if isinstance(command, s.Attach):
        return _attach(transfer, command, now, limits, effects), effects
    if isinstance(command, s.Detach):
        return _detach(transfer, command, now, limits, effects), effects
    if transfer.over:
        return _handle_over(transfer, command), effects
    return _handle_live(transfer, command, now, limits, effects), effects


def _handle_live(
    transfer: Rendezvous,
    command: s.Join
    | s.JoinMeeting
    | s.AppendMessage
    | s.AcceptAttempt
    | s.ReleaseAttempt
    | s.LeaveAttempt
    | s.CompleteTransfer
    | s.Delete,
    now: float,
    limits: Limits,
    effects: list[Effect],
) -> Rendezvous:
    match command:
        case s.Join():
            return _join(transfer, command, now, limits, effects)
        case s.JoinMeeting():
            return meetings.meet(transfer, command, now, limits, effects)
        case s.AppendMessage():
            return _append(transfer, command, limits, effects)
        case s.AcceptAttempt():
            return _accept(transfer, command, now, limits, effects)
        case s.ReleaseAttempt():
            _only_sender(command.who)
            return _end_attempt(transfer, command.attempt, command.reason, now, limits, effects)
        case s.LeaveAttempt():
            if command.who == SENDER:
                raise Denied("forbidden")
            return _end_attempt(transfer, command.who, "left", now, limits, effects)
        case s.CompleteTransfer():
            _only_sender(command.who)
            if transfer.state is not State.ACTIVE and not transfer.meeting:
                raise Denied("wrong-state")
            return end_transfer(transfer, State.COMPLETED, now, limits, effects)
        case s.Delete():
            _only_sender(command.who)
            return end_transfer(transfer, State.ABORTED, now, limits, effects)
        case _:
            assert_never(command)


def _handle_over(transfer: Rendezvous, command: s.RendezvousCommand) -> Rendezvous:
    """Only repeating what ended it is still allowed; whoever did so was told with the end."""
    repeated = (isinstance(command, s.CompleteTransfer) and transfer.state is State.COMPLETED) or (
        isinstance(command, s.Delete) and transfer.state is State.ABORTED
    )
    if repeated and isinstance(command, s.CompleteTransfer | s.Delete):
        _only_sender(command.who)
        return transfer
    raise Denied("expired" if transfer.expired else "over")


def _join(transfer: Rendezvous, command: s.Join, now: float, limits: Limits, effects: list[Effect]) -> Rendezvous:
    if sum(attempt.number != transfer.served for attempt in transfer.attempts) >= limits.attempts:
        raise Denied("queue-full")
    number = transfer.joined + 1
    attempt = Attempt(number=number, token=command.token, deadline=now + limits.join_grace)
    effects.append(s.Note("joined", number))
    return replace(transfer, joined=number, attempts=(*transfer.attempts, attempt))


def _attach(transfer: Rendezvous, command: s.Attach, now: float, limits: Limits, effects: list[Effect]) -> Rendezvous:
    who, socket = command.who, command.socket
    number = transfer.served if who == SENDER else who
    own = transfer.attempt(number)
    holder: Rendezvous | Attempt | None = transfer if who == SENDER else own
    if holder is not None and _comes_late(holder, command):
        effects.append(s.CloseSocket(socket, CloseCode.REPLACED))
        return transfer
    replay = _replay(own, command) if own is not None else None
    tell(effects, socket, wire.Welcome(transfer.state, transfer.expires_in(now), number))
    if command.again:
        tell(effects, socket, state_of(transfer, now))
    if transfer.over:
        effects.append(s.CloseSocket(socket, over_code(transfer)))
        return transfer
    if who == SENDER:
        transfer = _attach_sender(transfer, command, now, limits, effects)
    elif own is None:
        tell(effects, socket, wire.Released(who, past_reason(transfer, who)))
        effects.append(s.CloseSocket(socket, CloseCode.RELEASED))
        return transfer
    else:
        transfer = _attach_receiver(transfer, own, command, now, limits, effects)
    transfer = serve(idle(transfer, now), now, limits, effects)
    if own is not None and replay is not None:
        written = own.to_receiver if who == SENDER else own.to_sender
        if command.again:
            effects += (s.Tell(socket, wire.Appended(number, index)) for index in range(written.count))
        effects.append(replay)
    return transfer


def _comes_late(holder: Rendezvous | Attempt, command: s.Attach) -> bool:
    """Whether a newer socket of the same token was here before."""
    return command.turn < holder.turn or (command.again and holder.socket not in ("", command.socket))


def _replay(own: Attempt, command: s.Attach) -> s.Replay:
    """Return what sends the client's log on from its cursor.

    Raises:
        Denied: ``cursor``, if it is past the end.
    """
    by_sender = command.who != SENDER
    start = command.cursors.get(own.number, 0)
    if start > (own.to_receiver if by_sender else own.to_sender).count:
        raise Denied("cursor")
    return s.Replay(command.socket, own.number, by_sender, start)


def _attach_sender(
    transfer: Rendezvous, command: s.Attach, now: float, limits: Limits, effects: list[Effect]
) -> Rendezvous:
    socket = command.socket
    if transfer.socket != socket:
        close(effects, transfer.socket, CloseCode.REPLACED)
    transfer = replace(transfer, socket=socket, turn=command.turn)
    known = dict.fromkeys(command.cursors)
    if command.again:  # also of those that knocked, whose numbers are no cursors
        known |= dict.fromkeys(past.number for past in transfer.past)
    for number in known:
        if transfer.attempt(number) is None:
            tell(effects, socket, wire.Released(number, past_reason(transfer, number)))
    served = transfer.attempt(transfer.served)
    if served is not None:
        if served.number not in command.cursors:
            tell(effects, socket, wire.Served(served.number))
        tell(effects, socket, wire.PeerPresence(bool(served.socket)))
        tell(effects, served.socket, wire.PeerPresence(online=True))
        if transfer.state is State.READY and served.to_sender.count == 0 and not transfer.meeting:
            transfer = replace(transfer, silent_at=now + limits.silence)
    for attempt in transfer.attempts:
        if attempt.knock_ends is not None and attempt.socket:
            tell(effects, socket, wire.Knock(attempt.number))
    return transfer


def _attach_receiver(
    transfer: Rendezvous, own: Attempt, command: s.Attach, now: float, limits: Limits, effects: list[Effect]
) -> Rendezvous:
    socket = command.socket
    if own.socket != socket:
        close(effects, own.socket, CloseCode.REPLACED)
    own = replace(own, socket=socket, turn=command.turn, deadline=None)
    if own.number == transfer.served:
        tell(effects, socket, wire.PeerPresence(bool(transfer.socket)))
        tell(effects, transfer.socket, wire.PeerPresence(online=True))
    elif transfer.state is State.ACTIVE and own.knock_ends is None:
        own = replace(own, knock_ends=now + limits.knock)
        effects.append(s.Note("knocked", own.number))
        tell(effects, transfer.socket, wire.Knock(own.number))
    return with_attempt(transfer, own)


def _detach(transfer: Rendezvous, command: s.Detach, now: float, limits: Limits, effects: list[Effect]) -> Rendezvous:
    if transfer.over:
        return transfer
    if command.who == SENDER:
        if transfer.socket != command.socket:
            return transfer
        transfer = replace(transfer, socket="", silent_at=None)
        served = transfer.attempt(transfer.served)
        if served is not None:
            tell(effects, served.socket, wire.PeerPresence(online=False))
        return idle(transfer, now)
    attempt = transfer.attempt(command.who)
    if attempt is None or attempt.socket != command.socket:
        return transfer
    if attempt.number == transfer.served:
        transfer = with_attempt(transfer, replace(attempt, socket=""))
        tell(effects, transfer.socket, wire.PeerPresence(online=False))
        return idle(transfer, now)
    return idle(with_attempt(transfer, replace(attempt, socket="", deadline=now + limits.offline_grace)), now)


def _append(transfer: Rendezvous, command: s.AppendMessage, limits: Limits, effects: list[Effect]) -> Rendezvous:
    if command.who not in (SENDER, command.attempt):
        raise Denied("forbidden")
    attempt = _live(transfer, command.attempt)
    if attempt.number != transfer.served:
        raise Denied("not-served")
    by_sender = command.who == SENDER
    log = attempt.to_receiver if by_sender else attempt.to_sender
    mine, theirs = (transfer.socket, attempt.socket) if by_sender else (attempt.socket, transfer.socket)
    if command.index < log.count:
        if command.stored != command.body:
            raise Denied("conflict")
        tell(effects, mine, wire.Appended(attempt.number, command.index))
        return transfer
    if command.index > log.count:
        raise Denied("gap")
    if len(command.body) > limits.message_bytes:
        raise Denied("too-large")
    log = s.Log(log.count + 1, log.size + len(command.body))
    if log.count > limits.messages or log.size > limits.log_bytes:
        raise Denied("log-full")
    effects.append(s.Keep(attempt.number, by_sender, command.body))
    tell(effects, mine, wire.Appended(attempt.number, command.index))
    tell(effects, theirs, wire.LogMessage(attempt.number, command.index, command.body))
    if by_sender:
        return with_attempt(transfer, replace(attempt, to_receiver=log))
    return replace(with_attempt(transfer, replace(attempt, to_sender=log)), silent_at=None)


def _accept(
    transfer: Rendezvous, command: s.AcceptAttempt, now: float, limits: Limits, effects: list[Effect]
) -> Rendezvous:
    _only_sender(command.who)
    attempt = _live(transfer, command.attempt)
    if attempt.number != transfer.served:
        raise Denied("not-served")
    if transfer.state is State.ACTIVE:
        tell(effects, transfer.socket, state_of(transfer, now))
        return transfer
    for waiting in transfer.attempts:
        if waiting.number != attempt.number:
            transfer = release(transfer, waiting, "busy", now, limits, effects)
    transfer = replace(transfer, state=State.ACTIVE, accepted=True, silent_at=None, expires_at=None)
    transfer = idle(transfer, now)
    effects.append(s.Note("accepted", attempt.number))
    tell_state(effects, transfer, now)
    return transfer


def _end_attempt(
    transfer: Rendezvous, number: int, reason: str, now: float, limits: Limits, effects: list[Effect]
) -> Rendezvous:
    attempt = transfer.attempt(number)
    if attempt is not None:
        return release(transfer, attempt, reason, now, limits, effects)
    if number > transfer.joined:
        raise Denied("unknown-attempt")
    tell(effects, transfer.socket, wire.Released(number, past_reason(transfer, number)))
    return transfer


def _live(transfer: Rendezvous, number: int) -> Attempt:
    attempt = transfer.attempt(number)
    if attempt is None:
        raise Denied("released" if 1 <= number <= transfer.joined else "unknown-attempt")
    return attempt


def _only_sender(who: int) -> None:
    if who != SENDER:
        raise Denied("forbidden")
