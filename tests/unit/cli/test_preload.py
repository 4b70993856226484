"""What is imported beside other work: it is there in the end, and what fails is not told twice."""

from __future__ import annotations

import subprocess
import sys

import pytest

BODY = """
import sys, threading
{before}
from p2pal.cli.preload import preload
preload()
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join()
print(sys.modules["aiohttp"] is not None)
"""


@pytest.mark.parametrize(
    ("before", "there"), [("", "True"), ("sys.modules['aiohttp'] = None  # cannot be imported", "False")]
)
def test_it_is_imported_in_a_thread_and_a_failure_is_left_to_who_needs_it(before: str, there: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", BODY.format(before=before)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.strip() == there
    assert not ended.stderr
