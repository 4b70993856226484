"""``p2pal checkpoint`` over a real directory of checkpoints."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from pathlib import Path

import pytest

from p2pal.checkpoint.records import Arrived, CheckpointHeader, Target, TopRecord, Tops
from p2pal.cli.commands import checkpoint_run
from p2pal.cli.commands.checkpoint_run import question, report_removed, table
from p2pal.cli.main import main
from p2pal.disk.checkpoints.cleanup import Cleaned
from p2pal.disk.checkpoints.journal import Journal
from p2pal.disk.checkpoints.store import Checkpoints, CheckpointSummary, Removed
from p2pal.disk.fs.locks import IN_USE
from p2pal.role import Role

A, B = "k7x2m2qa" + "a" * 18, "zebra234" + "b" * 18
NOW = 1_000_000_000.0
SENDING = CheckpointSummary(
    id=A, role="send", names=("photos", "report.pdf"), files=20, files_done=12, total=10_000_000_000,
    done=4_200_000_000, created=NOW - 7300, used=NOW, expires_at=NOW + 4.9 * 86400, where="/home/ann/photos",
)  # fmt: skip
RECEIVING = CheckpointSummary(
    id=B, role="receive", names=("a", "b", "c"), more=40, files=43, files_done=0, total=999, done=0,
    created=NOW - 40 * 86400, used=NOW - 30 * 86400, expires_at=NOW - 1, where="/srv/" + "deep/" * 20 + "in",
)  # fmt: skip
BUSY = CheckpointSummary(
    id="c" * 26, role="send", names=("\x1b[2J\u202e",), files=1, total=1, created=NOW, expires_at=NOW + 9,
    where="/\n", in_use=True,
)  # fmt: skip
DAMAGED = CheckpointSummary(id="d" * 26, role="receive", problem="it is damaged")
ALL = [SENDING, RECEIVING, BUSY, DAMAGED]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("P2PAL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def make(home: Path, each: str, role: Role, *, ttl: float = 604_800.0) -> Journal:
    """A checkpoint of a transfer of which half is done; it is in use until the journal is closed."""
    root = home.parent
    status = root.stat()
    header = CheckpointHeader(
        version=1, role=role, id=each, transfer_id=b"t" * 16, resume_key=b"secret of 32 bytes, not shown!!!",
        created=time.time() - 60, ttl=ttl, digest=b"d" * 32, shape=b"s" * 32, entries=2, files=2, total=1000,
        names=[b"photos", b"caf\xe9"], more=0,
        target=Target(os.fsencode(root), (status.st_dev, status.st_ino)) if role == "receive" else None,
    )  # fmt: skip
    journal = Checkpoints(home).create(header)
    if role == "send":
        journal.write(Tops([TopRecord(b"photos", b"/home/ann/photos", True)]), Arrived(500, 1), durable=True)
    return journal


def aged(home: Path, each: str, role: Role) -> None:
    """Make a checkpoint that was last used a year ago."""
    os.utime(home / "checkpoints" / f"{each}.{role}", (time.time() - 366 * 86400,) * 2)


def left(home: Path) -> list[str]:
    return sorted(os.listdir(home / "checkpoints"))


def test_the_table_in_full() -> None:
    deep = "/srv/" + "deep/" * 20 + "in"
    assert table(ALL, NOW, None) == [
        "ID        DIRECTION     FILES            SIZE  DONE   AGE  EXPIRES  WHAT                   WHERE",
        "k7x2m2qa  sending    12 of 20  4.2 of 10.0 GB   42%   2 h  in 5 d   photos and report.pdf  /home/ann/photos",
        f"zebra234  receiving   0 of 43  0 of 999 bytes    0%  40 d  expired  a, b and 41 more       {deep}",
        "cccccccc  sending      0 of 1     0 of 1 byte    0%   0 s  in use   \\x1b[2J\\u202e          /\\n",
        "dddddddd  receiving  cannot be used: it is damaged",
    ]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_table_fits(width: int) -> None:
    lines = table(ALL, NOW, width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert text.replace("\n", "").isprintable()
    for part in ("k7x2m2qa", "sending", "receiving", "42%", "in 5 d", "expired", "in use", "cannot be used"):
        assert part in text
    assert ("WHERE" in text) is (width > 60)
    assert ("2 h" in text) is (width == 200)
    assert ("4.2 of 10.0 GB" in text) is (width == 200)


def test_an_empty_table() -> None:
    assert table([], NOW, 80) == ["No checkpoints."]
    assert table([DAMAGED], NOW, 30) == ["dddddddd  receiving  cannot be", "  used: it is damaged"]


def test_nothing_there(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", "list"]) == 0
    assert main(["checkpoint", "clean"]) == 0
    assert main(["checkpoint", "clean-all", "-y"]) == 0
    assert main(["checkpoint", "list", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "No checkpoints.\nNo checkpoint has expired.\nNo checkpoints.\n"
    assert main(["checkpoint", "delete", "abc"]) == 7
    assert "there is no checkpoint abc" in capsys.readouterr().err
    assert not home.exists()


def test_list_as_json_tells_all_but_secrets(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(home, A, "send").close()
    using = make(home, B, "receive")
    (home / "checkpoints" / f"{'c' * 26}.receive").write_bytes(b"nonsense")
    (home / "checkpoints" / f"{'c' * 26}.receive").chmod(0o600)
    assert main(["checkpoint", "list", "-json"]) == 0
    using.close()
    text = capsys.readouterr().out
    lines = {line["id"]: line for line in map(json.loads, text.splitlines())}
    assert set(lines) == {A, B, "c" * 26}
    sending = lines[A]
    assert list(sending) == [
        "id", "role", "names", "more", "files", "files_done", "total", "done", "created", "used", "expires_at",
        "where", "in_use", "problem",
    ]  # fmt: skip
    assert (sending["role"], sending["done"], sending["files_done"]) == ("send", 500, 1)
    assert sending["names"] == ["photos", "caf\udce9"]
    assert sending["where"] == "/home/ann/photos"
    assert sending["expires_at"] == pytest.approx(sending["used"] + 604_800.0)
    assert (lines[B]["in_use"], lines[B]["where"]) == (True, str(home.parent))
    assert lines["c" * 26]["problem"]
    assert "secret" not in text


def test_delete_takes_the_start_of_an_id_and_both_sides(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for role in ("send", "receive"):
        make(home, A, role).close()
    make(home, B, "send").close()
    assert main(["checkpoint", "delete", "K7X"]) == 0
    captured = capsys.readouterr()
    assert sorted(captured.out.splitlines()) == ["Removed: k7x2m2qa (receiving)", "Removed: k7x2m2qa (sending)"]
    assert captured.err == ""
    assert left(home) == [f"{B}.send"]


def test_one_in_use_is_not_deleted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    using = make(home, A, "send")
    assert main(["checkpoint", "delete", A]) == 7
    using.close()
    error = capsys.readouterr().err
    assert "the checkpoint k7x2m2qa (sending) was not removed" in error
    assert left(home) == [f"{A}.send"]


def test_clean_removes_what_has_expired(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(home, A, "send").close()
    make(home, B, "receive").close()
    aged(home, B, "receive")
    assert main(["checkpoint", "clean"]) == 0
    assert capsys.readouterr().out == "Removed: zebra234 (receiving)\n"
    assert left(home) == [f"{A}.send"]


def test_clean_all_leaves_what_is_in_use_and_names_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(home, A, "send").close()
    using = make(home, B, "receive")
    assert main(["checkpoint", "clean-all", "-y"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "Removed: k7x2m2qa (sending)\n"
    assert captured.err == f"Left: zebra234 (receiving): {IN_USE}\n"
    assert left(home) == [f"{B}.receive"]
    using.close()


def test_clean_all_asks_nobody_who_is_not_there(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    make(home, A, "send").close()
    assert main(["checkpoint", "clean-all"]) == 2
    assert capsys.readouterr().err == (
        "p2pal: there is no terminal to ask at; add -y to remove them without a question\n"
    )
    assert left(home) == [f"{A}.send"]


@pytest.mark.parametrize(("agreed", "code"), [(True, 0), (False, 6)])
def test_clean_all_asks_first(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, agreed: bool, code: int
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(checkpoint_run, "interactive", lambda: True)

    def agree(text: str) -> bool:
        asked.append(text)
        return agreed

    monkeypatch.setattr(checkpoint_run, "agree", agree)
    make(home, A, "send").close()
    assert main(["checkpoint", "clean-all"]) == code
    assert asked == ["Remove 1 checkpoint?"]
    assert ("nothing was removed" in capsys.readouterr().err) is not agreed
    assert left(home) == ([] if agreed else [f"{A}.send"])


def test_the_question_says_what_it_is_about() -> None:
    assert question([SENDING]) == "Remove 1 checkpoint?"
    assert question([SENDING, RECEIVING, BUSY]) == "Remove 2 checkpoints and the unfinished files (1 in use stays)?"
    assert question([SENDING, BUSY, BUSY]) == "Remove 1 checkpoint (2 in use stay)?"


def test_what_became_of_the_unfinished_files(capsys: pytest.CaptureFixture[str]) -> None:
    cleaned = Cleaned(parts=2, size=4_200_000, left=[("a/\x1b[2J", "it is another file now")] * 22, left_more=3)
    kept = report_removed(
        [
            Removed(A, "receive", True, cleaned=cleaned),
            Removed(B, "receive", True, "it is damaged, so its part files are not known"),
            Removed("c" * 26, "send", False, "Permission denied"),
        ]
    )
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "Removed: k7x2m2qa (receiving) and 2 unfinished files, 4.2 MB",
        "Removed: zebra234 (receiving)",
    ]
    errors = captured.err.splitlines()
    assert errors[0] == "  left: a/\\x1b[2J: it is another file now"
    assert errors[20:] == [
        "  left: 5 more unfinished files",
        "  it is damaged, so its part files are not known",
        "Left: cccccccc (sending): Permission denied",
    ]
    assert [each.id for each in kept] == ["c" * 26]
