"""What every test with several instances starts from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.e2e.instances.kit import Instances
from tests.redis_kit import RedisServer, running

Start = Callable[..., Instances]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that keeps nothing on the disk."""
    with running(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def lasting_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that knows everything after a restart."""
    with running(tmp_path / "redis", appendonly=True) as server:
        yield server


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Instances]]:
    """``start(redis, count, *flags)`` starts so many instances, which end with the test."""
    with ExitStack() as stack:

        def start_instances(redis: RedisServer, count: int, *flags: str) -> Instances:
            return stack.enter_context(Instances(redis, tmp_path / "instances", count, flags))

        yield start_instances
