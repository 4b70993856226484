"""From the flags of ``p2pal server`` and the environment to its settings.

``REDIS_URL`` and ``TURN_SECRET`` stand in for their flags (click reads them): both may hold what other users of the
machine must not see, and they do see command lines. No error here repeats either of them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, Literal, NamedTuple, TypedDict
from urllib.parse import SplitResult, urlsplit

from p2pal.cli import logs
from p2pal.cli.options import quoted
from p2pal.errors import UsageError
from p2pal.rate_limit import Rate
from p2pal.server.addresses import Network
from p2pal.server.config import AddressLimits, Limits, ServerConfig, no_redis
from p2pal.wire import rendezvous as wire
from p2pal.wire.ice_urls import is_stun_url, is_turn_url

LOOPBACK: Final[tuple[Network, ...]] = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))
"""What the word ``loopback`` stands for."""

_CLUSTER: Final = "+cluster"
_REDIS: Final = ("redis", "rediss", f"redis{_CLUSTER}", f"rediss{_CLUSTER}")
_ORIGIN: Final = re.compile(r"null|https?://(?:[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class Flags(TypedDict):
    """What click understood of the command line."""

    host: str
    port: int
    redis_url: str
    trusted_proxy: Sequence[str]
    tls_cert: str
    tls_key: str
    stun: Sequence[str]
    turn: Sequence[str]
    turn_secret: str
    turn_ttl: float
    origin: Sequence[str]
    create_rate: Rate | None
    join_rate: Rate | None
    request_rate: Rate | None
    message_rate: Rate | None
    frame_rate: Rate | None
    max_open: int
    max_sockets: int
    max_transfers: int
    max_message: int
    max_messages: int
    max_log: int
    max_ttl: float
    hello_timeout: float
    heartbeat: float
    drain: float
    drain_delay: float
    log_format: Literal["text", "json"]


def server_config(flags: Flags, environment: Collection[str] = ()) -> ServerConfig:
    """Return how the server runs. The secrets are kept out of logs from here on.

    Args:
        flags: What it was told.
        environment: The names of those flags whose values come from the environment.

    Raises:
        UsageError: If a value cannot be used.
    """
    logs.hide(flags["turn_secret"])
    if flags["max_log"] < flags["max_message"]:
        raise UsageError("--max-log must not be less than --max-message", hint="a log holds at least one message")
    ice = _ice(flags)
    if flags["turn_secret"] and not ice.turn and "turn_secret" not in environment:
        raise UsageError("--turn-secret is for a TURN server, and none is named", hint="name it with --turn")
    config = ServerConfig(
        host="" if flags["host"] == "*" else flags["host"],
        port=flags["port"],
        limits=Limits(messages=flags["max_messages"], message_bytes=flags["max_message"], log_bytes=flags["max_log"]),
        max_ttl=flags["max_ttl"],
        max_transfers=flags["max_transfers"],
        hello_timeout=flags["hello_timeout"],
        heartbeat=flags["heartbeat"],
        drain=flags["drain"],
        drain_delay=flags["drain_delay"],
        addresses=AddressLimits(
            creates=flags["create_rate"],
            joins=flags["join_rate"],
            open_transfers=flags["max_open"],
            requests=flags["request_rate"],
            sockets=flags["max_sockets"],
            messages=flags["message_rate"],
            frames=flags["frame_rate"],
        ),
        trusted_proxies=networks(flags["trusted_proxy"]),
        origins=origins(flags["origin"]),
        tls_cert=flags["tls_cert"],
        tls_key=flags["tls_key"],
        redis_url=redis_url(flags["redis_url"], "REDIS_URL" if "redis_url" in environment else "--redis-url"),
        stun=ice.stun,
        turn=ice.turn,
        turn_secret=flags["turn_secret"] if ice.turn else "",
        turn_ttl=flags["turn_ttl"],
        log_format=flags["log_format"],
    )
    if config.tls_cert or config.tls_key:
        from p2pal.server.tls import context_for

        context_for(config)  # what is wrong with the files is told before anything begins
    return config


def redis_url(text: str, name: str = "--redis-url") -> str:
    """Return the URL of the Redis; empty for none. Nothing is asked there: it may come later.

    Args:
        text: What was given.
        name: The flag or variable that it was given with, for the error.

    Raises:
        UsageError: If it is none, or the Redis client is not installed. The text is not repeated: it may hold a
            password.
    """
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        logs.hide(parts.password or "")
        wrong = _wrong_with(text, parts)
    except ValueError:
        wrong = "its host or port cannot be read"
    except ModuleNotFoundError as error:
        raise no_redis(name, error) from error
    if wrong:
        hint = "write it as redis://HOST:6379/0, or redis+cluster://HOST:6379 for a Redis Cluster"
        raise UsageError(f"{name} is no URL of a Redis: {wrong}", hint=hint)
    return text


def _wrong_with(text: str, parts: SplitResult) -> str:
    """Return what is wrong with the URL, without any of its text; empty if nothing is.

    Raises:
        ValueError: If its port is none.
    """
    if not text.isprintable() or " " in text:
        return "it has spaces or control characters in it"
    if parts.scheme == "unix":
        if len(parts.path) < 2:
            return "it names no socket"
    elif parts.scheme not in _REDIS:
        return f"it does not begin with {', '.join(f'{scheme}://' for scheme in _REDIS)} or unix://"
    elif not parts.hostname:
        return "it names no host"
    elif parts.port == 0:
        return "its port is 0"
    else:
        number = parts.path.strip("/")
        if number and parts.scheme.endswith(_CLUSTER):
            return "a Redis Cluster has no numbered databases"
        if number and not (number.isascii() and number.isdecimal()):
            return "its path is not the number of a database"
    return "" if _redis_takes(text) else "its options cannot be used"


def _redis_takes(url: str) -> bool:
    """Whether its client understands the options after the question mark too; it says so only when it connects."""
    from redis.asyncio import ConnectionPool
    from redis.exceptions import RedisError

    try:
        pool: Any = ConnectionPool.from_url(url.replace(_CLUSTER, "", 1))
        pool.make_connection()  # opens nothing
    except (TypeError, ValueError, RedisError):
        return False
    return True


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return the networks of ``--trusted-proxy``: addresses, CIDR, the word ``loopback``, or several with commas.

    Raises:
        UsageError: If one is none.
    """
    found: list[Network] = []
    for text in _several(texts):
        if text.lower() == "loopback":
            found += LOOPBACK
            continue
        try:
            network = _network(text)
        except ValueError:
            message = f"--trusted-proxy takes an address or a network, not {quoted(text)}"
            raise UsageError(message, hint=f"write it as {_meant(text)}") from None
        if network.prefixlen == 0:
            message = f"--trusted-proxy {quoted(text)} is everybody, who could then claim any address"
            raise UsageError(message, hint="name the proxy's own address or network")
        found.append(network)
    return tuple(dict.fromkeys(found))


def _network(text: str, *, strict: bool = True) -> Network:
    """Return the network; IPv4 within IPv6 as IPv4, which is how such a proxy is seen.

    Raises:
        ValueError: If it is none, has a zone, or has bits set behind its prefix while this is ``strict``.
    """
    network = ipaddress.ip_network(text if "%" not in text else "", strict=strict)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < 96:
        return network
    return IPv4Network((mapped, network.prefixlen - 96))


def _meant(text: str) -> str:
    try:
        return f"{_network(text, strict=False)}, or {text.partition('/')[0]} for that address alone"
    except ValueError:
        return "192.0.2.7, 10.0.0.0/8 or loopback"


def origins(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the origins as browsers spell them (RFC 6454, section 6.2); ``*`` for all of them.

    Raises:
        UsageError: If one is none.
    """
    found = []
    for text in _several(texts):
        origin = text.lower().removesuffix("/")
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            message = f"--origin takes an origin, not {quoted(text)}"
            raise UsageError(
                message, hint="write it as https://example.org or http://..., without a path, or * for all"
            )
        found.append(origin.removesuffix(_DEFAULT_PORTS.get(origin.partition("://")[0], "/")))
    return tuple(dict.fromkeys(found))


class _Ice(NamedTuple):
    stun: tuple[str, ...]
    turn: tuple[str, ...]


def _ice(flags: Flags) -> _Ice:
    stun = tuple(dict.fromkeys(url for url in _several(flags["stun"]) if url.lower() != "none"))
    turn = tuple(dict.fromkeys(_several(flags["turn"])))
    if not all(is_stun_url(url) for url in stun):
        raise UsageError("--stun takes a STUN URL", hint="write --stun stun:HOST:PORT, or --stun none")
    if not all(is_turn_url(url) for url in turn):
        raise UsageError(
            "--turn takes a TURN URL, without user name and password",
            hint="write --turn turn:HOST:PORT, or turns: for TLS; ?transport=udp or ?transport=tcp may follow",
        )
    if turn and not flags["turn_secret"]:
        raise UsageError("--turn needs a secret", hint="set $TURN_SECRET to the static-auth-secret of the TURN server")
    if len(stun) + len(turn) > wire.MAX_ICE_URLS:
        raise UsageError(f"clients take at most {wire.MAX_ICE_URLS} URLs of STUN and TURN servers", hint="name fewer")
    return _Ice(stun, turn)


def _several(texts: Sequence[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]
