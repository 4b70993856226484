"""Real transfers whose peers are on different instances, while instances and Redis come and go."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.e2e.instances.balancer import Balancer
from tests.e2e.instances.conftest import Start
from tests.e2e.instances.kit import Instances
from tests.e2e.kit import Command, Commands, Gate, until
from tests.e2e.trees import MIB, content, tree_equal, write
from tests.redis_kit import RedisServer

SIZE = 24 * MIB
HALF = 12 * MIB


class Exchange:
    """A file on its way from a peer at instance 0 to one at instance 1, as long as these answer.

    Args:
        instances: At least two.
        tmp_path: Where everything is.
        stack: Ends what is started here.
    """

    def __init__(self, instances: Instances, tmp_path: Path, stack: ExitStack) -> None:
        self.instances = instances
        self.doors = [stack.enter_context(Balancer(instances.ports, first=index)) for index in (0, 1)]
        self._commands = [
            stack.enter_context(Commands(door.url, tmp_path / f"side-{n}")) for n, door in enumerate(self.doors)
        ]
        self._source = write(tmp_path / "in" / "film.bin", content(SIZE))
        self._out = tmp_path / "out"
        self._out.mkdir()
        self.gate = Gate(tmp_path / "gate")
        self.gate.open()
        self.sent: Command
        self.received: Command

    def send(self) -> str:
        """Start the sender, and return the join code."""
        self.sent = self._commands[0].send(self._source, "--json")
        return self.sent.code()

    def receive(self, code: str) -> None:
        """Start the receiver."""
        self.received = self._commands[1].receive(code, "-out", self._out, "--json", env=self.gate.environment)

    def halfway(self) -> None:
        """Start both, and wait until half of the file is there; the disk takes no more."""
        self.gate.allow(HALF)
        self.receive(self.send())
        self.received.moved(HALF)

    def joined(self) -> None:
        """Start both, and wait until the receiver has joined; nothing reaches the sender, or comes from it."""
        code = self.send()
        self.doors[0].hold()
        self.receive(code)
        self.instances[1].says("event=joined")

    def finish(self) -> None:
        """Let the disk take everything, and wait until the file is there."""
        self.gate.open()
        ended = self.received.wait(90), self.sent.wait()
        assert ended == (0, 0), f"{self.received.said}\n{self.sent.said}"
        assert tree_equal(self._source, self._out / "film.bin")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_peers_on_two_instances(redis: RedisServer, start: Start, tmp_path: Path, stack: ExitStack) -> None:
    exchange = Exchange(start(redis, 2), tmp_path, stack)
    exchange.halfway()
    assert exchange.doors[0].connections() == {0: 1, 1: 0}
    assert exchange.doors[1].connections() == {0: 0, 1: 1}
    exchange.finish()
    assert "reconnecting" not in exchange.sent.kinds + exchange.received.kinds


@pytest.mark.parametrize("killed", [0, 1])
def test_an_instance_is_killed_in_the_middle(
    redis: RedisServer, start: Start, tmp_path: Path, stack: ExitStack, killed: int
) -> None:
    exchange = Exchange(start(redis, 2), tmp_path, stack)
    exchange.halfway()
    exchange.instances.kill(killed)
    until(lambda: exchange.doors[killed].connections()[1 - killed] == 1, "the peer at the other instance")
    exchange.finish()
    assert "reconnecting" not in exchange.sent.kinds + exchange.received.kinds


@pytest.mark.parametrize("killed", [0, 1])
def test_an_instance_is_killed_between_the_join_and_the_link(
    redis: RedisServer, start: Start, tmp_path: Path, stack: ExitStack, killed: int
) -> None:
    exchange = Exchange(start(redis, 2), tmp_path, stack)
    exchange.joined()
    exchange.instances.kill(killed)
    exchange.doors[0].let_go()
    exchange.finish()


def test_all_instances_are_replaced_between_the_join_and_the_link(
    redis: RedisServer, start: Start, tmp_path: Path, stack: ExitStack
) -> None:
    exchange = Exchange(start(redis, 2), tmp_path, stack)
    exchange.joined()
    for index in (0, 1):
        exchange.instances.kill(index)
    exchange.doors[0].let_go()
    port = exchange.instances.restart(0).port
    for door in exchange.doors:
        door.replace(0, port)
    exchange.finish()


def test_an_instance_that_is_stopped_sends_its_peers_to_another(
    redis: RedisServer, start: Start, tmp_path: Path, stack: ExitStack
) -> None:
    exchange = Exchange(start(redis, 2), tmp_path, stack)
    exchange.joined()
    exchange.instances[1].signal(signal.SIGTERM)
    assert exchange.instances[1].wait() == 0
    exchange.doors[0].let_go()
    exchange.finish()


def test_redis_is_restarted_in_the_middle(
    lasting_redis: RedisServer, start: Start, tmp_path: Path, stack: ExitStack
) -> None:
    restart_in_the_middle(lasting_redis, Exchange(start(lasting_redis, 2), tmp_path, stack))


def test_redis_forgets_everything_in_the_middle(
    redis: RedisServer, start: Start, tmp_path: Path, stack: ExitStack
) -> None:
    restart_in_the_middle(redis, Exchange(start(redis, 2), tmp_path, stack))


def restart_in_the_middle(redis: RedisServer, exchange: Exchange) -> None:
    exchange.halfway()
    redis.kill()
    for index in (0, 1):
        exchange.instances[index].says("event=store-lost")
    exchange.gate.allow(HALF + 4 * MIB)
    exchange.received.moved(HALF + 4 * MIB)
    redis.start()
    for index in (0, 1):
        exchange.instances[index].says("event=store-back")
    exchange.finish()
    assert "reconnecting" not in exchange.sent.kinds + exchange.received.kinds


def test_redis_forgets_everything_between_the_join_and_the_link(
    redis: RedisServer, start: Start, tmp_path: Path, stack: ExitStack
) -> None:
    """Nothing can bring them together: both end, and say so."""
    exchange = Exchange(start(redis, 2), tmp_path, stack)
    exchange.joined()
    redis.kill()
    redis.start()
    exchange.doors[0].let_go()
    for side in (exchange.sent, exchange.received):
        assert side.wait() not in (0, -signal.SIGKILL), side.said
        assert side.event("error")["message"]


@pytest.mark.parametrize("away", [RedisServer.freeze, RedisServer.kill])
def test_redis_is_away_between_the_join_and_the_link(
    lasting_redis: RedisServer,
    start: Start,
    tmp_path: Path,
    stack: ExitStack,
    away: Callable[[RedisServer], None],
) -> None:
    exchange = Exchange(start(lasting_redis, 2), tmp_path, stack)
    exchange.joined()
    away(lasting_redis)
    exchange.doors[0].let_go()
    for index in (0, 1):
        exchange.instances[index].says("event=store-lost")
    if lasting_redis.running:
        lasting_redis.thaw()
    else:
        lasting_redis.start()
    exchange.finish()
