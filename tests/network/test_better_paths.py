"""A better path appears while a transfer runs, and is taken without a break: nobody is told of a failure."""

from __future__ import annotations

import pytest
from tests.network.access import ipv6_only, nat, several
from tests.network.conftest import Begin, Labs
from tests.network.exchange import Exchange
from tests.network.lab import Lab
from tests.network.wiring import Side

MIB = 1 << 20


def check_taken(lab: Lab, exchange: Exchange, *both: str) -> None:
    """Both sides come from the first of both paths onto the other one, and the file goes on over it."""
    exchange.takes(both[1])
    direct = lab.carried("direct-udp")
    exchange.flows(4 * MIB)
    assert lab.carried("direct-udp") - direct > 3 * MIB
    exchange.finish()
    for side in (exchange.sender, exchange.receiver):
        assert exchange.told(side, "reconnecting", "reconnected", "waiting", "silence") == []
    # The engine looks for a direct way as well, and may have it a moment before the datagram lane takes over.
    assert [[path for path in told if path != "direct, punched"] for told in exchange.paths] == [list(both)] * 2


@pytest.mark.parametrize(("closed", "words"), [("between", "relayed, turn udp"), ("udp", "relayed, turn tcp")])
def test_a_direct_way_that_opens_later_is_taken(labs: Labs, begin: Begin, closed: str, words: str) -> None:
    lab = labs(nat("cone"), nat("cone"))
    with lab.cut(*(["meta l4proto udp drop"] if closed == "udp" else lab.between("alice", "bob"))):
        exchange = begin(lab)
        assert exchange.paths == [[words]] * 2
    check_taken(lab, exchange, words, "direct, punched udp")


@pytest.mark.parametrize("host", ["alice", "bob"])
def test_a_network_that_comes_later_is_taken(labs: Labs, begin: Begin, host: Side) -> None:
    words = "relayed, turn udp"
    lab = labs(*[several(nat("symmetric"), ipv6_only())] * 2)
    lab.lose(host, 1)
    exchange = begin(lab)
    assert exchange.paths == [[words]] * 2
    lab.regain(host, 1)
    check_taken(lab, exchange, words, "direct, udp ipv6")
