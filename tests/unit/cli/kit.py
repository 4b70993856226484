"""A transfer that plays a script of events, and a screen that remembers."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from typing import Self

from p2pal.app import events
from p2pal.cli.streams import Writer
from p2pal.cli.ui.progress_lines import Plain
from p2pal.errors import Interrupted
from p2pal.role import Role

FILE = events.Top(name="report.pdf", kind="file", files=1, size=2_300_000)
TREE = events.Top(name="photos", kind="directory", files=1203, size=2_300_000_000)
CODE = events.Code(code="zebra-luna-47", ttl=300.0, server="http://localhost:8080", command="p2pal recv zebra-luna-47")


def progress(done: int, total: int = 2_300_000) -> events.Progress:
    return events.Progress(done=done, total=total, files_done=0, files_failed=0, files=1, rate=1e6, eta=1.0)


def summary(role: Role, *, ok: bool = True, files: int = 1, failed: int = 0) -> events.Summary:
    return events.Summary(
        role=role, ok=ok, files=files, failed=failed, total=2_300_000, seconds=1.2, rate=1.9e6, path="direct, host udp"
    )


class Script:
    """A transfer: yields the events, then raises the error if there is one, else ends. ``None`` waits for cancel."""

    def __init__(self, script: Sequence[events.Event | None], error: BaseException | None = None) -> None:
        self._script = list(script)
        self._error = error
        self._cancelled = asyncio.Event()
        self.waiting = asyncio.Event()
        self.entered = self.left = False

    async def __aenter__(self) -> Self:
        self.entered = True
        return self

    async def __aexit__(self, *args: object) -> None:
        self.left = True

    def __aiter__(self) -> AsyncIterator[events.Event]:
        return self

    async def __anext__(self) -> events.Event:
        if not self._script:
            if self._error is not None:
                raise self._error
            raise StopAsyncIteration
        event = self._script.pop(0)
        if event is not None:
            return event
        self.waiting.set()
        await self._cancelled.wait()
        raise Interrupted("stopped", hint="")

    def cancel(self) -> None:
        self._cancelled.set()


class Screen:
    """Both streams of a run without a terminal."""

    def __init__(self) -> None:
        self._out, self._err = io.StringIO(), io.StringIO()
        self.writer = Writer(self._out)
        self.errors = Writer(self._err)
        self.board = Plain(self.errors, lambda: 0.0)

    @property
    def out(self) -> list[str]:
        return self._out.getvalue().splitlines()

    @property
    def err(self) -> list[str]:
        return self._err.getvalue().splitlines()
