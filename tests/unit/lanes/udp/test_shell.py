"""A lane over real sockets whose loop is busy, or whose sockets end."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest
from tests.contract import lane_pairs
from tests.contract.lane_pairs import udp
from tests.contract.test_lane import Ear
from tests.sim.links import secrets

from p2pal.lanes.address_zones import ONLY_LOOPBACK
from p2pal.lanes.base import Lane
from p2pal.lanes.udp.shell import UdpLane
from p2pal.lanes.udp.sockets import open_socket

BUSY = 0.2


async def opened() -> tuple[Ear, Ear, UdpLane, UdpLane]:
    left, right = Ear(), Ear()
    a, b = await udp(left, right)
    await left.until(lambda: "opened" in left.heard)
    await right.until(lambda: "opened" in right.heard)
    assert isinstance(a, UdpLane)
    assert isinstance(b, UdpLane)
    return left, right, a, b


def test_within_one_machine_large_messages_are_liked() -> None:
    async def main() -> None:
        _, _, a, b = await opened()
        assert a.likes_large
        assert b.likes_large
        for lane in (a, b):
            lane.close()

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's time is read on Linux")
@pytest.mark.parametrize("busy", ["sender", "receiver"])
def test_a_busy_loop_looks_neither_like_a_queue_nor_like_a_loss(busy: str) -> None:
    async def main() -> None:
        _, right, a, b = await opened()
        size, count = 60_000, 60
        sent = 0

        def work(lane: Lane, data: bytes) -> None:
            if len(right.messages) in {10, 30, 50}:
                time.sleep(BUSY)

        def fill() -> None:
            nonlocal sent
            while sent < count and a.budget() > 0:
                a.send(bytes(size))
                sent += 1
                if busy == "sender" and sent in {10, 30, 50}:
                    time.sleep(BUSY)

        if busy == "receiver":
            right.on_message = work
        while len(right.messages) < count:
            fill()
            await right.until(lambda: len(right.messages) == sent)
        figures = a.figures()
        assert figures["lost"] == 0
        assert figures["rtt"] < BUSY / 2
        for lane in (a, b):
            lane.close()

    asyncio.run(main())


def test_a_lane_whose_last_socket_is_gone_ends() -> None:
    async def main() -> None:
        left, right, a, b = await opened()
        a.port_lost(0)
        a.port_lost(0)
        await left.until(lambda: "closed" in left.heard)
        a.send(b"dropped")
        b.close()
        await right.until(lambda: "closed" in right.heard)

    asyncio.run(main())


def test_another_socket_takes_over_from_one_that_is_gone() -> None:
    async def main() -> None:
        left, right, a, b = await opened()
        assert await a.path() is not None
        b.add_remote(await a.bind("127.0.0.1"))
        a.port_lost(0)
        messages = [bytes([index]) * 50_000 for index in range(20)]
        for message in messages:
            a.send(message)
        await right.until(lambda: len(right.messages) == len(messages))
        assert right.messages == messages
        assert a._lane.path is not None
        assert a._lane.path.local == 1
        assert "closed" not in left.heard
        for lane in (a, b):
            lane.close()

    asyncio.run(main())


@pytest.mark.parametrize("how", ["closed", "kept"])
def test_a_socket_that_is_of_no_use_any_more_when_it_is_ready_is_closed(how: str) -> None:
    """A loop that watches no sockets takes a moment to open one: the lane, or the address, may be gone by then."""

    async def main() -> None:
        ear, (mine, _) = lane_pairs.Ear(Ear()), secrets()
        lane = UdpLane(1, mine, ear, leads=True, zones=ONLY_LOOPBACK, watched=False)
        adopted = open_socket("127.0.0.1")
        adopting = asyncio.ensure_future(lane.adopt(adopted))
        await asyncio.sleep(0)
        assert not adopting.done()
        if how == "closed":
            lane.close()
        else:
            lane.keep(frozenset())
        with pytest.raises(ValueError, match="over"):
            await adopting
        assert lane._ports == {}
        await asyncio.sleep(0.01)
        assert adopted.fileno() < 0
        lane.close()

    asyncio.run(main())
