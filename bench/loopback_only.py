"""Run another project's command so that it cannot reach anything but this machine.

    python bench/loopback_only.py MODULE:FUNCTION [ARGUMENT...]

An audit hook (PEP 578) ends the process before it connects, sends or resolves a name beyond loopback. Where
magic-wormhole is installed, it is made to announce and to listen on 127.0.0.1 only: by itself it leaves loopback out
wherever there is another address.
"""

from __future__ import annotations

import importlib
import importlib.util
import ipaddress
import os
import sys
from typing import Any, Final

LOOPBACK: Final = "127.0.0.1"
_GUARDED: Final = {"socket.connect", "socket.sendto", "socket.sendmsg"}


def is_loopback(host: object) -> bool:
    """Tell whether a host is this machine; names other than localhost are not, whatever they resolve to."""
    if host in {None, "", b"", "localhost", b"localhost"}:
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host)).is_loopback
    except ValueError:
        return False


def guard(event: str, args: tuple[Any, ...]) -> None:
    """End the process on traffic to anywhere else; an exception could be caught and forgotten."""
    if event in _GUARDED:
        address = args[1]
        refused = isinstance(address, tuple) and not is_loopback(address[0])
    else:
        refused = event == "socket.getaddrinfo" and not is_loopback(args[0])
    if refused:
        os.write(2, f"refused: {event} {args[1:]}\n".encode())
        os._exit(99)


def confine_wormhole() -> None:
    """Announce and listen on loopback only."""
    ipaddrs: Any = importlib.import_module("wormhole.ipaddrs")
    endpoints: Any = importlib.import_module("twisted.internet.endpoints")
    server = endpoints.serverFromString

    def loopback_server(reactor: Any, description: str) -> Any:
        return server(reactor, description if "interface=" in description else f"{description}:interface={LOOPBACK}")

    ipaddrs.find_addresses = lambda: [LOOPBACK]
    endpoints.serverFromString = loopback_server


def main() -> None:
    """Run the function with the rest of the command line."""
    module, _, path = sys.argv[1].partition(":")
    del sys.argv[1]
    sys.addaudithook(guard)
    if importlib.util.find_spec("wormhole") is not None:
        confine_wormhole()
    function: Any = importlib.import_module(module)
    for name in path.split("."):
        function = getattr(function, name)
    sys.exit(function())


if __name__ == "__main__":
    main()
