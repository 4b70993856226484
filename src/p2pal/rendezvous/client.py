"""Create, join and meet again over HTTP; the way to a :class:`~p2pal.rendezvous.mailbox.Mailbox`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self, TypeVar

import aiohttp
import msgspec
from yarl import URL

from p2pal.errors import CodeUnknown, P2palError, ServerUnreachable
from p2pal.rendezvous.connect_errors import proxy_answered
from p2pal.rendezvous.http import Redirected, open_session
from p2pal.rendezvous.http_errors import HttpAnswer, nonsense, refusal
from p2pal.rendezvous.mailbox import DEFAULT_PATIENCE, HEARTBEAT, Mailbox
from p2pal.rendezvous.transport import ServerUrl, pause, retry_after
from p2pal.role import Role
from p2pal.wire import rendezvous as wire

MAX_ANSWER: Final = 64 * 1024
"""Bytes that are read of an HTTP answer."""
NOT_READY: Final = 30.0
"""Seconds for which a server that is there, but not ready, is asked again."""
MAX_TRIES: Final = 8
"""Requests in that time."""
TOLD_AFTER: Final = 2.0
"""Seconds: who waits longer is told of it."""
FIRST_BACKOFF: Final = 0.5
"""Seconds before the second try; each later one waits twice as long."""
_MAX_BACKOFF: Final = 6.0
_TIMEOUT: Final = 20.0
"""Seconds for a request and its answer."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CreatedRendezvous:
    """A new transfer, as its sender knows it. ``expires_in`` is in seconds."""

    rendezvous_id: str
    slot: int
    token: str = field(repr=False)
    expires_in: float
    ice_servers: tuple[wire.IceServer, ...]


@dataclass(frozen=True, slots=True)
class JoinedAttempt:
    """An attempt, as its receiver knows it. ``expires_in`` is in seconds."""

    rendezvous_id: str
    attempt: int
    token: str = field(repr=False)
    expires_in: float
    ice_servers: tuple[wire.IceServer, ...]


@dataclass(frozen=True, slots=True)
class Meeting:
    """A meeting, as one side knows it: ``attempt`` is 0 for the sender. ``expires_in`` is in seconds."""

    attempt: int
    token: str = field(repr=False)
    expires_in: float
    ice_servers: tuple[wire.IceServer, ...]


class RendezvousClient:
    """One client of a signaling server; an async context manager.

    Proxies come from the environment, except for a server on this machine. Redirects are not followed.

    Args:
        url: The server's URL, http or https, with a base path if need be; ws and wss follow.
        not_ready: Seconds for which :meth:`create` and :meth:`join` ask again while the server, or a proxy in front,
            answers that it cannot serve just now. Both may be repeated: what nobody comes for ends by itself.
        waiting: Called when that takes longer than a moment, with the seconds that are left of it; and with 0 when it
            goes on.
        first_backoff: Seconds until it is asked for the second time, if it does not say when.

    Raises:
        UsageError: If the URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        not_ready: float = NOT_READY,
        waiting: Callable[[float], None] | None = None,
        first_backoff: float = FIRST_BACKOFF,
    ) -> None:
        self._address = ServerUrl(url)
        self._not_ready = not_ready
        self._waiting = waiting
        self._first_backoff = first_backoff
        self._not_before = 0.0  # the loop's time until which the server wants to be left alone
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = open_session(self._address.proxy(), _TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def create(self, ttl: float) -> CreatedRendezvous:
        """Open a transfer whose code waits ``ttl`` seconds.

        Raises:
            ServerUnreachable: If there is no connection.
            ServerRefused: If the server answers anything else than a transfer; if it is asked too often, or too much.
            VersionMismatch: If it speaks another version of the protocol.
        """
        made = await self._post("transfer", wire.CreateRequest(ttl), wire.Created, self._not_ready)
        ice = wire.usable_ice_servers(made.ice_servers)
        return CreatedRendezvous(made.rendezvous_id, made.slot, made.token, made.expires_in, ice)

    async def join(self, slot: int) -> JoinedAttempt:
        """Open an attempt on a slot.

        Raises:
            CodeUnknown: If there is no such transfer.
            CodeExpired: If it is over.
            ServerRefused: If too many wait for it, the server is asked too often, or answers nonsense.
            ServerUnreachable: If there is no connection.
            VersionMismatch: If the server speaks another version of the protocol.
        """
        if not 1 <= slot < 2**31:
            raise CodeUnknown("no transfer has such a number")
        made = await self._post("join", wire.JoinRequest(slot), wire.Joined, self._not_ready)
        ice = wire.usable_ice_servers(made.ice_servers)
        return JoinedAttempt(made.rendezvous_id, made.attempt, made.token, made.expires_in, ice)

    async def meet(self, rendezvous_id: str, role: Role, ttl: float = 900.0) -> Meeting:
        """Create or join a rendezvous that only the two peers can name; no code is involved.

        Every earlier token of this side for it is void afterwards. So a call that failed can be repeated. One that
        follows a refusal waits first until the server wants to be asked again.

        Args:
            rendezvous_id: 26 characters of ``a-z2-7``, see :meth:`p2pal.crypto.keys.SessionSecret.rendezvous_id`.
            role: Which side this is.
            ttl: Seconds that it lives while neither side has a socket; the server may change it.

        Raises:
            ServerUnreachable: If there is no connection.
            ServerRefused: If the server answers anything else than a meeting.
            VersionMismatch: If it speaks another version of the protocol.
        """
        await asyncio.sleep(self._not_before - asyncio.get_running_loop().time())
        made = await self._post("meet", wire.MeetRequest(rendezvous_id, role, ttl), wire.Met)
        if (made.attempt == 0) != (role == "send"):
            raise nonsense()
        ice = wire.usable_ice_servers(made.ice_servers)
        return Meeting(made.attempt, made.token, made.expires_in, ice)

    async def delete(self, rendezvous_id: str, token: str) -> None:
        """Give up a transfer; one that is over or unknown already is fine.

        Raises:
            ServerUnreachable: If there is no connection.
            ServerRefused: If the server refuses.
        """
        url = self._address.http("transfer", rendezvous_id, bare=True)
        answer = await self._request("DELETE", url, headers={"Authorization": f"Bearer {token}"})
        if answer.status not in (204, 404, 410):
            raise self._refusal(answer)

    def mailbox(
        self,
        role: Role,
        token: str,
        *,
        patience: float | None = DEFAULT_PATIENCE,
        waiting: Callable[[float], None] | None = None,
        heartbeat: float = HEARTBEAT,
    ) -> Mailbox:
        """Return the mailbox of a token; its owner runs :meth:`Mailbox.run`.

        Args:
            role: ``send`` or ``receive``, as the token is.
            token: That of :meth:`create`, :meth:`join` or :meth:`meet`.
            patience: Seconds without the server before the mailbox gives up; None for never.
            waiting: Called when the server has been away for some seconds, with those that are left of the patience
                (infinite for None); and with 0 when it is back.
            heartbeat: Seconds of silence before a ping; without an answer in half that time the socket is lost.
        """
        return Mailbox(
            self._opened, self._address, role, token, patience=patience, waiting=waiting, heartbeat=heartbeat
        )

    @property
    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            message = "RendezvousClient is used outside of its context"
            raise RuntimeError(message)
        return self._session

    async def _post(self, path: str, request: msgspec.Struct, kind: type[_T], not_ready: float = 0.0) -> _T:
        clock = asyncio.get_running_loop().time
        url, data = self._address.http(path), wire.encoder.encode(request)
        started, backoff, tries, told = clock(), self._first_backoff, 0, False
        while True:
            tries += 1
            waited = clock() - started
            asked = None
            try:
                answer = await self._request("POST", url, data=data, headers={"Content-Type": "application/json"})
            except ServerUnreachable as error:
                # At first that is a wrong address, or no server. Later it is one that has stopped, as it had said.
                if tries == 1 and (better := await self._address.wants_tls(error.__cause__)):
                    raise better from error
                if tries == 1 or tries == MAX_TRIES or waited >= not_ready:
                    raise
            else:
                if answer.status == 201:
                    if told and self._waiting:
                        self._waiting(0.0)
                    return _decoded(answer.body, kind)
                asked = answer.retry_after
                if tries == MAX_TRIES or waited >= not_ready or not answer.not_ready:
                    if asked is not None:
                        self._not_before = clock() + pause(0.0, asked)
                    raise self._refusal(answer, waited)
            left = max(0.0, started + not_ready - clock())
            seconds = min(pause(backoff, asked), left)
            if not told and self._waiting and not_ready - left + seconds > TOLD_AFTER:
                told = True
                self._waiting(left)
            await asyncio.sleep(seconds)
            backoff = min(_MAX_BACKOFF, backoff * 2)

    def _refusal(self, answer: HttpAnswer, waited: float = 0.0) -> P2palError:
        proxy = self._address.plain_proxy()
        if proxy is not None and answer.status == 407:
            return self._address.in_trouble(proxy_answered(answer.status, proxy))
        return refusal(answer, waited, proxy)

    async def _request(
        self, method: str, url: URL, *, headers: dict[str, str], data: bytes | None = None
    ) -> HttpAnswer:
        try:
            async with self._opened.request(method, url, data=data, headers=headers) as response:
                body = bytearray()
                async for part in response.content.iter_any():
                    body += part
                    if len(body) > MAX_ANSWER:
                        response.close()
                        raise nonsense()
                return HttpAnswer(response.status, bytes(body), retry_after(response.headers))
        except Redirected as error:
            raise self._address.redirects(error.status, error.headers) from error
        except aiohttp.ClientHttpProxyError as error:
            raise self._address.unreachable(error) from error
        except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
            raise nonsense(self._address.proxy()) from error
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise self._address.unreachable(error) from error


def _decoded(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise nonsense() from error
