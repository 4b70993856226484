"""TURN for clients that name no server of their own: the signaling server's credentials, and a real coturn."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest
from tests.e2e.kit import until
from tests.network.coturn import Coturn
from tests.network.exchange import Exchange
from tests.network.lab import Lab
from tests.network.needs import need_coturn
from tests.network.wiring import PORT
from tests.ports import free_port

from p2pal.server.config import ServerConfig
from p2pal.server.ice import IceServers, make_credential
from p2pal.server.state import SENDER, Attempt, Rendezvous
from p2pal.wire.rendezvous import State

MIB: Final = 1 << 20
SECRET: Final = "3b6f0c8d-shared"
BRIEF_SERVER: Final = Path(__file__).with_name("brief_server.py")
STRANGE_SECRET: Final = "of-another-relay"


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Coturn]:
    """A coturn on loopback."""
    need_coturn()
    with Coturn(tmp_path / "coturn", SECRET, port=free_port(), more=("allow-loopback-peers",)) as running:
        yield running


def test_what_the_server_hands_out_is_good_at_the_relay(relay: Coturn) -> None:
    servers = IceServers(ServerConfig(turn=(relay.url,), turn_secret=SECRET, turn_ttl=60.0))
    attempts = (Attempt(1, b"", "socket"),)
    transfer = Rendezvous("t" * 16, 47, b"", 60.0, None, State.ACTIVE, accepted=True, attempts=attempts, served=1)
    (offered,) = servers.for_peer(transfer, SENDER)
    assert relay.relays(offered.username, offered.credential)
    assert set(relay.allocations) == {offered.username}


def test_a_credential_of_another_secret_or_another_time_is_refused(relay: Coturn) -> None:
    now = int(time.time())
    ended, password = make_credential(SECRET, "name", now - 1)
    assert not relay.relays(ended, password)
    assert set(relay.refusals) == {ended}
    assert not relay.relays(f"{now + 60}:name", password), "its end was moved"
    assert not relay.relays(*make_credential(STRANGE_SECRET, "name", now + 60))
    assert relay.allocations == []


class Relayed:
    """A transfer without any ICE flags between two hosts that reach the server's host alone.

    Args:
        lab: The network.
        folder: An empty directory for everything.
        udp: Whether Alice's firewall lets UDP through; else they are to reach the relay by TCP.
        brief: Seconds in which a credential can be used, if they are fewer than the command line allows.
    """

    def __init__(self, lab: Lab, folder: Path, *, udp: bool = True, brief: int = 0) -> None:
        self._lab = lab
        self.relay = Coturn(folder / "coturn", SECRET, address=lab.address("server"), wrapper=lab.wrapper("server"))
        self._blocked = () if udp else (f"ip saddr {lab.address('alice')} meta l4proto udp drop",)
        url = self.relay.url if udp else f"{self.relay.url}?transport=tcp"
        settings = ("--turn", url, "--turn-secret", SECRET)
        instead = (sys.executable, str(BRIEF_SERVER), str(PORT), url, SECRET, str(brief)) if brief else ()
        self.exchange = Exchange(lab, folder, flags=(), settings=settings, server_wrapper=instead)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            stack.enter_context(self.relay)
            stack.enter_context(self._lab.cut(*self._lab.between("alice", "bob"), *self._blocked))
            stack.enter_context(self.exchange)
            self.exchange.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)


def end_of(username: str) -> int:
    """When a credential ends, in seconds since 1970."""
    return int(username.partition(":")[0])


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_two_hosts_that_reach_only_the_server_meet_at_its_relay(lab: Lab, tmp_path: Path, protocol: str) -> None:
    need_coturn()
    with Relayed(lab, tmp_path, udp=protocol == "udp") as relayed:
        for side in (relayed.exchange.sender, relayed.exchange.receiver):
            assert relayed.exchange.told(side, "reconnecting") == [], "the first try had a relay"
        relayed.exchange.finish()
        paths = {path for told in relayed.exchange.paths for path in told}
        assert {f"relayed, turn {protocol}"} <= paths <= {f"relayed, turn {protocol}", "relayed, turn"}
        assert len(set(relayed.relay.allocations)) == 2, "each side has a credential of its own"


@pytest.mark.slow
def test_a_transfer_outlives_its_credentials(lab: Lab, tmp_path: Path) -> None:
    need_coturn()
    with Relayed(lab, tmp_path, brief=4) as relayed:
        first = set(relayed.relay.allocations)
        until(lambda: time.time() > max(map(end_of, first)) + 1, "the end of the first credentials")
        relayed.exchange.flows(MIB)
        for side in (relayed.exchange.sender, relayed.exchange.receiver):
            assert relayed.exchange.told(side, "reconnecting") == [], "what is allocated stays"
        lab.kill_lanes("alice")
        relayed.exchange.reconnects()
        relayed.exchange.flows(MIB)
        relayed.exchange.finish()
        later = set(relayed.relay.allocations) - first
        assert later
        assert min(map(end_of, later)) > max(map(end_of, first)) + 1
        assert relayed.relay.refusals == [], "nobody came with what had ended"
