"""Which servers a connection asks."""

from __future__ import annotations

import pytest

from p2pal.lanes.ice_servers import IceServerConfig, KnownServers, RelayUse, servers_for, servers_without_relays
from p2pal.wire.rendezvous import IceServer

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
    ("relay", "known_after", "tries"),
    [
        (RelayUse.ALLOWED, 0, 1),
        (RelayUse.ALLOWED, 9, 1),
        (RelayUse.ONLY, 1, 1),
        (RelayUse.ONLY, 3, 3),
        (RelayUse.ONLY, 99, 5),
    ],
)
async def test_where_there_is_no_other_way_servers_are_waited_for(
    relay: RelayUse, known_after: int, tries: int
) -> None:
    learned = 0
    known = KnownServers(choose=lambda _: [TURN])

    async def learn() -> None:
        nonlocal learned
        learned += 1
        if learned >= known_after:
            known.offered([IceServer(["turn:any"])])

    assert await known.learned(relay, learn) == ([TURN] if known_after <= tries else [])
    assert learned == tries


@pytest.mark.parametrize("relay", RelayUse)
async def test_where_the_server_is_not_asked_nothing_is_waited_for(relay: RelayUse) -> None:
    async def learn() -> None:
        pytest.fail("it was waited for")

    known = KnownServers([TURN])
    known.offered([IceServer(["turn:any"])])
    assert await known.learned(relay, learn) == servers_for([TURN], relay)


def test_an_empty_offer_changes_nothing() -> None:
    known = KnownServers([TURN], lambda _: [])
    known.offered([])
    assert known.servers == [TURN]
    assert known.relays


def test_no_text_of_a_server_has_its_password() -> None:
    assert "something" not in repr(TURN)
