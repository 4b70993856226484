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
- A command that is no longer needed (an append that is stored, a release of what is released) is acknowledged again:
  after a lost socket a client just repeats what was not acknowledged.

Everything that is not allowed raises :class:`~p2pal.server.state.Denied` and changes nothing.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from p2pal.server import state as s
from p2pal.server.config import Limits
from p2pal.server.state import SENDER, Attempt, Denied, Effect, Transfer
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode, State

Step = tuple[Transfer, list[Effect]]


def create(rendezvous_id: str, slot: int, token: bytes, ttl: float, now: float) -> Transfer:
    """Return a new transfer that waits ``ttl`` seconds."""
    return Transfer(id=rendezvous_id, slot=slot, token=token, ttl=ttl, expires_at=now + ttl)


def create_meeting(rendezvous_id: str, ttl: float, now: float) -> Transfer:
    """Return a new meeting without anyone; the first :class:`~p2pal.server.state.Meet` follows."""
    return Transfer(id=rendezvous_id, slot=0, token=b"", ttl=ttl, expires_at=now + ttl, accepted=True, meeting=True)


def next_timeout(transfer: Transfer) -> float | None:
    """When :func:`handle_timeout` has something to do, or the transfer is to be forgotten."""
    if transfer.over:
        return transfer.forget_at
    times = [time for attempt in transfer.attempts for time in (attempt.deadline, attempt.knock_ends)]
    times += (transfer.expires_at, transfer.silent_at)
    return min((time for time in times if time is not None), default=None)


def handle_timeout(transfer: Transfer, now: float, limits: Limits) -> Step:
    """Carry out what time has decided."""
    effects: list[Effect] = []
    if transfer.over:
        return transfer, effects
    if transfer.expires_at is not None and now >= transfer.expires_at:
        return _end(transfer, State.ABORTED, now, limits, effects, expired=True), effects
    for attempt in transfer.attempts:
        if attempt.deadline is not None and now >= attempt.deadline:
            transfer = _release(transfer, attempt, "gone", now, limits, effects)
        elif attempt.knock_ends is not None and now >= attempt.knock_ends:
            transfer = _release(transfer, attempt, "busy", now, limits, effects)
    # Serving the next one sets a deadline in the future: this ends.
    if transfer.silent_at is not None and now >= transfer.silent_at:
        served = transfer.attempt(transfer.served)
        if served is not None:
            transfer = _release(transfer, served, "silent", now, limits, effects)
    return transfer, effects


def handle(transfer: Transfer, command: s.Command, now: float, limits: Limits) -> Step:
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
        return _handle_over(transfer, command, now, effects), effects
    return _handle_live(transfer, command, now, limits, effects), effects


def _handle_live(
    transfer: Transfer,
    command: s.Join | s.Meet | s.Append | s.Accept | s.Release | s.Leave | s.Complete | s.Delete,
    now: float,
    limits: Limits,
    effects: list[Effect],
) -> Transfer:
    match command:
        case s.Join():
            return _join(transfer, command, now, limits, effects)
        case s.Meet():
            return _meet(transfer, command, now, limits, effects)
        case s.Append():
            return _append(transfer, command, limits, effects)
        case s.Accept():
            return _accept(transfer, command, now, limits, effects)
        case s.Release():
            _only_sender(command.who)
            return _end_attempt(transfer, command.attempt, command.reason, now, limits, effects)
        case s.Leave():
            if command.who == SENDER:
                raise Denied("forbidden")
            return _end_attempt(transfer, command.who, "left", now, limits, effects)
        case s.Complete():
            _only_sender(command.who)
            if transfer.state is not State.ACTIVE and not transfer.meeting:
                raise Denied("wrong-state")
            return _end(transfer, State.COMPLETED, now, limits, effects)
        case s.Delete():
            _only_sender(command.who)
            return _end(transfer, State.ABORTED, now, limits, effects)
        case _:
            assert_never(command)


def _handle_over(transfer: Transfer, command: s.Command, now: float, effects: list[Effect]) -> Transfer:
    """Only repeating what ended it is still acknowledged."""
    repeated = (isinstance(command, s.Complete) and transfer.state is State.COMPLETED) or (
        isinstance(command, s.Delete) and transfer.state is State.ABORTED
    )
    if repeated and isinstance(command, s.Complete | s.Delete):
        _only_sender(command.who)
        _tell(effects, transfer.socket, _state(transfer, now))
        return transfer
    raise Denied("expired" if transfer.expired else "over")


def _join(transfer: Transfer, command: s.Join, now: float, limits: Limits, effects: list[Effect]) -> Transfer:
    if sum(attempt.number != transfer.served for attempt in transfer.attempts) >= limits.attempts:
        raise Denied("queue-full")
    number = transfer.joined + 1
    attempt = Attempt(number=number, token=command.token, deadline=now + limits.join_grace)
    effects.append(s.Note("joined", number))
    return replace(transfer, joined=number, attempts=(*transfer.attempts, attempt))


def _meet(transfer: Transfer, command: s.Meet, now: float, limits: Limits, effects: list[Effect]) -> Transfer:
    if not transfer.meeting:
        raise Denied("unknown")
    transfer = replace(transfer, ttl=command.ttl)
    if transfer.expires_at is not None:
        transfer = replace(transfer, expires_at=now + command.ttl)
    if command.sender:
        return _meet_as_sender(transfer, command.token, now, limits, effects)
    for older in transfer.attempts:
        transfer = _release(transfer, older, "renewed", now, limits, effects)
    number = transfer.joined + 1
    attempt = Attempt(number=number, token=command.token, deadline=now + limits.join_grace)
    effects.append(s.Note("met", number))
    return replace(transfer, joined=number, attempts=(attempt,))


def _meet_as_sender(transfer: Transfer, token: bytes, now: float, limits: Limits, effects: list[Effect]) -> Transfer:
    _close(effects, transfer.socket, CloseCode.REPLACED)
    transfer = replace(transfer, token=token, socket="")
    effects.append(s.Note("met"))
    served = transfer.attempt(transfer.served)
    if served is not None and served.to_receiver.count:
        return _release(transfer, served, "renewed", now, limits, effects)
    if served is not None:
        _tell(effects, served.socket, wire.Peer(online=False))
    return _idle(transfer, now)


def _attach(transfer: Transfer, command: s.Attach, now: float, limits: Limits, effects: list[Effect]) -> Transfer:
    who, socket = command.who, command.socket
    number = transfer.served if who == SENDER else who
    _tell(effects, socket, wire.Welcome(transfer.state, transfer.expires_in(now), number))
    if transfer.over:
        effects.append(s.Close(socket, _over_code(transfer)))
        return transfer
    if who == SENDER:
        transfer = _attach_sender(transfer, command, now, limits, effects)
    else:
        own = transfer.attempt(who)
        if own is None:
            _tell(effects, socket, wire.Released(who, _past_reason(transfer, who)))
            effects.append(s.Close(socket, CloseCode.RELEASED))
            return transfer
        transfer = _attach_receiver(transfer, own, socket, now, limits, effects)
    return _serve(_idle(transfer, now), now, limits, effects)


def _attach_sender(
    transfer: Transfer, command: s.Attach, now: float, limits: Limits, effects: list[Effect]
) -> Transfer:
    socket = command.socket
    _close(effects, transfer.socket, CloseCode.REPLACED)
    transfer = replace(transfer, socket=socket)
    for known in command.known:
        if transfer.attempt(known) is None:
            _tell(effects, socket, wire.Released(known, _past_reason(transfer, known)))
    served = transfer.attempt(transfer.served)
    if served is not None:
        if served.number not in command.known:
            _tell(effects, socket, wire.Served(served.number))
        _tell(effects, socket, wire.Peer(bool(served.socket)))
        _tell(effects, served.socket, wire.Peer(online=True))
        if transfer.state is State.READY and served.to_sender.count == 0 and not transfer.meeting:
            transfer = replace(transfer, silent_at=now + limits.silence)
    for attempt in transfer.attempts:
        if attempt.knock_ends is not None and attempt.socket:
            _tell(effects, socket, wire.Knock(attempt.number))
    return transfer


def _attach_receiver(
    transfer: Transfer, own: Attempt, socket: str, now: float, limits: Limits, effects: list[Effect]
) -> Transfer:
    _close(effects, own.socket, CloseCode.REPLACED)
    own = replace(own, socket=socket, deadline=None)
    if own.number == transfer.served:
        _tell(effects, socket, wire.Peer(bool(transfer.socket)))
        _tell(effects, transfer.socket, wire.Peer(online=True))
    elif transfer.state is State.ACTIVE and own.knock_ends is None:
        own = replace(own, knock_ends=now + limits.knock)
        effects.append(s.Note("knocked", own.number))
        _tell(effects, transfer.socket, wire.Knock(own.number))
    return _with(transfer, own)


def _detach(transfer: Transfer, command: s.Detach, now: float, limits: Limits, effects: list[Effect]) -> Transfer:
    if transfer.over:
        return replace(transfer, socket="") if transfer.socket == command.socket else transfer
    if command.who == SENDER:
        if transfer.socket != command.socket:
            return transfer
        transfer = replace(transfer, socket="", silent_at=None)
        served = transfer.attempt(transfer.served)
        if served is not None:
            _tell(effects, served.socket, wire.Peer(online=False))
        return _idle(transfer, now)
    attempt = transfer.attempt(command.who)
    if attempt is None or attempt.socket != command.socket:
        return transfer
    if attempt.number == transfer.served:
        transfer = _with(transfer, replace(attempt, socket=""))
        _tell(effects, transfer.socket, wire.Peer(online=False))
        return _idle(transfer, now)
    return _idle(_with(transfer, replace(attempt, socket="", deadline=now + limits.offline_grace)), now)


def _append(transfer: Transfer, command: s.Append, limits: Limits, effects: list[Effect]) -> Transfer:
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
        _tell(effects, mine, wire.Appended(attempt.number, command.index))
        return transfer
    if command.index > log.count:
        raise Denied("gap")
    if len(command.body) > limits.message_bytes:
        raise Denied("too-large")
    log = s.Log(log.count + 1, log.size + len(command.body))
    if log.count > limits.messages or log.size > limits.log_bytes:
        raise Denied("log-full")
    effects.append(s.Keep(attempt.number, by_sender, command.body))
    _tell(effects, mine, wire.Appended(attempt.number, command.index))
    _tell(effects, theirs, wire.Message(attempt.number, command.index, command.body))
    if by_sender:
        return _with(transfer, replace(attempt, to_receiver=log))
    return replace(_with(transfer, replace(attempt, to_sender=log)), silent_at=None)


def _accept(transfer: Transfer, command: s.Accept, now: float, limits: Limits, effects: list[Effect]) -> Transfer:
    _only_sender(command.who)
    attempt = _live(transfer, command.attempt)
    if attempt.number != transfer.served:
        raise Denied("not-served")
    if transfer.state is State.ACTIVE:
        _tell(effects, transfer.socket, _state(transfer, now))
        return transfer
    for waiting in transfer.attempts:
        if waiting.number != attempt.number:
            transfer = _release(transfer, waiting, "busy", now, limits, effects)
    transfer = replace(transfer, state=State.ACTIVE, accepted=True, silent_at=None, expires_at=None)
    transfer = _idle(transfer, now)
    effects.append(s.Note("accepted", attempt.number))
    _tell_state(effects, transfer, now)
    return transfer


def _end_attempt(
    transfer: Transfer, number: int, reason: str, now: float, limits: Limits, effects: list[Effect]
) -> Transfer:
    attempt = transfer.attempt(number)
    if attempt is not None:
        return _release(transfer, attempt, reason, now, limits, effects)
    if number > transfer.joined:
        raise Denied("unknown-attempt")
    _tell(effects, transfer.socket, wire.Released(number, _past_reason(transfer, number)))
    return transfer


def _release(
    transfer: Transfer, attempt: Attempt, reason: str, now: float, limits: Limits, effects: list[Effect]
) -> Transfer:
    """Take the attempt out, and serve the next if it was the served one. The sender hears of it in any case."""
    number = attempt.number
    past = (*transfer.past, s.Past(number, attempt.token, reason))[-limits.remembered :]
    transfer = replace(transfer, attempts=tuple(a for a in transfer.attempts if a.number != number), past=past)
    effects += (s.Note("released", number, reason), s.Drop(number))
    _tell(effects, attempt.socket, wire.Released(number, reason))
    _close(effects, attempt.socket, CloseCode.RELEASED)
    _tell(effects, transfer.socket, wire.Released(number, reason))
    if number != transfer.served:
        return _idle(transfer, now)
    waiting = tuple(replace(a, knock_ends=None) for a in transfer.attempts)
    transfer = _idle(replace(transfer, state=State.PENDING, attempts=waiting, served=0, silent_at=None), now)
    _tell_state(effects, transfer, now)
    return _serve(transfer, now, limits, effects)


def _serve(transfer: Transfer, now: float, limits: Limits, effects: list[Effect]) -> Transfer:
    """Serve the first attempt that has a socket, if none is served and the sender can hear of it."""
    if transfer.state is not State.PENDING or not transfer.socket:
        return transfer
    for attempt in transfer.attempts:
        if attempt.socket:
            break
    else:
        return transfer
    silent_at = None if transfer.meeting else now + limits.silence
    transfer = _idle(replace(transfer, state=State.READY, served=attempt.number, silent_at=silent_at), now)
    effects.append(s.Note("served", attempt.number))
    _tell(effects, transfer.socket, wire.Served(attempt.number))
    _tell_state(effects, transfer, now)
    _tell(effects, transfer.socket, wire.Peer(online=True))
    _tell(effects, attempt.socket, wire.Peer(online=True))
    return transfer


def _end(
    transfer: Transfer, state: State, now: float, limits: Limits, effects: list[Effect], *, expired: bool = False
) -> Transfer:
    sockets = [transfer.socket, *(attempt.socket for attempt in transfer.attempts)]
    past = (*transfer.past, *(s.Past(a.number, a.token, "over") for a in transfer.attempts))
    effects += (s.Drop(attempt.number) for attempt in transfer.attempts)
    transfer = replace(
        transfer,
        state=state,
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
        _tell(effects, socket, _state(transfer, now))
        _close(effects, socket, _over_code(transfer))
    return transfer


def _idle(transfer: Transfer, now: float) -> Transfer:
    """Start or stop the idle clock; before the first accept the TTL is absolute."""
    if not transfer.accepted:
        return transfer
    if transfer.socket or any(a.socket for a in transfer.attempts if transfer.meeting or a.number == transfer.served):
        return replace(transfer, expires_at=None)
    if transfer.expires_at is None:
        return replace(transfer, expires_at=now + transfer.ttl)
    return transfer


def _live(transfer: Transfer, number: int) -> Attempt:
    attempt = transfer.attempt(number)
    if attempt is None:
        raise Denied("released" if 1 <= number <= transfer.joined else "unknown-attempt")
    return attempt


def _only_sender(who: int) -> None:
    if who != SENDER:
        raise Denied("forbidden")


def _with(transfer: Transfer, changed: Attempt) -> Transfer:
    return replace(transfer, attempts=tuple(changed if a.number == changed.number else a for a in transfer.attempts))


def _past_reason(transfer: Transfer, number: int) -> str:
    return next((past.reason for past in transfer.past if past.number == number), "over")


def _over_code(transfer: Transfer) -> CloseCode:
    return CloseCode.EXPIRED if transfer.expired else CloseCode.OVER


def _state(transfer: Transfer, now: float) -> wire.StateChanged:
    return wire.StateChanged(transfer.state, transfer.expires_in(now), transfer.served)


def _tell_state(effects: list[Effect], transfer: Transfer, now: float) -> None:
    _tell(effects, transfer.socket, _state(transfer, now))
    served = transfer.attempt(transfer.served)
    if served is not None:
        _tell(effects, served.socket, _state(transfer, now))


def _tell(effects: list[Effect], socket: str, message: wire.ServerMessage) -> None:
    if socket:
        effects.append(s.Tell(socket, message))


def _close(effects: list[Effect], socket: str, code: CloseCode) -> None:
    if socket:
        effects.append(s.Close(socket, code))
