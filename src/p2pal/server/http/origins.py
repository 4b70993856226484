"""Which web pages may use the server: the origin rule, for HTTP and WebSockets alike, and the CORS headers.

A browser says whose page sends a request (RFC 6454); it lets a page read the answer of another site only if that
answer agrees (Fetch standard, CORS), but it opens WebSockets for any page, so that the server has to check (RFC 6455,
section 10.2). Clients that are no browser send no ``Origin`` and are not asked. The server goes by tokens and sets no
cookies: a page can do nothing here that it could not do with a program of its own, except from its visitors' addresses.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from p2pal.server.config import ServerConfig
from p2pal.server.logs import REQUEST_ID
from p2pal.server.responses import HEADERS, refusal_answer
from p2pal.server.state import Denied

_ORIGIN: Final = re.compile(r"null|[a-z][a-z0-9+.-]{0,31}://[!-+\--.0-~]{1,255}", re.ASCII)  # no comma, slash or space
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_PREFLIGHT: Final = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST, DELETE",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "Authorization, Content-Type",
    hdrs.ACCESS_CONTROL_MAX_AGE: "600",
}


def allowed(origin: str, host: str, origins: Collection[str]) -> bool:
    """Tell whether pages of this origin may use the server.

    Args:
        origin: The ``Origin`` header.
        host: The ``Host`` header: pages of the server's own host are allowed. The scheme is not compared, because
            behind a proxy that ends TLS the server cannot know its own.
        origins: What the operator named, in lower case; ``*`` stands for all.
    """
    origin = origin.lower()
    if _ORIGIN.fullmatch(origin) is None:
        return False
    if origin in origins or "*" in origins:
        return True
    scheme, _, place = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    return port is not None and place.removesuffix(port) == host.lower().removesuffix(port)


def guard(config: ServerConfig) -> Middleware:
    """Return the middleware that refuses other pages with 403 ``origin``, and answers preflights of the rest.

    It goes around the one that makes JSON of errors, so that pages can read those too.
    """
    origins = frozenset(origin.lower().rstrip("/") for origin in config.origins)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        named = request.headers.getall(hdrs.ORIGIN, ())
        if not named:
            return await handler(request)
        if len(named) > 1 or not allowed(named[0], request.headers.get(hdrs.HOST, ""), origins):
            return refusal_answer(Denied("origin"))
        if _is_preflight(request):
            response: web.StreamResponse = web.Response(status=204, headers=HEADERS | _PREFLIGHT)
        else:
            response = await handler(request)
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = named[0]
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = f"{hdrs.RETRY_AFTER}, {REQUEST_ID}"
        response.headers[hdrs.VARY] = hdrs.ORIGIN
        return response

    return check


def _is_preflight(request: web.Request) -> bool:
    return (
        request.method == hdrs.METH_OPTIONS
        and request.path.startswith("/api/")
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    )
