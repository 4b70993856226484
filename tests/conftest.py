"""What holds for every test: nothing of the user's own is read or written."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home directory for the length of the run: checkpoints go there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True, scope="module")
def collected() -> Iterator[None]:
    """What a module's tests left in cycles goes with it: open files, above all."""
    yield
    gc.collect()
