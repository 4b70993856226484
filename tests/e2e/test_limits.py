"""Large files, slow disks, no network: what must not matter."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.e2e.conftest import Start
from tests.e2e.isolation import OnlyLoopback
from tests.e2e.kit import Command, Commands, Gate, Server, environment, until
from tests.e2e.trees import MIB, content, make_tree, sparse, tree_equal, write

MEMORY = 150_000_000
"""Bytes of resident memory that either side may take, whatever is sent."""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_file_over_four_gib(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    size = (4 << 30) + 12_345
    marks = (0, (2 << 30) - 5, (4 << 30) - 7, size - 20)
    source = sparse(tmp_path / "disk.img", size, *marks)
    sent = sender(source, "--json")
    received = receiver(sent.code(), "-out", out, "--json")
    received.await_(lambda: _done(received) > 4 << 30, "the part past 4 GiB", 300)
    memory = received.peak_memory(), sent.peak_memory()
    assert (received.wait(60), sent.wait()) == (0, 0)
    arrived = out / "disk.img"
    assert arrived.stat().st_size == size
    assert arrived.stat().st_mtime_ns == source.stat().st_mtime_ns
    with source.open("rb") as a, arrived.open("rb") as b:
        for mark in marks:
            assert os.pread(a.fileno(), 64, max(0, mark - 20)) == os.pread(b.fileno(), 64, max(0, mark - 20))
    assert sent.event("file")["digest"] == received.event("file")["digest"]
    assert max(memory) < MEMORY


def _done(command: Command) -> int:
    return max((event["done"] for event in command.events if event["event"] == "progress"), default=0)


def test_a_slow_disk_slows_the_sender_and_memory_stays_flat(
    sender: Start, receiver: Start, tmp_path: Path, out: Path
) -> None:
    size = 400 * MIB
    source = sparse(tmp_path / "disk.img", size, 1000, size - 1000)
    gate = Gate(tmp_path / "gate")
    sent = sender(source, "--json")
    received = receiver(sent.code(), "-out", out, "--json", env=gate.environment)
    sent.event("accepted")
    before = sent.bytes_read()

    taken = 0
    for allowed in (0, 40 * MIB, 80 * MIB):
        gate.allow(allowed)
        read = _standstill(sent, above=taken)
        # What is read but not written is on its way: our window, the engines' and the kernel's buffers.
        assert allowed < read - before < allowed + 64 * MIB
        taken = read
    assert _done(sent) < 80 * MIB + 32 * MIB
    assert max(sent.peak_memory(), received.peak_memory()) < MEMORY

    gate.open()
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "disk.img")


def _standstill(command: Command, above: int) -> int:
    """Wait until the command has read more than before, and reads no more; return how much it has read."""
    last, since = 0, time.monotonic()

    def still() -> bool:
        nonlocal last, since
        # What it reads while it stands still are signs of life, a few bytes each.
        if (now := command.bytes_read()) > last + 64 * 1024 or now <= above:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 1.0

    until(still, "a sender that waits")
    return last


def test_it_works_with_no_interface_but_loopback(tmp_path: Path, out: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    source = write(tmp_path / "file", content(3 * MIB))
    # Nothing tells it to keep to this machine: that there is no other network must be enough.
    env = {name: value for name, value in environment().items() if name != "P2PAL_ONLY_LOOPBACK"}
    with OnlyLoopback() as wrapper, Commands("", tmp_path / "runs") as commands:
        server = Server(tmp_path / "server", wrapper=wrapper, env=env)
        try:
            connection = ["-server", server.url]
            sent = commands.run("send", *connection, "-r", tree, source, wrapper=wrapper, env=env)
            received = commands.run("recv", *connection, "-y", "-out", out, sent.code(), wrapper=wrapper, env=env)
            assert (received.wait(), sent.wait()) == (0, 0)
        finally:
            server.end()
    assert tree_equal(tree, out / "tree")
    assert tree_equal(source, out / "file")
    assert "direct, udp" in received.out


def test_serve_works_with_no_interface_but_loopback(tmp_path: Path, out: Path) -> None:
    source = write(tmp_path / "file", "x")
    env = {name: value for name, value in environment().items() if name != "P2PAL_ONLY_LOOPBACK"}
    with OnlyLoopback() as wrapper, Commands("", tmp_path / "runs") as commands:
        sent = commands.run("send", "--serve", source, wrapper=wrapper, env=env)
        command = sent.says("p2pal recv (.*)").group(1)
        received = commands.run("recv", "-y", "-out", out, *command.split(), wrapper=wrapper, env=env)
        assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "file")
