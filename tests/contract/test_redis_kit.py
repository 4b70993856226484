"""The Redis that the tests start themselves: what the other tests take for granted about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from tests.redis_kit import ONCE, RedisServer, running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running(tmp_path / "redis") as server:
        yield server


def test_it_forgets_everything_with_its_end(server: RedisServer) -> None:
    server.client.set("key", "value")
    pid, port = server.pid, server.port
    server.stop()
    assert not server.running
    server.start()
    assert (server.pid != pid, server.port) == (True, port)
    assert server.client.get("key") is None


def test_with_a_log_of_its_own_it_knows_everything_after_a_kill(tmp_path: Path) -> None:
    with running(tmp_path / "redis", appendonly=True) as server:
        server.client.set("key", "value", px=600_000)
        server.kill()
        server.start()
        assert server.client.get("key") == b"value"
        assert 0 < server.lifetimes()[b"key"] <= 600_000


def test_it_can_be_frozen(server: RedisServer) -> None:
    with redis.Redis(port=server.port, socket_timeout=0.2, retry=ONCE) as client:
        server.freeze()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.thaw()
    assert server.client.ping()


def test_a_frozen_one_ends(tmp_path: Path) -> None:
    with running(tmp_path / "redis") as server:
        server.freeze()
    assert not server.running


def test_a_cluster_refuses_commands_on_keys_of_several_slots(tmp_path: Path) -> None:
    with running(tmp_path / "redis", cluster=True) as server:
        server.client.mset({"{a}1": "1", "{a}2": "2"})
        with pytest.raises(redis.exceptions.ClusterCrossSlotError):
            server.client.mset({"{a}1": "1", "{b}2": "2"})


def test_everything_that_is_kept_can_be_seen(server: RedisServer) -> None:
    client = server.client
    client.set("p:string", "one")
    client.hset("p:hash", "two", "three")
    client.rpush("p:list", "four", "five")
    client.sadd("p:set", "six")
    client.zadd("p:zset", {"seven": 8})
    client.xadd("p:stream", {"nine": "ten"})
    everything = b"\n".join(server.contents().values())
    for word in (b"one", b"two", b"three", b"four", b"five", b"six", b"seven", b"nine", b"ten"):
        assert word in everything
    assert server.lifetimes("p:") == dict.fromkeys(server.names("p:"), -1)
    assert len(server.names("p:")) == 6
    assert server.connections() == {}
    server.flush()
    assert server.names() == set()
