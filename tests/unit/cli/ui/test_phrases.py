from __future__ import annotations

from typing import Any, Literal

import pytest

from p2pal.app import events
from p2pal.cli.ui import phrases

LONG = "photos/" + "very long " * 30 + "name.jpg"


@pytest.mark.parametrize(
    ("attempts", "connected", "line"),
    [
        (3, True, "Connection lost, reconnecting (2/3)"),
        (None, True, "Connection lost, reconnecting (2)"),
        (3, False, "No connection yet, trying again (2/3)"),
    ],
)
def test_reconnecting(attempts: int | None, connected: bool, line: str) -> None:
    event = events.Reconnecting(attempt=2, attempts=attempts, delay=1.0)
    assert phrases.reconnecting(event, connected=connected) == line


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (events.Waiting(what="network", seconds=598.2), "No network here; waiting up to 9:58"),
        (events.Waiting(what="peer", seconds=598.2), "The other side is offline; waiting up to 9:58"),
        (events.Waiting(what="disk", seconds=598.2), "The disk is full; waiting for space, up to 9:58"),
        (events.Waiting(what="peer-disk", seconds=598.2), "The other side's disk is full; waiting up to 9:58"),
        (events.Waiting(what="peer-disk"), "The other side's disk is full; waiting"),
        (events.Waiting(what="server", seconds=28.0), "The signaling server is not ready; waiting up to 0:28"),
        (events.Waiting(what="disk"), "The disk is full; waiting for space"),
        (events.Waiting(what="network", seconds=None), "No network here; waiting"),
        (events.Waiting(what=""), "Going on"),
    ],
)
def test_waiting(event: events.Waiting, line: str) -> None:
    assert phrases.waiting(event) == line


def test_a_server_that_was_there_before() -> None:
    event = events.Waiting(what="server", seconds=117.0)
    assert phrases.waiting(event, served=True) == "The signaling server does not answer; waiting up to 1:57"
    assert phrases.waiting(events.Waiting(what=""), served=True) == "Going on"
    assert phrases.waiting(events.Waiting(what="network"), served=True) == "No network here; waiting"


def test_resuming() -> None:
    event = events.Resuming(id="k7x2m2qa", files=12, done=4_200_000_000, total=10_000_000_000)
    assert phrases.resuming(event, "receive", 20) == ["Resuming: 4.2 of 10.0 GB are here already (12 of 20 files)"]
    assert phrases.resuming(event, "send", 20) == ["Resuming: 4.2 of 10.0 GB are there already (12 of 20 files)"]
    assert phrases.resuming(event, "send", None) == ["Resuming: 4.2 of 10.0 GB are there already (12 files)"]


def test_resuming_says_what_changed_and_breaks_what_is_long() -> None:
    event = events.Resuming(id="k7x2m2qa", files=12_345, done=999_000, total=10_000_000_000, changed=2)
    assert phrases.resuming(event, "send", 20_000) == [
        "Resuming: 999.0 kB of 10.0 GB are there already",
        "  (12,345 of 20,000 files)",
        "2 files changed since",
    ]


def test_starting_over() -> None:
    whole = events.StartingOver(reason="the files are not those from before")
    one = events.StartingOver(reason="it was edited here", name="report.pdf")
    hostile = events.StartingOver(reason="gone\n\x1b[2J", name="\x1b[2J")
    assert phrases.starting_over(whole) == "Starting over: the files are not those from before"
    assert phrases.starting_over(one) == "report.pdf starts over: it was edited here"
    assert phrases.starting_over(hostile) == "\\x1b[2J starts over: gone\\n\\x1b[2J"


def test_saved_gives_commands_that_can_be_copied() -> None:
    command = "p2pal send -server https://example.org/" + "x" * 300 + " --resume k7x2m2qa"
    event = events.Saved(id="k7x2m2qa" + "a" * 18, command=command, done=42, total=100)
    assert phrases.saved(event, "send") == ["Saved at 42%. To go on:", command]
    event = events.Saved(id="k7x2m2qa" + "a" * 18, command="p2pal recv NEWCODE", done=0, total=0)
    assert phrases.saved(event, "receive") == [
        "Saved at 100%. To go on, the sender types, as on its screen:",
        "p2pal send --resume k7x2m2qa",
        "and then here, with the new code:",
        "p2pal recv NEWCODE",
    ]


def test_unsaved() -> None:
    event = events.Unsaved(reason="Permission denied\n")
    assert phrases.unsaved(event) == ["If this transfer stops, it cannot go on later:", "  Permission denied\\n"]


def test_everything_fits_sixty_columns() -> None:
    whats: list[Literal["network", "peer", "disk", "peer-disk", ""]] = ["network", "peer", "disk", "peer-disk", ""]
    lines = [*phrases.UNPROVEN, *phrases.unsaved(events.Unsaved(reason="the disk is full"))]
    lines += [phrases.waiting(events.Waiting(what=what, seconds=359_999.0)) for what in whats]
    lines += [phrases.waiting(events.Waiting(what="server", seconds=359_999.0), served=True)]
    for attempts in (1000, None):
        event = events.Reconnecting(attempt=1000, attempts=attempts, delay=1.0)
        lines += [phrases.reconnecting(event, connected=connected) for connected in (True, False)]
    for role in ("send", "receive"):
        resuming = events.Resuming(id="a" * 26, files=999_999, done=999_900, total=10**18, changed=999_999)
        lines += phrases.resuming(resuming, role, 1_000_000)
        saved = events.Saved(id="a" * 26, command="p2pal send --resume k7x2m2qa", done=1, total=2)
        lines += phrases.saved(saved, role)
    for name in ("", LONG, "写真" * 40, "\x1b" * 100):
        for reason in ("gone", "its size is not what it was"):
            lines.append(phrases.starting_over(events.StartingOver(reason=reason, name=name)))
    assert [line for line in lines if len(line) > phrases.WIDTH] == []


KINDS: dict[str, tuple[bool, str, str]] = {
    "excluded": (True, "Left out by patterns, 1 name:", "Left out by patterns, 1,204 names:"),
    "reserved-name": (True, "Left out, a name that p2pal gives to unfinished files:", "Left out, 1,204 names that"),
    "file-system": (False, "With 1 other file system, unless --one-file-system:", "With 1,204 other file systems, "),
    "outward-link": (False, "1 link leads out of the tree and will not be made:", "1,204 links lead out of the "),
    "unreadable": (False, "1 file may not be read and will fail:", "1,204 files may not be read and will fail:"),
    "date": (False, "1 date not from 1678 to 2262, moved to the nearest:", "1,204 dates not from 1678 to 2262, "),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_found_before_it_is_sent(kind: Any) -> None:
    left_out, one, many = KINDS[kind]
    found = [
        events.Finding(kind=kind, count=1, names=["a\x1b[2J"], left_out=left_out),
        events.Finding(kind=kind, count=1204, names=list("abcdefghij"), left_out=left_out),
    ]
    lines = phrases.findings(found)
    assert lines[:2] == [one, "  a\\x1b[2J"]
    assert lines[2].startswith(many)
    assert lines[3] == "  a, b and 1,202 more"
    assert all(len(line) <= phrases.WIDTH for line in lines)


def test_what_stays_on_one_file_system() -> None:
    found = [events.Finding(kind="file-system", count=2, names=["a", "b"], left_out=True)]
    assert phrases.findings(found) == ["Left out, the contents of 2 other file systems:", "  a and b"]
