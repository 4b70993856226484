"""Proxies of the environment: which connection goes through which one, and the way through it.

This is the one place that decides it, for the signaling server's requests and WebSocket, for TURN over TCP and TLS, and
for the doctor's probes of both.

The variables are those that other programs read: ``https_proxy`` or ``http_proxy``, by the scheme of what is to be
reached (TURN counts as ``https``), else ``all_proxy``; ``no_proxy`` names what is reached without. Each may be written
in small or in capital letters; small ones win. What is on this machine is always reached without. Where the environment
names none, macOS's and Windows's own settings count.

A proxy looks names up itself: nothing is asked of this machine's resolver but the name of the proxy. ``socks5`` means
the same as ``socks5h`` therefore, and ``socks4`` the same as ``socks4a``.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, getproxies_environment, proxy_bypass

from p2pal.connect_failure import ConnectFailure
from p2pal.hosts import NotReached, connect_failure, is_loopback

ProxyKind = Literal["http", "https", "socks4", "socks5"]

_KINDS: Final[dict[str, ProxyKind]] = {
    "http": "http",
    "https": "https",
    "socks": "socks5",
    "socks5": "socks5",
    "socks5h": "socks5",
    "socks4": "socks4",
    "socks4a": "socks4",
}
_PORTS: Final = {"http": 80, "https": 443, "socks4": 1080, "socks5": 1080}
_NOT_FOUND: Final = frozenset({502, 503, 504})
"""What a proxy for HTTP answers where the server behind it cannot be reached (RFC 9110, section 15.6)."""
_SOCKS5_NOT_FOUND: Final = frozenset({1, 3, 4, 5, 6})
"""General failure, network or host unreachable, refused, TTL expired (RFC 1928, section 6)."""


class UnusableProxy(ValueError):
    """The environment names a proxy by what is no URL of one; the text does not repeat it.

    Args:
        variable: The variable that does; empty if it is the system's setting.
    """

    def __init__(self, variable: str) -> None:
        super().__init__("the proxy's URL cannot be used")
        self.variable = variable


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    Attributes:
        scheme: As it was written, in small letters; :attr:`kind` is the protocol that it stands for.
        variable: The variable of the environment that names it; empty if it is the system's setting.
    """

    scheme: str
    host: str
    port: int
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    variable: str = ""

    @property
    def kind(self) -> ProxyKind:
        """The protocol that is spoken with it."""
        return _KINDS[self.scheme]

    @property
    def veils(self) -> bool:
        """Whether it may be there to hide this machine (Tor, ``ssh -D``): nothing meant for it goes around it."""
        return self.kind.startswith("socks")

    @property
    def named(self) -> str:
        """The proxy and where it is set, for a person."""
        return f"{self} of ${self.variable}" if self.variable else f"{self} of the system's settings"

    def __str__(self) -> str:
        """The URL to show: without user name and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_proxy(text: str, variable: str = "") -> Proxy:
    """Return the proxy of a URL; without a scheme it is one for HTTP.

    Raises:
        UnusableProxy: If it is no URL of a proxy.
    """
    url = text.strip()
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        scheme, host = parts.scheme.lower(), (parts.hostname or "").removesuffix(".")
        usual = _PORTS[_KINDS[scheme]]
        port = usual if parts.port is None else parts.port
        host.encode("ascii" if ":" in host else "idna")
    except (ValueError, LookupError):
        raise UnusableProxy(variable) from None
    odd = parts.path not in ("", "/") or parts.query or parts.fragment or re.search(r"[\s\x00-\x1f\x7f]", url)
    if odd or not host or not port:
        raise UnusableProxy(variable)
    return Proxy(scheme, host, port, unquote(parts.username or ""), unquote(parts.password or ""), variable)


def proxy_for(scheme: str, host: str, port: int) -> Proxy | None:
    """Return the proxy that the environment names for a scheme, None if this host is reached without.

    Args:
        scheme: ``http``, or ``https`` for whatever else is reached over TCP.
        host: A name or an address; an IPv6 address without brackets.
        port: For the entries of ``no_proxy`` that have one.

    Raises:
        UnusableProxy: If it names one that cannot be used.
    """
    if is_loopback(host):
        return None
    environment = getproxies_environment()
    proxies = environment or getproxies()
    which = scheme if proxies.get(scheme) else "all"
    text = proxies.get(which)
    if not (text or environment) and "socks" in proxies:  # macOS has a setting of its own for it
        text = f"socks5h://{proxies['socks'].rpartition('://')[2]}"
    if not text:
        return None
    if is_excepted(environment.get("no", ""), host, port) if environment else proxy_bypass(host):
        return None
    names = (f"{which}_proxy", f"{which}_proxy".upper())
    return parse_proxy(text, next((name for name in names if os.environ.get(name)), "") if environment else "")


def veil() -> Proxy | None:
    """Return the SOCKS proxy that the environment names, if it does: what goes over UDP goes around it."""
    for scheme in ("https", "http"):
        with contextlib.suppress(UnusableProxy):
            proxy = proxy_for(scheme, "", 0)
            if proxy is not None and proxy.veils:
                return proxy
    return None


def is_excepted(exceptions: str, host: str, port: int) -> bool:
    """Whether a value of ``no_proxy`` names a host.

    It is a list of names, which stand for what is below them too, of addresses and of networks (``10.0.0.0/8``), each
    perhaps with a port; ``*`` is everything.
    """
    host = host.lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        address = None
    return any(_names(entry, host, address, port) for entry in re.split(r"[,\s]+", exceptions.lower()) if entry)


def _names(entry: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int) -> bool:
    if entry == "*":
        return True
    name, colon, its_port = entry.rpartition(":")
    if colon and its_port.isascii() and its_port.isdecimal() and (":" not in name or name.endswith("]")):
        if int(its_port[:6]) != port:
            return False
        entry = name
    entry = entry.removeprefix("[").removesuffix("]")
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    entry = entry.removeprefix("*").strip(".")
    return bool(entry) and (host == entry or host.endswith(f".{entry}"))


async def connect_through(proxy: Proxy, host: str, port: int, seconds: float) -> socket.socket:
    """Return a TCP connection to a host that a proxy made: by CONNECT (RFC 9110, section 9.3.6) or SOCKS (RFC 1928).

    Args:
        proxy: Any but one that is itself reached over TLS.
        host: A name, which the proxy looks up, or an address.
        port: The host's.
        seconds: For all of it.

    Raises:
        NotReached: If there is none. The error holds nothing of the proxy's URL, which may have a password in it.
    """
    from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError, ProxyType
    from python_socks.async_.asyncio import Proxy as Way

    if proxy.kind == "https":
        raise NotReached(ConnectFailure.PROXY_TLS)
    types = {"http": ProxyType.HTTP, "socks4": ProxyType.SOCKS4, "socks5": ProxyType.SOCKS5}
    try:
        way = Way(types[proxy.kind], proxy.host, proxy.port, proxy.username, proxy.password, rdns=True)
        return await way.connect(host, port, timeout=seconds)
    except ProxyTimeoutError:
        why = ConnectFailure.PROXY_SILENT
    except ProxyConnectionError as error:
        why = why_proxy_failed(error.__cause__)
    except ProxyError as error:
        why = _why_refused(proxy, error.error_code, str(error))
    except OSError:  # it closes the connection instead
        why = ConnectFailure.PROXY_REFUSED
    except ValueError:  # a name that no request has room for
        why = ConnectFailure.UNUSABLE_NAME
    raise NotReached(why)


def why_proxy_failed(error: BaseException | None) -> ConnectFailure:
    """Return why a proxy itself was not reached."""
    found = connect_failure(error) if isinstance(error, OSError | ValueError) else ConnectFailure.FAILED
    if found in (ConnectFailure.NOT_RESOLVED, ConnectFailure.UNUSABLE_NAME):
        return ConnectFailure.PROXY_NOT_RESOLVED
    return ConnectFailure.PROXY_SILENT


def why_proxy_answers(status: int) -> ConnectFailure:
    """Return what the status means that a proxy for HTTP answers instead of connecting."""
    if status == 407:
        return ConnectFailure.PROXY_LOGIN
    return ConnectFailure.PROXY_CANNOT if status in _NOT_FOUND else ConnectFailure.PROXY_REFUSED


def _why_refused(proxy: Proxy, code: int | None, text: str) -> ConnectFailure:
    if proxy.kind == "http":
        return why_proxy_answers(code or 0)
    if code is None and "authentication" in text:  # RFC 1929 has no code that could be passed on
        return ConnectFailure.PROXY_LOGIN
    return (
        ConnectFailure.PROXY_CANNOT
        if proxy.kind == "socks5" and code in _SOCKS5_NOT_FOUND
        else ConnectFailure.PROXY_REFUSED
    )


def advice(proxy: Proxy, why: ConnectFailure) -> str:
    """Return what to do about a proxy's part in a failure."""
    around = "name the server in $NO_PROXY"
    if why is ConnectFailure.PROXY_LOGIN:
        return f"put the right user name and password into the URL of the proxy {proxy.named}, or {around}"
    if why is ConnectFailure.PROXY_CANNOT:
        return f"check the -server address, and that the proxy {proxy.named} gets there, or {around}"
    return f"check the proxy {proxy.named}, or {around}"
