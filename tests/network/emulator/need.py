"""Long links cannot be tested everywhere."""

from __future__ import annotations

import functools
import os

import pytest
from tests.network.emulator.hosts import missing


@functools.cache
def _missing() -> str:
    return missing()


def need_emulator() -> None:
    """Skip where there can be no emulator, or fail in CI, where such a hole must not go unseen."""
    if _missing():
        reason = f"LONG LINKS ARE NOT TESTED: {_missing()}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
