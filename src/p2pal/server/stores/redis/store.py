"""The store in Redis: the same rules, carried out by compare and set.

A transfer with its logs is one key, so that each step is atomic and Redis itself forgets all of it at once. An instance
loads it, applies the rules, and commits the result if nobody came between; else it begins again with what is there. The
commit publishes what the step says to sockets of other instances, one channel for each. Instances that hold sockets of
a transfer follow its steps (:mod:`p2pal.server.stores.redis.replica`), so that as a rule a step takes one round trip.
Slots and counts stand beside it (:mod:`p2pal.server.stores.redis.reservations`), and so do the instances that are
alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

import msgspec

from p2pal.rate_limit import Rate
from p2pal.server import meetings, rules, tokens
from p2pal.server import state as s
from p2pal.server.config import Limits
from p2pal.server.logs import log_failure, short
from p2pal.server.state import SENDER, Denied, Effect, Rendezvous, RendezvousCommand
from p2pal.server.stores.base import StoreListener
from p2pal.server.stores.deadlines import Deadlines
from p2pal.server.stores.redis.connections import GRACE, RedisLink
from p2pal.server.stores.redis.keys import PREFIX, STATE, VERSION, Keys, message_field
from p2pal.server.stores.redis.plan import Plan
from p2pal.server.stores.redis.replica import (
    Following,
    Known,
    SocketClosed,
    Told,
    Update,
    encoder,
    instance_of,
    sockets_of,
    state_decoder,
    update_decoder,
)
from p2pal.server.stores.redis.reservations import AFTERWARDS, Reservations, units
from p2pal.server.stores.redis.scripts import COMMIT, SETTLE, SPEND
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode, State

_TRIES: Final = 4 * wire.MAX_MESSAGES
"""Steps by others that may come between before a command is given up. Both logs are full before that."""

_PAUSE: Final = 0.5
"""Seconds before what has gone wrong is looked at again."""

_AGAIN: Final = 5.0
"""Seconds before what time has decided is tried again, if Redis had no room for it."""

_VERSION_DIGITS: Final = 15
_CODES: Final = frozenset(map(int, CloseCode))
_FORGOTTEN: Final = 60.0
"""Seconds after its death for which an instance is looked for in what is followed."""


class RedisStore:
    """Keeps everything in Redis.

    Args:
        url: See :class:`~p2pal.server.stores.redis.connections.RedisLink`.
        limits: The bounds per transfer.
        max_open: Transfers of one owner that are not over; 0 for any number.
        max_kept: Bytes of all logs of one owner, about; see
            :class:`~p2pal.server.stores.redis.reservations.Reservations`.
        prefix: What all names in Redis begin with.
        shift: Seconds to add to Redis' time, so that tests can let time pass.

    Raises:
        UsageError: If the URL is none.
    """

    def __init__(
        self,
        url: str,
        limits: Limits | None = None,
        *,
        max_open: int = 0,
        max_kept: int = 8 << 20,
        prefix: str = PREFIX,
        shift: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.instance = secrets.token_hex(6)
        self._limits = limits or Limits()
        self._keys = Keys(prefix)
        self._shift = shift
        self._link = RedisLink(url, self._keys, self.instance, self)
        self._places = Reservations(self._link, self._keys, self._ms, max_open=max_open, max_kept=max_kept)
        self._listener: StoreListener = lambda _id, _effect: None
        self._followed: dict[str, Following] = {}
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}
        self._deadlines = Deadlines()
        self._seen: dict[str, float] = {}  # other instances: when they were alive, or first heard of; our own clock
        self._beaten_at = monotonic()
        self._fetched: tuple[str, Known | None] = ("", None)  # what was loaded last
        self._work: set[asyncio.Task[None]] = set()

    # What the server calls; see Store.

    def now(self) -> float:
        """The store's clock, in seconds: Redis' time."""
        return self._link.now() + self._shift()

    def listen(self, listener: StoreListener) -> None:
        """Name the one listener for effects that concern sockets."""
        self._listener = listener

    async def create(self, ttl: float, owner: str = "") -> tuple[Rendezvous, str]:
        """Open a transfer; see :class:`~p2pal.server.stores.base.Store`."""
        rendezvous_id, secret = tokens.new_id(), tokens.new_secret()
        until = self._held_first(self.now() + ttl)
        await self._places.count(rendezvous_id, owner, until - self._limits.rest, self.now())
        slot = await self._places.reserve(rendezvous_id, until)
        transfer = rules.create(rendezvous_id, slot, tokens.digest(secret), ttl, self.now(), owner)
        if await self._commit(None, transfer, []) is not None:
            raise Denied("unavailable")  # 128 random bits twice
        return transfer, tokens.assemble(rendezvous_id, SENDER, secret)

    async def join(self, slot: int) -> tuple[Rendezvous, int, str]:
        """Open an attempt; see :class:`~p2pal.server.stores.base.Store`."""
        rendezvous_id, secret = await self._places.find(slot), tokens.new_secret()
        if rendezvous_id is None:
            raise Denied("unknown")
        transfer = await self.execute(rendezvous_id, s.Join(tokens.digest(secret)))
        return transfer, transfer.joined, tokens.assemble(rendezvous_id, transfer.joined, secret)

    async def meet(
        self, rendezvous_id: str, ttl: float, *, sender: bool, owner: str = ""
    ) -> tuple[Rendezvous, int, str]:
        """Come to a meeting; see :class:`~p2pal.server.stores.base.Store`."""
        secret = tokens.new_secret()
        async with self._turn(rendezvous_id):
            known = await self._fetch(rendezvous_id)
            if known is None or self._is_past_meeting(known.transfer):
                await self._places.count(rendezvous_id, owner, self.now() + ttl + AFTERWARDS, self.now())
                fresh = meetings.create(rendezvous_id, ttl, self.now(), owner)
                old = known.transfer.attempts if known is not None else ()
                # If somebody else was first, that is as good.
                await self._commit(known, fresh, [s.Drop(attempt.number) for attempt in old])
            transfer = await self._step(rendezvous_id, s.JoinMeeting(sender, tokens.digest(secret), ttl))
        who = SENDER if sender else transfer.joined
        return transfer, who, tokens.assemble(rendezvous_id, who, secret)

    async def authorise(self, token: str) -> tuple[Rendezvous, int]:
        """Check a token; see :class:`~p2pal.server.stores.base.Store`."""
        rendezvous_id, who, secret = tokens.parse(token)
        transfer = await self.load(rendezvous_id)
        tokens.verify(transfer, who, secret)
        return transfer, who

    async def load(self, rendezvous_id: str) -> Rendezvous:
        """Return a transfer; see :class:`~p2pal.server.stores.base.Store`."""
        known = await self._fetch(rendezvous_id)
        if known is None:
            raise Denied("unknown")
        self._fetched = (rendezvous_id, known)
        return self._advance(known.transfer, [])

    async def execute(self, rendezvous_id: str, command: RendezvousCommand) -> Rendezvous:
        """Carry out a command; see :class:`~p2pal.server.stores.base.Store`."""
        if isinstance(command, s.Attach):
            self._followed.setdefault(rendezvous_id, Following()).sockets[command.socket] = command.who
        try:
            async with self._turn(rendezvous_id):
                return await self._step(rendezvous_id, command)
        except Denied as denied:
            if denied.code == "unavailable":
                self._spawn(self._make_up(rendezvous_id, command))
            raise
        finally:
            if isinstance(command, s.Detach):
                self._unfollow(rendezvous_id, command.socket)

    async def spend(self, purpose: str, address: str, rate: Rate) -> float:
        """Take one from an allowance; see :class:`~p2pal.server.stores.base.Store`."""
        window = int(rate.seconds * 1e6)
        key = self._keys.rate(purpose, address)
        return int(await self._link.run_script(SPEND, key, window // rate.count, window)) / 1e6

    async def check(self) -> None:
        """Ask Redis for a sign of life; see :class:`~p2pal.server.stores.base.Store`."""
        await self._link.call("GET", self._keys.check)

    async def available(self) -> None:
        """Return once Redis can be reached; see :class:`~p2pal.server.stores.base.Store`."""
        await self._link.wait_up()

    def census(self) -> Counter[State]:
        """Count transfers by state; see :class:`~p2pal.server.stores.base.Store`."""
        return Counter(
            following.current.transfer.state
            for following in self._followed.values()
            if following.current is not None and following.current.transfer.socket in following.sockets
        )

    async def run(self) -> None:
        """Keep in touch with Redis and carry out what time decides, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._link.run())
            try:
                while True:
                    await self.sweep()
                    await self._deadlines.wait(self.now)
                    await self._link.wait_up()
            finally:
                for task in self._work:
                    task.cancel()

    async def sweep(self) -> None:
        """Carry out what is due now in the transfers that this instance follows."""
        now = self.now()
        due = []
        while (rendezvous_id := self._deadlines.pop(now)) is not None:
            due.append(rendezvous_id)
        await asyncio.gather(*(self._tick(rendezvous_id) for rendezvous_id in due))

    async def _tick(self, rendezvous_id: str) -> None:
        following = self._followed.get(rendezvous_id)
        if following is None:
            return
        late = following.overdue(self.now())
        if late is not None:
            self._deliver(late)
            self._miss(rendezvous_id, following)
            return
        try:
            async with self._turn(rendezvous_id):
                await self._step(rendezvous_id, None)
                await self._renew(rendezvous_id, following)
        except Denied as denied:
            if denied.code != "unknown":
                self._deadlines.note(rendezvous_id, self.now() + _AGAIN)
                return
            following.miss()
            for socket in list(following.sockets):  # Redis has lost it, or it is forgotten
                self._listener(rendezvous_id, s.CloseSocket(socket, CloseCode.UNAUTHORISED))
            return
        self._arm(rendezvous_id, following)

    async def _renew(self, rendezvous_id: str, following: Following) -> None:
        """Have Redis keep a transfer that has no end of its own. That needs no memory there."""
        known = following.current
        if known is None or following.renew_at is None or self.now() < following.renew_at:
            return
        until = self._lives_until(known.transfer, self.now())
        await self._hold_places(known, known.transfer, until, following)
        prolonged = await self._link.call("PEXPIREAT", self._keys.transfer(rendezvous_id), self._ms(until), "GT")
        if prolonged or await self._fetch(rendezvous_id) is not None:  # another instance may just have done it
            self._note_step(following)
        else:
            self._miss(rendezvous_id, following)

    # What the link tells.

    def published(self, payload: bytes) -> None:
        """Another instance took a step in a transfer of which this one holds sockets."""
        try:
            update = update_decoder.decode(payload)
        except (msgspec.MsgspecError, RecursionError):
            log_failure("bad-publication", bytes=len(payload))
            return
        self._seen[update.by] = monotonic()
        following = self._followed.get(update.id)
        if following is not None:
            updates = following.take(update, self.now())
            self._deliver(updates)
            if updates:
                for socket in following.lost_sockets(updates):
                    self._listener(update.id, s.Missed(socket))
            self._note_step(following)
            self._arm(update.id, following)

    def restored(self) -> None:
        """Redis is back: what was published meanwhile is lost, and what was under way unknown."""
        self._beaten_at = monotonic()
        for instance in self._seen:
            self._seen[instance] = self._beaten_at  # nobody could give a sign of life
        self._fetched = ("", None)
        for rendezvous_id, following in self._followed.items():
            self._miss(rendezvous_id, following)

    def beaten(self, alive: Sequence[str]) -> None:
        """These instances live. Sockets of those that died count as closed."""
        self._beaten_at = monotonic()
        self._seen.update((name, self._beaten_at) for name in alive if name != self.instance)
        dead = {name for name in self._seen if self._is_dead(name)}
        for name in [name for name in dead if self._beaten_at - self._seen[name] > _FORGOTTEN]:
            del self._seen[name]
        if dead:
            now = self.now()
            for rendezvous_id, following in self._followed.items():
                known = following.current
                if known and any(instance_of(socket) in dead for _, socket in sockets_of(known.transfer)):
                    self._deadlines.note(rendezvous_id, now)

    def _is_dead(self, instance: str) -> bool:
        """Whether an instance was not alive for long, as of our own last sign of life: we may stand still, too."""
        return instance != self.instance and self._beaten_at - self._seen.setdefault(instance, monotonic()) > GRACE

    def _miss(self, rendezvous_id: str, following: Following) -> None:
        following.miss()
        for socket in list(following.sockets):
            self._listener(rendezvous_id, s.Missed(socket))

    async def _make_up(self, rendezvous_id: str, command: RendezvousCommand) -> None:
        """A command's outcome is unknown: what it says may be lost, and nobody repeats a detach."""
        await asyncio.sleep(_PAUSE)
        await self._link.wait_up()
        following = self._followed.get(rendezvous_id)
        if following is not None:
            self._miss(rendezvous_id, following)
        if isinstance(command, s.Detach):
            with contextlib.suppress(Denied):
                await self.execute(rendezvous_id, command)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    # One step.

    @asynccontextmanager
    async def _turn(self, rendezvous_id: str) -> AsyncIterator[None]:
        """One step of a transfer at a time on this instance: it learns of its own steps in order."""
        lock, users = self._turns.get(rendezvous_id, (None, 0))
        lock = lock or asyncio.Lock()
        self._turns[rendezvous_id] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._turns[rendezvous_id]
            if users == 1:
                del self._turns[rendezvous_id]
            else:
                self._turns[rendezvous_id] = (lock, users - 1)

    async def _step(self, rendezvous_id: str, command: RendezvousCommand | None) -> Rendezvous:
        """Carry out a command and what time has decided; None for that alone."""
        following = self._followed.get(rendezvous_id)
        known = following.current if following is not None else None
        if known is None and self._fetched[0] == rendezvous_id:
            known = self._fetched[1]  # who has just been authorised goes on; the commit shows whether it still holds
            self._fetched = ("", None)
        fetched = False
        for _ in range(_TRIES):
            if known is None:
                known, fetched = await self._fetch(rendezvous_id), True
            if known is None:
                raise Denied("unknown")
            effects: list[Effect] = []
            try:
                transfer = self._advance(known.transfer, effects)
                if command is not None:
                    complete = await self._with_stored(transfer, command)
                    transfer, more = rules.handle(transfer, complete, self.now(), self._limits)
                    effects += more
            except Denied:
                if fetched:
                    raise
                known = None  # what is refused may be allowed by now
                continue
            # An attach that changes nothing is written all the same: from it on, this instance hears of every step.
            if not effects and transfer is known.transfer and not isinstance(command, s.Attach):
                return transfer
            known = await self._commit(known, transfer, effects)
            if known is None:
                return transfer
            fetched = True
        raise Denied("unavailable")

    def _is_past_meeting(self, transfer: Rendezvous) -> bool:
        try:
            return transfer.meeting and self._advance(transfer, []).over
        except Denied:
            return True

    def _advance(self, transfer: Rendezvous, effects: list[Effect]) -> Rendezvous:
        """Carry out what time has decided, each at its time, and that sockets of dead instances are gone.

        Raises:
            Denied: ``unknown``, if it is forgotten.
        """
        now = self.now()
        while (due := rules.next_timeout(transfer)) is not None and due <= now:
            if transfer.over:
                raise Denied("unknown")
            transfer, more = rules.handle_timeout(transfer, due, self._limits)
            effects += more
        for who, socket in sockets_of(transfer):
            if self._is_dead(instance_of(socket)):
                transfer, more = rules.handle(transfer, s.Detach(who, socket), now, self._limits)
                effects += more
        return transfer

    async def _with_stored(self, transfer: Rendezvous, command: RendezvousCommand) -> RendezvousCommand:
        """Give a repeated append what is stored at its index."""
        if not isinstance(command, s.AppendMessage):
            return command
        by_sender = command.who == SENDER
        attempt = transfer.attempt(command.attempt)
        log = attempt and (attempt.to_receiver if by_sender else attempt.to_sender)
        if not log or command.index >= log.count:
            return command
        field = message_field(command.attempt, by_sender, command.index)
        stored = await self._link.call("HGET", self._keys.transfer(transfer.id), field)
        return s.AppendMessage(command.who, command.attempt, command.index, command.body, stored)

    async def _fetch(self, rendezvous_id: str) -> Known | None:
        version, state = await self._link.call("HMGET", self._keys.transfer(rendezvous_id), VERSION, STATE)
        return _known(rendezvous_id, version, state)

    async def _commit(self, known: Known | None, transfer: Rendezvous, effects: list[Effect]) -> Known | None:
        """Write a step and say what follows from it.

        Returns:
            None, or what is there by now instead of ``known``: nothing was written then.

        Raises:
            Denied: ``unavailable``, ``full``; ``log-full`` for its owner; ``unknown`` if it is gone by now.
        """
        now = self.now()
        version = known.version if known else 0
        # Where there was none it begins anywhere: were it lost and begun anew, the steps of before would not fit.
        after = version + 1 if known else 1 + secrets.randbelow(2**40)
        until = self._lives_until(transfer, now)
        following = self._followed.get(transfer.id)
        await self._hold_places(known, transfer, until, following)
        transfer = await self._with_room(transfer, effects, until, following)
        plan = Plan(known.transfer if known else None, effects)
        state = encoder.encode(transfer)
        command: list[bytes | str | int] = [str(version), str(after), state, self._ms(until)]
        command += [len(plan.puts) // 2, *plan.puts, len(plan.removes), *plan.removes, len(plan.gets), *plan.gets]
        for instance, news in self._abroad(known, transfer, plan).items():
            command += [
                self._keys.channel(instance),
                encoder.encode(Update(self.instance, transfer.id, after, transfer, news)),
            ]
        grows = known is None or plan.puts or transfer.joined > known.transfer.joined
        answer = await self._link.run_script(COMMIT if grows else SETTLE, self._keys.transfer(transfer.id), *command)
        if answer[0] != 1:
            current = _known(transfer.id, answer[1], answer[2])
            if current is None:
                raise Denied("unknown")
            return current
        if transfer.over and not (known and known.transfer.over):
            self._spawn(self._places.let_go(transfer, until))
        for effect in effects:
            if isinstance(effect, s.Note):
                self._listener(transfer.id, effect)
        if following is not None:
            update = Update(self.instance, transfer.id, after, transfer, plan.news(self.instance, answer[1:]))
            self._deliver(following.take(update, now, own=True))
            self._note_step(following)
            self._arm(transfer.id, following)
        return None

    def _abroad(self, known: Known | None, transfer: Rendezvous, plan: Plan) -> dict[str, list[Told | SocketClosed]]:
        """Return what each other instance that holds a socket, before or after, has to be told."""
        sockets = sockets_of(transfer) + (sockets_of(known.transfer) if known else [])
        instances = {instance_of(socket) for _, socket in sockets} - {self.instance}
        return {name: plan.news(name) for name in instances}  # also those that seem dead: they may stand still

    def _deliver(self, updates: list[Update]) -> None:
        for update in updates:
            for each in update.news:
                if isinstance(each, Told):
                    self._listener(update.id, s.Tell(each.socket, each.message))
                elif each.code in _CODES:  # another instance may be newer
                    self._listener(update.id, s.CloseSocket(each.socket, CloseCode(each.code)))
                else:
                    self._listener(update.id, s.CloseSocket(each.socket, CloseCode.TRY_AGAIN))

    def _arm(self, rendezvous_id: str, following: Following) -> None:
        """Note when something is due: by the rules, to keep Redis from forgetting, or because a step is missing."""
        known = following.current
        times = [following.waits_until, following.renew_at]
        if known is not None:
            due = rules.next_timeout(known.transfer)
            # Whoever holds the sender's socket comes first; others help out if it does not.
            times.append(due if due is None or known.transfer.socket in following.sockets else due + 0.25)
        self._deadlines.note(rendezvous_id, min((time for time in times if time is not None), default=None))

    def _note_step(self, following: Following) -> None:
        """A step was written: Redis keeps the transfer for a while. Without an end of its own it is to be renewed."""
        known = following.current
        lasting = known is not None and known.transfer.expires_at is None and not known.transfer.over
        following.renew_at = self.now() + (known.transfer.ttl + self._limits.rest) / 2 if known and lasting else None

    def _held_first(self, expires_at: float) -> float:
        """Return until when the places of a transfer are held that nobody has accepted."""
        return expires_at + self._limits.rest + AFTERWARDS

    async def _hold_places(
        self, known: Known | None, transfer: Rendezvous, until: float, following: Following | None
    ) -> None:
        """Hold the transfer's slot, and its place among the open, for longer than it will live, before it does."""
        if known is None or transfer.over:
            return
        before = known.transfer
        held = following.held_until if following is not None else 0.0
        if not before.accepted and before.expires_at is not None:
            held = self._held_first(before.expires_at)
        if until + AFTERWARDS <= held:
            return
        held = until + AFTERWARDS + transfer.ttl  # so that it is seldom put off
        await self._places.hold(transfer, held, self._limits.rest, self.now())
        if following is not None:
            following.held_until = held

    async def _with_room(
        self, transfer: Rendezvous, effects: list[Effect], until: float, following: Following | None
    ) -> Rendezvous:
        """Take room for what a step adds to the logs, and return the transfer with it.

        Raises:
            Denied: ``log-full``, if its owner has no more.
        """
        if not transfer.owner or not any(isinstance(effect, s.Keep) for effect in effects):
            return transfer
        wanted = units(transfer)
        if wanted <= transfer.granted:
            return transfer
        held = max(until + AFTERWARDS + transfer.ttl, following.held_until if following is not None else 0.0)
        await self._places.grow(transfer, wanted, held, self.now())
        return msgspec.structs.replace(transfer, granted=wanted)

    def _unfollow(self, rendezvous_id: str, socket: str) -> None:
        following = self._followed.get(rendezvous_id)
        if following is not None:
            following.sockets.pop(socket, None)
            if not following.sockets:
                del self._followed[rendezvous_id]
                self._deadlines.forget(rendezvous_id)

    # Times in Redis.

    def _ms(self, when: float) -> int:
        """Return a time of the store as Redis' milliseconds."""
        return int((when - self._shift()) * 1000) + 1

    def _lives_until(self, transfer: Rendezvous, now: float) -> float:
        """Return when Redis may forget a transfer. While there are sockets, their instances put that off."""
        if transfer.forget_at is not None:
            return transfer.forget_at
        return (now + transfer.ttl if transfer.expires_at is None else transfer.expires_at) + self._limits.rest


def _known(rendezvous_id: str, version: bytes | None, state: bytes | None) -> Known | None:
    if not version or not state:
        return None
    try:
        if len(version) > _VERSION_DIGITS:
            raise ValueError("no version of ours")
        return Known(int(version), state_decoder.decode(state))
    except (ValueError, msgspec.MsgspecError, RecursionError):
        log_failure("bad-state", transfer=short(rendezvous_id))
        raise Denied("unknown") from None
