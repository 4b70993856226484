"""Every two kinds of access: a tree gets through, by the best path there is, and both sides say truthfully which.

The table of them is printed at the end of the run (:mod:`tests.network.table`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from tests.network.access import Kind, ipv6_only, nat, only_443, open_, several, udp_blocked
from tests.network.addresses import SERVER, own_address
from tests.network.conftest import Connect
from tests.network.peers import STUN, TURN, Peer, Sent, send
from tests.network.table import Note

HOST: Final = "direct, udp"
IPV6: Final = "direct, udp ipv6"
PUNCHED: Final = "direct, punched udp"
BY_UDP: Final = "relayed, turn udp"
BY_TCP: Final = "relayed, turn tcp"
BY_TLS: Final = "relayed, turn tls"
OVERHEARD: Final = Path(__file__).with_name("overheard.py")

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

Wherever UDP passes directly that is a datagram lane. Between an open host and one whose UDP is blocked TCP could go
directly; the engine takes no TCP connections.
"""

BY_WEBRTC: Final[dict[tuple[str, str], str | tuple[str, str]]] = {
    ("open", "open"): "direct, host udp",
    ("cone", "cone"): "direct, punched",
    ("symmetric", "open"): "direct, punched",
    ("cone", "symmetric"): BY_UDP,
    ("UDP blocked", "only 443"): (BY_TCP, BY_TLS),
    ("IPv6 only", "several"): "direct, ipv6",
    ("several", "cone"): "direct, punched",
}
"""The same where WebRTC is the only kind of lane."""


def tree_size(tree: Path) -> int:
    """Bytes of its files."""
    return sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())


def of_both(best: str | tuple[str, str]) -> tuple[str, str]:
    """What the first and the second say in the end."""
    return (best, best) if isinstance(best, str) else best


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
    of_one, of_other = of_both(BEST[one, other])

    def cell(sender: Peer, receiver: Peer, names: tuple[str, str], paths: tuple[str, str]) -> None:
        sent = send(sender, receiver, tree, settled=paths)
        check(sent, paths, tree)
        note(names, paths, sent.first_byte)

    cell(a, b, (one, other), (of_one, of_other))
    if one != other:
        cell(b, a, (other, one), (of_other, of_one))


@pytest.mark.parametrize(("one", "other"), [pytest.param(*pair, id=" and ".join(pair)) for pair in BY_WEBRTC])
def test_webrtc_alone_finds_the_best_path(connect: Connect, tree: Path, one: str, other: str) -> None:
    paths = of_both(BY_WEBRTC[one, other])
    sent = send(*connect(KINDS[one](), KINDS[other]()), tree, settled=paths, flags=("-lane", "webrtc"))
    check(sent, paths, tree)


def test_the_table_has_every_pair() -> None:
    names = list(KINDS)
    assert list(BEST) == [(one, other) for number, one in enumerate(names) for other in names[number:]]


def test_addresses_can_be_hidden_behind_the_relay(connect: Connect, tree: Path) -> None:
    sent = send(*connect(open_(), open_()), tree, settled=(BY_UDP, BY_UDP), flags=("--relay-only",))
    check(sent, (BY_UDP, BY_UDP), tree)
    assert sent.direct == {"udp": 0, "tcp": 0}, "not even a try"


@pytest.mark.parametrize("role", ["sender", "receiver"])
def test_one_side_alone_can_hide_its_addresses(connect: Connect, tree: Path, tmp_path: Path, role: str) -> None:
    alice, bob = connect(nat("cone"), open_())
    between, heard = alice.between, tmp_path / "heard"
    between.flags["alice"] = ("--relay-only",)
    between.wrappers["bob"] = (sys.executable, str(OVERHEARD), str(heard))
    sent = send(*((alice, bob) if role == "sender" else (bob, alice)), tree, settled=(BY_UDP, BY_UDP))
    check(sent, (BY_UDP, BY_UDP), tree)
    assert sent.direct == {"udp": 0, "tcp": 0}, "not even a try, of either side"
    told, (link,) = heard.read_text(), between.lab.kinds["alice"].links
    assert SERVER[0] in told, "the relay's address"
    for own in (between.lab.address("alice"), own_address(link, 0, 0, 2)):
        assert own not in told
        assert own not in sent.said


def no_path(sent: Sent, note: Note, names: tuple[str, str]) -> tuple[list[str], list[str]]:
    """Both sides failed, and say so, the sender first: what they say of the reason, and of what would help."""
    assert sent.codes == (5, 5), sent.said
    errors = [error for error in sent.errors if error is not None]
    assert [error["code"] for error in errors] == ["no-path"] * 2, sent.said
    note(names, ("no path", "no path"), sent.times["error"] - sent.times["joining"])
    messages, hints = ([error[field] for error in errors] for field in ("message", "hint"))
    assert all("tried direct connections" in message for message in messages), messages
    return messages, hints


def test_no_path_at_all_is_an_error_of_both_sides(connect: Connect, tree: Path, note: Note) -> None:
    sent = send(*connect(nat("symmetric"), nat("symmetric"), STUN), tree)
    messages, hints = no_path(sent, note, ("symmetric", "symmetric, without a relay"))
    assert all("direct connections (IPv4) and hole punching" in message for message in messages), messages
    assert all(hint.startswith("a TURN server (-turn, or --turn of the signaling server)") for hint in hints), hints
    assert sent.direct["tcp"] == 0


def test_a_relay_whose_secret_is_another_one_is_no_path(connect: Connect, tree: Path, note: Note) -> None:
    sent = send(*connect(nat("symmetric"), nat("symmetric"), (*STUN, *TURN[:-1], "of-another-relay")), tree)
    messages, hints = no_path(sent, note, ("symmetric", "symmetric, the relay refuses"))
    assert all(f"{TURN[1]} refused the credentials" in message for message in messages), messages
    assert all("check -turn-user and -turn-pass" in hint for hint in hints), hints


def test_a_relay_that_is_reached_by_udp_alone_is_no_path_where_udp_is_blocked(
    connect: Connect, tree: Path, note: Note
) -> None:
    sent = send(*connect(udp_blocked(), nat("cone"), (*STUN, *TURN[:2], *TURN[-2:])), tree)
    (blocked, well), (advice, _) = no_path(sent, note, ("UDP blocked", "cone, the relay by UDP alone"))
    assert f"{TURN[1]} did not answer" in blocked
    assert "-turn turns:HOST:443" in advice
    assert "did not answer" not in well, "it did there"


def test_a_relay_that_may_not_be_used_is_no_path(connect: Connect, tree: Path, note: Note) -> None:
    sent = send(*connect(nat("cone"), nat("symmetric")), tree, flags=("--no-relay",))
    _, hints = no_path(sent, note, ("cone", "symmetric, --no-relay"))
    assert all("leave out --no-relay" in hint for hint in hints), hints
    size = tree_size(tree)
    assert all(leg < size / 100 for side in sent.relayed for leg in side.values()), sent
