"""Structured logs: one event and its fields per line. No tokens, no message bodies, no addresses, ever."""

from __future__ import annotations

import json
import logging
import sys
from typing import Final, Literal, TextIO

LOGGER: Final = logging.getLogger("p2pal.server")

Field = str | int | float


def log(event: str, **fields: Field) -> None:
    """Write one event. A transfer is named by :func:`short` of its id."""
    if LOGGER.isEnabledFor(logging.INFO):
        LOGGER.info(event, extra={"fields": fields})


def log_failure(event: str, **fields: Field) -> None:
    """Write one event that should not have happened."""
    LOGGER.error(event, extra={"fields": fields})


def short(rendezvous_id: str) -> str:
    """Return enough of an id to follow it through the log."""
    return rendezvous_id[:8]


class Formatter(logging.Formatter):
    """Formats events as ``key=value`` or JSON. Exceptions appear by the name of their type only."""

    def __init__(self, style: Literal["text", "json"]) -> None:
        super().__init__()
        self._json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Field] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if self._json:
            return json.dumps(fields)
        return " ".join(f"{key}={_plain(value)}" for key, value in fields.items())


def _plain(value: Field) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text and '"' not in text else json.dumps(text)


def configure(style: Literal["text", "json"], stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send the server's log to ``stream`` (standard error), replacing what was set before."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Formatter(style))
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(level)
    LOGGER.propagate = False
