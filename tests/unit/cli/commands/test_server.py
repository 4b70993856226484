"""``p2pal server`` as a process: it listens, logs, and stops in good order."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.ports import free_port

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@contextmanager
def server(*args: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "p2pal", "server", "--host", "127.0.0.1", *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    with server("--port", "0") as process:
        line = first_line(process)
        port = re.search(r"\bport=(\d+)", line)
        assert "listening" in line
        assert "store=memory tls=false stun=0 turn=0 trusted_proxies=0" in line
        assert port is not None
        with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/healthz", timeout=30) as answer:
            assert answer.status == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == ""
    assert "stopped" in err


@posix
def test_the_log_can_be_json() -> None:
    with server("-port=0", "-log-format=json") as process:
        assert json.loads(first_line(process))["event"] == "listening"
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert all(json.loads(line) for line in err.splitlines())


def test_a_port_in_use_is_one_line_and_exit_3() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with server("--port", str(port)) as process:
            out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (3, "")
    assert err == f"p2pal: port {port} is in use; choose another with --host and --port\n"


def listening(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """Where it listens, and what it logged before."""
    before: list[str] = []
    while line := first_line(process):
        if found := re.search(r"event=listening .*\bport=(\d+)", line):
            return int(found[1]), before
        before.append(line)
    raise AssertionError(before)


def get(url: str, data: bytes | None = None) -> tuple[int, dict[str, str]]:
    try:
        with urllib.request.urlopen(url, data, timeout=30) as answer:
            return answer.status, dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers)


@posix
@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster"])
def test_it_starts_without_its_redis_and_says_so(scheme: str) -> None:
    with server("--port=0", f"--redis-url={scheme}://:the-password@127.0.0.1:{free_port()}") as process:
        port, before = listening(process)
        url = f"http://127.0.0.1:{port}"
        assert get(f"{url}/healthz")[0] == 200
        for path, data in (("/readyz", None), ("/api/transfer", b'{"ttl":60}')):
            status, headers = get(url + path, data)
            assert status == 503
            assert int(headers["Retry-After"]) >= 1
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    told = "".join(before) + err
    assert "event=store-lost" in told
    assert "the-password" not in told


@posix
def test_a_secret_for_no_turn_server_is_warned_of_also_when_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURN_SECRET", "the-secret")
    with server("--port=0", "-q") as process:
        line = first_line(process)
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert "level=warning event=turn-secret-unused" in line
    assert "--turn" in line
    assert "the-secret" not in line + err
