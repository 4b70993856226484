"""For a command that has this directory on its PYTHONPATH: the packages in ``P2PAL_TEST_MISSING`` are not installed."""

from __future__ import annotations

import os
import sys

_NAMES = os.environ.get("P2PAL_TEST_MISSING", "").split()
sys.modules.update(dict.fromkeys(_NAMES))  # type: ignore[arg-type]  # with None there, "import redis" finds nothing
