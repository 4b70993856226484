"""coturn with the shipped configuration: who gets a relay, and where it leads."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.kit import DEPLOY, free_port, program, running

from p2pal.server.ice import make_credential

SECRET = "shared between the two for the length of this test"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A running relay's port."""
    program("turnserver", required=True)
    client = program("turnutils_stunclient", required=True)
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
    command = [program("turnutils_uclient", required=True), "-v", "-y", "-c", "-n", "1"]
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
