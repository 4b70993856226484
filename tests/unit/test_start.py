"""What a transfer loads before it knows that it needs it: nothing that takes long."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("side", ["send", "receive"])
def test_a_side_loads_neither_the_engine_nor_the_stun_library_before_it_asks_for_them(side: str) -> None:
    script = (
        f"import sys, p2pal.app.{side}; print([name for name in ('webrtc', 'aioice', 'dns') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
