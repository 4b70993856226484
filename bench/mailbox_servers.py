"""The signaling servers that ``server.py`` compares, each as processes on loopback, with nothing else of their own."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from processes import Process, Workbench
from transfer import p2pal

_LOOPBACK: Final = "127.0.0.1"
_TWIST: Final[tuple[str | os.PathLike[str], ...]] = (
    sys.executable,
    Path(__file__).with_name("loopback_only.py"),
    "twisted.application.twist._twist:Twist.main",
)
_UNLIMITED: Final = (
    *("--create-rate", "none", "--join-rate", "none", "--message-rate", "none"),
    *("--request-rate", "none", "--frame-rate", "none"),
    *("--max-open", "0", "--max-sockets", "0"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured.

    Attributes:
        name: For the table.
        dialect: What it speaks, as ``rendezvous_load.py`` calls it.
        urls: One for each instance.
        servers: The instances.
        redis: The Redis behind them, if any.
    """

    name: str
    dialect: str
    urls: list[str]
    servers: list[Process]
    redis: list[Process]

    @property
    def pids(self) -> list[str]:
        return [str(process.pid) for process in (*self.servers, *self.redis)]


Start = Callable[[Workbench, float], AbstractContextManager[Target]]
"""Runs a target for the length of a block, at most so many seconds."""


@contextmanager
def memory_store(bench: Workbench, limit: float) -> Iterator[Target]:
    """Run our server with its store in memory."""
    with _ours(bench, limit) as (server, url):
        yield Target("memory store", "p2pal", [url], [server], [])


@contextmanager
def redis_store(bench: Workbench, limit: float, instances: int = 1) -> Iterator[Target]:
    """Run our server on a Redis of its own."""
    with ExitStack() as stack:
        redis, where = stack.enter_context(_redis(bench, limit))
        started = [stack.enter_context(_ours(bench, limit, "--redis-url", where)) for _ in range(instances)]
        servers, urls = [server for server, _ in started], [url for _, url in started]
        yield Target(f"Redis, {'one instance' if instances == 1 else 'two instances'}", "p2pal", urls, servers, [redis])


@contextmanager
def redis_store_twice(bench: Workbench, limit: float) -> Iterator[Target]:
    """Run two instances of our server on a Redis of their own."""
    with redis_store(bench, limit, 2) as target:
        yield target


@contextmanager
def wormhole(bench: Workbench, limit: float) -> Iterator[Target]:
    """Run magic-wormhole's mailbox server."""
    options = [f"--port=tcp:0:interface={_LOOPBACK}", "--channel-db=:memory:", "--blur-usage=60"]
    server = bench.start([*_TWIST, "wormhole-mailbox", *options], limit, cwd=bench.path)
    try:
        url = f"http://{_LOOPBACK}:{server.wait_for(r'starting on ([0-9]+)')}"
        yield Target("magic-wormhole", "wormhole", [url], [server], [])
    finally:
        server.stop()


@contextmanager
def _ours(bench: Workbench, limit: float, *options: str) -> Iterator[tuple[Process, str]]:
    argv = [*p2pal(), "server", "--host", _LOOPBACK, "--port", "0", *_UNLIMITED, *options]
    server = bench.start(argv, limit, env={"P2PAL_ONLY_LOOPBACK": "1"})
    try:
        yield server, f"http://{_LOOPBACK}:{server.wait_for(r'listening.*port=([0-9]+)')}"
    finally:
        server.stop()


@contextmanager
def _redis(bench: Workbench, limit: float) -> Iterator[tuple[Process, str]]:
    with socket.socket() as probe:  # Redis cannot say which port the system gave it
        probe.bind((_LOOPBACK, 0))
        port = probe.getsockname()[1]
    options = ["--bind", _LOOPBACK, "--port", str(port), "--save", "", "--appendonly", "no"]
    redis = bench.start(["redis-server", *options], limit, cwd=bench.path)
    try:
        redis.wait_for(r"(Ready to accept connections)")
        yield redis, f"redis://{_LOOPBACK}:{port}/0"
    finally:
        redis.stop()
