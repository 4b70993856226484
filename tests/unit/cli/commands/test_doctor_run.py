from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pal.app.options import DEFAULT_STUN
from p2pal.cli.commands.doctor import doctor
from p2pal.cli.commands.doctor_run import as_lines, as_table, checked_options, summary
from p2pal.cli.text import safe
from p2pal.doctor.report import CheckResult, Rating, Report
from p2pal.errors import UsageError

OK, WARN, FAIL, NONE = Rating.OK, Rating.WARN, Rating.FAIL, Rating.NONE

GOOD = CheckResult("server", OK, "https://p2pal.example.org answers in 34 ms", target="https://p2pal.example.org")
BAD = CheckResult(
    "turn", FAIL, "turn:turn.example.org: wrong user name or password (401)", "check -turn-user", "turn:x"
)
ODD = CheckResult("clock", WARN, "2 hours behind the server's", "set the clock", seconds=0.01234)
NOTHING = CheckResult("ipv6", NONE, "no address: transfers use IPv4")
REPORT = Report((GOOD, ODD, NOTHING, BAD))


def test_options_as_they_may_be_typed() -> None:
    typed = ["-stun", "stun:a", "--stun=stun:b", "-turn=turn:c", "--turn", "turn:d", "-json", "-server", "https://e"]
    context = doctor.make_context("doctor", typed)
    assert {name: context.params[name] for name in ("stun", "turn", "as_json", "server")} == {
        "stun": ("stun:a", "stun:b"), "turn": ("turn:c", "turn:d"), "as_json": True, "server": "https://e",
    }  # fmt: skip


def flags(**more: Any) -> dict[str, Any]:
    usual = {"server": None, "stun": (), "turn": (), "turn_user": None, "turn_pass": None}
    return usual | more


def test_the_table() -> None:
    assert list(as_table(REPORT, None)) == [
        "CHECK   RESULT  DETAIL",
        "server  ok      https://p2pal.example.org answers in 34 ms",
        "clock   warn    2 hours behind the server's",
        "ipv6    -       no address: transfers use IPv4",
        "turn    fail    turn:turn.example.org: wrong user name or password (401)",
        "",
        "What to do:",
        "1. clock: set the clock",
        "2. turn: check -turn-user",
        "",
        "Transfers will not work, or not with everyone: 1 check failed, 1 warning.",
    ]


def test_nothing_to_do() -> None:
    assert list(as_table(Report((GOOD,)), None))[-2:] == ["", "Transfers should work."]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_it_fits(width: int) -> None:
    lines = list(as_table(REPORT, width))
    assert max(map(len, lines)) <= max(width, 36)
    assert "".join("".join(lines).split()) == "".join("".join(as_table(REPORT, None)).split()), "nothing is lost"


def test_colours_change_no_place() -> None:
    plain, coloured = list(as_table(REPORT, 60)), list(as_table(REPORT, 60, colour=True))
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured] == plain
    assert sum("\x1b" in line for line in coloured) == 3
    assert not any("\x1b" in line for line in plain)


@given(st.text(), st.text(), st.sampled_from([None, 30, 60]))
def test_no_text_controls_the_terminal(detail: str, advice: str, width: int | None) -> None:
    lines = list(as_table(Report((CheckResult("server", FAIL, detail, advice),)), width))
    assert all(safe(line, len(line)) == line for line in lines)


def test_json() -> None:
    lines = [json.loads(line) for line in as_lines(REPORT)]
    assert [line["event"] for line in lines] == ["check"] * 4 + ["summary"]
    assert lines[1] == {
        "event": "check",
        "check": "clock",
        "target": "",
        "result": "warn",
        "detail": "2 hours behind the server's",
        "advice": "set the clock",
        "ms": 12.3,
    }
    assert [line["result"] for line in lines] == ["ok", "warn", "none", "fail", "fail"]
    assert lines[-1] == {"event": "summary", "result": "fail", "ok": 1, "warn": 1, "fail": 1, "exit_code": 5}


@pytest.mark.parametrize(
    ("verdicts", "code", "words"),
    [
        ((OK, NONE), 3, "Transfers should work."),
        ((OK, WARN, WARN), 3, "Transfers should work; 2 warnings."),
        ((FAIL, FAIL), 3, "No transfer can begin: 2 checks failed."),
        ((FAIL, OK), 4, "No transfer can begin: 1 check failed."),
        ((FAIL, WARN), 5, "Transfers will not work, or not with everyone: 1 check failed, 1 warning."),
    ],
)
def test_the_summary(verdicts: tuple[Rating, ...], code: int, words: str) -> None:
    assert summary(Report(tuple(CheckResult("x", each, "y", exit_code=code) for each in verdicts))) == words


def test_the_summary_of_what_there_was_no_time_for() -> None:
    hurried = Report((GOOD, ODD), complete=False)
    assert summary(hurried) == "Transfers should work, as far as there was time to check; 1 warning."


def test_the_summary_of_a_machine_that_reaches_only_its_own_network() -> None:
    assert summary(Report((GOOD, ODD), near_only=True)) == "Transfers should work within one network; 1 warning."


def test_it_connects_as_send_and_recv_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PAL_ONLY_LOOPBACK", "1")
    usual = checked_options(flags())
    assert (usual.server, usual.stun, usual.turn, usual.only_loopback) == (
        "http://localhost:8080", (DEFAULT_STUN,), (), True,
    )  # fmt: skip
    assert checked_options(flags(stun=("none",))).stun is None
    several = checked_options(
        flags(stun=("stun:a", "stun:b"), turn=("turn:c",), turn_user="u", turn_pass="p", server="https://d/")
    )
    assert (several.stun, several.turn, several.turn_user, several.turn_pass, several.server) == (
        ("stun:a", "stun:b"), ("turn:c",), "u", "p", "https://d",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"stun": ("none", "stun:a")}, "-stun none stands alone"),
        ({"stun": ("stun:a", "None")}, "-stun none stands alone"),
        ({"stun": ("http://a",)}, "-stun takes a STUN URL"),
        ({"turn": ("turn:a",)}, "-turn needs credentials"),
        ({"server": "https://user:secret@a"}, "-server takes a URL without user"),
    ],
)
def test_what_cannot_be_used(more: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        checked_options(flags(**more))
    assert "secret" not in str(caught.value)
