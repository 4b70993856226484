"""Where a host is, and the way there: on this machine, directly, or through the proxy that the environment names."""

from __future__ import annotations

import ipaddress
from urllib.request import getproxies, proxy_bypass


def is_loopback(host: str) -> bool:
    """Whether a name or an address stands for this machine, whatever a resolver says (RFC 6761, section 6.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(scheme: str, host: str) -> str | None:
    """Return the URL of the proxy that the environment names for a scheme, None if this host is reached without.

    A host on this machine always is.
    """
    if is_loopback(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(scheme) or proxies.get("all") or None
