"""Facts as the tests of the judge take them: all is well unless a test says otherwise."""

from __future__ import annotations

from typing import Any, Final

from p2pal.doctor.datagram_facts import Batching, DatagramFacts
from p2pal.doctor.facts import Facts
from p2pal.doctor.network_facts import Endpoint, NoAnswer, Relaying, StunAnswer, Survey
from p2pal.doctor.server_facts import ServerFacts
from p2pal.lanes.own_addresses import Interfaces

SERVER: Final = "https://p2pal.example.org"
STUN: Final = "stun:stun.example.org"
TURN: Final = "turn:turn.example.org"
TURN_TCP: Final = "turn:turn.example.org?transport=tcp"
TURNS: Final = "turns:turn.example.org:443"
LOCAL: Final = Endpoint("192.168.1.5", 5000)
PUBLIC: Final = "203.0.113.9"
ONE, OTHER, SIX = Endpoint("198.51.100.1", 3478), Endpoint("198.51.100.2", 3478), Endpoint("2001:db8::1", 3478)


def server(**more: Any) -> ServerFacts:
    """A server that works."""
    usual = {"answered": 0.034, "ready": True, "clock": 0.4, "welcomed": 0.012}
    return ServerFacts(SERVER, **(usual | more))


def answer(asked: Endpoint = ONE, port: int = 6000, url: str = STUN, local: Endpoint = LOCAL) -> StunAnswer:
    """An answer that tells the public port."""
    mapped = Endpoint("2001:4860::5" if asked.ipv6 else PUBLIC, port)
    return StunAnswer(url, asked, local, mapped, 0.02)


def silence(url: str = STUN, why: NoAnswer = NoAnswer.NO_ANSWER) -> StunAnswer:
    """No answer."""
    return StunAnswer(url, ONE, LOCAL, silence=why)


def survey(*answers: StunAnswer, **more: Any) -> Survey:
    """What all of them told."""
    return Survey(answers, **more)


def works(url: str = TURN) -> Relaying:
    """A TURN server that relays."""
    return Relaying(url, allocated=0.03, relayed=0.08, words="relayed, turn udp")


def sockets(*addresses: str, **more: Any) -> DatagramFacts:
    """Sockets of a lane, on this machine's own address if on no other."""
    usual: dict[str, Any] = {"batching": Batching(8, True, True, (212_992, 212_992), 4 << 20)}
    return DatagramFacts(addresses or ("192.168.1.5",), **(usual | more))


def facts(**more: Any) -> Facts:
    """A machine behind a cone NAT, with a relay that works."""
    usual: dict[str, Any] = {
        "server": server(),
        "interfaces": Interfaces(("192.168.1.5",), ipv4_route=True),
        "stun": (STUN,),
        "turn": (TURN,),
        "survey": survey(answer(ONE), answer(OTHER)),
        "relays": (works(),),
        "datagrams": sockets(),
    }
    return Facts(**(usual | more))
