"""``python -m tests.fuzz [--seconds N] [--seed N] [TARGET ...]``: fuzz for so long in all, and keep what fails.

With atheris (``pip install .[fuzz]``) inputs are chosen by the code that they reach; without it they are mutated
blindly.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import time
import traceback
from pathlib import Path

from tests.fuzz.rounds import Failed, fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Return 1 if a target failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz what reads hostile input.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(TARGETS)} [all]")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all of them together [60]")
    parser.add_argument("--seed", type=int, help="of inputs that are mutated blindly [the time]")
    parser.add_argument("--found", type=Path, default=Path(".fuzz"), help="where failing inputs are kept [.fuzz]")
    parser.add_argument("--blind", action="store_true", help="without atheris, also where it is there")
    args = parser.parse_args()
    if unknown := set(args.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    names = args.targets or list(TARGETS)
    seed = int(time.time()) if args.seed is None else args.seed
    guided = not args.blind and importlib.util.find_spec("atheris") is not None
    each, failed = args.seconds / len(names), 0
    print(f"{each:.1f} s for each of {len(names)} targets, " + ("guided by atheris" if guided else f"seed {seed}"))
    for name in names:
        failed += not (_guided(name, each, args.found) if guided else _blind(name, each, seed, args.found))
    print(f"{failed} of {len(names)} targets failed; what with is in {args.found}" if failed else "nothing failed")
    return 1 if failed else 0


def _blind(name: str, seconds: float, seed: int, found: Path) -> bool:
    try:
        print(f"{name}: {fuzz(name, seed=seed, seconds=seconds):,} inputs", flush=True)
    except Failed as failed:
        traceback.print_exception(failed)
        print(f"{name}: FAILED; kept as {failed.save(found)}", flush=True)
        return False
    return True


def _guided(name: str, seconds: float, found: Path) -> bool:
    whole = str(max(1, round(seconds)))
    corpus = found / "corpus" / name
    command = [sys.executable, "-m", "tests.fuzz.guided", name, whole, str(found), str(corpus)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    runs = [line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    if done.returncode == 0:
        print(f"{name}: {int(runs[0]) if runs else 0:,} inputs", flush=True)
        return True
    print(done.stdout[-4000:], done.stderr[-4000:], f"{name}: FAILED", flush=True)
    return False


sys.exit(main())
