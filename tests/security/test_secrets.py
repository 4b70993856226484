"""Words, tokens, keys and passwords are in no log, no traceback, no command line and no ``repr``."""

from __future__ import annotations

import asyncio
import logging
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.kit import Commands, environment
from tests.e2e.trees import MIB, content, sparse, write
from tests.unit.app.kit import follow, place
from tests.unit.peer.kit import introduce, rendezvous

from p2pal.app import events
from p2pal.app.events import Event
from p2pal.app.options import ConnectOptions
from p2pal.app.transfer import Transfer
from p2pal.crypto import codes
from p2pal.crypto.keys import Direction
from p2pal.crypto.pake import ReceiverPake, SenderPake
from p2pal.crypto.seal import LaneOpener, LaneSealer
from p2pal.crypto.words import WORDS
from p2pal.lanes.ice_servers import IceServerConfig
from p2pal.rendezvous.client import CreatedRendezvous, JoinedAttempt, RendezvousClient
from p2pal.wire import rendezvous as wire


class Everything(logging.Handler):
    """Keeps every record of every logger, with all that was logged along."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record) + repr(vars(record)))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every logger at its most talkative, asyncio's debug mode included."""
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    handler = Everything()
    loggers = [
        logging.getLogger(),
        *(logging.getLogger(name) for name in ("p2pal", "p2pal.server", "asyncio", "aiohttp")),
    ]
    before = [(logger, logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.handlers[:] = [handler]
        logger.propagate = False
    yield handler.lines
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that the server gives out from now on."""
    found: list[str] = []
    create, join = RendezvousClient.create, RendezvousClient.join

    async def creating(self: RendezvousClient, ttl: float) -> CreatedRendezvous:
        created = await create(self, ttl)
        found.append(created.token)
        return created

    async def joining(self: RendezvousClient, slot: int) -> JoinedAttempt:
        joined = await join(self, slot)
        found.append(joined.token)
        return joined

    monkeypatch.setattr(RendezvousClient, "create", creating)
    monkeypatch.setattr(RendezvousClient, "join", joining)
    return found


def spellings(code: str) -> list[str]:
    """How the words of a code could be written."""
    words = code.rpartition("-")[0].split("-")
    return [separator.join(words) for separator in ("-", " ", "', '", "+", "%20")]


@pytest.mark.parametrize("right", [True, False])
def test_no_log_holds_words_or_tokens(tmp_path: Path, log: list[str], tokens: list[str], right: bool) -> None:
    source = write(tmp_path / "report.pdf", content(MIB))
    (tmp_path / "out").mkdir()
    used: list[str] = []
    errors: list[BaseException | None] = []

    async def receive(there: Any, code: str) -> None:
        errors.append((await follow(there.receive(code, tmp_path / "out"))).error)

    async def main() -> None:
        async with place(tmp_path) as there:
            tasks: set[asyncio.Task[None]] = set()

            def hook(event: Event, transfer: Transfer) -> None:
                if isinstance(event, events.Code):
                    words, _, slot = event.code.rpartition("-")
                    typed = event.code if right else f"{'-'.join(reversed(words.split('-')))}-{slot}"
                    used.extend({event.code, typed})
                    tasks.add(asyncio.create_task(receive(there, typed)))
                if isinstance(event, events.WrongGuess):
                    transfer.cancel()

            errors.append((await follow(there.send(source), hook)).error)
            await asyncio.gather(*tasks)

    asyncio.run(main())
    assert [error is None for error in errors] == [right, right]
    assert len(tokens) == 2
    assert log
    said = "\n".join(log)
    tracebacks = "".join("".join(traceback.format_exception(error)) for error in errors if error is not None)
    for secret in [*tokens, *(spelling for code in used for spelling in spellings(code))]:
        assert secret not in said
        assert secret not in tracebacks


def test_debug_output_of_real_commands_holds_no_code(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    source = sparse(tmp_path / "disk.img", 64 * MIB)
    with Commands("", tmp_path / "runs") as commands:
        server = commands.server("--debug")
        commands.url = server.url
        sent = commands.send("--debug", source, env=environment(TURN_PASS="a turn password"))
        code = sent.code()
        words = code.rpartition("-")[0]
        first, second = words.split("-")
        wrong = commands.receive("--debug", f"{second}-{first}-{code.rpartition('-')[2]}")
        assert wrong.wait() == 4
        received = commands.receive("--debug", "-out", tmp_path / "out", typed=code)
        for process in (sent, received, server):
            # What other users of this machine can see: a command's line, its environment, its children.
            shown = (
                Path(f"/proc/{process.pid}/cmdline").read_bytes() + Path(f"/proc/{process.pid}/environ").read_bytes()
            )
            assert words.encode() not in shown
            for thread in os.listdir(f"/proc/{process.pid}/task"):
                children = Path(f"/proc/{process.pid}/task/{thread}/children")
                assert not children.exists() or children.read_text() == ""
        assert (received.wait(), sent.wait()) == (0, 0)
    assert "Traceback" in wrong.err
    everything = [sent.err, received.out, received.err, wrong.out, wrong.err, server.out, server.err]
    for text in everything:
        for spelling in [*spellings(code), *spellings(f"{second}-{first}-1"), "a turn password"]:
            assert spelling not in text
    # On the screen of the sender it is meant to be: once to read, once to copy.
    assert sent.out.count(words) == 2


def test_no_repr_shows_a_secret() -> None:
    secret = "s3cr3t"
    code = codes.JoinCode((WORDS[1], WORDS[2]), 7)
    key = bytes(range(32))
    shown = [
        code,
        codes.parse(str(code)),
        ConnectOptions(turn_pass=secret),
        IceServerConfig(("turn:h",), "user", secret),
        wire.IceServer(["turn:h"], "user", secret),
        CreatedRendezvous("id", 7, secret, 1.0, ()),
        JoinedAttempt("id", 1, secret, 1.0, ()),
        wire.ClientHello(secret, {}),
        SenderPake(secret.encode(), "id", 1),
        ReceiverPake(secret.encode(), "id", 1),
        LaneSealer(key),
        LaneOpener(key),
    ]
    for thing in shown:
        for text in (repr(thing), f"{thing!r}", f"{[thing]}"):
            assert secret not in text
            assert WORDS[1] not in text
            assert repr(key)[2:-1] not in text
            assert key.hex() not in text


async def test_nothing_of_a_meeting_shows_its_secrets() -> None:
    async with rendezvous() as there:
        sender, receiver = await introduce(there)
        master = sender.secret.master()
        keys = [
            vars_of(sender.secret)["_key"],
            vars_of(master)["_key"],
            master.lane_key(1, Direction.TO_SENDER, bytes(16)),
            master.resume_key(),
        ]
        for thing in (sender, receiver, sender.secret, master, sender.sealer, sender.opener, sender.mailbox):
            for key in keys:
                assert key.hex() not in repr(thing)
                assert repr(key)[2:-1] not in repr(thing)
            assert there.created.token not in repr(thing)


def vars_of(thing: object) -> dict[str, bytes]:
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return {name: getattr(thing, name) for name in slots}
