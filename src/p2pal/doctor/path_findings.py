"""What STUN, TURN, UDP and the NAT let through: findings about the paths between this machine and others. Pure."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from enum import Enum
from typing import Final

from p2pal.connect_failure import ConnectFailure
from p2pal.doctor.facts import Facts
from p2pal.doctor.network_facts import Endpoint, Filtering, NoAnswer, Relaying, StunAnswer, probe_target
from p2pal.doctor.report import NO_TIME, CheckResult, Rating, milliseconds
from p2pal.lanes.webrtc.gathering import UNREACHED

GIVE_TURN: Final = "give both sides a TURN server (-turn), or have the server offer one"

_NEAR_ONLY: Final = "no STUN and no TURN server: only machines on the same network can be reached"


class Nat(Enum):
    """What lies between this machine and the internet, as its mappings show (RFC 4787, section 4.1)."""

    UNKNOWN = "nobody answered"
    ONE_SERVER = "one server alone cannot tell"
    NONE = "none"
    INDEPENDENT = "endpoint-independent mapping"
    ADDRESS = "address-dependent mapping"
    PORT = "address and port-dependent mapping"
    DEPENDENT = "a mapping that depends on the other end"
    """Whether on its address alone was not to be found out."""


def nat_of(answers: Iterable[StunAnswer]) -> Nat:
    """Return the kind of NAT that the answers show: all were asked from one port, over IPv4.

    Two servers with one answer tell that others see it as well; two answers, that everyone sees another one.
    """
    pairs = _comparable(answers)
    if not pairs:
        return Nat.UNKNOWN
    if all(mapped == local for _, mapped, local in pairs):
        return Nat.NONE
    seen: dict[str, dict[Endpoint, Endpoint]] = defaultdict(dict)
    for asked, mapped, _ in pairs:
        seen[asked.address][asked] = mapped
    if len({mapped for _, mapped, _ in pairs}) == 1:
        return Nat.INDEPENDENT if len(seen) > 1 else Nat.ONE_SERVER
    if any(len(set(by_port.values())) > 1 for by_port in seen.values()):
        return Nat.PORT
    return Nat.ADDRESS if any(len(by_port) > 1 for by_port in seen.values()) else Nat.DEPENDENT


def _comparable(answers: Iterable[StunAnswer]) -> list[tuple[Endpoint, Endpoint, Endpoint]]:
    """Return who was asked, and the public and the own address, of those answers that went by one way.

    A server in the same house, or behind a VPN, sees another address without any NAT's fault.
    """
    ways: dict[tuple[bool, str], list[tuple[Endpoint, Endpoint, Endpoint]]] = defaultdict(list)
    for answer in answers:
        asked, mapped, local = answer.asked, answer.mapped, answer.local
        if asked is not None and mapped is not None and local is not None and not asked.ipv6:
            public = ipaddress.ip_address(asked.address).is_global
            ways[public, local.address].append((asked, mapped, local))
    return max(ways.items(), key=lambda way: (way[0][0], len(way[1])), default=(None, []))[1]


def judge_paths(facts: Facts) -> list[CheckResult]:
    """Return the findings about STUN, TURN, UDP and the NAT."""
    return [*_stun(facts), *_turn(facts), _udp(facts), _nat(facts)]


def _tried(facts: Facts) -> dict[str, Relaying]:
    """Return what came of those TURN servers that were tried, by URL, in order."""
    tried = {relay.url: relay for relay in facts.relays}
    return {url: tried[url] for url in facts.turn if url in tried}


def _relayed(facts: Facts) -> list[Relaying]:
    return [relay for relay in _tried(facts).values() if relay.relayed is not None]


def _worst(facts: Facts) -> Rating:
    """Return how bad it may be called that something does not work: what was not checked may work."""
    return Rating.WARN if _relayed(facts) or facts.hurried else Rating.FAIL


def _silent(relay: Relaying) -> bool:
    """Whether a server that exists did not answer over UDP."""
    nothing = relay.allocated is None and relay.error in (0, UNREACHED)
    return relay.transport == "udp" and nothing and relay.cause is None


def _over_udp(facts: Facts) -> bool:
    """Whether anything came back over UDP."""
    return any(answer.answered for answer in facts.survey.answers) or any(
        relay.transport == "udp" and (relay.allocated is not None or relay.error not in (0, UNREACHED))
        for relay in _tried(facts).values()
    )


def _lacking(facts: Facts, url: str) -> tuple[str, str] | None:
    """Return what to say, and to do, of a server whose addresses are all of an IP version that this machine lacks."""
    host = probe_target(url).host
    try:
        versions = {ipaddress.ip_address(host).version}
    except ValueError:
        versions = {
            6 if answer.asked.ipv6 else 4
            for answer in facts.survey.answers
            if answer.asked is not None and probe_target(answer.url).host == host
        }
    if len(versions) != 1 or not facts.lacks(version := versions.pop()):
        return None
    other = 10 - version
    why = f"it has IPv{version} alone, and there is no IPv{version} here"
    return why, f"this machine has IPv{other} alone: name a server that has an IPv{other} address"


def _not_checked(check: str, url: str) -> CheckResult:
    return CheckResult(check, Rating.NONE, f"{url}: {NO_TIME}", target=url)


# STUN.


def _stun(facts: Facts) -> list[CheckResult]:
    if not facts.stun and facts.near_only and not facts.turn:
        return [CheckResult("stun", Rating.WARN, _NEAR_ONLY, f"name a STUN server with -stun; or {GIVE_TURN}")]
    if not facts.stun:
        return [CheckResult("stun", Rating.NONE, "no STUN server: no address behind a NAT is found")]
    return [_one_stun(facts, url) for url in facts.stun]


def _one_stun(facts: Facts, url: str) -> CheckResult:
    answers = [answer for answer in facts.survey.answers if answer.url == url]
    if not answers:
        return _not_checked("stun", url)
    good = [answer for answer in answers if answer.mapped is not None]
    if good:
        first = good[0]
        detail = f"{url} answers in {milliseconds(first.seconds)}, sees us as {first.mapped}"
        return CheckResult("stun", Rating.OK, detail, target=url, seconds=first.seconds)
    refused = next((answer.error for answer in answers if answer.error), 0)
    silences = [answer.silence for answer in answers if answer.silence is not None]
    # Of the addresses of one name those to which there is no route tell the least.
    why = next((silence for silence in silences if silence is not NoAnswer.NO_ROUTE), NoAnswer.NO_ROUTE)
    if why is NoAnswer.NO_ROUTE and (lacking := _lacking(facts, url)):
        return CheckResult("stun", Rating.WARN, f"{url}: {lacking[0]}", lacking[1], url)
    detail = f"{url}: refused with error {refused}" if refused else f"{url}: {why.value}"
    return CheckResult("stun", Rating.WARN, detail, _stun_advice(facts, url, why, refused), url)


def _stun_advice(facts: Facts, url: str, why: NoAnswer, refused: int) -> str:
    if refused or why is NoAnswer.ODD:
        return f"{url} is no STUN server that can be used: name another one with -stun"
    if facts.offline:
        return ""  # that of the network is enough
    if why is NoAnswer.UNRESOLVED:
        return f"check the name in {url}, and this machine's DNS"
    if why is NoAnswer.NO_ROUTE:
        return f"this machine has no route to {url}: check its network"
    if _over_udp(facts):
        return f"{url} does not run, or its port {probe_target(url).port}/udp is closed: name another one with -stun"
    return ""  # that of UDP itself is enough


# TURN.


def _turn(facts: Facts) -> list[CheckResult]:
    if not facts.turn and facts.unasked:
        return [CheckResult("turn", Rating.NONE, "not known: there was no time to ask the server for TURN servers")]
    if not facts.turn:
        return [CheckResult("turn", Rating.NONE, "no TURN server: where no direct path is possible, transfers fail")]
    tried = _tried(facts)
    return [_one_turn(facts, tried[url]) if url in tried else _not_checked("turn", url) for url in facts.turn]


def _one_turn(facts: Facts, relay: Relaying) -> CheckResult:
    url = relay.url
    if relay.relayed is not None:
        detail = f"{url} relays, connected in {milliseconds(relay.relayed)}"
        return CheckResult("turn", Rating.OK, detail, target=url, seconds=relay.relayed)
    heard = any(answer.url == url and answer.answered for answer in facts.survey.answers)
    why, advice = _why_not(relay, own=facts.own_turn, heard=heard)
    if relay.cause is ConnectFailure.NO_ROUTE:
        why, advice = _lacking(facts, url) or (why, advice)
    elif _silent(relay) and not _over_udp(facts):
        advice = ""  # that of UDP itself is enough
    elif _silent(relay) and not heard:
        place = probe_target(url)
        advice = (
            f"check that the TURN server runs, and that no firewall keeps back UDP to {place.host} port {place.port}"
        )
        advice += "; or add it with ?transport=tcp, or as turns:"
    if facts.offline:
        advice = ""  # that of the network is enough
    return CheckResult("turn", _worst(facts), f"{url}: {why}", advice, url)


def _why_not(relay: Relaying, *, own: bool, heard: bool) -> tuple[str, str]:
    """Return what keeps a TURN server from relaying, and what to do.

    Args:
        relay: What came of trying it.
        own: Whether the user named it.
        heard: Whether it answered as a STUN server.
    """
    match relay.error:
        case _ if relay.allocated is not None:
            return "gives an address, but lets nothing through", (
                "open the TURN server's relay ports (49152-65535/udp); behind a NAT, set its external-ip"
            )
        case 401 if own:
            return "wrong user name or password (401)", "check -turn-user and -turn-pass"
        case 401:
            return "wrong user name or password (401)", (
                "the server's --turn-secret must be the TURN server's static-auth-secret, and both clocks must be right"
            )
        case 403:
            return "forbidden (403)", "ask who runs the TURN server to allow this user and this network"
        case 486:
            return (
                "too many connections of this user (486)",
                "end other transfers, or raise the TURN server's user-quota",
            )
        case 508:
            return "has no room (508)", "raise the TURN server's total-quota, or give it more relay ports"
        case code if code in (0, UNREACHED):
            return _unreached(relay, heard=heard)
        case _:
            return f"refused with error {relay.error}", "see the TURN server's log"


def _unreached(relay: Relaying, *, heard: bool) -> tuple[str, str]:
    place, cause = probe_target(relay.url), relay.cause
    where = f"{place.host} port {place.port}"
    if cause is not None and (advice := _ADVICE.get(cause)):
        return cause.words, advice.format(where=where, host=place.host)
    if heard or (cause is None and place.transport != "udp"):  # TCP and TLS were tried by themselves
        return "answers, but not as a TURN server", f"check that what listens on {where} is a TURN server"
    if place.transport == "udp":
        advice = f"allow UDP to {where}, or add the same server with ?transport=tcp, or as turns:"
    else:
        advice = f"check that the TURN server listens on {where}/tcp, and that no firewall keeps it back"
    return NoAnswer.NO_ANSWER.value if cause is None else cause.words, advice


_NAME: Final = "check the name of the TURN server, and this machine's DNS"
_CERTIFICATE: Final = "turns: needs a certificate that is for this very name and trusted here (or SSL_CERT_FILE)"
_TLS: Final = "check that {where} is the TURN server's TLS port"
_PROXY: Final = "check the proxy of $HTTPS_PROXY or $ALL_PROXY, or name {host} in $NO_PROXY"

_ADVICE: Final = {
    ConnectFailure.NOT_RESOLVED: _NAME,
    ConnectFailure.UNUSABLE_NAME: _NAME,
    ConnectFailure.NO_ROUTE: "this machine has no route to {host}: check its network",
    ConnectFailure.UNTRUSTED: _CERTIFICATE,
    ConnectFailure.OTHER_NAME: _CERTIFICATE,
    ConnectFailure.EXPIRED: "renew the TURN server's certificate, or set this machine's clock",
    ConnectFailure.NOT_YET_VALID: "set the clock of this machine, or of the TURN server",
    ConnectFailure.NO_TLS: _TLS,
    ConnectFailure.NO_HANDSHAKE: _TLS,
    ConnectFailure.REFERRED: "name the server that {host} refers to itself, or have {host} relay by itself",
    ConnectFailure.TOO_NEAR: "name {host} yourself, with -turn, if you want it to be asked",
    ConnectFailure.NO_SOCKET: "end other programs here, or raise the limit of open files (ulimit -n)",
    ConnectFailure.PROXY_SILENT: _PROXY,
    ConnectFailure.PROXY_URL: _PROXY,
    ConnectFailure.PROXY_NOT_RESOLVED: _PROXY,
    ConnectFailure.PROXY_LOGIN: (
        "put the right user name and password into the proxy's URL, or name {host} in $NO_PROXY"
    ),
    ConnectFailure.PROXY_CANNOT: "check that {host} runs, and that the proxy gets there, or name {host} in $NO_PROXY",
    ConnectFailure.PROXY_REFUSED: (
        "have the proxy of $HTTPS_PROXY or $ALL_PROXY allow {where}, or name {host} in $NO_PROXY"
    ),
}
"""What to do where more is known than that there is no answer."""


# UDP and the NAT.


def _udp(facts: Facts) -> CheckResult:
    if _over_udp(facts):
        return CheckResult("udp", Rating.OK, "goes out, and answers come in")
    if facts.offline:
        return CheckResult("udp", Rating.NONE, "not checked: no route out")
    # A server without an address, or without a route to it, was not asked.
    unasked = (NoAnswer.UNRESOLVED, NoAnswer.NO_ROUTE)
    asked = {answer.url for answer in facts.survey.answers if answer.silence not in unasked} | {
        relay.url for relay in _tried(facts).values() if _silent(relay)
    }
    if not asked and facts.hurried:
        return CheckResult("udp", Rating.NONE, NO_TIME)
    if not asked:
        return CheckResult("udp", Rating.NONE, "not checked: no STUN or TURN server that can be asked over it")
    detail = "blocked: no server answers" if len(asked) > 1 else "blocked, or the only server asked does not run"
    ports = ", ".join(map(str, sorted({probe_target(url).port for url in asked})))
    allow = f"allow UDP, to port {ports} at least, and its answers"
    relays = _relayed(facts)
    if relays:
        detail = f"{detail}; transfers go through the relay, over {relays[0].transport.upper()}"
        return CheckResult("udp", Rating.WARN, detail, f"{allow}: direct paths are faster")
    if facts.hurried:
        detail = "no answer so far, but there was no time to ask every server"
    return CheckResult(
        "udp", _worst(facts), detail, f"{allow}; or use a TURN server over TCP or TLS (-turn turns:HOST:443)"
    )


_FILTERS: Final = {
    Filtering.UNKNOWN: "",
    Filtering.NOBODY: "; lets everyone in",
    Filtering.ADDRESS: "; lets in only addresses spoken to",
    Filtering.PORT: "; lets in only ports spoken to",
}


_NAME_SECOND: Final = "name a second STUN server (-stun again) to learn its kind"


def _nat(facts: Facts) -> CheckResult:
    kind = nat_of((*facts.survey.answers, *facts.survey.others))
    filters = _FILTERS[facts.survey.filtering]
    match kind:
        case Nat.UNKNOWN:
            return CheckResult("nat", Rating.NONE, _unseen(facts))
        case Nat.NONE:
            return CheckResult("nat", Rating.OK, f"none: servers see this machine's own address{filters}")
        case Nat.ONE_SERVER:
            more = "its kind was " + NO_TIME if facts.hurried else _NAME_SECOND
            detail = f"there is one; {more}"
            return CheckResult("nat", Rating.NONE, detail + filters)
        case Nat.INDEPENDENT:
            return CheckResult(
                "nat", Rating.OK, f"{kind.value}, one port for all servers: direct lanes get through{filters}"
            )
    needs = f"{kind.value} (symmetric), another port for each server: needs a relay with most others"
    detail = f"{needs}{filters}"
    if _relayed(facts):
        return CheckResult("nat", Rating.OK, f"{needs}, and has one{filters}")
    if facts.hurried:
        return CheckResult("nat", Rating.NONE, f"{detail}; whether there is one was {NO_TIME}")
    return CheckResult("nat", Rating.FAIL, detail, GIVE_TURN)


def _unseen(facts: Facts) -> str:
    if facts.lacks(4):
        return "none: there is no IPv4 here, and IPv6 needs none"
    if any(answer.mapped is not None for answer in facts.survey.answers):
        return "not known: no STUN server answers over IPv4, and this is about IPv4"
    return "not known: nobody told how this machine is seen"
