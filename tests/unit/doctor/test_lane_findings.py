from __future__ import annotations

from typing import Any

import pytest
from tests.unit.doctor.kit import facts, sockets

from p2pal.doctor.datagram_facts import Batching, DatagramFacts
from p2pal.doctor.lane_findings import LEAST_BUFFER, judge_lanes
from p2pal.doctor.report import CheckResult, Rating

OK, WARN, NONE = Rating.OK, Rating.WARN, Rating.NONE
ASKED = 4 << 20


def of(datagrams: DatagramFacts | None) -> dict[str, CheckResult]:
    """The findings by check."""
    found = judge_lanes(facts(datagrams=datagrams))
    assert len({finding.check for finding in found}) == len(found)
    return {finding.check: finding for finding in found}


def test_sockets_batches_and_buffers() -> None:
    found = of(sockets("192.168.1.5", "2001:4860::5", "10.0.0.9"))
    assert [(each.check, each.verdict, each.advice) for each in found.values()] == [
        ("datagrams", OK, ""), ("batches", OK, ""), ("buffers", OK, ""),
    ]  # fmt: skip
    assert found["datagrams"].detail == "sockets of our own over IPv4 and IPv6: 192.168.1.5, 2001:4860::5 and 1 more"
    assert found["buffers"].detail == "213.0 kB to send, 213.0 kB to receive, of the 4.2 MB that a lane asks for"


@pytest.mark.parametrize(("address", "version"), [("10.0.0.1", 4), ("2001:4860::5", 6)])
def test_one_ip_version_alone_is_named(address: str, version: int) -> None:
    assert of(sockets(address))["datagrams"].detail == f"sockets of our own over IPv{version} alone: {address}"


def test_an_address_without_a_socket_is_named_beside_the_others() -> None:
    found = of(sockets(refused=(("10.0.0.9", "Cannot assign requested address"),)))["datagrams"]
    assert found.verdict is OK
    assert found.detail.endswith("192.168.1.5; none for 10.0.0.9 (Cannot assign requested address)")


def test_a_machine_that_opens_no_socket_is_left_to_webrtc() -> None:
    (found,) = of(DatagramFacts(refused=(("10.0.0.9", "Operation not permitted"),))).values()
    assert found.verdict is WARN
    assert (
        found.detail == "no UDP socket can be opened (10.0.0.9: Operation not permitted): transfers are left to WebRTC"
    )
    assert "sandbox" in found.advice


def test_what_is_not_known_is_neither_good_nor_bad() -> None:
    (nowhere,) = of(DatagramFacts()).values()
    (hurried,) = of(None).values()
    assert (nowhere.verdict, hurried.verdict) == (NONE, NONE)
    assert "no address" in nowhere.detail
    assert "no time" in hurried.detail


def test_a_machine_that_does_not_hear_itself_may_have_a_firewall() -> None:
    found = of(sockets(batching=Batching(0, buffers=(ASKED, ASKED), asked=ASKED)))
    assert found["datagrams"].verdict is WARN
    assert "firewall" in found["datagrams"].advice
    assert "batches" not in found, "nothing is known of them"
    assert found["buffers"].detail == "4.2 MB to send, 4.2 MB to receive"


@pytest.mark.parametrize(
    ("calls", "verdict", "words"),
    [
        ((True, False), OK, "many datagrams leave at once, but come in one at a time"),
        ((False, True), OK, "datagrams leave one at a time, but many come in at once"),
        ((False, False), NONE, "one at a time: a fast link takes more of the processor"),
    ],
)
def test_datagrams_that_go_one_at_a_time(calls: tuple[bool, bool], verdict: Rating, words: str) -> None:
    found = of(sockets(batching=Batching(8, *calls)))
    assert (found["batches"].verdict, found["batches"].advice) == (verdict, "")
    assert words in found["batches"].detail
    assert "buffers" not in found, "the system does not say"


@pytest.mark.parametrize(("least", "verdict"), [(LEAST_BUFFER, OK), (LEAST_BUFFER - 1, WARN)])
@pytest.mark.parametrize("turn", [1, -1])
def test_small_buffers(least: int, verdict: Rating, turn: int) -> None:
    given: Any = (least, ASKED)[::turn]
    found = of(sockets(batching=Batching(8, True, True, given, ASKED)))["buffers"]
    assert found.verdict is verdict
    assert ("net.core.rmem_max" in found.advice) == (verdict is WARN)
