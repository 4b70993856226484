"""Logging to stderr, for ``--debug``; never with secrets. The server has its own log: :mod:`p2pal.server.logs`.

The other floors log no secrets. This one makes sure: every line passes :func:`redact`, which knows what the user
typed or was given, and :func:`p2pal.cli.text.safe`, because a log on a screen is a screen.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from typing import Final

from p2pal.cli.text import safe

LINE_LIMIT: Final = 4000
HIDDEN: Final = "[hidden]"
_MIN_SECRET: Final = 4

_secrets: Final[set[str]] = set()
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def hide(secret: str) -> None:
    """Keep this text out of every log line and traceback from now on. Texts under four characters hide nothing."""
    if len(secret) >= _MIN_SECRET:
        _secrets.add(secret)


def forget() -> None:
    """Forget what :func:`hide` was told: in a process that runs one command after the other, the next one begins so."""
    _secrets.clear()


def redact(text: str) -> str:
    """Return the text without the secrets that :func:`hide` was told."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _clean(text: str) -> str:
    return "\n".join(safe(line, LINE_LIMIT) for line in redact(text).split("\n"))


def traceback_text(error: BaseException) -> str:
    """Return the traceback as it may be shown."""
    return _clean("".join(traceback.format_exception(error)).rstrip("\n")) + "\n"


class TextFormatter(logging.Formatter):
    """One line for a person: time, level, logger, message, then the record's own fields as ``key=value``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Add the fields that were logged with ``extra``."""
        line = super().formatMessage(record)
        return " ".join([line, *(f"{key}={value}" for key, value in _fields(record).items())])

    def format(self, record: logging.LogRecord) -> str:
        """Return the record without secrets and control characters."""
        return _clean(super().format(record))


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD and not key.startswith("_")}


def start(level: int) -> None:
    """Log p2pal's own records from ``level`` on to stderr, and asyncio's warnings. Other libraries' logs stay off."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter())
    _only(handler)
    logging.getLogger("p2pal").setLevel(level)


def off() -> None:
    """Log nothing: without a handler of ours, Python would write warnings to stderr."""
    _only(logging.NullHandler())


def _only(handler: logging.Handler) -> None:
    for name in ("p2pal", "asyncio", "aiohttp"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler if name != "aiohttp" else logging.NullHandler()]
        logger.propagate = False
