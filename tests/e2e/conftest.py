"""What every end-to-end test starts from: a server for the session, and commands that end with the test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.e2e.kit import Command, Commands, Server, serving
from tests.e2e.terminal import Terminal

Start = Callable[..., Command]
Open = Callable[..., Terminal]

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A signaling server, shared by the tests of one worker."""
    with serving(tmp_path_factory.mktemp("server") / "run") as running:
        yield running


@pytest.fixture
def arrivals(tmp_path: Path) -> Iterator[Path]:
    """Where :func:`out` is. What arrives there can be large, and goes once no command can add to it any more."""
    path = tmp_path / "out"
    yield path
    if path.exists():
        shutil.rmtree(path)


@pytest.fixture
def commands(server: Server, tmp_path: Path, arrivals: Path) -> Iterator[Commands]:
    """Starts commands; those that still run are ended with the test, by their process id."""
    with Commands(server.url, tmp_path / "runs") as running:
        yield running


@pytest.fixture
def sender(commands: Commands) -> Start:
    """``sender(*args)`` starts ``p2pal send`` without a terminal."""
    return commands.send


@pytest.fixture
def receiver(commands: Commands) -> Start:
    """``receiver(code, *args)`` starts ``p2pal recv -y`` without a terminal."""
    return commands.receive


@pytest.fixture
def out(arrivals: Path) -> Path:
    """An empty directory to receive into."""
    arrivals.mkdir()
    return arrivals


@pytest.fixture
def terminal(commands: Commands, tmp_path: Path) -> Iterator[Open]:
    """``terminal("send", *args)`` runs a command as a person at a terminal does."""
    opened: list[Terminal] = []

    def open_terminal(command: str, *args: str | Path, width: int = 100, **options: str) -> Terminal:
        cwd = tmp_path / f"terminal-{len(opened)}"
        cwd.mkdir()
        opened.append(Terminal([command, *commands.connection, *args], cwd, width=width, **options))
        return opened[-1]

    try:
        yield open_terminal
    finally:
        for terminal in opened:
            terminal.end()
