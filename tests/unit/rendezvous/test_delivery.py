from __future__ import annotations

import pytest

from p2pal.errors import ServerRefused
from p2pal.rendezvous import events as e
from p2pal.rendezvous.delivery import Delivery
from p2pal.role import Role
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import State


def welcomed(role: Role) -> Delivery:
    delivery = Delivery(role)
    assert delivery.connected() == {}
    delivery.handle(wire.Welcome(State.PENDING, 60.0, 0 if role == "send" else 1))
    if role == "send":
        delivery.handle(wire.Served(1))
    delivery.events()
    return delivery


def test_what_is_queued_before_the_welcome_goes_out_after_it() -> None:
    delivery = Delivery("receive")
    delivery.connected()
    assert delivery.append(1, b"a") == 0
    delivery.ask_ice()
    assert delivery.outputs() == []
    delivery.handle(wire.Welcome(State.READY, 60.0, 1))
    assert delivery.outputs() == [wire.Append(0, b"a", 1), wire.AskIce()]
    assert delivery.outputs() == []


def test_after_a_lost_socket_what_was_not_acknowledged_is_said_again() -> None:
    delivery = welcomed("send")
    delivery.append(1, b"a")
    delivery.append(1, b"b")
    delivery.accept(1)
    assert len(delivery.outputs()) == 3
    delivery.handle(wire.Appended(1, 0))
    assert delivery.connected() == {1: 0}
    delivery.handle(wire.Welcome(State.READY, 60.0, 1))
    assert delivery.outputs() == [wire.Append(1, b"b", 1), wire.ClientAccept(1)]
    delivery.handle(wire.Appended(1, 1))
    delivery.handle(wire.StateChanged(State.ACTIVE, 60.0, 1))
    assert delivery.settled


def test_repeats_are_dropped_and_the_cursor_moves() -> None:
    delivery = welcomed("send")
    delivery.handle(wire.LogMessage(1, 0, b"a"))
    delivery.handle(wire.LogMessage(1, 0, b"a"))
    delivery.handle(wire.LogMessage(1, 1, b"b"))
    assert delivery.events() == [e.PeerMessage(1, 0, b"a"), e.PeerMessage(1, 1, b"b")]
    assert delivery.connected() == {1: 2}


def test_a_release_clears_what_waits_for_that_attempt() -> None:
    delivery = welcomed("send")
    delivery.append(1, b"a")
    delivery.release(1, "wrong-code")
    delivery.handle(wire.Released(1, "wrong-code"))
    delivery.handle(wire.Released(1, "wrong-code"))
    assert delivery.events() == [e.AttemptReleased(1, "wrong-code")]
    assert delivery.settled
    delivery.append(1, b"late")
    assert delivery.settled
    delivery.handle(wire.LogMessage(1, 0, b"late too"))
    delivery.handle(wire.Served(2))
    assert delivery.events() == [e.AttemptServed(2)]


def test_what_was_for_ended_attempts_does_not_pile_up_while_the_server_reads_nothing() -> None:
    delivery = welcomed("send")
    delivery.ask_ice()
    for attempt in range(1, 1001):
        delivery.append(attempt, b"element")
        delivery.release(attempt, "wrong-code")
        delivery.handle(wire.Released(attempt, "left"))
        delivery.handle(wire.Served(attempt + 1))
    delivery.append(1001, b"element")
    assert delivery.outputs() == [wire.AskIce(), wire.Append(0, b"element", 1001)]


def test_a_receiver_is_over_when_released() -> None:
    delivery = welcomed("receive")
    delivery.leave()
    delivery.handle(wire.Released(1, "left"))
    assert delivery.over == "released"
    assert delivery.settled


@pytest.mark.parametrize(("state", "over"), [(State.COMPLETED, "completed"), (State.ABORTED, "aborted")])
def test_the_end_of_the_transfer(state: State, over: str) -> None:
    delivery = welcomed("send")
    delivery.complete()
    delivery.handle(wire.StateChanged(state, 0.0))
    assert delivery.over == over
    assert delivery.settled


@pytest.mark.parametrize(
    "message",
    [
        wire.LogMessage(1, 1, b"gap"),
        wire.LogMessage(2, 0, b"no such attempt"),
        wire.Appended(1, 0),
        wire.Appended(3, 0),
        wire.Served(2),
        wire.Served(1),
        wire.Welcome(State.READY, 1.0, 1),
        wire.Error("conflict", "\x1b[2J"),
        wire.Error("whatever"),
    ],
    ids=str,
)
def test_what_a_server_may_not_say(message: wire.ServerMessage) -> None:
    with pytest.raises(ServerRefused) as caught:
        welcomed("send").handle(message)
    assert "\x1b" not in str(caught.value)


def test_what_may_not_come_before_the_welcome() -> None:
    for message in (wire.Served(1), wire.Error("released"), wire.PeerPresence(online=True)):
        with pytest.raises(ServerRefused):
            Delivery("send").handle(message)
    with pytest.raises(ServerRefused):
        Delivery("receive").handle(wire.Welcome(State.READY, 1.0, 0))


def test_a_receiver_stays_with_its_attempt() -> None:
    delivery = welcomed("receive")
    delivery.connected()
    with pytest.raises(ServerRefused):
        delivery.handle(wire.Welcome(State.READY, 1.0, 2))


def test_a_refusal_that_a_release_explains_is_ignored() -> None:
    delivery = welcomed("send")
    delivery.handle(wire.Error("released", attempt=1))
    delivery.handle(wire.Error("not-served", attempt=1))


def test_logs_are_bounded_before_anything_is_sent() -> None:
    delivery = welcomed("send")
    with pytest.raises(ValueError, match="larger"):
        delivery.append(1, bytes(wire.MAX_BODY + 1))
    for _ in range(wire.MAX_LOG // wire.MAX_BODY):
        delivery.append(1, bytes(wire.MAX_BODY))
    with pytest.raises(ServerRefused):
        delivery.append(1, b"x")


def test_only_usable_ice_servers_are_reported() -> None:
    delivery = welcomed("send")
    delivery.ask_ice()
    delivery.handle(wire.Ice([wire.IceServer(["stun:h", "http://x"])]))
    assert delivery.events() == [e.IceServersOffered((wire.IceServer(["stun:h"]),))]


def active() -> Delivery:
    delivery = welcomed("send")
    delivery.accept(1)
    delivery.handle(wire.StateChanged(State.ACTIVE, 60.0, 1))
    delivery.events()
    delivery.outputs()
    return delivery


def test_a_knock_is_told_once_and_can_be_refused() -> None:
    delivery = active()
    delivery.handle(wire.Knock(2))
    delivery.connected()
    delivery.handle(wire.Welcome(State.ACTIVE, 60.0, 1))
    delivery.handle(wire.Knock(2))
    assert [event for event in delivery.events() if isinstance(event, e.AttemptKnocked)] == [e.AttemptKnocked(2)]
    delivery.release(2, "busy")
    assert delivery.outputs() == [wire.Release(2, "busy")]
    assert not delivery.settled
    delivery.handle(wire.Released(2, "busy"))
    assert delivery.settled
    assert delivery.events() == [e.AttemptReleased(2, "busy")]
    assert delivery.connected() == {1: 0}


def test_a_knock_is_let_in_by_releasing_the_active_attempt() -> None:
    delivery = active()
    delivery.handle(wire.Knock(2))
    delivery.release(1, "moved")
    for message in (wire.Released(1, "moved"), wire.StateChanged(State.PENDING, 60.0), wire.Served(2)):
        delivery.handle(message)
    assert [event for event in delivery.events() if isinstance(event, e.AttemptServed | e.AttemptReleased)] == [
        e.AttemptReleased(1, "moved"),
        e.AttemptServed(2),
    ]


def test_attempts_may_be_served_in_another_order_than_they_joined() -> None:
    delivery = welcomed("send")
    delivery.handle(wire.Released(1, "left"))
    delivery.handle(wire.Served(3))
    delivery.handle(wire.Released(3, "left"))
    delivery.handle(wire.Served(2))
    assert delivery.append(2, b"element") == 0
    assert delivery.outputs() == [wire.Append(0, b"element", 2)]
    with pytest.raises(ServerRefused):
        delivery.handle(wire.Served(4))


def test_an_attempt_that_ended_never_comes_back_however_many_ended_since() -> None:
    delivery = welcomed("send")
    for attempt in range(1, 200):
        delivery.handle(wire.Released(attempt, "left"))
        delivery.handle(wire.Served(attempt + 1))
    delivery.handle(wire.Released(200, "left"))
    for attempt in (1, 100, 199, 200):
        with pytest.raises(ServerRefused):
            delivery.handle(wire.Served(attempt))
        delivery.handle(wire.Knock(attempt))
    assert not any(isinstance(event, e.AttemptKnocked) for event in delivery.events())


@pytest.mark.parametrize("role", ["send", "receive"])
def test_a_knock_by_who_is_in_already_is_nonsense(role: Role) -> None:
    with pytest.raises(ServerRefused):
        welcomed(role).handle(wire.Knock(1))
