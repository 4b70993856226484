"""What HTTP and WebSocket have in common: the server's URL, and when to try again."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Final

from yarl import URL

from p2pal.errors import ServerUnreachable, UsageError
from p2pal.hosts import is_loopback, proxy_for
from p2pal.rendezvous.trouble import SPEAKS_TLS, Trouble, speaks_tls, trouble, was_cut

MAX_RETRY_AFTER: Final = 86_400.0
"""Seconds, the longest time that a limit of this server counts in. A server that asks for more asks for nothing."""

MAX_PAUSE: Final = 30.0
"""Seconds that a server can make us wait by asking for it, before we try again by ourselves."""


class Address:
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
        self._base = base.with_query(None).with_fragment(None)
        self.local = is_loopback(self._base.host or "")

    def __str__(self) -> str:
        """The URL to show: without user name and password."""
        return str(self._base.with_user(None)).rstrip("/")

    def http(self, *parts: str, bare: bool = False) -> URL:
        """Return the URL of an HTTP resource; ``bare`` leaves out user info, for requests with a bearer token."""
        base = self._base.with_user(None) if bare else self._base
        return base.joinpath("api", *parts)

    def websocket(self) -> URL:
        """Return the mailbox's URL. WebSockets start as an HTTP request (RFC 6455): the scheme stays http or https."""
        return self.http("ws")

    def proxy(self) -> str | None:
        """Return the proxy that the environment names for this server, one for requests and the WebSocket alike.

        A server on this machine is reached without. The client library's own look-up is not used: it treats the
        WebSocket's scheme as another one, and reads credentials from ``~/.netrc`` too.
        """
        found = proxy_for(self._base.scheme, self._base.host or "")
        return found if found and found.startswith("http") else None

    def unreachable(self, error: BaseException) -> ServerUnreachable:
        """Return the error for a request that failed below HTTP."""
        return self._unreachable(trouble(error))

    def _unreachable(self, why: Trouble) -> ServerUnreachable:
        return ServerUnreachable(f"cannot reach the signaling server at {self}: {why.cause}", hint=why.hint)

    async def wants_tls(self, error: BaseException | None) -> ServerUnreachable | None:
        """Return the error for plain HTTP that was cut by a server which speaks TLS; None if it was not so."""
        base = self._base
        if base.scheme != "http" or self.proxy() or not was_cut(error) or not base.host or not base.port:
            return None
        if not await speaks_tls(base.host, base.port):
            return None
        return self._unreachable(SPEAKS_TLS)


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
