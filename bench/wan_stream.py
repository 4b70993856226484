"""One TCP stream for ``wan.py``: what arrives in so many seconds from the first moment of the connection.

    python bench/wan_stream.py receive ADDRESS SECONDS             # says its port, then how many bytes came
    python bench/wan_stream.py send ADDRESS PORT [ALGORITHM]       # as much as it can, until the other side hangs up

Without an algorithm it is the kernel's default. Linux (TCP_CONGESTION).
"""

from __future__ import annotations

import socket
import sys
import time
from typing import Final

_BLOCK: Final = 1 << 20


def receive(address: str, seconds: float) -> None:
    """Count what one connection brings."""
    with socket.create_server((address, 0)) as server:
        print(f"port={server.getsockname()[1]}", flush=True)
        stream, _ = server.accept()
    deadline = time.perf_counter() + seconds
    block = bytearray(_BLOCK)
    count = 0
    with stream:
        while (left := deadline - time.perf_counter()) > 0:
            stream.settimeout(left)
            try:
                size = stream.recv_into(block)
            except TimeoutError:
                break
            if size == 0:
                raise ConnectionError("the sender hung up")
            count += size
    print(f"bytes={count}", flush=True)


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
    role, address, number, *more = sys.argv[1:]
    if role == "receive":
        receive(address, float(number))
    else:
        send(address, int(number), *more or [""])


if __name__ == "__main__":
    main()
