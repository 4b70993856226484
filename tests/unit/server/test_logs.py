from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from p2pal.server import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    before = logs.LOGGER.handlers[:], logs.LOGGER.level, logs.LOGGER.propagate
    yield io.StringIO()
    logs.LOGGER.handlers[:], logs.LOGGER.level, logs.LOGGER.propagate = before


def test_text_lines_are_key_value(stream: io.StringIO) -> None:
    logs.configure("text", stream)
    logs.log("served", transfer="abcd", attempt=1, reason='a "b"\n')
    line = stream.getvalue()
    assert line.endswith('level=info event=served transfer=abcd attempt=1 reason="a \\"b\\"\\n"\n')


def test_json_lines_are_objects(stream: io.StringIO) -> None:
    logs.configure("json", stream)
    logs.log("served", attempt=1)
    logs.log_failure("internal-error", kind="KeyError")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["event"], first["attempt"], first["level"]) == ("served", 1, "info")
    assert (second["event"], second["kind"], second["level"]) == ("internal-error", "KeyError", "error")


def test_an_exception_shows_nothing_of_its_text(stream: io.StringIO) -> None:
    logs.configure("text", stream)
    try:
        raise ValueError("secret")
    except ValueError:
        logging.getLogger("p2pal.server").exception("oops")
    assert "secret" not in stream.getvalue()
