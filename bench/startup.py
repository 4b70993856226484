"""How long the user waits for ``p2pal --help`` and ``p2pal --version``: wall time of the whole process.

python bench/startup.py --runs 15
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from typing import Final

from table import Row, median, note, show
from transfer import p2pal

MAX_SECONDS: Final = 0.150
LIMIT: Final = 20.0


def measure(*, runs: int) -> list[Row]:
    """Return the rows.

    Raises:
        CalledProcessError: If the command fails.
        TimeoutExpired: If it hangs.
    """
    rows = []
    for flag in ("--help", "--version"):
        note(f"start-up: p2pal {flag}, {runs} times")
        seconds = []
        for _ in range(runs):
            started = time.perf_counter()
            subprocess.run([*p2pal(), flag], check=True, timeout=LIMIT, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - started)
        middle = median(seconds)
        limit = f"<= {MAX_SECONDS * 1000:.0f} ms"
        rows.append(Row(f"p2pal {flag}", f"{middle * 1000:.0f} ms", limit=limit, ok=middle <= MAX_SECONDS))
    return rows


def main() -> int:
    """Measure start-up alone."""
    parser = argparse.ArgumentParser(description="Time p2pal --help and --version.")
    parser.add_argument("--runs", type=int, default=15, help="how often each")
    return show(measure(runs=parser.parse_args().runs))


if __name__ == "__main__":
    sys.exit(main())
