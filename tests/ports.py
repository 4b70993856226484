"""Ports for programs that cannot choose one themselves."""

from __future__ import annotations

import functools
import os
import random
import socket
from collections.abc import Iterator
from typing import Final

import pytest

_PORTS: Final = range(16_384, 32_000)
"""Below those that Linux gives to clients: nobody's connection takes one between the choice and its use."""
_SHARES: Final = 16
"""The workers of one run choose among different ones."""


@functools.cache
def _share() -> Iterator[int]:
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = _PORTS[number % _SHARES :: _SHARES]
    return iter(random.SystemRandom().sample(ports, len(ports)))


def free_port() -> int:
    """Return a port that nobody has at any address of this machine, for UDP or TCP. No process gets one twice."""
    for port in _share():
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            try:
                for each in (stream, datagrams):
                    each.bind(("", port))
            except OSError:
                continue
            return port
    pytest.fail("no port is free", pytrace=False)
