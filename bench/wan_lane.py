"""One end of a bare datagram lane for ``wan.py``: no session, no files, no seals of frames.

    python bench/wan_lane.py receive ADDRESS                 # says its port, then how many bytes came until when
    python bench/wan_lane.py send ADDRESS TO PORT            # as much as the lane takes

The receiver prints ``point SECONDS BYTES`` ten times a second, by the clock that all processes of the machine share;
the sender prints what the lane says of itself each second. Both until they are killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from hashlib import sha256
from typing import Final

from p2pal.lanes.address_zones import ANYWHERE
from p2pal.lanes.base import Lane
from p2pal.lanes.udp.addresses import CandidateKind, DatagramCandidate
from p2pal.lanes.udp.seal import LaneSecrets
from p2pal.lanes.udp.shell import UdpLane

MESSAGE: Final = bytes(63 * 1024)
STEP: Final = 0.1
FIGURES: Final = 1.0


class End:
    """Fills the lane, or counts what comes out of it."""

    def __init__(self, *, sends: bool) -> None:
        self.sends = sends
        self.count = 0
        self.opened = asyncio.Event()
        self.closed = ""

    def lane_opened(self, lane: Lane) -> None:
        self.opened.set()
        self.fill(lane)

    def lane_writable(self, lane: Lane) -> None:
        self.fill(lane)

    def fill(self, lane: Lane) -> None:
        while self.sends and lane.budget() > 0:
            lane.send(MESSAGE)

    def lane_message(self, lane: Lane, data: bytes) -> None:  # noqa: ARG002
        self.count += len(data)

    def lane_event(self, lane: UdpLane, event: object) -> None:
        """Its path is of no interest here."""

    def lane_closed(self, lane: Lane, reason: str) -> None:  # noqa: ARG002
        self.closed = reason
        self.opened.set()


async def run(address: str, peer: tuple[str, int] | None) -> None:
    """Be one end until the lane ends."""
    a, b = sha256(b"a").digest(), sha256(b"b").digest()
    end = End(sends=peer is not None)
    secrets = LaneSecrets(a, b, 1, 2) if peer else LaneSecrets(b, a, 2, 1)
    lane = UdpLane(1, secrets, end, leads=peer is not None, zones=ANYWHERE)
    own = await lane.bind(address)
    print(f"port={own.port}", flush=True)
    if peer:
        lane.add_remote(DatagramCandidate(CandidateKind.HOST, *peer))
    await end.opened.wait()
    while not end.closed:
        print(
            f"figures {json.dumps(lane.figures())}" if peer else f"point {time.monotonic():.4f} {end.count}", flush=True
        )
        await asyncio.sleep(FIGURES if peer else STEP)
    raise ConnectionError(f"the lane ended: {end.closed}")


def main() -> None:
    """Do one or the other."""
    role, address, *peer = sys.argv[1:]
    asyncio.run(run(address, (peer[0], int(peer[1])) if role == "send" else None))


if __name__ == "__main__":
    main()
