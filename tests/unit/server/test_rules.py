from __future__ import annotations

import pytest

from p2pal.server import rules
from p2pal.server import state as s
from p2pal.server.config import Limits
from p2pal.server.state import SENDER, Denied, Effect, Rendezvous
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode, State

LIMITS = Limits()


class Table:
    """A transfer at a moment; each step keeps the effects."""

    def __init__(self, ttl: float = 300.0, transfer: Rendezvous | None = None) -> None:
        self.now = 1000.0
        self.transfer: Rendezvous = transfer or rules.create("r" * 32, 7, b"sender", ttl, self.now)
        self.effects: list[Effect] = []

    def do(self, *commands: s.RendezvousCommand) -> list[Effect]:
        self.effects = []
        for command in commands:
            self.transfer, effects = rules.handle(self.transfer, command, self.now, LIMITS)
            self.effects += effects
        return self.effects

    def wait(self, seconds: float) -> list[Effect]:
        """Jump from timer to timer."""
        end = self.now + seconds
        self.effects = []
        while (due := rules.next_timeout(self.transfer)) is not None and due <= end and not self.transfer.over:
            self.now = max(self.now, due)
            self.transfer, effects = rules.handle_timeout(self.transfer, self.now, LIMITS)
            self.effects += effects
        self.now = end
        return self.effects

    def told(self, socket: str) -> list[wire.ServerMessage]:
        return [e.message for e in self.effects if isinstance(e, s.Tell) and e.socket == socket]

    def closed(self, socket: str) -> list[CloseCode]:
        return [e.code for e in self.effects if isinstance(e, s.CloseSocket) and e.socket == socket]

    def denied(self, command: s.RendezvousCommand) -> str:
        with pytest.raises(Denied) as caught:
            rules.handle(self.transfer, command, self.now, LIMITS)
        return caught.value.code


def ready() -> Table:
    table = Table()
    table.do(s.Attach(SENDER, "A"), s.Join(b"one"), s.Attach(1, "B"))
    assert table.transfer.state is State.READY
    return table


def active() -> Table:
    table = ready()
    table.do(s.AppendMessage(SENDER, 1, 0, b"a"), s.AppendMessage(1, 1, 0, b"b"), s.AcceptAttempt(SENDER, 1))
    assert table.transfer.state is State.ACTIVE
    return table


def test_an_attempt_is_served_once_both_have_sockets() -> None:
    table = Table()
    table.do(s.Join(b"one"))
    assert table.transfer.served == 0
    table.do(s.Attach(1, "B"))
    assert table.transfer.served == 0
    table.do(s.Attach(SENDER, "A"))
    assert table.transfer.served == 1
    assert wire.Served(1) in table.told("A")
    assert wire.PeerPresence(online=True) in table.told("B")


def test_attempts_are_served_one_at_a_time_in_order() -> None:
    table = ready()
    table.do(s.Join(b"two"), s.Attach(2, "C"), s.Join(b"three"), s.Attach(3, "D"))
    assert table.transfer.served == 1
    table.do(s.ReleaseAttempt(SENDER, 1, "wrong-code"))
    assert table.transfer.served == 2
    assert table.told("B") == [wire.Released(1, "wrong-code")]
    assert table.closed("B") == [CloseCode.RELEASED]
    assert wire.Served(2) in table.told("A")
    table.do(s.LeaveAttempt(2))
    assert table.transfer.served == 3


def test_a_silent_receiver_is_released_and_the_next_is_served() -> None:
    table = ready()
    table.do(s.Join(b"two"), s.Attach(2, "C"))
    table.wait(LIMITS.silence - 1)
    assert table.transfer.served == 1
    table.wait(1)
    assert table.transfer.served == 2
    table.do(s.AppendMessage(2, 2, 0, b"speaks"))
    table.wait(100)
    assert table.transfer.served == 2


def test_the_silence_clock_waits_for_the_sender() -> None:
    table = ready()
    table.do(s.Detach(SENDER, "A"))
    table.wait(100)
    assert table.transfer.served == 1
    table.do(s.Attach(SENDER, "A2", {1: 0}))
    assert wire.Served(1) not in table.told("A2")
    table.wait(LIMITS.silence)
    assert table.transfer.served == 0


def test_joiners_without_a_socket_do_not_keep_their_place() -> None:
    table = ready()
    for n in range(LIMITS.attempts):
        table.do(s.Join(b"x%d" % n))
    assert table.denied(s.Join(b"late")) == "queue-full"
    table.wait(LIMITS.join_grace)
    table.do(s.Join(b"now"))


def test_a_waiting_receiver_may_come_back_in_time() -> None:
    table = ready()
    table.do(s.AppendMessage(1, 1, 0, b"b"), s.Join(b"two"), s.Attach(2, "C"), s.Detach(2, "C"))
    table.wait(LIMITS.offline_grace - 1)
    table.do(s.Attach(2, "C2"))
    table.wait(60)
    assert table.transfer.attempt(2) is not None
    table.do(s.Detach(2, "C2"))
    table.wait(LIMITS.offline_grace)
    assert table.transfer.attempt(2) is None


def test_the_accept_pins_and_sends_the_others_away() -> None:
    table = ready()
    table.do(s.Join(b"two"), s.Attach(2, "C"))
    table.do(s.AcceptAttempt(SENDER, 1))
    assert table.told("C") == [wire.Released(2, "busy")]
    assert table.closed("C") == [CloseCode.RELEASED]
    assert wire.StateChanged(State.ACTIVE, 300.0, 1) in table.told("B")
    table.do(s.AcceptAttempt(SENDER, 1))
    assert table.told("A") == [wire.StateChanged(State.ACTIVE, 300.0, 1)]


def test_release_of_the_active_attempt_opens_the_slot_again() -> None:
    table = active()
    table.do(s.ReleaseAttempt(SENDER, 1, "lost"), s.Join(b"two"), s.Attach(2, "C"))
    assert table.transfer.served == 2
    assert table.transfer.state is State.READY


def test_only_the_sender_decides() -> None:
    table = ready()
    for command in (s.AcceptAttempt(1, 1), s.ReleaseAttempt(1, 1), s.CompleteTransfer(1), s.Delete(1)):
        assert table.denied(command) == "forbidden"
    assert table.denied(s.LeaveAttempt(SENDER)) == "forbidden"


def test_appends_are_acknowledged_forwarded_and_repeatable() -> None:
    table = ready()
    table.do(s.AppendMessage(SENDER, 1, 0, b"a"))
    assert table.effects == [
        s.Keep(1, True, b"a"),
        s.Tell("A", wire.Appended(1, 0)),
        s.Tell("B", wire.LogMessage(1, 0, b"a")),
    ]
    table.do(s.AppendMessage(SENDER, 1, 0, b"a", stored=b"a"))
    assert table.effects == [s.Tell("A", wire.Appended(1, 0))]
    assert table.denied(s.AppendMessage(SENDER, 1, 0, b"other", stored=b"a")) == "conflict"
    assert table.denied(s.AppendMessage(SENDER, 1, 2, b"c")) == "gap"


def test_logs_are_bounded() -> None:
    table = ready()
    assert table.denied(s.AppendMessage(1, 1, 0, bytes(LIMITS.message_bytes + 1))) == "too-large"
    full = LIMITS.log_bytes // LIMITS.message_bytes
    for n in range(full):
        table.do(s.AppendMessage(1, 1, n, bytes(LIMITS.message_bytes)))
    assert table.denied(s.AppendMessage(1, 1, full, b"x")) == "log-full"
    for n in range(LIMITS.messages):
        table.do(s.AppendMessage(SENDER, 1, n, b""))
    assert table.denied(s.AppendMessage(SENDER, 1, LIMITS.messages, b"")) == "log-full"


def test_who_may_write_where() -> None:
    table = ready()
    table.do(s.Join(b"two"), s.Attach(2, "C"))
    assert table.denied(s.AppendMessage(2, 1, 0, b"x")) == "forbidden"
    assert table.denied(s.AppendMessage(2, 2, 0, b"x")) == "not-served"
    assert table.denied(s.AppendMessage(SENDER, 2, 0, b"x")) == "not-served"
    assert table.denied(s.AppendMessage(SENDER, 9, 0, b"x")) == "unknown-attempt"
    table.do(s.ReleaseAttempt(SENDER, 1))
    assert table.denied(s.AppendMessage(SENDER, 1, 0, b"x")) == "released"


def test_the_first_ttl_is_absolute() -> None:
    table = Table(ttl=60)
    table.do(s.Attach(SENDER, "A"))
    table.wait(30)
    table.do(s.Join(b"one"), s.Attach(1, "B"), s.AppendMessage(1, 1, 0, b"b"))
    table.wait(29)
    assert not table.transfer.over
    table.wait(1)
    assert table.transfer.expired
    assert table.closed("A") == table.closed("B") == [CloseCode.EXPIRED]
    assert table.denied(s.Join(b"x")) == "expired"


def test_after_the_accept_only_loneliness_counts() -> None:
    table = active()
    table.wait(10_000)
    table.do(s.Detach(SENDER, "A"))
    table.wait(10_000)
    table.do(s.Detach(1, "B"))
    table.wait(299)
    table.do(s.Attach(1, "B2"))
    table.wait(10_000)
    table.do(s.Detach(1, "B2"))
    table.wait(300)
    assert table.transfer.expired


def test_a_waiting_stranger_does_not_keep_a_transfer_alive() -> None:
    table = active()
    table.do(s.ReleaseAttempt(SENDER, 1), s.Detach(SENDER, "A"), s.Join(b"two"), s.Attach(2, "C"))
    table.wait(300)
    assert table.transfer.expired


def test_completion_ends_everything_and_can_be_repeated() -> None:
    table = active()
    table.do(s.CompleteTransfer(SENDER))
    assert table.closed("A") == table.closed("B") == [CloseCode.OVER]
    assert s.Drop(1) in table.effects
    assert table.denied(s.Delete(SENDER)) == "over"
    table.do(s.CompleteTransfer(SENDER))
    assert table.effects == [], "its socket was told and closed"
    table.do(s.Detach(SENDER, "A"), s.CompleteTransfer(SENDER), s.Attach(SENDER, "A2"))
    assert table.told("A2") == [wire.Welcome(State.COMPLETED, 0.0, 0)]
    assert table.closed("A2") == [CloseCode.OVER]
    assert rules.next_timeout(table.transfer) == table.now + LIMITS.rest


def test_completion_needs_an_accept() -> None:
    assert ready().denied(s.CompleteTransfer(SENDER)) == "wrong-state"


def test_a_newer_socket_replaces_the_older() -> None:
    table = ready()
    table.do(s.Attach(SENDER, "A2", {1: 0}))
    assert table.closed("A") == [CloseCode.REPLACED]
    table.do(s.Detach(SENDER, "A"))
    assert table.transfer.socket == "A2"
    table.do(s.Attach(1, "B2"))
    assert table.closed("B") == [CloseCode.REPLACED]


def test_a_hello_that_comes_late_replaces_nothing() -> None:
    table = ready()
    table.do(s.Attach(SENDER, "A2", {1: 0}, turn=2), s.Attach(1, "B2", {1: 0}, turn=1))
    before = table.transfer
    table.do(s.Attach(SENDER, "late", {1: 0}, turn=1), s.Attach(1, "late too", turn=0))
    assert table.closed("late") == table.closed("late too") == [CloseCode.REPLACED]
    assert table.told("late") == table.told("late too") == []
    assert table.transfer == before
    table.do(s.Detach(SENDER, "A2"), s.Attach(SENDER, "later", {1: 0}, turn=1))
    assert table.closed("later") == [CloseCode.REPLACED], "also when the newer one has gone again"
    table.do(s.Attach(SENDER, "A3", {1: 0}, turn=3))
    assert table.transfer.socket == "A3"


def test_a_sender_that_comes_back_hears_what_it_missed() -> None:
    table = ready()
    table.do(s.Detach(SENDER, "A"), s.LeaveAttempt(1), s.Join(b"two"), s.Attach(2, "C"))
    table.do(s.Attach(SENDER, "A2", {1: 0}))
    told = table.told("A2")
    assert told.index(wire.Released(1, "left")) < told.index(wire.Served(2))


def test_a_released_receiver_that_comes_back_is_told() -> None:
    table = ready()
    table.do(s.Detach(1, "B"), s.ReleaseAttempt(SENDER, 1, "wrong-code"))
    table.do(s.Attach(1, "B2"))
    assert table.told("B2") == [wire.Welcome(State.PENDING, 300.0, 1), wire.Released(1, "wrong-code")]
    assert table.closed("B2") == [CloseCode.RELEASED]


def test_release_can_be_repeated_but_not_invented() -> None:
    table = ready()
    table.do(s.ReleaseAttempt(SENDER, 1, "x"), s.ReleaseAttempt(SENDER, 1, "y"))
    assert table.told("A")[-1] == wire.Released(1, "x")
    assert table.denied(s.ReleaseAttempt(SENDER, 5)) == "unknown-attempt"


# Knocking at an active transfer.


def knocking() -> Table:
    table = active()
    table.do(s.Join(b"two"), s.Attach(2, "C"))
    return table


def test_who_joins_an_active_transfer_knocks_once_there_is_a_socket() -> None:
    table = active()
    assert s.Note("joined", 2) in table.do(s.Join(b"two"))
    assert table.told("A") == []
    table.do(s.Attach(2, "C"))
    assert table.told("A") == [wire.Knock(2)]
    assert table.told("C") == [wire.Welcome(State.ACTIVE, 300.0, 2)]
    assert table.transfer.served == 1


def test_a_sender_that_comes_back_hears_the_knocks_again() -> None:
    table = knocking()
    table.do(s.Join(b"three"), s.Attach(3, "D"), s.Detach(3, "D"), s.Attach(SENDER, "A2", {1: 0}))
    assert [told for told in table.told("A2") if isinstance(told, wire.Knock)] == [wire.Knock(2)]


def test_a_knock_is_answered_busy() -> None:
    table = knocking()
    table.do(s.ReleaseAttempt(SENDER, 2, "busy"))
    assert table.told("A") == [wire.Released(2, "busy")]
    assert table.told("C") == [wire.Released(2, "busy")]
    assert table.closed("C") == [CloseCode.RELEASED]
    assert table.transfer.state is State.ACTIVE


def test_a_knock_is_answered_by_letting_the_active_one_go() -> None:
    table = knocking()
    table.do(s.Join(b"three"), s.Attach(3, "D"), s.ReleaseAttempt(SENDER, 1, "moved"))
    assert table.told("B") == [wire.Released(1, "moved")]
    assert wire.Served(2) in table.told("A")
    assert table.transfer.state is State.READY
    table.do(s.AppendMessage(2, 2, 0, b"speaks"))
    table.wait(100)
    assert [a.number for a in table.transfer.attempts] == [2, 3], "who waits for its turn need not knock any more"
    table.do(s.AcceptAttempt(SENDER, 2))
    assert table.told("D") == [wire.Released(3, "busy")]


def test_a_knock_that_nobody_answers_ends_and_cannot_be_prolonged() -> None:
    table = knocking()
    table.wait(LIMITS.knock - 1)
    table.do(s.Detach(2, "C"), s.Attach(2, "C2"))
    assert table.told("A") == []
    table.wait(1)
    assert table.told("C2") == table.told("A") == [wire.Released(2, "busy")]
    assert table.transfer.state is State.ACTIVE


def test_only_so_many_may_knock() -> None:
    table = active()
    for n in range(LIMITS.attempts):
        table.do(s.Join(b"x%d" % n))
    assert table.denied(s.Join(b"late")) == "queue-full"


# A socket that is attached again, because what it was told may have been lost.


def test_who_is_attached_again_is_told_where_everything_stands() -> None:
    table = ready()
    table.do(s.AppendMessage(SENDER, 1, 0, b"a"), s.AppendMessage(SENDER, 1, 1, b"b"), s.AppendMessage(1, 1, 0, b"c"))
    before = table.transfer
    table.do(s.Attach(SENDER, "A", {1: 0}, again=True))
    assert table.effects == [
        s.Tell("A", wire.Welcome(State.READY, 300.0, 1)),
        s.Tell("A", wire.StateChanged(State.READY, 300.0, 1)),
        s.Tell("A", wire.PeerPresence(online=True)),
        s.Tell("B", wire.PeerPresence(online=True)),
        s.Tell("A", wire.Appended(1, 0)),
        s.Tell("A", wire.Appended(1, 1)),
        s.Replay("A", 1, by_sender=False, start=0),
    ]
    assert table.transfer == before
    table.do(s.Attach(1, "B", {1: 2}, again=True))
    assert table.told("B")[-1] == wire.Appended(1, 0)
    assert table.effects[-1] == s.Replay("B", 1, by_sender=True, start=2)
    assert table.closed("A") == table.closed("B") == []
    assert table.transfer == before


def test_a_sender_that_is_attached_again_hears_whom_it_serves_and_who_is_gone() -> None:
    table = ready()
    table.do(s.Join(b"two"), s.Attach(2, "C"), s.ReleaseAttempt(SENDER, 1, "wrong-code"))
    table.do(s.Attach(SENDER, "A", {1: 1}, again=True))
    told = table.told("A")
    assert told.index(wire.Released(1, "wrong-code")) < told.index(wire.Served(2))
    table.do(s.Attach(SENDER, "A", {2: 0}, again=True))
    assert wire.Served(2) not in table.told("A"), "it knows"


def test_a_sender_that_is_attached_again_hears_of_knocks_and_of_those_that_ended() -> None:
    table = knocking()
    table.do(s.Join(b"three"), s.Attach(3, "D"), s.ReleaseAttempt(SENDER, 2, "busy"))
    table.do(s.Attach(SENDER, "A", {1: 0}, again=True))
    assert wire.Released(2, "busy") in table.told("A")
    assert wire.Knock(3) in table.told("A")


def test_a_socket_is_not_attached_again_over_a_newer_one() -> None:
    table = ready()
    table.do(s.Attach(SENDER, "A2", {1: 0}), s.Attach(1, "B2"))
    before = table.transfer
    for who, stale in ((SENDER, "A"), (1, "B")):
        assert table.do(s.Attach(who, stale, {1: 0}, again=True)) == [s.CloseSocket(stale, CloseCode.REPLACED)]
    assert table.transfer == before


def test_a_socket_that_was_given_up_for_gone_is_there_again() -> None:
    table = ready()
    table.do(s.AppendMessage(1, 1, 0, b"c"), s.Detach(SENDER, "A"), s.Detach(1, "B"))
    table.do(s.Attach(SENDER, "A", {1: 0}, again=True))
    assert table.transfer.socket == "A"
    assert wire.PeerPresence(online=False) in table.told("A")
    table.do(s.Attach(1, "B", {1: 0}, again=True))
    assert table.told("A") == [wire.PeerPresence(online=True)]


def test_whoever_is_attached_again_too_late_hears_that_it_is_over() -> None:
    table = active()
    table.do(s.ReleaseAttempt(SENDER, 1, "moved"))
    table.do(s.Attach(1, "B", {1: 1}, again=True))
    assert table.told("B")[-1] == wire.Released(1, "moved")
    assert table.closed("B") == [CloseCode.RELEASED]
    table.do(s.Delete(SENDER))
    table.do(s.Attach(SENDER, "A", {}, again=True))
    assert table.told("A")[-1] == wire.StateChanged(State.ABORTED, 0.0)
    assert table.closed("A") == [CloseCode.OVER]


# The log and the cursor.


@pytest.mark.parametrize("again", [False, True])
def test_the_log_is_sent_on_from_the_cursor(again: bool) -> None:
    table = active()
    for who, socket in ((SENDER, "A"), (1, "B")):
        for cursor in (0, 1):
            effects = table.do(s.Attach(who, socket, {1: cursor}, again=again))
            assert effects[-1] == s.Replay(socket, 1, by_sender=who != SENDER, start=cursor)
        assert table.do(s.Attach(who, socket, again=again))[-1] == s.Replay(socket, 1, who != SENDER, 0)


@pytest.mark.parametrize("again", [False, True])
def test_a_cursor_past_the_end_of_the_log_is_refused_and_takes_nothing_over(again: bool) -> None:
    table = active()
    for who, socket in ((SENDER, "A"), (1, "B")):
        assert table.denied(s.Attach(who, socket, {1: 2}, again=again)) == "cursor"
    assert table.denied(s.Attach(SENDER, "A2", {1: 2})) == "cursor"
    assert table.transfer.socket == "A"


def test_cursors_of_other_attempts_do_not_matter() -> None:
    table = active()
    effects = table.do(s.Attach(1, "B2", {1: 1, 7: 99}))
    assert effects[-1] == s.Replay("B2", 1, by_sender=True, start=1)
    table.do(s.Attach(SENDER, "A2", {1: 1, 7: 99}))
    assert wire.Released(7, "over") in table.told("A2")


def test_a_log_that_nobody_is_served_is_not_sent() -> None:
    table = Table()
    table.do(s.Attach(SENDER, "A", {3: 5}))
    assert not any(isinstance(effect, s.Replay) for effect in table.effects)
