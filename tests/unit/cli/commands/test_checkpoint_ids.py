from __future__ import annotations

from pathlib import Path

import click
import pytest

from p2pal.cli.commands.checkpoint import checkpoint
from p2pal.cli.commands.checkpoint_ids import CheckpointId, shortened, stored
from p2pal.cli.commands.send import send
from p2pal.errors import UsageError

A, B, C = "k7x2m2qa" + "a" * 18, "k7x2m2qa" + "b" * 18, "zzzz" + "c" * 22


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("P2PAL_HOME", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    for name in (f"{A}.send", f"{A}.receive", f"{B}.receive", f"{C}.send", "else", f".{C}.send.tmp", f"{C}.sender"):
        (tmp_path / "checkpoints" / name).touch()
    return tmp_path


def completed(command: click.Command, name: str, begun: str) -> list[str]:
    with command.make_context("p2pal", [], resilient_parsing=True) as context:
        (param,) = (param for param in command.params if param.name == name)
        return [item.value for item in param.shell_complete(context, begun)]


def test_an_id_is_shown_as_long_as_it_must_be() -> None:
    assert shortened([]) == {}
    assert shortened([A, A]) == {A: A[:8]}
    assert shortened([C, B, A]) == {A: A[:9], B: B[:9], C: C[:8]}


def test_the_names_of_files_are_enough(home: Path) -> None:
    assert stored() == [A, B, C]
    assert stored("send") == [A, C]
    assert stored("receive") == [A, B]


def test_no_directory_is_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PAL_HOME", str(tmp_path / "none"))
    assert stored() == []
    monkeypatch.delenv("P2PAL_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert stored() == []


def test_ids_complete(home: Path) -> None:
    assert completed(checkpoint.commands["delete"], "checkpoint_id", "") == [A[:9], B[:9], C[:8]]
    assert completed(checkpoint.commands["delete"], "checkpoint_id", "K7") == [A[:9], B[:9]]
    assert completed(checkpoint.commands["delete"], "checkpoint_id", B[:12]) == [B]
    assert completed(send, "resume", "") == [A[:8], C[:8]]


@pytest.mark.parametrize("given", ["", "a1", "../x", "a.send", "a" * 27, "\x1b[2J", "é"])
def test_what_can_be_no_id(given: str) -> None:
    with pytest.raises(UsageError, match="is no id of a checkpoint; 'p2pal checkpoint list' shows the ids") as caught:
        CheckpointId().convert(given, None, None)
    assert str(caught.value).isprintable()


def test_capitals_and_spaces_do_no_harm() -> None:
    assert CheckpointId().convert(" K7X2\n", None, None) == "k7x2"
