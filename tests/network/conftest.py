"""What every test of the network starts from: hosts of its own, and a transfer between two of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.e2e.trees import content, write
from tests.network.access import Kind
from tests.network.exchange import Exchange
from tests.network.lab import Lab
from tests.network.needs import need_coturn, need_networks
from tests.network.peers import STUN, TURN, Between, Peer, lab_relay
from tests.network.table import Break, Names, Note, breaks, cell, cells, gap, table

Labs = Callable[..., Lab]
Begin = Callable[..., Exchange]
Connect = Callable[..., tuple[Peer, Peer]]
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.e2e)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of the matrix, if it was run."""
    reports = [each for kind in ("passed", "failed") for each in terminalreporter.stats.get(kind, ())]
    found = cells(each for report in reports for each in report.user_properties)
    if found:
        terminalreporter.section("sender × receiver: path, seconds from joining to the first byte")
        for line in table(found):
            terminalreporter.line(line)
    gaps = breaks(each for report in reports for each in report.user_properties)
    if gaps:
        terminalreporter.section("seconds from a failure of the network to more data")
        for line in gaps:
            terminalreporter.line(line)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A server, Alice and Bob, each on a host of its own."""
    need_networks()
    with Lab() as made:
        yield made


@pytest.fixture
def labs() -> Iterator[Labs]:
    """``labs(nat("cone"), ipv6_only())`` makes a network; it is removed with the test."""
    need_networks()
    with ExitStack() as stack:

        def make(alice: Kind | None = None, bob: Kind | None = None) -> Lab:
            return stack.enter_context(Lab(alice, bob))

        yield make


@pytest.fixture
def begin(labs: Labs, tmp_path: Path) -> Iterator[Begin]:
    """``begin(labs(nat("cone"), open_()))`` begins a transfer there, with STUN and a relay if need be.

    Further arguments are flags of both sides. It is under way, and lasts until :meth:`Exchange.finish`.
    """
    need_coturn()
    with ExitStack() as stack:

        def start(lab: Lab, *flags: str) -> Exchange:
            stack.enter_context(lab_relay(lab, tmp_path / "relay"))
            settings = ("--host", "*", *STUN, *TURN)
            exchange = stack.enter_context(Exchange(lab, tmp_path / "exchange", flags=flags, settings=settings))
            exchange.start()
            return exchange

        yield start


@pytest.fixture
def exchange(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Iterator[Exchange]:
    """A transfer from Alice to Bob that is under way, and lasts until :meth:`Exchange.finish`.

    Its parameter are flags of both sides.
    """
    with Exchange(lab, tmp_path, flags=("-stun", "none", *getattr(request, "param", ()))) as running:
        running.start()
        yield running


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """``a, b = connect(nat("cone"), ipv6_only())`` makes two hosts with signaling server and relay.

    A third argument is what STUN and TURN servers the signaling server hands out, as its flags.
    """
    need_networks()
    need_coturn()
    with ExitStack() as stack:

        def make(alice: Kind, bob: Kind, settings: Sequence[str] = (*STUN, *TURN)) -> tuple[Peer, Peer]:
            return stack.enter_context(Between(tmp_path / "between", alice, bob, settings)).peers

        yield make


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tree."""
    root = tmp_path_factory.mktemp("tree") / "tree"
    write(root / "folder" / "large.bin", content(12 << 20))
    write(root / "folder" / "small.txt", "small\n")
    write(root / "empty", b"")
    return root


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Note:
    """Notes a cell of the matrix."""

    def add(names: Names, paths: tuple[str, str], seconds: float) -> None:
        request.node.user_properties.append(cell(names, paths, seconds))

    return add


@pytest.fixture
def note_break(request: pytest.FixtureRequest) -> Break:
    """Notes how long nothing arrived."""

    def add(what: str, seconds: float) -> None:
        request.node.user_properties.append(gap(what, seconds))

    return add
