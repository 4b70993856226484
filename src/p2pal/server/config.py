"""What an operator may choose."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Literal

from p2pal.errors import UsageError
from p2pal.rate_limit import Rate
from p2pal.wire import rendezvous as wire

EXTRA: Final = "p2pal[server]"
"""The extra of the package that has what only a server for many uses: Redis, metrics, uvloop."""

REQUESTS_BESIDE: Final = 64
"""Connections that an address may have beside those that are WebSockets."""


def missing_package(error: ModuleNotFoundError) -> str:
    """Return the package that an import did not find, by its own name and not by that of a module in it."""
    return (error.name or "").partition(".")[0]


def no_redis(setting: str, error: ModuleNotFoundError) -> UsageError:
    """Return what to tell where the Redis client is not installed.

    Args:
        setting: What asks for it: a flag, a variable.
        error: How its import failed.
    """
    return UsageError(
        f"{setting} needs the package {missing_package(error)}, which is not installed",
        hint=f"install {EXTRA}, or leave the URL out to keep the transfers in memory",
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds that the rules keep. Counts, bytes and seconds.

    Attributes:
        attempts: Receivers that may wait behind the one being served.
        messages: Messages in one log.
        message_bytes: Bytes of one message.
        log_bytes: Bytes of one log.
        silence: The served receiver must send its first message within this time.
        join_grace: A joiner must open its socket within this time.
        offline_grace: A waiting receiver may be without a socket for this time.
        knock: The sender must answer a receiver that knocks within this time.
        rest: A transfer that is over keeps its slot for this time, so that an old code cannot reach a new transfer.
        remembered: Released attempts whose tokens still get a clear answer.
    """

    attempts: int = 8
    messages: int = wire.MAX_MESSAGES
    message_bytes: int = wire.MAX_BODY
    log_bytes: int = wire.MAX_LOG // 2
    silence: float = 10.0
    join_grace: float = 10.0
    offline_grace: float = 30.0
    knock: float = 15.0
    rest: float = 300.0
    remembered: int = 8


@dataclass(frozen=True, slots=True)
class AddressLimits:
    """The bounds for one address (IPv6: for its /64). None and 0 mean that there is none.

    Those of connections, requests, frames and buffers are of one server instance: it is its memory and its time.

    Attributes:
        creates: Transfers and meetings that are created.
        joins: Attempts that are opened, slots that nobody has included.
        open_transfers: Transfers and meetings at once.
        sockets: WebSockets at once.
        messages: Messages of one WebSocket; what comes faster is read later.
        log_bytes: Bytes of the logs of all its transfers together.
        requests: Connections, and HTTP requests after the first one of each, whatever becomes of them.
        frames: Frames of all WebSockets together; what comes faster is read later.
        buffered: Bytes that have come and are not done with, and that wait to be sent, of all connections together.
    """

    creates: Rate | None = Rate(60, 60.0)
    joins: Rate | None = Rate(60, 60.0)
    open_transfers: int = 128
    sockets: int = 256
    messages: Rate | None = Rate(1200, 60.0)
    log_bytes: int = 8 << 20
    requests: Rate | None = Rate(300, 15.0)
    frames: Rate | None = Rate(1600, 10.0)
    buffered: int = 4 << 20

    @property
    def connections(self) -> int:
        """Connections at once: the WebSockets, and some beside them for requests."""
        return self.sockets + REQUESTS_BESIDE if self.sockets else 0


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How a server runs. Sizes are bytes, times seconds.

    Attributes:
        host: The address to listen on; empty for all of this machine, of IPv4 and IPv6.
        port: The port; 0 lets the system choose.
        limits: The bounds per transfer.
        min_ttl: The shortest time that a code may wait. The idle time of a meeting is brought between the two.
        max_ttl: The longest.
        max_transfers: Transfers held at once, those that rest included.
        max_mailbox_bytes: Bytes of all logs together.
        max_request: Bytes of one HTTP request body.
        keepalive: The head of an HTTP connection's next request must arrive within this time.
        request_timeout: One HTTP request body must arrive within this time.
        hello_timeout: The first WebSocket message must arrive within this time.
        send_timeout: A client must take one message within this time.
        heartbeat: A WebSocket is pinged after this silence; without an answer within half as much again it is gone.
        outage: A message that needs the store while it is away is held back this long.
        drain: Graceful stop waits this long for sockets to close.
        drain_delay: Before that, ``/readyz`` says for this time that the server stops, and everything else goes on.
        addresses: The bounds for each address.
        trusted_proxies: Networks whose ``X-Forwarded-For`` is believed.
        origins: Origins whose pages may use the server; ``*`` for all. Clients that are no browser name none.
        tls_cert: File with the certificate chain (PEM); with ``tls_key``, the server speaks TLS alone.
        tls_key: File with its private key (PEM).
        redis_url: Where the transfers are kept; empty for this process's memory.
        stun: STUN URLs for clients without settings of their own.
        turn: TURN URLs for them, handed out once the sender has accepted.
        turn_secret: The secret that TURN credentials are made with; shared with the TURN server.
        turn_ttl: How long a TURN credential can be used.
        log_format: ``text`` (key=value) or ``json``.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    limits: Limits = field(default_factory=Limits)
    min_ttl: float = 1.0
    max_ttl: float = 7 * 86_400.0
    max_transfers: int = 100_000
    max_mailbox_bytes: int = 256 << 20
    max_request: int = 4096
    keepalive: float = 30.0
    request_timeout: float = 10.0
    hello_timeout: float = 10.0
    send_timeout: float = 30.0
    heartbeat: float = 15.0
    outage: float = 5.0
    drain: float = 2.0
    drain_delay: float = 0.0
    addresses: AddressLimits = field(default_factory=AddressLimits)
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    origins: tuple[str, ...] = ()
    tls_cert: str = ""
    tls_key: str = ""
    redis_url: str = field(default="", repr=False)  # may hold a password
    stun: tuple[str, ...] = ()
    turn: tuple[str, ...] = ()
    turn_secret: str = field(default="", repr=False)
    turn_ttl: float = 3600.0
    ice_servers: tuple[wire.IceServer, ...] = ()
    log_format: Literal["text", "json"] = "text"
