"""What is logged about a link to a real Redis that cannot be had, or that does not keep what it is given."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.redis_kit import RedisServer
from tests.redis_kit import running as running_redis

from p2pal.server import logs
from p2pal.server.config import Limits
from p2pal.server.stores.redis import RedisStore

PASSWORD = "hunter2hunter2"


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        client: Any = server.client
        client.acl_setuser("few", enabled=True, passwords=[f"+{PASSWORD}"], commands=["+subscribe"], channels=["*"])
        for name, command in (("all", "+info"), ("uninformed", "-info")):
            client.acl_setuser(
                name, enabled=True, passwords=[f"+{PASSWORD}"], commands=["+@all", command], keys=["*"], channels=["*"]
            )
        yield server


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    before = logs.LOGGER.handlers[:], logs.LOGGER.level, logs.LOGGER.propagate
    stream = io.StringIO()
    logs.configure("json", stream)
    yield stream
    logs.LOGGER.handlers[:], logs.LOGGER.level, logs.LOGGER.propagate = before


def told(url: str, event: str, stream: io.StringIO) -> dict[str, Any]:
    """The first such event of a store on this URL."""
    found: list[dict[str, Any]] = []

    async def run() -> None:
        store = RedisStore(url, Limits(), prefix="link")
        life = asyncio.create_task(store.run())
        async with asyncio.timeout(20):
            while not found:
                await asyncio.sleep(0.01)
                lines = [json.loads(line) for line in stream.getvalue().splitlines()]
                found.extend(line for line in lines if line["event"] == event)
        life.cancel()
        await asyncio.wait([life])

    asyncio.run(run())
    assert PASSWORD not in stream.getvalue()
    return found[0]


@pytest.mark.parametrize(
    ("user", "path", "cause", "hint"),
    [
        ("all:wrong-one", "", "AuthenticationError", "password"),
        (f"few:{PASSWORD}", "", "NoPermissionError", "permissions"),
        (f"all:{PASSWORD}", "/5", "ResponseError", "no database of that number"),
    ],
)
def test_what_waiting_does_not_mend_is_told_with_a_hint(
    user: str, path: str, cause: str, hint: str, one_server: RedisServer, stream: io.StringIO
) -> None:
    line = told(f"redis://{user}@127.0.0.1:{one_server.port}{path}", "store-lost", stream)
    assert (line["level"], line["cause"], line["server"]) == ("error", cause, f"127.0.0.1:{one_server.port}")
    assert hint in line["hint"]
    assert "wrong-one" not in stream.getvalue()
    assert "DB index" not in stream.getvalue()


def test_a_replica_is_told_from_a_primary(one_server: RedisServer, stream: io.StringIO) -> None:
    client: Any = one_server.client
    client.replicaof("127.0.0.1", 1)
    try:
        line = told(f"redis://all:{PASSWORD}@127.0.0.1:{one_server.port}", "store-lost", stream)
    finally:
        client.replicaof("NO", "ONE")
    assert (line["cause"], "replica" in line["hint"]) == ("ReadOnlyError", True)


def test_a_redis_that_is_no_cluster_is_told(one_server: RedisServer, stream: io.StringIO) -> None:
    line = told(f"redis+cluster://all:{PASSWORD}@127.0.0.1:{one_server.port}", "store-lost", stream)
    assert line["hint"] == "this is no Redis Cluster: write redis://"


def test_a_redis_that_is_away_is_only_named(stream: io.StringIO) -> None:
    line = told(f"redis://:{PASSWORD}@[::1]:1/0", "store-lost", stream)
    assert (line["cause"], line["server"]) == ("ConnectionError", "[::1]:1")
    assert "hint" not in line


def test_a_redis_that_throws_things_away_is_warned_of_once(one_server: RedisServer, stream: io.StringIO) -> None:
    client: Any = one_server.client
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        line = told(f"redis://all:{PASSWORD}@127.0.0.1:{one_server.port}", "redis-evicts", stream)
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    assert (line["level"], line["policy"]) == ("warning", "allkeys-lru")
    assert "noeviction" in line["hint"]


def test_a_redis_need_not_say_how_it_is_set(one_server: RedisServer, stream: io.StringIO) -> None:
    async def run() -> None:
        store = RedisStore(f"redis://uninformed:{PASSWORD}@127.0.0.1:{one_server.port}", Limits(), prefix="link")
        life = asyncio.create_task(store.run())
        await store.available()
        for _ in range(50):
            await store.create(60.0)
        life.cancel()
        await asyncio.wait([life])

    asyncio.run(run())
    assert "redis-evicts" not in stream.getvalue()
    assert "store-lost" not in stream.getvalue()
