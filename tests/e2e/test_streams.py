"""Standard streams that are closed, on a full disk, or pipes that nobody reads any more."""

from __future__ import annotations

import contextlib
import shlex
import signal
import socket
import sys
from pathlib import Path

import pytest
from tests.e2e.conftest import Start
from tests.e2e.kit import Commands, until
from tests.e2e.trees import MIB, content, tree_equal, write
from tests.ports import free_port

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell that closes descriptors")

SILENCE = [">&-", "2>&-", "<&-", ">&- 2>&- <&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1"]


def shell(redirections: str) -> list[str]:
    """A wrapper that gives a command its standard streams as a shell makes them."""
    return ["sh", "-c", f'exec "$@" {redirections}', "sh"]


def gone(folder: Path, which: str) -> list[str]:
    """A wrapper that gives a command streams that were a pipe once, to a reader that has gone away."""
    pipe = shlex.quote(str(folder / "pipe"))
    return ["sh", "-c", f'mkfifo {pipe}; exec 9<>{pipe}; exec 8>{pipe}; exec 9<&-; exec "$@" {which}>&8 8>&-', "sh"]


@pytest.mark.parametrize("how", SILENCE)
@pytest.mark.parametrize("mode", [[], ["-q"], ["--json"]], ids=["plain", "quiet", "json"])
def test_a_receiver_without_streams_receives(
    sender: Start, receiver: Start, tmp_path: Path, out: Path, how: str, mode: list[str]
) -> None:
    source = write(tmp_path / "file", content(MIB))
    sent = sender(source)
    received = receiver("-out", out, *mode, sent.code(), wrapper=shell(how))
    assert (received.wait(), sent.wait()) == (0, 0)
    assert "Traceback" not in received.said
    assert tree_equal(source, out / "file")


@pytest.mark.parametrize("which", ["1", "2"])
def test_a_reader_that_went_away_ends_nothing(
    sender: Start, receiver: Start, tmp_path: Path, out: Path, which: str
) -> None:
    source = write(tmp_path / "file", content(MIB))
    sent = sender(source)
    received = receiver("-out", out, sent.code(), wrapper=gone(tmp_path, which))
    assert (received.wait(), sent.wait()) == (0, 0)
    assert "Traceback" not in received.said
    assert tree_equal(source, out / "file")


@pytest.mark.parametrize("how", ["2>&-", "<&-", "2>&- <&-", "2>/dev/full"])
def test_a_sender_that_can_show_its_code_sends(
    sender: Start, receiver: Start, tmp_path: Path, out: Path, how: str
) -> None:
    source = write(tmp_path / "file", content(MIB))
    sent = sender(source, wrapper=shell(how))
    received = receiver("-out", out, sent.code())
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "file")


@pytest.mark.parametrize("how", [">&-", ">/dev/full", ">&- 2>&-", ">/dev/full 2>&1"])
@pytest.mark.parametrize("mode", [[], ["-q"], ["--json"]], ids=["plain", "quiet", "json"])
def test_a_code_that_nobody_can_see_is_not_waited_for(sender: Start, tmp_path: Path, how: str, mode: list[str]) -> None:
    sent = sender("-ttl", "1h", *mode, write(tmp_path / "file", "x"), wrapper=shell(how))
    assert sent.wait() == 1
    assert "Traceback" not in sent.said
    if "2>" not in how:
        assert "p2pal: cannot write to standard output: " in sent.err


def test_a_code_for_a_reader_that_went_away_is_not_waited_for(sender: Start, tmp_path: Path) -> None:
    sent = sender("-q", write(tmp_path / "file", "x"), wrapper=gone(tmp_path, "1"))
    assert sent.wait() == 1
    assert sent.err == "p2pal: cannot write to standard output: Broken pipe; check where the output of p2pal goes\n"


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.mark.parametrize("how", ["2>&-", "2>/dev/full", ">&- 2>&- <&-"])
def test_a_server_without_a_log_serves(commands: Commands, tmp_path: Path, out: Path, how: str) -> None:
    port = free_port()
    server = commands.run("server", "--host", "127.0.0.1", "--port", str(port), wrapper=shell(how))
    until(lambda: listens(port), "a server that listens")
    connection = ["-server", f"http://127.0.0.1:{port}", "-stun", "none"]
    source = write(tmp_path / "file", "x")
    sent = commands.run("send", *connection, source, "-y")
    received = commands.run("recv", *connection, "-y", "-out", out, sent.code())
    assert (received.wait(), sent.wait()) == (0, 0)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


@pytest.mark.parametrize("how", [">/dev/full", ">&-", ">&- 2>&-"])
def test_the_doctor_says_when_nobody_can_read_it(commands: Commands, how: str) -> None:
    examined = commands.run("doctor", *commands.connection, wrapper=shell(how))
    assert examined.wait() == 1
    assert "Traceback" not in examined.said
