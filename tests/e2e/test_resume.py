"""Stopping and going on: what a person sees, what is sent again, and what a checkpoint can be made to do."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.isolation import with_tmpfs
from tests.e2e.kit import Command, Commands, Gate, environment, until
from tests.e2e.trees import MIB, content, leftovers, sparse, tree_equal, write

from p2pal.disk.checkpoints.store import Checkpoints

BIG = 6 << 30
"""Bytes of a sparse file that is still on its way when it is stopped."""


BIG_FILE = 64 * MIB
STOP_AT = 24 * MIB
UNSYNCED = 17 * MIB
"""Bytes that may be written and not yet claimed: between two syncs, and a piece."""


class Two:
    """Two machines: each has a home of its own."""

    def __init__(self, commands: Commands, tmp_path: Path, out: Path) -> None:
        self.commands = commands
        self.homes = {side: tmp_path / "homes" / side for side in ("send", "receive")}
        (tmp_path / "homes").mkdir()
        self.out = out

    def env(self, side: str) -> dict[str, str]:
        return environment(P2PAL_HOME=str(self.homes[side]))

    def send(self, *args: str | Path, json: bool = True) -> Command:
        return self.commands.send(*args, *(["--json"] if json else []), env=self.env("send"))

    def receive(self, code: str, *args: str | Path, json: bool = True, env: dict[str, str] | None = None) -> Command:
        return self.commands.receive(code, *args, *(["--json"] if json else []), env=env or self.env("receive"))

    def gate(self, count: int) -> Gate:
        """Of a receiver's disk that takes so many bytes for now."""
        gate = Gate(self.homes["receive"].parent / "gate")
        gate.allow(count)
        return gate

    def gated(self, gate: Gate) -> dict[str, str]:
        """The environment of a receiver with that disk."""
        return gate.environment | {"P2PAL_HOME": str(self.homes["receive"])}

    def claims(self, count: int) -> None:
        """Wait until the receiver, whose disk takes no more than so many bytes, claims what was synced of them."""
        checkpoints = Checkpoints(self.homes["receive"])
        until(lambda: checkpoints.list()[0].done >= count - UNSYNCED, "the claim of what is there")

    def checkpoints(self, side: str) -> list[dict[str, Any]]:
        listing = self.commands.run("checkpoint", "list", "--json", env=self.env(side))
        assert listing.wait() == 0, listing.said
        return listing.events

    def stopped(self, *paths: Path, after: int, by: str = "receive", number: signal.Signals = signal.SIGINT) -> str:
        """Send, stop one side once the disk has ``after`` bytes, and return the checkpoint's id."""
        gate = self.gate(after)
        sent = self.send("-r", *paths)
        received = self.receive(sent.code(), "-out", self.out, env=self.gated(gate))
        received.moved(after)
        self.claims(after)
        stopper, other = (received, sent) if by == "receive" else (sent, received)
        stopper.signal(number)
        gate.open_slowly(after)
        assert stopper.wait(10) == (130 if number != signal.SIGKILL else -signal.SIGKILL), stopper.said
        if number == signal.SIGKILL:
            other.signal(signal.SIGINT)
            assert other.wait(10) == 130, other.said
        else:
            assert other.wait(10) == 5, other.said
        return str(self.checkpoints("send")[0]["id"])

    def resumed(self, ident: str, *args: str | Path) -> tuple[Command, Command]:
        sent = self.send("--resume", ident[:8])
        return sent, self.receive(sent.code(), *args)

    def complete(self, sent: Command, received: Command, codes: tuple[int, int] = (0, 0)) -> None:
        ended = (received.wait(60), sent.wait(30))
        assert ended == codes, f"{ended}\n{received.said}\n{sent.said}"

    def nothing_left(self) -> None:
        assert leftovers(self.out) == []
        for side in ("send", "receive"):
            assert self.checkpoints(side) == []


@pytest.fixture
def two(commands: Commands, tmp_path: Path, out: Path) -> Two:
    return Two(commands, tmp_path, out)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    write(root / "a small one", b"first")
    write(root / "big.bin", content(BIG_FILE))
    write(root / "z" / "last", b"last")
    (root / "link").symlink_to("z/last")
    return root


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("by", ["send", "receive"])
def test_a_stopped_transfer_goes_on(two: Two, tree: Path, number: signal.Signals, by: str) -> None:
    ident = two.stopped(tree, after=STOP_AT, by=by, number=number)
    sent, received = two.resumed(ident)  # the directory is found from the checkpoint
    for side in (sent, received):
        event = side.event("resuming")
        assert event["id"] == ident
        assert event["done"] >= STOP_AT - MIB
    two.complete(sent, received)
    assert tree_equal(tree, two.out / "tree")
    # What was complete is not sent again, and is not reported again.
    assert received.event("file")["name"] == "tree/big.bin"
    two.nothing_left()


def test_both_say_how_to_go_on(two: Two, tree: Path) -> None:
    gate = two.gate(0)
    sent = two.send("-r", tree, json=False)
    received = two.receive(sent.code(), "-out", two.out, json=False, env=two.gated(gate))
    gate.fill(MIB)
    received.signal(signal.SIGINT)
    gate.open_slowly(MIB)
    assert (received.wait(10), sent.wait(10)) == (130, 5)
    ident = two.checkpoints("send")[0]["id"][:8]
    command = f"p2pal send --resume {ident} -server {two.commands.url}"
    assert command in sent.err
    assert f"p2pal send --resume {ident}" in received.err
    assert f"p2pal recv -server {two.commands.url} NEWCODE" in received.err


def test_a_killed_receiver_joins_again_with_the_same_code(two: Two, tree: Path) -> None:
    gate = two.gate(STOP_AT)
    sent = two.send("-r", tree)
    code = sent.code()
    first = two.receive(code, "-out", two.out, env=two.gated(gate))
    first.moved(STOP_AT)
    two.claims(STOP_AT)
    first.process.kill()
    first.wait()
    again = two.receive(code, "-out", two.out)
    assert again.event("resuming")["done"] > 0
    two.complete(sent, again)
    assert tree_equal(tree, two.out / "tree")
    assert sent.kinds.count("code") == 1
    two.nothing_left()


@pytest.mark.parametrize("by", ["send", "receive"])
def test_after_a_kill_little_is_sent_again(two: Two, tmp_path: Path, by: str) -> None:
    big = sparse(tmp_path / "big", 200 * MIB, 5, 150 * MIB)
    ident = two.stopped(big, after=100 * MIB, by=by, number=signal.SIGKILL)
    sent, received = two.resumed(ident)
    assert received.event("resuming")["done"] >= 100 * MIB - UNSYNCED
    two.complete(sent, received)
    assert tree_equal(big, two.out / "big")
    two.nothing_left()


def test_the_sender_dies_and_the_receiver_waits_through_its_retries(two: Two, tmp_path: Path) -> None:
    sent = two.send(sparse(tmp_path / "big", BIG))
    received = two.receive(sent.code(), "-out", two.out, "-max-retries", "0", "--wait", "2s")
    received.moved(8 * MIB)
    sent.process.kill()
    assert received.wait(60) == 5
    kinds = received.kinds
    assert kinds[-2:] == ["saved", "error"]
    assert received.event("error")["code"] == "peer-lost"
    assert received.event("error")["hint"] == ""


def test_changed_pieces_alone_travel(two: Two, tmp_path: Path) -> None:
    """A file that changed between two sessions is never mixed, and what is the same of it is not sent again."""
    data = bytearray(content(100 * MIB))  # more than a window beyond the stop
    big = write(tmp_path / "big", bytes(data))
    ident = two.stopped(big, after=40 * MIB)
    data[5 * MIB : 5 * MIB + 10] = b"0123456789"
    data[30 * MIB] ^= 0xFF
    write(big, bytes(data), mtime_ns=1_700_000_000_000_000_000)
    sent, received = two.resumed(ident)
    assert sent.event("resuming")["changed"] == 1
    here = received.event("resuming")["done"]
    two.complete(sent, received)
    assert tree_equal(big, two.out / "big")
    moved = received.event("summary")["total"] - here
    assert moved <= 100 * MIB - here + 4 * MIB
    two.nothing_left()


@pytest.mark.parametrize("size", [50, 120])
def test_a_file_of_another_size_is_never_mixed(two: Two, tmp_path: Path, size: int) -> None:
    big = write(tmp_path / "big", content(100 * MIB))
    ident = two.stopped(big, after=30 * MIB)
    write(big, content(size * MIB, 7))
    two.complete(*two.resumed(ident))
    assert tree_equal(big, two.out / "big")
    two.nothing_left()


def test_a_vanished_file_fails_alone_and_is_had_later(two: Two, tree: Path) -> None:
    ident = two.stopped(tree, after=STOP_AT)
    (tree / "z" / "last").rename(tree.parent / "aside")
    sent, received = two.resumed(ident)
    two.complete(sent, received, (1, 1))
    assert sent.event("missing")["names"] == ["tree/z/last"]
    assert sent.event("file-failed")["name"] == "tree/z/last"
    assert (two.out / "tree" / "big.bin").read_bytes() == (tree / "big.bin").read_bytes()
    assert not (two.out / "tree" / "z" / "last").exists()
    for side in (sent, received):
        assert side.event("saved")["failed"] == 1
    (tree.parent / "aside").rename(tree / "z" / "last")
    two.complete(*two.resumed(ident))
    assert (two.out / "tree" / "z" / "last").read_bytes() == b"last"
    two.nothing_left()


def _delete(part: Path) -> None:
    part.unlink()


def _truncate(part: Path) -> None:
    os.truncate(part, MIB)


def _edit(part: Path) -> None:
    with part.open("r+b") as file:
        file.seek(5 * MIB)
        file.write(b"edited")


def _replace(part: Path) -> None:
    other = part.with_name("other")  # while both are there the inodes differ
    shutil.copyfile(part, other)
    other.replace(part)


@pytest.mark.parametrize("damage", [_delete, _truncate, _edit, _replace])
def test_a_damaged_part_file_is_noticed(two: Two, tree: Path, damage: Any) -> None:
    ident = two.stopped(tree, after=STOP_AT)
    (part,) = two.out.rglob("*.part")
    damage(part)
    left = part.read_bytes() if damage is _replace else b""
    sent, received = two.resumed(ident)
    if damage is not _edit:
        assert received.event("starting-over")["name"] == "tree/big.bin"
    two.complete(sent, received)
    if damage is _replace:  # it is somebody else's now, and stays
        assert part.read_bytes() == left
        folder = part.parent.stat()
        part.unlink()
        os.utime(part.parent, ns=(folder.st_atime_ns, folder.st_mtime_ns))
    assert tree_equal(tree, two.out / "tree")
    # A file that cannot be gone on with starts over; of one that was edited, the edited piece alone.
    assert (received.event("resuming")["done"] < MIB) is (damage is not _edit)
    assert (two.checkpoints("send"), two.checkpoints("receive")) == ([], [])


def test_verify_reads_and_repairs(two: Two, tree: Path) -> None:
    """A disk that changed its mind, with every time and number as it was: only reading it all can tell."""
    ident = two.stopped(tree, after=STOP_AT)
    (part,) = two.out.rglob("*.part")
    done = two.out / "tree" / "a small one"
    for file in (part, done):
        found = file.stat()
        with file.open("r+b") as opened:
            opened.seek(2)
            opened.write(b"X")
        os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    sent, received = two.resumed(ident, "--verify")
    two.complete(sent, received)
    assert tree_equal(tree, two.out / "tree")
    two.nothing_left()


@pytest.mark.parametrize("how", ["cut", "noise", "empty"])
@pytest.mark.parametrize("side", ["send", "receive"])
def test_a_damaged_checkpoint_is_told_and_nothing_else_suffers(two: Two, tree: Path, side: str, how: str) -> None:
    ident = two.stopped(tree, after=STOP_AT)
    (file,) = (two.homes[side] / "checkpoints").glob(f"{ident}*")
    data = file.read_bytes()
    file.write_bytes({"cut": data[:20], "noise": os.urandom(len(data)), "empty": b""}[how])
    if side == "send":
        sent = two.send("--resume", ident)
        assert sent.wait() == 7, sent.said
        error = sent.event("error")
        assert error["code"] == "checkpoint"
        assert "Traceback" not in sent.err
    else:
        sent, received = two.resumed(ident, "-out", two.out)
        received.event("starting-over")
        two.complete(sent, received)
        assert tree_equal(tree, two.out / "tree (1)")


def test_the_directory_was_moved(two: Two, tree: Path, tmp_path: Path) -> None:
    ident = two.stopped(tree, after=STOP_AT)
    moved = tmp_path / "moved"
    two.out.rename(moved)
    two.out.mkdir()
    sent, received = two.resumed(ident, "-out", moved)
    two.complete(sent, received)
    assert tree_equal(tree, moved / "tree")


def test_another_directory_is_refused_with_what_to_do(two: Two, tree: Path, tmp_path: Path) -> None:
    ident = two.stopped(tree, after=STOP_AT)
    other = tmp_path / "other"
    other.mkdir()
    sent, received = two.resumed(ident, "-out", other)
    assert received.wait() == 7
    error = received.event("error")
    assert str(two.out) in error["message"]
    assert "checkpoint delete" in error["hint"]
    sent.wait()
    assert os.listdir(other) == []
    two.complete(*two.resumed(ident))
    assert tree_equal(tree, two.out / "tree")


def test_two_processes_do_not_share_a_checkpoint(two: Two, tree: Path) -> None:
    ident = two.stopped(tree, after=STOP_AT)
    first = two.send("--resume", ident)
    first.code()
    second = two.send("--resume", ident)
    assert second.wait() == 7
    assert second.event("error")["code"] == "checkpoint"
    received = two.receive(first.code())
    two.complete(first, received)


def test_someone_else_with_the_new_code_gets_it_from_the_start(two: Two, tree: Path, tmp_path: Path) -> None:
    """The code is what gives access; but nothing of the first receiver's is touched or told."""
    ident = two.stopped(tree, after=STOP_AT)
    before = {path: path.read_bytes() for path in (two.homes["receive"] / "checkpoints").iterdir()}
    sent = two.send("--resume", ident)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    env = environment(P2PAL_HOME=str(tmp_path / "stranger"))
    received = two.receive(sent.code(), "-out", elsewhere, env=env)
    received.event("starting-over")
    sent.event("starting-over")
    two.complete(sent, received)
    assert tree_equal(tree, elsewhere / "tree")
    assert {path: path.read_bytes() for path in (two.homes["receive"] / "checkpoints").iterdir()} == before
    # The first receiver's sender still has its checkpoint, and both can go on.
    two.complete(*two.resumed(ident))
    assert tree_equal(tree, two.out / "tree")


class SmallDisk:
    """A receiver whose disk is a small file system of its own, and fills up on command."""

    def __init__(self, two: Two, tmp_path: Path, source: Path, *args: str) -> None:
        self.gate = Gate(tmp_path / "gate")
        self.gate.allow(8 * MIB)
        self.sent = two.send(source)
        env = self.gate.environment | {"P2PAL_HOME": str(two.homes["receive"])}
        wrapper = with_tmpfs(two.out, f"size={64 * MIB}")
        self.received = two.commands.receive(
            self.sent.code(), "-out", two.out, "--json", *args, env=env, wrapper=wrapper
        )
        self.received.moved(8 * MIB)
        self.place = Path(f"/proc/{self.received.pid}/root{two.out}")
        self.ballast = self.place / "ballast"
        with contextlib.suppress(OSError), self.ballast.open("wb") as file:
            while True:
                file.write(bytes(MIB))
                file.flush()
        self.gate.open()


def test_a_full_disk_is_waited_for(two: Two, tmp_path: Path) -> None:
    source = write(tmp_path / "big", content(40 * MIB))
    disk = SmallDisk(two, tmp_path, source)
    assert disk.received.event("waiting", what="disk")["seconds"] > 60
    disk.sent.event("waiting", what="peer-disk")
    disk.ballast.unlink()
    disk.received.event("waiting", what="")
    digest = disk.received.event("file")["digest"]
    two.complete(disk.sent, disk.received)
    assert digest == disk.sent.event("file")["digest"]


def test_a_disk_that_stays_full_saves_the_transfer(two: Two, tmp_path: Path) -> None:
    source = write(tmp_path / "big", content(40 * MIB))
    disk = SmallDisk(two, tmp_path, source, "--wait", "1s")
    two.complete(disk.sent, disk.received, (7, 5))
    assert disk.received.kinds[-2:] == ["saved", "error"]
    assert disk.received.event("saved")["done"] >= 4 * MIB
    assert disk.sent.kinds[-2:] == ["saved", "error"]


def test_a_target_that_is_taken_away_saves_the_transfer(two: Two, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    gate.allow(8 * MIB)
    source = tmp_path / "tree"
    write(source / "1", content(20 * MIB))
    write(source / "2", b"second")
    sent = two.send("-r", source)
    env = gate.environment | {"P2PAL_HOME": str(two.homes["receive"])}
    received = two.receive(sent.code(), "-out", two.out, env=env)
    received.moved(8 * MIB)
    shutil.rmtree(two.out / "tree")
    gate.open()
    two.complete(sent, received, (7, 5))
    assert received.kinds[-2:] == ["saved", "error"]
    assert sent.kinds[-2:] == ["saved", "error"]
    assert not (two.out / "tree").exists()
    two.complete(*two.resumed(two.checkpoints("send")[0]["id"]))
    assert tree_equal(source, two.out / "tree")


@pytest.mark.slow
@pytest.mark.parametrize("side", ["send", "receive"])
def test_a_process_that_slept_goes_on(two: Two, tmp_path: Path, side: str) -> None:
    """As when a laptop's lid was closed: it stands still, and does not know for how long."""
    gate = Gate(tmp_path / "gate")
    gate.allow(8 * MIB)
    source = write(tmp_path / "big", content(40 * MIB))
    sent = two.send(source, "-max-retries", "inf")
    env = gate.environment | {"P2PAL_HOME": str(two.homes["receive"])}
    received = two.receive(sent.code(), "-out", two.out, "-max-retries", "inf", env=env)
    received.moved(8 * MIB)
    sleeper, other = (sent, received) if side == "send" else (received, sent)
    sleeper.signal(signal.SIGSTOP)
    other.await_(lambda: _silence(other) >= 8, "a long silence", 60)
    sleeper.signal(signal.SIGCONT)
    gate.open()
    two.complete(sent, received)
    assert tree_equal(source, two.out / "big")
    assert sent.kinds.count("accepted") == received.kinds.count("accepted") == 1


def _silence(command: Command) -> float:
    return max((event["seconds"] for event in command.events if event["event"] == "silence"), default=0.0)


def test_quiet_mode_says_how_to_go_on(two: Two, tree: Path) -> None:
    gate = two.gate(0)
    sent = two.send("-q", "-r", tree, json=False)
    received = two.receive(sent.code(), "-q", "-out", two.out, json=False, env=two.gated(gate))
    gate.fill(MIB)
    sent.signal(signal.SIGTERM)
    gate.open_slowly(MIB)
    assert (sent.wait(10), received.wait(10)) == (130, 5)
    assert "p2pal send --resume" in sent.err
    assert received.out == ""


def test_deleting_a_checkpoint_removes_the_unfinished_file_alone(two: Two, tree: Path) -> None:
    ident = two.stopped(tree, after=STOP_AT)
    foreign = two.out / "tree" / ".p2pal-aaaaaaaa-0.part"
    foreign.write_bytes(b"not ours")
    deleted = two.commands.run("checkpoint", "delete", ident[:6], env=two.env("receive"))
    assert deleted.wait() == 0, deleted.said
    assert list(two.out.rglob("*.part")) == [foreign]
    assert (two.out / "tree" / "a small one").read_bytes() == b"first"
    assert two.checkpoints("receive") == []
    assert json.dumps(two.checkpoints("send"))


def test_nothing_of_a_secret_is_listed(two: Two, tree: Path) -> None:
    ident = two.stopped(tree, after=STOP_AT)
    (file,) = (two.homes["send"] / "checkpoints").glob(f"{ident}*")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    listed = two.commands.run("checkpoint", "list", env=two.env("send"))
    assert listed.wait() == 0
    assert ident[:8] in listed.out
