"""Why a server is not reached: on loopback, without one, or with one that is none."""

from __future__ import annotations

import asyncio
import socket

import pytest

from p2pal.doctor import reach
from p2pal.doctor.reach import why_not_reached
from p2pal.unreached import Unreached


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("turn:nobody.invalid", Unreached.NOT_RESOLVED),
        ("turns:nobody.invalid", Unreached.NOT_RESOLVED),
        ("turn:127.0.0.1:1?transport=tcp", Unreached.REFUSED),
        ("turns:127.0.0.1:1", Unreached.REFUSED),
        ("turn:127.0.0.1:1", None),
    ],
)
def test_without_a_server(url: str, cause: Unreached | None) -> None:
    assert asyncio.run(why_not_reached(url)) is cause


def test_without_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "source_of", lambda _address: None)
    assert asyncio.run(why_not_reached("turn:127.0.0.1:1")) is Unreached.NO_ROUTE


async def test_a_server_that_speaks_no_tls_or_says_nothing() -> None:
    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 \x1b[2J mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await why_not_reached(f"turns:127.0.0.1:{port}", 20) is Unreached.NO_TLS
        assert await why_not_reached(f"turn:127.0.0.1:{port}?transport=tcp", 20) is None
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        assert await why_not_reached(f"turns:127.0.0.1:{port}", 0.3) is Unreached.NO_ANSWER
