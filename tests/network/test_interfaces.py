"""A side has several interfaces, and loses the one in use while a transfer runs: another one takes over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.network.access import Kind, ipv6_only, nat, open_, several
from tests.network.coturn import need_coturn
from tests.network.exchange import Exchange
from tests.network.lab import Lab
from tests.network.namespaces import need_networks
from tests.network.peers import STUN, TURN, lab_relay
from tests.network.wiring import Side

MIB = 1 << 20
Running = Callable[..., tuple[Lab, Exchange]]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """``lab, exchange = running(alice, bob)``: a transfer that is under way, with a relay if need be.

    ``without`` names an interface that is out of use when it begins.
    """
    need_networks()
    need_coturn()
    with ExitStack() as stack:

        def start(alice: Kind, bob: Kind, without: tuple[Side, int] | None = None) -> tuple[Lab, Exchange]:
            lab = stack.enter_context(Lab(alice, bob))
            if without:
                lab.lose(*without)
            stack.enter_context(lab_relay(lab, tmp_path / "relay"))
            settings = ("--host", "", *STUN, *TURN)
            exchange = stack.enter_context(Exchange(lab, tmp_path / "exchange", flags=(), settings=settings))
            exchange.start()
            return lab, exchange

        yield start


def paths(exchange: Exchange) -> list[list[str]]:
    """What each side told of its paths, the sender first."""
    sides = (exchange.sender, exchange.receiver)
    return [[event["path"] for event in exchange.told(side, "path")] for side in sides]


@pytest.mark.parametrize("host", ["alice", "bob"])
def test_the_other_one_of_two_interfaces_takes_over(running: Running, host: Side) -> None:
    twice = several(open_(), open_())
    lab, exchange = running(*((twice, open_()) if host == "alice" else (open_(), twice)))
    lab.lose(host, lab.busiest(host))
    exchange.flows(MIB)
    exchange.finish()
    assert {path for told in paths(exchange) for path in told} == {"direct, host udp"}


@pytest.mark.parametrize("host", ["alice", "bob"])
def test_the_words_of_the_path_follow_when_ipv6_is_lost(running: Running, host: Side) -> None:
    lab, exchange = running(several(nat("cone"), ipv6_only()), several(nat("cone"), ipv6_only()))
    lab.lose(host, 1)
    exchange.flows(MIB)
    exchange.finish()
    for told in paths(exchange):
        assert "direct, ipv6" in told
        assert told[-1] == "direct, punched"


def test_a_relay_takes_over_when_only_it_is_left(running: Running) -> None:
    lab, exchange = running(several(nat("symmetric"), ipv6_only()), several(nat("symmetric"), ipv6_only()))
    lab.lose("alice", 1)
    exchange.flows(MIB)
    exchange.finish()
    for told in paths(exchange):
        assert "direct, ipv6" in told
        assert told[-1] == "relayed, turn udp"
