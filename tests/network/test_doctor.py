"""``p2pal doctor`` says truthfully what kind of network it is in; where transfers get through, its exit code is 0."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from tests.network import peers
from tests.network.access import Kind, ipv6_only, nat, only_443, open_, udp_blocked
from tests.network.addresses import SERVER
from tests.network.conftest import Connect
from tests.network.coturn import Coturn
from tests.network.lab import Lab
from tests.network.peers import RELAY, STUN, TURN, Peer, lab_relay

UDP: Final = f"turn:{RELAY}:3478?transport=udp"
TCP: Final = f"turn:{RELAY}:3478?transport=tcp"
TLS: Final = f"turns:{RELAY}:443?transport=tcp"

SECONDS: Final = 15.0
"""That it may take at most, by its help."""


def examine(peer: Peer, code: int = 0, *flags: str) -> dict[str, dict[str, Any]]:
    """What it told on a host, by check, and by URL for TURN servers; its exit code is this."""
    between = peer.between
    command = between.run(peer.host, "doctor", "-server", between.lab.url, "--json", *flags)
    assert command.wait() == code, command.said
    checks = [event for event in command.events if event["event"] == "check"]
    return {event["target"] if event["target"].startswith("turn") else event["check"]: event for event in checks}


def results(found: dict[str, dict[str, Any]], *names: str) -> list[str]:
    return [found[name]["result"] for name in names]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (open_, "none: servers see this machine's own address"),
        (
            lambda: nat("cone"),
            (
                "endpoint-independent mapping, one port for all servers: direct lanes get through; "
                "lets in only ports spoken to"
            ),
        ),
        (
            lambda: nat("symmetric"),
            (
                "address and port-dependent mapping (symmetric), another port for each server: "
                "needs a relay with most others"
            ),
        ),
    ],
    ids=["open", "cone", "symmetric"],
)
def test_the_kind_of_nat(connect: Connect, kind: Callable[[], Kind], words: str) -> None:
    alice, _ = connect(kind(), open_())
    found = examine(alice)
    checks = ("server", "websocket", "datagrams", "stun", UDP, TCP, TLS, "udp", "nat")
    assert results(found, *checks) == ["ok"] * len(checks), found
    assert found["nat"]["detail"].startswith(words)


def test_a_symmetric_nat_without_a_relay(connect: Connect) -> None:
    alice, bob = connect(nat("symmetric"), nat("cone"), STUN)
    found = examine(alice, 5)
    assert found["nat"]["result"] == "fail"
    assert "TURN server" in found["nat"]["advice"]
    assert examine(bob)["nat"]["result"] == "ok"


def test_udp_is_blocked(connect: Connect) -> None:
    alice, bob = connect(udp_blocked(), only_443())
    found = examine(alice)
    assert results(found, "stun", UDP, TCP, TLS, "udp", "nat") == ["warn", "warn", "ok", "ok", "warn", "none"], found
    assert found["udp"]["detail"] == "blocked: no server answers; transfers go through the relay, over TCP"
    assert found["udp"]["advice"].startswith("allow UDP, to port 3478 at least")
    found = examine(bob)
    assert results(found, "stun", UDP, TCP, TLS, "udp", "nat") == ["warn", "warn", "warn", "ok", "warn", "none"], found
    assert found["udp"]["detail"].endswith("over TLS")


def test_udp_is_blocked_and_there_is_no_way_around(connect: Connect) -> None:
    alice, _ = connect(udp_blocked(), open_(), (*STUN, *TURN[:2], *TURN[-2:]))
    found = examine(alice, 5)
    assert results(found, "server", "websocket", "stun", UDP, "udp") == ["ok", "ok", "warn", "fail", "fail"], found
    assert "-turn turns:" in found["udp"]["advice"]


def test_a_relay_that_must_not_send_to_itself(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works for everyone whose address is another one than the relay's."""

    def strict(lab: Lab, folder: Path) -> Coturn:
        relay = lab_relay(lab, folder)
        with (folder / "coturn" / "settings").open("a") as settings:
            settings.writelines(f"denied-peer-ip={address}\n" for address in SERVER)
        return relay

    monkeypatch.setattr(peers, "lab_relay", strict)
    alice, _ = connect(nat("symmetric"), open_())
    found = examine(alice)
    assert results(found, UDP, TCP, TLS) == ["ok"] * 3, found


def test_ipv6_alone(connect: Connect) -> None:
    alice, _ = connect(ipv6_only(), open_())
    found = examine(alice)
    assert results(found, "server", "stun", UDP, "udp", "ipv6") == ["ok"] * 5, found
    assert found["ipv6"]["detail"].startswith("works")
    assert found["datagrams"]["detail"].startswith("sockets of our own over IPv6 alone: "), found


def test_ipv6_alone_without_what_it_needs(connect: Connect) -> None:
    alice, _ = connect(ipv6_only(), open_(), ())
    literal = SERVER[0]
    found = examine(alice, 0, "-stun", f"stun:{literal}")
    assert results(found, "network", "stun", "udp") == ["warn", "warn", "none"], found
    assert "reached through a TURN server only" in found["network"]["detail"]
    assert found["stun"]["detail"].endswith("there is no IPv4 here")


def test_a_private_network_without_stun_and_turn(connect: Connect) -> None:
    alice, _ = connect(nat("cone"), nat("cone"), ())
    command = alice.between.run(alice.host, "doctor", "-server", alice.between.lab.url, "-stun", "none")
    assert command.wait() == 0, command.said
    assert "only machines on the same network can be reached" in command.out
    assert "Transfers should work within one network; 1 warning." in command.out


def test_no_network(connect: Connect) -> None:
    alice, _ = connect(nat("cone"), open_())
    alice.between.lab.lose("alice", 0)
    found = examine(alice, 3, "-stun", STUN[1])
    assert results(found, "server", "network", "udp") == ["fail", "fail", "none"], found
    assert found["network"]["detail"].startswith("no ")
    assert "network" in found["network"]["advice"]


def test_a_network_that_swallows_everything(connect: Connect) -> None:
    alice, _ = connect(open_(), open_())
    lab = alice.between.lab
    with lab.cut("drop"):
        command = alice.between.run(alice.host, "doctor", "-server", lab.url, "--json")
        assert command.wait(2 * SECONDS) == 3, command.said
    checks = {event["check"]: event for event in command.events if event["event"] == "check"}
    assert checks["server"]["detail"].endswith("no answer in time")
