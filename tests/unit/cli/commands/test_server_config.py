from __future__ import annotations

import ipaddress
import re
import subprocess
from pathlib import Path
from typing import Any, cast

import click
import pytest

from p2pal.cli import logs
from p2pal.cli.commands.server import EXAMPLES, EXIT_CODES, LAST_SECTION, SECTIONS, server
from p2pal.cli.commands.server_config import Flags, networks, origins, redis_url, server_config
from p2pal.errors import UsageError
from p2pal.rate_limit import Rate
from p2pal.server.config import AddressLimits, Limits, ServerConfig
from p2pal.wire import rendezvous as wire


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.delenv("TURN_SECRET", raising=False)


def config(*args: str) -> ServerConfig:
    """What the server would run with."""
    with server.make_context("p2pal server", list(args)) as context:
        flags: dict[str, Any] = {name: value for name, value in context.params.items() if name != "quiet"}
        source = context.get_parameter_source
        environment = {name for name in flags if source(name) is click.core.ParameterSource.ENVIRONMENT}
    return server_config(cast("Flags", flags), environment)


def test_without_flags_it_runs_as_the_configuration_says() -> None:
    assert config() == ServerConfig(host="0.0.0.0")


def test_a_star_is_every_address_of_both_families() -> None:
    assert config("--host", "*") == ServerConfig(host="")


@pytest.mark.parametrize("form", ["-{name} {value}", "-{name}={value}", "--{name} {value}", "--{name}={value}"])
def test_every_flag_reaches_its_field(form: str) -> None:
    flags = {
        "host": "::1",
        "port": "0",
        "redis-url": "redis://:pass@redis:6379/1",
        "trusted-proxy": "10.0.0.0/8",
        "turn": "turn:turn.example.org",
        "turn-secret": "abcdef",
        "turn-ttl": "2h",
        "stun": "stun:stun.example.org",
        "origin": "https://example.org",
        "create-rate": "6/1m",
        "join-rate": "10/s",
        "request-rate": "7/2s",
        "message-rate": "none",
        "frame-rate": "none",
        "max-open": "3",
        "max-sockets": "0",
        "max-transfers": "5000",
        "max-message": "20KiB",
        "max-messages": "64",
        "max-log": "64KiB",
        "max-ttl": "1d",
        "hello-timeout": "3s",
        "heartbeat": "20s",
        "drain": "9s",
        "drain-delay": "4s",
        "log-format": "json",
    }
    args = [part for name, value in flags.items() for part in form.format(name=name, value=value).split(" ")]
    assert config(*args) == ServerConfig(
        host="::1",
        port=0,
        redis_url="redis://:pass@redis:6379/1",
        trusted_proxies=(ipaddress.IPv4Network("10.0.0.0/8"),),
        turn=("turn:turn.example.org",),
        turn_secret="abcdef",
        turn_ttl=7200.0,
        stun=("stun:stun.example.org",),
        origins=("https://example.org",),
        addresses=AddressLimits(Rate(6, 60.0), Rate(10, 1.0), 3, 0, None, requests=Rate(7, 2.0), frames=None),
        max_transfers=5000,
        limits=Limits(messages=64, message_bytes=20 * 1024, log_bytes=64 * 1024),
        max_ttl=86_400.0,
        hello_timeout=3.0,
        heartbeat=20.0,
        drain=9.0,
        drain_delay=4.0,
        log_format="json",
    )


def test_secrets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "rediss://user:the-password@redis")
    monkeypatch.setenv("TURN_SECRET", "the-secret")
    assert config().redis_url == "rediss://user:the-password@redis"
    assert config().turn_secret == ""  # there is no TURN server that it could be for
    assert config("--turn", "turn:a").turn_secret == "the-secret"
    assert config("--redis-url", "redis://here").redis_url == "redis://here"
    assert logs.redact("the-secret the-password") == "[hidden] [hidden]"
    assert "the-" not in repr(config("--turn", "turn:a"))


def test_lists_may_be_given_with_commas() -> None:
    made = config("--stun", "stun:a,stuns:b:443", "--stun=stun:a", "--turn", "turn:a?transport=tcp", "-turn-secret=xyz")
    assert made.stun == ("stun:a", "stuns:b:443")
    assert made.turn == ("turn:a?transport=tcp",)
    assert config("--stun", "none").stun == ()


def test_networks() -> None:
    found = networks(["loopback, 192.0.2.7", "2001:db8::/32", "192.0.2.7"])
    assert [str(network) for network in found] == ["127.0.0.0/8", "::1/128", "192.0.2.7/32", "2001:db8::/32"]


def test_ipv4_within_ipv6_is_ipv4() -> None:
    found = networks(["::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "::/1"])
    assert [str(network) for network in found] == ["10.0.0.1/32", "10.0.0.0/8", "::/1"]


def test_origins_are_spelled_as_browsers_do() -> None:
    given = ["https://Example.org:443/", "http://example.org:80", "http://localhost:5173", "https://[::1]:8443"]
    told = ("https://example.org", "http://example.org", "http://localhost:5173", "https://[::1]:8443", "*", "null")
    assert origins([*given, "*", "null"]) == told


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://user:p%40ss@192.0.2.1:6380/3",
        "rediss://[::1]:6379?ssl_cert_reqs=none",
        "unix:///run/redis/redis.sock?db=2",
        "unix://:password@/run/redis.sock",
        "redis+cluster://a:7000",
        "rediss+cluster://a",
    ],
)
def test_urls_of_a_redis(url: str) -> None:
    assert redis_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://user:hunter2@localhost",
        "redis://",
        "redis://hunter2:port",
        "redis://a:70000",
        "redis://a/hunter2",
        "redis://[hunter2",
        "redis+cluster://a/1",
        "unix://relative",
        "unix:///",
        "redis://a b",
        "redis://a\x1b",
        "redis://a?hunter2=1",
        "redis://a?protocol=9",
        "rediss://a?ssl_cert_reqs=hunter2",
        "rediss+cluster://a?db=hunter2",
    ],
)
def test_what_is_no_url_of_a_redis_is_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="--redis-url is no URL of a Redis: ") as caught:
        redis_url(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis+sentinel://a", r"does not begin with redis://, rediss://, redis\+cluster://, .* or unix://"),
        ("redis://", "names no host"),
        ("redis://a:99999", "host or port cannot be read"),
        ("redis://a:0", "port is 0"),
        ("redis://a/abc", "not the number of a database"),
        ("redis+cluster://a:1/3", "no numbered databases"),
        ("redis://a?foo=bar", "options cannot be used"),
        ("unix:///", "names no socket"),
        ("redis://a\n", "control characters"),
    ],
)
def test_it_is_told_what_is_wrong_with_the_url_of_a_redis_and_where_it_is(
    url: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=f"^--redis-url is .*{told}"):
        config("--redis-url", url)
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(UsageError, match=f"^REDIS_URL is .*{told}"):
        config()


NINE = ",".join(f"stun:s{number}" for number in range(wire.MAX_ICE_URLS + 1))


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--stun", "http://a"], "--stun takes a STUN URL"),
        (["--stun", "turn:a"], "--stun takes a STUN URL"),
        (["--stun", NINE], "clients take at most 8 URLs"),
        (["--turn", "turn:user@a", "--turn-secret", "xyz"], "--turn takes a TURN URL, without user name and password"),
        (["--turn", "turn:a"], r"\$TURN_SECRET"),
        (["--turn-ttl", "5s"], "--turn-ttl takes a duration from 1m to 7d, not '5s'"),
        (["--trusted-proxy", "proxy.example.org"], "takes an address or a network, not 'proxy.example.org'"),
        (["--trusted-proxy", "fe80::1%eth0"], "takes an address or a network, not 'fe80::1%eth0'"),
        (["--turn-secret", "xyz"], "--turn-secret is for a TURN server, and none is named"),
        (["--trusted-proxy", "0.0.0.0/0"], "'0.0.0.0/0' is everybody, .*; name the proxy's own address"),
        (["--trusted-proxy", "10.0.0.1,::/0"], "'::/0' is everybody"),
        (["--trusted-proxy", "::ffff:0:0/96"], "is everybody"),
        (["--trusted-proxy", "10.1.2.3/8"], "10.0.0.0/8, or 10.1.2.3 for that address alone"),
        (["--origin", "example.org"], "--origin takes an origin"),
        (["--origin", "https://example.org/path"], "without a path"),
        (["--origin", "ftp://example.org"], "--origin takes an origin"),
        (["--origin", "null:80"], "--origin takes an origin"),
        (["--create-rate", "60"], "--create-rate takes COUNT/DURATION, not '60'"),
        (["--create-rate", "60/0s"], "COUNT/DURATION"),
        (["--join-rate", "0/1m"], "COUNT/DURATION"),
        (["--join-rate", "99999999/1m"], "COUNT/DURATION"),
        (["--message-rate", "5/400d"], "COUNT/DURATION"),
        (["--max-open", "-1"], "--max-open takes a whole number up to 1000000, not '-1'"),
        (["--max-sockets", "1000001"], "0 or none switches the limit off"),
        (["--max-transfers", "0"], "--max-transfers takes a whole number from 1"),
        (["--max-message", "65KiB"], "--max-message takes a size from 20KiB to 64KiB, not '65KiB'"),
        (["--max-message", "1kB"], "20KiB"),
        (["--max-message", "big"], "20KiB"),
        (["--max-messages", "513"], "from 64 to 512"),
        (["--max-log", "2MiB"], "from 64KiB to 1MiB, not '2MiB'; write it as 1MiB"),
        (["--max-log", "1"], "from 64KiB to 1MiB, not '1'; write it as 1MiB"),
        (["--log-format", "xml"], "^--log-format takes text or json, not 'xml'$"),
        (["--max-ttl", "0"], "--max-ttl takes a duration from 1s to 365d, not '0'"),
        (["--heartbeat", "soon"], "--heartbeat takes a duration, not 'soon'"),
        (["--tls-cert", "cert.pem"], "give both --tls-cert and --tls-key"),
        (["--tls-key", "key.pem"], "give both --tls-cert and --tls-key"),
        (
            ["--tls-cert", "/nowhere/c", "--tls-key", "/nowhere/k"],
            "cannot read the TLS certificate '/nowhere/c': No such file or directory",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(args: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        config(*args)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["0", "none", "NONE"])
def test_limits_can_be_switched_off(value: str) -> None:
    made = config(*(f"-{name}={value}" for name in ("create-rate", "join-rate", "message-rate", "max-open")))
    assert made.addresses == AddressLimits(None, None, 0, 256, None)


def make_certificate(at: Path) -> tuple[str, str]:
    cert, key = at / "cert.pem", at / "key.pem"
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return str(cert), str(key)


def test_a_certificate_is_looked_at_before_anything_listens(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    made = config("--tls-cert", cert, "--tls-key", key)
    assert (made.tls_cert, made.tls_key) == (cert, key)
    with pytest.raises(UsageError, match="has no certificate in it"):
        config("--tls-cert", key, "--tls-key", cert)


def test_every_option_is_in_one_section() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    others = {"log_format", "quiet", "debug"}
    assert sorted(listed) == sorted({str(param.name) for param in server.params} - others)


@pytest.mark.parametrize("width", [60, 100])
def test_the_help_fits_and_begins_with_what_matters(width: int) -> None:
    context = click.Context(server, info_name="p2pal server", terminal_width=width)
    shown = server.get_help(context)
    assert all(len(line) <= width for line in shown.splitlines())
    titles = [line.rstrip(":") for line in shown.splitlines() if line and not line.startswith(" ")]
    assert titles[1:] == [*SECTIONS, LAST_SECTION, "Examples", "Exit codes"]
    assert re.findall(r"^  (\d+) ", shown, re.MULTILINE) == [str(code) for code, _ in EXIT_CODES]
    for option in server.params:
        assert option.opts[0] in shown


def test_the_examples_are_understood(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    for line, _ in EXAMPLES:
        assert line.startswith("p2pal server")
        config(*(str(tmp_path / word) if word.endswith(".pem") else word for word in line.split()[2:]))
