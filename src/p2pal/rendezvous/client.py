"""Create, join and meet again over HTTP; the way to a :class:`~p2pal.rendezvous.mailbox.Mailbox`."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self, TypeVar

import aiohttp
import msgspec
from yarl import URL

from p2pal.errors import CodeExpired, CodeUnknown, P2palError, ServerRefused, VersionMismatch
from p2pal.rendezvous.delivery import Role
from p2pal.rendezvous.mailbox import DEFAULT_PATIENCE, Mailbox
from p2pal.rendezvous.transport import Address
from p2pal.wire import rendezvous as wire

MAX_ANSWER: Final = 64 * 1024
"""Bytes that are read of an HTTP answer."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=20.0, connect=10.0)
_KEEPALIVE: Final = 3.0
"""Seconds that an idle connection is used again: long enough for the mailbox, no longer than networks stay the same."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Created:
    """A new transfer, as its sender knows it. ``expires_in`` is in seconds."""

    rendezvous_id: str
    slot: int
    token: str = field(repr=False)
    expires_in: float
    ice_servers: tuple[wire.IceServer, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """An attempt, as its receiver knows it. ``expires_in`` is in seconds."""

    rendezvous_id: str
    attempt: int
    token: str = field(repr=False)
    expires_in: float
    ice_servers: tuple[wire.IceServer, ...]


@dataclass(frozen=True, slots=True)
class Met:
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

    Raises:
        UsageError: If the URL is none.
    """

    def __init__(self, url: str) -> None:
        self._address = Address(url)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(keepalive_timeout=_KEEPALIVE),
            proxy=self._address.proxy(),
            timeout=_TIMEOUT,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "User-Agent": "p2pal"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def create(self, ttl: float) -> Created:
        """Open a transfer whose code waits ``ttl`` seconds.

        Raises:
            ServerUnreachable: If there is no connection.
            ServerRefused: If the server answers anything else than a transfer.
            VersionMismatch: If it speaks another version of the protocol.
        """
        made = await self._post("transfer", wire.CreateRequest(ttl), wire.Created)
        ice = wire.usable_ice_servers(made.ice_servers)
        return Created(made.rendezvous_id, made.slot, made.token, made.expires_in, ice)

    async def join(self, slot: int) -> Joined:
        """Open an attempt on a slot.

        Raises:
            CodeUnknown: If there is no such transfer.
            CodeExpired: If it is over.
            ServerRefused: If too many wait for it, or the server answers nonsense.
            ServerUnreachable: If there is no connection.
            VersionMismatch: If the server speaks another version of the protocol.
        """
        if not 1 <= slot < 2**31:
            raise CodeUnknown("no transfer has such a number")
        made = await self._post("join", wire.JoinRequest(slot), wire.Joined)
        ice = wire.usable_ice_servers(made.ice_servers)
        return Joined(made.rendezvous_id, made.attempt, made.token, made.expires_in, ice)

    async def meet(self, rendezvous_id: str, role: Role, ttl: float = 900.0) -> Met:
        """Create or join a rendezvous that only the two peers can name; no code is involved.

        Every earlier token of this side for it is void afterwards. So a call that failed can be repeated.

        Args:
            rendezvous_id: 26 characters of ``a-z2-7``, see :meth:`p2pal.crypto.keys.SessionSecret.rendezvous_id`.
            role: Which side this is.
            ttl: Seconds that it lives while neither side has a socket; the server may change it.

        Raises:
            ServerUnreachable: If there is no connection.
            ServerRefused: If the server answers anything else than a meeting.
            VersionMismatch: If it speaks another version of the protocol.
        """
        made = await self._post("meet", wire.MeetRequest(rendezvous_id, role, ttl), wire.Met)
        if (made.attempt == 0) != (role == "send"):
            raise _nonsense()
        ice = wire.usable_ice_servers(made.ice_servers)
        return Met(made.attempt, made.token, made.expires_in, ice)

    async def delete(self, rendezvous_id: str, token: str) -> None:
        """Give up a transfer; one that is over or unknown already is fine.

        Raises:
            ServerUnreachable: If there is no connection.
            ServerRefused: If the server refuses.
        """
        url = self._address.http("transfer", rendezvous_id, bare=True)
        status, body = await self._request("DELETE", url, headers={"Authorization": f"Bearer {token}"})
        if status not in (204, 404, 410):
            raise _error(status, body)

    def mailbox(self, role: Role, token: str, *, patience: float | None = DEFAULT_PATIENCE) -> Mailbox:
        """Return the mailbox of a token; its owner runs :meth:`Mailbox.run`.

        Args:
            role: ``send`` or ``receive``, as the token is.
            token: That of :meth:`create`, :meth:`join` or :meth:`meet`.
            patience: Seconds without the server before the mailbox gives up; None for never.
        """
        return Mailbox(self._opened, self._address, role, token, patience=patience)

    @property
    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            message = "RendezvousClient is used outside of its context"
            raise RuntimeError(message)
        return self._session

    async def _post(self, path: str, request: msgspec.Struct, kind: type[_T]) -> _T:
        data = wire.encoder.encode(request)
        headers = {"Content-Type": "application/json"}
        status, body = await self._request("POST", self._address.http(path), data=data, headers=headers)
        if status != 201:
            raise _error(status, body)
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise _nonsense() from error

    async def _request(
        self, method: str, url: URL, *, headers: dict[str, str], data: bytes | None = None
    ) -> tuple[int, bytes]:
        try:
            async with self._opened.request(method, url, data=data, headers=headers, allow_redirects=False) as response:
                body = bytearray()
                async for part in response.content.iter_any():
                    body += part
                    if len(body) > MAX_ANSWER:
                        response.close()
                        raise _nonsense()
                return response.status, bytes(body)
        except aiohttp.ClientHttpProxyError as error:
            raise self._address.unreachable(error) from error
        except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
            raise _nonsense() from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._address.unreachable(error) from error
        except ValueError as error:  # aiohttp puts no bearer token beside the credentials of ~/.netrc
            raise ServerRefused("~/.netrc has other credentials for the signaling server") from error


def _nonsense() -> ServerRefused:
    return ServerRefused(
        "what answers at the server's address is no p2pal signaling server", hint="check the -server address"
    )


def _error(status: int, body: bytes) -> P2palError:
    """Return the error for an HTTP answer. The server's own text is never shown."""
    try:
        code = msgspec.json.decode(body, type=wire.ErrorBody).error.code
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        code = ""
    if code == "version":
        return VersionMismatch("the signaling server speaks another version of the protocol")
    if code == "ttl":
        return ServerRefused("the signaling server does not allow this -ttl", hint="choose another -ttl")
    if status == 404 and code in ("unknown", "unknown-attempt"):
        return CodeUnknown("no transfer has this code")
    if status == 410:
        if code == "expired":
            return CodeExpired("the code has expired")
        return CodeExpired("the transfer with this code is over", hint="ask for a new code")
    if status == 429:
        return ServerRefused("the signaling server is asked too often", hint="try again in a moment")
    if status >= 500:
        return ServerRefused(f"the signaling server has a problem (HTTP {status})")
    if code and 400 <= status < 500:
        return ServerRefused(f"the signaling server refused the request (HTTP {status})")
    return _nonsense()
