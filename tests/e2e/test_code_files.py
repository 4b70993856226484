"""Scripts that hand a code over without a command line that shows it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.e2e.conftest import Start
from tests.e2e.kit import environment, until
from tests.e2e.trees import tree_equal, write


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_a_script_hands_a_code_over_by_a_file(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    source, path = write(tmp_path / "report.pdf", "x"), tmp_path / "code"
    sent = sender(source, "-q", "--code-file", path)
    until(path.exists, lambda: sent.said)
    code = path.read_text().strip()
    assert path.stat().st_mode & 0o777 == 0o600
    received = receiver("--code-file", path, "-out", out)
    assert code not in command_line(sent.pid) + command_line(received.pid)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert sent.out == f"{code}\n"
    assert tree_equal(source, out / "report.pdf")
    assert not path.exists()


def test_a_code_from_the_environment(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    source = write(tmp_path / "report.pdf", "x")
    sent = sender(source, "--json")
    received = receiver("-out", out, env=environment(P2PAL_CODE=sent.code()))
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "report.pdf")


def test_a_code_file_goes_when_the_sender_is_stopped(sender: Start, tmp_path: Path) -> None:
    path = tmp_path / "code"
    sent = sender(write(tmp_path / "report.pdf", "x"), "--code-file", path)
    until(path.exists, lambda: sent.said)
    os.kill(sent.pid, signal.SIGINT)
    assert sent.wait() == 130
    assert not path.exists()


def test_a_file_that_is_there_already_is_left_alone(sender: Start, tmp_path: Path) -> None:
    path = tmp_path / "code"
    path.write_text("mine")
    sent = sender(write(tmp_path / "report.pdf", "x"), "--code-file", path)
    assert sent.wait() == 2
    assert f"p2pal: {path} exists already; remove it, or name another file with --code-file" in sent.err
    assert path.read_text() == "mine"


def test_two_codes_at_once(receiver: Start, tmp_path: Path) -> None:
    received = receiver("zebra-luna-47", "--code-file", tmp_path / "code")
    assert received.wait() == 2
    assert "p2pal: CODE and --code-file exclude each other; leave one out" in received.err


def test_a_file_that_is_not_there(receiver: Start, tmp_path: Path) -> None:
    received = receiver("--code-file", tmp_path / "code")
    assert received.wait() == 2
    assert "cannot read the join code from" in received.err
