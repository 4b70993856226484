"""Asking STUN servers: good ones, silent ones, and such as answer what nobody asked."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import pytest
from aioice import stun as codec
from hypothesis import given
from hypothesis import strategies as st

from p2pal.doctor import stun_probe
from p2pal.doctor.network_facts import Endpoint, Filtering, NoAnswer, StunAnswer, Survey
from p2pal.doctor.stun_probe import may_ask, resolve, survey

Address = tuple[str, int]
Answer = Callable[[codec.Message, Address], bytes | None]
"""What a server says to a request from an address."""

OTHER = "127.0.0.2"


class Server(asyncio.DatagramProtocol):
    """A STUN server on loopback whose answers the test makes."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.asked: list[Address] = []
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: Address) -> None:
        self.asked.append(address)
        reply = self._answer(codec.parse_message(data), address)
        if reply is not None:
            self.transport.sendto(reply, address)

    @property
    def place(self) -> Endpoint:
        return Endpoint(*self.transport.get_extra_info("sockname")[:2])

    @property
    def url(self) -> str:
        return f"stun:{self.place}"


@asynccontextmanager
async def serving(answer: Answer, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Server]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: Server(answer), local_addr=(host, port))
    try:
        yield server
    finally:
        transport.close()


def good(request: codec.Message, address: Address, **attributes: Any) -> bytes:
    more = {name.replace("_", "-"): value for name, value in attributes.items()}
    mapped = {"XOR-MAPPED-ADDRESS": address, **more}
    return bytes(codec.Message(codec.Method.BINDING, codec.Class.RESPONSE, request.transaction_id, mapped))


def silent(_request: codec.Message, _address: Address) -> None:
    return None


IMPATIENT: Final = (0.05, 0.1, 0.15)
"""For tests where no answer comes: others must not depend on how soon one does."""


async def look(*servers: Server, tries: Sequence[float] = stun_probe.TRIES) -> Survey:
    return await survey([server.url for server in servers], tries=tries)


async def test_servers_are_asked_from_one_port() -> None:
    async with serving(good) as one, serving(good) as other:
        found = await look(one, other)
    assert [answer.url for answer in found.answers] == [one.url, other.url]
    assert one.asked == other.asked
    for answer in found.answers:
        assert answer.mapped == answer.local == Endpoint(*one.asked[0])
        assert answer.seconds > 0
        assert answer.answered


async def test_an_old_server_tells_the_address_plainly() -> None:
    def old(request: codec.Message, address: Address) -> bytes:
        attributes = {"MAPPED-ADDRESS": address}
        return bytes(codec.Message(codec.Method.BINDING, codec.Class.RESPONSE, request.transaction_id, attributes))

    async with serving(old) as server:
        (answer,) = (await look(server)).answers
    assert answer.mapped == answer.local


async def test_a_lost_question_is_asked_again() -> None:
    tries = (0.01, 0.01, stun_probe.TIMEOUT)
    async with serving(lambda request, address: good(request, address) if len(server.asked) > 2 else None) as server:
        (answer,) = (await look(server, tries=tries)).answers
    assert answer.mapped is not None


async def test_silence() -> None:
    async with serving(silent) as server:
        found = await survey([server.url, "stun:nobody.invalid"], tries=IMPATIENT)
    assert [answer.silence for answer in found.answers] == [NoAnswer.NO_ANSWER, NoAnswer.UNRESOLVED]
    assert not any(answer.answered for answer in found.answers)
    assert len(server.asked) == 3


async def test_a_refusal() -> None:
    def refuse(request: codec.Message, _address: Address) -> bytes:
        attributes = {"ERROR-CODE": (420, "\x1b[2J")}
        return bytes(codec.Message(codec.Method.BINDING, codec.Class.ERROR, request.transaction_id, attributes))

    async with serving(refuse) as server:
        (answer,) = (await look(server)).answers
    assert (answer.error, answer.mapped, answer.answered) == (420, None, True)


def _without_address(request: codec.Message, _address: Address) -> bytes:
    return bytes(codec.Message(codec.Method.BINDING, codec.Class.RESPONSE, request.transaction_id))


def _another_method(request: codec.Message, address: Address) -> bytes:
    attributes = {"XOR-MAPPED-ADDRESS": address}
    return bytes(codec.Message(codec.Method.ALLOCATE, codec.Class.RESPONSE, request.transaction_id, attributes))


def _echo(request: codec.Message, _address: Address) -> bytes:
    return bytes(request)


def _cut(request: codec.Message, address: Address) -> bytes:
    return good(request, address)[:-3]


def _lying_length(request: codec.Message, _address: Address) -> bytes:
    head = struct.pack("!HHI12s", 0x101, 8, codec.COOKIE, request.transaction_id)
    return head + struct.pack("!HHHH", 0x0020, 0xFFFF, 0, 1)


@pytest.mark.parametrize("answer", [_without_address, _another_method, _echo, _cut, _lying_length])
def test_an_odd_answer(answer: Answer) -> None:
    async def ask() -> None:
        async with serving(answer) as server:
            (found,) = (await look(server)).answers
        assert (found.silence, found.mapped) == (NoAnswer.ODD, None)

    asyncio.run(ask())


@given(st.binary(max_size=100))
def test_no_answer_is_too_odd(tail: bytes) -> None:
    """Whatever follows the head: it is read, or refused, and nothing else."""
    for kind in (0x101, 0x111, 0x001):
        message = stun_probe._parse(struct.pack("!HHI12s", kind, len(tail), codec.COOKIE, bytes(12)) + tail)
        assert message is None or message.message_method is codec.Method.BINDING


async def test_what_nobody_asked_for_is_passed_over() -> None:
    """Another transaction, another source, too short, too long: none of it is an answer."""

    def guess(request: codec.Message, address: Address) -> bytes:
        wrong = codec.Message(codec.Method.BINDING, codec.Class.REQUEST, bytes(12))
        stranger.transport.sendto(good(request, ("203.0.113.1", 1)), address)
        server.transport.sendto(good(wrong, ("203.0.113.2", 2)), address)
        server.transport.sendto(b"\x01", address)
        return good(request, ("203.0.113.3", 3)) + bytes(stun_probe.MAX_DATAGRAM)

    async with serving(silent) as stranger, serving(guess) as server:
        (answer,) = (await look(server, tries=IMPATIENT)).answers
    assert answer.silence is NoAnswer.NO_ANSWER


async def test_the_other_address_of_a_server_is_asked_too() -> None:
    def tell(request: codec.Message, address: Address) -> bytes:
        return good(request, address, OTHER_ADDRESS=tuple(other.place))

    async with (
        serving(good, OTHER) as other,
        serving(tell) as server,
        serving(good, OTHER, server.place.port) as same_port,
    ):
        found = await look(server)
    assert [answer.asked for answer in found.others] == [same_port.place, other.place]
    assert [answer.mapped for answer in found.others] == [found.answers[0].mapped] * 2
    assert found.filtering is Filtering.UNKNOWN, "it changes nothing"


async def test_the_other_address_is_left_alone_over_ipv6() -> None:
    """There it tells nothing that anyone reads."""

    def tell(request: codec.Message, address: Address) -> bytes:
        return good(request, address[:2], OTHER_ADDRESS=("::1", 9))

    async with serving(tell, "::1") as server:
        found = await look(server)
    assert found.answers[0].mapped is not None
    assert (found.others, found.filtering) == ((), Filtering.UNKNOWN)
    assert len(server.asked) == 1


async def test_an_other_address_of_another_network_is_left_alone() -> None:
    def tell(request: codec.Message, address: Address) -> bytes:
        return good(request, address, OTHER_ADDRESS=("10.0.0.1", 22))

    async with serving(tell) as server:
        found = await look(server)
    assert found.others == ()
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("server", "other", "may"),
    [
        ("8.8.8.8", "8.8.4.4", True),
        ("8.8.8.8", "10.0.0.1", False),
        ("8.8.8.8", "127.0.0.1", False),
        ("8.8.8.8", "169.254.169.254", False),
        ("8.8.8.8", "224.0.0.1", False),
        ("8.8.8.8", "255.255.255.255", False),
        ("8.8.8.8", "0.0.0.0", False),
        ("8.8.8.8", "2606:4700::1", False),
        ("10.0.0.1", "10.0.0.2", True),
        ("10.0.0.1", "8.8.8.8", False),
        ("127.0.0.1", "127.0.0.2", True),
        ("2606:4700::1", "2606:4700::2", True),
        ("2606:4700::1", "fd00::1", False),
    ],
)
def test_what_other_address_may_be_asked(server: str, other: str, may: bool) -> None:
    assert may_ask(Endpoint(server, 3478), Endpoint(other, 3479)) is may
    assert not may_ask(Endpoint(server, 3478), Endpoint(other, 0))


@pytest.mark.parametrize(
    ("answering", "kind"),
    [
        (("both", "port"), Filtering.NOBODY),
        (("port",), Filtering.ADDRESS),
        ((), Filtering.PORT),
        (("refused",), Filtering.UNKNOWN),
    ],
)
def test_whose_packets_come_in(answering: Sequence[str], kind: Filtering, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's other sockets answer, or are kept back by the NAT."""
    if not answering:
        monkeypatch.setattr(stun_probe, "FILTER_TIMEOUT", 0.3)

    async def ask() -> None:
        def tell(request: codec.Message, address: Address) -> bytes | None:
            change = request.attributes.get("CHANGE-REQUEST", 0)
            reply = good(request, address, OTHER_ADDRESS=tuple(far.place))
            if not change or "refused" in answering:
                return reply
            if "both" in answering and change == 6:
                far.transport.sendto(reply, address)
            elif "port" in answering and change == 2:
                near.transport.sendto(reply, address)
            return None

        async with (
            serving(good, OTHER) as far,
            serving(good) as near,
            serving(tell) as server,
            serving(good, OTHER, server.place.port),
        ):
            assert (await look(server)).filtering is kind

    asyncio.run(ask())


async def test_a_server_of_which_nothing_is_known_in_time_is_left_out() -> None:
    answered = asyncio.Event()

    def tell(request: codec.Message, address: Address) -> bytes:
        answered.set()
        return good(request, address)

    async with serving(tell) as server, serving(silent) as quiet:
        found = await survey([quiet.url, server.url, "stun:127.0.0.1:9"], 1.5)
        assert answered.is_set()
        assert [answer.url for answer in found.answers if answer.mapped] == [server.url]
        assert quiet.url not in {answer.url for answer in found.answers}
        assert await survey([server.url], 0) == await survey([server.url], -1) == Survey()


def test_the_silence_of_one_address_tells_nothing_while_another_is_asked() -> None:
    found = stun_probe._Found()
    four, six = Endpoint("192.0.2.1", 3478), Endpoint("2001:db8::1", 3478)
    found.targets = [("stun:a", four), ("stun:a", six), ("stun:b", four), ("stun:b", six)]
    lost = StunAnswer("stun:a", six, silence=NoAnswer.NO_ROUTE)
    good_ = StunAnswer("stun:b", six, mapped=six)
    found.answers = [lost, good_]
    assert found.survey(["stun:a", "stun:b"]).answers == (good_,)
    found.answers.append(StunAnswer("stun:a", four, silence=NoAnswer.NO_ANSWER))
    assert found.survey(["stun:a", "stun:b"]).answers == (found.answers[2], lost, good_)


async def test_names() -> None:
    assert await resolve("127.0.0.1", 9) == [Endpoint("127.0.0.1", 9)]
    assert await resolve("::1", 9) == [Endpoint("::1", 9)]
    assert await resolve("nobody.invalid", 9) == []
    assert await resolve("x" * 70 + ".example", 9) == []


async def test_a_url_that_is_none() -> None:
    with pytest.raises(ValueError, match="no STUN or TURN URL"):
        await survey(["http://example.org"])
    assert await survey([]) == Survey()
