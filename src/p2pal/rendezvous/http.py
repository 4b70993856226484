"""HTTP sessions with a signaling server: the one place that makes them, because the server need not be trusted.

Nothing that it answers makes us do more than read that answer: no redirect is followed, WebSockets included, no cookie
is kept, no body is inflated, heads are bounded, and no credentials but those of the URL are sent.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from p2pal.hosts import NotReached
from p2pal.proxies import Proxy, connect_through
from p2pal.rendezvous.connect_errors import ProxyFailed

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace

MAX_HEAD_FIELD: Final = 8190
"""Bytes of a status line and of a header field."""
CONNECT_TIMEOUT: Final = 10.0
"""Seconds for a connection, with TLS and through a proxy for HTTP."""
SOCKS_TIMEOUT: Final = 18.0
"""Seconds for one through a SOCKS proxy: Tor may have to build a circuit first."""
KEEPALIVE: Final = 3.0
"""Seconds that an idle connection is used again: long enough for the mailbox, no longer than networks stay the same."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Redirected(aiohttp.ClientResponseError):
    """The server answers with a redirect. ``status`` and ``headers`` are those of the answer."""


def connect_timeout(proxy: Proxy | None) -> float:
    """Return the seconds that a connection may take."""
    return SOCKS_TIMEOUT if proxy is not None and proxy.veils else CONNECT_TIMEOUT


def open_session(proxy: Proxy | None, timeout: float) -> aiohttp.ClientSession:
    """Return a session that its caller closes.

    Args:
        proxy: The way to the server; None for the direct one.
        timeout: Seconds for a request and its answer.
    """
    connector: aiohttp.BaseConnector
    url = None
    if proxy is not None and proxy.veils:
        connector = SocksConnector(proxy, keepalive_timeout=KEEPALIVE)
    else:
        connector = aiohttp.TCPConnector(keepalive_timeout=KEEPALIVE)
        url = None if proxy is None else _url_of(proxy)
    return aiohttp.ClientSession(
        connector=connector,
        proxy=url,
        timeout=aiohttp.ClientTimeout(total=timeout, connect=min(timeout, connect_timeout(proxy))),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "p2pal"},
        auto_decompress=False,
        trust_env=False,
        max_line_size=MAX_HEAD_FIELD,
        max_field_size=MAX_HEAD_FIELD,
        middlewares=(_refuse_redirects,),
    )


def _url_of(proxy: Proxy) -> URL:
    """Return the URL with its credentials: for the library alone."""
    return URL.build(
        scheme=proxy.kind,
        host=proxy.host,
        port=proxy.port,
        user=proxy.username or None,
        password=proxy.password or None,
    )


async def _refuse_redirects(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Stop before the library follows: its WebSockets have no setting for that."""
    answer = await handler(request)
    if answer.status in _REDIRECTS:
        answer.close()
        raise Redirected(answer.request_info, answer.history, status=answer.status, headers=answer.headers)
    return answer


class SocksConnector(aiohttp.BaseConnector):
    """Connections through a SOCKS proxy, which looks the server's name up.

    Args:
        proxy: The proxy.
        keepalive_timeout: Seconds that an idle connection is kept.
    """

    def __init__(self, proxy: Proxy, *, keepalive_timeout: float) -> None:
        super().__init__(keepalive_timeout=keepalive_timeout)
        self._proxy = proxy
        self._tls: ssl.SSLContext | None = None

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],  # noqa: ARG002
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> ResponseHandler:
        host, port = req.url.raw_host or "", req.url.port or 0
        context = None
        if req.url.scheme in ("https", "wss"):
            context = self._tls = self._tls or await asyncio.to_thread(ssl.create_default_context)
        try:
            sock = await connect_through(self._proxy, host, port, timeout.connect or SOCKS_TIMEOUT)
        except NotReached as error:
            raise ProxyFailed(error.why) from None
        key, protocol = req.connection_key, None
        try:
            _, protocol = await self._loop.create_connection(
                self._factory, sock=sock, ssl=context, server_hostname=host.rstrip(".") if context else None
            )
        except ssl.CertificateError as error:
            raise aiohttp.ClientConnectorCertificateError(key, error) from error
        except ssl.SSLError as error:
            raise aiohttp.ClientConnectorSSLError(key, error) from error
        except OSError as error:
            raise aiohttp.ClientConnectorError(key, error) from error
        finally:
            if protocol is None:  # else a transport took it over
                sock.close()
        return protocol
