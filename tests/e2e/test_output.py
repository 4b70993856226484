"""What a script reads: ``-q``, ``--json``, plain lines."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

from tests.e2e.conftest import Start
from tests.e2e.kit import Commands, Gate, environment
from tests.e2e.trees import MIB, content, make_tree, sparse, write


def test_quiet_prints_the_code_alone(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    sent = sender("-q", write(tmp_path / "report.pdf", "x"))
    code = sent.code()
    received = receiver("-q", code, "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert (sent.out, sent.err) == (f"{code}\n", "")
    assert (received.out, received.err) == ("", "")


def test_quiet_still_tells_errors(receiver: Start) -> None:
    received = receiver("-q", "zebra-luna-999999999")
    assert received.wait() == 4
    assert received.out == ""
    assert received.err.startswith("p2pal: ")
    assert len(received.err.splitlines()) == 1


def test_json_tells_everything_in_order(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    sent = sender("--json", "-r", tree, write(tmp_path / "large", content(8 * MIB)))
    received = receiver("--json", sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)

    kinds = [kind for kind in sent.kinds if kind not in {"file", "path"}]
    # The walk runs while the code waits, and may take longer than the receiver.
    assert [kind for kind in kinds if kind != "listed"] == ["code", "peer", "accepted", "summary"]
    assert kinds.index("listed") < kinds.index("accepted")
    assert [kind for kind in received.kinds if kind != "file"][:3] == ["joining", "peer", "path"]
    assert [kind for kind in received.kinds if kind not in {"file", "path"}] == [
        "joining", "peer", "offer", "accepted", "summary",
    ]  # fmt: skip

    listed, offer = sent.event("listed"), received.event("offer")
    assert listed["total"] == offer["total"] == sent.event("summary")["total"] == received.event("summary")["total"]
    assert listed["names"] == ["tree", "large"] == [top["name"] for top in offer["tops"]]
    for side in (sent, received):
        progress = [event["done"] for event in side.events if event["event"] == "progress"]
        assert progress == sorted(progress)
        assert progress[-1] == listed["total"]
        files = [event for event in side.events if event["event"] == "file"]
        assert len(files) == listed["files"] == side.event("summary")["files"]
        assert side.err == ""
    digests = [{event["name"]: event["digest"] for event in side.events if event["event"] == "file"} for side in
               (sent, received)]  # fmt: skip
    assert digests[0] == digests[1]


def test_json_tells_errors_too(commands: Commands, receiver: Start, tmp_path: Path) -> None:
    sent = commands.run("send", "--json", "-server", "http://127.0.0.1:1", write(tmp_path / "file", "x"))
    received = receiver("--json", "zebra-luna-999999999")
    assert (sent.wait(), received.wait()) == (3, 4)
    for side in (sent, received):
        error = side.event("error")
        assert error["exit_code"] == side.wait()
        assert error["message"]
        assert error["hint"]
        assert side.kinds.count("error") == 1


def test_names_cannot_break_the_lines_of_json(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    name = 'a\n{"event":"summary"}\x1b[2J\u2028\u202e.txt'
    sent = sender("--json", write(tmp_path / name, "x"))
    received = receiver("--json", sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    for side in (sent, received):
        assert all(isinstance(json.loads(line), dict) for line in side.out.splitlines())
        assert side.event("file")["name"] == name
        assert side.out.replace("\n", "").isprintable()


def test_without_a_terminal_progress_is_plain_lines(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    sent = sender(sparse(tmp_path / "disk.img", 300 * MIB))
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    for side in (sent, received):
        line = r"^\d+%, [\d.]+ MB of 314\.6 MB, [\d.]+ MB/s, .* left, 0 of 1 file, direct, udp$"
        assert re.search(line, side.err, re.MULTILINE)
        assert "\r" not in side.err
        assert "\x1b" not in side.err + side.out


def test_debug_logs_to_stderr(commands: Commands, tmp_path: Path) -> None:
    sent = commands.run("send", "--debug", "-server", "http://127.0.0.1:1", write(tmp_path / "file", "x"))
    assert sent.wait() == 3
    assert "Traceback" in sent.err
    plain = commands.run("send", "-server", "http://127.0.0.1:1", tmp_path / "file")
    assert plain.wait() == 3
    assert "Traceback" not in plain.err


def test_no_checkpoints(commands: Commands, tmp_path: Path) -> None:
    env = environment(P2PAL_HOME=str(tmp_path / "home"))
    shown = commands.run("checkpoint", "list", env=env)
    as_json = commands.run("checkpoint", "list", "--json", env=env)
    assert (shown.wait(), as_json.wait()) == (0, 0)
    assert (shown.out, shown.err) == ("No checkpoints.\n", "")
    assert (as_json.out, as_json.err) == ("", "")
    assert not (tmp_path / "home").exists()


def test_a_disk_that_hangs_does_not_hold_up_a_stop(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    gate = Gate(tmp_path / "gate")
    gate.allow(MIB)
    sent = sender(sparse(tmp_path / "disk.img", 64 * MIB), "--json")
    received = receiver(sent.code(), "-out", out, "--json", env=gate.environment)
    received.event("accepted")
    received.event("progress")
    received.signal(signal.SIGINT)
    assert received.wait(10) == 130
    assert received.kinds.count("error") == 1
    assert len(received.err.splitlines()) == 1
    assert received.event("error")["code"] == "interrupted"
