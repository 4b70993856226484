"""``p2pal doctor`` against real servers and a real relay, on loopback."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
from aioice.turn import create_turn_endpoint
from tests.certificates import write_certificate
from tests.e2e.conftest import Open
from tests.e2e.kit import Command, Commands, Server, environment
from tests.network.coturn import Coturn
from tests.network.needs import need_coturn
from tests.ports import free_port

from p2pal.server.ice import make_credential

SECRET: Final = "4c1b-shared-with-the-relay"
HERE: Final = ("network", "ipv6", "batches", "buffers")
"""What depends on the machine that the tests run on."""


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Coturn]:
    """A coturn on loopback: STUN with two addresses, TURN over UDP, TCP and TLS."""
    need_coturn()
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_certificate(*files, "127.0.0.1")
    # With two addresses it has an alternative to each port, by itself the next one, which may be taken.
    others = ("tls-listening-port", "alt-listening-port", "alt-tls-listening-port")
    more = ("allow-loopback-peers", *(f"{name}={free_port()}" for name in others))
    with Coturn(
        tmp_path / "coturn", SECRET, port=free_port(), also=("127.0.0.2",), certificate=files, more=more
    ) as running:
        yield running


@pytest.fixture
def trusting(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that trusts the relay's certificate."""
    return environment(SSL_CERT_FILE=str(tmp_path / "cert.pem"))


def checks(command: Command) -> dict[str, dict[str, Any]]:
    """What ``--json`` told, by check; of several of one kind by check and target."""
    found = [event for event in command.events if event["event"] == "check"]
    assert command.events[-1]["event"] == "summary", command.said
    names = [event["check"] for event in found]
    return {
        event["check"] if names.count(event["check"]) == 1 else f"{event['check']} {event['target']}": event
        for event in found
    }


def credentials(password: str = "") -> tuple[str, ...]:
    """Of a user whom the relay knows."""
    user, right = make_credential(SECRET, "doctor", int(time.time()) + 600)
    return "-turn-user", user, "-turn-pass", password or right


def test_all_is_well(commands: Commands, relay: Coturn, trusting: dict[str, str]) -> None:
    turn = (relay.url, f"{relay.url}?transport=tcp", f"turns:127.0.0.1:{relay.port}")
    stun = f"stun:127.0.0.1:{relay.port}"
    flags = [part for url in turn for part in ("--turn", url)]
    server = commands.server("--stun", stun, "--turn-secret", SECRET, *flags)
    command = commands.run("doctor", "-server", server.url, "--json", env=trusting)
    assert command.wait() == 0, command.said
    found = checks(command)
    assert {check: event["result"] for check, event in found.items() if check not in HERE} == {
        "server": "ok", "websocket": "ok", "clock": "ok", "datagrams": "ok", "stun": "ok", "udp": "ok", "nat": "ok",
        **{f"turn {url}": "ok" for url in turn},
    }, command.said  # fmt: skip
    assert not any(event["advice"] for check, event in found.items() if check not in HERE)
    assert "this machine's own address" in found["nat"]["detail"]
    assert command.events[-1]["exit_code"] == 0
    assert len(set(relay.allocations)) >= 2, "both ends have credentials of their own"
    assert_nothing_left(server)


def assert_nothing_left(server: Server) -> None:
    """What was created on the server was removed, and every socket is closed."""
    log = server.err + server.out
    created, aborted = (re.findall(rf"event={event} transfer=(\w+)", log) for event in ("created", "aborted"))
    assert created
    assert created == aborted
    assert log.count("event=socket-closed") == 2


def test_the_users_own_servers(commands: Commands, relay: Coturn) -> None:
    stun = [part for host in ("127.0.0.1", "127.0.0.2") for part in ("-stun", f"stun:{host}:{relay.port}")]
    command = commands.run("doctor", "-server", commands.url, *stun, "-turn", relay.url, *credentials())
    assert command.wait() == 0, command.said
    assert f"stun:127.0.0.2:{relay.port} answers in" in command.out
    assert f"{relay.url} relays, connected in" in command.out
    assert "Transfers should work" in command.out


def test_a_wrong_password(commands: Commands, relay: Coturn) -> None:
    password = "S3cr3t-of-the-user"
    command = commands.run("doctor", *commands.connection, "-turn", relay.url, *credentials(password), "--debug")
    assert command.wait() == 5, command.said
    assert f"{relay.url}: wrong user name or password (401)" in command.out
    assert "turn: check -turn-user and -turn-pass" in command.out
    assert password not in command.said.partition("\n")[2]


def test_a_secret_that_the_relay_does_not_share(commands: Commands, relay: Coturn) -> None:
    server = commands.server("--turn", relay.url, "--turn-secret", "another")
    command = commands.run("doctor", "-server", server.url, "-stun", "none", "--json")
    assert command.wait() == 5, command.said
    assert "--turn-secret" in checks(command)["turn"]["advice"]


def test_a_quota_that_is_used_up(commands: Commands, tmp_path: Path) -> None:
    need_coturn()
    flags = credentials()
    user, password = flags[1], flags[3]

    async def hold_one(relay: Coturn) -> Command:
        where = (relay.address, relay.port)
        held, _ = await create_turn_endpoint(asyncio.DatagramProtocol, where, user, password)
        try:
            command = commands.run("doctor", *commands.connection, "-turn", relay.url, *flags, "--json")
            await asyncio.to_thread(command.wait)
        finally:
            held.close()
        return command

    with Coturn(tmp_path / "coturn", SECRET, port=free_port(), more=("allow-loopback-peers", "user-quota=1")) as relay:
        command = asyncio.run(hold_one(relay))
    assert command.process.returncode == 5, command.said
    assert checks(command)["turn"]["detail"].endswith("too many connections of this user (486)")


def test_closed_ports(commands: Commands) -> None:
    port = free_port()
    turn = (f"turn:127.0.0.1:{port}", f"turn:127.0.0.1:{port}?transport=tcp", f"turns:127.0.0.1:{port}")
    flags = [part for url in turn for part in ("-turn", url)]
    command = commands.run(
        "doctor", "-server", commands.url, "-stun", f"stun:127.0.0.1:{port}", *flags, *credentials(), "--json"
    )
    assert command.wait() == 5, command.said
    found = checks(command)
    assert found["stun"]["result"] == "warn"
    assert {event["result"] for check, event in found.items() if check.startswith("turn")} == {"fail"}
    assert found[f"turn {turn[0]}"]["detail"].endswith("no answer")
    for url in turn[1:]:
        assert found[f"turn {url}"]["detail"].endswith("connection refused")
    assert found["udp"]["result"] == "fail"
    assert "TURN server over TCP or TLS" in found["udp"]["advice"]


def test_a_certificate_that_is_not_trusted(commands: Commands, relay: Coturn) -> None:
    url = f"turns:127.0.0.1:{relay.port}"
    command = commands.run("doctor", *commands.connection, "-turn", url, *credentials(), "--json")
    assert command.wait() == 5, command.said
    assert checks(command)["turn"]["detail"] == f"{url}: its TLS certificate is not trusted"


def test_no_server(commands: Commands) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    command = commands.run("doctor", "-server", url, "-stun", "none")
    assert command.wait() == 3, command.said
    assert f"server     fail    {url}: connection refused" in command.out
    assert "No transfer can begin: 1 check failed." in command.out


def test_a_server_over_tls_that_is_not_trusted(commands: Commands, tmp_path: Path) -> None:
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_certificate(*files, "127.0.0.1")
    server = commands.server("--tls-cert", str(files[0]), "--tls-key", str(files[1]))
    url = server.url.replace("http:", "https:")
    strange = commands.run("doctor", "-server", url, "-stun", "none", "--json")
    assert strange.wait() == 3, strange.said
    assert "its TLS certificate is not trusted" in checks(strange)["server"]["detail"]
    trusted = commands.run(
        "doctor", "-server", url, "-stun", "none", "--json", env=environment(SSL_CERT_FILE=str(files[0]))
    )
    assert trusted.wait() == 0, trusted.said


class Web(BaseHTTPRequestHandler):
    """A web server that is no p2pal server, and answers with what could control a terminal."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"\x1b[2J<h1>It works!</h1>")

    do_POST = do_GET  # noqa: N815 - its name is the library's

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_server_that_is_none(commands: Commands) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as web:
        Thread(target=web.serve_forever, daemon=True).start()
        command = commands.run("doctor", "-server", f"http://127.0.0.1:{web.server_port}", "-stun", "none")
        assert command.wait() == 3, command.said
        web.shutdown()
    assert "no p2pal signaling server" in command.out
    assert "\x1b" not in command.out


def test_a_mistake_on_the_command_line(commands: Commands) -> None:
    command = commands.run("doctor", "-stun", "http://example.org", "--json")
    assert command.wait() == 2
    (event,) = command.events
    assert (event["event"], event["exit_code"]) == ("error", 2)
    assert "-stun takes a STUN URL" in command.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_disk_without_room_for_what_it_says(commands: Commands) -> None:
    with Path("/dev/full").open("wb") as full:
        found = subprocess.run(
            [sys.executable, "-m", "p2pal", "doctor", *commands.connection],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert found.returncode == 1, found.stderr
    assert found.stderr.splitlines() == [
        "p2pal: cannot write to standard output: No space left on device; check where the output of p2pal goes"
    ]


def test_stopped(commands: Commands) -> None:
    with socket.socket() as quiet:
        quiet.bind(("127.0.0.1", 0))
        quiet.listen()
        command = commands.run("doctor", "-server", f"http://127.0.0.1:{quiet.getsockname()[1]}", "-stun", "none")
        connection, _ = quiet.accept()
        with connection:
            command.signal(signal.SIGINT)
            assert command.wait() == 130, command.said
    assert command.out == ""


@pytest.mark.parametrize("width", [60, 200])
def test_the_screen(terminal: Open, width: int) -> None:
    screen = terminal("doctor", width=width)
    assert screen.wait() == 0
    lines = [line for line in screen.lines if line]
    assert lines[0] == "CHECK      RESULT  DETAIL"
    assert [line.split()[0] for line in lines if line[0] != " "][:13] == [
        "CHECK", "server", "websocket", "clock", "network", "ipv6", "datagrams", "batches", "buffers",
        "stun", "turn", "udp", "nat",
    ]  # fmt: skip
    assert all(len(line) < width for line in lines), "no line was broken by the terminal"
    assert b"\x1b[32mok\x1b[0m" in screen.raw
    assert "Checking" not in screen.text


def test_the_screen_without_colours(terminal: Open) -> None:
    screen = terminal("doctor", term="dumb")
    assert screen.wait() == 0
    assert b"\x1b" not in screen.raw


def test_the_screen_where_no_colours_are_wanted(terminal: Open) -> None:
    """https://no-color.org: any value but the empty one."""
    plain = terminal("doctor", NO_COLOR="0")
    assert plain.wait() == 0
    assert b"\x1b[3" not in plain.raw
    assert "Transfers should work" in plain.text
    coloured = terminal("doctor", NO_COLOR="")
    assert coloured.wait() == 0
    assert b"\x1b[32mok" in coloured.raw


def test_nothing_is_written_to_the_disk(commands: Commands, tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = commands.run("doctor", *commands.connection, env=environment(P2PAL_HOME=str(home)))
    assert command.wait() == 0, command.said
    assert not home.exists()
    assert os.listdir(command.cwd) == []
