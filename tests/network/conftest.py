"""What every test of the network starts from: hosts of its own, and a transfer between two of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.network.exchange import Exchange
from tests.network.lab import Lab, need_networks

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A server, Alice and Bob, each on a host of its own."""
    need_networks()
    with Lab() as made:
        yield made


@pytest.fixture
def exchange(lab: Lab, tmp_path: Path) -> Iterator[Exchange]:
    """A transfer from Alice to Bob that is under way, and lasts until :meth:`Exchange.finish`."""
    with Exchange(lab, tmp_path) as running:
        running.start()
        yield running
