"""Files that cannot be read or written: what is told, what stays, how it ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.e2e.conftest import Start
from tests.e2e.isolation import with_tmpfs
from tests.e2e.kit import Gate
from tests.e2e.trees import MIB, content, leftovers, sparse, tree_equal, write


def make(tmp_path: Path) -> Path:
    """Three files; those before and behind the middle one are fine."""
    for name in ("1 good", "2 bad", "3 good"):
        write(tmp_path / "tree" / name, name)
    return tmp_path / "tree"


def test_a_file_that_vanishes_stops_the_batch(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    tree = make(tmp_path)
    sent = sender("-r", tree, "--json")
    sent.event("listed")
    (tree / "2 bad").unlink()
    received = receiver(sent.code(), "-out", out, "--json")
    assert (received.wait(), sent.wait()) == (1, 1)
    for side in (sent, received):
        failed = [event for event in side.events if event["event"] == "file-failed"]
        assert [event["name"] for event in failed if "another file" not in event["reason"]] == ["tree/2 bad"]
        assert side.event("error")["exit_code"] == 1
        assert side.event("summary")["ok"] is False
    assert not (out / "tree" / "2 bad").exists()
    assert leftovers(out) == []


def test_with_skip_errors_the_others_arrive(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    tree = make(tmp_path)
    sent = sender("-r", "-skip-errors", tree)
    sent.says("Sending: tree")
    (tree / "2 bad").unlink()
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (1, 1)
    assert sorted(os.listdir(out / "tree")) == ["1 good", "3 good"]
    assert "Sent 2 of 3 files, 1 failed" in sent.out
    assert "failed: tree/2 bad: could not be read" in sent.err
    assert "Received 2 of 3 files, 1 failed" in received.out
    assert "failed: tree/2 bad: could not be read" in received.err


def test_a_file_that_changed_since_it_was_listed(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    tree = make(tmp_path)
    sent = sender("-r", "-skip-errors", tree)
    sent.says("Sending: tree")
    write(tree / "2 bad", "another size")
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (1, 1)
    assert sorted(os.listdir(out / "tree")) == ["1 good", "3 good"]
    assert "failed: tree/2 bad: changed" in sent.err


def test_a_file_that_changes_while_it_is_read(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    before = write(tmp_path / "before", content(MIB))
    source = sparse(tmp_path / "growing.log", 128 * MIB)
    after = write(tmp_path / "later", content(MIB))
    gate = Gate(tmp_path / "gate")
    sent = sender("-skip-errors", before, source, after, "--json")
    received = receiver(sent.code(), "-out", out, "--json", env=gate.environment)
    gate.allow(8 * MIB)
    received.moved(4 * MIB)  # the sender is in the middle of the file, and the full disk holds it there
    with source.open("ab") as file:
        file.write(b"one more line\n")
    gate.open()
    assert (received.wait(), sent.wait()) == (1, 1)
    # What arrived of it is kept beside them, to go on with.
    assert sorted(name for name in os.listdir(out) if not name.startswith(".p2pal-")) == ["before", "later"]
    assert tree_equal(after, out / "later")
    reason = sent.event("file-failed", name="growing.log")["reason"]
    assert reason == "changed while it was being sent: it has another size now; copy it first, and send the copy"
    assert sent.event("saved")["done"] > 2 * MIB


def test_new_attributes_of_a_file_on_its_way_change_nothing(
    sender: Start, receiver: Start, tmp_path: Path, out: Path
) -> None:
    source = write(tmp_path / "big", content(64 * MIB))  # more than the receiver's window takes at once
    gate = Gate(tmp_path / "gate")
    sent = sender(source, "--json")
    received = receiver(sent.code(), "-out", out, "--json", env=gate.environment)
    gate.allow(3 * MIB)
    received.moved(2 * MIB)
    os.link(source, tmp_path / "another name")
    source.chmod(0o640)
    os.utime(source)
    gate.open()
    assert (received.wait(), sent.wait()) == (0, 0)
    assert (out / "big").read_bytes() == source.read_bytes()
    assert sent.event("comparing")["name"] == "big"
    assert sent.event("summary")["total"] == 64 * MIB, "nothing travelled twice"


def test_pieces_that_are_written_to_after_they_were_sent_travel_again(
    sender: Start, receiver: Start, tmp_path: Path, out: Path
) -> None:
    source = write(tmp_path / "big", content(64 * MIB))
    gate = Gate(tmp_path / "gate")
    sent = sender(source)
    received = receiver(sent.code(), "-out", out, "--json", env=gate.environment)
    gate.allow(3 * MIB)
    received.moved(2 * MIB)
    with source.open("r+b") as file:  # as a database does it
        for piece in (0, 1, 23):
            file.seek(piece * MIB + 5)
            file.write(b"written")
    gate.open()
    assert (received.wait(), sent.wait()) == (0, 0)
    assert (out / "big").read_bytes() == source.read_bytes()
    assert "May have changed while it was sent, reading it again: big" in sent.err


def test_a_file_of_no_size_with_content_is_never_called_complete(
    sender: Start, receiver: Start, tmp_path: Path, out: Path
) -> None:
    good = write(tmp_path / "good", "good")
    sent = sender("-skip-errors", "/proc/version", good)
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (1, 1)
    assert os.listdir(out) == ["good"]
    for side in (sent, received):
        assert (
            "failed: version: could not be read: it gives more than the size that it names; copy it first" in side.err
        )


def test_a_fifo_in_place_of_a_file_is_never_opened(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    tree = make(tmp_path)
    sent = sender("-r", "-skip-errors", tree, "--json")
    sent.event("listed")
    (tree / "2 bad").unlink()
    os.mkfifo(tree / "2 bad")
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (1, 1)
    assert sorted(os.listdir(out / "tree")) == ["1 good", "3 good"]


def test_special_files_are_refused(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    tree = make(tmp_path)
    os.mkfifo(tree / "fifo")
    sent = sender("-r", "-skip-errors", tree, "--json")
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (1, 1)
    assert sorted(os.listdir(out / "tree")) == ["1 good", "2 bad", "3 good"]
    assert sent.event("file-failed")["name"] == "tree/fifo"


def test_without_skip_errors_a_special_file_stops_the_batch_at_once(
    sender: Start, receiver: Start, tmp_path: Path, out: Path
) -> None:
    tree = make(tmp_path)
    os.mkfifo(tree / "fifo")
    sent = sender("-r", tree, "--json")
    assert sent.wait() == 1  # nobody need come for what will not be sent
    assert sent.event("file-failed")["name"] == "tree/fifo"
    assert sent.event("error")["hint"] == "-skip-errors on the sender leaves such files out"
    if "code" in sent.kinds:
        assert receiver(sent.code(), "-out", out).wait() == 4


def test_setuid_bits_do_not_travel(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    source = write(tmp_path / "tool", "x", mode=0o6755)
    sent = sender(source)
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert (out / "tool").stat().st_mode & 0o7777 == 0o755


def test_what_does_not_exist_is_a_usage_error(sender: Start, tmp_path: Path) -> None:
    sent = sender(write(tmp_path / "there", "x"), tmp_path / "missing")
    assert sent.wait() == 2
    assert "missing" in sent.err
    assert "Join code" not in sent.out


def test_not_enough_space_is_found_before_anything_is_written(
    sender: Start, receiver: Start, tmp_path: Path, out: Path
) -> None:
    sent = sender(write(tmp_path / "large", content(2 * MIB)))
    received = receiver(sent.code(), "-out", out, wrapper=with_tmpfs(out, "size=1m"))
    assert (received.wait(), sent.wait()) == (7, 5)
    assert "not enough space: 2.1 MB to receive, 1.0 MB free, 1.0 MB missing" in received.err
    assert "the other side's disk is full" in sent.err


def test_a_disk_that_fills_up_stops_the_transfer(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    for number in range(40):
        write(tmp_path / "tree" / f"{number:02}", content(1000))
    sent = sender("-r", tmp_path / "tree")
    # Bytes enough for all, but inodes for a few.
    received = receiver(sent.code(), "-out", out, "--wait", "1s", wrapper=with_tmpfs(out, "size=10m,nr_inodes=20"))
    assert (received.wait(), sent.wait()) == (7, 5)
    assert "the disk is full" in received.err
    assert "the other side's disk is full" in sent.err


def test_a_disk_that_cannot_be_written(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    sent = sender(write(tmp_path / "file", "x"))
    received = receiver(sent.code(), "-out", out, wrapper=with_tmpfs(out, "ro,size=10m"))
    assert (received.wait(), sent.wait()) == (7, 5)


def test_a_missing_target_directory(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    sent = sender(write(tmp_path / "file", "x"))
    received = receiver(sent.code(), "-out", out / "not" / "there")
    assert received.wait() == 7
    assert "does not exist; make it first, or choose another with -out" in received.err
    assert receiver(sent.code(), "-out", out).wait() == 0  # the code was not spent
    assert sent.wait() == 0


def test_arguments_that_cannot_be_sent_are_left_out_like_files(
    sender: Start, receiver: Start, tmp_path: Path, out: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    there = write(tmp_path / "there", "x")
    refused = sender(tmp_path / "missing", there)
    assert refused.wait() == 2
    assert refused.out == ""  # no code
    assert "missing: No such file or directory; check the name, or leave it out" in refused.err
    nothing = sender("-skip-errors", tmp_path / "missing", tmp_path / "pipe")
    assert (nothing.wait(), nothing.out) == (2, "")
    sent = sender("-skip-errors", tmp_path / "missing", tmp_path / "pipe", there)
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (1, 1)
    assert os.listdir(out) == ["there"]
    assert "Sent 1 of 3 files, 2 failed" in sent.out
    assert "failed: missing: could not be read: No such file or directory" in sent.err
    assert "failed: pipe: could not be read: neither a file, a directory nor a link" in sent.err


@pytest.mark.parametrize("what", ["file", "/dev/null", "-", "{out}/no/such"])
def test_a_place_that_takes_nothing_costs_no_code(
    sender: Start, receiver: Start, tmp_path: Path, out: Path, what: str
) -> None:
    source = write(tmp_path / "in" / "name", "x")
    write(out / "file", "mine")
    sent = sender(source)
    refused = receiver(sent.code(), "-out", what.format(out=out), cwd=out)
    assert refused.wait() in {2, 7}
    assert "-out" in refused.err
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert sorted(os.listdir(out)) == ["file", "name"]
    assert (out / "file").read_text() == "mine"
