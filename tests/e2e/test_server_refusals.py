"""What people see of a server that limits them, or that cannot serve just now."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tests.e2e.kit import Command, Commands, environment
from tests.e2e.trees import tree_equal, write
from tests.redis_kit import RedisServer
from tests.unit.server.test_tls import Files


def send(commands: Commands, url: str, *args: str | Path) -> Command:
    return commands.run("send", "-server", url, "-stun", "none", "-y", *args)


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--create-rate=1/1h", "the signaling server is asked too often from this address; try again in 60 min"),
        ("--max-open=1", "too many transfers are open from this address; end one of them, or try again later"),
        ("--max-transfers=1", "the signaling server is full; try again in "),
    ],
)
def test_limits_are_told_at_once(commands: Commands, tmp_path: Path, flag: str, told: str) -> None:
    source = write(tmp_path / "file", "x")
    server = commands.server(flag)
    send(commands, server.url, source).code()
    second = send(commands, server.url, "--json", source)
    assert second.wait() == 3
    assert told in second.err
    failure = json.loads(second.out.splitlines()[-1])
    assert (failure["event"], failure["code"], failure["exit_code"]) == ("error", "server-refused", 3)


def test_codes_may_not_be_tried_as_often_as_one_likes(commands: Commands) -> None:
    server = commands.server("--join-rate=1/1h")
    join = ["recv", "-server", server.url, "-stun", "none", "-y", "zebra-luna-1"]
    assert commands.run(*join).wait() == 4
    refused = commands.run(*join)
    assert refused.wait() == 3
    assert "asked too often from this address; try again in 60 min" in refused.err


def test_a_sender_waits_for_a_server_whose_redis_is_away(commands: Commands, tmp_path: Path, out: Path) -> None:
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    redis.stop()
    try:
        server = commands.server("--redis-url", redis.url)
        source = write(tmp_path / "file", "x" * 100_000)
        sent = send(commands, server.url, source)
        sent.says(r"The signaling server is not ready; waiting up to 0:\d\d")
        redis.start()
        received = commands.run("recv", "-server", server.url, "-stun", "none", "-y", "-out", out, sent.code())
        assert (received.wait(), sent.wait()) == (0, 0)
        assert sent.said.count("Going on") == 1
        assert tree_equal(source, out / "file")
    finally:
        redis.end()


def test_redis_url_comes_from_the_environment(commands: Commands) -> None:
    server = commands.run("server", "--port=0", env=environment(REDIS_URL="http://127.0.0.1"))
    assert server.wait() == 2
    assert "REDIS_URL is no URL of a Redis" in server.err


def test_the_longest_ttl_is_told(commands: Commands, tmp_path: Path) -> None:
    server = commands.server("--max-ttl=10m")
    refused = send(commands, server.url, "-ttl", "20m", write(tmp_path / "file", "x"))
    assert refused.wait() == 3
    assert "the signaling server allows a -ttl from 1s to 10m; choose another -ttl" in refused.err


def test_a_certificate_of_ones_own(commands: Commands, tmp_path: Path) -> None:
    files = Files(tmp_path)
    server = commands.server(f"--tls-cert={files.cert}", f"--tls-key={files.key}")
    source = write(tmp_path / "file", "x")
    url = server.url.replace("http://", "https://")
    refused = commands.run("send", "-server", url, "-stun", "none", "-y", source, env=environment(SSL_CERT_FILE=""))
    assert refused.wait() == 3
    assert "is not trusted; give it a certificate of a public CA, or set SSL_CERT_FILE=/path/to/ca.pem" in refused.err
    trusting = environment(SSL_CERT_FILE=str(files.cert))
    commands.run("send", "-server", url, "-stun", "none", "-y", source, env=trusting).code()


def test_a_server_that_is_lost_while_the_code_waits(commands: Commands, tmp_path: Path) -> None:
    server = commands.server()
    port = int(server.url.rpartition(":")[2])
    sent = send(commands, server.url, write(tmp_path / "file", "x"))
    told = send(commands, server.url, "--json", tmp_path / "file")
    sent.code()
    told.event("code")
    server.signal(signal.SIGKILL)
    server.wait()
    sent.says(r"The signaling server does not answer; waiting up to 1:5\d")
    assert told.event("waiting", what="server")["seconds"] == 117.0
    commands.server(port=port)
    assert (sent.wait(), told.wait()) == (3, 3)  # what it had in its memory is gone
    assert "the signaling server does not know this transfer any more" in sent.err
