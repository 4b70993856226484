from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime

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
    logs.log_warning("redis-evicts", tls=True)
    logs.log_failure("internal-error", kind="KeyError")
    first, warning, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["event"], first["attempt"], first["level"]) == ("served", 1, "info")
    assert (warning["event"], warning["tls"], warning["level"]) == ("redis-evicts", True, "warning")
    assert (second["event"], second["kind"], second["level"]) == ("internal-error", "KeyError", "error")


def test_an_exception_shows_nothing_of_its_text(stream: io.StringIO) -> None:
    logs.configure("text", stream)
    try:
        raise ValueError("secret")
    except ValueError:
        logging.getLogger("p2pal.server").exception("oops")
    assert "secret" not in stream.getvalue()


def test_lines_name_the_request_that_they_come_from(stream: io.StringIO) -> None:
    logs.configure("json", stream)
    token = logs.request_id.set("a-request")
    logs.log("created", slot=1)
    logs.request_id.reset(token)
    logs.log("expired")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["request_id"] == "a-request"
    assert "request_id" not in second


def test_truth_is_written_alike_in_both_formats(stream: io.StringIO) -> None:
    logs.configure("text", stream)
    logs.log("listening", tls=True, other=False)
    assert stream.getvalue().endswith("tls=true other=false\n")


def test_details_are_for_who_asks(stream: io.StringIO) -> None:
    logs.configure("text", stream)
    logs.log_detail("request")
    assert not stream.getvalue()
    logs.configure("text", stream, logging.DEBUG)
    logs.log_detail("request")
    assert "level=debug event=request" in stream.getvalue()


def test_only_names_are_taken_for_request_ids() -> None:
    for proposed in ("a", "A-b_c.9", "x" * 64):
        assert logs.choose_request_id(proposed) == proposed
    for proposed in ("", "x" * 65, "a b", "a\n", "\u00e9", "a=b", '"'):
        assert len(logs.choose_request_id(proposed)) == 16


def test_the_time_of_a_line_is_that_of_its_event(stream: io.StringIO) -> None:
    formatter = logs.Formatter("json")
    for created in (1_000_000_000.2, 1_000_000_000.9, 1_000_000_001.0, 999_999_999.0):
        record = logging.LogRecord("name", logging.INFO, "", 0, "event", (), None)
        record.created = created
        line = json.loads(formatter.format(record))
        assert datetime.strptime(line["time"], "%Y-%m-%dT%H:%M:%S%z").timestamp() == int(created)
