"""Ctrl-Z, fg, bg and & of a shell, and Ctrl-\\: the terminal is in order, and nothing is lost by it."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Start
from tests.e2e.kit import Commands, Gate
from tests.e2e.terminal import CTRL_BACKSLASH, CTRL_Z, P2PAL, SHELL, Terminal
from tests.e2e.trees import MIB, content, tree_equal, write

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash"),
]

PROMPT = "ready> "


class Shell(Terminal):
    """A shell with job control, in which p2pal is run."""

    def __init__(self, commands: Commands, cwd: Path, gate: Gate | None = None) -> None:
        cwd.mkdir()
        own = {} if gate is None else gate.environment
        settings: dict[str, Any] = {name: own[name] for name in own.keys() & {"P2PAL_TEST_GATE", "PYTHONPATH"}}
        super().__init__([], cwd, program=SHELL, PS1=PROMPT, **settings)
        self._connection = commands.connection
        self.prompts(1)

    def run(self, command: str, *args: str | Path, behind: str = "") -> None:
        """Type a command of p2pal."""
        words = [*P2PAL, command, *self._connection, *map(str, args)]
        self.type(f"clear; {shlex.join(words)} {behind}\r")

    def prompts(self, count: int) -> None:
        """Wait until the shell has asked that often since the screen was cleared."""
        self.until(lambda: self.text.count(PROMPT.rstrip()) >= count, "the shell")

    def code(self) -> str:
        """Wait for the join code."""
        found = self.until(lambda: re.search(r"Join code: (\S+)$", self.text, re.MULTILINE), "the code")
        assert found is not None
        return found.group(1)


@pytest.fixture
def shell(commands: Commands, tmp_path: Path) -> Iterator[Callable[..., Shell]]:
    opened: list[Shell] = []

    def open_shell(gate: Gate | None = None) -> Shell:
        opened.append(Shell(commands, tmp_path / f"shell-{len(opened)}", gate))
        return opened[-1]

    yield open_shell
    for each in opened:
        each.end()


@pytest.fixture
def slow(tmp_path: Path) -> Gate:
    """A disk that takes a part of a file, and the rest once it is opened."""
    gate = Gate(tmp_path / "gate")
    gate.allow(4 * MIB)
    return gate


BAR = re.compile(r"[━╸╺]{10,40}")


def drawn(screen: Shell) -> bool:
    """Whether bars are drawn below the last that the shell wrote."""
    return screen.cursor_hidden and any(BAR.search(line) for line in screen.lines)


def test_a_stopped_job_leaves_the_terminal_to_the_shell_and_fg_restores_it(
    shell: Callable[..., Shell], sender: Start, tmp_path: Path, out: Path, slow: Gate
) -> None:
    source = write(tmp_path / "file", content(8 * MIB))
    sent = sender(source)
    screen = shell(slow)
    screen.run("recv", "-y", "-out", out, sent.code())
    screen.until(lambda: drawn(screen), "bars")
    screen.type(CTRL_Z)
    screen.shows("Stopped")
    screen.prompts(1)
    assert not screen.cursor_hidden
    screen.type("clear; fg\r")
    screen.until(lambda: drawn(screen), "bars again")
    slow.open()
    screen.shows("SHA-256 verified")
    screen.prompts(1)
    assert not screen.cursor_hidden
    assert sent.wait() == 0
    assert tree_equal(source, out / "file")


def test_ctrl_backslash_shows_the_cursor_and_ends_as_it_should(
    shell: Callable[..., Shell], sender: Start, tmp_path: Path, out: Path, slow: Gate
) -> None:
    sent = sender(write(tmp_path / "file", content(8 * MIB)))
    screen = shell(slow)
    screen.type("ulimit -c 0\r")
    screen.run("recv", "-y", "-out", out, sent.code(), behind="; echo code=$?")
    screen.until(lambda: drawn(screen), "bars")
    screen.type(CTRL_BACKSLASH)
    screen.shows("code=131")
    assert not screen.cursor_hidden


def test_a_question_is_shown_again_when_its_job_comes_back(
    shell: Callable[..., Shell], sender: Start, tmp_path: Path, out: Path
) -> None:
    source = write(tmp_path / "file", "x")
    sent = sender(source)
    screen = shell()
    screen.run("recv", "-out", out, sent.code())
    screen.shows("[Y/n]")
    screen.type(CTRL_Z)
    screen.shows("Stopped")
    screen.type("clear; fg\r")
    screen.shows("[Y/n]")
    screen.type(CTRL_Z)
    screen.shows("Stopped")
    # In the background it waits without reading what is typed for the shell, and without being stopped for it.
    screen.type("clear; bg; echo hel''lo; jobs -r | grep -c recv\r")
    screen.until(lambda: "hello" in screen.lines and "1" in screen.lines, "a shell that works beside it")
    screen.type("clear; fg\r")
    screen.shows("[Y/n]")
    screen.type("y\r")
    screen.shows("SHA-256 verified")
    assert sent.wait() == 0
    assert tree_equal(source, out / "file")


def test_the_question_for_the_code_comes_back_too(
    shell: Callable[..., Shell], sender: Start, tmp_path: Path, out: Path
) -> None:
    source = write(tmp_path / "file", "x")
    sent = sender(source)
    screen = shell()
    screen.run("recv", "-y", "-out", out)
    screen.shows("Enter join code:")
    screen.type(CTRL_Z)
    screen.shows("Stopped")
    screen.type("clear; fg\r")
    screen.shows("Enter join code:")
    screen.type(f"{sent.code()}\r")
    screen.shows("SHA-256 verified")
    assert sent.wait() == 0
    assert tree_equal(source, out / "file")


def test_a_job_of_the_background_sends_without_a_question_and_is_not_stopped(
    shell: Callable[..., Shell], receiver: Start, tmp_path: Path, out: Path
) -> None:
    source = write(tmp_path / "file", content(MIB))
    screen = shell()
    screen.type("stty tostop\r")
    screen.run("send", source, behind="&")
    received = receiver(screen.code(), "-out", out)
    assert received.wait() == 0
    screen.shows("SHA-256 verified")
    assert "[Y/n]" not in screen.text
    assert "Stopped" not in screen.text
    assert tree_equal(source, out / "file")


@pytest.mark.parametrize(
    ("args", "told"), [([], "there is no terminal to ask at"), (["-y"], "the join code is missing")]
)
def test_a_job_of_the_background_asks_nothing(shell: Callable[..., Shell], args: list[str], told: str) -> None:
    screen = shell()
    screen.run("recv", *args, behind="&")
    screen.shows(told)
    assert "Stopped" not in screen.text
