"""What somebody else could learn of the relay's credentials: from a log, a list of processes, a message."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.e2e.kit import Command, Commands, environment, until
from tests.e2e.trees import write
from tests.network.coturn import Coturn
from tests.network.needs import need_coturn
from tests.ports import free_port

from p2pal.server.ice import make_credential

SECRET = "9f1d-shared-with-the-relay"
PASSWORD = "S3cr3t-of-the-user"
SERVERS_SECRET = "7c20-of-another-relay"


def command_lines(command: Command) -> str:
    """Those of a command and of all that it started."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(pid)) == command.pid:
                found.append(Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (ProcessLookupError, FileNotFoundError):  # it ended meanwhile
            continue
    assert found
    return "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("whose", ["user", "server"])
def test_a_relay_that_refuses_leaves_its_password_nowhere(tmp_path: Path, whose: str) -> None:
    need_coturn()
    source = write(tmp_path / "file", b"file")
    more = ("allow-loopback-peers",)
    with (
        Coturn(tmp_path / "coturn", SECRET, port=free_port(), more=more) as relay,
        Commands("", tmp_path / "runs") as commands,
    ):
        # Nobody is at the second: its trouble is that of the tunnel.
        urls = (relay.url, f"turns:127.0.0.1:{free_port()}")
        user, _ = make_credential(SECRET, "user", int(time.time()) + 600)
        own = [part for url in urls for part in ("-turn", url)] if whose == "user" else []
        offered = [part for url in urls for part in ("--turn", url)] if whose == "server" else []
        server = commands.run(
            "server", "--port", "0", "--debug", *offered,
            env=environment(TURN_SECRET=SERVERS_SECRET if offered else ""),
        )  # fmt: skip
        url = f"http://127.0.0.1:{server.says(r'port=([0-9]+)').group(1)}"
        flags = ("-server", url, "-stun", "none", "--relay-only", "--debug", *own)
        env = environment(TURN_USER=user, TURN_PASS=PASSWORD) if own else environment()
        sent = commands.run("send", *flags, source, env=env)
        received = commands.run("recv", *flags, "-y", "-out", tmp_path, sent.code(), env=env)
        until(lambda: len(set(relay.refusals)) == (1 if own else 2), "the relay to refuse both")
        lines = "\n".join(map(command_lines, (sent, received, server)))
        assert (sent.wait(), received.wait()) == (5, 5), sent.said + received.said
        refused = set(relay.refusals)
        everything = lines + "".join(each.out + each.err for each in (sent, received, server))
    assert everything.count(f"{urls[0]} refused the credentials") >= 2
    assert f"{urls[1]}: connection refused" in everything
    for username in refused:
        end, _, name = username.partition(":")
        assert make_credential(SERVERS_SECRET, name, int(end))[1] not in everything
    for secret in (PASSWORD, SECRET, SERVERS_SECRET):
        assert secret not in everything
