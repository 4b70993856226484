"""Commands with a proxy in their environment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.conftest import Start
from tests.e2e.kit import Commands, Server, environment
from tests.proxies import NAME, VARIABLES, TestProxy, proxy


@contextmanager
def running(kind: str) -> Iterator[TestProxy]:
    """A proxy beside the commands."""
    ready: list[TestProxy] = []
    started, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with proxy(kind) as made:
            ready.append(made)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(20)
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def through(url: str) -> dict[str, str]:
    own = environment(ALL_PROXY=url)
    return {name: value for name, value in own.items() if name not in VARIABLES or name == "ALL_PROXY"}


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_a_transfer_whose_server_only_the_proxy_finds(
    commands: Commands, server: Server, tmp_path: Path, scheme: str
) -> None:
    (tmp_path / "f").write_text("hello")
    with running("http" if scheme == "http" else "socks") as near:
        env = through(f"{scheme}://127.0.0.1:{near.port}")
        flags = ("-server", f"http://{NAME}:{server.port}", "-stun", "none")
        sender = commands.run("send", *flags, tmp_path / "f", env=env)
        receiver = commands.run("recv", *flags, "-y", sender.code(), env=env)
        assert receiver.wait() == 0, receiver.said
        assert sender.wait() == 0, sender.said
        assert (receiver.cwd / "f").read_text() == "hello"
        doctor = commands.run("doctor", *flags, env=env)
        doctor.wait()
        assert f"through the proxy {scheme}://127.0.0.1:{near.port}" in doctor.out
        assert set(near.asked) == {(NAME, server.port)}


def test_who_hides_behind_a_socks_proxy_asks_no_relay_around_it(sender: Start, receiver: Start, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hello")
    turn = ("-turn", "turn:relay.test:3478", "-turn-user", "me", "-turn-pass", "secret")
    with running("socks") as near:
        env = through(f"socks5h://127.0.0.1:{near.port}")
        hidden = sender("--relay-only", *turn, tmp_path / "f", env=env)
        other = receiver(hidden.code())
        assert hidden.wait() == 5, hidden.said
        assert "no TURN server can be reached through the SOCKS proxy" in hidden.err
        other.wait()
        assert near.asked == []


@pytest.mark.parametrize("command", [("send", "f"), ("recv", "-y", "zebra-luna-47"), ("doctor",)])
def test_a_proxy_that_cannot_be_used_is_named(commands: Commands, command: tuple[str, ...]) -> None:
    folder = commands.folder()
    folder.mkdir(parents=True)
    (folder / "f").write_text("hello")
    flags = ("-server", f"http://{NAME}:1", "-stun", "none")
    run = commands.run(*command[:1], *flags, *command[1:], env=through("gopher://u:secret@h:70"), cwd=folder)
    assert run.wait() == 2, run.said
    assert "the proxy of $ALL_PROXY cannot be used" in run.err
    assert "secret" not in run.said
