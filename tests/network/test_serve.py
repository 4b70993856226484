"""``send --serve`` on machines as they are connected: what it prints works on the machine beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.e2e.kit import Command
from tests.network.commands import start
from tests.network.namespaces import delete, own_name, run
from tests.network.needs import need_networks

WAIT = 60.0
V4 = "ip addr add 192.168.77.{}/24 dev lan"
V6 = "ip -6 addr add fd00:77::{}/64 dev lan nodad"
ROUTE = "ip route add default via 192.168.77.9"
ROUTE6 = "ip -6 route add default via fd00:77::9"
CABLE = "ip addr add 169.254.3.{}/16 dev lan"
VPN = (
    "ip link add corp type veth peer name far", "ip link set corp up", "ip link set far up",
    "ip addr add 10.5.0.2/32 dev corp", "ip route add default dev corp",
)  # fmt: skip
DOCKER = ("ip link add docker0 type bridge", "ip addr add 172.17.0.1/16 dev docker0", "ip link set docker0 up")
IPV4_ALONE = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1"
ONE_FOR_BOTH = "sysctl -qw net.ipv6.bindv6only=0"
ONE_FOR_EACH = "sysctl -qw net.ipv6.bindv6only=1"

Pair = Callable[..., tuple[str, str]]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """``pair(*commands)``: two machines with a cable between their interfaces ``lan``, set up alike.

    A command with ``{}`` in it is for both, which are 4 and 5 there; others are for the first one.
    """
    need_networks()
    with ExitStack() as stack:
        names = own_name("serve-a"), own_name("serve-b")

        def make(*commands: str) -> tuple[str, str]:
            for name in names:
                run("ip", "netns", "add", name)
                stack.callback(delete, name)
                run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "link", "add", "lan", "netns", names[0], "type", "veth", "peer", "name", "lan", "netns", names[1])
            for host, name in zip(("4", "5"), names, strict=True):
                run("ip", "-n", name, "link", "set", "lan", "up")
                for command in commands:
                    if "{}" in command or name == names[0]:
                        run("ip", "netns", "exec", name, *command.format(host).split())
            return names

        yield make


@pytest.fixture
def commands() -> Iterator[list[Command]]:
    """Those that are started; they are ended with the test."""
    started: list[Command] = []
    yield started
    for command in started:
        command.end()


def served(place: str, folder: Path, commands: list[Command], *flags: str) -> Command:
    """Send a file with ``--serve`` on a machine."""
    folder.mkdir()
    (folder / "f").write_text("hello")
    args: tuple[str | Path, ...] = ("send", "--serve", "-y", "-stun", "none", *flags, folder / "f")
    commands.append(start("alice", ["ip", "netns", "exec", place], folder / "send", *args))
    return commands[-1]


def typed(place: str, folder: Path, commands: list[Command], command: str, *flags: str) -> Command:
    """What a person types on the other machine."""
    words = command.replace("'", "").split()
    assert words[:2] == ["p2pal", "recv"]
    args = ("recv", "-y", "-stun", "none", *flags, *words[2:])
    commands.append(start("bob", ["ip", "netns", "exec", place], folder / f"recv-{len(commands)}", *args))
    return commands[-1]


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        pytest.param([V4, ROUTE], ["192.168.77.4"], id="a network with a default route"),
        pytest.param([V6, ROUTE6], ["[fd00:77::4]"], id="IPv6 only"),
        pytest.param([V4], ["192.168.77.4"], id="a network without a default route"),
        pytest.param([CABLE], ["169.254.3.4"], id="a cable"),
        pytest.param([V4, V6, ROUTE6], ["192.168.77.4", "[fd00:77::4]"], id="a default route for IPv6 only"),
        pytest.param([V4, *VPN], ["192.168.77.4", "10.5.0.2"], id="a tunnel that takes all traffic"),
        pytest.param([V4, *DOCKER], ["192.168.77.4", "172.17.0.1"], id="a bridge to containers"),
        pytest.param([IPV4_ALONE, V4, ROUTE], ["192.168.77.4"], id="without IPv6"),
        pytest.param([ONE_FOR_BOTH, V4, V6], ["192.168.77.4", "[fd00:77::4]"], id="bindv6only=0"),
        pytest.param([ONE_FOR_EACH, V4, V6], ["192.168.77.4", "[fd00:77::4]"], id="bindv6only=1"),
    ],
)
def test_what_it_prints_first_is_reached(
    pair: Pair, commands: list[Command], tmp_path: Path, setup: list[str], expected: list[str]
) -> None:
    alice, bob = pair(*setup)
    sender = served(alice, tmp_path / "run", commands, "--json")
    event = sender.event("code", WAIT)
    hosts = [url.removeprefix("http://").rpartition(":")[0] for url in event["servers"]]
    assert hosts == expected
    receiver = typed(bob, tmp_path / "run", commands, event["command"])
    assert receiver.wait(WAIT) == 0, receiver.said + sender.said
    assert sender.wait(WAIT) == 0, sender.said
    assert (receiver.cwd / "f").read_text() == "hello"


def test_every_address_of_the_network_is_reached(pair: Pair, commands: list[Command], tmp_path: Path) -> None:
    """A person may type any of them, and hears what to try where one is of no use."""
    alice, bob = pair(V4, V6, CABLE, *VPN)
    sender = served(alice, tmp_path / "run", commands)
    first = sender.says(r"On the other machine: (p2pal recv .*)\n", WAIT).group(1)
    lines = sender.out.partition(first)[2].splitlines()
    assert lines[1] == "If that address is not reached from there:"
    others = [line.strip() for line in lines[2:5]]
    assert [host in line for host, line in zip(("fd00:77::4", "169.254.3.4", "10.5.0.2"), others, strict=True)] == [
        True
    ] * 3
    wrong = typed(bob, tmp_path / "run", commands, others[2])
    assert wrong.wait(WAIT) == 3
    assert "try the next one" in wrong.err
    receiver = typed(bob, tmp_path / "run", commands, others[1])
    assert receiver.wait(WAIT) == 0, receiver.said + sender.said
    assert sender.wait(WAIT) == 0, sender.said


@pytest.mark.parametrize("flags", [(), ("-q",), ("--json",)])
def test_a_machine_on_no_network_is_told(
    pair: Pair, commands: list[Command], tmp_path: Path, flags: tuple[str, ...]
) -> None:
    alice, _ = pair()
    sender = served(alice, tmp_path / "run", commands, *flags)
    sender.says("127.0.0.1", WAIT)
    assert "This machine is connected to no network" in sender.err
