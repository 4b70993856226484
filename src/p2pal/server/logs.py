"""Structured logs: one event and its fields per line. No tokens, no message bodies, no addresses, ever.

What happens because of an HTTP request or over a WebSocket carries the ``request_id`` that the client was told in
``X-Request-ID``. Of one kind of event there are 1,000 lines at once and 50 a second; the next one tells in ``left_out``
how many were not written.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from math import inf
from typing import Final, Literal, TextIO

from p2pal.rate_limit import Throttle

LOGGER: Final = logging.getLogger("p2pal.server")

Field = str | int | float


REQUEST_ID: Final = "X-Request-ID"

LINES_AT_ONCE: Final = 1000
LINES_PER_SECOND: Final = 50

request_id: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""The request that is being answered; empty for what the server does by itself."""

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class _LineBudget:
    """How many lines each kind of event may have.

    What clients do is an event each, and many addresses together have no limit: the log's disk has.
    """

    def __init__(self) -> None:
        self.begin(time.monotonic)

    def begin(self, clock: Callable[[], float]) -> None:
        """Start anew, by a clock in seconds."""
        self._clock = clock
        self._throttle = Throttle(burst=LINES_AT_ONCE, interval=1 / LINES_PER_SECOND, most=inf)
        self._left_out: dict[str, int] = {}

    def take(self, event: str) -> int | None:
        """Return how many such lines were left out before this one, or None: then this one is left out too."""
        if self._throttle.admit(event, self._clock()):
            return self._left_out.pop(event, 0)
        self._left_out[event] = self._left_out.get(event, 0) + 1
        return None


_budget: Final = _LineBudget()


def choose_request_id(proposed: str) -> str:
    """Return the id that a client or proxy proposed, if it is one, else a new one."""
    return proposed if _REQUEST_ID.fullmatch(proposed) else secrets.token_hex(8)


def log(event: str, **fields: Field) -> None:
    """Write one event. A transfer is named by :func:`short` of its id."""
    _write(logging.INFO, event, fields)


def log_detail(event: str, **fields: Field) -> None:
    """Write one event that only somebody who looks for something wants to see."""
    _write(logging.DEBUG, event, fields)


def log_warning(event: str, **fields: Field) -> None:
    """Write one event that the operator should do something about; a field ``hint`` says what."""
    _write(logging.WARNING, event, fields)


def log_failure(event: str, **fields: Field) -> None:
    """Write one event that should not have happened."""
    _write(logging.ERROR, event, fields)


def _write(level: int, event: str, fields: dict[str, Field]) -> None:
    if LOGGER.isEnabledFor(level):
        left_out = _budget.take(event)
        if left_out is None:
            return
        if left_out:
            fields["left_out"] = left_out
        named = request_id.get()
        if named:
            fields["request_id"] = named
        # Without logging's search for the caller, which costs more than the rest.
        record = LOGGER.makeRecord(LOGGER.name, level, "", 0, event, (), None, extra={"fields": fields})
        LOGGER.handle(record)


def place_of(error: BaseException) -> str:
    """Return the file and line that raised an error; its text may hold anything."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else ""


def short(rendezvous_id: str) -> str:
    """Return enough of an id to follow it through the log."""
    return rendezvous_id[:8]


class Formatter(logging.Formatter):
    """Formats events as ``key=value`` or JSON. Exceptions appear by the name of their type only."""

    def __init__(self, style: Literal["text", "json"]) -> None:
        super().__init__()
        self._json = style == "json"
        self._second = 0
        self._time = ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Field] = {
            "time": self._moment(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if self._json:
            return json.dumps(fields)
        return " ".join(f"{key}={_plain(value)}" for key, value in fields.items())

    def _moment(self, created: float) -> str:
        """Return the second, which is made into text once."""
        second = int(created)
        if second != self._second:
            self._second = second
            self._time = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))
        return self._time


def _plain(value: Field) -> str:
    text = str(value) if not isinstance(value, bool) else str(value).lower()
    return text if text.isprintable() and " " not in text and '"' not in text else json.dumps(text)


def configure(
    style: Literal["text", "json"],
    stream: TextIO | None = None,
    level: int = logging.INFO,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send the server's log to ``stream`` (standard error), replacing what was set before.

    ``clock`` (seconds) is what the number of its lines is bounded by.
    """
    _budget.begin(clock)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Formatter(style))
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(level)
    LOGGER.propagate = False
