from __future__ import annotations

from p2pal.server.ws.view import ClientView
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import State

WELCOME = wire.Welcome(State.PENDING, 60.0)
STATE = wire.StateChanged(State.READY, 60.0, 1)
PEER = wire.PeerPresence(online=True)


def message(index: int, attempt: int = 1) -> wire.LogMessage:
    return wire.LogMessage(attempt, index, b"%d" % index)


def passed(view: ClientView, *messages: wire.ServerMessage) -> list[wire.ServerMessage]:
    return [each for each in messages if view.passes(each)]


def test_nothing_passes_before_the_welcome_but_the_sockets_own_answers() -> None:
    view = ClientView()
    own: list[wire.ServerMessage] = [wire.Error("cursor"), wire.Ice()]
    assert passed(view, STATE, PEER, wire.Served(1), message(0), *own) == own
    assert view.cursors == {}
    assert passed(view, WELCOME, STATE, PEER) == [WELCOME, STATE, PEER]


def test_a_command_that_was_carried_out_twice_is_told_once() -> None:
    view = ClientView()
    told: list[wire.ServerMessage] = [WELCOME, wire.Served(1), STATE, message(0), message(1)]
    assert passed(view, *told) == told
    told[0] = wire.Welcome(State.READY, 60.0, 1)
    assert passed(view, *told) == [STATE]
    assert view.cursors == {1: 2}


def test_it_goes_on_from_what_the_client_knows() -> None:
    view = ClientView()
    view.begin({1: 2})
    assert passed(view, WELCOME, message(1), message(2)) == [WELCOME, message(2)]
    assert not view.lost


def test_a_gap_is_never_told_and_asks_for_the_rest() -> None:
    for missed in (message(2), message(0, attempt=2)):
        view = ClientView()
        view.begin({1: 0})
        assert passed(view, WELCOME, message(0), missed, message(1), PEER) == [WELCOME, message(0)]
        assert view.lost
        assert view.cursors == {1: 1}


def test_an_attempt_that_is_served_without_the_end_of_the_one_before_is_a_gap_too() -> None:
    view = ClientView()
    view.begin({1: 3})
    welcome = wire.Welcome(State.READY, 60.0, 1)
    assert passed(view, welcome, wire.Served(2), STATE) == [welcome]
    assert view.lost
    again: list[wire.ServerMessage] = [STATE, wire.Released(1), wire.Served(2)]
    assert passed(view, wire.Welcome(State.READY, 60.0, 2), *again) == again


def test_cursors_that_nobody_should_have_do_no_harm() -> None:
    view = ClientView()
    view.begin({3: 0, 5: 2})
    told: list[wire.ServerMessage] = [
        wire.Welcome(State.READY, 60.0, 2),
        wire.Served(2),
        wire.Released(2),
        wire.Served(3),
        message(0, 3),
    ]
    assert passed(view, *told) == told
    assert passed(view, wire.Released(3), wire.Served(5), message(0, 5)) == [wire.Released(3), wire.Served(5)]


def test_after_something_was_missed_all_is_held_back_until_the_socket_is_attached_again() -> None:
    view = ClientView()
    passed(view, WELCOME, wire.Served(1), message(0))
    view.lost = True
    # Attempt 1 was released meanwhile, which nobody heard.
    assert passed(view, wire.Served(2), STATE, message(0, attempt=2), wire.Released(1)) == []
    assert view.cursors == {1: 1}
    again: list[wire.ServerMessage] = [STATE, wire.Released(1), wire.Served(2), message(0, attempt=2)]
    assert passed(view, WELCOME, *again) == again
    assert view.cursors == {2: 1}
