from __future__ import annotations

import json
import os

import msgspec
import pytest

from p2pal.app import events
from p2pal.cli.ui import jsonl

EVENTS: list[events.Event] = [
    events.Listed(names=["a"], files=1, entries=1, total=5),
    events.Code(code="zebra-luna-47", ttl=300.0, server="http://a", command="p2pal recv zebra-luna-47"),
    events.Joining(),
    events.WrongGuess(left=2),
    events.PeerJoined(),
    events.Connected(path="direct, host udp"),
    events.Reconnecting(attempt=1, attempts=3, delay=1.0),
    events.Reconnected(),
    events.Silence(seconds=3.5),
    events.Waiting(what="disk", seconds=600.0),
    events.Resuming(id="k7x2m9qa", files=12, done=4, total=10, changed=1, where="/a"),
    events.StartingOver(reason="another transfer", name="a"),
    events.Missing(names=["a"], more=2),
    events.Unproven(),
    events.Unsaved(reason="the disk is full"),
    events.Saved(id="k7x2m9qa", command="p2pal send --resume k7x2m9qa", done=4, total=10),
    events.Offered(tops=[events.Top(name="a", kind="file", files=1, size=5)], more=0, files=1, entries=1, total=5),
    events.Accepted(files=1, total=5, renamed={"a": "a (1)"}),
    events.Progress(done=1, total=5, files_done=0, files_failed=0, files=1, rate=1.0, eta=None, name="a"),
    events.Comparing(name="a"),
    events.FileDelivered(name="a", size=5, digest="00"),
    events.SavedAs(name="a", saved_as="a (1)"),
    events.FileNotDelivered(name="a", reason="r"),
    events.Summary(role="send", ok=True, files=1, failed=0, total=5, seconds=1.0, rate=5.0, path="direct, host udp"),
    events.Failure(code="usage", message="m", hint="h", exit_code=2),
]


def test_the_list_above_is_complete() -> None:
    assert {type(event) for event in EVENTS} == set(events.Event.__subclasses__())


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_is_one_line_that_reads_back(event: events.Event) -> None:
    line = jsonl.encode(event)
    assert "\n" not in line
    assert msgspec.json.decode(line, type=events.AnyEvent) == event
    assert next(iter(json.loads(line))) == "event"


def test_a_name_that_is_no_utf8_gives_its_bytes_back() -> None:
    name = b"caf\xe9 \xff".decode("utf-8", "surrogateescape")
    line = jsonl.encode(events.FileNotDelivered(name=name, reason=""))
    assert line.isascii()
    assert os.fsencode(json.loads(line)["name"]) == b"caf\xe9 \xff"


def test_hostile_names_keep_their_value_but_not_their_power() -> None:
    name = "\x1b[2J\u202e\x9b\u2028\x7f\U000e0041"
    line = jsonl.encode(events.FileDelivered(name=name, size=0, digest=""))
    assert line.isprintable()
    assert json.loads(line)["name"] == name


def test_other_objects_are_lines_too() -> None:
    line = jsonl.encode({"names": ("a\n\x1b", b"\xff".decode("utf-8", "surrogateescape")), "problem": ""})
    assert line.isprintable()
    assert json.loads(line) == {"names": ["a\n\x1b", "\udcff"], "problem": ""}
