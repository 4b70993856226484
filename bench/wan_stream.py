"""One TCP stream for ``wan.py``.

    python bench/wan_stream.py receive ADDRESS                     # says its port, then how many bytes came until when
    python bench/wan_stream.py send ADDRESS PORT [ALGORITHM]       # as much as it can, until the other side hangs up

The receiver prints ``point SECONDS BYTES`` ten times a second, by the clock that all processes of the machine share,
until it is killed. Without an algorithm it is the kernel's default. Linux (TCP_CONGESTION).
"""

from __future__ import annotations

import socket
import sys
import time
from typing import Final

_BLOCK: Final = 1 << 20
_STEP: Final = 0.1


def receive(address: str) -> None:
    """Count what one connection brings."""
    with socket.create_server((address, 0)) as server:
        print(f"port={server.getsockname()[1]}", flush=True)
        stream, _ = server.accept()
    block = bytearray(_BLOCK)
    count, due = 0, time.monotonic()
    with stream:
        while True:
            if (now := time.monotonic()) >= due:
                print(f"point {now:.4f} {count}", flush=True)
                due = now + _STEP
            stream.settimeout(due - now if due > now else _STEP)
            try:
                size = stream.recv_into(block)
            except TimeoutError:
                continue
            if size == 0:
                raise ConnectionError("the sender hung up")
            count += size


def send(address: str, port: int, algorithm: str) -> None:
    """Send zeros."""
    with socket.socket() as stream:
        if algorithm:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, algorithm.encode())
        stream.connect((address, port))
        block = memoryview(bytes(_BLOCK))
        try:
            while True:
                stream.sendall(block)
        except ConnectionError:
            return


def main() -> None:
    """Do one or the other."""
    role, address, *more = sys.argv[1:]
    if role == "receive":
        receive(address)
    else:
        port, algorithm = more if len(more) > 1 else (more[0], "")
        send(address, int(port), algorithm)


if __name__ == "__main__":
    main()
