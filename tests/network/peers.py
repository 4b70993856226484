"""Two hosts with the network that they need, and a transfer between them: ``send(a, b, tree)``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest
from tests.certificates import write_certificate
from tests.e2e.kit import POLL, Command
from tests.e2e.trees import has_data, tree_equal
from tests.network.access import Kind
from tests.network.addresses import SERVER
from tests.network.coturn import Coturn
from tests.network.lab import Lab
from tests.network.wiring import PORT, Host

RELAY: Final = "turn.test"
SECRET: Final = "1d0c5f6e-of-the-lab"
STUN: Final = ("--stun", f"stun:{RELAY}:3478")
TURN: Final = (
    *("--turn", f"turn:{RELAY}:3478?transport=udp"),
    *("--turn", f"turn:{RELAY}:3478?transport=tcp"),
    *("--turn", f"turns:{RELAY}:443?transport=tcp"),
    *("--turn-secret", SECRET),
)
"""In the order in which they are preferred. All of them are one server."""
PATIENCE: Final = 40.0
"""Seconds that a transfer may take in all."""
RATE: Final = 15
"""Mbit/s to a receiver whose transfer is to last."""
QUEUE: Final = 0.5
"""Seconds of them that wait on the way rather than being lost."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of a transfer; of two values the first is the sender's.

    Attributes:
        codes: The exit codes.
        paths: The paths that each side told, in order.
        errors: The error that each side told, if there was one.
        direct: Bytes between the two, by protocol, as the router saw them.
        relayed: Bytes between each side and the relay, likewise.
        same: Whether what arrived is what was sent.
        times: Seconds from Enter on ``recv`` until the receiver told an event for the first time; ``first byte`` until
            something of a file was on its disk; ``end`` until both had ended.
        said: Everything that both said, for a person who reads a failed test.
    """

    codes: tuple[int, int]
    paths: tuple[list[str], list[str]]
    errors: tuple[dict[str, Any] | None, dict[str, Any] | None]
    direct: dict[str, int]
    relayed: tuple[dict[str, int], dict[str, int]]
    same: bool
    times: dict[str, float]
    said: str = field(repr=False)

    @property
    def first_byte(self) -> float:
        """Seconds from joining to the first byte."""
        return self.times["first byte"] - self.times["joining"]


@dataclass(frozen=True, slots=True)
class Peer:
    """One of the two hosts."""

    host: Host
    between: Between


class Between:
    """Alice and Bob, and what they need to find each other: a signaling server and a relay.

    Args:
        folder: An empty directory for everything.
        alice: How Alice is connected.
        bob: How Bob is.
        settings: The STUN and TURN servers that the signaling server hands out, as its flags.

    Attributes:
        lab: The network.
        relay: The TURN server.
        flags: For each host more flags of its ``send`` or ``recv``.
        wrappers: For each host a program and its arguments that run its commands.
    """

    def __init__(self, folder: Path, alice: Kind, bob: Kind, settings: Sequence[str] = (*STUN, *TURN)) -> None:
        self.lab: Final = Lab(alice, bob)
        self.flags: dict[Host, Sequence[str]] = {}
        self.wrappers: dict[Host, Sequence[str]] = {}
        self._folder = folder
        self._settings = settings
        self._started: list[Command] = []
        self._stack = ExitStack()
        self.relay: Coturn

    def __enter__(self) -> Self:
        with self._stack as stack:
            stack.enter_context(self.lab)
            stack.callback(self._end)
            relay = lab_relay(self.lab, self._folder)
            server = self.run("server", "server", "--host", "*", "--port", str(PORT), *self._settings)
            self.relay = stack.enter_context(relay)
            server.says(r"port=\d+")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            for command in self._started:
                print(command.said)
        self._stack.__exit__(kind, error, traceback)

    def _end(self) -> None:
        for command in self._started:
            command.end()

    def run(self, host: Host, *args: str | Path) -> Command:
        """``p2pal ARGS`` on a host, until the end of the block at most."""
        folder = self._folder / f"{len(self._started)}-{host}"
        wrapper = self.wrappers.get(host, ())
        command = self.lab.run(host, *args, folder=folder, wrapper=wrapper, trusts=self._folder / "certificate")
        self._started.append(command)
        return command

    def out(self) -> Path:
        """A new empty directory."""
        folder = self._folder / f"out-{len(self._started)}"
        folder.mkdir()
        return folder

    @property
    def peers(self) -> tuple[Peer, Peer]:
        return Peer("alice", self), Peer("bob", self)


def lab_relay(lab: Lab, folder: Path) -> Coturn:
    """The relay of a network as an operator should run it: every family, UDP, TCP and TLS, port 443 as well."""
    folder.mkdir(exist_ok=True)
    certificate = (folder / "certificate", folder / "key")
    write_certificate(*certificate, RELAY)
    first, *also = SERVER
    return Coturn(
        folder / "coturn",
        SECRET,
        address=first,
        also=also,
        web=True,
        certificate=certificate,
        wrapper=lab.wrapper("server"),
    )


def send(
    a: Peer,
    b: Peer,
    tree: Path,
    *,
    settled: tuple[str, str] | None = None,
    flags: Sequence[str] = (),
    patience: float = PATIENCE,
) -> Sent:
    """Send a tree from one host to the other, wait for the end, and compare what arrived.

    Args:
        a: Who sends.
        b: Who receives.
        tree: What is sent.
        settled: Let the transfer last until both sides told these paths, if its size allows it.
        flags: More flags for both.
        patience: Seconds that it may take.
    """
    between, lab = a.between, a.between.lab
    before = _carried(lab, a, b)
    out = between.out()
    connection = ("-server", lab.url, "--json", *flags)
    if settled:
        lab.throttle(b.host, RATE, QUEUE)
    sender = between.run(a.host, "send", *connection, *between.flags.get(a.host, ()), "-r", "-y", tree)
    code = sender.code()
    receiver = between.run(b.host, "recv", *connection, *between.flags.get(b.host, ()), "-y", "-out", out, code)
    watch = _Watch(receiver, out)

    def ended() -> bool:
        return not sender.running and not receiver.running

    if settled:
        watch.until(lambda: ended() or _latest(sender, receiver) == settled, patience)
        lab.unthrottle(b.host)
    watch.until(ended, patience)
    watch.note("end")
    direct, of_a, of_b = (
        {protocol: now[protocol] - count for protocol, count in was.items()}
        for was, now in zip(before, _carried(lab, a, b), strict=True)
    )
    return Sent(
        codes=(sender.wait(), receiver.wait()),
        paths=(_paths(sender), _paths(receiver)),
        errors=(_error(sender), _error(receiver)),
        direct=direct,
        relayed=(of_a, of_b),
        same=(out / tree.name).exists() and tree_equal(tree, out / tree.name),
        times=watch.times,
        said=sender.said + receiver.said,
    )


def _carried(lab: Lab, a: Peer, b: Peer) -> list[dict[str, int]]:
    ways = ("direct", f"{a.host}-relay", f"{b.host}-relay")
    return [{protocol: lab.carried(f"{way}-{protocol}") for protocol in ("udp", "tcp")} for way in ways]


def _paths(command: Command) -> list[str]:
    return [event["path"] for event in command.events if event["event"] == "path"]


def _latest(*commands: Command) -> tuple[str, ...]:
    return tuple(next(reversed(_paths(command)), "") for command in commands)


def _error(command: Command) -> dict[str, Any] | None:
    return next((event for event in command.events if event["event"] == "error"), None)


class _Watch:
    """Notes when a receiver told what, and when something arrived."""

    def __init__(self, receiver: Command, out: Path) -> None:
        self._start = time.monotonic()
        self._receiver, self._out = receiver, out
        self._read = 0
        self.times: dict[str, float] = {}

    def until(self, over: Callable[[], bool], patience: float) -> None:
        """Look again and again until it is over."""
        while not (ended := over()) and time.monotonic() - self._start < patience:
            self._look()
            time.sleep(POLL)
        if not ended:
            pytest.fail(f"it did not end within {patience:g} s\n{self._receiver.said}", pytrace=False)
        self._look()

    def _look(self) -> None:
        if "first byte" not in self.times and has_data(self._out):
            self.note("first byte")
        text = self._receiver.out
        whole = text.rfind("\n") + 1
        for line in text[self._read : whole].splitlines():
            self.note(json.loads(line)["event"])
        self._read = max(whole, self._read)

    def note(self, what: str) -> None:
        """It happened now, unless it did before."""
        self.times.setdefault(what, round(time.monotonic() - self._start, 3))
