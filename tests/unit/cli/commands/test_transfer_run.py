from __future__ import annotations

import asyncio
import json
import sys

import pytest
from tests.unit.cli.kit import CODE, Screen, Script

from p2pal.app import events
from p2pal.cli.commands.transfer_run import deadline, drive, make_board
from p2pal.cli.signals import Stop
from p2pal.cli.ui.progress_lines import Plain, Silent
from p2pal.cli.ui.views import JsonView, QuietView
from p2pal.errors import Interrupted


async def test_a_request_to_stop_cancels_the_transfer_and_says_so() -> None:
    screen, stop = Screen(), Stop()
    transfer = Script([CODE, None])
    driving = asyncio.create_task(drive(transfer, QuietView(screen.writer, screen.errors, "send"), screen.board, stop))
    await transfer.waiting.wait()
    stop.request()
    with pytest.raises(Interrupted):
        await driving
    assert screen.err == ["Stopping… (once more to stop at once)"]
    assert transfer.entered
    assert transfer.left


async def test_a_request_before_the_start_counts() -> None:
    screen, stop = Screen(), Stop()
    stop.request()
    with pytest.raises(Interrupted):
        await drive(Script([None]), QuietView(screen.writer, screen.errors, "send"), screen.board, stop)


async def test_events_can_be_changed_on_their_way() -> None:
    screen = Screen()

    def change(event: events.Event) -> events.Event:
        return events.Code(code="other-code-1", ttl=1.0, server="", command="") if event is CODE else event

    await drive(Script([CODE]), QuietView(screen.writer, screen.errors, "send"), screen.board, Stop(), change)
    assert screen.out == ["other-code-1"]


def test_boards(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_board(quiet=True, debug=False), Silent)
    assert isinstance(make_board(quiet=False, debug=False), Plain)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_board(quiet=False, debug=False), Plain)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(make_board(quiet=False, debug=True), Plain)
    assert type(make_board(quiet=False, debug=False)).__name__ == "Bars"


async def test_once_files_flow_a_stop_saves_what_is_here() -> None:
    screen, stop = Screen(), Stop()
    transfer = Script([events.Accepted(files=1, total=1, renamed={}), None])
    driving = asyncio.create_task(drive(transfer, JsonView(screen.writer), screen.board, stop))
    await transfer.waiting.wait()
    stop.request()
    with pytest.raises(Interrupted):
        await driving
    assert screen.err == ["Stopping: saving what is here (once more to stop at once)"]


def test_the_last_word_of_a_stop_that_takes_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    deadline(JsonView(screen.writer)).last_word()
    hint = "'p2pal checkpoint list' shows what can go on"
    assert json.loads(screen.out[0]) == {
        "event": "error", "code": "interrupted", "message": "stopped before everything was in order", "hint": hint,
        "exit_code": 130,
    }  # fmt: skip
    assert capsys.readouterr().err == f"p2pal: stopped before everything was in order; {hint}\n"
