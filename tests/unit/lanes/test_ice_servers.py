"""Which servers a connection asks."""

from __future__ import annotations

import pytest

from p2pal.lanes.ice_servers import IceServerConfig, RelayUse, known_servers, servers_for, servers_without_relays

STUN = IceServerConfig(("stun:one:1",))
TURN = IceServerConfig(("turn:one:1",), "someone", "something")


@pytest.mark.parametrize(
    ("relay", "asked"), [(RelayUse.ALLOWED, [STUN, TURN]), (RelayUse.ONLY, [TURN]), (RelayUse.NEVER, [STUN])]
)
def test_only_those_are_asked_that_are_of_use(relay: RelayUse, asked: list[IceServerConfig]) -> None:
    assert servers_for([STUN, TURN], relay) == asked


def test_a_relay_also_tells_an_address() -> None:
    servers = [
        IceServerConfig(
            ("stun:one:1", "turn:one:1", "turn:one:1?transport=tcp", "turns:one:1"), "someone", "something"
        ),
        IceServerConfig(("turn:[2001:db8::1]",), "someone", "something"),
        IceServerConfig(("turn:bad:99999",)),
        IceServerConfig(("turn:one:1?transport=udp",)),
    ]
    assert servers_without_relays(servers) == [
        IceServerConfig(("stun:one:1",)),
        IceServerConfig(("stun:[2001:db8::1]:3478",)),
    ]
    many = [IceServerConfig((f"stun:{number}:1",)) for number in range(20)]
    assert len(servers_without_relays(many)) == 4


@pytest.mark.parametrize(
    ("needed", "known_after", "tries"), [(False, 0, 1), (False, 9, 1), (True, 1, 1), (True, 3, 3), (True, 99, 5)]
)
async def test_where_there_is_no_other_way_servers_are_waited_for(needed: bool, known_after: int, tries: int) -> None:
    learned = 0

    async def learn() -> None:
        nonlocal learned
        learned += 1

    def known() -> list[IceServerConfig]:
        return [TURN] if learned >= known_after else []

    assert await known_servers(known, learn, needed=needed) == known()
    assert learned == tries


def test_no_text_of_a_server_has_its_password() -> None:
    assert "something" not in repr(TURN)
