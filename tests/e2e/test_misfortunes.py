"""What goes wrong at either side's disk costs nothing that arrived: it is said, kept, and gone on with."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.kit import Commands, Gate
from tests.e2e.terminal import Terminal
from tests.e2e.test_resume import STOP_AT, Two
from tests.e2e.trees import MIB, content, tree_equal, write


@pytest.fixture
def two(commands: Commands, tmp_path: Path, out: Path) -> Two:
    return Two(commands, tmp_path, out)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    write(root / "a small one", b"first")
    write(root / "big.bin", content(64 * MIB))
    write(root / "z" / "last", b"last")
    return root


@contextlib.contextmanager
def missing(path: Path) -> Iterator[None]:
    """Without this file or directory for a while; afterwards all is as before, times included."""
    before, aside = path.parent.stat(), path.parent.parent / "aside"
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)
        os.utime(path.parent, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_source_that_is_not_there_is_said_before_any_code(two: Two, tree: Path) -> None:
    ident = two.stopped(tree, after=STOP_AT)
    kept = two.checkpoints("receive")[0]["done"]
    away = tree.rename(tree.parent / "unplugged")
    sent = two.send("--resume", ident)
    assert sent.wait(30) == 7
    assert "code" not in sent.kinds
    assert sent.event("error")["message"] == "the source is not there; is its disk mounted?"
    assert two.checkpoints("receive")[0]["done"] == kept
    away.rename(tree)
    sent, received = two.resumed(ident)
    assert received.event("resuming")["done"] >= STOP_AT - MIB
    two.complete(sent, received)
    assert tree_equal(tree, two.out / "tree")
    two.nothing_left()


def test_an_empty_mount_point_is_a_source_that_is_not_there(two: Two, tree: Path) -> None:
    ident = two.stopped(tree, after=STOP_AT)
    away = tree.rename(tree.parent / "unplugged")
    (tree / "z").mkdir(parents=True)
    sent = two.send("--resume", ident, json=False)
    assert sent.wait(30) == 7
    assert "the source is not there; is its disk mounted?" in sent.err
    (tree / "z").rmdir()
    tree.rmdir()
    away.rename(tree)
    two.complete(*two.resumed(ident))
    assert tree_equal(tree, two.out / "tree")


def test_the_arrived_part_of_a_file_that_cannot_be_read_is_kept(two: Two, tree: Path) -> None:
    ident = two.stopped(tree, after=STOP_AT)
    kept = two.checkpoints("receive")[0]["done"]
    with missing(tree / "big.bin"):
        two.complete(*two.resumed(ident), (1, 1))
    assert two.checkpoints("receive")[0]["done"] >= kept
    sent, received = two.resumed(ident)
    assert received.event("resuming")["done"] >= STOP_AT - MIB
    two.complete(sent, received)
    assert tree_equal(tree, two.out / "tree")
    two.nothing_left()


def test_what_was_skipped_can_be_had_later(two: Two, tree: Path) -> None:
    sent = two.send("-r", "-skip-errors", tree)
    code = sent.code()
    sent.event("listed")
    with missing(tree / "big.bin"):
        received = two.receive(code, "-out", two.out)
        two.complete(sent, received, (1, 1))
    assert sent.event("file-failed")["name"] == received.event("file-failed")["name"] == "tree/big.bin"
    ident = sent.event("saved", failed=1)["id"]
    assert received.event("saved", failed=1)["id"] == ident
    assert sent.event("saved")["command"].startswith(f"p2pal send --resume {ident[:8]}")
    two.complete(*two.resumed(ident))
    assert tree_equal(tree, two.out / "tree")
    two.nothing_left()


@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_person_is_asked_whether_what_is_missing_is_left_out_for_good(two: Two, tree: Path, answer: str) -> None:
    ident = two.stopped(tree, after=STOP_AT)
    (tree / "z" / "last").rename(tree.parent / "aside")
    home = str(two.homes["send"])
    terminal = Terminal(["send", *two.commands.connection, "--resume", ident[:8]], tree.parent, P2PAL_HOME=home)
    try:
        _answer(two, tree, terminal, answer)
    finally:
        terminal.end()
    if answer == "y":
        two.nothing_left()
    else:
        for side in ("send", "receive"):
            assert [each["id"] for each in two.checkpoints(side)] == [ident]


def _answer(two: Two, tree: Path, terminal: Terminal, answer: str) -> None:
    terminal.shows("Leave these out for good?")
    assert "1 file is not there now:" in terminal.text
    assert "tree/z/last" in terminal.text
    assert "Join code" not in terminal.text
    terminal.type(f"{answer}\r")
    found = terminal.until(lambda: re.search(r"Join code: (\S+)", terminal.text), "the code")
    assert found is not None
    received = two.receive(found.group(1))
    assert received.wait(60) == 1, received.said
    assert terminal.wait() == 1
    assert (two.out / "tree" / "big.bin").read_bytes() == (tree / "big.bin").read_bytes()


def test_a_name_that_is_taken_between_two_runs_costs_nothing(two: Two, tree: Path) -> None:
    ident = two.stopped(tree, after=STOP_AT)
    (two.out / "tree" / "big.bin").write_bytes(b"somebody else's")
    (two.out / "tree" / "z").write_bytes(b"theirs, too")
    sent = two.send("--resume", ident)
    received = two.receive(sent.code(), json=False)
    two.complete(sent, received)
    assert (two.out / "tree" / "big.bin").read_bytes() == b"somebody else's"
    assert (two.out / "tree" / "z").read_bytes() == b"theirs, too"
    assert (two.out / "tree" / "big (1).bin").read_bytes() == (tree / "big.bin").read_bytes()
    assert (two.out / "tree" / "z (1)" / "last").read_bytes() == b"last"
    assert "tree/big.bin was taken meanwhile: saved as tree/big (1).bin" in received.err
    assert "tree/z was taken meanwhile: saved as tree/z (1)" in received.err
    assert "2 entries stand under other names: something else took theirs" in received.out
    two.nothing_left()


def test_a_name_that_is_taken_while_it_arrives_is_told_to_programs(two: Two, tree: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    gate.allow(8 * MIB)
    sent = two.send(tree / "big.bin")
    env = gate.environment | {"P2PAL_HOME": str(two.homes["receive"])}
    received = two.receive(sent.code(), "-out", two.out, env=env)
    received.moved(8 * MIB)
    (two.out / "big.bin").write_bytes(b"somebody else's")
    gate.open()
    two.complete(sent, received)
    assert received.event("saved-as") == {"event": "saved-as", "name": "big.bin", "saved_as": "big (1).bin"}
    assert received.event("summary")["renamed"] == 1
    assert (two.out / "big (1).bin").read_bytes() == (tree / "big.bin").read_bytes()
    assert (two.out / "big.bin").read_bytes() == b"somebody else's"


def test_five_receivers_at_once_into_one_directory_lose_nothing(two: Two, tmp_path: Path) -> None:
    contents = {b"%d" % number * 1000 for number in range(5)}
    pairs = []
    for number, data in enumerate(sorted(contents)):
        write(tmp_path / str(number) / "tree" / "same.txt", data)
        sent = two.send("-r", tmp_path / str(number) / "tree")
        pairs.append((sent, two.receive(sent.code(), "-out", two.out)))
    for sent, received in pairs:
        two.complete(sent, received)
    assert {path.read_bytes() for path in two.out.glob("tree*/same.txt")} == contents
    two.nothing_left()


def test_a_target_that_is_deleted_is_not_a_full_disk_and_is_gone_on_with_once_it_is_there_again(
    two: Two, tree: Path, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    gate.allow(8 * MIB)
    sent = two.send("-r", tree)
    env = gate.environment | {"P2PAL_HOME": str(two.homes["receive"])}
    received = two.receive(sent.code(), "-out", two.out, env=env)
    received.moved(8 * MIB)
    shutil.rmtree(two.out)
    gate.open()
    two.complete(sent, received, (7, 5))
    assert received.event("error")["message"] == "the directory that is written to is gone; the transfer was stopped"
    assert sent.event("error")["message"] == "the directory that the other side writes to is gone"
    ident = sent.event("saved")["id"]
    refused, missed = two.resumed(ident)
    two.complete(refused, missed, (7, 5))
    assert "is not there any more" in missed.event("error")["message"]
    two.out.mkdir()
    two.complete(*two.resumed(ident, "-out", two.out))
    assert tree_equal(tree, two.out / "tree")
    two.nothing_left()
