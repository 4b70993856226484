"""A better path appears while a transfer runs, and is taken without a break: nobody is told of a failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.network.access import Kind, ipv6_only, nat, several
from tests.network.coturn import need_coturn
from tests.network.exchange import PATIENCE, Exchange
from tests.network.lab import Lab
from tests.network.namespaces import need_networks
from tests.network.peers import STUN, TURN, lab_relay
from tests.network.wiring import Side

MIB = 1 << 20
Running = Callable[[Lab, str], Exchange]


@pytest.fixture
def relayed(tmp_path: Path) -> Iterator[Running]:
    """``exchange = relayed(lab, words)``: a transfer under way through a relay, because nothing else works yet."""
    need_coturn()
    with ExitStack() as stack:

        def start(lab: Lab, words: str) -> Exchange:
            stack.enter_context(lab_relay(lab, tmp_path / "relay"))
            settings = ("--host", "", *STUN, *TURN)
            exchange = stack.enter_context(Exchange(lab, tmp_path / "exchange", flags=(), settings=settings))
            exchange.start()
            assert paths(exchange) == [[words]] * 2
            return exchange

        yield start


def paths(exchange: Exchange) -> list[list[str]]:
    """What each side told of its paths, the sender first."""
    sides = (exchange.sender, exchange.receiver)
    return [[event["path"] for event in exchange.told(side, "path")] for side in sides]


def check_taken(lab: Lab, exchange: Exchange, *both: str) -> None:
    """Both sides come from the first of both paths onto the other one, and the file goes on over it."""
    words = both[1]
    for side in (exchange.sender, exchange.receiver):
        side.await_(lambda: all(told[-1] == words for told in paths(exchange)), f"{words} on both sides", PATIENCE)
    direct = lab.carried("direct-udp")
    exchange.flows(4 * MIB)
    assert lab.carried("direct-udp") - direct > 3 * MIB
    exchange.finish()
    for side in (exchange.sender, exchange.receiver):
        assert exchange.told(side, "reconnecting", "reconnected", "waiting", "silence") == []
    assert paths(exchange) == [list(both)] * 2


@pytest.fixture
def between(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Hosts that are connected as the test's parameter says."""
    need_networks()
    kinds: tuple[Kind, Kind] = request.param
    with Lab(*kinds) as lab:
        yield lab


@pytest.mark.parametrize("between", [(nat("cone"), nat("cone"))], indirect=True)
@pytest.mark.parametrize(("closed", "words"), [("between", "relayed, turn udp"), ("udp", "relayed, turn tcp")])
def test_a_direct_way_that_opens_later_is_taken(between: Lab, relayed: Running, closed: str, words: str) -> None:
    with between.cut(*(["meta l4proto udp drop"] if closed == "udp" else between.between("alice", "bob"))):
        exchange = relayed(between, words)
    check_taken(between, exchange, words, "direct, punched")


@pytest.mark.parametrize("host", ["alice", "bob"])
@pytest.mark.parametrize("between", [(several(nat("symmetric"), ipv6_only()),) * 2], indirect=True)
def test_a_network_that_comes_later_is_taken(between: Lab, relayed: Running, host: Side) -> None:
    between.lose(host, 1)
    exchange = relayed(between, "relayed, turn udp")
    between.regain(host, 1)
    check_taken(between, exchange, "relayed, turn udp", "direct, ipv6")
