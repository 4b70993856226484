"""The examples run as their own words say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.e2e.kit import PATIENCE, Server, environment

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_api_example_sends_and_receives(server: Server, tmp_path: Path, out: Path) -> None:
    source = tmp_path / "report.pdf"
    source.write_bytes(bytes(range(256)) * 1000)
    command = [sys.executable, str(EXAMPLES / "api.py"), str(source), str(out), server.url]
    run = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert run.returncode == 0, run.stderr
    assert (out / "report.pdf").read_bytes() == source.read_bytes()
    assert "received report.pdf, verified\n" in run.stdout


def test_the_api_example_says_what_went_wrong(tmp_path: Path, out: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "api.py"), str(tmp_path / "missing"), str(out)]
    run = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("it failed: ")
    assert "Traceback" not in run.stderr
