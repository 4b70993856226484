"""The sockets of a lane on loopback: real ones, of both kinds of ports."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import pytest

from p2pal.doctor import datagram_probe
from p2pal.doctor.datagram_probe import DATAGRAMS, SIZE, probe_datagrams
from p2pal.lanes.udp.ports import open_port
from p2pal.lanes.udp.sockets import BUFFER

OURS = "127.0.0.1"
NOBODYS = "192.0.2.5"


async def test_a_socket_hears_its_own_batch() -> None:
    found = await probe_datagrams([OURS])
    assert (found.addresses, found.refused) == ((OURS,), ())
    assert found.batching is not None
    assert (found.batching.heard, found.batching.asked) == (DATAGRAMS, BUFFER)
    assert found.batching.buffers is not None
    assert 0 < min(found.batching.buffers) <= max(found.batching.buffers) <= BUFFER or sys.platform != "linux"


@pytest.mark.parametrize("watched", [True, False], ids=["posix", "windows"])
async def test_single_datagrams_are_told_from_batches(monkeypatch: pytest.MonkeyPatch, watched: bool) -> None:
    monkeypatch.setattr(datagram_probe, "open_port", partial(open_port, batches=False, watched=watched))
    found = await probe_datagrams([OURS])
    assert found.batching is not None
    assert found.batching.heard == DATAGRAMS
    assert not found.batching.one_call_out


async def test_an_address_that_is_not_ours_is_refused_by_the_system() -> None:
    found = await probe_datagrams([NOBODYS, OURS])
    assert found.addresses == (OURS,)
    ((address, why),) = found.refused
    assert address == NOBODYS
    assert why
    nothing = await probe_datagrams([NOBODYS])
    assert (nothing.addresses, nothing.batching) == ((), None)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files cannot be counted here")
async def test_every_socket_is_closed() -> None:
    await probe_datagrams([OURS])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await probe_datagrams([OURS, NOBODYS, "127.0.0.2", "127.0.0.3"])
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_what_others_send_is_passed_over() -> None:
    echo = datagram_probe._Echo(OURS, 4711)
    whole = b"".join(echo.datagrams)
    echo.port_received(0, whole, OURS, 4712, SIZE, None)
    echo.port_received(0, whole, "127.0.0.2", 4711, SIZE, None)
    echo.port_received(0, os.urandom(len(whole)), OURS, 4711, SIZE, None)
    assert (echo.heard, echo.together) == (0, False)
    echo.port_received(0, whole, OURS, 4711, SIZE, None)
    echo.port_received(0, whole, OURS, 4711, SIZE, None)
    assert (echo.heard, echo.together) == (DATAGRAMS, True)
