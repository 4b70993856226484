"""Every (state, command) pair of the rendezvous is legal or gives its documented denial, and the invariants hold."""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from p2pal.server import meetings, rules
from p2pal.server import state as s
from p2pal.server.config import Limits
from p2pal.server.state import SENDER, Denied, Rendezvous
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import State

LIMITS = Limits(attempts=2, messages=3, message_bytes=4, log_bytes=8, remembered=2)
WHO = st.integers(0, 5)
ATTEMPT = st.integers(1, 5)
CURSORS = st.dictionaries(ATTEMPT, st.sampled_from([0, 0, 0, 1, 2, 4]), max_size=2)


def expected_denial(t: Rendezvous, c: s.RendezvousCommand) -> str | None:
    """The table of docs/protocol.md: why a command is refused."""
    if isinstance(c, s.Detach):
        return None
    if isinstance(c, s.Attach):
        return _cursor_denial(t, c)
    if t.over:
        repeats = (s.CompleteTransfer, State.COMPLETED), (s.Delete, State.ABORTED)
        for kind, state in repeats:
            if isinstance(c, kind) and t.state is state:
                return "forbidden" if c.who != SENDER else None
        return "expired" if t.expired else "over"
    if isinstance(c, s.Join):
        return "queue-full" if len([a for a in t.attempts if a.number != t.served]) >= LIMITS.attempts else None
    if isinstance(c, s.JoinMeeting):
        return None if t.meeting else "unknown"
    if isinstance(c, s.AppendMessage):
        if c.who not in (SENDER, c.attempt):
            return "forbidden"
        return _attempt_denial(t, c.attempt) or _append_denial(t, c)
    if (c.who == SENDER) == isinstance(c, s.LeaveAttempt):
        return "forbidden"
    return _decision_denial(t, c)


def _cursor_denial(t: Rendezvous, c: s.Attach) -> str | None:
    own = t.attempt(t.served if c.who == SENDER else c.who)
    older = t.socket if c.who == SENDER else own.socket if own is not None else ""
    if own is None or (c.again and older not in ("", c.socket)):
        return None
    log = own.to_sender if c.who == SENDER else own.to_receiver
    return "cursor" if c.cursors.get(own.number, 0) > log.count else None


def _decision_denial(t: Rendezvous, c: s.RendezvousCommand) -> str | None:
    if isinstance(c, s.AcceptAttempt):
        return _attempt_denial(t, c.attempt)
    if isinstance(c, s.ReleaseAttempt | s.LeaveAttempt):
        number = c.attempt if isinstance(c, s.ReleaseAttempt) else c.who
        return None if number <= t.joined else "unknown-attempt"
    if isinstance(c, s.CompleteTransfer):
        return None if t.state is State.ACTIVE or t.meeting else "wrong-state"
    return None


def _attempt_denial(t: Rendezvous, number: int) -> str | None:
    if t.attempt(number) is None:
        return "released" if number <= t.joined else "unknown-attempt"
    return None if number == t.served else "not-served"


def _append_denial(t: Rendezvous, c: s.AppendMessage) -> str | None:
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


class RendezvousMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.transfer = self.begin()
        self.logs: dict[tuple[int, bool], list[bytes]] = {}
        self.open: set[str] = set()
        self.sockets = 0
        self.owners: dict[str, int] = {}

    def begin(self) -> Rendezvous:
        return rules.create("r" * 32, 1, b"s", 60.0, self.now)

    def carry_out(self, effects: list[s.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, s.Keep):
                self.logs.setdefault((effect.attempt, effect.by_sender), []).append(effect.body)
            elif isinstance(effect, s.Drop):
                self.logs.pop((effect.attempt, True), None)
                self.logs.pop((effect.attempt, False), None)
            elif isinstance(effect, s.CloseSocket):
                assert effect.socket in self.open
                self.open.discard(effect.socket)
            elif isinstance(effect, s.Tell | s.Replay):
                assert effect.socket in self.open  # nothing is said to a socket that was closed
            if isinstance(effect, s.Tell):
                wire.server_decoder.decode(wire.encoder.encode(effect.message))
            elif isinstance(effect, s.Replay):
                assert effect.start <= len(self.logs.get((effect.attempt, effect.by_sender), []))

    def do(self, command: s.RendezvousCommand) -> None:
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
        if denied is None and not isinstance(command, s.Join | s.JoinMeeting):
            self.repeat(command)
        if isinstance(command, s.Join | s.JoinMeeting) or command.who != SENDER:
            assert not (before.state is not State.ACTIVE and self.transfer.state is State.ACTIVE)
            assert before.over or not self.transfer.over

    def repeat(self, command: s.RendezvousCommand) -> None:
        """Nobody knows whether it was carried out, and so it is carried out a second time."""
        if isinstance(command, s.AppendMessage):
            stored = self.logs.get((command.attempt, command.who == SENDER), [])
            body = stored[command.index] if command.index < len(stored) else None
            command = s.AppendMessage(command.who, command.attempt, command.index, command.body, body)
        again, effects = rules.handle(self.transfer, command, self.now, LIMITS)
        assert again == self.transfer
        for effect in effects:
            assert isinstance(effect, s.Tell | s.Replay | s.CloseSocket), "nothing is stored, dropped or counted twice"
            if isinstance(effect, s.CloseSocket):
                assert isinstance(command, s.Attach)
                assert effect.socket == command.socket
            else:
                assert effect.socket in self.open or (isinstance(command, s.Attach) and effect.socket == command.socket)

    @initialize(stage=st.sampled_from(["new", "served", "spoken", "active", "knocked"]))
    def begin_at(self, stage: str) -> None:
        """Steps drawn at random seldom come so far."""
        if stage == "new":
            return
        if self.transfer.meeting:
            self.meet(sender=True, token=b"s1")
        self.come(1)
        self.attach(SENDER, {})
        if stage == "served":
            return
        self.append(SENDER, 1, 0, b"a")
        self.append(1, 1, 0, b"b")
        if stage == "spoken":
            return
        self.accept(SENDER, 1)
        if stage == "knocked" and not self.transfer.meeting:
            self.come(2)

    def come(self, number: int) -> None:
        token = b"r%d" % number
        if self.transfer.meeting:
            self.meet(sender=False, token=token)
        else:
            self.join(token)
        self.attach(number, {})

    @rule(token=st.binary(min_size=2, max_size=2))
    def join(self, token: bytes) -> None:
        self.do(s.Join(token))

    @rule(sender=st.booleans(), token=st.binary(min_size=2, max_size=2))
    def meet(self, *, sender: bool, token: bytes) -> None:
        self.do(s.JoinMeeting(sender, token, 60.0))

    @rule(who=WHO, cursors=CURSORS)
    def attach(self, who: int, cursors: dict[int, int]) -> None:
        if not self.has_token(who):
            return
        self.sockets += 1
        socket = f"s{self.sockets}"
        self.open.add(socket)
        self.owners[socket] = who
        self.do(s.Attach(who, socket, cursors))

    def has_token(self, who: int) -> bool:
        """The store finds no other tokens."""
        return who <= self.transfer.joined and (who != SENDER or bool(self.transfer.token))

    @rule(data=st.data(), cursors=CURSORS)
    def attach_again(self, data: st.DataObject, cursors: dict[int, int]) -> None:
        """A socket missed something: that it was replaced, closed, or given up for gone, for example."""
        if not self.owners:
            return
        socket = data.draw(st.sampled_from(sorted(self.owners)))
        who, before = self.owners[socket], self.transfer
        others = self.open - {socket}
        self.open.add(socket)
        self.do(s.Attach(who, socket, cursors, again=True))
        assert others <= self.open, "it takes nobody's place"
        own = before.attempt(who)
        holder = before.socket if who == SENDER else own.socket if own is not None else ""
        if holder not in ("", socket):
            assert self.transfer == before
            assert socket not in self.open

    @rule(data=st.data())
    def attach_again_what_is_there(self, data: st.DataObject) -> None:
        """It gets on with what it knows, and nothing changes for the others."""
        there = [(SENDER, self.transfer.socket), *((a.number, a.socket) for a in self.transfer.attempts)]
        there = [(who, socket) for who, socket in there if socket]
        if not there:
            return
        who, socket = data.draw(st.sampled_from(there))
        before = self.transfer
        number = before.served if who == SENDER else who
        own = before.attempt(number)
        known = {} if own is None else {number: (own.to_sender if who == SENDER else own.to_receiver).count}
        self.do(s.Attach(who, socket, known, again=True))
        after = self.transfer
        assert (after.state, after.served, after.attempts) == (before.state, before.served, before.attempts)
        assert (after.expires_at, after.socket, after.past) == (before.expires_at, before.socket, before.past)

    @rule(who=WHO, data=st.data())
    def detach(self, who: int, data: st.DataObject) -> None:
        """Its client is gone, or the instance that held it is dead, which is found out late."""
        sockets = [self.transfer.socket, *(a.socket for a in self.transfer.attempts), *sorted(self.owners)]
        socket = data.draw(st.sampled_from(sockets))
        if self.owners.get(socket) == who:
            self.open.discard(socket)
        before = self.transfer
        attempt = before.attempt(who)
        current = before.socket if who == SENDER else attempt.socket if attempt is not None else ""
        self.do(s.Detach(who, socket))
        assert socket == current or self.transfer == before

    @rule(who=WHO, attempt=ATTEMPT, index=st.integers(0, 4), body=st.binary(max_size=5))
    def append(self, who: int, attempt: int, index: int, body: bytes) -> None:
        log = self.logs.get((attempt, who == SENDER), [])
        self.do(s.AppendMessage(who, attempt, index, body, log[index] if index < len(log) else None))

    @rule(first=st.booleans(), body=st.binary(max_size=4))
    def append_next(self, first: bool, body: bytes) -> None:
        served = self.transfer.served or 1
        who = SENDER if first else served
        self.append(who, served, len(self.logs.get((served, first), [])), body)

    @rule(first=st.booleans(), same=st.booleans())
    def append_once_more(self, first: bool, same: bool) -> None:
        """What is stored already, or something else in its place."""
        served = self.transfer.served or 1
        log = self.logs.get((served, first), [b""])
        self.append(SENDER if first else served, served, len(log) - 1, log[-1] if same else b"?")

    @rule(who=WHO, attempt=ATTEMPT)
    def accept(self, who: int, attempt: int) -> None:
        self.do(s.AcceptAttempt(who, attempt))

    @rule()
    def accept_served(self) -> None:
        self.do(s.AcceptAttempt(SENDER, self.transfer.served or 1))

    @rule(who=WHO, attempt=ATTEMPT)
    def release(self, who: int, attempt: int) -> None:
        self.do(s.ReleaseAttempt(who, attempt, "x"))

    @rule(who=WHO)
    def leave(self, who: int) -> None:
        self.do(s.LeaveAttempt(who))

    @rule(who=WHO)
    def complete(self, who: int) -> None:
        self.do(s.CompleteTransfer(who))

    @rule(who=st.integers(0, 200))
    def delete(self, who: int) -> None:
        self.do(s.Delete(who))

    @rule(seconds=st.floats(0, 40))
    def pass_time(self, seconds: float) -> None:
        start, self.now = self.transfer, self.now + seconds
        self.transfer, effects = rules.handle_timeout(start, self.now, LIMITS)
        self.carry_out(effects)
        assert rules.handle_timeout(self.transfer, self.now, LIMITS) == (self.transfer, [])
        due = rules.next_timeout(self.transfer)
        assert self.transfer.over or due is None or due > self.now
        if not self.transfer.over:
            assert due is None or due <= self.now + max(60.0, LIMITS.offline_grace)
        self.compare_with_steps(start)

    def compare_with_steps(self, stepped: Rendezvous) -> None:
        """A store that is late ends the same transfers as one that is in time, and releases no more."""
        steps = 0
        while not stepped.over and (due := rules.next_timeout(stepped)) is not None and due <= self.now:
            stepped, effects = rules.handle_timeout(stepped, due, LIMITS)
            assert effects, "something was due"
            steps += 1
            assert steps < 20, "time comes to an end"
        late = self.transfer
        assert (stepped.over, stepped.expired) == (late.over, late.expired)
        if not late.over:
            assert {a.number for a in stepped.attempts} <= {a.number for a in late.attempts}
        if steps <= 1:
            assert (stepped.state, stepped.served) == (late.state, late.served)
            assert (stepped.past, stepped.socket) == (late.past, late.socket)
            assert [a.number for a in stepped.attempts] == [a.number for a in late.attempts]

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
        assert msgspec.msgpack.decode(packed, type=Rendezvous) == self.transfer
        assert len(packed) <= 600

    @invariant()
    def its_sockets_are_open_and_its_own(self) -> None:
        t = self.transfer
        for who, socket in ((SENDER, t.socket), *((a.number, a.socket) for a in t.attempts)):
            assert not socket or (socket in self.open and self.owners[socket] == who)


class Meeting(RendezvousMachine):
    def begin(self) -> Rendezvous:
        return meetings.create("m" * 26, 60.0, self.now)


TestRendezvous = RendezvousMachine.TestCase
TestRendezvous.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMeeting = Meeting.TestCase
TestMeeting.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
