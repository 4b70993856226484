"""However a server reorders, forgets and starts again: over the whole life of the words it gets three guesses."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.e2e.kit import Commands, Gate, environment
from tests.e2e.trees import MIB, content, write
from tests.security.evil_server import EvilServer, evil_server
from tests.security.hostile import PATIENCE
from tests.security.test_evil_reader import learned
from tests.security.test_evil_server import PASSWORD, RENDEZVOUS, STEPS, Script, count_guesses, hurry, script
from tests.unit.server.kit import odd_server

from p2pal.crypto import codes
from p2pal.crypto.words import WORDS
from p2pal.errors import P2palError, ProtocolError, WrongCode
from p2pal.peer.key_exchange import MAX_GUESSES, Guesses, meet_receiver
from p2pal.rendezvous.client import RendezvousClient
from p2pal.wire.signal import PakeAnswer, PakeConfirm, decode_pake


async def live_on(scripts: list[list[str]], guesses: Guesses) -> tuple[int, list[Script]]:
    """Use the words at one server after the other, as a sender does until the last guess has failed.

    Returns:
        How often the words were closed, and what each server heard.
    """
    closed = 0
    played: list[Script] = []
    for steps in scripts:
        sockets = script(steps)
        end: dict[str, Any] = {"type": "state", "state": "aborted", "expires_in": 0.0}
        played.append(Script([*sockets[:-1], [*sockets[-1], end]]))
        async with odd_server(played[-1].handle) as url, RendezvousClient(url) as client:
            mailbox = client.mailbox("send", "t" * 32)
            tender = asyncio.create_task(mailbox.run())
            try:
                await meet_receiver(mailbox, PASSWORD, RENDEZVOUS, guesses, lambda _reason, _left: None)
            except WrongCode:
                closed += 1
            except P2palError:
                pass
            finally:
                await mailbox.close()
                await asyncio.gather(tender, return_exceptions=True)
        if closed:
            break
    return closed, played


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(STEPS, max_size=12), min_size=1, max_size=5))
def test_servers_that_lose_their_state_have_three_guesses_together(
    monkeypatch: pytest.MonkeyPatch, scripts: list[list[str]]
) -> None:
    """The state is lost, another instance answers, the same attempts are served a second time: the count goes on."""

    async def run() -> tuple[int, list[Script]]:
        async with asyncio.timeout(PATIENCE):
            return await live_on(scripts, guesses)

    guesses = Guesses()
    with monkeypatch.context() as patched:
        hurry(patched)
        tried = count_guesses(patched)
        closed, played = asyncio.run(run())
    assert len(tried) <= MAX_GUESSES
    assert len({id(each) for each in tried}) == len(tried)
    assert closed == (guesses.left == 0)
    assert 0 <= guesses.left <= MAX_GUESSES
    heard = [decode_pake(body) for each in played for *_, body in each.heard]
    assert not any(isinstance(each, PakeConfirm) for each in heard), "it proved itself to nobody"


def test_each_start_of_the_server_takes_its_guess_from_the_same_three() -> None:
    """The plainest way: serve, guess, forget everything, serve the same number again."""
    guesses = Guesses()
    with pytest.MonkeyPatch.context() as patched:
        hurry(patched)
        tried = count_guesses(patched)
        closed, _ = asyncio.run(live_on([["serve next", "answer"]] * 6, guesses))
    assert closed == 1
    assert len(tried) == MAX_GUESSES
    assert guesses.left == 0


# With real processes.


class Background:
    """An evil server that runs beside a test which waits for processes."""

    def __init__(self) -> None:
        self.evil: EvilServer
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    async def _run(self) -> None:
        async with evil_server() as self.evil:
            self._ready.set()
            await self._over.wait()

    def drop(self) -> None:
        """Drop every socket."""
        asyncio.run_coroutine_threadsafe(self.evil.drop(), self._loop).result(PATIENCE)

    @contextmanager
    def running(self) -> Iterator[EvilServer]:
        self._thread.start()
        try:
            assert self._ready.wait(PATIENCE)
            yield self.evil
        finally:
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(PATIENCE)
            self._loop.close()


def other_words(code: codes.JoinCode) -> str:
    return str(codes.JoinCode(tuple(word for word in WORDS if word not in code.words)[:2], code.slot))


@pytest.mark.e2e
def test_over_the_life_of_a_code_processes_give_three_guesses_and_no_secret(tmp_path: Path) -> None:
    """Wrong, right, killed, wrong, sockets dropped, wrong: the words are used up, and the session still goes on."""
    tree, out = tmp_path / "an-unmistakable-tree", tmp_path / "out"
    name = "a-name-like-no-other.bin"
    write(tree / name, content(24 * MIB))
    out.mkdir()
    background = Background()
    gate = Gate(tmp_path / "gate")
    gate.allow(8 * MIB)
    homes = {side: {"P2PAL_HOME": str(tmp_path / side)} for side in ("sender", "receiver", "stranger")}
    with background.running() as evil, Commands(evil.url, tmp_path / "runs") as commands:
        sent = commands.send("-r", tree, "--json", env=environment(**homes["sender"]))
        code = codes.parse(sent.code()).code

        def guess() -> str:
            stranger = commands.receive(other_words(code), "-out", tmp_path, env=environment(**homes["stranger"]))
            assert stranger.wait() != 0
            assert "Traceback" not in stranger.said
            return stranger.err

        assert "the code is wrong" in guess()
        receiver = commands.receive(
            str(code), "-out", out, "--json", env=gate.environment | homes["receiver"], cwd=tmp_path
        )
        receiver.moved(4 * MIB)
        receiver.process.kill()
        receiver.wait()
        assert "the code is wrong" in guess()
        background.drop()
        assert "the code is wrong" in guess()
        assert "the code is wrong" not in guess(), "nobody tries the words any more"
        assert sent.running
        for each in ("Traceback", "Error:"):
            assert each not in sent.said
        sent.signal(signal.SIGINT)
        assert sent.wait() == 130
        assert verdicts(evil) == {"wrong": MAX_GUESSES, "proved": 1, "answers": MAX_GUESSES + 1}
        secrets = {name, tree.name, str(code), "-".join(code.words), *(word for word in code.words if len(word) > 6)}
        assert learned(evil, {each.encode() for each in secrets}) == []


def verdicts(evil: EvilServer) -> dict[str, int]:
    """Count what the sender said of answers to its exchange, and the answers; what is said again counts once."""
    found = {"wrong": 0, "proved": 0, "answers": 0}
    for each in set(evil.seen):
        found["wrong"] += b'"type":"release"' in each and b"wrong-code" in each
    for body in set(evil.bodies):
        with suppress(ProtocolError, P2palError):
            said = decode_pake(body)
            found["proved"] += isinstance(said, PakeConfirm)
            found["answers"] += isinstance(said, PakeAnswer)
    return found
