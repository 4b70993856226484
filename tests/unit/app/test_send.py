"""The sending side of the API; what both sides do together is in test_receive.py."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.trees import MIB, content, write
from tests.unit.app.kit import follow, place

import p2pal
from p2pal.app import events
from p2pal.app.events import Event
from p2pal.app.transfer import Transfer
from p2pal.errors import Interrupted, PartialFailure, Refused, ServerUnreachable, UsageError


def stop_at(kind: type[Event]) -> object:
    def hook(event: Event, transfer: Transfer) -> None:
        if isinstance(event, kind):
            transfer.cancel()

    return hook


SIZE = Path(__file__).stat().st_size


async def test_the_code_comes_with_the_command_for_the_other_machine(tmp_path: Path) -> None:
    async with place(tmp_path) as there, there.send(Path(__file__)) as transfer:
        found = {type(event): event for event in [await anext(transfer), await anext(transfer)]}
    code, listed = found[events.Code], found[events.Listed]
    assert isinstance(code, events.Code)
    assert code.command == f"p2pal recv -server {there.connect.server} {code.code}"
    assert 0 < code.ttl <= 300
    assert listed == events.Listed(names=["test_send.py"], files=1, entries=1, total=SIZE)


async def test_the_servers_password_is_not_told_on_with_the_code(tmp_path: Path) -> None:
    async with place(tmp_path) as there:
        shown = there.connect.server
        connect = replace(there.connect, server=shown.replace("http://", "http://ann:p%40ss@"))
        async with p2pal.send([__file__], connect=connect) as transfer:
            found = [await anext(transfer), await anext(transfer)]
    (code,) = (event for event in found if isinstance(event, events.Code))
    assert code.server == shown
    assert code.command == f"p2pal recv -server {shown} {code.code}"


@pytest.mark.parametrize("at", [events.Code, events.Listed])
async def test_it_can_be_cancelled_while_it_waits(tmp_path: Path, at: type[Event]) -> None:
    async with place(tmp_path) as there:
        async with asyncio.timeout(20):
            ended = await follow(there.send(Path(__file__)), stop_at(at))  # type: ignore[arg-type]
        assert isinstance(ended.error, Interrupted)
        assert ended.kinds[-1] is events.Failure


@pytest.mark.parametrize("paths", [[], ["missing"], ["."]])
async def test_what_cannot_be_sent_is_a_usage_error(tmp_path: Path, paths: list[str]) -> None:
    async with place(tmp_path) as there:
        ended = await follow(there.send(*(tmp_path / path for path in paths), recursive=False))
        assert isinstance(ended.error, UsageError)
        assert ended.kinds == [events.Failure]


async def test_no_server() -> None:
    connect = p2pal.ConnectOptions(server="http://127.0.0.1:1", stun=None, only_loopback=True)
    ended = await follow(p2pal.send([__file__], connect=connect))
    assert isinstance(ended.error, ServerUnreachable)


def test_a_person_is_asked_before_there_is_a_code(tmp_path: Path) -> None:
    asked: list[events.Listed] = []

    async def no(listed: events.Listed) -> bool:
        asked.append(listed)
        return False

    async def sending() -> None:
        async with place(tmp_path) as there:
            ended = await follow(there.send(write(tmp_path / "report.pdf", content(MIB)), confirm=no))
        assert isinstance(ended.error, Refused)
        assert events.Code not in ended.kinds

    asyncio.run(sending())
    assert asked == [events.Listed(names=["report.pdf"], files=1, entries=1, total=MIB)]


async def test_a_walk_that_fails_ends_a_transfer_that_nobody_joined(tmp_path: Path) -> None:
    import os

    write(tmp_path / "tree" / "good", "x")
    os.mkfifo(tmp_path / "tree" / "fifo")

    async with place(tmp_path) as there, asyncio.timeout(20):
        ended = await follow(there.send(tmp_path / "tree"))
    assert isinstance(ended.error, PartialFailure)
    assert ended.only(events.FileNotDelivered).name == "tree/fifo"
