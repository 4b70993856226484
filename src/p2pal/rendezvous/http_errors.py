"""What an HTTP answer means that is not what was asked for. The server's own text is never shown."""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple

import msgspec

from p2pal.connect_failure import ConnectFailure
from p2pal.errors import CodeExpired, CodeUnknown, P2palError, ServerRefused, VersionMismatch
from p2pal.proxies import Proxy, advice
from p2pal.rendezvous.connect_errors import SPEAKS_TLS
from p2pal.units import duration
from p2pal.wire import rendezvous as wire

_TOO_MUCH: Final = {
    "queue-full": "too many receivers are waiting for this transfer",
    "too-often": "the signaling server is asked too often from this address",
    "too-many-open": "too many transfers are open from this address",
    "too-many-sockets": "too many connections are open from this address",
}
"""What 429 says by its code."""

_GATEWAY: Final = frozenset({502, 503, 504})

_WANTS_TLS: Final = re.compile(
    rb"plain HTTP request was sent to HTTPS port|HTTP request to an HTTPS server|plain HTTP to an SSL-enabled server"
)
"""What nginx, Caddy (and all that is written in Go) and Apache say to plain HTTP where they speak TLS."""


class HttpAnswer(NamedTuple):
    """An HTTP answer; ``retry_after`` is in seconds, see :func:`p2pal.rendezvous.transport.retry_after`."""

    status: int
    body: bytes
    retry_after: float | None = None

    @property
    def code(self) -> str:
        """The error's code, or nothing if the body is none of this protocol."""
        return self.detail.code

    @property
    def detail(self) -> wire.ErrorDetail:
        """What the error's body says; empty if it is none of this protocol."""
        try:
            return msgspec.json.decode(self.body, type=wire.ErrorBody).error
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return wire.ErrorDetail("")

    @property
    def not_ready(self) -> bool:
        """Whether the same may well work in some seconds: the server, or a proxy before it, says that it will."""
        return self.status in _GATEWAY and self.code != "full"


def nonsense(proxy: Proxy | None = None) -> ServerRefused:
    """Return the error for what is no answer of this protocol at all; a proxy on the way may have given it."""
    hint = "check the -server address"
    if proxy is not None:
        hint = f"{hint}, and the proxy {proxy.named}"
    return ServerRefused("what answers at the server's address is no p2pal signaling server", hint=hint)


def refusal(answer: HttpAnswer, waited: float = 0.0, proxy: Proxy | None = None) -> P2palError:
    """Return the error for an answer.

    Args:
        answer: What came.
        waited: Seconds for which the server was tried again and again.
        proxy: The proxy that may have answered instead of the server.
    """
    status, code = answer.status, answer.code
    if proxy is not None and not code:
        return _through_proxy(answer, waited, proxy)
    if code == "version":
        return VersionMismatch("the signaling server speaks another version of the protocol")
    if code == "ttl":
        return _ttl(answer.detail)
    if status == 404 and code in ("unknown", "unknown-attempt"):
        return CodeUnknown("no transfer has this code")
    if status == 410:
        if code == "expired":
            return CodeExpired("the code has expired")
        return CodeExpired("the transfer with this code is over", hint="ask for a new code")
    if status == 429 or status >= 500:
        return _later(answer, code, waited)
    if status == 400 and _WANTS_TLS.search(answer.body):
        return ServerRefused("what answers at the server's address speaks TLS", hint=SPEAKS_TLS.hint)
    if code and 400 <= status < 500:
        return ServerRefused(f"the signaling server refused the request (HTTP {status})")
    return nonsense()


def _through_proxy(answer: HttpAnswer, waited: float, proxy: Proxy) -> P2palError:
    """Return the error for an answer that has nothing of this protocol: nobody can tell whose it is."""
    if answer.status in _GATEWAY:
        tried = f" after {waited:.0f} s" if waited >= 1.0 else ""
        message = f"the proxy, or the signaling server behind it, is not ready{tried} (HTTP {answer.status})"
        return ServerRefused(message, hint=advice(proxy, ConnectFailure.PROXY_CANNOT))
    return nonsense(proxy)


def _ttl(detail: wire.ErrorDetail) -> ServerRefused:
    least, most = detail.min, detail.max
    if least is None or most is None or not least <= most or most < 1:
        return ServerRefused("the signaling server does not allow this -ttl", hint="choose another -ttl")
    allowed = f"from {duration(least)} to {duration(most)}"
    return ServerRefused(f"the signaling server allows a -ttl {allowed}", hint="choose another -ttl")


def _later(answer: HttpAnswer, code: str, waited: float) -> ServerRefused:
    hint = _when(answer.retry_after)
    if code == "too-many-open":  # they may stay open for as long as their codes wait
        hint = "end one of them, or try again later"
    if answer.status == 429:
        return ServerRefused(_TOO_MUCH.get(code, "the signaling server is asked too often"), hint=hint)
    if answer.status == 503 and code == "full":
        return ServerRefused("the signaling server is full", hint=f"{hint}, or use another -server")
    if answer.not_ready:
        if waited >= 1.0:
            message = f"the signaling server was not ready for {waited:.0f} s (HTTP {answer.status})"
            return ServerRefused(message)
        return ServerRefused(f"the signaling server is not ready (HTTP {answer.status})", hint=hint)
    return ServerRefused(f"the signaling server has a problem (HTTP {answer.status})")


def _when(seconds: float | None) -> str:
    if seconds is None:
        return "try again in a moment"
    if seconds <= 90:
        return f"try again in {max(1, math.ceil(seconds))} s"
    if seconds <= 90 * 60:
        return f"try again in {math.ceil(seconds / 60)} min"
    return f"try again in {math.ceil(seconds / 3600)} h"
