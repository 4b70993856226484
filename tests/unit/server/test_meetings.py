from __future__ import annotations

import pytest
from tests.unit.server.test_rules import Table, ready

from p2pal.server import meetings
from p2pal.server import state as s
from p2pal.server.state import SENDER
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import CloseCode, State


def meeting(*commands: s.RendezvousCommand) -> Table:
    table = Table(transfer=meetings.create("m" * 26, 300.0, 1000.0))
    table.do(*commands)
    return table


SEND = s.JoinMeeting(sender=True, token=b"sender", ttl=300.0)
RECEIVE = s.JoinMeeting(sender=False, token=b"receiver", ttl=300.0)


@pytest.mark.parametrize("sender_first", [True, False])
def test_a_meeting_serves_whoever_comes_first(*, sender_first: bool) -> None:
    ours, theirs = (SEND, s.Attach(SENDER, "A")), (RECEIVE, s.Attach(1, "B"))
    table = meeting(*ours, *theirs) if sender_first else meeting(*theirs, *ours)
    assert table.transfer.state is State.READY
    assert wire.Served(1) in table.told("A")
    table.do(s.AppendMessage(SENDER, 1, 0, b"a"), s.AppendMessage(1, 1, 0, b"b"))
    assert s.Tell("B", wire.LogMessage(1, 0, b"a")) in table.effects


def test_nobody_need_speak_in_a_meeting() -> None:
    table = meeting(SEND, s.Attach(SENDER, "A"), RECEIVE, s.Attach(1, "B"))
    table.wait(10_000)
    assert table.transfer.served == 1


def test_a_receiver_that_meets_again_gets_a_new_attempt() -> None:
    table = meeting(SEND, s.Attach(SENDER, "A"), RECEIVE, s.Attach(1, "B"))
    table.do(RECEIVE)
    assert table.told("B") == [wire.Released(1, "renewed")]
    assert table.closed("B") == [CloseCode.RELEASED]
    assert wire.Released(1, "renewed") in table.told("A")
    table.do(s.Attach(2, "B2"))
    assert wire.Served(2) in table.told("A")
    table.do(s.Detach(1, "B"))
    assert table.transfer.served == 2


def test_a_retried_meet_of_a_receiver_does_no_harm() -> None:
    table = meeting(SEND, s.Attach(SENDER, "A"), RECEIVE, RECEIVE, s.Attach(2, "B"))
    assert table.transfer.served == 2
    assert [a.number for a in table.transfer.attempts] == [2]


def test_a_sender_that_meets_again_replaces_its_token() -> None:
    table = meeting(SEND, s.Attach(SENDER, "A"), RECEIVE, s.Attach(1, "B"))
    table.do(s.AppendMessage(1, 1, 0, b"b"))
    table.do(s.JoinMeeting(sender=True, token=b"new", ttl=300.0))
    assert table.closed("A") == [CloseCode.REPLACED]
    assert table.told("B") == [wire.PeerPresence(online=False)]
    assert table.transfer.token == b"new"
    table.do(s.Detach(SENDER, "A"), s.Attach(SENDER, "A2"))
    assert wire.Served(1) in table.told("A2"), "nothing was said to this attempt: it goes on"


def test_an_attempt_that_was_spoken_to_cannot_go_on_with_a_new_sender() -> None:
    table = meeting(SEND, s.Attach(SENDER, "A"), RECEIVE, s.Attach(1, "B"), s.AppendMessage(SENDER, 1, 0, b"a"))
    table.do(SEND)
    assert table.told("B") == [wire.Released(1, "renewed")]
    assert table.transfer.attempts == ()
    table.do(RECEIVE, s.Attach(2, "B2"), s.Attach(SENDER, "A2"))
    assert wire.Served(2) in table.told("A2")


def test_a_meeting_lives_while_anyone_is_there() -> None:
    table = meeting(RECEIVE, s.Attach(1, "B"))
    table.wait(10_000)
    assert not table.transfer.over
    table.do(s.Detach(1, "B"))
    table.wait(299)
    table.do(s.JoinMeeting(sender=True, token=b"sender", ttl=400.0))
    table.wait(399)
    assert not table.transfer.over
    table.wait(1)
    assert table.transfer.expired


def test_a_meeting_can_be_completed_by_its_sender_alone() -> None:
    table = meeting(SEND, s.Attach(SENDER, "A"), RECEIVE, s.Attach(1, "B"))
    assert table.denied(s.CompleteTransfer(1)) == "forbidden"
    table.do(s.CompleteTransfer(SENDER))
    assert table.transfer.state is State.COMPLETED
    assert table.denied(SEND) == "over"


def test_a_transfer_with_a_slot_is_no_meeting() -> None:
    assert ready().denied(SEND) == "unknown"
