"""From facts to findings: what they mean, and what to do. Pure; no probe runs here."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from p2pal.connect_failure import ConnectFailure
from p2pal.doctor.facts import Facts
from p2pal.doctor.lane_findings import judge_lanes
from p2pal.doctor.path_findings import GIVE_TURN, judge_paths
from p2pal.doctor.report import CheckResult, Rating, Report, milliseconds
from p2pal.errors import ServerRefused

MAX_CLOCK: Final = 60.0
"""Seconds by which clocks may differ before certificates and TURN credentials are in danger."""
SHOWN_ADDRESSES: Final = 2

_EVEN: Final = 2.0


def judge(facts: Facts) -> Report:
    """Return all findings: the server's first, then this machine's, then the paths'."""
    return Report(
        (
            _server(facts),
            _websocket(facts),
            _clock(facts),
            _network(facts),
            _ipv6(facts),
            *judge_lanes(facts),
            *judge_paths(facts),
        ),
        complete=not facts.hurried,
        near_only=facts.near_only,
    )


def _server(facts: Facts) -> CheckResult:
    server = facts.server
    by_proxy = f", through the proxy {server.proxy}" if server.proxy else ""
    if server.problem is not None:
        detail = f"{server.server}: {server.problem.cause}{by_proxy}"
        advice = server.problem.hint or ServerRefused.default_hint
        if version := _lacking(facts):
            detail = f"{server.server}: its address is of IPv{version}, and there is no IPv{version} here"
            advice = f"name the server by its IPv{10 - version} address, or by a name that has one"
        return CheckResult(
            "server", Rating.FAIL, detail, advice, server.server, server.answered, server.problem.exit_code
        )
    took = "" if server.answered is None else f" answers in {milliseconds(server.answered)}"
    detail = f"{server.server}{took}{by_proxy}"
    verdict, advice = Rating.OK, ""
    if server.ready is False:
        verdict, detail = Rating.WARN, f"{detail}, but says that it is not ready"
        advice = "ask who runs the server: it stops, or cannot reach its Redis"
    elif server.late:
        verdict, detail = Rating.WARN, f"{detail}, too slowly to check everything"
        advice = "transfers work all the same, but begin late: ask who runs the server, or the proxy on the way"
    elif server.left:
        verdict, detail = Rating.WARN, f"{detail}, but did not remove the transfer of this check"
        advice = "it ends by itself within a minute; a proxy on the way must pass DELETE requests on"
    return CheckResult("server", verdict, detail, advice, server.server, server.answered)


def _lacking(facts: Facts) -> int:
    """Return the IP version of the server's address if this machine has none of it; else 0."""
    problem = facts.server.problem
    if problem is None or problem.cause != ConnectFailure.NO_ROUTE.words:
        return 0
    try:
        version = ipaddress.ip_address(urlsplit(facts.server.server).hostname or "").version
    except ValueError:
        return 0
    return version if facts.lacks(version) else 0


def _websocket(facts: Facts) -> CheckResult:
    server = facts.server
    if server.problem is not None:
        return CheckResult("websocket", Rating.NONE, "not tried without the server")
    problem = server.socket_problem
    if problem is None and server.late:
        return CheckResult("websocket", Rating.NONE, f"not known: {server.late}")
    if problem is None:
        seconds = server.welcomed or 0.0
        return CheckResult("websocket", Rating.OK, f"opens and answers in {milliseconds(seconds)}", seconds=seconds)
    advice = "the proxy in front of the server must pass WebSockets on, at /api/ws (docs/self-hosting.md)"
    if server.proxy:
        advice = f"name the server in $NO_PROXY, or have {server.proxy} pass WebSockets on"
    return CheckResult("websocket", Rating.FAIL, problem.cause, advice, exit_code=problem.exit_code)


def _clock(facts: Facts) -> CheckResult:
    ahead = facts.server.clock
    if ahead is None:
        return CheckResult("clock", Rating.NONE, "not known: the server does not tell its time")
    if abs(ahead) <= MAX_CLOCK:
        detail = "that of the server" if abs(ahead) <= _EVEN else f"{_apart(ahead)} the server's"
        return CheckResult("clock", Rating.OK, detail)
    advice = "set the clock, here or there: TLS certificates and TURN credentials hold for a time"
    return CheckResult("clock", Rating.WARN, f"{_apart(ahead)} the server's", advice)


def _apart(ahead: float) -> str:
    seconds, side = abs(ahead), "behind" if ahead > 0 else "ahead of"
    for length, units in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {units} {side}"
    return f"{seconds:.0f} seconds {side}"


def _network(facts: Facts) -> CheckResult:
    addresses = facts.interfaces.addresses
    if not addresses:
        here = facts.on_this_machine or facts.server.problem is None
        detail = "no address but that of this machine itself"
        return CheckResult("network", Rating.WARN if here else Rating.FAIL, detail, "connect this machine to a network")
    shown = ", ".join(addresses[:SHOWN_ADDRESSES])
    more = len(addresses) - SHOWN_ADDRESSES
    detail = f"{len(addresses)} addresses: {shown}" if len(addresses) > 1 else f"1 address: {shown}"
    detail = f"{detail} and {more} more" if more > 0 else detail
    if facts.offline:
        advice = "connect this machine to a network that leads out: check cable or Wi-Fi, VPN, and the default route"
        return CheckResult("network", Rating.FAIL, f"no route out ({detail})", advice)
    if facts.lacks(4) and not (facts.relayed or facts.hurried or facts.on_this_machine):
        detail = f"{detail}; no IPv4 here: hosts that have IPv4 alone are reached through a TURN server only"
        return CheckResult("network", Rating.WARN, detail, f"{GIVE_TURN}, one that is reached over IPv6")
    return CheckResult("network", Rating.OK, detail)


def _ipv6(facts: Facts) -> CheckResult:
    server = facts.server
    own = [address for address in map(ipaddress.ip_address, facts.interfaces.addresses) if address.version == 6]
    answered = [answer for answer in facts.survey.answers if answer.mapped is not None and answer.mapped.ipv6]
    public = any(address.is_global for address in own)
    if server.ipv6_connects is False and public and facts.interfaces.ipv6_route:
        detail = "the server has an IPv6 address that does not answer"
        advice = "every connection tries it first: repair IPv6 here or at the server, or remove its AAAA record"
        return CheckResult("ipv6", Rating.WARN, detail, advice)
    if answered or server.ipv6_connects:
        who = "STUN" if answered else "the server"
        return CheckResult("ipv6", Rating.OK, f"works: {who} answers over it")
    if not public:
        detail = "no public address, only a local one" if own else "no address"
        ipv4 = any(":" not in address for address in facts.interfaces.addresses)
        return CheckResult("ipv6", Rating.NONE, f"{detail}: transfers use IPv4" if ipv4 else detail)
    if not facts.interfaces.ipv6_route:
        advice = "ask who runs the network, or switch IPv6 off: it costs time and leads nowhere"
        return CheckResult("ipv6", Rating.WARN, "a public address, but no route to the internet", advice)
    return CheckResult("ipv6", Rating.OK, "a public address and a route; no server here to try it with")
