"""Every command in every odd environment: a documented exit code, no traceback, and a transfer where one can be."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from tests.e2e.conftest import Open, Start
from tests.e2e.kit import Command, Commands, environment
from tests.e2e.trees import content, write
from tests.ports import free_port

from p2pal.cli.exit import EXIT_CODES

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell that sets limits")

COMMANDS: Final = ("send", "recv", "server", "checkpoint", "doctor")
DOCUMENTED: Final = {code for code, _ in EXIT_CODES}
SIZE: Final = 300_000
"""Bytes of the file that is sent."""


@dataclass(frozen=True)
class Oddity:
    """What is odd about where a command runs.

    Attributes:
        name: For the test's name.
        shell: What a shell does before it runs the command.
        redirections: What it does to the command's standard streams.
        variables: Of the environment; None for those that are not set.
        codes: The exit codes of commands where it must be something else than 0.
    """

    name: str
    shell: str = ":"
    redirections: str = ""
    variables: Mapping[str, str | None] = field(default_factory=dict)
    codes: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def wrapper(self) -> list[str]:
        return ["bash", "-c", f'{self.shell}; exec "$@" {self.redirections}', "bash"]

    def environment(self, home: Path) -> dict[str, str]:
        result = environment(P2PAL_HOME=str(home))
        for name, value in self.variables.items():
            if value is None:
                result.pop(name, None)
            else:
                result[name] = value
        return result


_LOCALE: Final[dict[str, str | None]] = {"LANG": None, "LC_ALL": None, "LC_CTYPE": None, "PYTHONUTF8": None}
# Where a command writes what it is for, and nobody can see it, the exit code is 1.
_UNSEEN: Final = {"send": [1], "checkpoint": [1], "doctor": [1]}

ODDITIES: Final = [
    Oddity("stdin-closed", redirections="<&-"),
    Oddity("stdout-closed", redirections=">&-", codes=_UNSEEN),
    Oddity("stdout-full", redirections=">/dev/full", codes=_UNSEEN),
    Oddity("stderr-closed", redirections="2>&-"),
    Oddity("stderr-full", redirections="2>/dev/full"),
    Oddity("all-closed", redirections="<&- >&- 2>&-", codes=_UNSEEN),
    Oddity("locale-c", variables={**_LOCALE, "LC_ALL": "C"}),
    Oddity("locale-posix", variables={**_LOCALE, "LC_ALL": "POSIX"}),
    Oddity("locale-missing", variables=_LOCALE),
    Oddity("locale-unknown", variables={**_LOCALE, "LC_ALL": "xx_YY.nonsense"}),
    Oddity("locale-utf8", variables={**_LOCALE, "LC_ALL": "C.UTF-8"}),
    Oddity("ascii", variables={**_LOCALE, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
    Oddity("latin-1", variables={**_LOCALE, "PYTHONIOENCODING": "latin-1"}),
    # P2PAL_HOME stays set: without it, they would be this user's own checkpoints.
    Oddity("home-unset", variables={"HOME": None}),
    Oddity("home-empty", variables={"HOME": ""}),
    Oddity("home-relative", variables={"HOME": "somewhere"}),
    Oddity("home-missing", variables={"HOME": "{missing}", "P2PAL_HOME": None}),
    Oddity("home-unwritable", variables={"HOME": "/proc/self", "P2PAL_HOME": None}),
    Oddity("home-is-a-file", variables={"HOME": "/dev/null", "P2PAL_HOME": None}, codes={"checkpoint": [7]}),
    Oddity("term-unset", variables={"TERM": None}),
    Oddity("term-dumb", variables={"TERM": "dumb"}),
    Oddity("term-unknown", variables={"TERM": "nonsense"}),
    Oddity("umask-000", "umask 000"),
    Oddity("umask-077", "umask 077"),
    Oddity("umask-777", "umask 777"),
    Oddity("few-descriptors", "ulimit -n 64"),
    Oddity("hardly-any-descriptors", "ulimit -n 32"),
    Oddity("small-files", "ulimit -f 100", codes={"recv": [1, 7]}),
]


class Place:
    """One test's commands, some of them in an odd place."""

    def __init__(self, commands: Commands, oddity: Oddity, tmp_path: Path) -> None:
        self._commands = commands
        self._oddity = oddity
        self._home = tmp_path / "home"
        missing = str(tmp_path / "missing" / "home")
        self._env = {
            name: value.replace("{missing}", missing) for name, value in oddity.environment(self._home).items()
        }

    def run(self, *args: str | Path) -> Command:
        """``p2pal ARGS`` in the odd place."""
        return self._commands.run(*args, wrapper=self._oddity.wrapper(), env=self._env)

    def judge(self, command: Command, name: str) -> bool:
        """Check how a command ended; return whether it did what it is for."""
        code = command.wait()
        assert code in DOCUMENTED, command.said
        assert "Traceback" not in command.said
        assert "internal error" not in command.said
        assert code in self._oddity.codes.get(name, [0]), command.said
        return code == 0


@pytest.fixture(params=ODDITIES, ids=lambda oddity: oddity.name)
def place(request: pytest.FixtureRequest, commands: Commands, tmp_path: Path) -> Place:
    return Place(commands, request.param, tmp_path)


def test_it_sends(place: Place, commands: Commands, receiver: Start, tmp_path: Path, out: Path) -> None:
    source = write(tmp_path / "größe.txt", content(SIZE))
    sent = place.run("send", "-y", *commands.connection, source)
    try:
        code = sent.code()
    except pytest.fail.Exception:  # it ended: whether it should have is judged below
        assert not place.judge(sent, "send")
        return
    received = receiver("-out", out, code)
    assert place.judge(sent, "send")
    assert received.wait() == 0
    assert (out / source.name).read_bytes() == source.read_bytes()


def test_it_receives(place: Place, commands: Commands, sender: Start, tmp_path: Path, out: Path) -> None:
    source = write(tmp_path / "größe.txt", content(SIZE))
    sent = sender(source)
    received = place.run("recv", "-y", *commands.connection, "-out", out, sent.code())
    if place.judge(received, "recv"):
        assert sent.wait() == 0
        (out / source.name).chmod(0o600)
        assert (out / source.name).read_bytes() == source.read_bytes()
    else:
        assert not (out / source.name).exists()


def test_it_serves(place: Place, commands: Commands) -> None:
    port = free_port()
    server = place.run("server", "--host", "127.0.0.1", "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    examined = commands.run("doctor", "-server", url, "-stun", "none")
    while examined.wait() == 3 and server.running:
        examined = commands.run("doctor", "-server", url, "-stun", "none")
    assert examined.wait() == 0, server.said
    server.signal(signal.SIGTERM)
    assert place.judge(server, "server")


def test_it_lists_checkpoints(place: Place) -> None:
    place.judge(place.run("checkpoint", "list"), "checkpoint")


def test_it_examines(place: Place, commands: Commands) -> None:
    place.judge(place.run("doctor", *commands.connection), "doctor")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("term", ["", "dumb", "nonsense"])
def test_any_terminal_will_do(sender: Start, terminal: Open, tmp_path: Path, out: Path, term: str) -> None:
    sent = sender(write(tmp_path / "file", "x"))
    screen = terminal("recv", "-out", out, sent.code(), term=term)
    screen.shows("[Y/n]")
    screen.type("y\r")
    assert (screen.wait(), sent.wait()) == (0, 0)
    assert re.search("SHA-256 verified", screen.text)
    assert os.listdir(out) == ["file"]
