"""Whether a signaling server can be used: what a transfer needs of it, step by step, and nothing is left behind.

It answers over HTTP; it opens a transfer; its mailbox opens, and lets a sender and a receiver meet. Both are played
here: no words are needed, because it is the sender that accepts. Only then a server gives TURN credentials.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import aiohttp
from yarl import URL

from p2pal.doctor.server_facts import Problem, ServerFacts
from p2pal.errors import P2palError, ServerRefused, ServerUnreachable
from p2pal.rendezvous import events
from p2pal.rendezvous.client import CreatedRendezvous, RendezvousClient
from p2pal.rendezvous.connect_errors import SPEAKS_TLS, trouble
from p2pal.rendezvous.http import Redirected, open_session
from p2pal.rendezvous.http_errors import HttpAnswer, refusal
from p2pal.rendezvous.mailbox import Mailbox
from p2pal.rendezvous.transport import ServerUrl
from p2pal.role import Role
from p2pal.wire.rendezvous import IceServer, State

HTTP_TIMEOUT: Final = 9.0
"""Seconds for the first answer."""
MAILBOX_TIMEOUT: Final = 4.5
"""Seconds for everything after these, at least."""
READY_TIMEOUT: Final = 1.5
"""Seconds for the second."""
SLOW: Final = 1.0
"""Seconds until a first answer that shows a slow way: then each further step is given as much, and more."""
TIMEOUT: Final = 13.5
"""Seconds for all of it."""
TTL: Final = 60.0
"""Seconds after which the transfer ends by itself, should it not be removed."""

_CONNECT: Final = 3.0
_REMOVE: Final = 2.0
_STEPS: Final = 4
"""Connections that are opened one after the other, with some room."""
_MAX_BODY: Final = 4096
_NO_SERVER: Final = tuple(refusal(HttpAnswer(status, b"")).message for status in (404, 501))
"""What other web servers make us say: that there is nothing, or no POST."""
_E = TypeVar("_E", bound=events.MailboxEvent)


async def check_server(
    url: str,
    timeout: float = TIMEOUT,  # noqa: ASYNC109
    met: Callable[[ServerFacts], None] | None = None,
) -> ServerFacts:
    """Check it.

    Args:
        url: Its URL, http or https.
        timeout: Seconds for all of it.
        met: Called with what is known as soon as only the transfer is still to be removed.

    Raises:
        UsageError: If the URL is none.
    """
    end = asyncio.get_running_loop().time() + timeout
    address = ServerUrl(url)
    proxy = address.proxy()
    base = address.http().parent
    facts = ServerFacts(str(address), proxy=str(proxy or ""))
    over_ipv6 = None if proxy or address.local else asyncio.create_task(_over_ipv6(base))
    try:
        facts, to_tls = await _over_http(address, base, facts)
        if facts.problem is None:
            facts = await _through_mailbox(url, facts, end, met or _nobody)
        if to_tls and facts.problem is not None:
            facts = replace(facts, problem=Problem("it redirects to https://", SPEAKS_TLS.hint or ""))
        if over_ipv6 is not None:
            facts = replace(facts, ipv6_connects=await over_ipv6)
    finally:
        if over_ipv6 is not None:
            over_ipv6.cancel()
            await asyncio.wait((over_ipv6,))
    return facts


async def _over_ipv6(base: URL) -> bool | None:
    """Return whether a server's IPv6 address takes a connection; None if it has none."""
    loop = asyncio.get_running_loop()
    host, port = base.host or "", base.port or 0
    with contextlib.suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(_CONNECT):
            found = await loop.getaddrinfo(host, port, family=socket.AF_INET6, type=socket.SOCK_STREAM)
            if found:
                return await _connects(str(found[0][4][0]), port)
    return None


async def _connects(address: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_CONNECT / 2):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


async def _over_http(address: ServerUrl, base: URL, facts: ServerFacts) -> tuple[ServerFacts, bool]:
    """Ask what needs no transfer; return also whether the server would rather be asked over TLS."""
    to_tls = False
    async with open_session(address.proxy(), HTTP_TIMEOUT) as session:
        started = time.monotonic()
        try:
            async with session.get(base / "healthz") as response:
                facts = _answered(facts, response.headers, time.monotonic() - started)
                await response.content.read(_MAX_BODY)
        except Redirected as error:
            facts = _answered(facts, error.headers or {}, time.monotonic() - started)
            to_tls = address.leads_to_tls(error.headers)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return replace(facts, answered=None, problem=await _why(address, error)), False
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
            async with asyncio.timeout(READY_TIMEOUT), session.get(base / "readyz") as response:
                # A proxy in front need not pass it on.
                facts = replace(facts, ready={200: True, 503: False}.get(response.status))
    return facts, to_tls


def _answered(facts: ServerFacts, headers: Mapping[str, str], seconds: float) -> ServerFacts:
    return replace(facts, answered=seconds, clock=_clock(headers.get("Date", ""), seconds))


async def _why(address: ServerUrl, error: BaseException) -> Problem:
    better = await address.wants_tls(error)
    if better is not None:
        return _problem(better, address)
    found = trouble(error, address.proxy())
    return Problem(found.cause, ServerUnreachable.default_hint if found.hint is None else found.hint)


def _clock(date: str, delay: float) -> float | None:
    """Return how far a clock is ahead of ours, by the header that came ``delay`` seconds after the question."""
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, LookupError, OverflowError, OSError):
        return None
    return theirs + 0.5 - (time.time() - delay / 2)


def _problem(error: P2palError, address: ServerUrl) -> Problem:
    """Return an error without the address, which stands beside it."""
    if error.message in _NO_SERVER:
        hint = error.hint if error.message == _NO_SERVER[0] else "check the -server address"
        return Problem("answers, but is no p2pal signaling server", hint, error.exit_code)
    _, _, cause = error.message.partition(f"{address}: ")
    return Problem(cause or error.message, error.hint, error.exit_code)


# The mailbox.


class _Side:
    """One side's mailbox, running."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self._running = asyncio.create_task(mailbox.run())

    async def until(self, kind: type[_E], state: State | None = None) -> _E:
        """Return the next event of a kind, or of that state; raise why the mailbox ended if it does before."""
        while True:
            try:
                event = await self.mailbox.get()
            except ServerRefused:
                await self._running
                raise
            if isinstance(event, kind) and (state is None or getattr(event, "state", None) is state):
                return event

    async def close(self) -> None:
        """End it, however it stands."""
        await self.mailbox.close()
        await asyncio.wait((self._running,))
        if not self._running.cancelled():
            self._running.exception()


def _nobody(_facts: ServerFacts) -> None:
    """Whom nobody has to be told of."""


async def _through_mailbox(url: str, facts: ServerFacts, end: float, met: Callable[[ServerFacts], None]) -> ServerFacts:
    """Let a sender and a receiver meet, and remove what was opened for it, until ``end`` by the loop's clock."""
    address = ServerUrl(url)
    loop = asyncio.get_running_loop()
    answered = facts.answered or 0.0
    removing = max(_REMOVE, 2 * answered)
    until = min(loop.time() + max(MAILBOX_TIMEOUT, _STEPS * answered), end - answered)
    async with RendezvousClient(url, not_ready=0.0) as client:
        try:
            async with asyncio.timeout_at(until):
                created = await client.create(TTL)
        except P2palError as error:
            return replace(facts, problem=_problem(error, address))
        except TimeoutError:
            if answered >= SLOW:
                return replace(facts, late="it did not open a transfer in the time of this check")
            return replace(facts, problem=Problem("it does not open a transfer in time"))
        meeting = _Meeting(client, created, address)
        try:
            async with asyncio.timeout_at(until):
                await meeting.hold()
        except P2palError as error:
            facts = replace(facts, socket_problem=_problem(error, address))
        except TimeoutError:
            if answered >= SLOW:
                facts = replace(facts, late="no answer in the time of this check")
            else:
                facts = replace(facts, socket_problem=Problem("no answer in time"))
        finally:
            stun = created.ice_servers
            facts = replace(
                facts,
                welcomed=meeting.welcomed,
                near=meeting.near or stun,
                far=meeting.far or stun,
                reached=meeting.reached,
            )
            met(facts)
            left = not await _remove(client, created, min(removing, max(_REMOVE, end - loop.time())))
    return replace(facts, left=left)


async def _remove(client: RendezvousClient, created: CreatedRendezvous, seconds: float) -> bool:
    """Remove the transfer, also when the check is cancelled; return whether that went well."""
    removing = asyncio.create_task(client.delete(created.rendezvous_id, created.token))
    await asyncio.wait((removing,), timeout=seconds)
    if not removing.done():
        removing.cancel()
        await asyncio.wait((removing,))
    return not removing.cancelled() and removing.exception() is None


class _Meeting:
    """A sender and a receiver who meet on a server."""

    def __init__(self, client: RendezvousClient, created: CreatedRendezvous, address: ServerUrl) -> None:
        self._client, self._created = client, created
        self.welcomed: float | None = None
        self.reached = address.literal
        self.near: tuple[IceServer, ...] = ()
        self.far: tuple[IceServer, ...] = ()

    async def hold(self) -> None:
        """Let them meet, and ask for STUN and TURN servers on both sides.

        Raises:
            P2palError: If the server does not let them.
        """
        async with self._side("send", self._created.token) as sender, self._welcome(sender) as welcome:
            # Where the way is slow, nothing waits for what it does not need.
            joined = await self._client.join(self._created.slot)
            async with self._side("receive", joined.token) as receiver:
                await welcome
                served = await sender.until(events.AttemptServed)
                sender.mailbox.accept(served.attempt)
                for side in (sender, receiver):
                    await side.until(events.StateReported, State.ACTIVE)
                    side.mailbox.ask_ice()
                self.near = (await sender.until(events.IceServersOffered)).servers
                self.far = (await receiver.until(events.IceServersOffered)).servers

    @asynccontextmanager
    async def _welcome(self, side: _Side) -> AsyncIterator[asyncio.Task[None]]:
        """Take the time until a side is welcomed."""

        async def wait() -> None:
            started = time.monotonic()
            await side.until(events.StateReported)
            self.welcomed = time.monotonic() - started
            self.reached = side.mailbox.reached

        task = asyncio.create_task(wait())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.exception()

    @asynccontextmanager
    async def _side(self, role: Role, token: str) -> AsyncIterator[_Side]:
        # Without any patience the first trouble is told.
        side = _Side(self._client.mailbox(role, token, patience=0.0))
        try:
            yield side
        finally:
            await side.close()
