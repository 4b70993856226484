"""Ctrl-C, SIGTERM, kill: what the other side is told, and what is left on the disk."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.e2e.conftest import Start
from tests.e2e.kit import Command, Commands, until
from tests.e2e.trees import MIB, content, leftovers, sparse, tree_equal, write
from tests.ports import free_port

LONG = 8 << 30
"""Bytes of a file that is still on its way when it is stopped."""


@pytest.fixture
def running(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> tuple[Command, Command]:
    """A sender and a receiver; one file is complete and a long one on its way."""
    first, second = write(tmp_path / "1", "complete"), sparse(tmp_path / "2", LONG)
    sent = sender(first, second, "--json", "-max-retries", "0")
    received = receiver(sent.code(), "-out", out, "--json", "-max-retries", "0")
    received.event("file", name="1")
    sent.moved(8 * MIB)
    received.moved(8 * MIB)
    return sent, received


def complete(out: Path) -> list[str]:
    """What has its name; what is unfinished waits beside it for another session."""
    assert len(leftovers(out)) <= 1
    return sorted(name for name in os.listdir(out) if not name.endswith(".part"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_receiver_stops(running: tuple[Command, Command], out: Path, number: signal.Signals) -> None:
    sent, received = running
    received.signal(number)
    assert (received.wait(), sent.wait()) == (130, 5)
    assert sent.event("error")["message"] == "the other side stopped the transfer"
    assert received.event("error")["code"] == "interrupted"
    assert complete(out) == ["1"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_sender_stops(running: tuple[Command, Command], out: Path, number: signal.Signals) -> None:
    sent, received = running
    sent.signal(number)
    assert (sent.wait(), received.wait()) == (130, 5)
    assert received.event("error")["message"] == "the other side stopped the transfer"
    assert sent.event("error")["code"] == "interrupted"
    assert complete(out) == ["1"]


@pytest.mark.slow
def test_the_receiver_is_killed(running: tuple[Command, Command], out: Path) -> None:
    sent, received = running
    received.process.kill()
    assert sent.wait(60) == 5
    assert sent.event("error")["code"] == "peer-lost"
    assert not (out / "2").exists()


@pytest.mark.slow
def test_the_sender_is_killed(running: tuple[Command, Command], out: Path) -> None:
    sent, received = running
    sent.process.kill()
    assert received.wait(60) == 5
    assert received.event("error")["code"] == "peer-lost"
    assert complete(out) == ["1"]


def test_the_server_is_not_missed_once_the_peers_are_connected(commands: Commands, tmp_path: Path, out: Path) -> None:
    server = commands.server()
    connection = ["-server", server.url, "-stun", "none", "--json"]
    source = sparse(tmp_path / "large", 256 * MIB, 1000)
    sent = commands.run("send", *connection, source)
    received = commands.run("recv", *connection, "-y", "-out", out, sent.code())
    received.moved(MIB)
    server.process.kill()
    server.wait()
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "large")


def test_a_server_that_forgot_the_transfer_does_not_stop_it(commands: Commands, tmp_path: Path, out: Path) -> None:
    server = commands.server(port=free_port())
    connection = ["-server", server.url, "-stun", "none", "--json"]
    source = sparse(tmp_path / "large", 512 * MIB)
    sent = commands.run("send", *connection, source)
    received = commands.run("recv", *connection, "-y", "-out", out, sent.code())
    received.moved(MIB)
    server.process.kill()
    server.wait()
    again = commands.server(port=server.port)
    assert (received.wait(), sent.wait()) == (0, 0)
    again.signal(signal.SIGTERM)
    assert again.wait() == 0


def test_the_server_stops_gracefully(commands: Commands, tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        server = commands.server()
        waiting = commands.run("send", "-server", server.url, "-stun", "none", write(tmp_path / "file", "x"))
        waiting.code()
        server.signal(number)
        assert server.wait() == 0
        assert "Traceback" not in server.said
        waiting.end()


def test_a_waiting_sender_stops_and_its_code_is_over(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    sent = sender(write(tmp_path / "file", "x"))
    code = sent.code()
    sent.signal(signal.SIGINT)
    assert sent.wait() == 130
    received = receiver(code, "-out", out)
    assert received.wait() == 4
    assert "the transfer with this code is over" in received.err


def test_a_second_signal_does_not_wait(running: tuple[Command, Command], out: Path) -> None:
    _, received = running

    def impatient() -> bool:
        received.signal(signal.SIGTERM)
        return not received.running

    until(impatient, "the end", 10)
    assert received.wait() == 130
    assert not (out / "2").exists()


@pytest.mark.parametrize("numbers", [(signal.SIGTERM,) * 2, (signal.SIGINT,) * 3, (signal.SIGHUP, signal.SIGTERM)])
def test_a_signal_that_comes_twice_at_once_is_one(
    running: tuple[Command, Command], out: Path, numbers: tuple[signal.Signals, ...]
) -> None:
    sent, received = running
    sent.signal(signal.SIGSTOP)  # so that it hears of all of them at the same time
    for number in numbers:
        sent.signal(number)
    os.killpg(sent.pid, numbers[-1])  # as GNU timeout does: once the process, once its group
    sent.signal(signal.SIGCONT)
    assert (sent.wait(), received.wait()) == (130, 5)
    assert sent.event("saved")["command"].startswith("p2pal send --resume ")
    assert sent.event("error")["message"] == "stopped"
    assert received.event("error")["message"] == "the other side stopped the transfer"
    assert complete(out) == ["1"]


def test_a_waiting_sender_says_goodbye_to_timeout(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    sent = sender(write(tmp_path / "file", "x"))
    code = sent.code()
    sent.signal(signal.SIGTERM)
    os.killpg(sent.pid, signal.SIGTERM)
    assert sent.wait() == 130
    assert sent.err.splitlines()[-1] == "p2pal: stopped"
    assert receiver(code, "-out", out).wait() == 4


def test_what_was_left_by_a_kill_is_not_in_the_way(
    running: tuple[Command, Command], sender: Start, receiver: Start, tmp_path: Path, out: Path
) -> None:
    sent, received = running
    received.process.kill()
    sent.end()
    received.wait()
    assert leftovers(out) != []
    source = write(tmp_path / "again" / "2", content(MIB))
    sent = sender(source)
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "2")
