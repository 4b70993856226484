"""Measure the machines of the datagram lane back to back in memory: both ends in one thread, no sockets.

    python bench/udp_machines.py [MEGABYTES] [SEGMENT...] [--profile]

Every batch is joined, as the kernel does when it copies, and handed to the other end. CPU time, not wall time.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections import deque
from hashlib import sha256
from math import inf

from p2pal.lanes.udp.addresses import Address, CandidateKind, DatagramCandidate
from p2pal.lanes.udp.events import Message
from p2pal.lanes.udp.lane import DatagramLane
from p2pal.lanes.udp.seal import LaneSecrets

MESSAGE = 64 * 1024
DELAY = 50e-6
"""Seconds of virtual time that one way takes."""
TICK = 250e-6
"""Seconds of virtual time that a loop sleeps at least."""


def pair(now: float) -> tuple[DatagramLane, DatagramLane]:
    """Return both ends of a lane that know of each other."""
    a, b = sha256(b"a").digest(), sha256(b"b").digest()
    left = DatagramLane(1, LaneSecrets(a, b, 1, 2), leads=True, seed=a, now=now)
    right = DatagramLane(1, LaneSecrets(b, a, 2, 1), leads=False, seed=b, now=now)
    for lane, mine, theirs in ((left, "10.0.0.1", "10.0.0.2"), (right, "10.0.0.2", "10.0.0.1")):
        lane.add_local(0, mine, 1, now)
        lane.add_remote(DatagramCandidate(CandidateKind.HOST, theirs, 1), now)
    return left, right


class End:
    """One end, and what is on its way to it."""

    def __init__(self, lane: DatagramLane, ip: str) -> None:
        self.lane = lane
        self.source = Address(ip, 1, 0)
        self.coming: deque[tuple[float, bytes, int]] = deque()
        self.arrived = 0
        self.datagrams = 0

    def step(self, now: float, other: End) -> float:
        """Take what is due, send what may leave; return when to come again."""
        lane = self.lane
        while self.coming and self.coming[0][0] <= now:
            _, data, segment = self.coming.popleft()
            lane.receive_datagram(data, other.source, now, segment)
        at = lane.next_timeout()
        if at is not None and at <= now:
            lane.handle_timeout(now)
        for batch in lane.datagrams(now):
            other.coming.append((now + DELAY, b"".join(batch.buffers), batch.segment))
            self.datagrams += -(-batch.size // batch.segment) if batch.segment else 1
        for event in lane.events():
            if isinstance(event, Message):
                self.arrived += len(event.data)
        at = lane.next_timeout()
        return min(at if at is not None else inf, self.coming[0][0] if self.coming else inf)


def run(size: int, segment: int) -> tuple[float, int]:
    """Move bytes through a lane; return the CPU seconds and how many datagrams carried them."""
    now = 1.0
    lanes = pair(now)
    left, right = End(lanes[0], "10.0.0.1"), End(lanes[1], "10.0.0.2")
    message = bytes(MESSAGE)
    began = time.process_time()
    while right.arrived < size:
        while left.lane.budget() > 0:
            left.lane.send(message)
        if left.lane.path is not None and left.lane.sender.mtu.size != segment:
            left.lane.sender.mtu.size = segment
            left.lane.sender.resize()
        following = min(left.step(now, right), right.step(now, left))
        now = max(min(following, left.coming[0][0] if left.coming else inf), now + TICK)
    return time.process_time() - began, left.datagrams + right.datagrams


def main() -> None:
    """Print megabytes per CPU second of both ends together for each segment size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("megabytes", type=int, nargs="?", default=500)
    parser.add_argument("segments", type=int, nargs="*", default=[1200, 1472, 8972, 65_000])
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    for segment in args.segments:
        profile = cProfile.Profile()
        if args.profile:
            profile.enable()
        seconds, datagrams = run(args.megabytes * 1_000_000, segment)
        profile.disable()
        per = seconds / datagrams * 1e6
        print(f"{segment:6} bytes: {args.megabytes / seconds:7.0f} MB/s, {per:5.2f} us for each datagram")
        if args.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(18)


if __name__ == "__main__":
    main()
