"""What the contract tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.redis_kit import Servers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers of every kind, for the tests of one worker."""
    servers = Servers(tmp_path_factory.mktemp("redis"))
    yield servers
    servers.end()
