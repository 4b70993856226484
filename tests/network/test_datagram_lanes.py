"""What happens to datagrams on the way while a transfer runs over a datagram lane: it goes on, and nobody is told.

How long nothing arrived is printed at the end of the run (:mod:`tests.network.table`), and not judged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from tests.network.access import Kind, ipv6_only, nat, open_
from tests.network.conftest import Begin, Labs
from tests.network.exchange import Exchange
from tests.network.lab import Lab
from tests.network.table import Break
from tests.network.wiring import Side

MIB: Final = 1 << 20
RATE: Final = 2 * MIB
"""Bytes per second, about, of a transfer that lasts."""
STANDBY: Final = 8 * RATE
"""Bytes after which the engine stands by: it starts after five seconds of data."""
DATAGRAMS: Final = "meta l4proto udp @th,64,8 & 0xf8 == 0xd0"
"""Those of datagram lanes, by their first byte: the engine's pass."""
MTU: Final = 1280


BY_UDP: Final = ("-lane", "udp")
"""Without an engine that may step in, and does sooner or later as the machine is busy: the lane alone is to go on."""
by_udp = pytest.mark.parametrize("exchange", [BY_UDP], ids=["udp"], indirect=True)
by_both = pytest.mark.parametrize("exchange", [(), BY_UDP], ids=["any lane", "udp"], indirect=True)


def check(exchange: Exchange, words: str) -> None:
    """The transfer ends well, over this path alone, and nobody heard of trouble."""
    exchange.finish()
    exchange.unbroken()
    assert exchange.paths == [[words]] * 2


def check_back(exchange: Exchange, words: str) -> None:
    """The transfer comes back to this path, whatever stood by meanwhile, and nobody heard of trouble."""
    exchange.takes(words)
    exchange.finish()
    exchange.unbroken()


@pytest.mark.slow
def test_a_standby_steps_in_when_datagrams_vanish_and_back_when_they_return(
    lab: Lab, exchange: Exchange, note_break: Break
) -> None:
    exchange.flows(STANDBY)
    with lab.cut(f"{DATAGRAMS} drop"):
        note_break("datagrams vanish, a standby steps in", exchange.resumes())
        exchange.takes("direct, host udp")
    check_back(exchange, "direct, udp")
    assert {path for told in exchange.paths for path in told} == {"direct, udp", "direct, host udp"}


def test_without_a_standby_another_lane_comes_up(lab: Lab, exchange: Exchange, note_break: Break) -> None:
    with lab.cut(f"{DATAGRAMS} drop"):
        note_break("datagrams vanish before there is a standby", exchange.resumes())
        exchange.takes("direct, host udp")
        exchange.finish()


@pytest.mark.slow
@by_both
@pytest.mark.parametrize("host", ["alice", "bob"])
def test_a_side_comes_into_another_network_without_a_break(
    lab: Lab, exchange: Exchange, host: Side, note_break: Break
) -> None:
    lab.move(host)
    note_break(f"{host} comes into another network", exchange.resumes())
    exchange.flows(RATE)
    check_back(exchange, "direct, udp")


@pytest.mark.parametrize("flags", [(), BY_UDP], ids=["any lane", "udp"])
@pytest.mark.parametrize("host", ["alice", "bob"])
@pytest.mark.parametrize("other", [open_, lambda: nat("cone")], ids=["open", "cone"])
def test_a_nat_gives_other_ports_without_a_break(
    labs: Labs, begin: Begin, host: Side, other: Callable[[], Kind], flags: tuple[str, ...], note_break: Break
) -> None:
    lab = labs(*((nat("cone"), other()) if host == "alice" else (other(), nat("cone"))))
    exchange = begin(lab, *flags)
    exchange.takes("direct, punched udp")
    lab.rebind(host)
    what = " ".join([f"the NAT of {host} gives other ports, the other side is {other().name}", *flags])
    note_break(what, exchange.resumes())
    exchange.flows(RATE)
    if flags:
        check(exchange, "direct, punched udp")
    else:
        check_back(exchange, "direct, punched udp")


@pytest.mark.slow
def test_a_relay_over_tcp_takes_over_when_udp_is_blocked(labs: Labs, begin: Begin, note_break: Break) -> None:
    lab = labs(nat("cone"), nat("cone"))
    exchange = begin(lab)
    exchange.flows(STANDBY)
    with lab.cut("meta l4proto udp drop"):
        note_break("UDP is blocked, a relay takes over", exchange.resumes())
        exchange.takes("relayed, turn tcp")
        exchange.flows(RATE)
    exchange.finish()


@by_udp
@pytest.mark.parametrize("offloads", [("gso",), ("checksum", "gso", "gro")], ids=["no GSO", "no offloads"])
def test_interfaces_that_take_no_batches(lab: Lab, exchange: Exchange, offloads: tuple[str, ...]) -> None:
    """They are switched off while the transfer runs."""
    for host in ("alice", "bob"):
        lab.switch_off(host, *offloads)
    exchange.flows(RATE)
    check(exchange, "direct, udp")


@pytest.mark.parametrize(("kind", "words"), [(open_, "direct, udp"), (ipv6_only, "direct, udp ipv6")], ids=["4", "6"])
def test_larger_packets_vanish_without_a_word(
    labs: Labs, begin: Begin, kind: Callable[[], Kind], words: str, note_break: Break
) -> None:
    lab = labs(kind(), kind())
    lab.split_batches()
    exchange = begin(lab, *BY_UDP)
    with lab.cut(f"meta length > {MTU} drop"):
        note_break(f"packets above {MTU} bytes vanish, {kind().name}", exchange.resumes())
        exchange.flows(RATE)
        check(exchange, words)


@by_udp
def test_one_packet_in_fifty_is_lost(lab: Lab, exchange: Exchange) -> None:
    lab.split_batches()
    with lab.cut("numgen random mod 50 == 0 counter name cut drop"):
        exchange.flows(8 * RATE)
        check(exchange, "direct, udp")
        assert lab.dropped > 200
