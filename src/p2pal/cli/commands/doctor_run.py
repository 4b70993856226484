"""What ``p2pal doctor`` does once its command line is understood: run the checks, show what they found."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from p2pal.app import events
from p2pal.app.options import DEFAULT_STUN, ConnectOptions
from p2pal.cli import config, logs, signals
from p2pal.cli.exit import describe
from p2pal.cli.streams import Writer, is_terminal, takes_colours, write_results
from p2pal.cli.text import safe
from p2pal.cli.ui import jsonl
from p2pal.cli.ui.table import GAP, terminal_width
from p2pal.doctor.report import CheckResult, Rating, Report
from p2pal.errors import Interrupted, ServerError, UsageError, VersionMismatch
from p2pal.units import plural

DETAIL: Final = 600
LEAST_DETAIL: Final = 20
"""Columns that the last column has at least."""

_COLOURS: Final = {Rating.OK: "green", Rating.WARN: "yellow", Rating.FAIL: "red"}
_HEADINGS: Final = ("CHECK", "RESULT", "DETAIL")
_NO_SERVER: Final = (ServerError.exit_code, VersionMismatch.exit_code)


def run_doctor(flags: dict[str, Any], *, as_json: bool, debug: bool) -> int:
    """Run the checks, show what they found, and return the exit code.

    Raises:
        P2palError: If the command line is wrong, the user stops it, or nothing can be written.
    """
    if not debug:
        logs.off()
    out = Writer(sys.stdout)
    with _told(out, as_json=as_json):
        connect = checked_options(flags)
        with _working(shown=not as_json and not debug and is_terminal(sys.stderr)):
            report = signals.run(lambda stop: _examine(connect, stop))
    colour = takes_colours(sys.stdout)
    lines = as_lines(report) if as_json else as_table(report, terminal_width(), colour=colour)
    write_results(lines)
    return report.exit_code


def checked_options(flags: dict[str, Any]) -> ConnectOptions:
    """Return how a transfer with these flags would connect.

    Raises:
        UsageError: If a value cannot be used.
    """
    given = tuple(flags["stun"])
    off = "none" in [url.strip().lower() for url in given]
    if off and len(given) > 1:
        hint = "-stun none stands alone: leave it out, or leave the other -stun out"
        raise UsageError("-stun takes a STUN URL", hint=hint)
    logs.hide(flags["turn_pass"] or "")
    return ConnectOptions(
        server=config.server_url(flags["server"]),
        stun=None if off else given or (DEFAULT_STUN,),
        turn=tuple(flags["turn"]),
        turn_user=flags["turn_user"] or "",
        turn_pass=flags["turn_pass"] or "",
        only_loopback=config.only_loopback(),
    )


@contextmanager
def _told(out: Writer, *, as_json: bool) -> Iterator[None]:
    """With ``--json``, an error is an event as well."""
    try:
        yield
    except BaseException as error:
        if as_json:
            end = describe(error)
            out.line(jsonl.encode(events.Failure(end.code, end.message, end.hint, end.exit_code)))
        raise


@contextmanager
def _working(*, shown: bool) -> Iterator[None]:
    """Show that something goes on, while it does."""
    if not shown:
        yield
        return
    _show("Checking…")
    try:
        yield
    finally:
        _show("\r\x1b[K")


def _show(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone
        sys.stderr.write(text)
        sys.stderr.flush()


async def _examine(connect: ConnectOptions, stop: signals.Stop) -> Report:
    """Run the checks until they are done, or the user wants no more of it."""
    from p2pal.doctor.run import examine

    work, stopped = asyncio.ensure_future(examine(connect)), asyncio.ensure_future(stop.wait())
    await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
    for task in (work, stopped):
        task.cancel()
    await asyncio.wait((work, stopped))
    if work.cancelled():
        raise Interrupted("interrupted")
    return work.result()


def as_lines(report: Report) -> Iterator[str]:
    """Yield one JSON object for each finding, and one for all."""
    for finding in report.findings:
        yield jsonl.encode(
            {
                "event": "check",
                "check": finding.check,
                "target": finding.target,
                "result": finding.verdict.word,
                "detail": finding.detail,
                "advice": finding.advice,
                "ms": None if finding.seconds is None else round(finding.seconds * 1000, 1),
            }
        )
    counts = {verdict.word: report.count(verdict) for verdict in (Rating.OK, Rating.WARN, Rating.FAIL)}
    yield jsonl.encode({"event": "summary", "result": report.verdict.word, **counts, "exit_code": report.exit_code})


def as_table(report: Report, width: int | None, *, colour: bool = False) -> Iterator[str]:
    """Yield the lines of the table, and what to do.

    Args:
        report: What was found.
        width: Columns of the terminal; None for no limit.
        colour: Whether the results have colours.
    """
    checks = max(len(text) for text in (_HEADINGS[0], *(finding.check for finding in report.findings))) + GAP
    results = len(_HEADINGS[1]) + GAP
    yield f"{_HEADINGS[0]:<{checks}}{_HEADINGS[1]:<{results}}{_HEADINGS[2]}"
    for finding in report.findings:
        first, *rest = _folded(safe(finding.detail, DETAIL, isolate=False), width, checks + results)
        yield f"{finding.check:<{checks}}{_result(finding, results, colour=colour)}{first}"
        for line in rest:
            yield " " * (checks + results) + line
    yield ""
    todo = [finding for finding in report.findings if finding.advice]
    if todo:
        yield "What to do:"
        for number, finding in enumerate(todo, 1):
            start = f"{number}. "
            first, *rest = _folded(f"{finding.check}: {safe(finding.advice, DETAIL, isolate=False)}", width, len(start))
            yield start + first
            for line in rest:
                yield " " * len(start) + line
        yield ""
    yield from _folded(summary(report), width, 0)


def _result(finding: CheckResult, cells: int, *, colour: bool) -> str:
    word = "-" if finding.verdict is Rating.NONE else finding.verdict.word
    shown = click.style(word, fg=_COLOURS[finding.verdict]) if colour and finding.verdict in _COLOURS else word
    return shown + " " * (cells - len(word))


def _folded(text: str, width: int | None, indent: int) -> list[str]:
    """Break a text between words, for the columns that are left beside ``indent`` ones."""
    if width is None:
        return [text]
    return textwrap.wrap(text, max(width - indent, LEAST_DETAIL), break_on_hyphens=False) or [""]


def summary(report: Report) -> str:
    """Return what it all comes to."""
    failed, warnings = report.count(Rating.FAIL), report.count(Rating.WARN)
    warned = f"{plural(warnings, 'warning')}" if warnings else ""
    if not failed:
        works = "Transfers should work" + (" within one network" if report.near_only else "")
        works += "" if report.complete else ", as far as there was time to check"
        return f"{works}; {warned}." if warned else f"{works}."
    counted = f"{plural(failed, 'check')} failed" + (f", {warned}" if warned else "")
    blame = (
        "No transfer can begin" if report.exit_code in _NO_SERVER else "Transfers will not work, or not with everyone"
    )
    return f"{blame}: {counted}."
