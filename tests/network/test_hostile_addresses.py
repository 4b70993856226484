"""What leaves a machine, before anybody consented, when the other side names addresses that are not its own.

Real packets, counted by the kernel of the machine that is to be misled.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from tests.e2e.kit import Command
from tests.network.addresses import v4
from tests.network.conftest import Labs
from tests.network.exchange import Exchange
from tests.network.lab import Lab
from tests.network.wiring import PORT, Side

from p2pal.lanes.candidate_filter import MOST
from p2pal.lanes.udp.addresses import MAX_CANDIDATES as MAX_CANDIDATES_OF_LANE
from p2pal.lanes.udp.connectivity import MAX_PAIR_PROBES
from p2pal.lanes.udp.lane import LEAST_DATAGRAM
from p2pal.link.offer_answer import MAX_CANDIDATES

HOSTILE: Final = Path(__file__).with_name("misleading.py")
SECONDS: Final = 60.0
UDP_HEADERS: Final = 28
"""Bytes of UDP and IPv4."""
ELSEWHERE: Final = 99
"""The number of a network that swallows everything."""

WATCH: Final = """
table inet watch {{
    set hosts {{ type ipv4_addr; flags dynamic; size 4096; }}
    set probes {{ type ipv4_addr . inet_service; flags dynamic; size 4096; }}
    set places {{ type inet_proto . ipv4_addr . inet_service; flags dynamic; size 4096; }}
    counter to-nobody {{ }}
    counter to-self {{ }}
    counter to-service {{ }}
    counter to-syn {{ }}
    counter to-udp {{ }}
    chain out {{
        type filter hook output priority 0; policy accept;
        ip daddr {server} return
        oifname "lo" meta l4proto {{ tcp, udp }} th dport {{ {listening} }} counter name "to-self"
        oifname "lo" return
        ip daddr {{ 0.0.0.0/8, 224.0.0.0/3, {broadcast} }} meta l4proto {{ tcp, udp }} counter name "to-nobody"
        meta l4proto {{ tcp, udp }} th dport < 1024 counter name "to-service"
        tcp flags & (syn | ack) == syn counter name "to-syn"
        meta l4proto udp counter name "to-udp"
        update @probes {{ ip daddr . udp dport counter }}
        meta l4proto {{ tcp, udp }} add @hosts {{ ip daddr }} add @places {{ meta l4proto . ip daddr . th dport }}
    }}
}}
"""
LISTENING: Final = (5353, 6379, 8080)
QUIET: Final = ("nobody", "self", "service", "syn")
SIDES: Final[tuple[Side, ...]] = ("alice", "bob")


def lines(protocol: str, places: Iterable[tuple[str, int]]) -> list[str]:
    kind = " tcptype passive" if protocol == "tcp" else ""
    return [
        f"candidate:{number} 1 {protocol} {2_000_000_000 - number} {address} {port} typ host{kind}"
        for number, (address, port) in enumerate(places, 1)
    ]


class Watched:
    """The victim's packets, and how many went where."""

    def __init__(self, lab: Lab, victim: Side, broadcast: str) -> None:
        self._lab, self._victim = lab, victim
        listening = ", ".join(map(str, LISTENING))
        server = lab.address("server")
        lab._nft(victim, WATCH.format(listening=listening, broadcast=broadcast, server=server))

    def count(self, name: str) -> int:
        listed = self._lab._inside(self._victim, "nft", "list", "counter", "inet", "watch", f"to-{name}")
        return int(re.findall(r"packets (\d+)", listed)[0])

    def seen(self, name: str) -> int:
        listed = self._lab._inside(self._victim, "nft", "list", "set", "inet", "watch", name)
        found = re.search(r"elements = \{([^}]*)\}", listed)
        return 0 if found is None else len(found[1].split(","))

    def probes(self) -> dict[tuple[str, int], tuple[int, int]]:
        """How many datagrams went to an address and port, and how many bytes, headers included."""
        listed = self._lab._inside(self._victim, "nft", "list", "set", "inet", "watch", "probes")
        found = re.findall(r"(\S+) \. (\d+) counter packets (\d+) bytes (\d+)", listed)
        return {(ip, int(port)): (int(packets), int(size)) for ip, port, packets, size in found}


def mislead(lab: Lab, folder: Path, victim: Side, told: list[str], lane: str = "webrtc") -> None:
    """Run a transfer in which the other side tells these candidates, until the victim has given up.

    Both use this kind of lane.
    """
    hostile: Side = "alice" if victim == "bob" else "bob"
    folder.mkdir()
    (folder / "told").write_text("\n".join(told), encoding="utf-8")
    (folder / "file").write_text("content", encoding="utf-8")
    wrapper: dict[Side, tuple[str, ...]] = {hostile: (sys.executable, str(HOSTILE), str(folder / "told"))}
    with ExitStack() as stack:
        server = lab.run("server", "server", "--port", str(PORT), "--host", "*", folder=folder / "server")
        stack.callback(server.end)
        server.says(r"port=\d+")
        connection = ("-server", lab.url, "-stun", "none", "--json", "-max-retries", "0", "-lane", lane)
        both: dict[Side, Command] = {}
        both["alice"] = lab.run(
            "alice", "send", *connection, folder / "file", folder=folder / "alice", wrapper=wrapper.get("alice", ())
        )
        stack.callback(both["alice"].end)
        both["bob"] = lab.run(
            "bob",
            "recv",
            "-y",
            *connection,
            both["alice"].code(),
            folder=folder / "bob",
            wrapper=wrapper.get("bob", ()),
        )
        stack.callback(both["bob"].end)
        code = both[victim].wait(SECONDS)
        assert code == 5, both[victim].said


@pytest.mark.parametrize("victim", SIDES)
def test_what_a_hostile_side_names_is_not_what_is_sent_to(labs: Labs, victim: Side, tmp_path: Path) -> None:
    """Not this machine, everybody, services; nothing over TCP; of a network only so many hosts."""
    lab = labs()
    own = lab.address(victim)
    broadcast = str(ipaddress.ip_network(f"{own}/24", strict=False).broadcast_address)
    lab._ip("router", f"route add {v4(ELSEWHERE, 0)}/24 dev server")
    watched = Watched(lab, victim, broadcast)
    nobody = ["0.0.0.0", "0.1.2.3", "224.0.0.251", "239.255.255.250", "255.255.255.255", "240.0.0.1", broadcast]
    here = ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "localhost", "victim.local"]
    places = [(address, port) for address in (*nobody, *here) for port in LISTENING]
    services = [(v4(ELSEWHERE, 1), port) for port in (0, 53, 80, 443, 1023)]
    scan = [(v4(ELSEWHERE, host), 40_000) for host in range(100, 170)]
    told = [
        *[line for protocol in ("udp", "tcp") for line in lines(protocol, [*places, *services])],
        *lines("tcp", scan[:10]),
        *lines("udp", scan),
    ]
    with lab.cut(f"ip daddr {v4(ELSEWHERE, 0)}/24 drop"):
        mislead(lab, tmp_path / "it", victim, told[: MAX_CANDIDATES - 1])
    assert {name: watched.count(name) for name in QUIET} == dict.fromkeys(QUIET, 0)
    assert 10 < watched.seen("hosts") == watched.seen("places") <= MOST["host"], "what may be tried is tried"


@pytest.mark.parametrize("victim", SIDES)
def test_what_a_hostile_side_names_for_datagrams_gets_few_probes(labs: Labs, victim: Side, tmp_path: Path) -> None:
    """Not this machine, everybody, services; of all others the first eight, and those get nothing but small probes."""
    lab = labs()
    own = lab.address(victim)
    broadcast = str(ipaddress.ip_network(f"{own}/24", strict=False).broadcast_address)
    lab._ip("router", f"route add {v4(ELSEWHERE, 0)}/24 dev server")
    watched = Watched(lab, victim, broadcast)
    odd = ("0.0.0.0", "224.0.0.251", "255.255.255.255", "240.0.0.1", "127.0.0.1", "::1", broadcast)
    places = [(address, port) for address in odd for port in LISTENING]
    services = [(v4(ELSEWHERE, 1), port) for port in (53, 443, 1023)]
    one, many = (v4(ELSEWHERE, 9), 40_000), [(v4(ELSEWHERE, host), 40_000) for host in range(100, 140)]
    told = [f"{ip} {port}" for ip, port in (*places, *services, one, one, one, *many, *many)]
    with lab.cut(f"ip daddr {v4(ELSEWHERE, 0)}/24 drop"):
        mislead(lab, tmp_path / "it", victim, told, "udp")
    assert {name: watched.count(name) for name in QUIET} == dict.fromkeys(QUIET, 0)
    probes = watched.probes()
    assert one in probes, "what may be tried is tried"
    assert set(probes) <= {one, *many}
    assert len(probes) <= MAX_CANDIDATES_OF_LANE
    for packets, size in probes.values():
        assert 1 < packets <= MAX_PAIR_PROBES
        assert size == packets * (UDP_HEADERS + LEAST_DATAGRAM)


def test_servers_that_the_signaling_server_names_are_not_on_this_machine(labs: Labs, tmp_path: Path) -> None:
    """Whether by address or by name, over UDP, TCP or TLS: from elsewhere it has no business here."""
    lab = labs()
    watched = [Watched(lab, side, v4(255, 255)) for side in SIDES]
    traps = ("127.0.0.1", "trap.test")
    stun = [each for host in traps for each in ("--stun", f"stun:{host}:{LISTENING[0]}")]
    turn = [
        each
        for host in traps
        for port, more in ((LISTENING[0], ""), (LISTENING[1], "?transport=tcp"))
        for each in ("--turn", f"turn:{host}:{port}{more}")
    ]
    secure = ("--turn", f"turns:trap.test:{LISTENING[2]}")
    settings = ("--host", "*", *stun, *turn, *secure, "--turn-secret", "0123456789abcdef0123456789abcdef")
    with Exchange(lab, tmp_path / "exchange", flags=(), settings=settings) as exchange:
        exchange.start()
        exchange.finish()
    assert [each.count("self") for each in watched] == [0, 0]
