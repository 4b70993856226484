"""p2pal as a hostile side that knows the code: it tells of the addresses in a file, one to a line, and of no other.

Usage: ``misleading.py FILE PYTHON -m p2pal ARGS``. A line is a candidate of ICE, or an address and a port for datagram
lanes. It connects to nothing itself: the other side goes on trying.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic

from p2pal.cli.main import main
from p2pal.lanes.webrtc.connection import WebRtcConnection
from p2pal.link.offer_answer import Exchange
from p2pal.peer.datagrams import DatagramDriver
from p2pal.wire.signal import MAX_UDP_CANDIDATES, Candidate, UdpCandidate, UdpCandidates

lines, sys.argv[1:] = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines(), sys.argv[5:]
_describe = Exchange.describe


def _mislead(self: Exchange, sdp: str) -> None:
    _describe(self, sdp)
    for line in lines:
        self.say(Candidate(self.generation, line, "0", 0))


async def _pass_over(self: WebRtcConnection, candidate: Candidate) -> None:
    """The other side's candidates are not used."""


Exchange.describe = _mislead  # type: ignore[method-assign]
Exchange.local_candidate = lambda self, candidate: None  # type: ignore[method-assign]
WebRtcConnection.add_candidate = _pass_over  # type: ignore[method-assign]


async def _told(self: DatagramDriver) -> UdpCandidates | None:
    if self._factory is None:
        return None
    self._own = await self._factory.open()
    return UdpCandidates(self.schedule.lane + 1, self._own.nonce, ())


async def _mislead_datagrams(self: DatagramDriver, theirs: UdpCandidates) -> None:
    lane = self.schedule.start(monotonic())
    assert self._own is not None
    named = [UdpCandidate("host", *_place(line)) for line in lines]
    for at in range(0, len(named), MAX_UDP_CANDIDATES):
        self._mail(UdpCandidates(lane, self._own.nonce, tuple(named[at : at + MAX_UDP_CANDIDATES])))


def _place(line: str) -> tuple[str, int]:
    ip, port = line.split()
    return ip, int(port)


async def _pass_over_lane(self: DatagramDriver, message: UdpCandidates) -> None:
    """The other side's candidates are not used."""


DatagramDriver.prepare = _told  # type: ignore[method-assign]
DatagramDriver.start = _mislead_datagrams  # type: ignore[method-assign]
DatagramDriver.take = _pass_over_lane  # type: ignore[method-assign]
main()
