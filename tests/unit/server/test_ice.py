from __future__ import annotations

from p2pal.server.ice import IceServers
from p2pal.wire.rendezvous import IceServer


def test_turn_and_its_credentials_come_only_after_the_accept() -> None:
    mixed = IceServer(["stun:h", "turn:h"], "user", "secret")
    turn = IceServer(["turns:h"], "user", "secret")
    servers = IceServers([mixed, turn])
    assert servers.offer(accepted=False) == [IceServer(["stun:h"])]
    assert servers.offer(accepted=True) == [mixed, turn]
