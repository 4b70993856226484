"""A side has several interfaces, and loses the one in use while a transfer runs: another one takes over."""

from __future__ import annotations

import pytest
from tests.network.access import ipv6_only, nat, open_, several
from tests.network.conftest import Begin, Labs
from tests.network.wiring import Side

MIB = 1 << 20


@pytest.mark.parametrize("host", ["alice", "bob"])
def test_the_other_one_of_two_interfaces_takes_over(labs: Labs, begin: Begin, host: Side) -> None:
    twice = several(open_(), open_())
    lab = labs(*((twice, open_()) if host == "alice" else (open_(), twice)))
    exchange = begin(lab)
    lab.lose(host, lab.busiest(host))
    exchange.flows(MIB)
    exchange.takes("direct, udp")  # the engine may step in for a moment
    exchange.finish()
    assert {path for told in exchange.paths for path in told} <= {"direct, udp", "direct, host udp"}


@pytest.mark.parametrize("host", ["alice", "bob"])
def test_the_words_of_the_path_follow_when_ipv6_is_lost(labs: Labs, begin: Begin, host: Side) -> None:
    lab = labs(several(nat("cone"), ipv6_only()), several(nat("cone"), ipv6_only()))
    exchange = begin(lab)
    exchange.takes("direct, udp ipv6")
    lab.lose(host, 1)
    exchange.flows(MIB)
    exchange.takes("direct, punched udp")
    exchange.finish()


def test_a_relay_takes_over_when_only_it_is_left(labs: Labs, begin: Begin) -> None:
    lab = labs(several(nat("symmetric"), ipv6_only()), several(nat("symmetric"), ipv6_only()))
    exchange = begin(lab)
    exchange.takes("direct, udp ipv6")
    lab.lose("alice", 1)
    exchange.flows(MIB)
    exchange.takes("relayed, turn udp")
    exchange.finish()
