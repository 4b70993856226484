"""The emulator of ``tests/network``, for scripts that are run from this directory."""

import os
import sys
from pathlib import Path

sys.path.append(os.fspath(Path(__file__).parents[1]))

from tests.network.emulator.wan import Name, Wan
from tests.network.emulator.wire import Counts, Link
from tests.network.namespaces import NetworkError

__all__ = ["Counts", "Link", "Name", "NetworkError", "Wan"]
