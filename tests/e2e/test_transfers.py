"""What arrives is what was sent: files, trees, names, places."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from tests.e2e.conftest import Start
from tests.e2e.isolation import need
from tests.e2e.kit import Commands
from tests.e2e.trees import MIB, NAMES, content, leftovers, make_tree, snapshot, tree_equal, write


def test_one_file(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    source = write(tmp_path / "report.pdf", content(5 * MIB), mode=0o640)
    sent = sender(source)
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "report.pdf")
    assert os.listdir(out) == ["report.pdf"]
    assert "Sending file: report.pdf (1 file, 5.2 MB) — TTL: 5m\n" in sent.out
    assert "Receiving: report.pdf (5.2 MB)\n" in received.out
    assert "100% — SHA-256 verified" in received.out
    assert "direct, udp" in received.out


def test_it_arrives_in_the_current_directory(sender: Start, receiver: Start, tmp_path: Path) -> None:
    source = write(tmp_path / "report.pdf", "x")
    sent = sender(source)
    received = receiver(sent.code())
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, received.cwd / "report.pdf")


def test_many_files_and_a_tree_at_once(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    first = write(tmp_path / "first.txt", "1")
    second = write(tmp_path / "elsewhere" / "second.bin", content(MIB))
    tree = make_tree(tmp_path / "photos")
    sent = sender("-r", first, tree, second)
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert sorted(os.listdir(out)) == ["first.txt", "photos", "second.bin"]
    assert tree_equal(first, out / "first.txt")
    assert tree_equal(second, out / "second.bin")
    assert tree_equal(tree, out / "photos")


def test_a_tree_keeps_modes_times_links_and_empty_things(
    sender: Start, receiver: Start, tmp_path: Path, out: Path
) -> None:
    tree = make_tree(tmp_path / "tree")
    sent = sender("-r", tree, "--json")
    received = receiver(sent.code(), "-out", out, "--json")
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(tree, out / "tree")
    assert received.event("summary")["failed"] == 0
    files = sum(kind[0] == "file" for kind in snapshot(tree).values())
    assert sent.event("summary")["files"] == received.event("summary")["files"] == files


ON_A_MOUNT = 'mount -t tmpfs none "$1" && echo 1 >"$1/inside" && shift && exec "$@"'


@pytest.mark.parametrize("flag", [None, "--one-file-system", "-x"])
def test_what_is_left_out_and_what_cannot_be_is_said_and_counted(
    sender: Start, receiver: Start, tmp_path: Path, out: Path, flag: str | None
) -> None:
    tree = tmp_path / "tree"
    write(tree / "file", "1")
    write(tree / ".p2pal-abcd2345-0.part", "unfinished")
    (tree / "mounted").mkdir()
    (tree / "mounted" / "hidden").write_bytes(b"1")
    mounting = [*need("--mount"), "sh", "-c", ON_A_MOUNT, "sh", str(tree / "mounted")]
    sent = sender("-r", *([flag] if flag else []), tree, "--json", wrapper=mounting)
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert os.listdir(out / "tree" / "mounted") == ([] if flag else ["inside"])
    own = "tree/.p2pal-abcd2345-0.part"
    assert sent.event("listed")["findings"] == [
        {"kind": "reserved-name", "count": 1, "names": [own], "left_out": True},
        {"kind": "file-system", "count": 1, "names": ["tree/mounted"], "left_out": flag is not None},
    ]
    assert sent.event("summary")["passed_over"] == (2 if flag else 1)
    assert leftovers(out) == []


def test_what_a_person_should_know_is_on_the_screen(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    tree = tmp_path / "tree"
    write(tree / "file", "1")
    write(tree / ".p2pal-abcd2345-0.part", "unfinished")
    (tree / "outward").symlink_to("/etc/passwd")
    sent = sender("-r", "-skip-errors", tree)
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (1, 1)
    assert "Left out, a name that p2pal gives to unfinished files:\n  tree/.p2pal-abcd2345-0.part\n" in sent.err
    assert "1 link leads out of the tree and will not be made:\n  tree/outward\n" in sent.err
    assert "Left out: 1 name, as said before" in sent.out
    assert os.listdir(out / "tree") == ["file"]


def test_far_dates_arrive_as_they_are(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    dates = {"2200": 7_258_118_400_000_000_001, "1969": -1, "1901": -(2**31) * 10**9 + 1}
    for name, mtime_ns in dates.items():
        write(tmp_path / "tree" / name, name, mtime_ns=mtime_ns)
    sent = sender("-r", tmp_path / "tree")
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(tmp_path / "tree", out / "tree")


def test_names_are_kept_byte_for_byte(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    sources = [write(tmp_path / "in" / name, name) for name in NAMES]
    sent = sender("--", *sources)
    received = receiver("-out", out, sent.code())
    assert (received.wait(), sent.wait()) == (0, 0)
    assert sorted(os.listdir(os.fsencode(out))) == sorted(map(os.fsencode, NAMES))
    assert all((out / name).read_text() == name for name in NAMES)
    # Nothing that could control a terminal is shown as it came.
    assert not {"\x1b", "\t"} & set(sent.out + sent.err + received.out + received.err)


def test_a_name_that_is_no_utf8(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    name = b"caf\xe9.txt"
    source = tmp_path / "in"
    write(source / os.fsdecode(name), "latin-1")
    sent = sender("-r", source, "--json")
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert os.listdir(os.fsencode(out / "in")) == [name]
    assert os.fsencode(sent.event("file")["name"]) == b"in/" + name


def test_thousands_of_small_files(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    tree = tmp_path / "small"
    for number in range(2000):
        write(tree / f"{number % 20}" / f"{number}.txt", content(1000, number))
    sent = sender("-r", tree)
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(tree, out / "small")
    assert "2,000 files" in received.out


def test_a_link_that_is_named_is_followed(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    write(tmp_path / "elsewhere" / "real.txt", "followed")
    write(tmp_path / "tree" / "inside.txt", "too")
    (tmp_path / "link.txt").symlink_to("elsewhere/real.txt")
    (tmp_path / "link").symlink_to("tree")
    sent = sender("-r", tmp_path / "link.txt", tmp_path / "link")
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert not (out / "link.txt").is_symlink()
    assert (out / "link.txt").read_text() == "followed"
    assert tree_equal(tmp_path / "tree", out / "link")


def test_an_empty_file_and_an_empty_directory(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    empty = write(tmp_path / "empty.txt", b"")
    (tmp_path / "nothing").mkdir()
    sent = sender("-r", empty, tmp_path / "nothing")
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(empty, out / "empty.txt")
    assert (out / "nothing").is_dir()


@pytest.mark.parametrize("size", ["4", "63", "255"])
def test_every_chunk_size_works(sender: Start, receiver: Start, tmp_path: Path, out: Path, size: str) -> None:
    source = write(tmp_path / "data", content(3 * MIB + 17))
    sent = sender("-chunk-size", size, source)
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "data")


def test_out_names_the_file(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    source = write(tmp_path / "report.pdf", "x")
    sent = sender(source)
    received = receiver(sent.code(), "-out", out / "renamed.pdf")
    assert (received.wait(), sent.wait()) == (0, 0)
    assert os.listdir(out) == ["renamed.pdf"]
    assert str(out / "renamed.pdf") in received.out


def test_out_names_the_tree(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    sent = sender("-r", tree)
    received = receiver(sent.code(), "-out", out / "copy")
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(tree, out / "copy")


def test_out_is_made_for_several_entries(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    names = ["a.txt", "b.txt"]
    sent = sender(*(write(tmp_path / name, name) for name in names))
    received = receiver(sent.code(), "-out", out / "new")
    assert (received.wait(), sent.wait()) == (0, 0)
    assert sorted(os.listdir(out / "new")) == names


def test_yes_alone_never_replaces(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    write(out / "report.pdf", "mine")
    write(out / "photos" / "mine.jpg", "mine")
    file = write(tmp_path / "report.pdf", "theirs")
    tree = make_tree(tmp_path / "photos")
    sent = sender("-r", file, tree)
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert sorted(os.listdir(out)) == ["photos", "photos (1)", "report (1).pdf", "report.pdf"]
    assert (out / "report.pdf").read_text() == "mine"
    assert os.listdir(out / "photos") == ["mine.jpg"]
    assert tree_equal(file, out / "report (1).pdf")
    assert tree_equal(tree, out / "photos (1)")
    assert "report (1).pdf" in received.out + received.err


def test_overwrite_replaces(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    write(out / "report.pdf", "mine", mode=0o600)
    write(out / "photos" / "mine.jpg", "mine")
    write(out / "photos" / "both.jpg", "mine")
    file = write(tmp_path / "report.pdf", "theirs")
    write(tmp_path / "photos" / "both.jpg", "theirs")
    sent = sender("-r", file, tmp_path / "photos")
    received = receiver(sent.code(), "-out", out, "-overwrite")
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(file, out / "report.pdf")
    assert (out / "photos" / "both.jpg").read_text() == "theirs"
    assert (out / "photos" / "mine.jpg").read_text() == "mine"
    assert leftovers(out) == []


def test_serve_needs_no_server(commands: Commands, tmp_path: Path, out: Path) -> None:
    source = write(tmp_path / "report.pdf", content(MIB))
    sent = commands.run("send", "--serve", "-stun", "none", source)
    code = sent.code()
    server = sent.says(r"p2pal recv -server (http://127\.0\.0\.1:\d+) ").group(1)
    received = commands.run("recv", "-server", server, "-stun", "none", "-y", "-out", out, code)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "report.pdf")


def test_serve_on_a_given_port(commands: Commands, tmp_path: Path, out: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    source = write(tmp_path / "report.pdf", "x")
    sent = commands.run("send", "--serve", f"127.0.0.1:{port}", "-stun=none", "--json", source)
    event = sent.event("code")
    assert event["server"] == f"http://127.0.0.1:{port}"
    received = commands.run("recv", f"-server={event['server']}", "-stun=none", "-y", "-out", out, event["code"])
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "report.pdf")
