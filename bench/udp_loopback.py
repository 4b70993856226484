"""Measure the bare datagram lane between two processes on loopback: no session, no files, no seals of frames.

python bench/udp_loopback.py [MEGABYTES] [--message BYTES] [--no-batches] [--mtu BYTES] [--buffer BYTES]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from hashlib import sha256
from typing import Any

from p2pal.lanes.address_zones import ONLY_LOOPBACK
from p2pal.lanes.base import Lane
from p2pal.lanes.udp.addresses import CandidateKind, DatagramCandidate
from p2pal.lanes.udp.seal import LaneSecrets
from p2pal.lanes.udp.shell import UdpLane
from p2pal.lanes.udp.sockets import BUFFER

LOOPBACK = "127.0.0.1"


class End:
    """One process's end: sends so many bytes, or waits for as many."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.size = args.megabytes * 1_000_000
        self.message = bytes(args.message)
        self.args = args
        self.sender = args.role == "send"
        self.moved = 0
        self.began = self.cpu = 0.0
        self.done = asyncio.Event()

    def lane_opened(self, lane: Lane) -> None:
        self.began, self.cpu = time.monotonic(), time.process_time()
        self.fill(lane)

    def lane_writable(self, lane: Lane) -> None:
        self.fill(lane)

    def fill(self, lane: Lane) -> None:
        while self.sender and self.moved < self.size and lane.budget() > 0:
            lane.send(self.message)
            self.moved += len(self.message)

    def lane_message(self, lane: Lane, data: bytes) -> None:
        if self.sender:
            self.done.set()  # the other side has everything
            return
        self.moved += len(data)
        if self.moved >= self.size:
            lane.send(b"done")
            self.done.set()

    def lane_event(self, lane: UdpLane, event: object) -> None:
        """Its path is of no interest here."""

    def lane_closed(self, lane: Lane, reason: str) -> None:  # noqa: ARG002
        self.done.set()

    async def run(self) -> dict[str, Any]:
        """Move the bytes; return what it took."""
        a, b = sha256(b"a").digest(), sha256(b"b").digest()
        secrets = LaneSecrets(a, b, 1, 2) if self.sender else LaneSecrets(b, a, 2, 1)
        lane = UdpLane(
            1,
            secrets,
            self,
            leads=self.sender,
            zones=ONLY_LOOPBACK,
            batches=not self.args.no_batches,
            buffer=self.args.buffer,
        )
        if self.args.mtu:
            lane.limit_mtu(self.args.mtu)
        own = await lane.bind(LOOPBACK)
        print(own.port, flush=True)
        lane.add_remote(DatagramCandidate(CandidateKind.HOST, LOOPBACK, int(sys.stdin.readline())))
        async with asyncio.timeout(120):
            await self.done.wait()
        seconds, cpu = time.monotonic() - self.began, time.process_time() - self.cpu
        figures = lane.figures()
        if not self.sender:
            await asyncio.sleep(0.2)  # the last message is on its way
        lane.close()
        return {"seconds": seconds, "cpu": cpu, "moved": self.moved, **figures}


def main() -> None:
    """Start both ends, introduce them to each other, and print what they say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("megabytes", type=int, nargs="?", default=1000)
    parser.add_argument("--message", type=int, default=64_000)
    parser.add_argument("--no-batches", action="store_true")
    parser.add_argument("--mtu", type=int, default=0, help="never send larger datagrams")
    parser.add_argument("--buffer", type=int, default=BUFFER, help="bytes asked for on either side of a socket")
    parser.add_argument("--role", choices=["send", "recv"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        print(json.dumps(asyncio.run(End(args).run())))
        return
    command = [sys.executable, __file__, *sys.argv[1:]]
    ends = [
        subprocess.Popen([*command, "--role", role], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for role in ("send", "recv")
    ]
    ports = [end.stdout.readline() if end.stdout else "" for end in ends]
    for end, port in zip(ends, reversed(ports), strict=True):
        if end.stdin:
            end.stdin.write(port)
            end.stdin.flush()
    for role, end in zip(("send", "recv"), ends, strict=True):
        out, _ = end.communicate(timeout=150)
        told = json.loads(out)
        rate = told["moved"] / told["seconds"] / 1e6
        cpu = told["cpu"] / told["moved"] * 1e9
        print(f"{role}: {rate:6.0f} MB/s, {cpu:.2f} CPU-seconds for each GB, {told}")


if __name__ == "__main__":
    main()
