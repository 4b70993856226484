from __future__ import annotations

from p2pal.app.options import ConnectOptions
from p2pal.app.shell import ice_servers
from p2pal.lanes.base import IceServer
from p2pal.wire.rendezvous import IceServer as Offered

OFFERED = [Offered(["stun:offered:1"]), Offered(["turn:offered:2"], "user", "pass")]


def test_our_own_servers_come_first_and_the_offered_ones_are_used_too() -> None:
    connect = ConnectOptions(stun=("stun:own:1",), turn=("turn:own:2",), turn_user="me", turn_pass="secret")
    assert ice_servers(connect, OFFERED) == [
        IceServer(("stun:own:1",)),
        IceServer(("stun:offered:1",)),
        IceServer(("turn:offered:2",), "user", "pass"),
        IceServer(("turn:own:2",), "me", "secret"),
    ]


def test_stun_none_switches_the_offered_ones_off_too() -> None:
    assert ice_servers(ConnectOptions(stun=None), OFFERED) == []
    turn = ConnectOptions(stun=None, turn=("turn:own:2",), turn_user="me", turn_pass="secret")
    assert [server.urls for server in ice_servers(turn, OFFERED)] == [("turn:own:2",)]


def test_no_stun_of_our_own_leaves_the_offered_ones() -> None:
    assert [server.urls for server in ice_servers(ConnectOptions(stun=()), OFFERED)] == [
        ("stun:offered:1",),
        ("turn:offered:2",),
    ]
