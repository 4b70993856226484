"""Another connection tried beside one that is well, over a real server and real WebRTC connections."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest
from tests.unit.peer.kit import PATIENCE, Owner, pair, payloads

from p2pal.lanes.base import Connection
from p2pal.lanes.webrtc.connection import WebRtcConnection
from p2pal.lanes.webrtc.factory import WebRtcFactory
from p2pal.peer import path_comparison


async def prefer_the_new(new: Connection, used: Connection, heard: asyncio.Event) -> bool:
    """Take every path that works: on loopback all are alike."""
    await heard.wait()  # however long it takes: before that the other side would miss the old one
    return not await path_comparison.is_better(new, used, heard) and await new.path() is not None


@pytest.mark.parametrize("by_left", [True, False])
async def test_a_better_path_is_taken_without_a_break(by_left: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pal.peer.engine.is_better", prefer_the_new)
    monkeypatch.setattr("p2pal.link.path_upgrade.SETTLED", 0.0)
    there, back = payloads(3000, most=20_000), payloads(300, 2)

    left, right = Owner(there[:1500]), Owner(back[:100])
    async with pair(left, right) as (running, _):
        await running.linked()
        (left if by_left else right).peer.link._on_networks()
        await left.until(lambda: left.peer.link.negotiator.generation == 2)
        left.to_send.extend(there[1500:])
        right.to_send.extend(back[100:])
        for owner in (left, right):
            await owner.until_true(lambda owner=owner: owner.peer.link.negotiator.in_use == 2)  # type: ignore[misc]
            await owner.until_true(lambda owner=owner: len(owner.peer.link.lanes.by_id) == 1)  # type: ignore[misc]
            owner.peer_turn(())
        await right.until(lambda: len(right.received) == len(there))
        await left.until(lambda: len(left.received) == len(back))
        assert (right.received, left.received) == (there, back)
        for owner in (left, right):
            assert (owner.retries, owner.back, owner.waits, owner.silences) == ([], 0, [], [])
            assert len(owner.paths) == 1, "the words are the same"


async def test_a_path_that_is_no_better_is_dropped_and_nobody_is_told() -> None:
    there = payloads(600)
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        right.peer.link._on_networks()
        await right.until_true(lambda: right.peer.link.negotiator.generation == 2)
        await right.until_true(lambda: len(right.peer.link.engine.connections) == 2)
        for owner in (left, right):
            await owner.until_true(lambda owner=owner: len(owner.peer.link.engine.connections) == 1)  # type: ignore[misc]
        left.to_send.extend(there)
        left.peer_turn(())
        await right.until(lambda: len(right.received) == len(there))
        for owner in (left, right):
            assert owner.peer.link.negotiator.in_use == 1
            assert (owner.retries, owner.back, owner.silences) == ([], 0, [])


async def test_a_side_may_end_while_paths_are_compared() -> None:
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        left.peer.link._on_networks()
        await left.until_true(lambda: len(left.peer.link.lanes.by_id) == 2)
        await left.peer.close()
        assert await running.end() == [None, None]


class Engine(Exception):
    """What an engine may raise."""


@pytest.mark.parametrize("broken", ["offer", "answer", "path"])
async def test_whatever_the_engine_makes_of_the_new_connection_the_old_one_stays(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pal.link.path_upgrade.SETTLED", 0.0)

    there = payloads(300)
    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        failed = asyncio.Event()

        def fail(*_: object) -> NoReturn:
            failed.set()
            raise Engine("out of order")

        if broken == "path":
            monkeypatch.setattr("p2pal.peer.engine.is_better", fail)
        else:
            monkeypatch.setattr(WebRtcConnection, broken, fail)
        left.peer.link._on_networks()
        async with asyncio.timeout(PATIENCE):
            await failed.wait()
        await (right if broken == "answer" else left).until_true(
            lambda: len((right if broken == "answer" else left).peer.link.engine.connections) == 1
        )
        left.to_send.extend(there)
        left.peer_turn(())
        await right.until(lambda: len(right.received) == len(there))
        for owner in (left, right):
            assert owner.peer.link.negotiator.in_use == 1
            assert (owner.retries, owner.back, owner.silences) == ([], 0, [])


async def test_a_connection_that_cannot_even_be_made_is_a_try_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, direct: bool, **__: object) -> NoReturn:
        raise Engine(direct)

    left, right = Owner(), Owner()
    async with pair(left, right) as (running, _):
        await running.linked()
        negotiator = left.peer.link.negotiator
        monkeypatch.setattr(WebRtcFactory, "connect", fail)
        left.peer.link._on_networks()
        await left.until_true(lambda: negotiator.generation == 2)
        await left.until_true(lambda: negotiator._live.trying == 0)
        assert left.peer.link.engine._beside == set()
        assert negotiator.in_use == 1
        assert left.peer.link.linked
