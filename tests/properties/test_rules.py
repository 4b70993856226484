"""Every (state, command) pair of the rendezvous is legal or gives its documented denial, and the invariants hold."""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2pal.server import meetings, rules
from p2pal.server import state as s
from p2pal.server.config import Limits
from p2pal.server.state import SENDER, Denied, Transfer
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import State

LIMITS = Limits(attempts=2, messages=3, message_bytes=4, log_bytes=8, remembered=2)
WHO = st.integers(0, 5)
ATTEMPT = st.integers(1, 5)


def expected_denial(t: Transfer, c: s.Command) -> str | None:
    """The table of docs/protocol.md: why a command is refused."""
    if isinstance(c, s.Attach | s.Detach):
        return None
    if t.over:
        repeats = (s.Complete, State.COMPLETED), (s.Delete, State.ABORTED)
        for kind, state in repeats:
            if isinstance(c, kind) and t.state is state:
                return "forbidden" if c.who != SENDER else None
        return "expired" if t.expired else "over"
    if isinstance(c, s.Join):
        return "queue-full" if len([a for a in t.attempts if a.number != t.served]) >= LIMITS.attempts else None
    if isinstance(c, s.Meet):
        return None if t.meeting else "unknown"
    if isinstance(c, s.Append):
        if c.who not in (SENDER, c.attempt):
            return "forbidden"
        return _attempt_denial(t, c.attempt) or _append_denial(t, c)
    if (c.who == SENDER) == isinstance(c, s.Leave):
        return "forbidden"
    return _decision_denial(t, c)


def _decision_denial(t: Transfer, c: s.Command) -> str | None:
    if isinstance(c, s.Accept):
        return _attempt_denial(t, c.attempt)
    if isinstance(c, s.Release | s.Leave):
        number = c.attempt if isinstance(c, s.Release) else c.who
        return None if number <= t.joined else "unknown-attempt"
    if isinstance(c, s.Complete):
        return None if t.state is State.ACTIVE or t.meeting else "wrong-state"
    return None


def _attempt_denial(t: Transfer, number: int) -> str | None:
    if t.attempt(number) is None:
        return "released" if number <= t.joined else "unknown-attempt"
    return None if number == t.served else "not-served"


def _append_denial(t: Transfer, c: s.Append) -> str | None:
    attempt = t.attempt(c.attempt)
    assert attempt is not None
    log = attempt.to_receiver if c.who == SENDER else attempt.to_sender
    if c.index < log.count:
        return None if c.stored == c.body else "conflict"
    if c.index > log.count:
        return "gap"
    if len(c.body) > LIMITS.message_bytes:
        return "too-large"
    if log.count >= LIMITS.messages or log.size + len(c.body) > LIMITS.log_bytes:
        return "log-full"
    return None


class Rendezvous(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.transfer = self.begin()
        self.logs: dict[tuple[int, bool], list[bytes]] = {}
        self.open: set[str] = set()
        self.sockets = 0

    def begin(self) -> Transfer:
        return rules.create("r" * 32, 1, b"s", 60.0, self.now)

    def carry_out(self, effects: list[s.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, s.Keep):
                self.logs.setdefault((effect.attempt, effect.by_sender), []).append(effect.body)
            elif isinstance(effect, s.Drop):
                self.logs.pop((effect.attempt, True), None)
                self.logs.pop((effect.attempt, False), None)
            elif isinstance(effect, s.Close):
                assert effect.socket in self.open
                self.open.discard(effect.socket)
            elif isinstance(effect, s.Tell):
                assert effect.socket in self.open  # nothing is said to a socket that was closed
                wire.server_decoder.decode(wire.encoder.encode(effect.message))

    def do(self, command: s.Command) -> None:
        before = self.transfer
        expected = expected_denial(before, command)
        denied: str | None
        try:
            self.transfer, effects = rules.handle(before, command, self.now, LIMITS)
        except Denied as caught:
            denied = caught.code
            effects = []
        else:
            denied = None
        assert denied == expected
        self.carry_out(effects)
        if isinstance(command, s.Join | s.Meet) or command.who != SENDER:
            assert not (before.state is not State.ACTIVE and self.transfer.state is State.ACTIVE)
            assert before.over or not self.transfer.over

    @rule(token=st.binary(min_size=2, max_size=2))
    def join(self, token: bytes) -> None:
        self.do(s.Join(token))

    @rule(sender=st.booleans(), token=st.binary(min_size=2, max_size=2))
    def meet(self, *, sender: bool, token: bytes) -> None:
        self.do(s.Meet(sender, token, 60.0))

    @rule(who=WHO, known=st.lists(ATTEMPT, max_size=2))
    def attach(self, who: int, known: list[int]) -> None:
        if who > self.transfer.joined:
            return  # the store finds no such token
        if who == SENDER and not self.transfer.token:
            return
        self.sockets += 1
        socket = f"s{self.sockets}"
        self.open.add(socket)
        self.do(s.Attach(who, socket, dict.fromkeys(known, 0)))

    @rule(who=WHO, data=st.data())
    def detach(self, who: int, data: st.DataObject) -> None:
        sockets = [self.transfer.socket, *(a.socket for a in self.transfer.attempts), "s1"]
        self.do(s.Detach(who, data.draw(st.sampled_from(sockets))))

    @rule(who=WHO, attempt=ATTEMPT, index=st.integers(0, 4), body=st.binary(max_size=5))
    def append(self, who: int, attempt: int, index: int, body: bytes) -> None:
        log = self.logs.get((attempt, who == SENDER), [])
        self.do(s.Append(who, attempt, index, body, log[index] if index < len(log) else None))

    @rule(first=st.booleans(), body=st.binary(max_size=4))
    def append_next(self, first: bool, body: bytes) -> None:
        served = self.transfer.served or 1
        who = SENDER if first else served
        self.append(who, served, len(self.logs.get((served, first), [])), body)

    @rule(who=WHO, attempt=ATTEMPT)
    def accept(self, who: int, attempt: int) -> None:
        self.do(s.Accept(who, attempt))

    @rule()
    def accept_served(self) -> None:
        self.do(s.Accept(SENDER, self.transfer.served or 1))

    @rule(who=WHO, attempt=ATTEMPT)
    def release(self, who: int, attempt: int) -> None:
        self.do(s.Release(who, attempt, "x"))

    @rule(who=WHO)
    def leave(self, who: int) -> None:
        self.do(s.Leave(who))

    @rule(who=WHO)
    def complete(self, who: int) -> None:
        self.do(s.Complete(who))

    @rule(who=st.integers(0, 200))
    def delete(self, who: int) -> None:
        self.do(s.Delete(who))

    @rule(seconds=st.floats(0, 40))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.transfer, effects = rules.handle_timeout(self.transfer, self.now, LIMITS)
        self.carry_out(effects)
        due = rules.next_timeout(self.transfer)
        assert self.transfer.over or due is None or due > self.now

    @invariant()
    def the_state_says_who_is_served(self) -> None:
        t = self.transfer
        assert (t.served != 0) == (t.state in (State.READY, State.ACTIVE))
        assert (t.attempt(t.served) is not None) == (t.served != 0)
        if t.over:
            assert t.attempts == ()
            assert not self.logs
        if t.state is State.ACTIVE:
            assert all(a.knock_ends is not None or a.number == t.served or not a.socket for a in t.attempts)
        else:
            assert all(a.knock_ends is None for a in t.attempts)
        if t.meeting:
            assert t.slot == 0
        if t.state is State.PENDING and t.socket:
            assert not any(a.socket for a in t.attempts)

    @invariant()
    def everything_is_bounded(self) -> None:
        t = self.transfer
        assert len([a for a in t.attempts if a.number != t.served]) <= LIMITS.attempts
        assert len(t.past) <= LIMITS.remembered + LIMITS.attempts + 1
        assert all(a.number == t.served or a.socket or a.deadline is not None for a in t.attempts)

    @invariant()
    def the_counts_are_those_of_the_logs(self) -> None:
        for attempt in self.transfer.attempts:
            for by_sender, log in ((True, attempt.to_receiver), (False, attempt.to_sender)):
                bodies = self.logs.get((attempt.number, by_sender), [])
                assert (log.count, log.size) == (len(bodies), sum(map(len, bodies)))

    @invariant()
    def a_silent_receiver_has_a_deadline_while_the_sender_is_there(self) -> None:
        t = self.transfer
        served = t.attempt(t.served)
        waits = t.state is State.READY and t.socket and not t.meeting
        if waits and served is not None and served.to_sender.count == 0:
            assert t.silent_at is not None
        else:
            assert t.silent_at is None

    @invariant()
    def time_limits_it(self) -> None:
        t = self.transfer
        if t.over:
            assert t.forget_at is not None
        elif not t.accepted:
            assert t.expires_at == 60.0
        else:
            served = t.attempt(t.served)
            present = bool(t.socket) or (served is not None and bool(served.socket))
            present = present or (t.meeting and any(a.socket for a in t.attempts))
            assert (t.expires_at is None) == present

    @invariant()
    def a_store_can_keep_it(self) -> None:
        packed = msgspec.msgpack.encode(self.transfer)
        assert msgspec.msgpack.decode(packed, type=Transfer) == self.transfer


class Meeting(Rendezvous):
    def begin(self) -> Transfer:
        return meetings.create("m" * 26, 60.0, self.now)


TestRendezvous = Rendezvous.TestCase
TestRendezvous.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMeeting = Meeting.TestCase
TestMeeting.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
