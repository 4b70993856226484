"""What holds for every test of the command line: it starts as a new process does."""

from __future__ import annotations

import pytest

from p2pal.cli import logs


@pytest.fixture(autouse=True)
def no_secrets() -> None:
    """No code or password of an earlier test is hidden in what this one reads."""
    logs.forget()
