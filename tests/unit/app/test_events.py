from __future__ import annotations

import typing

import msgspec
import pytest

from p2pal.app import events

KINDS = typing.get_args(events.AnyEvent)


def test_every_event_has_a_name_of_its_own() -> None:
    names = [kind.__struct_config__.tag for kind in KINDS]
    assert len(set(names)) == len(names)
    assert set(KINDS) == set(events.Event.__subclasses__())


def test_the_command_for_the_other_machine() -> None:
    assert events.recv_command("a-b-1", "http://localhost:8080") == "p2pal recv a-b-1"
    assert events.recv_command("a-b-1", "http://x/$y") == "p2pal recv -server 'http://x/$y' a-b-1"


def test_the_command_that_goes_on() -> None:
    here, there = "http://localhost:8080", "http://x/$y"
    assert events.resume_command("send", "abcd2345", here) == "p2pal send --resume abcd2345"
    assert events.resume_command("send", "abcd2345", there) == "p2pal send --resume abcd2345 -server 'http://x/$y'"
    # A receiver needs no id, but the code that the sender will have.
    assert events.resume_command("receive", "abcd2345", here) == "p2pal recv NEWCODE"
    assert events.resume_command("receive", "abcd2345", there) == "p2pal recv -server 'http://x/$y' NEWCODE"


@pytest.mark.parametrize("kind", KINDS)
def test_every_event_is_one_json_object_and_comes_back(kind: type[events.Event]) -> None:
    samples: dict[object, object] = {str: "x", int: 1, float: 1.5, bool: True}
    values = {
        field.name: samples.get(field.type, msgspec.UNSET)
        for field in msgspec.structs.fields(kind)
        if field.type in samples
    }
    special = {
        "names": ["a"], "tops": [events.Top("a", "file", 1, 2)], "renamed": {"a": "b"}, "eta": None, "name": None,
        "role": "send", "lane": "udp", "reason": "version", "attempts": None, "what": "peer-disk", "seconds": None,
        "findings": [events.Finding("file-system", 1, ["a"], left_out=True)], "servers": ("http://a:1",),
        "commands": ("p2pal recv -server http://a:1 x",),
    }  # fmt: skip
    for field in msgspec.structs.fields(kind):
        if field.name not in values:
            values[field.name] = special[field.name]
    event = kind(**values)
    encoded = msgspec.json.encode(event)
    assert msgspec.json.decode(encoded)["event"] == kind.__struct_config__.tag
    assert msgspec.json.decode(encoded, type=events.AnyEvent) == event
