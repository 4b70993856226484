"""How much there is: both screens, what is saved, the summary and the list say the same, and it is true."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.kit import Command, Commands, Gate, until
from tests.e2e.test_resume import Two
from tests.e2e.trees import MIB, content, write

from p2pal import units
from p2pal.disk.checkpoints.store import Checkpoints


@pytest.fixture
def two(commands: Commands, tmp_path: Path, out: Path) -> Two:
    return Two(commands, tmp_path, out)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Small files, which are kept whole or not at all, around a large one."""
    root = tmp_path / "tree"
    for number in range(60):
        write(root / "a" / f"{number}", content(20_000, number))
    write(root / "big", content(30 * MIB))
    for number in range(60):
        write(root / "z" / f"{number}", content(900_000, number))
    write(root / "z" / "last", b"last")
    return root


def figures(two: Two, side: str) -> tuple[int, int]:
    """What the list says: bytes and files."""
    (listed,) = two.checkpoints(side)
    return listed["done"], listed["files_done"]


def on_disk(two: Two, source: Path) -> tuple[int, int]:
    """What is really there under its name and right: bytes and files."""
    count = files = 0
    for path in source.rglob("*"):
        there = two.out / path.relative_to(source.parent)
        if path.is_file() and there.is_file():
            assert there.read_bytes() == path.read_bytes(), there
            count, files = count + path.stat().st_size, files + 1
    return count, files


def last(command: Command, kind: str) -> dict[str, Any]:
    return [event for event in command.events if event["event"] == kind][-1]


class Stopped:
    """A transfer under way whose receiver has ``after`` bytes and gets no more."""

    def __init__(self, two: Two, source: Path, after: int, *, json: bool = True) -> None:
        self.gate = Gate(two.homes["receive"].parent / "gate")
        self.sent = two.send("-r", source, json=json)
        env = self.gate.environment | {"P2PAL_HOME": str(two.homes["receive"])}
        self.received = two.receive(self.sent.code(), "-out", two.out, env=env, json=json)
        checkpoints = Checkpoints(two.homes["receive"])
        until(checkpoints.list, "a checkpoint")
        for step in range(1, 17):  # a slow disk: what is on it is claimed half a second after it came
            self.gate.fill(after * step // 16)
            time.sleep(0.1)
        if json:
            self.received.moved(after)
        if after > 2 * MIB:
            until(lambda: (found := checkpoints.list()) and found[0].done > 0, "some claim")


@pytest.mark.parametrize("after", [MIB, 9 * MIB, 40 * MIB])
@pytest.mark.parametrize("by", ["send", "receive"])
def test_a_stop_leaves_the_same_figures_on_both_sides(two: Two, tree: Path, by: str, after: int) -> None:
    running = Stopped(two, tree, after)
    stopper = running.sent if by == "send" else running.received
    stopper.signal(signal.SIGINT)
    running.gate.open()
    assert {running.sent.wait(10), running.received.wait(10)} == {130, 5}, running.sent.said + running.received.said
    here = figures(two, "receive")
    assert figures(two, "send") == here
    for side in (running.sent, running.received):
        saved, shown, summary = last(side, "saved"), last(side, "progress"), last(side, "summary")
        assert saved["done"] == shown["done"] == summary["done"] == summary["total"] == here[0], side.said
        assert saved["total"] == shown["total"] == summary["size"]
        assert (shown["files_done"], summary["files"]) == (here[1], here[1]), side.said
    whole, files = on_disk(two, tree)
    unfinished = sum(path.stat().st_size for path in two.out.rglob("*.part"))
    assert files == here[1]
    assert whole <= here[0] <= whole + unfinished


@pytest.mark.parametrize("by", ["send", "receive"])
def test_after_a_kill_each_says_what_it_knows_and_no_more(two: Two, tree: Path, by: str) -> None:
    running = Stopped(two, tree, 20 * MIB)
    victim, other = (running.sent, running.received) if by == "send" else (running.received, running.sent)
    # The sender hears of it twice a second.
    until(lambda: (found := Checkpoints(two.homes["send"]).list()) and found[0].done > 0, "that the sender knows some")
    victim.process.kill()
    victim.wait()
    other.signal(signal.SIGINT)
    running.gate.open()
    assert other.wait(10) == 130
    here, known = figures(two, "receive"), figures(two, "send")
    assert 0 < known[0] <= here[0]
    assert known[1] <= here[1]
    assert last(other, "saved")["done"] == last(other, "progress")["done"] == (here if by == "send" else known)[0]
    resumed, again = two.resumed(two.checkpoints("send")[0]["id"])
    assert again.event("resuming")["done"] == resumed.event("resuming")["done"] >= here[0]
    two.complete(resumed, again)


def test_the_screens_say_the_same_percentage(two: Two, tree: Path) -> None:
    running = Stopped(two, tree, 17 * MIB, json=False)
    running.received.signal(signal.SIGINT)
    running.gate.open()
    assert (running.received.wait(10), running.sent.wait(10)) == (130, 5)
    done, files = figures(two, "receive")
    total = two.checkpoints("receive")[0]["total"]
    for side in (running.sent, running.received):
        assert f"Saved at {units.percent(done, total)}%" in side.err
        assert f"{units.percent(done, total)}%, {units.size(done)} of {units.size(total)}, " in side.err
        assert f"Stopped after {units.size(done)}; {files} files are complete" in side.out
    for home in ("send", "receive"):
        listed = two.commands.run("checkpoint", "list", env=two.env(home))
        assert listed.wait() == 0
        assert f"{units.percent(done, total)}%" in listed.out
        assert units.part(done, total) in listed.out


def test_a_file_that_fails_is_in_no_figure(two: Two, tree: Path) -> None:
    sent = two.send("-r", "-skip-errors", tree)
    sent.event("listed")
    lost = (tree / "a" / "7", tree / "z" / "3")
    gone = sum(path.stat().st_size for path in lost)
    for path in lost:
        path.unlink()
    received = two.receive(sent.code(), "-out", two.out)
    two.complete(sent, received, (1, 1))
    size = last(sent, "summary")["size"]
    for side in (sent, received):
        summary = last(side, "summary")
        assert (summary["done"], summary["files"], summary["failed"]) == (size - gone, 120, 2), side.said
        assert last(side, "progress")["done"] == size - gone
        assert (summary["ok"], summary["stopped"]) == (False, False)
        failed = {event["name"]: event["reason"] for event in side.events if event["event"] == "file-failed"}
        assert set(failed) == {"tree/a/7", "tree/z/3"}
        assert all(failed.values())


@pytest.mark.parametrize("quiet", [False, True])
def test_what_failed_is_named_with_its_reason(two: Two, tree: Path, quiet: bool) -> None:
    """The error says so: on a terminal or in a log, and with ``-q`` too."""
    flags = ["-q"] if quiet else []
    sent = two.send("-r", "-skip-errors", *flags, tree, json=False)
    gate = Gate(two.homes["receive"].parent / "gate")
    env = gate.environment | {"P2PAL_HOME": str(two.homes["receive"])}
    received = two.receive(sent.code(), "-out", two.out, *flags, env=env, json=False)
    until(lambda: any(two.out.rglob("*.part")), "the first file")
    (tree / "z" / "last").unlink()  # far behind what is read ahead
    gate.open()
    two.complete(sent, received, (1, 1))
    for side in (sent, received):
        lines = side.err.splitlines()
        assert lines[-1].startswith("p2pal: 1 entry failed or left out"), side.said
        assert sum(line.startswith("failed: tree/z/last: ") for line in lines) == 1, side.said
    assert (received.out == "") is quiet


def test_a_receiver_that_got_all_that_was_offered_does_not_read_stopped(two: Two, tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    sent = two.send("-r", "-skip-errors", tree, json=False)
    received = two.receive(sent.code(), "-out", two.out, json=False)
    two.complete(sent, received, (1, 1))
    assert "Stopped" not in received.out
    assert "Received all of 122 files offered; the sender left out 1 entry" in received.out
    assert "p2pal: the sender left out 1 entry that it could not read; its screen says which, and why" in received.err
    assert "failed: tree/pipe: " in sent.err
    assert "Sent 122 of 123 files, 1 failed" in sent.out
