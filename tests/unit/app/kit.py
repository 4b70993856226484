"""Sending and receiving through the Python API, over a real server, in one process; each side has its own home."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.e2e.trees import MIB
from tests.unit.server.kit import serving

import p2pal
from p2pal.app import events, send_session
from p2pal.app.connect import Shell
from p2pal.app.events import Event
from p2pal.app.options import Decision
from p2pal.app.receive import _Receive
from p2pal.app.transfer import Transfer
from p2pal.crypto.keys import TransferEnd as Side
from p2pal.crypto.keys import resume_proof
from p2pal.disk.checkpoints.store import Checkpoints, CheckpointSummary
from p2pal.disk.source.read_thread import ReadPump
from p2pal.peer.peer import Peer
from p2pal.role import Role
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.ops import BlockRead, SourceResult
from p2pal.transfer.receiver import Receiver
from p2pal.wire import transfer as wire
from p2pal.wire.transfer import Entry, EntryKind

PATIENCE = 40.0

FIRST, LARGE, HALF = 1000, 6 * MIB, 3 * MIB
TOTAL = FIRST + LARGE
"""Bytes of a small file and a large one, of both, and how many of them get through a gate at first."""

E = TypeVar("E", bound=Event)

KEY, ID, TRANSCRIPT = b"k" * 32, b"t" * 16, b"s" * 32
PROOF = resume_proof(KEY, Side.SENDER, TRANSCRIPT)
ENTRIES = (
    Entry(b"tree", EntryKind.DIRECTORY, 0, 0o755, 5, b""),
    Entry(b"tree/a", EntryKind.FILE, 3, 0o644, 6, b""),
    Entry(b"tree/big", EntryKind.FILE, 3 * MIB, 0o644, 7, b""),
)


def hearing(entries: tuple[Entry, ...] = ENTRIES, *, proof: bytes = PROOF, transfer_id: bytes = ID) -> Receiver:
    """A machine that has heard the whole offer."""
    machine = Receiver(payload_limit=65536, manifest=Manifest(), now=0.0)
    told = Manifest()
    for entry in entries:
        told.append(entry)
    end = wire.OfferEnd(len(told), told.files, told.total, told.digest())
    for record in (wire.OfferBegin(transfer_id, True, proof), wire.OfferPart(0, list(entries)), end):
        machine.handle_payload(b"".join(map(bytes, wire.encode_record(record))), 0.0)
    return machine


@dataclass
class Ended:
    """How one side went."""

    events: list[Event] = field(default_factory=list)
    error: BaseException | None = None

    def only(self, kind: type[E]) -> E:
        """The one event of that kind."""
        (found,) = self.all(kind)
        return found

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def kinds(self) -> list[type[Event]]:
        """The kinds of the events, without the progress between them."""
        return [type(event) for event in self.events if not isinstance(event, events.Progress)]


Hook = Callable[[Event, Transfer], None]


def no_hook(event: Event, transfer: Transfer) -> None:
    """Look at nothing."""


async def follow(transfer: Transfer, hook: Hook = no_hook) -> Ended:
    """Take every event of a transfer, and how it ends."""
    ended = Ended()
    async with transfer:
        try:
            async for event in transfer:
                ended.events.append(event)
                hook(event, transfer)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            ended.error = error
    return ended


Decide = Callable[[events.Offered, list[str]], Awaitable[Decision]]
Confirm = Callable[[events.Listed], Awaitable[bool]]
Admit = Callable[[], Awaitable[bool]]


class Place:
    """A server, and both sides' ways to use it.

    Args:
        url: The server's.
        home: Where each side's home is.
    """

    def __init__(self, url: str, home: Path) -> None:
        self.connect = p2pal.ConnectOptions(
            server=url, stun=None, only_loopback=True, retry_backoff=0.01, max_retries=3
        )
        self.homes: dict[Role, Path] = {"send": home / "sender", "receive": home / "receiver"}

    def send(
        self,
        *paths: Path,
        recursive: bool = True,
        skip_errors: bool = False,
        confirm: Confirm | None = None,
        resume: str | None = None,
        admit: Admit | None = None,
    ) -> Transfer:
        options = p2pal.SendOptions(recursive=recursive, skip_errors=skip_errors, home=self.homes["send"])
        return p2pal.send(paths, options=options, connect=self.connect, confirm=confirm, resume=resume, admit=admit)

    def receive(
        self,
        code: str,
        out: Path | None,
        *,
        decide: Decide | None = None,
        overwrite: bool = False,
        verify: bool = False,
        home: Path | None = None,
    ) -> Transfer:
        options = p2pal.ReceiveOptions(out=out, overwrite=overwrite, verify=verify, home=home or self.homes["receive"])
        return p2pal.receive(code, options=options, connect=self.connect, decide=decide)

    def checkpoints(self, role: Role) -> list[CheckpointSummary]:
        """Return what one side keeps."""
        return Checkpoints(self.homes[role]).list()

    def kept(self) -> tuple[list[CheckpointSummary], list[CheckpointSummary]]:
        """Return what both sides keep: the sender's, the receiver's."""
        return self.checkpoints("send"), self.checkpoints("receive")

    async def both(
        self,
        sending: Transfer,
        receiving: Callable[[str], Transfer],
        *,
        on_sent: Hook = no_hook,
        on_received: Hook = no_hook,
    ) -> tuple[Ended, Ended]:
        """Run both sides to their ends; the receiver starts when there is a code."""
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            sent = Running(sending, on_sent)
            code = await sent.until(events.Code)
            received = tasks.create_task(follow(receiving(code.code), on_received))
        return await sent.end(), received.result()

    async def stopped(
        self, gate: Gate, *paths: Path, out: Path, by: Role = "receive", resume: str | None = None
    ) -> tuple[Ended, Ended]:
        """Stop one side once all that the gate lets through has arrived; the gate is open then."""

        def stop(event: Event, transfer: Transfer) -> None:
            if isinstance(event, events.Progress) and event.done >= gate.limit:
                transfer.cancel()
                gate.open()

        sent, received = await self.both(
            self.send(*paths, resume=resume),
            lambda code: self.receive(code, out),
            **({"on_sent": stop} if by == "send" else {"on_received": stop}),
        )
        gate.open()
        return sent, received


class Running:
    """A transfer that runs in the background, and what it told so far."""

    def __init__(self, transfer: Transfer, hook: Hook = no_hook) -> None:
        self.transfer = transfer
        self.ended = Ended()
        self._hook = hook
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        def hook(event: Event, transfer: Transfer) -> None:
            self.ended.events.append(event)
            self._changed.set()
            self._hook(event, transfer)

        self.ended.error = (await follow(self.transfer, hook)).error
        self._changed.set()

    async def until(self, kind: type[E], condition: Callable[[E], bool] = lambda event: True) -> E:
        """Wait for the first event of a kind for which the condition holds."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in self.ended.all(kind):
                    if condition(event):
                        return event
                assert not self._task.done(), self.ended
                self._changed.clear()
                await self._changed.wait()

    async def end(self) -> Ended:
        """Wait for the end."""
        async with asyncio.timeout(PATIENCE):
            await self._task
        return self.ended


class Gate:
    """Stands between a sender's disk and its machine: so many bytes get through, and the rest once it is open."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._through = 0
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    async def take(self, results: list[SourceResult]) -> list[SourceResult]:
        if self._through >= self.limit:
            await self._opened.wait()
        self._through += sum(len(result.data) for result in results if isinstance(result, BlockRead))
        return results


@contextmanager
def gated(limit: int) -> Iterator[Gate]:
    """Let senders get about so many bytes out until the gate is open: a file is half there, however fast all is."""
    gate = Gate(limit)

    class Gated(ReadPump):
        async def get(self) -> list[SourceResult]:
            return await gate.take(await super().get())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(send_session, "ReadPump", Gated)
        yield gate


def peer_of(transfer: Transfer) -> Peer:
    """The peer of a transfer that has one."""
    assert isinstance(transfer, Shell)
    assert transfer._session is not None
    assert transfer._session.peer is not None
    return transfer._session.peer


async def vanish(running: Running) -> None:
    """End a receiver as a kill does: nobody is told anything, and nothing more gets onto its disk's records."""
    receiver = running.transfer
    assert isinstance(receiver, _Receive)
    peer = peer_of(receiver)
    if receiver._journal is not None:
        receiver._journal.close()

    async def say_nothing(*args: object) -> None: ...

    receiver._last_word = say_nothing  # type: ignore[method-assign, assignment]
    peer._signaling.send = lambda message: None  # type: ignore[method-assign]
    peer._closing = True  # no payload leaves any more
    assert receiver._task is not None
    receiver._task.cancel()
    await running.end()


def only_id(there: Place) -> str:
    """The id of the one transfer that both sides keep, and nobody uses."""
    (sent,), (received,) = there.kept()
    assert (sent.role, received.role) == ("send", "receive")
    assert sent.id == received.id
    assert not sent.in_use
    assert not received.in_use
    return sent.id


async def never(offer: events.Offered, existing: list[str]) -> Decision:
    """Nobody is asked."""
    raise AssertionError("what was agreed to before is not asked about")


def run(test: Callable[[Place], Coroutine[Any, Any, None]], home: Path) -> None:
    """Run a test beside a server, with the homes of both sides below ``home``."""

    async def main() -> None:
        async with place(home) as there:
            await test(there)

    asyncio.run(main())


@asynccontextmanager
async def place(home: Path) -> AsyncIterator[Place]:
    async with serving() as kit:
        yield Place(kit.server.url, home)
