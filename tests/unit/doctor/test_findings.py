from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.doctor.kit import (
    ONE,
    OTHER,
    SERVER,
    SIX,
    STUN,
    TURN,
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
from p2pal.doctor.findings import judge
from p2pal.doctor.network_facts import Filtering, NoAnswer, Relaying
from p2pal.doctor.report import CheckResult, Rating, Report
from p2pal.doctor.server_facts import Problem
from p2pal.errors import VersionMismatch
from p2pal.lanes.own_addresses import Interfaces

OK, WARN, FAIL, NONE = Rating.OK, Rating.WARN, Rating.FAIL, Rating.NONE


def of(report: Report, check: str) -> CheckResult:
    """The one finding of a check."""
    (found,) = (finding for finding in report.findings if finding.check == check)
    return found


def test_all_is_well() -> None:
    report = judge(facts())
    assert [(finding.check, finding.verdict) for finding in report.findings] == [
        ("server", OK), ("websocket", OK), ("clock", OK), ("network", OK), ("ipv6", NONE), ("datagrams", OK),
        ("batches", OK), ("buffers", OK), ("stun", OK), ("turn", OK), ("udp", OK), ("nat", OK),
    ]  # fmt: skip
    assert (report.verdict, report.exit_code) == (OK, 0)
    assert not any(finding.advice for finding in report.findings)
    assert of(report, "server").detail == f"{SERVER} answers in 34 ms"


def test_a_server_that_cannot_be_reached() -> None:
    report = judge(facts(server=server(answered=None, clock=None, problem=Problem("connection refused", "start it"))))
    found = of(report, "server")
    assert (found.verdict, found.detail, found.advice) == (FAIL, f"{SERVER}: connection refused", "start it")
    assert of(report, "websocket").verdict is NONE
    assert of(report, "clock").verdict is NONE
    assert report.exit_code == 3


def test_a_server_of_another_version_has_its_exit_code() -> None:
    assert judge(facts(server=server(problem=Problem("old", exit_code=VersionMismatch.exit_code)))).exit_code == 4


def test_the_server_comes_before_the_paths() -> None:
    broken = facts(server=server(problem=Problem("gone")), relays=(Relaying(TURN, error=401),))
    assert judge(broken).exit_code == 3


def test_a_proxy_that_lets_no_server_through_is_named() -> None:
    proxy = "http://proxy.example:3128"
    away = judge(
        facts(server=server(answered=None, proxy=proxy, problem=Problem("the proxy does not answer", "$NO_PROXY")))
    )
    assert f"through the proxy {proxy}" in of(away, "server").detail
    assert "$NO_PROXY" in of(away, "server").advice
    refused = judge(facts(server=server(proxy=proxy, socket_problem=Problem("it has a problem (HTTP 502)"))))
    assert (of(refused, "websocket").verdict, refused.exit_code) == (FAIL, 3)
    assert "$NO_PROXY" in of(refused, "websocket").advice


def test_a_websocket_that_does_not_open() -> None:
    found = of(judge(facts(server=server(socket_problem=Problem("no answer in time")))), "websocket")
    assert (found.verdict, found.detail) == (FAIL, "no answer in time")
    assert "/api/ws" in found.advice


@pytest.mark.parametrize("more", [{"ready": False}, {"left": True}])
def test_a_server_with_a_weakness(more: dict[str, Any]) -> None:
    report = judge(facts(server=server(**more)))
    assert (of(report, "server").verdict, report.exit_code) == (WARN, 0)
    assert of(report, "server").advice


@pytest.mark.parametrize(
    ("ahead", "verdict", "words"),
    [
        (None, NONE, "not known: the server does not tell its time"),
        (0.5, OK, "that of the server"),
        (-30.0, OK, "30 seconds ahead of the server's"),
        (60.0, OK, "60 seconds behind the server's"),
        (61.0, WARN, "61 seconds behind the server's"),
        (-600.0, WARN, "10 minutes ahead of the server's"),
        (3 * 3600.0, WARN, "3 hours behind the server's"),
        (-1e6, WARN, "12 days ahead of the server's"),
    ],
)
def test_clocks(ahead: float | None, verdict: Rating, words: str) -> None:
    found = of(judge(facts(server=server(clock=ahead))), "clock")
    assert (found.verdict, found.detail, bool(found.advice)) == (verdict, words, verdict is WARN)


def test_the_network() -> None:
    many = Interfaces(("192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"))
    assert of(judge(facts(interfaces=many)), "network").detail == "4 addresses: 192.0.2.1, 192.0.2.2 and 2 more"
    alone = facts(interfaces=Interfaces(), server=server(problem=Problem("no route")))
    assert of(judge(alone), "network").verdict is FAIL
    local = facts(interfaces=Interfaces())
    assert of(judge(local), "network").verdict is WARN, "a server on this machine can be used without any"


NO_ROUTE = Problem(ConnectFailure.NO_ROUTE.words)


def test_no_way_out_is_the_networks_fault() -> None:
    seen = survey(silence(why=NoAnswer.NO_ROUTE), silence(TURN, NoAnswer.NO_ROUTE))
    lost = facts(
        server=server(answered=None, problem=NO_ROUTE),
        interfaces=Interfaces(("192.168.1.5",)),
        survey=seen,
        relays=(Relaying(TURN, cause=ConnectFailure.NO_ROUTE),),
    )
    report = judge(lost)
    assert (of(report, "network").verdict, of(report, "network").detail) == (
        FAIL, "no route out (1 address: 192.168.1.5)",
    )  # fmt: skip
    assert of(report, "udp").verdict is NONE
    assert [finding.check for finding in report.findings if finding.advice] == ["server", "network"]
    refused = replace(lost, server=server(answered=None, problem=Problem(ConnectFailure.REFUSED.words)))
    assert of(judge(refused), "network").verdict is OK, "a network without a way out is one"


@pytest.mark.parametrize(
    ("own", "address", "version"),
    [("2606:4700::5", "198.51.100.9", 4), ("192.168.1.5", "[2606:4700::9]", 6)],
)
def test_addresses_of_a_version_that_this_machine_lacks(own: str, address: str, version: int) -> None:
    stun, turn = f"stun:{address}", f"turns:{address}"
    away = replace(server(answered=None, problem=NO_ROUTE), server=f"https://{address}")
    found = facts(
        server=away,
        interfaces=Interfaces((own,), ipv4_route=version == 6, ipv6_route=version == 4),
        stun=(stun,),
        turn=(turn,),
        survey=survey(silence(stun, NoAnswer.NO_ROUTE)),
        relays=(Relaying(turn, cause=ConnectFailure.NO_ROUTE),),
    )
    report = judge(found)
    for check in ("server", "stun", "turn"):
        assert of(report, check).detail.endswith(f"there is no IPv{version} here")
        assert f"IPv{10 - version}" in of(report, check).advice
    assert (of(report, "udp").verdict, of(report, "network").verdict) != (FAIL, FAIL)
    assert "UDP" not in " ".join(finding.advice for finding in report.findings)


def test_a_name_with_addresses_of_a_version_that_this_machine_lacks() -> None:
    alone = Interfaces(("2606:4700::5",), ipv6_route=True)
    found = of(judge(facts(interfaces=alone, survey=survey(silence(why=NoAnswer.NO_ROUTE)))), "stun")
    assert found.detail == f"{STUN}: it has IPv4 alone, and there is no IPv4 here"


def test_the_nat_is_about_ipv4() -> None:
    only_six = survey(answer(SIX))
    assert "no STUN server answers over IPv4" in of(judge(facts(survey=only_six)), "nat").detail
    alone = Interfaces(("2606:4700::5",), ipv6_route=True)
    assert of(judge(facts(survey=only_six, interfaces=alone)), "nat").detail.startswith("none: there is no IPv4")


def test_a_host_without_ipv4() -> None:
    alone = Interfaces(("2606:4700::5",), ipv6_route=True)
    found = of(judge(facts(interfaces=alone, turn=(), relays=())), "network")
    assert found.verdict is WARN
    assert found.detail.endswith("no IPv4 here: hosts that have IPv4 alone are reached through a TURN server only")
    assert "TURN" in found.advice
    for saved in (
        facts(interfaces=alone),
        facts(interfaces=alone, relays=()),
        facts(interfaces=alone, turn=(), relays=(), on_this_machine=True),
    ):
        assert of(judge(saved), "network").verdict is OK


def test_a_slow_way_to_the_server_is_no_broken_one() -> None:
    report = judge(facts(server=server(answered=3.0, late="no answer in the time of this check", welcomed=None)))
    assert [of(report, check).verdict for check in ("server", "websocket")] == [WARN, NONE]
    assert "too slowly" in of(report, "server").detail
    assert (report.exit_code, report.complete) == (0, False)


GLOBAL = "2606:4700::5"


@pytest.mark.parametrize(
    ("addresses", "route", "more", "verdict", "words"),
    [
        ((), False, {}, NONE, "no address: transfers use IPv4"),
        (("fd00::2",), True, {}, NONE, "only a local one"),
        ((GLOBAL,), True, {}, OK, "no server here to try it with"),
        ((GLOBAL,), False, {}, WARN, "no route"),
        ((GLOBAL,), True, {"server": server(ipv6_connects=True)}, OK, "the server answers"),
        ((GLOBAL,), True, {"server": server(ipv6_connects=False)}, WARN, "does not answer"),
        ((), False, {"server": server(ipv6_connects=False)}, NONE, "no address"),
        ((GLOBAL,), True, {"survey": survey(answer(), answer(SIX))}, OK, "STUN answers"),
    ],
)
def test_ipv6(addresses: tuple[str, ...], route: bool, more: dict[str, Any], verdict: Rating, words: str) -> None:
    own = Interfaces(("192.168.1.5", *addresses), ipv4_route=True, ipv6_route=route)
    found = of(judge(facts(interfaces=own, **more)), "ipv6")
    assert found.verdict is verdict
    assert words in found.detail
    assert bool(found.advice) == (verdict is WARN)


ANSWERS = st.lists(
    st.sampled_from([
        answer(ONE), answer(ONE, 6001), answer(OTHER), answer(OTHER, 7000), answer(SIX), silence(),
        silence(why=NoAnswer.UNRESOLVED), silence(why=NoAnswer.NO_ROUTE), silence(TURN), answer(url=TURN),
    ]),
    max_size=5,
)  # fmt: skip
RELAYS = st.builds(
    Relaying,
    st.sampled_from([TURN, TURNS]),
    allocated=st.none() | st.just(0.1),
    relayed=st.none() | st.just(0.2),
    error=st.sampled_from([0, 401, 403, 437, 486, 508, 701]),
    cause=st.none() | st.sampled_from(ConnectFailure),
    cut=st.booleans(),
)
PROBLEMS = st.none() | st.builds(
    Problem, st.sampled_from(["cause", ConnectFailure.NO_ROUTE.words]), exit_code=st.sampled_from([3, 4])
)
ALL = st.builds(
    facts,
    server=st.builds(
        server,
        problem=PROBLEMS,
        socket_problem=PROBLEMS,
        ready=st.sampled_from([None, True, False]),
        clock=st.none() | st.floats(-1e9, 1e9),
        ipv6_connects=st.sampled_from([None, True, False]),
        late=st.sampled_from(["", "no answer"]),
    ),
    interfaces=st.builds(
        Interfaces,
        st.lists(st.sampled_from(["192.0.2.1", "fd00::1", GLOBAL, "10.0.0.1"]), unique=True).map(tuple),
        ipv6_route=st.booleans(),
    ),
    stun=st.sampled_from([(), (STUN,)]),
    turn=st.sampled_from([(), (TURN,), (TURN, TURNS)]),
    own_turn=st.booleans(),
    survey=st.builds(lambda answers, kind: survey(*answers, filtering=kind), ANSWERS, st.sampled_from(Filtering)),
    relays=st.lists(RELAYS, max_size=2, unique_by=lambda relay: relay.url).map(tuple),
)


@given(ALL)
def test_every_finding_can_be_acted_on(found: Facts) -> None:
    report = judge(found)
    for finding in report.findings:
        assert finding.detail
        assert finding.detail[-1] not in ".;,"
        if finding.verdict < WARN or finding.check not in ("stun", "turn"):
            assert bool(finding.advice) == (finding.verdict >= WARN), finding
        elsewhere = of(report, "udp").advice or of(report, "network").advice
        assert finding.advice or finding.verdict < WARN or elsewhere, finding
        assert "\n" not in finding.detail + finding.advice
    assert (report.exit_code == 0) == (report.verdict is not FAIL)
    assert report.exit_code in (0, 3, 4, 5)
    assert sum(map(report.count, Rating)) == len(report.findings)


@given(ALL)
def test_a_relay_that_works_saves_every_transfer(found: Facts) -> None:
    saved = facts(server=server(), interfaces=found.interfaces, survey=found.survey, turn=(TURN,), relays=(works(),))
    assert judge(saved).exit_code == 0


@given(ALL, st.data())
def test_less_time_finds_no_more_faults(found: Facts, data: st.DataObject) -> None:
    """What was not checked is no fault, and makes none of anything else."""
    answers, relays = found.survey.answers, found.relays
    full = replace(found, relays=(*relays, *map(Relaying, found.unchecked & set(found.turn))))
    named = {*full.stun, *full.turn}
    known = {each.url for each in answers} - named | data.draw(st.sets(st.sampled_from(["", *sorted(named)])))
    hurried = replace(
        full,
        survey=replace(found.survey, answers=tuple(each for each in answers if each.url in known)),
        relays=tuple(relay for relay in full.relays if relay.url in known),
    )
    for before, after in zip(judge(full).findings, judge(hurried).findings, strict=True):
        assert (before.check, before.target) == (after.check, after.target)
        if after.verdict is FAIL:
            assert before.verdict is FAIL, (before, after)
        if after.target in hurried.unchecked:
            assert (after.verdict, after.advice) == (NONE, "")
            assert "not checked" in after.detail
    assert judge(hurried).complete == (not hurried.hurried)


@given(ALL)
def test_no_time_at_all(found: Facts) -> None:
    report = judge(replace(found, stun=(STUN,), survey=survey(), relays=()))
    assert {each.verdict for each in report.findings if each.check in ("stun", "turn", "udp", "nat")} == {NONE}
