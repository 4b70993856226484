"""Real transfers by processes that are as near to Windows as Linux lets them: ``like_windows/sitecustomize.py``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.conftest import Start
from tests.e2e.kit import Command, Commands, Server, environment
from tests.e2e.trees import MIB, OLD, content, leftovers, sparse, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is made of what Linux has")

CTRL_C = signal.SIGINT
CTRL_BREAK = signal.SIGUSR1
"""What stands for it: ``SIGBREAK`` there."""

BIG = 1 << 30
"""Bytes of a file that is still on its way when it is stopped."""

ROUNDED = OLD // 100 * 100
"""What that disk makes of a time, in nanoseconds."""

EVERY_MODULE = """
import importlib, pkgutil, sys
import p2pal

assert sys.platform == "win32"
for module in pkgutil.walk_packages(p2pal.__path__, "p2pal."):
    if module.name not in {"p2pal.__main__", "p2pal.disk.fs.handle_directory"}:
        importlib.import_module(module.name)
assert "p2pal.disk.fs.handle_directory" not in sys.modules
try:
    import p2pal.disk.fs.handle_directory
except AssertionError:
    print("refused")
"""


def windows(*wishes: str, home: Path | None = None) -> dict[str, str]:
    """The environment of a command on Windows."""
    path = [str(Path(__file__).parent / "like_windows"), os.environ.get("PYTHONPATH", "")]
    own = {} if home is None else {"P2PAL_HOME": str(home)}
    return environment(P2PAL_TEST_WINDOWS=" ".join(wishes), PYTHONPATH=os.pathsep.join(filter(None, path)), **own)


def make_tree(root: Path) -> Path:
    """A tree that Windows can have, too."""
    write(root / "empty", b"")
    write(root / "big.bin", content(3 * MIB + 1))
    write(root / "read only.txt", "kept\n", mode=0o444)
    write(root / "a" / "b" / "c" / "deep.bin", content(300_000, 2))
    write(root / "новый документ.txt", "x")
    for number in range(100):
        write(root / "many" / f"{number}.txt", content(number * 10, number))
    (root / "empty directory" / "within").mkdir(parents=True)
    (root / "link to file").symlink_to("big.bin")
    (root / "a" / "link up").symlink_to("../read only.txt")
    (root / "link to directory").symlink_to("a/b")
    return root


def files(root: Path) -> dict[str, tuple[bytes, int, bool]]:
    """Every file's bytes, time and whether it may be written to, by its path; times as that disk has them."""
    found = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return {
        str(path.relative_to(root)): (
            path.read_bytes(), path.stat().st_mtime_ns // 100 * 100, bool(path.stat().st_mode & 0o200)
        )
        for path in found
    }  # fmt: skip


def links(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): os.readlink(path) for path in root.rglob("*") if path.is_symlink()}


def directories(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir() and not path.is_symlink()}


def assert_same(left: Path, right: Path) -> None:
    assert files(left) == files(right)
    assert links(left) == links(right)
    assert directories(left) == directories(right)
    assert leftovers(right) == []


def finish(sent: Command, received: Command, codes: tuple[int, int] = (0, 0)) -> None:
    """Wait for both: what they say is shown if their exit codes (sender's, receiver's) are others."""
    ended = (sent.wait(), received.wait())
    assert ended == codes, f"{ended}\n{sent.said}\n{received.said}"


def test_every_module_can_be_imported_there_but_for_the_handles() -> None:
    done = subprocess.run(
        [sys.executable, "-c", EVERY_MODULE], env=windows(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


@pytest.mark.parametrize(
    ("from_windows", "to_windows"), [(True, True), (True, False), (False, True)], ids=["both", "from", "to"]
)
def test_a_tree(
    sender: Start, receiver: Start, tmp_path: Path, out: Path, from_windows: bool, to_windows: bool
) -> None:
    tree = make_tree(tmp_path / "tree")
    sent = sender("-r", tree, env=windows() if from_windows else None)
    received = receiver(sent.code(), "-out", out, env=windows() if to_windows else None)
    finish(sent, received)
    assert_same(tree, out / "tree")


def test_what_is_read_only_is_replaced_when_a_person_agreed(
    sender: Start, receiver: Start, tmp_path: Path, out: Path
) -> None:
    tree = make_tree(tmp_path / "tree")
    write(out / "tree" / "read only.txt", "older\n", mode=0o444)
    write(out / "tree" / "big.bin", "older\n")
    (out / "tree" / "link to file").symlink_to("elsewhere")
    sent = sender("-r", tree)
    received = receiver(sent.code(), "-out", out, "-overwrite", env=windows())
    finish(sent, received)
    assert_same(tree, out / "tree")


def test_who_may_not_make_links_gets_everything_else(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    sent = sender("-r", tree, "--json")
    received = receiver(sent.code(), "-out", out, "--json", env=windows("no-links"))
    finish(sent, received, (1, 1))
    assert received.event("summary")["failed"] == len(links(tree))
    assert files(tree) == files(out / "tree")
    assert links(out) == {}


def test_a_clock_that_ticks_64_times_a_second(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    source = write(tmp_path / "big.bin", content(24 * MIB))
    sent = sender(source, env=windows("ticks"))
    received = receiver(sent.code(), "-out", out, env=windows("ticks"))
    finish(sent, received)
    assert (out / "big.bin").read_bytes() == source.read_bytes()
    assert (out / "big.bin").stat().st_mtime_ns == ROUNDED


@pytest.mark.parametrize(("by", "number"), [("send", CTRL_BREAK), ("receive", CTRL_C)])
def test_a_stopped_transfer_goes_on(
    commands: Commands, sender: Start, receiver: Start, tmp_path: Path, out: Path, by: str, number: signal.Signals
) -> None:
    tree = tmp_path / "tree"
    write(tree / "1", "first")
    sparse(tree / "2", BIG, 0, BIG // 2)
    env = {side: windows(home=tmp_path / side) for side in ("send", "receive")}
    sent = sender("-r", tree, "--json", env=env["send"])
    received = receiver(sent.code(), "-out", out, "--json", env=env["receive"])
    received.event("file", name="tree/1")
    received.moved(8 * MIB)
    stopper, other = (sent, received) if by == "send" else (received, sent)
    stopper.signal(number)
    assert (stopper.wait(), other.wait()) == (130, 5), f"{sent.said}\n{received.said}"
    assert len(leftovers(out)) == 1
    os.truncate(tree / "2", 32 * MIB)  # the rest would only take time
    ident = received.event("saved")["id"]
    for side in ("send", "receive"):
        listing = commands.run("checkpoint", "list", "--json", env=env[side])
        assert listing.wait() == 0, listing.said
        assert [each["id"] for each in listing.events] == [ident]
    sent = sender("--resume", ident, "--json", env=env["send"])
    received = receiver(sent.code(), "--json", env=env["receive"])
    finish(sent, received)
    assert received.event("resuming")["done"] > 0
    assert (out / "tree" / "2").stat().st_size == 32 * MIB
    assert_same(tree, out / "tree")
    for side in ("send", "receive"):
        assert os.listdir(tmp_path / side / "checkpoints") == []


@pytest.mark.parametrize("number", [CTRL_C, CTRL_BREAK])
def test_a_server_ends_in_order(tmp_path: Path, number: signal.Signals) -> None:
    server = Server(tmp_path / "server", env=windows())
    try:
        server.signal(number)
        assert server.wait() == 0, server.said
    finally:
        server.end()
