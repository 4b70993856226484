"""What ``p2pal checkpoint`` does once its command line is understood."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Final

from p2pal import units
from p2pal.cli import config
from p2pal.cli.commands.checkpoint_ids import SHOWN, shortened
from p2pal.cli.streams import Writer, write_results
from p2pal.cli.text import broken, names, safe
from p2pal.cli.ui import jsonl
from p2pal.cli.ui.prompts import agree, interactive
from p2pal.cli.ui.table import Column, lay_out, terminal_width
from p2pal.disk.checkpoints.store import Checkpoints, CheckpointSummary, Removed
from p2pal.disk.fs.locks import IN_USE
from p2pal.errors import CheckpointError, Refused, UsageError

DIRECTIONS: Final = {"send": "sending", "receive": "receiving"}
NO_CHECKPOINTS: Final = "No checkpoints."
MAX_LEFT: Final = 20
"""Unfinished files that could not be removed and are named; the rest is counted."""

_NAME: Final = 60
_PATH: Final = 4096


def run_list(*, as_json: bool) -> None:
    """Show all checkpoints.

    Raises:
        CheckpointError: If the directory cannot be read.
        OutputError: If the list cannot be written.
    """
    found = Checkpoints(config.home()).list()
    write_results(map(json_line, found) if as_json else table(found, time.time(), terminal_width()))


def json_line(summary: CheckpointSummary) -> str:
    """Return one checkpoint as a line of JSON."""
    fields = (
        "id", "role", "names", "more", "files", "files_done", "total", "done", "created", "used", "expires_at", "where",
        "in_use", "problem",
    )  # fmt: skip
    return jsonl.encode({name: getattr(summary, name) for name in fields})


def table(found: Sequence[CheckpointSummary], now: float, width: int | None) -> list[str]:
    """Return the checkpoints as people read them; those that cannot be used come last, with the reason.

    Args:
        found: The checkpoints.
        now: Seconds since the epoch.
        width: Columns of the terminal; None for no limit.
    """
    if not found:
        return [NO_CHECKPOINTS]
    short = shortened(summary.id for summary in found)
    usable = [summary for summary in found if not summary.problem]
    lines = lay_out(_columns(usable, short, now), width) if usable else []
    for summary in found:
        if summary.problem:
            line = f"{short[summary.id]}  {DIRECTIONS[summary.role]}  cannot be used: {safe(summary.problem)}"
            lines += [line] if width is None else _wrapped(line, width)
    return lines


def _wrapped(line: str, width: int) -> list[str]:
    """Break a line between words; all but the first are indented."""
    import textwrap

    return list(broken(textwrap.wrap(line, width, subsequent_indent="  ", break_on_hyphens=False)))


def _columns(found: Sequence[CheckpointSummary], short: dict[str, str], now: float) -> list[Column]:
    return [
        Column("ID", [short[each.id] for each in found]),
        Column("DIRECTION", [DIRECTIONS[each.role] for each in found]),
        Column("FILES", [f"{each.files_done:,} of {each.files:,}" for each in found], right=True, drop=3),
        Column("SIZE", [units.part(each.done, each.total) for each in found], right=True, drop=2),
        Column("DONE", [f"{units.percent(each.done, each.total)}%" for each in found], right=True),
        Column("AGE", [units.age(now - each.created) for each in found], right=True, drop=4),
        Column("EXPIRES", [_expires(each, now) for each in found]),
        Column("WHAT", [names(each.names, more=each.more, limit=_NAME) for each in found], shrink=12),
        Column("WHERE", [safe(each.where, _PATH) for each in found], shrink=16, drop=1),
    ]


def _expires(summary: CheckpointSummary, now: float) -> str:
    if summary.in_use:
        return "in use"
    left = summary.expires_at - now
    if left <= 0:
        return "expired"
    half = next((unit / 2 for unit in (86_400, 3_600, 60) if left >= unit), 0.0)
    return f"in {units.age(left + half)}"


def run_delete(prefix: str) -> None:
    """Remove a checkpoint, both where this machine has both sides' of the transfer.

    Raises:
        CheckpointError: If there is none, more than one, or it is in use.
    """
    kept = report_removed(Checkpoints(config.home()).remove(prefix))
    if kept:
        first = kept[0]
        message = f"the checkpoint {first.id[:SHOWN]} ({DIRECTIONS[first.role]}) was not removed: {first.problem}"
        raise CheckpointError(message, hint="stop the transfer that uses it" if _busy(first) else None)


def run_clean() -> None:
    """Remove what has expired.

    Raises:
        CheckpointError: If something could not be removed, other than what is in use.
    """
    removed = Checkpoints(config.home()).clean(time.time())
    if not removed:
        Writer(sys.stdout).line("No checkpoint has expired.")
    _settled(report_removed(removed))


def run_clean_all(*, yes: bool) -> None:
    """Remove all of them; ask first, unless ``yes``.

    Raises:
        CheckpointError: If something could not be removed, other than what is in use.
        Refused: If the person does not agree.
        UsageError: If there is nobody to ask.
    """
    if not yes and not interactive():
        raise UsageError("there is no terminal to ask at", hint="add -y to remove them without a question")
    checkpoints = Checkpoints(config.home())
    found = checkpoints.list()
    if not found:
        Writer(sys.stdout).line(NO_CHECKPOINTS)
        return
    free = any(not summary.in_use for summary in found)
    if free and not yes and not agree(question(found)):
        raise Refused("nothing was removed", hint="")
    _settled(report_removed(checkpoints.clean_all()))


def question(found: Sequence[CheckpointSummary]) -> str:
    """Return what is asked before all of these are removed."""
    busy = sum(summary.in_use for summary in found)
    count = units.plural(len(found) - busy, "checkpoint")
    receiving = sum(summary.role == "receive" and not summary.in_use for summary in found)
    files = " and the unfinished files" if receiving else ""
    stay = f" ({busy:,} in use {'stays' if busy == 1 else 'stay'})" if busy else ""
    return f"Remove {count}{files}{stay}?"


def report_removed(removed: Iterable[Removed]) -> list[Removed]:
    """Say what was removed, and what was not and why; return the checkpoints that are still there."""
    out, err = Writer(sys.stdout), Writer(sys.stderr)
    kept: list[Removed] = []
    for each in removed:
        what = f"{each.id[:SHOWN]} ({DIRECTIONS[each.role]})"
        if not each.removed:
            kept.append(each)
            err.line(f"Left: {what}: {safe(each.problem)}")
            continue
        cleaned = each.cleaned
        files = f" and {units.plural(cleaned.parts, 'unfinished file')}, {units.size(cleaned.size)}"
        out.line(f"Removed: {what}{files if cleaned.parts else ''}")
        if each.problem:
            err.line(f"  {safe(each.problem)}")
        for path, why in cleaned.left[:MAX_LEFT]:
            err.line(f"  left: {f'{safe(path)}: ' if path else ''}{safe(why)}")
        if more := cleaned.left_more + len(cleaned.left[MAX_LEFT:]):
            err.line(f"  left: {units.plural(more, 'more unfinished file')}")
    return kept


def _busy(each: Removed) -> bool:
    return each.problem == IN_USE


def _settled(kept: Sequence[Removed]) -> None:
    """What is in use may stay; anything else is an error."""
    failed = sum(not _busy(each) for each in kept)
    if failed:
        raise CheckpointError(f"{units.plural(failed, 'checkpoint')} could not be removed")
