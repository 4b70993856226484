"""Every command where nothing is installed but p2pal itself, without ``p2pal[server]``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

import pytest
from tests.e2e.kit import Commands, environment
from tests.e2e.trees import MIB, content, tree_equal, write

_FOLDER: Final = Path(__file__).parent / "without_extra"
_PYPROJECT: Final = Path(__file__).parents[2] / "pyproject.toml"
MISSING: Final = ("hiredis", "prometheus_client", "redis", "uvloop")


@pytest.fixture
def plain() -> dict[str, str]:
    """The environment of a command that finds none of the extra's packages."""
    path = [str(_FOLDER), os.environ.get("PYTHONPATH", "")]
    return environment(PYTHONPATH=os.pathsep.join(filter(None, path)), P2PAL_TEST_MISSING=" ".join(MISSING))


def test_all_packages_of_the_extra_are_out_of_reach(plain: dict[str, str]) -> None:
    extra = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]["server"]
    names = {re.split(r"[^a-z-]", each)[0].replace("-", "_") for each in extra}
    assert names <= set(MISSING)
    for name in MISSING:
        command = [sys.executable, "-c", f"import {name}"]
        done = subprocess.run(command, env=plain, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 1
        assert "ModuleNotFoundError" in done.stderr


def test_a_server_and_the_commands_that_use_it(
    commands: Commands, plain: dict[str, str], tmp_path: Path, out: Path
) -> None:
    source = write(tmp_path / "report.pdf", content(MIB))
    server = commands.server(env=plain)
    connection = ["-server", server.url, "-stun", "none"]
    sent = commands.run("send", *connection, source, env=plain)
    received = commands.run("recv", *connection, "-y", "-out", out, sent.code(), env=plain)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "report.pdf")
    checked = commands.run("doctor", *connection, env=plain)
    assert checked.wait() == 0, checked.said
    assert "metrics-missing" not in server.err


def test_send_with_a_server_of_its_own(commands: Commands, plain: dict[str, str], tmp_path: Path, out: Path) -> None:
    source = write(tmp_path / "report.pdf", content(MIB))
    sent = commands.run("send", "--serve", "-stun", "none", "--json", source, env=plain)
    event = sent.event("code")
    command = ["recv", f"-server={event['server']}", "-stun=none", "-y", "-out", out, event["code"]]
    received = commands.run(*command, env=plain)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "report.pdf")


def test_metrics_say_what_is_missing_and_the_log_says_it_once(commands: Commands, plain: dict[str, str]) -> None:
    server = commands.server(env=plain)
    for _ in range(2):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.url}/metrics", timeout=30)
        with refused.value as answer:
            assert answer.status == 501
            assert json.loads(answer.read())["error"] == {
                "code": "no-metrics",
                "message": "metrics need the package prometheus_client, which is not installed; install p2pal[server]",
            }
    with urllib.request.urlopen(f"{server.url}/readyz", timeout=30) as ready:
        assert ready.status == 200
    told = [line for line in server.err.splitlines() if "event=metrics-missing" in line]
    assert len(told) == 1, server.said
    assert 'package=prometheus_client hint="install p2pal[server]"' in told[0]


@pytest.mark.parametrize("way", ["--redis-url", "REDIS_URL"])
def test_redis_without_its_client_is_an_error_before_anything_begins(
    way: str, commands: Commands, plain: dict[str, str]
) -> None:
    url = "redis://:a-password@127.0.0.1:6379/0"
    flags = [way, url] if way.startswith("-") else []
    server = commands.run("server", "--port", "0", *flags, env=plain if flags else plain | {way: url})
    assert server.wait() == 2
    assert server.out == ""
    assert server.err == (
        f"p2pal: {way} needs the package redis, which is not installed; "
        "install p2pal[server], or leave the URL out to keep the transfers in memory\n"
    )
