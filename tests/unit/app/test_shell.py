from __future__ import annotations

import asyncio
import threading

import pytest
from tests.unit.server.kit import on_loop

from p2pal.app.options import ConnectOptions
from p2pal.app.shell import ice_servers, in_thread
from p2pal.lanes.base import IceServer
from p2pal.wire.rendezvous import IceServer as Offered

OFFERED = [Offered(["stun:offered:1"]), Offered(["turn:offered:2"], "user", "pass")]


def test_our_own_servers_come_first_and_the_offered_ones_are_used_too() -> None:
    connect = ConnectOptions(stun=("stun:own:1",), turn=("turn:own:2",), turn_user="me", turn_pass="secret")
    assert ice_servers(connect, OFFERED) == [
        IceServer(("stun:own:1",)),
        IceServer(("stun:offered:1",)),
        IceServer(("turn:offered:2",), "user", "pass"),
        IceServer(("turn:own:2",), "me", "secret"),
    ]


def test_stun_none_switches_the_offered_ones_off_too() -> None:
    assert ice_servers(ConnectOptions(stun=None), OFFERED) == []
    turn = ConnectOptions(stun=None, turn=("turn:own:2",), turn_user="me", turn_pass="secret")
    assert [server.urls for server in ice_servers(turn, OFFERED)] == [("turn:own:2",)]


def test_no_stun_of_our_own_leaves_the_offered_ones() -> None:
    assert [server.urls for server in ice_servers(ConnectOptions(stun=()), OFFERED)] == [
        ("stun:offered:1",),
        ("turn:offered:2",),
    ]


class Slow:
    """Something that a thread makes when it is let, and that must be closed by somebody."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.closed: list[str] = []

    def make(self) -> str:
        self.begun.set()
        assert self.go.wait(20)
        return "made"


async def begun(slow: Slow) -> asyncio.Task[str]:
    task = asyncio.create_task(in_thread(slow.make, undo=slow.closed.append))
    await asyncio.to_thread(slow.begun.wait, 20)
    return task


@on_loop
async def test_what_a_thread_made_belongs_to_who_waited() -> None:
    slow = Slow()
    task = await begun(slow)
    slow.go.set()
    assert await task == "made"
    assert slow.closed == []


@on_loop
async def test_what_fails_in_a_thread_has_nothing_to_undo() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await in_thread(fail, undo=lambda made: pytest.fail("nothing was made"))


def test_what_nobody_waits_for_is_undone_once_although_the_loop_ends() -> None:
    slow = Slow()

    async def leave() -> None:
        task = await begun(slow)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
        slow.go.set()

    asyncio.run(leave())
    assert slow.closed == ["made"]


def test_what_was_made_in_the_moment_of_leaving_is_undone_too() -> None:
    slow = Slow()

    async def leave() -> None:
        task = await begun(slow)
        slow.go.set()
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()

    asyncio.run(leave())
    assert slow.closed == ["made"]
