"""coturn with the shipped configuration: who gets a relay, and where it leads."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from tests.deploy.kit import DEPLOY, program, read, running
from tests.network.needs import need_networks
from tests.ports import free_port

from p2pal.server.ice import make_credential

SECRET = "shared between the two for the length of this test"
HERE: Final = ("45.33.1.1", "2a01:4f8::1")
"""The relay's addresses, public ones; they exist in a network namespace alone."""

OUTSIDE: Final = ("45.33.1.2", "1.1.1.1", "2a01:4f8::2")
INSIDE: Final = ("10.7.7.7", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "fd00::7", "fe80::7")
NAMESAKES: Final = (
    "::10.7.7.7", "::ffff:10.7.7.7", "::ffff:127.0.0.1", "64:ff9b::10.7.7.7", "64:ff9b:1::1", "2002:a07:707::1",
    "2001::1", "::ffff:45.33.1.2",
)  # fmt: skip
"""IPv6 addresses that stand for IPv4 ones."""

ITSELF: Final = ("127.0.0.1", "127.8.8.8", "0.0.0.0", "::1", "::")
_ECHO: Final = "3480"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A running relay's port."""
    program("turnserver")
    client = program("turnutils_stunclient")
    folder = tmp_path_factory.mktemp("relay")
    port = free_port()
    command = ["sh", str(DEPLOY / "compose/coturn.sh"), str(DEPLOY / "turnserver.conf"), str(folder)]
    only = [f"--listening-port={port}", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--no-tls", "--no-dtls"]

    def answers() -> bool:  # to a STUN request without any credential
        asked = [client, "-p", str(port), "127.0.0.1"]
        try:
            said = subprocess.run(asked, capture_output=True, text=True, timeout=2, check=False)
        except subprocess.TimeoutExpired:
            return False
        return "reflexive addr: 127.0.0.1" in said.stdout

    env = {"REALM": "p2pal.example.org", "TURN_SECRET": SECRET, "EXTERNAL_IP": ""}
    with running([*command, *only], answers, folder / "log", env) as process:
        assert SECRET not in Path(f"/proc/{process.pid}/cmdline").read_text()
        assert (folder / "turnserver.conf").stat().st_mode & 0o077 == 0
        yield port
    log = (folder / "log").read_text(errors="replace")
    assert "Bad configuration format" not in log
    assert SECRET not in log


def ask(port: int, username: str, password: str) -> str:
    """Ask for two relayed connections that talk to each other, and return what became of it."""
    command = [program("turnutils_uclient"), "-v", "-y", "-c", "-n", "1"]
    command += ["-u", username, "-w", password, "-p", str(port), "127.0.0.1"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return said.stdout + said.stderr


def test_the_servers_credential_gets_a_relay_that_does_not_lead_back_here(relay: int) -> None:
    said = ask(relay, *make_credential(SECRET, "a1b2", int(time.time()) + 600))
    assert "Received relay addr: 127.0.0.1:" in said
    assert "error 403 (Forbidden IP)" in said


@pytest.mark.parametrize(("secret", "seconds"), [("another", 600), (SECRET, -600)], ids=["forged", "old"])
def test_no_other_credential_does(relay: int, secret: str, seconds: int) -> None:
    said = ask(relay, *make_credential(secret, "a1b2", int(time.time()) + seconds))
    assert "Received relay addr" not in said
    assert "Cannot complete Allocation" in said


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """A host on which the shipped relay runs, and somebody at each address who sends back what comes.

    It is a program and its arguments that run a command there.
    """
    need_networks()
    for name in ("turnserver", "turnutils_peer", "turnutils_stunclient"):
        program(name)
    folder = tmp_path_factory.mktemp("host")
    name = f"p2pal-{os.getpid()}-relay"
    inside = ["ip", "netns", "exec", name]
    peers = ("45.33.1.2", "1.1.1.1", "10.7.7.7", "127.0.0.1", "2a01:4f8::2", "fd00::7", "::1")
    with ExitStack() as stack:
        subprocess.run(["ip", "netns", "add", name], check=True, timeout=20)
        stack.callback(subprocess.run, ["ip", "netns", "del", name], check=True, timeout=20)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, timeout=20)
        for address in {*HERE, *peers} - {"127.0.0.1", "::1"}:
            more = ["nodad"] if ":" in address else []
            subprocess.run(["ip", "-n", name, "address", "add", address, "dev", "lo", *more], check=True, timeout=20)
        listening = [part for address in peers for part in ("-L", address)]
        echo = ["turnutils_peer", "-p", _ECHO, *listening]

        def bound() -> bool:
            said = subprocess.run([*inside, "ss", "-Hlun"], capture_output=True, text=True, timeout=20, check=True)
            return said.stdout.count(f":{_ECHO} ") == len(peers)

        def answers() -> bool:
            asked = [*inside, "turnutils_stunclient", HERE[0]]
            try:
                return subprocess.run(asked, capture_output=True, timeout=2, check=False).returncode == 0
            except subprocess.TimeoutExpired:
                return False

        stack.enter_context(running([*inside, *echo], bound, folder / "echo"))
        relay = ["sh", str(DEPLOY / "compose/coturn.sh"), str(DEPLOY / "turnserver.conf"), str(folder), "--no-tls"]
        addresses = [f"--{use}-ip={address}" for address in HERE for use in ("listening", "relay")]
        env = {"REALM": "p2pal.example.org", "TURN_SECRET": SECRET, "EXTERNAL_IP": ""}
        stack.enter_context(running([*inside, *relay, *addresses], answers, folder / "log", env))
        yield inside


def relayed(host: list[str], peer: str) -> str:
    """Have one datagram relayed to a peer and back, and return what became of it."""
    username, password = make_credential(SECRET, secrets.token_hex(8), int(time.time()) + 600)  # each has a quota
    command = [*host, "turnutils_uclient", "-v", "-c", "-n", "1", "-m", "1", *(["-x"] if ":" in peer else [])]
    command += ["-u", username, "-w", password, "-e", peer, "-r", _ECHO, HERE[0]]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return said.stdout + said.stderr


@pytest.mark.parametrize("peer", OUTSIDE)
def test_the_relay_leads_to_the_internet(host: list[str], peer: str) -> None:
    said = relayed(host, peer)
    assert "Received relay addr: " in said
    assert "Forbidden IP" not in said
    assert "tot_send_msgs=1, tot_recv_msgs=1" in said, said


@pytest.mark.parametrize("peer", [*INSIDE, *NAMESAKES, *ITSELF])
def test_the_relay_leads_nowhere_else(host: list[str], peer: str) -> None:
    said = relayed(host, peer)
    assert "Received relay addr: " in said
    assert "error 403 (Forbidden IP)" in said, said
    assert "tot_recv_msgs=1" not in said


def test_the_check_of_the_page_shows_what_the_page_says(host: list[str], tmp_path: Path) -> None:
    page = read("docs/self-hosting.md")
    found = re.search(r"```sh\n(export TURN_SECRET=\"\$\(sed .*?)```", page, re.DOTALL)
    assert found is not None
    settings = tmp_path / "turnserver.conf"
    settings.write_text(f"realm=x\nstatic-auth-secret={SECRET}\n")
    script = found[1].replace("/etc/turnserver.conf", str(settings)).replace("p2pal.example.org", HERE[0])

    def run(text: str) -> str:
        command = [*host, "sh", "-c", text]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return said.stdout + said.stderr

    assert re.search(r"Received relay addr.*channel bind sent.*success: 0x", run(script), re.DOTALL)
    assert "error 403 (Forbidden IP)" in run(script.replace("1.1.1.1", "10.0.0.1"))
    settings.write_text("static-auth-secret=another\n")
    assert "Cannot complete Allocation" in run(script)
