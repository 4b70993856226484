from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from p2pal.cli import logs


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    names = ("p2pal", "asyncio", "aiohttp")
    before = [
        (logging.getLogger(name), list(logging.getLogger(name).handlers), logging.getLogger(name).propagate)
        for name in names
    ]
    yield
    for logger, handlers, propagate in before:
        logger.handlers[:] = handlers
        logger.propagate = propagate
        logger.setLevel(logging.NOTSET)


def test_secrets_stay_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.hide("zebra-luna")
    logs.hide("hunter22")
    logs.start(logging.DEBUG)
    logging.getLogger("p2pal.peer").debug("code %s, turn %s", "zebra-luna-47", "hunter22", extra={"why": "zebra-luna"})
    line = capsys.readouterr().err
    assert "p2pal.peer: code [hidden]-47, turn [hidden] why=[hidden]\n" in line
    assert line.count("\n") == 1


def test_short_secrets_hide_nothing() -> None:
    logs.hide("")
    logs.hide("abc")
    assert logs.redact("abcdef") == "abcdef"


def test_lines_cannot_be_forged(capsys: pytest.CaptureFixture[str]) -> None:
    logs.start(logging.INFO)
    logging.getLogger("p2pal").info("a\x1b[2Jb\u202ec")
    assert capsys.readouterr().err.endswith("a\\x1b[2Jb\\u202ec\n")


def test_off_means_off(capsys: pytest.CaptureFixture[str]) -> None:
    logs.off()
    for name in ("p2pal.peer", "asyncio", "aiohttp.server"):
        logging.getLogger(name).error("noise")
    assert capsys.readouterr().err == ""


def test_exceptions_in_logs_are_clean_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.hide("hunter22")
    logs.start(logging.DEBUG)
    try:
        raise ValueError("hunter22")
    except ValueError:
        logging.getLogger("p2pal").exception("failed")
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "ValueError: [hidden]" in shown
