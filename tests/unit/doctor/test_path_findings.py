from __future__ import annotations

from typing import Any

import pytest
from tests.unit.doctor.kit import (
    LOCAL,
    ONE,
    OTHER,
    PUBLIC,
    SIX,
    STUN,
    TURN,
    TURN_TCP,
    TURNS,
    answer,
    facts,
    server,
    silence,
    survey,
    works,
)  # fmt: skip

from p2pal.connect_failure import ConnectFailure
from p2pal.doctor.facts import Facts
from p2pal.doctor.network_facts import Endpoint, Filtering, NoAnswer, Relaying, StunAnswer
from p2pal.doctor.path_findings import Nat, judge_paths, nat_of
from p2pal.doctor.report import CheckResult, Rating
from p2pal.lanes.own_addresses import Interfaces

OK, WARN, FAIL, NONE = Rating.OK, Rating.WARN, Rating.FAIL, Rating.NONE
ALTERNATE = Endpoint(ONE.address, 3479)
OTHER_ALTERNATE = Endpoint(OTHER.address, 3479)
OWN = Endpoint(PUBLIC, 6000)


def of(found: Facts, check: str) -> list[CheckResult]:
    """The findings of one check."""
    return [finding for finding in judge_paths(found) if finding.check == check]


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([], Nat.UNKNOWN),
        ([silence()], Nat.UNKNOWN),
        ([answer(SIX)], Nat.UNKNOWN),
        ([answer(local=OWN)], Nat.NONE),
        ([answer(local=OWN), answer(OTHER, local=OWN)], Nat.NONE),
        ([answer()], Nat.ONE_SERVER),
        ([answer(), answer(ALTERNATE)], Nat.ONE_SERVER),
        ([answer(), answer(OTHER)], Nat.INDEPENDENT),
        ([answer(), answer(OTHER), silence()], Nat.INDEPENDENT),
        ([answer(), answer(OTHER, 6001)], Nat.DEPENDENT),
        ([answer(), answer(OTHER, 6001), answer(OTHER_ALTERNATE, 6001)], Nat.ADDRESS),
        ([answer(), answer(OTHER, 6001), answer(OTHER_ALTERNATE, 6002)], Nat.PORT),
        ([answer(), answer(ALTERNATE, 6001)], Nat.PORT),
    ],
)
def test_the_kind_of_nat(answers: list[StunAnswer], kind: Nat) -> None:
    assert nat_of(answers) is kind
    assert nat_of(answers[::-1]) is kind


def test_a_nat_that_keeps_the_port_is_one() -> None:
    assert nat_of([answer(ONE, LOCAL.port), answer(OTHER, LOCAL.port)]) is Nat.INDEPENDENT


def test_a_server_in_the_same_house_tells_nothing_of_the_nat() -> None:
    near = StunAnswer(STUN, Endpoint("192.168.1.9", 3478), LOCAL, LOCAL)
    far = [answer(Endpoint("8.8.8.8", 3478)), answer(Endpoint("8.8.4.4", 3478))]
    assert nat_of([near, *far]) is Nat.INDEPENDENT
    assert nat_of([near, near]) is Nat.NONE


def test_a_server_behind_a_vpn_tells_nothing_of_the_nat() -> None:
    tunnelled = answer(Endpoint("203.0.113.77", 3478), 9000, local=Endpoint("10.8.0.2", LOCAL.port))
    assert nat_of([tunnelled, answer(), answer(OTHER)]) is Nat.INDEPENDENT


@pytest.mark.parametrize("relayed", [True, False])
def test_a_symmetric_nat_needs_a_relay(relayed: bool) -> None:
    seen = survey(answer(), answer(OTHER, 6001), filtering=Filtering.PORT)
    (found,) = of(facts(survey=seen, relays=(works(),) if relayed else (), turn=(TURN,) if relayed else ()), "nat")
    assert found.verdict is (OK if relayed else FAIL)
    assert "needs a relay" in found.detail
    assert bool(found.advice) != relayed


def test_one_server_cannot_tell() -> None:
    (found,) = of(facts(survey=survey(answer())), "nat")
    assert found.verdict is NONE
    assert "second STUN server" in found.detail


@pytest.mark.parametrize("kind", Filtering)
def test_filtering_is_told_where_it_is_known(kind: Filtering) -> None:
    (found,) = of(facts(survey=survey(answer(), answer(OTHER), filtering=kind)), "nat")
    assert ("lets" in found.detail) == (kind is not Filtering.UNKNOWN)


@pytest.mark.parametrize(
    ("why", "words", "advice"),
    [
        (NoAnswer.UNRESOLVED, "its name does not resolve", "DNS"),
        (NoAnswer.NO_ROUTE, "no network route to it", "route"),
        (NoAnswer.ODD, "its answer is not STUN", "another one"),
    ],
)
def test_a_stun_server_that_does_not_answer(why: NoAnswer, words: str, advice: str) -> None:
    (found,) = of(facts(survey=survey(silence(why=why)), relays=(), turn=()), "stun")
    assert (found.verdict, found.detail) == (WARN, f"{STUN}: {words}")
    assert advice in found.advice


def test_a_silent_stun_server_among_others_is_down_itself() -> None:
    second = "stun:other.example.org:19302"
    found = of(facts(stun=(STUN, second), survey=survey(silence(), answer(OTHER, url=second))), "stun")
    assert [each.verdict for each in found] == [WARN, OK]
    assert "does not run" in found[0].advice
    assert found[1].detail == f"{second} answers in 20 ms, sees us as {PUBLIC}:6000"


def test_a_stun_server_that_refuses() -> None:
    (found,) = of(facts(survey=survey(StunAnswer(STUN, ONE, LOCAL, error=420))), "stun")
    assert found.detail == f"{STUN}: refused with error 420"


@pytest.mark.parametrize(
    ("relay", "words", "advice"),
    [
        (Relaying(TURN, error=401), "wrong user name or password (401)", "--turn-secret"),
        (Relaying(TURN, error=403), "forbidden (403)", "allow this user"),
        (Relaying(TURN, error=437), "refused with error 437", "log"),
        (Relaying(TURN, error=486), "too many connections of this user (486)", "user-quota"),
        (Relaying(TURN, error=508), "has no room (508)", "total-quota"),
        (Relaying(TURN, allocated=0.1), "gives an address, but lets nothing through", "49152-65535/udp"),
        (Relaying(TURN, error=701), "no answer", "no firewall keeps back UDP to turn.example.org port 3478"),
        (Relaying(TURN, cause=ConnectFailure.NOT_RESOLVED), "its name does not resolve", "DNS"),
        (Relaying(TURN_TCP, error=701, cause=ConnectFailure.REFUSED), "connection refused", "3478/tcp"),
        (Relaying(TURN_TCP, error=701), "answers, but not as a TURN server", "is a TURN server"),
        (Relaying(TURNS, cause=ConnectFailure.UNTRUSTED), "its TLS certificate is not trusted", "trusted"),
        (Relaying(TURNS, cause=ConnectFailure.NO_TLS), "it does not speak TLS", "is the TURN server's TLS port"),
        (Relaying(TURNS, cause=ConnectFailure.NO_ANSWER), "no answer in time", "port 443/tcp"),
        (Relaying(TURNS, cause=ConnectFailure.EXPIRED), "its TLS certificate has expired", "renew"),
        (
            Relaying(TURNS, cause=ConnectFailure.PROXY_SILENT),
            "the proxy does not answer",
            "turn.example.org in $NO_PROXY",
        ),
        (Relaying(TURNS, cause=ConnectFailure.PROXY_REFUSED), "the proxy refused the connection", "port 443, or name"),
    ],
)
def test_a_turn_server_that_does_not_relay(relay: Relaying, words: str, advice: str) -> None:
    (found,) = of(facts(turn=(relay.url,), relays=(relay,)), "turn")
    assert (found.verdict, found.detail) == (FAIL, f"{relay.url}: {words}")
    assert advice in found.advice


@pytest.mark.parametrize("cause", ConnectFailure)
@pytest.mark.parametrize("url", [TURN, TURN_TCP, TURNS])
def test_every_cause_has_its_words_and_an_advice(url: str, cause: ConnectFailure) -> None:
    (found,) = of(facts(turn=(url,), relays=(Relaying(url, error=701, cause=cause),)), "turn")
    assert found.detail == f"{url}: {cause.words}"
    assert found.advice
    assert "{" not in found.advice


def test_wrong_credentials_are_the_users_own_or_the_servers() -> None:
    (own,) = of(facts(own_turn=True, relays=(Relaying(TURN, error=401),)), "turn")
    assert own.advice == "check -turn-user and -turn-pass"


def test_a_stun_server_is_no_turn_server() -> None:
    seen = survey(answer(url=TURN))
    (found,) = of(facts(survey=seen, relays=(Relaying(TURN, error=701),)), "turn")
    assert "not as a TURN server" in found.detail


def test_one_turn_server_that_works_is_enough() -> None:
    found = of(facts(turn=(TURN, TURNS), relays=(works(TURNS), Relaying(TURN, error=701))), "turn")
    assert [each.verdict for each in found] == [WARN, OK]


def test_a_turn_server_that_was_not_tried_in_time() -> None:
    (found,) = of(facts(relays=()), "turn")
    assert (found.verdict, found.detail) == (NONE, f"{TURN}: not checked: no time left")


def test_nothing_is_found_where_there_was_no_time() -> None:
    hurried = facts(turn=(TURN, TURNS), survey=survey(), relays=())
    assert {finding.verdict for finding in judge_paths(hurried)} == {NONE}
    assert [finding.check for finding in judge_paths(hurried) if "no time left" in finding.detail] == [
        "stun", "turn", "turn", "udp",
    ]  # fmt: skip


def test_nothing_fails_for_good_while_something_is_unchecked() -> None:
    symmetric = survey(answer(), answer(OTHER, 6001))
    (nat,) = of(facts(survey=symmetric, relays=()), "nat")
    assert (nat.verdict, nat.advice) == (NONE, "")
    assert nat.detail.endswith("whether there is one was not checked: no time left")
    refused = of(facts(turn=(TURN, TURNS), relays=(Relaying(TURN, error=401),)), "turn")
    assert [each.verdict for each in refused] == [WARN, NONE]
    (udp,) = of(facts(turn=(TURN, TURNS), survey=survey(silence()), relays=(Relaying(TURN, error=701),)), "udp")
    assert udp.verdict is WARN
    assert "no time to ask every server" in udp.detail
    (single,) = of(facts(survey=survey(answer()), relays=()), "nat")
    assert single.detail == "there is one; its kind was not checked: no time left"


def test_udp() -> None:
    quiet = survey(silence(), silence(TURN))
    assert of(facts(), "udp")[0].verdict is OK
    assert of(facts(survey=survey(), relays=(works(),)), "udp")[0].verdict is OK, "the relay was reached over it"
    blocked = of(facts(survey=quiet, relays=(Relaying(TURN, error=701),)), "udp")[0]
    assert (blocked.verdict, blocked.detail) == (FAIL, "blocked: no server answers")
    single = of(facts(survey=survey(silence()), relays=(), turn=()), "udp")[0]
    assert "or the only server asked does not run" in single.detail
    assert "to port 3478 at least" in single.advice
    alone = of(facts(survey=survey(), stun=(), relays=(Relaying(TURN),)), "udp")[0]
    assert alone.verdict is FAIL
    saved = of(facts(survey=quiet, turn=(TURN, TURNS), relays=(works(TURNS), Relaying(TURN))), "udp")[0]
    assert (saved.verdict, saved.detail) == (
        WARN, "blocked: no server answers; transfers go through the relay, over TLS",
    )  # fmt: skip
    assert of(facts(survey=survey(), stun=(), turn=(), relays=()), "udp")[0].verdict is NONE
    lost = of(facts(survey=survey(silence(why=NoAnswer.UNRESOLVED)), turn=(), relays=()), "udp")[0]
    assert lost.verdict is NONE, "a name that does not resolve tells nothing of UDP"


def test_blocked_udp_is_told_once() -> None:
    quiet = survey(silence(), silence(TURN))
    found = judge_paths(facts(survey=quiet, turn=(TURN, TURN_TCP), relays=(Relaying(TURN), works(TURN_TCP))))
    assert [each.check for each in found if each.verdict is WARN] == ["stun", "turn", "udp"]
    assert [each.check for each in found if each.advice] == ["udp"]


def test_without_servers() -> None:
    bare = facts(stun=(), turn=(), survey=survey(), relays=())
    assert [finding.verdict for finding in judge_paths(bare)] == [WARN, NONE, NONE, NONE]
    (found,) = of(bare, "stun")
    assert found.detail == "no STUN and no TURN server: only machines on the same network can be reached"
    assert "-stun" in found.advice


@pytest.mark.parametrize(
    "more",
    [
        {"on_this_machine": True},
        {"interfaces": Interfaces(("8.8.4.4",), ipv4_route=True)},
        {"interfaces": Interfaces(("192.168.1.5", "2606:4700::5"), ipv4_route=True, ipv6_route=True)},
        {"turn": (TURN,), "relays": (works(),)},
        {"server": server(late="no answer")},
    ],
)
def test_without_stun_others_are_reached_all_the_same(more: dict[str, Any]) -> None:
    found = facts(**({"stun": (), "turn": (), "survey": survey(), "relays": ()} | more))
    assert of(found, "stun")[0].verdict is NONE
    assert not found.near_only


def test_turn_servers_that_a_slow_server_had_no_time_to_name() -> None:
    (found,) = of(facts(server=server(late="no answer"), turn=(), relays=()), "turn")
    assert (found.verdict, found.detail[:9]) == (NONE, "not known")
