"""The lines of JSON of ``wan.py``: one for the program and the machine, then one for each flow of each run.

What a line says is read by ``draw.py``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from p2pal import __version__
from socket_buffers import most
from table import machine
from wan_cells import Cell
from wan_runs import Result


class Report:
    """The file; None for none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def begin(self, ours: str, lanes: list[str]) -> None:
        """Say what runs where."""
        command = " ".join(["python", "bench/wan.py", *_without_paths(sys.argv[1:])])
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._write(
            bench="wan", ours=ours, lanes=lanes, version=__version__, machine=machine(), date=now, command=command,
            buffers=most(), user=os.geteuid(),
        )  # fmt: skip

    def write(self, cell: Cell, result: Result, repetition: int) -> None:
        """Say what came of a flow."""
        self._write(cell=asdict(cell), repetition=repetition, **asdict(result))

    def _write(self, **values: Any) -> None:
        if self._file is not None:
            print(json.dumps(values, separators=(",", ":")), file=self._file, flush=True)


def _without_paths(argv: list[str]) -> list[str]:
    """Return the arguments without those that only say where things are on this machine."""
    kept, rest = [], list(argv)
    while rest:
        argument = rest.pop(0)
        if argument in {"--json", "--dir"}:
            del rest[:1]
        elif not argument.startswith(("--json=", "--dir=")):
            kept.append(argument)
    return kept
