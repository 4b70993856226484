from __future__ import annotations

import asyncio
from typing import cast

import pytest

from p2pal.app.options import ConnectOptions
from p2pal.app.shell import Shell, ice_servers
from p2pal.app.tracker import Tracker
from p2pal.errors import DiskError, PeerLost
from p2pal.lanes.base import IceServer
from p2pal.peer.peer import Peer
from p2pal.transfer.events import Finished
from p2pal.transfer.manifest import Manifest
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


class Losing:
    """A peer whose link is lost for good."""

    async def run(self) -> None:
        raise PeerLost("lost")


class Bare(Shell):
    """A use case with nothing to do."""

    def __init__(self) -> None:
        super().__init__(ConnectOptions())
        self._tracker = Tracker("receive", Manifest(), self._emit, 0.0)

    async def _main(self) -> None:
        await self._stream(cast("Peer", Losing()))

    def _move(self) -> None: ...

    def _handle_event(self, event: object) -> None:
        self._tracker.handle(event)

    def _credit(self) -> None: ...

    async def _close(self, peer: Peer) -> None: ...


@pytest.mark.parametrize("finished", [False, True])
def test_a_link_that_is_lost_after_the_last_word_is_no_error(finished: bool) -> None:
    async def run() -> None:
        shell = Bare()
        if finished:
            shell._handle_event(Finished(1, 0, 1, 0, 0, 1.0))
            await shell._main()
        else:
            with pytest.raises(PeerLost):
                await shell._main()

    asyncio.run(run())


class Waiting:
    """A peer that runs until it is abandoned."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        await self.ended

    def abandon(self, error: BaseException | None = None) -> None:
        assert error is not None
        self.ended.set_exception(error)


class Breaking(Bare):
    """A use case whose look at the clock fails, as it does when the list of files cannot be read any more."""

    async def _main(self) -> None:
        await self._stream(cast("Peer", Waiting()))

    def _look(self, now: float) -> None:
        raise DiskError("the list is gone")


def test_what_fails_at_a_look_at_the_clock_ends_the_transfer() -> None:
    async def run() -> None:
        with pytest.raises(DiskError):
            async with asyncio.timeout(10):
                await Breaking()._main()

    asyncio.run(run())
