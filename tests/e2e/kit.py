"""p2pal's commands as processes of their own, as a person or a script runs them."""

from __future__ import annotations

import atexit
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import pytest

T = TypeVar("T")

PATIENCE: Final = 30.0
"""Seconds that anything may take before a test gives up on it."""

POLL: Final = 0.01
_CODE: Final = re.compile(r'^(?:Join code: |\{"event":"code","code":")?((?:[a-z]+-){2,8}[0-9]+)(?:"|$)', re.MULTILINE)
_SETTINGS: Final = ("P2PAL_", "TURN_", "REDIS_", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")


def until(condition: Callable[[], T], what: str | Callable[[], str], seconds: float = PATIENCE) -> T:
    """Ask again and again until the answer is true, and return it.

    Args:
        condition: The question.
        what: What is waited for, in words; or what makes them once it was in vain.
        seconds: How long it is asked.
    """
    end = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > end:
            words = what if isinstance(what, str) else what()
            pytest.fail(f"waited {seconds:g} s in vain for {words}", pytrace=False)
        time.sleep(POLL)
    return answer


@functools.cache
def _home() -> str:
    """A place for the checkpoints of commands whose test does not ask for one; never the user's own."""
    home = tempfile.mkdtemp(prefix="p2pal-home-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


def environment(**more: str) -> dict[str, str]:
    """The environment of a command: this one's without settings of ours, and nothing leaves the machine."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    return own | {"P2PAL_ONLY_LOOPBACK": "1", "PYTHONUNBUFFERED": "1", "P2PAL_HOME": _home()} | more


class Command:
    """One running command. Its output goes to files and is read from there, so it never waits for us.

    Args:
        args: What follows ``p2pal`` on the command line.
        folder: A directory for the output, which must not exist.
        env: The whole environment.
        cwd: Where the command runs; an empty directory of its own by default.
        typed: What its standard input holds.
        wrapper: A program and its arguments that run the command.
    """

    def __init__(
        self,
        args: Sequence[str | Path],
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        typed: str = "",
        wrapper: Sequence[str] = (),
        umask: int = 0o022,
    ) -> None:
        folder.mkdir(parents=True)
        self._out, self._err, typed_path = folder / "out", folder / "err", folder / "typed"
        typed_path.write_text(typed)
        self.cwd = cwd or folder / "cwd"
        self.cwd.mkdir(exist_ok=True)
        self.args = [*wrapper, sys.executable, "-m", "p2pal", *map(str, args)]
        with typed_path.open("rb") as stdin, self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                self.args,
                stdin=stdin,
                stdout=out,
                stderr=err,
                env=environment() if env is None else env,
                cwd=self.cwd,
                umask=umask,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> str:
        """What it wrote to standard output so far."""
        return self._out.read_text(encoding="utf-8", errors="backslashreplace")

    @property
    def err(self) -> str:
        """What it wrote to standard error so far."""
        return self._err.read_text(encoding="utf-8", errors="backslashreplace")

    @property
    def said(self) -> str:
        """Both outputs, for a person who reads a failed test."""
        return f"$ {' '.join(self.args)}\n--- stdout\n{self.out}\n--- stderr\n{self.err}\n"

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def events(self) -> list[dict[str, Any]]:
        """The complete lines of ``--json``."""
        whole, _, _ = self.out.rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    @property
    def kinds(self) -> list[str]:
        """The kinds of the events, without the progress between them."""
        return [event["event"] for event in self.events if event["event"] != "progress"]

    def await_(self, condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
        """Wait for something that this command brings about; its early end is a failure."""

        def answered() -> T:
            ended = not self.running
            answer = condition()
            if ended and not answer:
                pytest.fail(f"it ended with {self.process.returncode} before {what}\n{self.said}", pytrace=False)
            return answer

        return until(answered, lambda: f"{what}\n{self.said}", seconds)

    def event(self, kind: str, seconds: float = PATIENCE, **fields: object) -> dict[str, Any]:
        """Wait for the first event of a kind (with these fields) and return it."""

        def found() -> dict[str, Any] | None:
            wanted = {"event": kind, **fields}
            return next((event for event in self.events if wanted.items() <= event.items()), None)

        event = self.await_(found, f"the event {kind}", seconds)
        assert event is not None
        return event

    def says(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """Wait until either output matches and return the match."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, self.out, re.MULTILINE) or re.search(pattern, self.err, re.MULTILINE)

        match = self.await_(found, f"the words {pattern!r}", seconds)
        assert match is not None
        return match

    def code(self) -> str:
        """Wait for the join code."""
        match = self.await_(lambda: _CODE.search(self.out), "the join code")
        assert match is not None
        return match.group(1)

    def moved(self, count: int) -> None:
        """Wait until that many bytes have moved (``--json``)."""
        self.await_(
            lambda: any(event["event"] == "progress" and event["done"] >= count for event in self.events),
            f"{count} bytes on their way",
        )

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for the end and return the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it did not end within {seconds:g} s\n{self.said}", pytrace=False)

    def peak_memory(self) -> int:
        """The most resident memory it had so far, in bytes (Linux)."""
        return _field(f"/proc/{self.pid}/status", "VmHWM") * 1024

    def bytes_read(self) -> int:
        """Bytes that it read from files and sockets so far (Linux)."""
        return _field(f"/proc/{self.pid}/io", "rchar")

    def end(self) -> None:
        """Make sure that it is over."""
        if self.running:
            self.process.kill()
        self.process.wait()


def _field(path: str, name: str) -> int:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise AssertionError(f"{path} has no {name}")


class Gate:
    """The gate of a slow disk: see ``gated_disk/sitecustomize.py``.

    Args:
        path: A file to keep its state in.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.allow(0)

    def allow(self, count: int) -> None:
        """Let the disk take that many bytes in all."""
        new = self._path.with_suffix(".new")
        new.write_text(str(count))
        new.replace(self._path)

    def fill(self, count: int) -> None:
        """Let the disk take that many bytes in all, and wait until it was offered more."""
        self.allow(count)
        full = self._path.with_suffix(".full")
        until(lambda: full.exists() and full.read_text() == f"{count} ", f"a disk with {count} bytes")

    def open(self) -> None:
        """Let the disk take everything."""
        self.allow(1 << 62)

    def open_slowly(self, count: int) -> None:
        """Let the disk that has ``count`` bytes take a little more for a while, and then everything.

        A signal that was just sent is heard before all that waits in memory is on the disk.
        """
        for step in range(1, 9):
            self.allow(count + (step << 18))
            time.sleep(0.05)
        self.open()

    @property
    def environment(self) -> dict[str, str]:
        """For the command whose disk it is."""
        path = [str(Path(__file__).parent / "gated_disk"), os.environ.get("PYTHONPATH", "")]
        return environment(P2PAL_TEST_GATE=str(self._path), PYTHONPATH=os.pathsep.join(filter(None, path)))


class Server(Command):
    """``p2pal server`` on a free loopback port."""

    def __init__(self, folder: Path, *flags: str, port: int = 0, **options: Any) -> None:
        super().__init__(["server", "--host", "127.0.0.1", "--port", str(port), *flags], folder, **options)
        self.port = int(self.says(r"port=(\d+)").group(1))
        self.url = f"http://127.0.0.1:{self.port}"


class Commands:
    """Starts commands and ends those that still run at the end of the block.

    Args:
        url: The signaling server's.
        folder: Where their output goes.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder
        self._started: list[Command] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for command in self._started:
            command.end()
            if kind is not None:
                print(command.said)

    @property
    def connection(self) -> list[str]:
        return ["-server", self.url, "-stun", "none"]

    def run(self, *args: str | Path, **options: Any) -> Command:
        """``p2pal ARGS``."""
        command = Command(args, self.folder(), **options)
        self._started.append(command)
        return command

    def server(self, *flags: str, port: int = 0, **options: Any) -> Server:
        """``p2pal server``, beside the one that the commands use."""
        server = Server(self.folder(), *flags, port=port, **options)
        self._started.append(server)
        return server

    def folder(self) -> Path:
        """A new place for one command's output."""
        return self._folder / f"{len(self._started)}-{time.monotonic_ns()}"

    def send(self, *args: str | Path, **options: Any) -> Command:
        """``p2pal send``, without a terminal."""
        return self.run("send", *self.connection, *args, **options)

    def receive(self, *args: str | Path, **options: Any) -> Command:
        """``p2pal recv -y``, without a terminal."""
        return self.run("recv", *self.connection, "-y", *args, **options)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Run a server for the length of the block; all that is tried there comes from one address, and is not counted."""
    server = Server(folder, *(part for rate in ("create", "join", "request") for part in (f"--{rate}-rate", "none")))
    try:
        yield server
    finally:
        server.end()
