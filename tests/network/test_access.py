"""The laboratory itself: each kind of access does what its name says, and nothing of it stays."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import SOCK_DGRAM, SOCK_STREAM, socket
from typing import Final

import pytest
from tests.network.access import Kind, ipv6_only, nat, only_443, several, udp_blocked
from tests.network.addresses import SERVER
from tests.network.conftest import Labs
from tests.network.lab import Lab
from tests.network.namespaces import namespaces, sweep
from tests.network.needs import need_coturn
from tests.network.peers import lab_relay
from tests.network.wiring import PORT

Address = tuple[str, int]
FIRST, SECOND, SIXTH = SERVER
BLOCK: Final = 512
NATS: Final = [pytest.param(kind, id=kind.name) for kind in (nat("cone"), nat("symmetric"))]


@contextmanager
def udp(lab: Lab, host: str, address: str = "", port: int = 0) -> Iterator[socket]:
    """A UDP socket on a host, for IPv6 if its address is one."""
    with lab.open_socket(host, SOCK_DGRAM, ipv6=":" in address) as opened:
        opened.bind((address, port))
        yield opened


def seen(sender: socket, receiver: socket) -> Address:
    """Send a packet, and return where it came from as the receiver sees it."""
    address, port = receiver.getsockname()[:2]
    sender.sendto(b"hello", (address, port))
    source: Address = receiver.recvfrom(BLOCK)[1][:2]
    return source


def tcp(lab: Lab, host: str, to: Address) -> None:
    """Connect, send nothing, and end."""
    with lab.open_socket(host, SOCK_STREAM, ipv6=":" in to[0]) as stream:
        stream.connect(to)


@contextmanager
def listening(lab: Lab, host: str, address: Address) -> Iterator[None]:
    """Let the system of a host take connections."""
    with lab.open_socket(host, SOCK_STREAM, ipv6=":" in address[0]) as stream:
        stream.bind(address)
        stream.listen()
        yield


def test_who_is_open_is_seen_as_it_is_and_reached_by_everybody(labs: Labs) -> None:
    lab = labs()
    with udp(lab, "alice", lab.address("alice")) as alice, udp(lab, "bob", lab.address("bob")) as bob:
        assert seen(bob, alice) == bob.getsockname()
    with listening(lab, "alice", (lab.address("alice"), 7000)):
        tcp(lab, "bob", (lab.address("alice"), 7000))


def test_a_cone_maps_a_port_to_one_other_port_whoever_is_spoken_to(labs: Labs) -> None:
    lab = labs(nat("cone"))
    with udp(lab, "alice") as alice, udp(lab, "server", FIRST) as one, udp(lab, "server", SECOND) as other:
        mapping = seen(alice, one)
        assert mapping == seen(alice, other)
        with udp(lab, "bob", lab.address("bob")) as bob:
            assert mapping == seen(alice, bob)
        assert mapping[0] == lab.address("alice")
        assert mapping[1] != alice.getsockname()[1]


def test_a_symmetric_nat_maps_to_another_port_for_each_other_end(labs: Labs) -> None:
    lab = labs(nat("symmetric"))
    with udp(lab, "alice") as alice, udp(lab, "server", FIRST) as one, udp(lab, "server", SECOND) as other:
        with udp(lab, "server", FIRST) as neighbour:
            mappings = [seen(alice, end) for end in (one, other, neighbour)]
        assert {address for address, _ in mappings} == {lab.address("alice")}
        assert len({port for _, port in mappings}) == len(mappings)
        assert seen(alice, one) == mappings[0], "it stays for that end"


@pytest.mark.parametrize("kind", NATS)
def test_a_nat_lets_in_only_whom_it_was_sent_to(labs: Labs, kind: Kind) -> None:
    lab = labs(kind)
    with (
        udp(lab, "alice") as alice,
        udp(lab, "server", FIRST) as known,
        udp(lab, "server", FIRST) as same_address,
        udp(lab, "bob", lab.address("bob")) as stranger,
    ):
        mapping = seen(alice, known)
        for end in (same_address, stranger, known):  # in order: the last one comes after the others would have
            end.sendto(b"in", mapping)
        assert alice.recvfrom(BLOCK)[1] == known.getsockname()


def test_two_cones_are_punched_though_one_side_is_early(labs: Labs) -> None:
    lab = labs(nat("cone"), nat("cone"))
    with udp(lab, "alice") as alice, udp(lab, "bob") as bob, udp(lab, "server", FIRST) as server:
        to_alice, to_bob = seen(alice, server), seen(bob, server)
        alice.sendto(b"too early for Bob's NAT", to_bob)
        bob.sendto(b"in", to_alice)
        assert alice.recvfrom(BLOCK) == (b"in", to_bob)
        alice.sendto(b"in", to_bob)
        assert bob.recvfrom(BLOCK) == (b"in", to_alice)


def test_a_cone_and_a_symmetric_nat_cannot_be_punched(labs: Labs) -> None:
    lab = labs(nat("cone"), nat("symmetric"))
    with udp(lab, "alice") as alice, udp(lab, "bob") as bob, udp(lab, "server", FIRST) as server:
        to_alice, to_bob = seen(alice, server), seen(bob, server)
        for _ in range(3):
            alice.sendto(b"in", to_bob)
            bob.sendto(b"in", to_alice)
        for host, end, mapping in (("alice", alice, to_alice), ("bob", bob, to_bob)):
            server.sendto(b"the server's", mapping)
            assert end.recvfrom(BLOCK)[0] == b"the server's", host


@pytest.mark.parametrize("kind", NATS)
def test_a_real_stun_server_finds_the_nat_that_it_is(labs: Labs, kind: Kind, tmp_path: Path) -> None:
    need_coturn()
    lab = labs(kind)
    with lab_relay(lab, tmp_path):
        tool = [*lab.wrapper("alice"), "turnutils_natdiscovery", "-m", FIRST]
        said = subprocess.run(tool, capture_output=True, text=True, timeout=20.0, check=True).stdout
    mapping = {"cone": "Endpoint Independent", "symmetric": "Address and Port Dependent"}[kind.name]
    assert f"NAT with {mapping} Mapping!" in said


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.name) for kind in (udp_blocked(), only_443())])
def test_where_udp_is_blocked_none_gets_out_but_the_web_does(labs: Labs, kind: Kind) -> None:
    lab = labs(kind)
    with udp(lab, "alice") as alice, listening(lab, "server", (FIRST, PORT)), listening(lab, "server", (FIRST, 443)):
        alice.sendto(b"out", (FIRST, 3478))
        alice.sendto(b"out", (FIRST, 443))
        tcp(lab, "alice", (FIRST, PORT))
        assert lab.carried("alice-relay-udp") == 0
        tcp(lab, "alice", (FIRST, 443))
        assert lab.carried("alice-relay-tcp") > 0


def test_only_the_ports_of_the_web_are_open_where_it_says_so(labs: Labs) -> None:
    lab = labs(only_443(), udp_blocked())
    with listening(lab, "server", (FIRST, PORT)), listening(lab, "server", (FIRST, 3478)):
        for host in ("alice", "bob"):
            with lab.open_socket(host, SOCK_STREAM) as stream:
                stream.setblocking(False)
                stream.connect_ex((FIRST, 3478))
                tcp(lab, host, (FIRST, PORT))
        assert lab.carried("alice-relay-tcp") == 0
        assert lab.carried("bob-relay-tcp") > 0


def test_ipv6_only_has_no_ipv4_and_its_firewall_lets_in_answers(labs: Labs) -> None:
    lab = labs(ipv6_only(), ipv6_only())
    with udp(lab, "alice") as no_way, pytest.raises(OSError, match="Network is unreachable"):
        no_way.sendto(b"out", (FIRST, 3478))
    with (
        udp(lab, "alice", lab.address("alice")) as alice,
        udp(lab, "bob", lab.address("bob")) as bob,
        udp(lab, "server", SIXTH) as server,
    ):
        assert seen(alice, server) == alice.getsockname()[:2], "nothing is translated"
        bob.sendto(b"unasked", alice.getsockname())
        server.sendto(b"answer", alice.getsockname())
        assert alice.recvfrom(BLOCK)[0] == b"answer"
        alice.sendto(b"out", bob.getsockname())
        assert seen(bob, alice) == bob.getsockname()[:2], "asked for now"


def test_each_of_several_interfaces_has_a_network_of_its_own(labs: Labs) -> None:
    lab = labs(several(nat("cone"), ipv6_only(), nat("symmetric")))
    with udp(lab, "server", FIRST) as server, udp(lab, "server", SIXTH) as sixth:
        sources = []
        for index in (0, 2):
            with udp(lab, "alice", f"192.168.{index}.2") as alice:
                sources.append(seen(alice, server)[0])
        assert sources[0] == lab.address("alice")
        assert sources[1] != sources[0]
        with udp(lab, "alice", "::") as alice:
            assert seen(alice, sixth)[0].startswith("2001:db8:")
        with udp(lab, "alice") as alice:
            assert seen(alice, server)[0] == sources[0], "it prefers the first"
            lab.lose("alice", 0)
            assert seen(alice, server)[0] == sources[1], "the other one takes over"


def test_nothing_stays_of_a_network_whose_test_fails(labs: Labs) -> None:
    def ours() -> set[str]:
        return {name for name in namespaces() if name.startswith(lab.prefix)}

    with pytest.raises(ZeroDivisionError), Lab(nat("cone"), several()) as lab:  # noqa: PT012
        sleeper = subprocess.Popen(
            [*lab.wrapper("alice"), "sh", "-c", "echo in; exec sleep 1000"], stdout=subprocess.PIPE
        )
        assert sleeper.stdout is not None
        with sleeper.stdout as output:
            assert output.readline() == b"in\n"
        assert len(ours()) == 7
        raise ZeroDivisionError
    assert ours() == set()
    assert sleeper.wait(10) != 0


def test_what_a_killed_run_left_is_swept_by_the_next(labs: Labs) -> None:
    script = """
import os, signal
from tests.network.lab import Lab
Lab().__enter__()
print(os.getpid(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    labs()
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    left = {name for name in namespaces() if name.startswith(f"p2pal-{killed.stdout.strip()}-")}
    assert len(left) == 4, killed.stderr
    sweep()
    assert left.isdisjoint(namespaces())
    assert any(re.match(r"p2pal-\d+-\d+-alice", name) for name in namespaces()), "what is in use stays"
