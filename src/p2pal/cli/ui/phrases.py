"""What is said of a transfer that was interrupted, waits, or goes on.

Every line is safe and fits 60 columns, unless a command or a reason is longer: a command is never cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from p2pal import units
from p2pal.app import events
from p2pal.cli.text import names, safe
from p2pal.role import Role

WIDTH: Final = 60
COMMAND_LIMIT: Final = 1000
REASON_LIMIT: Final = 200
MAX_NAMES: Final = 3
_MIN_NAME: Final = 12

_WAITING: Final = {
    "network": "No network here; waiting",
    "peer": "The other side is offline; waiting",
    "disk": "The disk is full; waiting for space,",
    "peer-disk": "The other side's disk is full; waiting",
    "server": "The signaling server is not ready; waiting",
}

_LOST: Final = "The signaling server does not answer; waiting"

UNPROVEN: Final = (
    "Someone who knows the code, but is not the one from before,",
    "wants the files from the start, in the place of the other",
)

REFUSED: Final = "Refused; still waiting for the one from before"

ALONE: Final = (
    "This machine is connected to no network: the address below is for this machine alone",
    "connect it to a network and send again, or name an address with --serve=HOST:PORT",
)

SHOWN_COMMANDS: Final = 5
"""Further commands that a screen has room for."""

AROUND: Final = "STUN and direct paths go around the proxy {}; --relay-only keeps to it"

JOIN_AGAIN: Final = "If it was stopped: the same recv command there goes on"


def findings(found: Iterable[events.Finding]) -> list[str]:
    """Return what a person should know of what is about to be sent: a line for each kind, and one with its names."""
    lines = []
    for each in found:
        lines.append(_finding(each))
        lines.append(f"  {names(each.names[:MAX_NAMES], more=each.count - len(each.names[:MAX_NAMES]))}")
    return lines


def _finding(found: events.Finding) -> str:
    count, one = found.count, found.count == 1
    match found.kind:
        case "excluded":
            return f"Left out by patterns, {units.plural(count, 'name')}:"
        case "reserved-name":
            return f"Left out, {'a name' if one else f'{count:,} names'} that p2pal gives to unfinished files:"
        case "file-system":
            what = units.plural(count, "other file system")
            return f"Left out, the contents of {what}:" if found.left_out else f"With {what}, unless --one-file-system:"
        case "outward-link":
            return f"{units.plural(count, 'link')} {'leads' if one else 'lead'} out of the tree and will not be made:"
        case "unreadable":
            return f"{units.plural(count, 'file')} may not be read and will fail:"
        case "date":
            return f"{units.plural(count, 'date')} not from 1678 to 2262, moved to the nearest:"


def left_out(count: int) -> str:
    """Return how much was left out on purpose, for the summary."""
    return f"Left out: {units.plural(count, 'name')}, as said before"


def other_commands(event: events.Code) -> list[str]:
    """Return the lines about further addresses that the other machine may reach; none if there is only one."""
    others = event.commands[1:]
    if not others:
        return []
    lines = ["If that address is not reached from there:", *(f"  {each}" for each in others[:SHOWN_COMMANDS])]
    more = len(others) - SHOWN_COMMANDS
    return lines if more <= 0 else [*lines, f"  and at {more} more: --json names them all"]


def reconnecting(event: events.Reconnecting, *, connected: bool) -> str:
    """Return that another attempt is made; ``connected`` says that there was a connection before."""
    attempts = "" if event.attempts is None else f"/{event.attempts}"
    lost = "Connection lost, reconnecting" if connected else "No connection yet, trying again"
    return f"{lost} ({event.attempt}{attempts})"


def waiting(event: events.Waiting, *, served: bool = False) -> str:
    """Return what is waited for, and for how long at most; ``served`` says that the server answered before."""
    if not event.what:
        return "Going on"
    text = _LOST if served and event.what == "server" else _WAITING[event.what]
    if not event.seconds:
        return text.rstrip(",")
    return f"{text} up to {units.clock(event.seconds)}"


def resuming(event: events.Resuming, role: Role, files: int | None) -> list[str]:
    """Return what is there already.

    Args:
        event: What the app says.
        role: Which side says it.
        files: How many files the transfer has, if that is known.
    """
    place = "here" if role == "receive" else "there"
    verb = "is" if event.done == 1 else "are"
    line = f"Resuming: {units.part(event.done, event.total)} {verb} {place} already"
    lines = _joined(line, f"({_count(event.files, files)})") if event.files else [line]
    if event.changed:
        lines.append(f"{units.plural(event.changed, 'file')} changed since")
    return lines


def _count(files: int, of: int | None) -> str:
    return units.plural(files, "file") if of is None or of < files else f"{files:,} of {units.plural(of, 'file')}"


def _joined(line: str, rest: str) -> list[str]:
    return [f"{line} {rest}"] if len(line) + 1 + len(rest) <= WIDTH else [line, f"  {rest}"]


def starting_over(event: events.StartingOver) -> str:
    """Return what starts over and why."""
    reason = safe(event.reason, REASON_LIMIT)
    if not event.name:
        return f"Starting over: {reason}"
    tail = f" starts over: {reason}"
    return safe(event.name, max(WIDTH - len(tail), _MIN_NAME)) + tail


def unsaved(event: events.Unsaved) -> list[str]:
    """Return that the transfer cannot be gone on with if it stops, and why."""
    return ["If this transfer stops, it cannot go on later:", f"  {safe(event.reason, REASON_LIMIT)}"]


def missing(event: events.Missing) -> list[str]:
    """Return which files cannot be sent now."""
    count = len(event.names) + event.more
    lines = [f"{units.plural(count, 'file')} {'is' if count == 1 else 'are'} not there now:"]
    lines += [f"  {safe(name, WIDTH - 2)}" for name in event.names]
    return [*lines, f"  and {event.more:,} more"] if event.more else lines


def saved(event: events.Saved, role: Role) -> list[str]:
    """Return how to go on; each command stands alone on its line, to be copied."""
    at = f"Saved at {units.percent(event.done, event.total)}%. To go on"
    if event.failed:
        at = "What failed can still be had. To go on"
    command = safe(event.command, COMMAND_LIMIT, isolate=False)
    if role == "send":
        return [f"{at}:", command]
    return [
        f"{at}, the sender types, as on its screen:",
        f"p2pal send --resume {safe(event.id[:8])}",
        "and then here, with the new code:",
        command,
    ]
