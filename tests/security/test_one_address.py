"""What one address can cost a server process at most, in memory and in time, while others are served."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from tests.certificates import write_certificate
from tests.e2e.kit import Commands, Server
from tests.redis_kit import RedisServer
from tests.security import one_address
from tests.unit.server.kit import Visitor

from p2pal.wire import rendezvous as wire

pytestmark = [
    pytest.mark.skipif("sys.platform != 'linux'", reason="memory and time of a process come from /proc"),
    pytest.mark.slow,
    pytest.mark.timeout(400),
]

MOST: Final = 64 << 20
"""Bytes, of the server and of Redis together."""

MOST_TIME: Final = one_address.TOIL / 2
"""Seconds of the server's CPU while one address does what it can. It takes a fourth of it here."""

UNHURRIED: Final = tuple(f"--{name}-rate=none" for name in ("create", "join", "request", "message", "frame"))
"""What takes hours under the limits of rates is there in seconds: what is held has limits of its own."""


class Process:
    """What a process of Linux uses."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = 0

    def begin(self) -> None:
        """Count memory from here on."""
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")
        self._before = self._field("VmRSS:")

    @property
    def grown(self) -> int:
        """Bytes that were in memory at most, beyond those at the beginning."""
        return self._field("VmHWM:") - self._before

    @property
    def cpu(self) -> float:
        """Seconds, user and system (clock_getcpuclockid(3))."""
        return time.clock_gettime((~self._pid << 3) | 2)

    def _field(self, name: str) -> int:
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


class Another:
    """Somebody at another address, who goes through whole rendezvous one after the other."""

    def __init__(self, server: Server, *, tls: bool) -> None:
        self._url = server.url.replace("http:", "https:") if tls else server.url
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        self._tls: ssl.SSLContext | bool = trusting if tls else True
        self.served = 0

    async def meet(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._tls)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.timeout(120):
            _, sender, receiver = await Visitor(self._url, session).pair()
            await receiver.send(wire.Append(0, b"hello"))
            assert (await sender.expect(wire.LogMessage)).body == b"hello"
            await sender.send(wire.ClientAccept(1))
            await sender.send(wire.ClientComplete())
            await receiver.close_code()
            self.served += 1

    async def warm_up(self) -> None:
        """Have the server load what it loads late."""
        for _ in range(5):
            await self.meet()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._tls)) as session:
            for path in ("/metrics", "/openapi.json", "/nowhere"):
                async with session.get(self._url + path) as response:
                    await response.read()

    async def meet_during(self, attack: asyncio.subprocess.Process, pause: float) -> None:
        """Go on until the attack has done what it can."""
        assert attack.stdout is not None
        done = asyncio.create_task(attack.stdout.readline())
        before = self.served
        while not done.done():
            with contextlib.suppress(TimeoutError):  # the machine may be slow: what counts is who is served in the end
                await self.meet()
            await asyncio.sleep(pause)
        assert await done == b"done\n"
        assert self.served >= before + 3


async def _attack(how: str, server: Server, *, tls: bool) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", one_address.__name__, how, str(server.port), *(["tls"] if tls else [])]
    pipe = asyncio.subprocess.PIPE
    root = Path(__file__).parents[2]
    return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=root)


async def _end(attack: asyncio.subprocess.Process) -> None:
    assert attack.stdin is not None
    attack.stdin.close()
    await attack.wait()


@contextmanager
def _serving(tmp_path: Path, *flags: str, tls: bool) -> Iterator[Server]:
    if tls:
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        write_certificate(cert, key, "localhost")
        flags = (*flags, "--tls-cert", str(cert), "--tls-key", str(key))
    with Commands("", tmp_path / "runs") as commands:
        yield commands.server(*flags)


@pytest.mark.parametrize(("store", "tls"), [("memory", False), ("memory", True), ("redis", False)])
def test_one_address_holds_so_much_and_no_more(tmp_path: Path, store: str, tls: bool) -> None:
    redis = RedisServer(tmp_path / "redis") if store == "redis" else None
    flags = list(UNHURRIED)
    if redis is not None:
        redis.start()
        flags += ["--redis-url", redis.url]

    async def run() -> None:
        with _serving(tmp_path, *flags, tls=tls) as server:
            process, another = Process(server.pid), Another(server, tls=tls)
            await another.warm_up()
            kept = _kept(redis)
            process.begin()
            attack = await _attack("hold", server, tls=tls)
            try:
                await another.meet_during(attack, 0.05)
                grown = process.grown, _kept(redis) - kept
                await another.meet()
            finally:
                await _end(attack)
            assert sum(grown) < MOST, grown
            assert sum(grown) > MOST / 8, "it was no attack"

    try:
        asyncio.run(run())
    finally:
        if redis is not None:
            redis.end()


def _kept(redis: RedisServer | None) -> int:
    return int(redis.client.info("memory")["used_memory_peak"]) if redis is not None else 0


@pytest.mark.parametrize("tls", [False, True])
async def test_one_address_takes_so_much_time_and_keeps_nobody_waiting(tmp_path: Path, tls: bool) -> None:
    with _serving(tmp_path, tls=tls) as server:
        process, another = Process(server.pid), Another(server, tls=tls)
        await another.warm_up()
        process.begin()
        before = process.cpu
        attack = await _attack("toil", server, tls=tls)
        try:
            await another.meet_during(attack, 0.5)
            taken, grown = process.cpu - before, process.grown
        finally:
            await _end(attack)
        assert taken < MOST_TIME
        assert grown < MOST
