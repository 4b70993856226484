from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.trees import content, write
from tests.unit.app.kit import FIRST, HALF, LARGE, Gate, gated


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a receiver writes."""
    path = tmp_path / "out"
    path.mkdir()
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small file, then a large one that is half there when the gate holds the rest back."""
    write(tmp_path / "tree" / "a first one", content(FIRST))
    write(tmp_path / "tree" / "large", content(LARGE))
    return tmp_path / "tree"


@pytest.fixture
def gate() -> Iterator[Gate]:
    with gated(HALF) as gate:
        yield gate
