"""Nothing from the peer or the server reaches a terminal as it came: escapes, bidi controls, newlines, invisibles."""

from __future__ import annotations

import io
import itertools
import json
import logging
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal import errors
from p2pal.app import events
from p2pal.cli import logs
from p2pal.cli.exit import describe
from p2pal.cli.streams import Writer
from p2pal.cli.text import names, safe
from p2pal.cli.ui.progress_bars import Bars
from p2pal.cli.ui.progress_lines import Plain
from p2pal.cli.ui.views import JsonView, QuietView, ReceiverView, SenderView, View, offer_lines

HOSTILE = [
    "\x1b[2J\x1b[1;1H100% verified",  # clears the screen and writes its own
    "\x1b]0;title\x07",  # sets the window's title
    "\x1b]52;c;ZXZpbA==\x07",  # writes the clipboard
    "\x1bP+q544e\x1b\\",  # asks the terminal to type
    "\x9b31mred",  # C1: CSI in one byte
    "a\rb",  # writes over the line
    "ok\nSaved: /etc/passwd",  # forges a line
    "a\x08\x08\x08b",
    "invoice\u202efdp.exe",  # reads as invoiceexe.pdf
    "a\u2066b\u2069c\u200fd\u061ce",
    "pay\u200bpal\u2060\ufeff",
    "a\u2028b\u2029c\x85d",
    "caf\udce9\ud800",
    "\U000e0041\U000e0042",  # tags: invisible text
    "a" + "\u0301\u0327" * 40,  # marks that cover the lines above and below
    "\u0488" * 20 + "x",  # marks without a letter: they stand on ours
    "\u2800\u2800.exe",  # Braille cells without dots: looks like nothing
    "x\ufe0f\ufe0f\ufe0f",
    "report.pdf" + " " * 150 + ".exe",  # pushes its end out of sight
    "(\u05d0 12 \u05d1)/3/\u0627\u0644",  # takes brackets, figures and slashes along
    "\u05d0\u2069\u202e\u2066",  # ends our isolate, if it could
    "\u05d0\u200c\u200c\u05d1\u200d",
    "x" * 5000,
]
FORBIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
ISOLATE = re.compile("\u2066([^\u2066\u2069\n]*)\u2069")
PILE = re.compile("(?:^|[ '\"(])[\u0300-\u036f\u0488]|[\u0300-\u036f\u0488]{5}")
"""Marks that stand on what is ours, or on each other."""


def harmful(text: str) -> list[str]:
    """What must not be there, newlines between lines aside.

    Isolates are ours: each is closed on its line, within no other one, and has the letters that it is for in it, which
    stand nowhere else.
    """
    wrong = []
    for line in text.split("\n"):
        outside = ISOLATE.sub("", line)
        wrong += [char for char in ISOLATE.sub(r"\1", line) if unicodedata.category(char) in FORBIDDEN]
        wrong += [char for char in outside if unicodedata.bidirectional(char) in {"R", "AL"}]
        wrong += PILE.findall(line)
        wrong += [char for char in line if char in "\u2800\ufffc"]
    return wrong


def every_event(text: str) -> list[events.Event]:
    """Every event with the text wherever the peer, the server or a file name can put it."""
    top = events.Top(name=text, kind="directory", files=1, size=1)
    link = events.Top(name=text, kind="link", files=0, size=0)
    return [
        events.Listed(names=[text, text], files=2, entries=2, total=2),
        events.Code(code=text, ttl=1.0, server=text, command=text),
        events.Joining(),
        events.WrongGuess(left=1),
        events.PeerJoined(),
        events.Connected(path=text),
        events.Connected(path=text + "2"),
        events.Reconnecting(attempt=1, attempts=3, delay=1.0),
        events.Reconnected(),
        events.Silence(seconds=3.5),
        events.Waiting(what="peer", seconds=3.5),
        events.Offered(tops=[top, link], more=0, files=1, entries=2, total=1),
        events.Resuming(id=text, files=1, done=1, total=2, changed=1, where=text),
        events.Comparing(name=text),
        events.StartingOver(reason=text),
        events.StartingOver(reason=text, name=text),
        events.Accepted(files=1, total=1, renamed={text: text + " (1)"}),
        events.Progress(
            done=1,
            total=2,
            files_done=0,
            files_failed=1,
            files=2,
            rate=1.0,
            eta=1.0,
            name=text,
            file_done=1,
            file_size=2,
        ),
        events.FileDelivered(name=text, size=1, digest="00"),
        events.SavedAs(name=text, saved_as=text + " (1)"),
        events.FileNotDelivered(name=text, reason=text),
        events.Missing(names=[text, text + "2"], more=1),
        events.Unproven(),
        events.Unsaved(reason=text),
        events.Saved(id=text, command=text, done=1, total=2),
        events.Summary(role="send", ok=True, files=1, failed=1, total=1, seconds=1.0, rate=1.0, path=text),
        events.Failure(code="peer", message=text, hint=text, exit_code=5),
    ]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_list_of_events_is_complete() -> None:
    assert {type(event) for event in every_event("")} == set(events.Event.__subclasses__())


def show_everything(text: str, target: Path) -> tuple[str, int]:
    """Everything that the views write for these events, and how many lines it has."""
    out = io.StringIO()
    writer = Writer(out)
    board = Plain(writer, lambda: 0.0)
    views: list[View] = [
        SenderView(writer, board, 300.0, {text}),
        ReceiverView(writer, board, target),
        QuietView(writer, writer, "send"),
        QuietView(writer, writer, "receive"),
        JsonView(writer),
    ]
    for view in views:
        for event in every_event(text):
            view.show(event)
        view.close(None)
    shown = out.getvalue()
    return shown, shown.count("\n")


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:30])
def test_no_view_writes_it(text: str, tmp_path: Path) -> None:
    logs.forget()
    shown, lines = show_everything(text, tmp_path)
    assert not harmful(shown)
    assert lines == show_everything("harmless", tmp_path)[1]
    human = [line for line in shown.splitlines() if not line.startswith("{")]
    assert max(map(len, human)) < 1200


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:30])
@pytest.mark.parametrize("width", [60, 200])
def test_the_bars_do_not_write_it(text: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    ticks = itertools.count()
    terminal = _Terminal()
    bars = Bars(terminal, lambda: float(next(ticks)))
    view = SenderView(Writer(io.StringIO()), bars, 300.0)
    for event in every_event(text):
        view.show(event)
    view.close(None)
    # Only rich's own sequences may be there: colours, cursor up, erase line, hide and show the cursor.
    rest = re.sub(r"\x1b\[(\d*(;\d+)*m|\d*A|2K|\?25[lh])|\r", "", terminal.getvalue())
    assert not harmful(rest)
    assert len(terminal.getvalue()) > 500


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:30])
def test_questions_do_not_show_it(text: str) -> None:
    top = events.Top(name=text, kind="file", files=1, size=1)
    lines = offer_lines(events.Offered(tops=[top] * 50, more=0, files=50, entries=50, total=50))
    assert not any(map(harmful, lines))
    assert not any("\n" in line for line in lines)
    assert len(lines) < 30
    assert not harmful(names([text]))


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:30])
def test_error_lines_do_not_show_it(text: str) -> None:
    line = describe(errors.ServerRefused(text, hint=text)).line
    assert not harmful(line)
    assert "\n" not in line
    assert len(line) <= 600


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:30])
def test_logs_do_not_show_it(text: str) -> None:
    record = logging.LogRecord("p2pal", logging.DEBUG, "f", 1, "got %s", (text,), None)
    record.peer = text
    assert not harmful(logs.TextFormatter().format(record))


def test_json_keeps_hostile_names_for_the_program_that_reads_it() -> None:
    for text in HOSTILE:
        out = io.StringIO()
        JsonView(Writer(out)).show(events.FileDelivered(name=text, size=1, digest=""))
        assert json.loads(out.getvalue())["name"] == text
        assert not harmful(out.getvalue())


@given(st.text(st.characters(exclude_characters="\u200c\u200d"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_at_all(text: str) -> None:
    assert not harmful(safe(text))
    assert "\n" not in safe(text)


def test_a_long_list_of_failures_does_not_flood_the_screen() -> None:
    out = io.StringIO()
    view = SenderView(Writer(io.StringIO()), Plain(Writer(out), lambda: 0.0), 300.0)
    for index in range(10_000):
        view.show(events.FileNotDelivered(name=f"{index}", reason="r" * 10_000))
    view.close(None)
    assert out.getvalue().count("\n") == 21
    assert len(out.getvalue()) < 10_000
