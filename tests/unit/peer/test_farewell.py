from __future__ import annotations

import asyncio

import pytest

from p2pal.errors import ConnectionImpossible, Interrupted, NoRelay, P2palError, PeerLost, ProtocolError
from p2pal.lanes.ice_servers import RelayUse
from p2pal.link.actions import GaveUp
from p2pal.peer.farewell import check_relays, farewell, gave_up, understood


def why() -> ConnectionImpossible:
    return ConnectionImpossible("tried everything")


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (asyncio.CancelledError(), Interrupted.code),
        (ProtocolError("x"), ProtocolError.code),
        (ZeroDivisionError("a secret"), PeerLost.code),
    ],
)
def test_the_word_is_the_errors_code_and_nothing_else(error: BaseException, word: str) -> None:
    assert farewell(error) == word


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (ConnectionImpossible.code, ConnectionImpossible),
        (NoRelay.code, ConnectionImpossible),
        (PeerLost.code, PeerLost),
        ("whatever", None),
        ("", None),
    ],
)
def test_what_the_word_means_here(code: str, error: type[P2palError] | None) -> None:
    found = understood(code, why, stood=False)
    assert found is None if error is None else type(found) is error
    found = understood(code, why, stood=True)
    assert found is None if error is None else type(found) is PeerLost, "there was a path"


@pytest.mark.parametrize(
    ("before", "online", "error"),
    [(True, True, PeerLost), (True, False, PeerLost), (False, False, PeerLost), (False, True, ConnectionImpossible)],
)
def test_a_link_that_stood_is_lost_and_one_that_never_did_is_impossible(
    before: bool, online: bool, error: type[P2palError]
) -> None:
    assert type(gave_up(GaveUp(before), why, peer_online=online)) is error


def test_the_other_side_may_be_the_one_that_has_no_relay() -> None:
    found = understood(NoRelay.code, why, stood=False)
    assert found is not None
    assert found.message == "the other side was started with --relay-only, but knows no TURN server"


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (RelayUse.ONLY, RelayUse.NEVER, "this side was started with --relay-only, the other one with --no-relay"),
        (RelayUse.NEVER, RelayUse.ONLY, "this side was started with --no-relay, the other one with --relay-only"),
    ],
)
def test_wishes_that_contradict_each_other(ours: RelayUse, theirs: RelayUse, message: str) -> None:
    with pytest.raises(ConnectionImpossible) as caught:
        check_relays(ours, theirs)
    assert caught.value.message == message


@pytest.mark.parametrize("ours", RelayUse)
def test_wishes_that_leave_a_path(ours: RelayUse) -> None:
    check_relays(ours, ours)
    check_relays(ours, RelayUse.ALLOWED)
    check_relays(RelayUse.ALLOWED, ours)
