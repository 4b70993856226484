"""How STUN servers see this machine, and what kind of NAT follows from that (RFC 8489, RFC 5780).

All servers are asked from one port for each IP family: only so their answers can be compared. The messages are read and
written by ``aioice``; what comes in is bounded, and counts only if it is the answer to a question of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from aioice import stun

from p2pal.doctor.network_facts import Endpoint, Filtering, NoAnswer, StunAnswer, Survey, probe_target
from p2pal.lanes.interfaces import source_of

TIMEOUT: Final = 3.0
"""Seconds for which an answer is waited for."""
FILTER_TIMEOUT: Final = 1.5
"""The same for an answer that often must not come."""
MAX_DATAGRAM: Final = 2048
MAX_ADDRESSES: Final = 2
"""Addresses of one name and family that are asked."""

TRIES: Final = (0.3, 0.6, 1.2, TIMEOUT)
"""Seconds after which the question is asked again (RFC 8489, section 6.2.1, with a shorter start)."""
_CHANGE_PORT: Final = 0x2
_CHANGE_BOTH: Final = 0x6
_RESOLVE: Final = 3.0


class _Question:
    """A request under way."""

    __slots__ = ("answer", "asked", "sent_at")

    def __init__(self, asked: Endpoint | None) -> None:
        self.asked = asked
        """Who may answer; None for anyone."""
        self.sent_at = 0.0
        self.answer: asyncio.Future[tuple[stun.Message | None, Endpoint, float]] = (
            asyncio.get_running_loop().create_future()
        )


class _Port(asyncio.DatagramProtocol):
    """One port of this machine, from which servers are asked."""

    def __init__(self, tries: Sequence[float]) -> None:
        self._tries = tries
        self._transport: asyncio.DatagramTransport
        self._questions: dict[bytes, _Question] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str | Any, int]) -> None:
        """Take an answer; whatever is none is passed over."""
        if not 20 <= len(data) <= MAX_DATAGRAM:
            return
        question = self._questions.get(data[8:20])
        source = Endpoint(str(address[0]).partition("%")[0], address[1])
        if question is None or question.answer.done() or question.asked not in (None, source):
            return
        seconds = asyncio.get_running_loop().time() - question.sent_at
        question.answer.set_result((_parse(data), source, seconds))

    def error_received(self, _error: Exception) -> None:
        """A server that is not there says so on some systems; others stay silent, and are waited for."""

    @property
    def local_port(self) -> int:
        return int(self._transport.get_extra_info("sockname")[1])

    async def ask(
        self,
        where: Endpoint,
        *,
        change: int = 0,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> tuple[stun.Message | None, Endpoint, float]:
        """Send a Binding request, again and again, and return the answer (None for an odd one), its source and seconds.

        Args:
            where: Who is asked.
            change: What shall be changed of where the answer comes from (RFC 5780, section 7.2).
            timeout: Seconds.

        Raises:
            TimeoutError: If there is none.
            OSError: If there is no route.
        """
        attributes = {"CHANGE-REQUEST": change} if change else {}
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, secrets.token_bytes(12), attributes)
        data, question = bytes(request), _Question(None if change else where)
        self._questions[request.transaction_id] = question
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                for pause in self._tries:
                    question.sent_at = loop.time()
                    self._transport.sendto(data, tuple(where))
                    done, _ = await asyncio.wait((question.answer,), timeout=pause)
                    if done:
                        return question.answer.result()
            raise TimeoutError
        finally:
            del self._questions[request.transaction_id]

    def close(self) -> None:
        self._transport.abort()


def _parse(data: bytes) -> stun.Message | None:
    """Return an answer to a Binding request, None if it is none."""
    try:
        message = stun.parse_message(data)
    except (ValueError, LookupError, struct.error, OverflowError):
        return None
    if message.message_method is not stun.Method.BINDING or message.message_class < stun.Class.RESPONSE:
        return None
    return message


def _endpoint(message: stun.Message, *names: str) -> Endpoint | None:
    for name in names:
        if value := message.attributes.get(name):
            return Endpoint(str(value[0]), int(value[1]))
    return None


async def _open(family: socket.AddressFamily, tries: Sequence[float]) -> _Port | None:
    everywhere = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - the route chooses
    with contextlib.suppress(OSError):
        loop = asyncio.get_running_loop()
        _, port = await loop.create_datagram_endpoint(lambda: _Port(tries), local_addr=(everywhere, 0), family=family)
        return port
    return None


async def resolve(host: str, port: int) -> list[Endpoint]:
    """Return the addresses of a name, a few of each family; none if it does not resolve within three seconds."""
    try:
        async with asyncio.timeout(_RESOLVE):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError, ValueError):
        return []
    chosen: list[Endpoint] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        every = dict.fromkeys(Endpoint(str(entry[4][0]), port) for entry in found if entry[0] == family)
        chosen += list(every)[:MAX_ADDRESSES]
    return chosen


def may_ask(server: Endpoint, other: Endpoint) -> bool:
    """Whether an address that a server names may be asked, too: only one in the same kind of network as its own.

    Otherwise a server on the internet could have a packet sent to any machine of a private network.
    """
    return other.port > 0 and other.ipv6 == server.ipv6 and _scope(other) == _scope(server) != ""


def _scope(where: Endpoint) -> str:
    address = ipaddress.ip_address(where.address)
    if address.is_multicast or address.is_unspecified or address.is_link_local or address.is_reserved:
        return ""
    return "loopback" if address.is_loopback else "global" if address.is_global else "private"


class _Surveyor:
    """Asks all servers of one IP family."""

    def __init__(self, port: _Port) -> None:
        self._port = port
        self.further: list[tuple[Endpoint, Endpoint]] = []
        """Servers that have another address, and that address (RFC 5780, section 7.4)."""

    async def ask(self, url: str, where: Endpoint) -> StunAnswer:
        """Ask one address."""
        source = source_of(where.address)
        if source is None:
            return StunAnswer(url, where, silence=NoAnswer.NO_ROUTE)
        local = Endpoint(source.partition("%")[0], self._port.local_port)
        try:
            message, _, seconds = await self._port.ask(where)
        except TimeoutError:
            return StunAnswer(url, where, local, silence=NoAnswer.NO_ANSWER)
        except OSError:
            return StunAnswer(url, where, local, silence=NoAnswer.NO_ROUTE)
        if message is not None and message.message_class is stun.Class.ERROR:
            return StunAnswer(
                url, where, local, seconds=seconds, error=message.attributes.get("ERROR-CODE", (500, ""))[0]
            )
        mapped = None if message is None else _endpoint(message, "XOR-MAPPED-ADDRESS", "MAPPED-ADDRESS")
        if message is None or mapped is None:
            return StunAnswer(url, where, local, silence=NoAnswer.ODD)
        other = _endpoint(message, "OTHER-ADDRESS", "CHANGED-ADDRESS")
        if other is not None and other != where and may_ask(where, other):
            self.further.append((where, other))
        return StunAnswer(url, where, local, mapped, seconds)


async def _filtering(server: Endpoint, other: Endpoint, tries: Sequence[float]) -> Filtering:
    """Find out whose packets come in, from a port that has asked nobody else (RFC 5780, section 4.4)."""
    port = await _open(socket.AF_INET, tries)
    if port is None:
        return Filtering.UNKNOWN
    try:
        await port.ask(server)
        both, other_port = await asyncio.gather(
            *(_comes_from(port, server, change) for change in (_CHANGE_BOTH, _CHANGE_PORT))
        )
    except (OSError, TimeoutError):
        return Filtering.UNKNOWN
    finally:
        port.close()
    if server in (both, other_port):  # it changes nothing, whatever it is asked for
        return Filtering.UNKNOWN
    if both is not None:
        return Filtering.NOBODY if both.address == other.address else Filtering.UNKNOWN
    if other_port is not None:
        return Filtering.ADDRESS if other_port.address == server.address else Filtering.UNKNOWN
    return Filtering.PORT


async def _comes_from(port: _Port, server: Endpoint, change: int) -> Endpoint | None:
    """Return where an answer came from that was asked to come from elsewhere; None if it did not come."""
    try:
        message, source, _ = await port.ask(server, change=change, timeout=FILTER_TIMEOUT)
    except TimeoutError:
        return None
    return server if message is None or message.message_class is stun.Class.ERROR else source


class _Found:
    """What is known so far."""

    def __init__(self) -> None:
        self.targets: list[tuple[str, Endpoint]] = []
        self.answers: list[StunAnswer] = []
        self.others: tuple[StunAnswer, ...] = ()
        self.filtering = Filtering.UNKNOWN

    def survey(self, urls: Sequence[str]) -> Survey:
        """Return it without what says nothing yet: one address's silence, where another one may still answer."""
        over = {(answer.url, answer.asked) for answer in self.answers}
        open_ = {url for url, where in self.targets if (url, where) not in over}
        known = [answer for answer in self.answers if answer.answered or answer.url not in open_]
        known.sort(key=lambda answer: (answer.asked is None or answer.asked.ipv6, urls.index(answer.url)))
        return Survey(tuple(known), self.others, self.filtering)


async def survey(
    urls: Sequence[str],
    timeout: float | None = None,  # noqa: ASYNC109
    tries: Sequence[float] = TRIES,
) -> Survey:
    """Ask all these servers at once, which takes :data:`TIMEOUT` or a little more if one is silent.

    Args:
        urls: STUN URLs, and TURN URLs over UDP: such servers answer as well.
        timeout: Seconds; a server of which nothing is known by then is left out.
        tries: Seconds to wait after each time that a server is asked.

    Raises:
        ValueError: If one is none.
    """
    places = [probe_target(url) for url in urls]
    found = _Found()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            resolved = await asyncio.gather(*(resolve(place.host, place.port) for place in places))
            for url, addresses in zip(urls, resolved, strict=True):
                found.targets += [(url, where) for where in addresses]
                if not addresses:
                    found.answers.append(StunAnswer(url, silence=NoAnswer.UNRESOLVED))
            await asyncio.gather(_of_family(found, tries, ipv6=False), _of_family(found, tries, ipv6=True))
    return found.survey(urls)


async def _of_family(found: _Found, tries: Sequence[float], *, ipv6: bool) -> None:
    chosen = [(url, where) for url, where in found.targets if where.ipv6 == ipv6]
    port = await _open(socket.AF_INET6 if ipv6 else socket.AF_INET, tries) if chosen else None
    if port is None:
        found.answers += [StunAnswer(url, where, silence=NoAnswer.NO_ROUTE) for url, where in chosen]
        return
    surveyor = _Surveyor(port)

    async def ask(url: str, where: Endpoint) -> None:
        found.answers.append(await surveyor.ask(url, where))

    async def ask_others(url: str, places: Iterable[Endpoint]) -> None:
        found.others = tuple(await asyncio.gather(*(surveyor.ask(url, where) for where in places)))

    async def filtering(server: Endpoint, other: Endpoint) -> None:
        found.filtering = await _filtering(server, other, tries)

    try:
        await asyncio.gather(*(ask(url, where) for url, where in chosen))
        if ipv6 or not surveyor.further:  # only IPv4 has NATs whose kind matters
            return
        server, other = surveyor.further[0]
        # The other address with the same port tells about addresses; with its own port, about ports (section 4.3).
        ways = dict.fromkeys((Endpoint(other.address, server.port), other))
        url = next(url for url, where in chosen if where == server)
        await asyncio.gather(ask_others(url, (where for where in ways if where != server)), filtering(server, other))
    finally:
        port.close()
