"""What is sent, and what is left out, by patterns."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import Start
from tests.e2e.kit import Commands
from tests.e2e.trees import write


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_patterns_that_the_shell_did_not_expand(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    for name in ("a.pdf", "b.pdf", "c.txt", "src/d.py", "src/deep/e.py"):
        write(tmp_path / "here" / name, name)
    sent = sender("*.pdf", "src/**/*.py", cwd=tmp_path / "here")
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert names(out) == ["a.pdf", "b.pdf", "d.py", "e.py"]


def test_a_pattern_that_fits_nothing(sender: Start, tmp_path: Path) -> None:
    sent = sender("*.pdf", cwd=tmp_path)
    assert sent.wait() == 2
    assert "p2pal: nothing fits the pattern *.pdf; check it, or leave it out" in sent.err


def test_what_is_left_out_is_said_and_does_not_arrive(
    sender: Start, receiver: Start, tmp_path: Path, out: Path
) -> None:
    top = tmp_path / "top"
    for name in ("keep.c", "a.o", "sub/b.o", "sub/keep.h", "cache/x", "build/y", "build/z", ".gitignore"):
        write(top / name, "*.o\n" if name == ".gitignore" else name)
    write(tmp_path / "patterns", "# what can be made again\n/build\n")
    sent = sender("-r", "--git", "--exclude", "cache/", "--exclude-from", tmp_path / "patterns", top)
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert names(out) == ["top/.gitignore", "top/keep.c", "top/sub/keep.h"]
    sent.says(r"Left out by patterns, 4 names:\n  top/a.o, top/build and 2 more")
    sent.says("Left out: 4 names, as said before")


def test_everything_is_left_out(sender: Start, tmp_path: Path) -> None:
    sent = sender("--exclude", "*", write(tmp_path / "a.o", "x"))
    assert sent.wait() == 2
    assert "p2pal: everything that was named is left out by a pattern; see --exclude" in sent.err


def test_a_transfer_that_goes_on_keeps_to_what_was_listed(sender: Start) -> None:
    sent = sender("--resume", "k7x2m2qa", "--exclude", "*.o")
    assert sent.wait() == 2
    assert "p2pal: --resume goes on with what was listed; leave --exclude, --exclude-from and --git out" in sent.err


def test_names_from_standard_input(commands: Commands, receiver: Start, tmp_path: Path, out: Path) -> None:
    here = tmp_path / "here"
    for number in range(3):
        for name in ("wanted", "other"):
            write(here / f"top/{number}/{name}\n.txt", name)
    listed = "".join(f"top/{number}/wanted\n.txt\0" for number in range(3))
    sent = commands.send("--files-from", "-", cwd=here, typed=listed)
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert names(out) == [f"top/{number}/wanted\n.txt" for number in range(3)]


def test_more_names_than_a_command_line_takes(commands: Commands, receiver: Start, tmp_path: Path, out: Path) -> None:
    here, long = tmp_path / "here", "n" * 200
    for number in range(12_000):
        path = here / f"{number // 500}/{long}{number}"
        if number % 500 == 0:
            path.parent.mkdir(parents=True)
        path.touch()
    paths = [f"{number // 500}/{long}{number}" for number in range(12_000)]
    assert sum(map(len, paths)) > 2 << 20, "Linux takes 2 MiB of arguments"
    (tmp_path / "list").write_text("\n".join(paths))
    sent = commands.send("--files-from", tmp_path / "list", cwd=here)
    received = receiver(sent.code(), "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert names(out) == sorted(paths)
