"""The network fails while a transfer runs: it goes on by itself, and is never begun anew."""

from __future__ import annotations

import signal
import time

import pytest
from tests.network.exchange import Exchange
from tests.network.lab import Lab
from tests.network.wiring import Side

MIB = 1 << 20
WEBRTC = ("-lane", "webrtc")
by_webrtc = pytest.mark.parametrize("exchange", [WEBRTC], ids=["webrtc"], indirect=True)
"""With it both sides miss their lane, and say so; among several kinds another one may spare them a word."""
by_both = pytest.mark.parametrize("exchange", [(), WEBRTC], ids=["any lane", "webrtc"], indirect=True)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_nothing_gets_through_for_a_minute(lab: Lab, exchange: Exchange) -> None:
    lab.cut_everything(60.0)
    exchange.notices()
    exchange.flows(MIB)
    exchange.finish()


@pytest.mark.slow
@by_both
def test_nothing_gets_through_for_ten_seconds(lab: Lab, exchange: Exchange) -> None:
    lab.cut_everything(10.0)
    exchange.notices()
    exchange.flows(MIB)
    exchange.finish()


def test_nothing_gets_through_for_a_second(lab: Lab, exchange: Exchange) -> None:
    lab.cut_everything(1.0)
    assert lab.dropped > 10
    exchange.flows(MIB)
    exchange.finish()


@pytest.mark.slow
def test_a_cable_is_pulled_for_ten_seconds(lab: Lab, exchange: Exchange) -> None:
    lab.unplug("bob", 10.0)
    exchange.notices()
    exchange.flows(MIB)
    exchange.finish()


@pytest.mark.slow
def test_only_the_path_between_the_peers_is_cut(lab: Lab, exchange: Exchange) -> None:
    lab.cut_between("alice", "bob", 10.0)
    exchange.notices()
    exchange.flows(MIB)
    exchange.finish()


@pytest.mark.slow
def test_only_the_server_is_out_of_reach(lab: Lab, exchange: Exchange) -> None:
    before = exchange.done(exchange.receiver)
    lab.cut_server(10.0)
    assert exchange.done(exchange.receiver) > before + 4 * MIB, "the transfer does not need the server"
    exchange.finish()
    for command in (exchange.sender, exchange.receiver):
        assert exchange.told(command, "reconnecting", "silence", "waiting") == []


@pytest.mark.slow
@by_webrtc
def test_the_server_forgets_and_then_the_lanes_die(lab: Lab, exchange: Exchange) -> None:
    exchange.server.signal(signal.SIGTERM)
    exchange.server.wait()
    exchange.serve()
    exchange.flows(MIB)
    for command in (exchange.sender, exchange.receiver):
        assert exchange.told(command, "reconnecting", "silence", "waiting") == []
    lab.kill_lanes("alice")
    exchange.reconnects()
    exchange.flows(MIB)
    exchange.finish()


@pytest.mark.slow
def test_the_server_forgets_and_then_the_datagrams_die(lab: Lab, exchange: Exchange) -> None:
    """A standby that comes up just then spares both sides a word; without one they reconnect. Data goes on anyhow."""
    exchange.server.signal(signal.SIGTERM)
    exchange.server.wait()
    exchange.serve()
    exchange.flows(MIB)
    lab.kill_lanes("alice")
    exchange.flows(MIB)
    exchange.finish()


@pytest.mark.slow
@by_webrtc
def test_the_websockets_are_reset_and_then_the_lanes_die(lab: Lab, exchange: Exchange) -> None:
    lab.reset_server(12.0)  # longer than the silence after which a ping meets the reset
    for command in (exchange.sender, exchange.receiver):
        assert exchange.told(command, "reconnecting", "silence", "waiting") == []
    lab.kill_lanes("bob")
    exchange.reconnects()
    exchange.flows(MIB)
    exchange.finish()


@pytest.mark.slow
def test_the_websockets_are_reset_and_then_the_datagrams_die(lab: Lab, exchange: Exchange) -> None:
    """A standby that comes up just then spares both sides a word; without one they reconnect. Data goes on anyhow."""
    lab.reset_server(12.0)
    lab.kill_lanes("bob")
    exchange.flows(MIB)
    exchange.finish()


@pytest.mark.slow
@by_both
def test_the_server_dies_with_the_lanes_and_another_takes_its_place(lab: Lab, exchange: Exchange) -> None:
    exchange.server.signal(signal.SIGKILL)
    exchange.server.wait()
    lab.kill_lanes("bob")
    exchange.notices()
    time.sleep(3.0)
    exchange.serve()
    exchange.reconnects()
    exchange.flows(MIB)
    exchange.finish()


@pytest.mark.slow
@pytest.mark.parametrize("host", ["alice", "bob"])
@by_webrtc
def test_a_side_gets_another_address(lab: Lab, exchange: Exchange, host: Side) -> None:
    """The search for a better path may find the new one before anybody misses the old one, and says nothing then."""
    lab.move(host)
    exchange.flows(MIB)
    exchange.finish()
