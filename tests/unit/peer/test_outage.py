from __future__ import annotations

from tests.unit.peer.kit import Owner
from tests.unit.server.kit import on_loop

from p2pal.link.steps import LinkUp, Retrying, WaitingFor
from p2pal.peer.outage import Outages


@on_loop
async def test_the_first_link_is_no_repair() -> None:
    owner = Owner()
    outages = Outages(owner)
    outages.tell(Retrying(1, 3, 0.0))
    outages.tell(LinkUp(1))
    assert (owner.retries, owner.back, owner.silences) == ([(1, 3)], 0, [])


@on_loop
async def test_each_outage_ends_once() -> None:
    owner = Owner()
    outages = Outages(owner)
    outages.tell(LinkUp(1))
    outages.silent(3.0)
    outages.tell(Retrying(1, None, 0.0))
    outages.tell(LinkUp(2))
    outages.tell(LinkUp(2))
    assert (owner.silences, owner.retries, owner.back) == ([3.0, 0.0], [(1, None)], 1)


@on_loop
async def test_who_waited_is_told_that_the_link_is_back() -> None:
    owner = Owner()
    outages = Outages(owner)
    outages.tell(LinkUp(1))
    outages.tell(WaitingFor("network", 600.0))
    outages.tell(WaitingFor("", 500.0))
    outages.tell(LinkUp(2))
    assert (owner.waits, owner.back) == (["network", ""], 1)


@on_loop
async def test_a_silence_that_ended_by_itself_is_no_repair() -> None:
    owner = Owner()
    outages = Outages(owner)
    outages.tell(LinkUp(1))
    outages.silent(3.0)
    outages.tell(LinkUp(1))
    assert (owner.silences, owner.back) == ([3.0, 0.0], 0)
