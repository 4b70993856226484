"""A sender with the right words that means no good: what it costs, and what the person sees, before anyone agrees."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from tests.security.hostile import Hostile, hostile_sender, offer, payload

from p2pal.app import events
from p2pal.errors import DiskError, ProtocolError
from p2pal.wire import transfer as wire
from p2pal.wire.transfer import Entry, EntryKind

NAMES = [Entry(b"a-name-%04d" % number, EntryKind.FILE, 1) for number in range(1000)]


async def linked(hostile: Hostile) -> None:
    hostile.stream(sender=True)
    await hostile.until(lambda: hostile.peer.writable)


async def test_a_list_too_long_for_the_disk_is_an_error_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pal.app.manifest_file.IN_MEMORY", 100)

    async with hostile_sender(tmp_path) as (honest, hostile):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
        await linked(hostile)
        hostile.say(offer(NAMES))
        assert isinstance(await honest.end(), DiskError)
        assert os.listdir(tmp_path) == []


AFTER_CONSENT = {
    "another entry": payload(wire.OfferPart(1, [Entry(b"more", EntryKind.FILE, 1)])),
    "another offer": offer([Entry(b"other", EntryKind.FILE, 1)]),
    "a file that is not in it": payload(wire.Chunk(1, 0, b"x")),
    "more than its size": payload(wire.Chunk(0, 0, b"xx")),
    "an end too early": payload(wire.AllSent()),
    "words of a receiver": payload(wire.Complete(1, 0)),
    "no record": b"\x00" * 64,
}


@pytest.mark.parametrize("said", AFTER_CONSENT.values(), ids=AFTER_CONSENT)
async def test_what_was_not_agreed_to_is_not_written(tmp_path: Path, said: bytes) -> None:
    async with hostile_sender(tmp_path) as (honest, hostile):
        await linked(hostile)
        hostile.say(offer([Entry(b"file", EntryKind.FILE, 1)]))
        await honest.until(events.Accepted)
        hostile.say(said)
        assert isinstance(await honest.end(), ProtocolError)
        assert os.listdir(tmp_path) == []


async def test_bytes_before_consent_are_not_written(tmp_path: Path) -> None:
    async with hostile_sender(tmp_path) as (honest, hostile):
        await linked(hostile)
        hostile.say(payload(wire.OfferBegin(bytes(16)), wire.Chunk(0, 0, b"x")))
        assert isinstance(await honest.end(), ProtocolError)
        assert os.listdir(tmp_path) == []


async def test_a_success_that_the_sender_claims_by_closing_is_none(tmp_path: Path) -> None:
    async with hostile_sender(tmp_path) as (honest, hostile):
        await linked(hostile)
        hostile.say(offer([Entry(b"file", EntryKind.FILE, 1)]))
        await honest.until(events.Accepted)
        await asyncio.gather(hostile.peer.close(0, "done"))
        assert await honest.end() is not None
        assert os.listdir(tmp_path) == []
