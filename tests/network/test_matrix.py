"""Every two kinds of access: a tree gets through, by the best path there is, and both sides say truthfully which.

The table of them is printed at the end of the run (:mod:`tests.network.table`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from tests.network.access import Kind, ipv6_only, nat, only_443, open_, several, udp_blocked
from tests.network.conftest import Connect
from tests.network.peers import STUN, Peer, Sent, send
from tests.network.table import Note

HOST: Final = "direct, host udp"
IPV6: Final = "direct, ipv6"
PUNCHED: Final = "direct, punched"
BY_UDP: Final = "relayed, turn udp"
BY_TCP: Final = "relayed, turn tcp"
BY_TLS: Final = "relayed, turn tls"

KINDS: Final[dict[str, Callable[[], Kind]]] = {
    "open": open_,
    "cone": lambda: nat("cone"),
    "symmetric": lambda: nat("symmetric"),
    "UDP blocked": udp_blocked,
    "only 443": only_443,
    "IPv6 only": ipv6_only,
    "several": several,
}

BEST: Final[dict[tuple[str, str], str | tuple[str, str]]] = {
    ("open", "open"): HOST,
    ("open", "cone"): PUNCHED,
    ("open", "symmetric"): PUNCHED,
    ("open", "UDP blocked"): BY_TCP,
    ("open", "only 443"): BY_TLS,
    ("open", "IPv6 only"): BY_UDP,
    ("open", "several"): PUNCHED,
    ("cone", "cone"): PUNCHED,
    ("cone", "symmetric"): BY_UDP,
    ("cone", "UDP blocked"): BY_TCP,
    ("cone", "only 443"): BY_TLS,
    ("cone", "IPv6 only"): BY_UDP,
    ("cone", "several"): PUNCHED,
    ("symmetric", "symmetric"): BY_UDP,
    ("symmetric", "UDP blocked"): BY_TCP,
    ("symmetric", "only 443"): BY_TLS,
    ("symmetric", "IPv6 only"): BY_UDP,
    ("symmetric", "several"): BY_UDP,
    ("UDP blocked", "UDP blocked"): BY_TCP,
    ("UDP blocked", "only 443"): (BY_TCP, BY_TLS),
    ("UDP blocked", "IPv6 only"): (BY_TCP, BY_UDP),
    ("UDP blocked", "several"): BY_TCP,
    ("only 443", "only 443"): BY_TLS,
    ("only 443", "IPv6 only"): (BY_TLS, BY_UDP),
    ("only 443", "several"): BY_TLS,
    ("IPv6 only", "IPv6 only"): IPV6,
    ("IPv6 only", "several"): IPV6,
    ("several", "several"): IPV6,
}
"""What the first and the second say in the end; a pair where each has its own way to the relay.

Between an open host and one whose UDP is blocked TCP could go directly; the engine takes no TCP connections.
"""


def tree_size(tree: Path) -> int:
    """Bytes of its files."""
    return sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())


def check(sent: Sent, paths: tuple[str, str], tree: Path) -> None:
    """It went well, and the paths are these, as the router saw them."""
    assert sent.codes == (0, 0), sent.said
    assert sent.same, sent.said
    assert '"reconnecting"' not in sent.said, sent.said
    assert tuple(told[-1] for told in sent.paths) == paths, sent
    size = tree_size(tree)
    direct = sum(sent.direct.values())
    if paths[0].startswith("direct"):
        assert direct > size / 2, sent
        return
    assert direct < size / 100, sent
    for path, legs in zip(paths, (sent.relayed, sent.relayed[::-1]), strict=True):
        # A relayed path may have one relay, the other side's: then the other side's way to it is what counts.
        protocol = "udp" if path == BY_UDP else "tcp"
        assert any(leg[protocol] > size for leg in legs), sent


@pytest.mark.parametrize(("one", "other"), [pytest.param(*pair, id=" and ".join(pair)) for pair in BEST])
def test_two_kinds_find_the_best_path(connect: Connect, tree: Path, note: Note, one: str, other: str) -> None:
    a, b = connect(KINDS[one](), KINDS[other]())
    best = BEST[one, other]
    of_one, of_other = (best, best) if isinstance(best, str) else best

    def cell(sender: Peer, receiver: Peer, names: tuple[str, str], paths: tuple[str, str]) -> None:
        sent = send(sender, receiver, tree, settled=paths)
        check(sent, paths, tree)
        note(names, paths, sent.first_byte)

    cell(a, b, (one, other), (of_one, of_other))
    if one != other:
        cell(b, a, (other, one), (of_other, of_one))


def test_the_table_has_every_pair() -> None:
    names = list(KINDS)
    assert list(BEST) == [(one, other) for number, one in enumerate(names) for other in names[number:]]


def test_addresses_can_be_hidden_behind_the_relay(connect: Connect, tree: Path) -> None:
    sent = send(*connect(open_(), open_()), tree, flags=("--relay-only",))
    check(sent, (BY_UDP, BY_UDP), tree)
    assert sent.direct == {"udp": 0, "tcp": 0}, "not even a try"


def test_no_path_at_all_is_an_error_of_both_sides(connect: Connect, tree: Path, note: Note) -> None:
    sent = send(*connect(nat("symmetric"), nat("symmetric"), STUN), tree)
    assert sent.codes == (5, 5), sent.said
    for error in sent.errors:
        assert error is not None
        assert error["code"] == "no-path"
        assert error["message"]
        assert error["hint"]
    assert sent.direct["tcp"] == 0
    note(
        ("symmetric", "symmetric, without a relay"), ("no path", "no path"), sent.times["error"] - sent.times["joining"]
    )


def test_a_relay_that_may_not_be_used_is_no_path(connect: Connect, tree: Path) -> None:
    sent = send(*connect(nat("cone"), nat("symmetric")), tree, flags=("--no-relay",))
    assert sent.codes == (5, 5), sent.said
    assert [error and error["code"] for error in sent.errors] == ["no-path", "no-path"], sent.said
    size = tree_size(tree)
    assert all(leg < size / 100 for side in sent.relayed for leg in side.values()), sent
