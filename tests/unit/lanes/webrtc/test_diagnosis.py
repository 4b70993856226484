"""The line for a person for whom no path was found."""

from __future__ import annotations

import pytest

from p2pal.connect_failure import ConnectFailure
from p2pal.lanes.ice_candidates import IceCandidate
from p2pal.lanes.ice_servers import RelayUse
from p2pal.lanes.webrtc.diagnosis import impossible, no_relay
from p2pal.lanes.webrtc.gathering import UNREACHED, Gathering

HOST = IceCandidate("host", "udp", "192.0.2.1", 1000)
HOST6 = IceCandidate("host", "udp", "2001:db8::1", 1000)
MAPPED = IceCandidate("srflx", "udp", "198.51.100.1", 2000)
RELAYED = IceCandidate("relay", "udp", "203.0.113.1", 3000)
STUN, TURN, TLS = "stun:stun.test:3478", "turn:relay.test:3478", "turns:relay.test:443"
START = "no network path to the other side was found: "
DOCTOR = "'p2pal doctor' on both machines tells more"


def gathering(
    own: list[IceCandidate], remote: list[IceCandidate], *urls: str, answered: tuple[str, ...] = ()
) -> Gathering:
    made = Gathering(urls)
    for candidate in own:
        made.add_own(candidate)
    for candidate in remote:
        made.add_remote(candidate)
    made.answered.update(answered)
    return made


@pytest.mark.parametrize(
    ("own", "remote", "tried"),
    [
        ([HOST], [], "the other side told of no address"),
        ([HOST], [HOST], "tried direct connections (IPv4)"),
        ([HOST, HOST6], [HOST6, HOST], "tried direct connections (IPv4 and IPv6)"),
        ([HOST], [HOST6], "tried direct connections (no version of IP in common)"),
        ([HOST, MAPPED], [HOST], "tried direct connections (IPv4) and hole punching"),
        (
            [HOST, RELAYED],
            [HOST, MAPPED, RELAYED],
            "tried direct connections (IPv4), hole punching, this side's relay and the other side's relay",
        ),
        ([RELAYED], [HOST], "tried this side's relay"),
    ],
)
def test_it_says_what_was_tried(own: list[IceCandidate], remote: list[IceCandidate], tried: str) -> None:
    assert impossible([gathering(own, remote)], {}).message == START + tried


def test_without_any_connection_there_was_no_answer() -> None:
    assert impossible([], {}).message == START + "the other side told of no address"


@pytest.mark.parametrize(
    ("code", "words", "hint"),
    [
        (401, "turn:relay.test:3478 refused the credentials", "check -turn-user and -turn-pass"),
        (486, "turn:relay.test:3478 has no room", "a firewall may stop this"),
        (UNREACHED, "turn:relay.test:3478 was not reached", "a firewall may stop this"),
        (437, "turn:relay.test:3478 refused (error 437)", "a firewall may stop this"),
        (0, "turn:relay.test:3478 did not answer", "a firewall may stop this"),
    ],
)
def test_it_says_which_relay_did_not_work_and_what_to_do(code: int, words: str, hint: str) -> None:
    made = gathering([HOST, MAPPED], [HOST], STUN, TURN, answered=(STUN,))
    if code:
        made.add_error(TURN, code)
    error = impossible([made], {})
    assert error.message.endswith(f"; {words}")
    assert error.hint.startswith(hint)
    assert "whatever" not in error.message + error.hint


def test_our_own_tls_knows_better_why() -> None:
    made = gathering([HOST], [HOST], TLS)
    made.add_error(TLS, UNREACHED)
    error = impossible([made], {TLS: ConnectFailure.UNTRUSTED})
    assert error.message.endswith("; turns:relay.test:443: its TLS certificate is not trusted")


def test_a_server_that_worked_once_is_not_named() -> None:
    failed = gathering([HOST], [HOST], TURN)
    failed.add_error(TURN, 437)
    error = impossible([failed, gathering([HOST, RELAYED], [HOST], TURN, answered=(TURN,))], {})
    assert TURN not in error.message
    assert error.hint == DOCTOR


def test_few_servers_are_named() -> None:
    urls = [f"turn:relay-{n}.test" for n in range(8)]
    assert impossible([gathering([HOST], [HOST], *urls)], {}).message.count("did not answer") == 3


INSIDE = IceCandidate("host", "udp", "192.168.0.2", 1000)


def test_servers_that_are_silent_over_udp_tell_of_a_firewall() -> None:
    silent = gathering([INSIDE], [HOST], STUN, TURN)
    error = impossible([silent], {})
    assert error.message.endswith("; stun:stun.test:3478 did not answer; turn:relay.test:3478 did not answer")
    assert error.hint.startswith("UDP seems to be blocked here: try a TURN server over TLS or TCP")
    silent.add_error(TURN, 401)
    assert not impossible([silent], {}).hint.startswith("UDP")


def test_a_stun_server_that_tells_nothing_new_is_not_called_silent() -> None:
    outside = IceCandidate("host", "udp", "8.8.8.8", 1000)
    assert "did not answer" not in impossible([gathering([outside], [HOST], STUN)], {}).message
    assert "did not answer" not in impossible([gathering([INSIDE, MAPPED], [HOST], STUN)], {}).message


def test_a_relay_of_which_nothing_came_in_the_end_was_not_reached() -> None:
    made = gathering([INSIDE, MAPPED], [HOST], TURN)
    made.complete = True
    assert impossible([made], {}).message.endswith("; turn:relay.test:3478 was not reached")


def test_a_certificate_that_is_not_trusted_has_advice_of_its_own() -> None:
    error = impossible([gathering([HOST], [HOST], TLS)], {TLS: ConnectFailure.UNTRUSTED})
    assert "SSL_CERT_FILE" in error.hint


def test_who_uses_nothing_but_relays_tried_nothing_else() -> None:
    relayed = impossible([gathering([RELAYED], [HOST, MAPPED], TURN, answered=(TURN,))], {}, ours=RelayUse.ONLY)
    assert relayed.message == START + "tried this side's relay"
    silent = impossible([gathering([], [HOST, MAPPED], TURN)], {}, ours=RelayUse.ONLY)
    assert silent.message == START + "--relay-only, and no relay works; turn:relay.test:3478 did not answer"


def test_where_only_relays_may_be_used_one_is_asked_for() -> None:
    assert no_relay().code == "no-relay"
    assert no_relay().message == "--relay-only, but no TURN server is known"
    assert "-turn" in no_relay().hint


def test_without_any_relay_one_is_advised() -> None:
    error = impossible([gathering([HOST, MAPPED], [HOST, MAPPED], STUN, answered=(STUN,))], {})
    assert error.hint == f"a TURN server (-turn, or --turn of the signaling server) should get through; {DOCTOR}"


@pytest.mark.parametrize(
    ("ours", "advice"),
    [(RelayUse.NEVER, ": leave out --no-relay"), (RelayUse.ALLOWED, ": the other side can leave out --no-relay")],
)
def test_who_wants_no_relay_hears_that(ours: RelayUse, advice: str) -> None:
    error = impossible([gathering([HOST], [HOST])], {}, ours=ours, agreed=RelayUse.NEVER)
    assert error.hint == "a relay would get through" + advice
