"""The bare data-channel pump: the most that the engine moves between two processes when nothing else is done.

Two processes, each with one connection and one channel; a socket pair between them carries the session descriptions.
The sender pushes one block again and again, keeping the engine's queue full but bounded; the receiver counts bytes.
No encryption above DTLS, no hashing, no files, no frames. What p2pal reaches is compared with this.

    python bench/pump.py --mib 1024 --kib 63
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from data import quiet_disk
from processes import Usage, Workbench
from table import machine

QUEUE: Final = 4 << 20
"""Bytes that wait in the engine: enough that its threads never run dry."""

LIMIT: Final = 120.0


@dataclass(frozen=True, slots=True)
class Pumped:
    """What a run of the pump took.

    Attributes:
        sender: What the sending process used.
        receiver: What the receiving process used.
        seconds: From the first message given to the engine to the receiver's word that the last arrived.
    """

    sender: Usage
    receiver: Usage
    seconds: float


def pump(bench: Workbench, *, kib: int, size: int, limit: float = LIMIT) -> Pumped:
    """Pump ``size`` bytes in messages of ``kib`` KiB from one process to another.

    Raises:
        BenchError: If a process fails or takes longer than ``limit`` seconds.
    """
    quiet_disk()
    ends = socket.socketpair()
    try:
        receiver, sender = (
            bench.start(
                [sys.executable, Path(__file__), "--role", role, "--fd", str(end.fileno()), "--kib", str(kib),
                 "--bytes", str(size)],
                limit,
                pass_fds=[end.fileno()],
            )
            for role, end in zip(("receive", "send"), ends, strict=True)
        )  # fmt: skip
    finally:
        for end in ends:
            end.close()
    used = sender.wait(), receiver.wait()
    return Pumped(*used, seconds=float(sender.stdout))


def is_loopback(candidate: str) -> bool:
    """Tell whether an ICE candidate (RFC 8839) is an address of this machine only."""
    try:
        return ipaddress.ip_address(candidate.split()[4]).is_loopback
    except (IndexError, ValueError):
        return False


class Side:
    """One end: a connection, a channel, and the socket on which the two ends agree."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import webrtc

        webrtc.allow_loopback()
        self._webrtc = webrtc
        self._reader, self._writer = reader, writer
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.finished: asyncio.Future[None] = loop.create_future()
        self._pc = webrtc.RTCPeerConnection(webrtc.RTCConfiguration(ice_servers=[]))
        self._pc.on("icecandidate", self._on_candidate)
        self.channel = self._pc.create_data_channel("pump", webrtc.RTCDataChannelInit(negotiated=True, id=0))
        self.channel.on("open", lambda _event: self.opened.set_result(None))

    def say(self, **message: Any) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")

    def _on_candidate(self, event: Any) -> None:
        found = event.candidate
        if found is not None and is_loopback(found.candidate):
            self.say(candidate=found.candidate, mid=found.sdp_mid, mline=found.sdp_m_line_index)

    async def offer(self) -> None:
        offer = await self._pc.create_offer()
        await self._pc.set_local_description(offer)
        self.say(offer=offer.sdp)

    async def listen(self) -> None:
        """Do what the other end says until it closes the socket."""
        webrtc, pc = self._webrtc, self._pc
        while line := await self._reader.readline():
            match json.loads(line):
                case {"offer": sdp}:
                    await pc.set_remote_description(webrtc.RTCSessionDescriptionInit(type="offer", sdp=sdp))
                    answer = await pc.create_answer()
                    await pc.set_local_description(answer)
                    self.say(answer=answer.sdp)
                case {"answer": sdp}:
                    await pc.set_remote_description(webrtc.RTCSessionDescriptionInit(type="answer", sdp=sdp))
                case {"candidate": candidate, "mid": mid, "mline": mline}:
                    init = webrtc.RTCIceCandidateInit(candidate=candidate, sdp_mid=mid, sdp_m_line_index=mline)
                    await pc.add_ice_candidate(init)
                case {"finished": True}:
                    self.finished.set_result(None)

    def close(self) -> None:
        self._pc.close()
        self._writer.close()


async def push(side: Side, size: int, message: int) -> None:
    """Send so many bytes, and print the seconds until the other end had them."""
    block = os.urandom(message)
    channel = side.channel
    low = asyncio.Event()
    channel.buffered_amount_low_threshold = QUEUE // 2
    channel.on("bufferedamountlow", lambda _event: low.set())
    await side.offer()
    await side.opened
    started = time.perf_counter()
    left = size
    while left > 0:
        # As many as fit, then one look at the queue: the look is the dearer of the two.
        for _ in range(max(1, (QUEUE - channel.buffered_amount) // message)):
            channel.send(block if left >= message else block[:left])
            left -= message
            if left <= 0:
                break
        if channel.buffered_amount > QUEUE - message:
            low.clear()
            await low.wait()
    await side.finished
    print(time.perf_counter() - started)


async def count(side: Side, size: int) -> None:
    """Count bytes until all are there, and say so."""
    arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = size

    def take(event: Any) -> None:
        nonlocal left
        left -= len(event.data)
        if left <= 0:
            arrived.set_result(None)

    side.channel.on("message", take)
    await side.opened
    await arrived
    side.say(finished=True)


async def run(role: str, fd: int, size: int, message: int) -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=fd))
    side = Side(reader, writer)
    listener = asyncio.create_task(side.listen())
    try:
        async with asyncio.timeout(LIMIT):
            if role == "send":
                await push(side, size, message)
            else:
                await count(side, size)
                await listener  # the sender closes when it has our last word
    finally:
        listener.cancel()
        side.close()


def main() -> int:
    """Run the pump, or one end of it."""
    parser = argparse.ArgumentParser(description="Measure the bare data channel between two processes on loopback.")
    parser.add_argument("--mib", type=int, default=1024, help="how much to pump")
    parser.add_argument("--kib", type=int, default=63, help="the size of a message, up to 256")
    parser.add_argument("--role", choices=["send", "receive"], help=argparse.SUPPRESS)
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--bytes", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role is not None:
        import uvloop  # the faster one for a bare pump; p2pal's transfers run on asyncio's own

        uvloop.run(run(args.role, args.fd, args.bytes, args.kib * 1024))
        return 0
    size = args.mib << 20
    with Workbench() as bench:
        pumped = pump(bench, kib=args.kib, size=size)
    print(f"{args.kib} KiB messages: {size / pumped.seconds / 1e6:.0f} MB/s;", end=" ")
    print(f"CPU seconds per GB: sender {pumped.sender.cpu / size * 1e9:.2f},", end=" ")
    print(f"receiver {pumped.receiver.cpu / size * 1e9:.2f}")
    print(machine())
    return 0


if __name__ == "__main__":
    sys.exit(main())
