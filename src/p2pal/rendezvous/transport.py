"""What HTTP and WebSocket have in common: the server's URL, and when to try again."""

from __future__ import annotations

import contextlib
import ipaddress
import random
import re
from collections.abc import Mapping
from typing import Final

from yarl import URL

from p2pal.errors import ServerRefused, ServerUnreachable, UsageError
from p2pal.hosts import is_loopback
from p2pal.proxies import Proxy, UnusableProxy, proxy_for
from p2pal.rendezvous.connect_errors import SPEAKS_TLS, Trouble, speaks_tls, trouble, was_cut

MAX_RETRY_AFTER: Final = 86_400.0
"""Seconds, the longest time that a limit of this server counts in. A server that asks for more asks for nothing."""

MAX_PAUSE: Final = 30.0
"""Seconds that a server can make us wait by asking for it, before we try again by ourselves."""


_NEAR: Final = (
    "if the sender shows several addresses, try the next one; both machines must be on one network, and the sender's "
    "firewall must let them in"
)


class ServerUrl:
    """A signaling server's URL: http or https, perhaps with a base path or user info.

    Raises:
        UsageError: If it is none.
    """

    __slots__ = ("_base", "local")

    def __init__(self, url: str) -> None:
        try:
            base = URL(url)
        except ValueError:
            base = URL()
        if base.scheme not in ("http", "https") or not base.host:
            raise UsageError("the server must be an http:// or https:// URL")
        if "%" in base.host:  # an interface's name, escaped or not (RFC 6874): the resolver knows it as it is
            base = base.with_host(base.host)
        self._base = base.with_query(None).with_fragment(None)
        self.local = is_loopback(self._base.host or "")

    def __str__(self) -> str:
        """The URL to show: without user name and password."""
        return str(self._base.with_user(None)).rstrip("/")

    @property
    def literal(self) -> str:
        """The server's IP address where the URL itself says it, a loopback one for this machine; empty for a name."""
        host = self._base.host or ""
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(host))
        return "127.0.0.1" if self.local else ""

    def http(self, *parts: str, bare: bool = False) -> URL:
        """Return the URL of an HTTP resource; ``bare`` leaves out user info, for requests with a bearer token."""
        base = self._base.with_user(None) if bare else self._base
        return base.joinpath("api", *parts)

    def websocket(self) -> URL:
        """Return the mailbox's URL. WebSockets start as an HTTP request (RFC 6455): the scheme stays http or https."""
        return self.http("ws")

    def proxy(self) -> Proxy | None:
        """Return the proxy that the environment names for this server, one for requests and the WebSocket alike.

        A server on this machine is reached without. The client library's own look-up is not used: it treats the
        WebSocket's scheme as another one, knows no SOCKS, and reads credentials from ``~/.netrc`` too.

        Raises:
            UsageError: If the environment names one that cannot be used.
        """
        try:
            return proxy_for(self._base.scheme, self._base.raw_host or "", self._base.port or 0)
        except UnusableProxy as error:
            named = f"${error.variable}" if error.variable else "the system's settings"
            hint = "write http://HOST:PORT, https://HOST:PORT or socks5h://HOST:PORT, or name the server in $NO_PROXY"
            raise UsageError(f"the proxy of {named} cannot be used", hint=hint) from None

    def plain_proxy(self) -> Proxy | None:
        """Return the proxy that reads every request, and may answer it itself: one for HTTP, towards http."""
        proxy = self.proxy() if self._base.scheme == "http" else None
        return None if proxy is None or proxy.veils else proxy

    def unreachable(self, error: BaseException) -> ServerUnreachable:
        """Return the error for a request that failed below HTTP."""
        return self.in_trouble(trouble(error, self.proxy()))

    def in_trouble(self, why: Trouble) -> ServerUnreachable:
        """Return the error for a trouble."""
        hint = _NEAR if why.hint is None and self.proxy() is None and _is_number(self._base.host or "") else why.hint
        return ServerUnreachable(f"cannot reach the signaling server at {self}: {why.cause}", hint=hint)

    def redirects(self, status: int, headers: Mapping[str, str] | None) -> ServerRefused:
        """Return the error for a redirect, which is not followed; where it leads to is the server's word, not shown."""
        if self.leads_to_tls(headers):
            return ServerRefused("the signaling server's address redirects to https://", hint=SPEAKS_TLS.hint)
        hint = "check the -server address: p2pal follows no redirect"
        return ServerRefused(f"the signaling server's address redirects to another one (HTTP {status})", hint=hint)

    def leads_to_tls(self, headers: Mapping[str, str] | None) -> bool:
        """Whether a redirect leads from plain HTTP to the same host's https:// address."""
        with contextlib.suppress(ValueError):
            there = URL((headers or {}).get("Location", ""))
            return (self._base.scheme, there.scheme, there.host) == ("http", "https", self._base.host)
        return False

    async def wants_tls(self, error: BaseException | None) -> ServerUnreachable | None:
        """Return the error for plain HTTP that was cut by a server which speaks TLS; None if it was not so."""
        base = self._base
        if base.scheme != "http" or self.proxy() or not was_cut(error) or not base.host or not base.port:
            return None
        if not await speaks_tls(base.host, base.port):
            return None
        return self.in_trouble(SPEAKS_TLS)


def _is_number(host: str) -> bool:
    """Whether it is an address and no name, and not of this machine: what ``send --serve`` shows."""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return after how many seconds the server wants to be asked again (RFC 9110, section 10.2.3).

    None if it does not say, or says something odd. A date counts as odd: clocks differ.
    """
    text = headers.get("Retry-After", "").strip()
    if not re.fullmatch(r"[0-9]{1,5}", text):
        return None
    return float(text) if int(text) <= MAX_RETRY_AFTER else None


def pause(backoff: float, asked: float | None) -> float:
    """Return the seconds to wait before the next try, with jitter, so that those who were cut together spread.

    Args:
        backoff: The most that we wait by ourselves.
        asked: What :func:`retry_after` found; the least that we wait then, up to :data:`MAX_PAUSE`.
    """
    own = backoff * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
    least = (asked or 0.0) * random.uniform(1.0, 1.25)  # noqa: S311 - jitter
    return max(own, min(least, MAX_PAUSE))
