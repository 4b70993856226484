"""Everything at once: instances die and are replaced, Redis comes and goes, connections are cut. Nothing is lost."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import pytest
from tests.e2e.instances.balancer import Balancer
from tests.e2e.instances.conftest import Start
from tests.e2e.instances.kit import Client, Instances, clients
from tests.redis_kit import RedisServer

from p2pal.rendezvous import events as e

ROUNDS: Final = 12


class Storm:
    """What can happen to one deployment.

    Args:
        seed: Decides what does.
        redis: It keeps its data on the disk.
        instances: All behind the balancer.
        balancer: The clients' only way.
    """

    def __init__(self, seed: int, redis: RedisServer, instances: Instances, balancer: Balancer) -> None:
        self._chance = random.Random(seed)
        self._redis = redis
        self._instances = instances
        self._balancer = balancer
        self._count = len(instances.ports)

    def strike(self) -> str:
        """Let one thing happen, and return its name."""
        what = self._chance.choice(("kill", "kill", "cut", "cut", "freeze", "restart", "drop"))
        match what:
            case "kill":
                index = self._chance.randrange(self._count)
                self._instances.kill(index)
                self._balancer.replace(index, self._instances.restart(index).port)
            case "cut":
                self._balancer.cut()
            case "freeze":
                self._redis.freeze()
                self._chance_to_notice()
                self._redis.thaw()
            case "restart":
                self._redis.kill()
                self._redis.start()
            case "drop":
                index = self._chance.randrange(self._count)
                self._balancer.drop(index)
                self._balancer.restore(index)
        return what

    def _chance_to_notice(self) -> None:
        """Some outages are noticed by an instance before they are over, others by nobody."""
        if self._chance.random() < 0.5:
            log = self._instances[0]
            log.await_(lambda: log.err.count("event=store-lost") > log.err.count("event=store-back"), "the loss")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_lost_in_a_storm(lasting_redis: RedisServer, start: Start, seed: int) -> None:
    instances = start(lasting_redis, 3)
    with Balancer(instances.ports) as balancer:
        async with clients(balancer.url) as pair:
            storm = Storm(seed, lasting_redis, instances, balancer)
            sent: dict[Client, list[bytes]] = {client: [] for client in pair}

            def say() -> None:
                for client in pair:
                    sent[client].append(b"%d" % len(sent[client]))
                    client.mailbox.append(1, sent[client][-1])

            say()
            for client in pair:
                await client.gets(1)
            for _ in range(ROUNDS):
                say()
                print(await asyncio.to_thread(storm.strike))
                say()
            for client, other in (pair, pair[::-1]):
                await client.gets(len(sent[other]), 60.0)
                assert client.got == sent[other]
                assert not any(isinstance(event, e.AttemptReleased) for event in client.told)
            pair[0].mailbox.accept(1)
            await pair[1].until(lambda: pair[1].active)
