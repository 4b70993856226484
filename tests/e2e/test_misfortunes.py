"""What goes wrong at either side's disk costs nothing that arrived: it is said, kept, and gone on with."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.kit import Commands
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
