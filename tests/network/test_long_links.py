"""Transfers over long, narrow, lossy and interrupted links: everything arrives, and nobody is told of trouble for none.

The signaling server is on Bob's host, so that all of it takes the same way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest
from tests.e2e.kit import Command, until
from tests.network.commands import start
from tests.network.emulator.wan import Name, Wan
from tests.network.emulator.wire import Link
from tests.network.needs import need_emulator

KIB: Final = 1 << 10
MIB: Final = 1 << 20
PATIENCE: Final = 60.0
"""Seconds that a transfer may take, however the machine is busy; and a link to come back after it was cut."""


def _run(wan: Wan, host: Name, folder: Path, *args: str | Path) -> Command:
    return start(host, wan.wrapper(host), folder / f"{host}-{args[0]}", *args)


@dataclass(frozen=True, slots=True)
class Site:
    """What the tests share: both hosts with the wire, and the server's URL."""

    wan: Wan
    url: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    need_emulator()
    with Wan(Link(), seed=5) as wan:
        address = wan.address("bob")
        folder = tmp_path_factory.mktemp("server")
        server = _run(wan, "bob", folder, "server", "--host", address, "--port", "0")
        try:
            port = server.says(r"port=(\d+)").group(1)
            yield Site(wan, f"http://{address}:{port}")
        finally:
            server.end()


class Journey:
    """A file on its way from Alice to Bob.

    Args:
        site: What it goes over.
        folder: An empty directory for everything.
        size: Bytes of the file.
    """

    def __init__(self, site: Site, folder: Path, size: int) -> None:
        self._site, self._folder, self._size = site, folder, size
        self._started: list[Command] = []
        self.sender: Command
        self.receiver: Command

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._end(failed=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end(failed=kind is not None)

    def _start(self) -> None:
        self._source, self._out = self._folder / "data.bin", self._folder / "out"
        self._source.write_bytes(os.urandom(self._size))
        self._out.mkdir()
        connection = ("-server", self._site.url, "-stun", "none", "--json")
        self.sender = self._run("alice", "send", *connection, self._source)
        self.receiver = self._run("bob", "recv", *connection, "-y", "-out", self._out, self.sender.code())

    def _run(self, host: Name, *args: str | Path) -> Command:
        command = _run(self._site.wan, host, self._folder, *args)
        self._started.append(command)
        return command

    def _end(self, *, failed: bool) -> None:
        for command in self._started:
            command.end()
        if failed:
            print(self._site.wan.counts("alice"), self._site.wan.counts("bob"), sep="\n")
            for command in self._started:
                print(command.said)

    @property
    def sides(self) -> tuple[Command, Command]:
        return self.sender, self.receiver

    def told(self, *kinds: str) -> list[dict[str, Any]]:
        """The events of these kinds that either side told so far."""
        return [event for side in self.sides for event in side.events if event["event"] in kinds]

    def finish(self) -> None:
        """Wait until both sides ended well, and check what arrived and what they told."""
        assert (self.sender.wait(PATIENCE), self.receiver.wait(PATIENCE)) == (0, 0)
        assert (self._out / self._source.name).read_bytes() == self._source.read_bytes()
        assert os.listdir(self._out) == [self._source.name], "nothing else was left behind"
        assert self.told("error", "file-failed", "saved", "resuming", "starting-over") == []
        assert len(self.told("offer")) == 1
        assert len(self.told("accepted")) == len(self.told("summary")) == 2
        for side in self.sides:
            done = [event["done"] for event in side.events if event["event"] == "progress"]
            assert [(one, other) for one, other in pairwise(done) if other < one] == [], "progress went back"


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of link that is there for the whole transfer.

    Attributes:
        there: What it is like from the sender to the receiver.
        back: What it is like the other way; None: the same.
        size: Bytes of the file.
        drops: What must have happened to a packet of the sender for the case to be what it says.
        quiet: Whether nobody may be told of a silence; where packets are lost so often that what is sent again is lost
            several times in a row, one is a matter of chance.
    """

    there: Link
    back: Link | None = None
    size: int = MIB
    drops: tuple[str, ...] = ()
    quiet: bool = True


CASES: Final = {
    "long": Case(Link(delay=0.05), size=2 * MIB),
    "one in a hundred is lost": Case(Link(delay=0.01, loss=0.01), drops=("lost",)),
    "one in twenty is lost": Case(Link(delay=0.01, loss=0.05), size=512 * KIB, drops=("lost",), quiet=False),
    "narrow and long": Case(Link(delay=0.1, rate=1e6), size=128 * KIB),
    "packets overtake each other": Case(Link(delay=0.03, jitter=0.01, reorder=True), size=256 * KIB),
    "fast there, slow back": Case(Link(delay=0.01, rate=20e6), Link(delay=0.01, rate=0.5e6), size=2 * MIB),
    "slow there, fast back": Case(Link(delay=0.01, rate=2e6), Link(delay=0.01, rate=100e6), size=512 * KIB),
    "a queue of ten packets": Case(Link(delay=0.02, rate=10e6, queue=15_000), drops=("overflowed",)),
    "a queue of two seconds": Case(Link(delay=0.01, rate=6e6, queue=1_500_000), Link(delay=0.01), size=2 * MIB),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_everything_arrives_and_nobody_is_alarmed(site: Site, case: Case, tmp_path: Path) -> None:
    before = site.wan.counts("alice")
    site.wan.set(case.there, case.back)
    with Journey(site, tmp_path, case.size) as journey:
        journey.finish()
        assert journey.told("reconnecting", "waiting", *(["silence"] if case.quiet else [])) == []
        after = site.wan.counts("alice")
        assert after.delivered_size - before.delivered_size > case.size
        assert all(getattr(after, name) > getattr(before, name) for name in case.drops)


def test_it_goes_on_after_the_link_was_cut(site: Site, tmp_path: Path) -> None:
    before = site.wan.counts("alice")
    site.wan.set(Link(delay=0.01, rate=8e6))
    with Journey(site, tmp_path, 2 * MIB) as journey:
        journey.receiver.moved(MIB // 2)
        with site.wan.cut():
            for side in journey.sides:
                words = ("silence", "reconnecting", "waiting")
                until(lambda: [event for event in side.events if event["event"] in words], "a word")  # noqa: B023
        site.wan.set(Link(delay=0.01))
        journey.finish()
        assert site.wan.counts("alice").severed > before.severed


def test_it_goes_on_at_another_rate_and_over_another_distance(site: Site, tmp_path: Path) -> None:
    site.wan.set(Link(delay=0.005, rate=10e6))
    with Journey(site, tmp_path, 2 * MIB) as journey:
        journey.receiver.moved(MIB // 2)
        site.wan.set(Link(delay=0.1, rate=4e6))
        journey.receiver.moved(MIB)
        site.wan.set(Link(delay=0.02, rate=50e6))
        journey.finish()
        assert journey.told("reconnecting", "silence", "waiting") == []
