"""Several instances on a Redis Cluster, as far as one node is a cluster: it has slots, and refuses to cross them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.instances.balancer import Balancer
from tests.e2e.instances.conftest import Start
from tests.e2e.instances.kit import Talk, clients, visiting
from tests.redis_kit import RedisServer, running


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisServer]:
    with running(tmp_path / "cluster", cluster=True, appendonly=True) as server:
        yield server


async def test_peers_on_two_instances(cluster: RedisServer, start: Start) -> None:
    async with visiting(start(cluster, 3)) as visitors:
        talk = await Talk(visitors).start()
        for visitor in reversed(visitors):
            await talk.say(talk.sender)
            await talk.say(talk.receiver)
            await talk.receiver.hop(visitor)
        await talk.settle()
        await talk.end()
        assert -1 not in cluster.lifetimes().values()


async def test_a_node_is_killed_and_comes_back(cluster: RedisServer, start: Start) -> None:
    instances = start(cluster, 2)
    with Balancer(instances.ports) as balancer:
        async with clients(balancer.url) as (sender, receiver):
            sender.mailbox.append(1, b"before")
            receiver.mailbox.append(1, b"before")
            await sender.gets(1)
            cluster.kill()
            sender.mailbox.append(1, b"during")
            receiver.mailbox.append(1, b"during")
            cluster.start()
            for client in (sender, receiver):
                await client.gets(2)
                assert client.got == [b"before", b"during"]
