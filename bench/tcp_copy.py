"""A file over one bare TCP connection on loopback: SHA-256 at both ends and fsync, and nothing else.

    python bench/tcp_copy.py receive PATH          # says "listening PORT", and "took SECONDS" once the file is durable
    python bench/tcp_copy.py send PATH PORT

It is what a copy with the same promise about the bytes costs without names, keys, frames and resuming. The sender hands
the file to the system (sendfile) while a thread hashes it; the receiver writes while a thread hashes.
"""

from __future__ import annotations

import hashlib
import os
import queue
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Final

from processes import Workbench

BLOCK: Final = 1 << 20
BLOCKS: Final = 8
"""Blocks that may wait to be hashed."""
DIGEST: Final = hashlib.sha256().digest_size


def copy(bench: Workbench, source: Path, limit: float) -> float:
    """Copy a file by two processes; return the seconds from the connection until it is verified and durable.

    Raises:
        BenchError: If a process fails, or another digest arrives.
    """
    target = bench.directory("tcp") / source.name
    here = [sys.executable, __file__]
    receiver = bench.start([*here, "receive", target], limit)
    sender = bench.start([*here, "send", source, receiver.wait_for(r"listening (\d+)")], limit)
    took = float(receiver.wait_for(r"took ([\d.]+)"))
    sender.wait()
    receiver.wait()
    target.unlink()
    return took


def send(path: Path, port: int) -> None:
    """Send a file, and its SHA-256 behind it."""
    digest = hashlib.sha256()

    def hash_all() -> None:
        with path.open("rb", buffering=0) as file:
            block = memoryview(bytearray(BLOCK))
            while count := file.readinto(block):
                digest.update(block[:count])

    with path.open("rb") as file, socket.create_connection(("127.0.0.1", port)) as connection:
        hashing = threading.Thread(target=hash_all)
        hashing.start()
        connection.sendall(os.fstat(file.fileno()).st_size.to_bytes(8, "big"))
        connection.sendfile(file)
        hashing.join()
        connection.sendall(digest.digest())


def receive(path: Path) -> None:
    """Receive a file; say how long it took until it was durable.

    Raises:
        SystemExit: If its SHA-256 is another one.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        print("listening", server.getsockname()[1], flush=True)
        connection, _ = server.accept()
    began = time.perf_counter()
    with connection, path.open("wb", buffering=0) as file:
        size = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "big")
        digest = _take(connection, file.fileno(), size)
        os.fsync(file.fileno())
        if connection.recv(DIGEST, socket.MSG_WAITALL) != digest:
            raise SystemExit("the digests differ")
    print("took", time.perf_counter() - began)


def _take(connection: socket.socket, file: int, size: int) -> bytes:
    """Write what comes; return its SHA-256."""
    digest = hashlib.sha256()
    free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
    full: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
    for _ in range(BLOCKS):
        free.put(memoryview(bytearray(BLOCK)))

    def hash_all() -> None:
        left = size
        while left:
            block = full.get()
            digest.update(block)
            left -= len(block)
            free.put(memoryview(block.obj))

    hashing = threading.Thread(target=hash_all)
    hashing.start()
    left = size
    while left:
        block = free.get()
        count = connection.recv_into(block, min(left, BLOCK), socket.MSG_WAITALL)
        if not count:
            raise SystemExit("the sender went away")
        os.write(file, block[:count])
        full.put(block[:count])
        left -= count
    hashing.join()
    return digest.digest()


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        receive(Path(sys.argv[2]))
