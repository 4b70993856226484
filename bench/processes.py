"""Processes that are measured: a deadline on each, and what each used when it ended (wait4(2), so POSIX only).

Output goes to files, never to pipes: nobody has to read along while something is timed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

POLL: Final = 0.005
GRACE: Final = 5.0
"""Seconds between a polite signal and the kill."""

_MAXRSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024


class BenchError(Exception):
    """A process that was to be measured failed, or took too long."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process used.

    Attributes:
        code: Its exit code; negative for the signal that ended it.
        cpu: Seconds of CPU, user and system, start-up included.
        peak: The most memory that was resident at once, in bytes. The kernel counts what the parent held at the time
            of the fork, too, so this process must stay smaller than what it measures.
        started: When it was started, by ``time.perf_counter``.
        ended: When it was reaped.
    """

    code: int
    cpu: float
    peak: int
    started: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.started


def _ours() -> dict[str, str]:
    """Return our environment, but let modules be kept compiled, as they are wherever p2pal is installed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Process:
    """One process, with its output in files of the scratch directory.

    Args:
        argv: What to run.
        log: Its stdout goes to ``log.out`` and its stderr to ``log.err``.
        limit: Seconds after which it is killed.
        cwd: Its working directory.
        env: What its environment has beyond ours.
        pass_fds: Descriptors that it inherits.
    """

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        log: Path,
        limit: float,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._out, self._err = log.with_suffix(".out"), log.with_suffix(".err")
        self._argv = argv
        self._limit = limit
        self._usage: Usage | None = None
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.started = time.perf_counter()
            self._popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd,
                env=_ours() | dict(env or {}),
                pass_fds=pass_fds,
            )
        self._watchdog = threading.Timer(limit, self._popen.kill)
        self._watchdog.daemon = True
        self._watchdog.start()

    def wait_for(self, pattern: str) -> str:
        """Wait until the output matches; return the first group.

        Raises:
            BenchError: If the process ends first.
        """
        while True:
            ended = self._poll()
            found = re.search(pattern, self.stdout + self.stderr)
            if found is not None:
                return found.group(1)
            if ended:
                raise self._error(f"ended without saying {pattern!r}")
            time.sleep(POLL)

    def wait(self, *, check: bool = True) -> Usage:
        """Wait for the end; return what it used.

        Raises:
            BenchError: If it failed, unless ``check`` is false.
        """
        if self._usage is None:
            self._reap(0)
        usage = self._usage
        if usage is None:
            raise self._error("cannot be waited for")
        if check and usage.code:
            late = usage.code == -signal.SIGKILL and usage.seconds >= self._limit
            raise self._error(f"took more than {self._limit:.0f} s" if late else f"ended with {usage.code}")
        return usage

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Usage:
        """End it, politely at first."""
        if not self._poll():
            self._popen.send_signal(number)
            deadline = time.perf_counter() + GRACE
            while not self._poll() and time.perf_counter() < deadline:
                time.sleep(POLL)
            if not self._poll():
                self._popen.kill()
        return self.wait(check=False)

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self._poll()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def said_since(self, offset: int) -> bytes:
        """Return what it wrote to stdout from that byte on, whole lines only: to follow a long output cheaply."""
        with self._out.open("rb") as out:
            out.seek(offset)
            return out.read().rpartition(b"\n")[0]

    @property
    def stdout(self) -> str:
        return self._out.read_text(encoding="utf-8", errors="replace")

    @property
    def stderr(self) -> str:
        return self._err.read_text(encoding="utf-8", errors="replace")

    def _poll(self) -> bool:
        return self._usage is not None or self._reap(os.WNOHANG)

    def _reap(self, options: int) -> bool:
        pid, status, used = os.wait4(self._popen.pid, options)
        if pid == 0:
            return False
        ended = time.perf_counter()
        self._watchdog.cancel()
        code = self._popen.returncode = os.waitstatus_to_exitcode(status)
        peak = used.ru_maxrss * _MAXRSS_UNIT
        self._usage = Usage(code, used.ru_utime + used.ru_stime, peak, self.started, ended)
        return True

    def _error(self, what: str) -> BenchError:
        tail = (self.stdout + self.stderr).strip()[-600:]
        return BenchError(f"{' '.join(map(str, self._argv))} {what}: {tail}")


class Workbench:
    """A scratch directory, and every process that works in it; both are gone at the end.

    Args:
        parent: Where the scratch directory is made, on the disk that is measured.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="p2pal-bench-", dir=parent, ignore_cleanup_errors=True)
        self.path = Path(self._scratch.name)
        self._processes: list[Process] = []
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            with suppress(OSError):
                process.stop()
        self._scratch.cleanup()

    def start(
        self,
        argv: Sequence[str | os.PathLike[str]],
        limit: float,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Process:
        """Start a process; see :class:`Process`."""
        self._count += 1
        log = self.path / f"log-{self._count}"
        process = Process(argv, log, limit, cwd=cwd, env=env, pass_fds=pass_fds)
        self._processes.append(process)
        return process

    def directory(self, name: str) -> Path:
        """Make a new directory."""
        self._count += 1
        made = self.path / f"{name}-{self._count}"
        made.mkdir()
        return made
