"""A real Redis of our own: started, stopped, killed, frozen, and started again where it was."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.ports import free_port

PATIENCE: Final = 30.0
ONCE: Final = Retry(NoBackoff(), 0)
"""For a client that does not try again by itself."""
_POLL: Final = 0.01
_TRIES: Final = 20

Kind = Literal["redis", "redis-cluster", "valkey"]


def binary(name: str = "redis-server") -> str:
    """Return the path of a server program; skip the test without it, or fail it in CI if it is Redis itself."""
    found = shutil.which(name)
    if found is None:
        missing = f"{name} is not installed"
        if name == "redis-server" and os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    return found


class RedisServer:
    """One ``redis-server`` on loopback, with a directory of its own.

    Args:
        folder: Its directory, which is made if need be.
        program: ``redis-server`` or ``valkey-server``.
        cluster: It is a Redis Cluster of one node, which refuses commands on keys of different slots.
        appendonly: Everything is on the disk before it is acknowledged, and there again after a restart.
    """

    def __init__(
        self, folder: Path, *, program: str = "redis-server", cluster: bool = False, appendonly: bool = False
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._program = binary(program)
        self._cluster = cluster
        self._appendonly = appendonly
        self._process: subprocess.Popen[bytes] | None = None
        self._client: redis.Redis | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it is, as ``p2pal server`` takes it."""
        return f"redis{'+cluster' if self._cluster else ''}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def client(self) -> redis.Redis:
        """A client for the test's own questions; every answer is bytes."""
        if self._client is None:
            self._client = redis.Redis(port=self.port, socket_timeout=PATIENCE, client_name="test")
        return self._client

    @property
    def log(self) -> str:
        """What it said."""
        return (self._folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it and wait until it answers; again on the port that it had, or on a free one."""
        assert not self.running
        fixed = bool(self.port)
        for _ in range(_TRIES):
            if not fixed:
                self.port = free_port()
            if self._launch():
                return
            time.sleep(0.1)  # somebody has the port, for now
        pytest.fail(f"it does not start\n{self.log}", pytrace=False)

    def stop(self) -> None:
        """End it as an operator does (SIGTERM)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a last word (SIGKILL)."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it answer nothing; connections stay open, and new ones are taken by the system."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Make sure that it is over, frozen or not."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._process is not None:
            self._end(signal.SIGKILL)

    def flush(self) -> None:
        """Forget everything."""
        self.client.flushall()

    def names(self, prefix: str = "") -> set[bytes]:
        """Return the names of all keys that begin with the prefix."""
        return set(self.client.scan_iter(match=f"{prefix}*", count=1000))

    def lifetimes(self, prefix: str = "") -> dict[bytes, int]:
        """Return the milliseconds that each key has left; -1 for those that would stay for ever."""
        lifetimes: dict[bytes, int] = {}
        for key in self.names(prefix):
            left: int = self.client.pttl(key)
            if left != -2:  # gone between the two questions
                lifetimes[key] = left
        return lifetimes

    def pass_time(self, seconds: float, *, keep: str = "") -> None:
        """Let every key be so much nearer to its end, but for those whose name contains ``keep``.

        Redis counts in whole milliseconds, and a key's last one is part of its life: one more, so that what ends after
        this time has ended when this returns.
        """
        for key, left in self.lifetimes().items():
            if left > 0 and not (keep and keep.encode() in key):
                self.client.pexpire(key, left - round(seconds * 1000) - 1)

    def contents(self) -> dict[bytes, bytes]:
        """Return all keys with everything that is under them, as Redis itself would write it down, and in clear."""
        return {key: self._value(key) for key in self.names()}

    def _value(self, key: bytes) -> bytes:
        client: Any = self.client
        kind = client.type(key)
        match kind:
            case b"string":
                return bytes(client.get(key))
            case b"hash":
                return b"\0".join(part for pair in client.hgetall(key).items() for part in pair)
            case b"list":
                return b"\0".join(client.lrange(key, 0, -1))
            case b"set":
                return b"\0".join(client.smembers(key))
            case b"zset":
                return b"\0".join(
                    b"%s %r" % (name, score) for name, score in client.zrange(key, 0, -1, withscores=True)
                )
            case b"stream":
                return repr(client.xrange(key)).encode()
            case b"none":
                return b""
        raise AssertionError(f"a key of the kind {kind!r}")

    def connections(self) -> dict[int, bytes]:
        """Return the connections of everybody but the test, each with its last command."""
        client: Any = self.client
        return {int(each["id"]): each["cmd"].encode() for each in client.client_list() if each["name"] != "test"}

    def _launch(self) -> bool:
        """Start the process; return whether it answers. It may be too late for the port."""
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self._folder),
            "save": "",
            "appendonly": "yes" if self._appendonly else "no",
            "appendfsync": "always",
            "databases": "1",
        }
        if self._cluster:
            options |= {"cluster-enabled": "yes", "cluster-announce-ip": "127.0.0.1", "cluster-port": str(free_port())}
        args = [part for name, value in options.items() for part in (f"--{name}", value)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *args], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + PATIENCE
        while self._process.poll() is None:
            if self._ready():
                return True
            if time.monotonic() > end:
                self.end()
                pytest.fail(f"it does not answer\n{self.log}", pytrace=False)
            time.sleep(_POLL)
        return False

    def _ready(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=1.0, client_name="test", retry=ONCE) as client:
                answer: Any = client.info("server")
                if answer["process_id"] != self.pid:
                    return False  # somebody else's
                if not self._cluster:
                    return True
                state: Any = client.execute_command("CLUSTER INFO")
                if state["cluster_slots_assigned"] != "16384":
                    client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
                return bool(state["cluster_state"] == "ok")
        except redis.RedisError:  # it loads, or listens not yet
            return False

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        self._process.wait(PATIENCE)


class Servers:
    """Starts a server of each kind when it is first asked for.

    Args:
        folder: Where their directories are made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: dict[Kind, RedisServer] = {}

    def get(self, kind: Kind) -> RedisServer:
        """Return the server of that kind, with whatever was left in it."""
        server = self._servers.get(kind)
        if server is None:
            program = "valkey-server" if kind == "valkey" else "redis-server"
            server = RedisServer(self._folder / kind, program=program, cluster=kind == "redis-cluster")
            self._servers[kind] = server
            server.start()
        return server

    def end(self) -> None:
        """End all of them."""
        for server in self._servers.values():
            server.end()


@contextmanager
def running(
    folder: Path, *, program: str = "redis-server", cluster: bool = False, appendonly: bool = False
) -> Iterator[RedisServer]:
    """Run a Redis for the length of the block."""
    server = RedisServer(folder, program=program, cluster=cluster, appendonly=appendonly)
    try:
        server.start()
        yield server
    finally:
        server.end()
