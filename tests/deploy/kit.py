"""Programs in front of and beside a server, run with the shipped files."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from tests.e2e.kit import until

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"


def read(path: str) -> str:
    """A shipped file."""
    return (ROOT / path).read_text(encoding="utf-8")


def program(name: str) -> str:
    """The path of a program; skip the test without it, or fail it in CI, where scripts/system.sh has installed it."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        missing = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    return found


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """The text with other ports and paths; each of them must have been there."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(
    command: Sequence[str], ready: Callable[[], bool], log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the length of the block, which begins when it is ready."""
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **(env or {})}
        ) as process,
    ):
        try:

            def up() -> bool:
                if process.poll() is not None:
                    pytest.fail(f"{command[0]} ended\n{log.read_text(errors='replace')}", pytrace=False)
                return ready()

            until(up, command[0])
            yield process
        finally:
            process.kill()
