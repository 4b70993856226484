from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a receiver writes."""
    path = tmp_path / "out"
    path.mkdir()
    return path
