"""The STUN and TURN servers that clients without settings of their own get.

A relay costs its operator bandwidth. So STUN goes to everyone, and TURN only to the two sides of an attempt that the
sender has accepted, or that both met at a meeting; never to who merely knows a slot, waits, or is alone. That keeps
out who has not joined anything, not who plays both sides: what a credential is worth, its time and the relay's own
quotas have to bound.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final

from p2pal.server.config import ServerConfig
from p2pal.server.state import SENDER, Rendezvous
from p2pal.wire.ice_urls import is_stun_url, is_turn_url
from p2pal.wire.rendezvous import MAX_ICE_URLS, IceServer, State

RENEWAL: Final = 5.0
"""Seconds in which a side that asks again gets the same credential, or half of its time if that is less."""

MAX_KEPT: Final = 4096
"""Credentials that are kept to be given again."""

_NAME_BYTES: Final = 8


def check_stun(url: str) -> None:
    """Refuse what is no STUN URL.

    Raises:
        ValueError: With a text for people, which does not repeat the URL: passwords get into those.
    """
    if not is_stun_url(url):
        raise ValueError("a STUN URL is stun:HOST:PORT or stuns:HOST:PORT; the port may be left out")


def check_turn(url: str) -> None:
    """Refuse what is no TURN URL.

    Raises:
        ValueError: With a text for people, which does not repeat the URL: passwords get into those.
    """
    if not is_turn_url(url):
        raise ValueError(
            "a TURN URL is turn:HOST:PORT or turns:HOST:PORT, with ?transport=udp or ?transport=tcp if need be; "
            "the port may be left out, and user name and password have no place in it"
        )


def make_credential(secret: str, name: str, expires_at: int) -> tuple[str, str]:
    """Return the user name and password of a time-limited credential, as coturn's ``use-auth-secret`` takes it.

    See draft-uberti-behave-turn-rest-00, section 2.2: the user name begins with its end, and the password is the
    HMAC-SHA1 of the user name, in base64.

    Args:
        secret: What the TURN server knows as its ``static-auth-secret``.
        name: Tells this credential's allocations from others'; without a colon.
        expires_at: The end, in seconds since 1970.
    """
    username = f"{expires_at}:{name}"
    digest = hmac.digest(secret.encode(), username.encode(), "sha1")
    return username, base64.b64encode(digest).decode()


def may_relay(transfer: Rendezvous, who: int) -> bool:
    """Whether that side gets TURN: it and another one are there, and the sender agreed to the other.

    Who comes to a meeting has agreed by coming: its name is a secret of the two.
    """
    agreed = transfer.state is State.ACTIVE or (transfer.meeting and transfer.state is State.READY)
    return agreed and who in (SENDER, transfer.served)


class IceServers:
    """Hands out STUN to everyone, and TURN with fresh credentials to those who may relay.

    Args:
        config: Names the servers, and the secret that is shared with the TURN servers.
        clock: Returns seconds since 1970, like the clocks of the TURN servers.

    Raises:
        ValueError: If a URL cannot be used, if there are more than clients take, or if TURN has no secret or no time.
    """

    __slots__ = ("_clock", "_kept", "_renewal", "_secret", "_static", "_stun", "_ttl", "_turn")

    def __init__(self, config: ServerConfig, clock: Callable[[], float] = time.time) -> None:
        _check(config)
        self._clock = clock
        self._static = list(config.ice_servers)
        self._stun = [IceServer(list(config.stun))] if config.stun else []
        for server in config.ice_servers:
            urls = [url for url in server.urls if url.startswith(("stun:", "stuns:"))]
            if urls:
                self._stun.append(IceServer(urls))
        if config.stun:
            self._static.insert(0, self._stun[0])
        self._turn = list(config.turn)
        self._secret = config.turn_secret
        self._ttl = config.turn_ttl
        self._renewal = min(RENEWAL, config.turn_ttl / 2)
        self._kept: dict[tuple[str, int], tuple[float, IceServer]] = {}

    def for_everyone(self) -> list[IceServer]:
        """Return the STUN servers."""
        return self._stun

    def for_peer(self, transfer: Rendezvous, who: int) -> list[IceServer]:
        """Return what this side of a transfer may use as it stands now.

        Args:
            transfer: The transfer.
            who: ``SENDER`` or the number of an attempt.
        """
        if not may_relay(transfer, who):
            return self._stun
        return [*self._static, self._relay((transfer.id, who))] if self._turn else self._static

    def _relay(self, side: tuple[str, int]) -> IceServer:
        """Return the TURN servers with a credential for this side: a fresh one unless it just got one."""
        now = self._clock()
        made_at, relay = self._kept.get(side, (now, None))
        if relay is not None and made_at <= now < made_at + self._renewal:
            return relay
        self._kept.pop(side, None)
        self._forget(now)
        # Random: neither the TURN server nor its log learns whose it is, or which transfer it is for.
        name = secrets.token_hex(_NAME_BYTES)
        relay = IceServer(self._turn, *make_credential(self._secret, name, int(now + self._ttl)))
        self._kept[side] = now, relay
        return relay

    def _forget(self, now: float) -> None:
        """Forget the oldest: what is not given again, and what there is no room for."""
        while self._kept:
            oldest = next(iter(self._kept))
            if len(self._kept) < MAX_KEPT and self._kept[oldest][0] <= now < self._kept[oldest][0] + self._renewal:
                return
            del self._kept[oldest]


def _check(config: ServerConfig) -> None:
    for url in config.stun:
        check_stun(url)
    for url in config.turn:
        check_turn(url)
    count = len(config.stun) + len(config.turn) + sum(len(server.urls) for server in config.ice_servers)
    if count > MAX_ICE_URLS:
        message = f"more than {MAX_ICE_URLS} STUN and TURN URLs: clients take no more"
        raise ValueError(message)
    if config.turn and not config.turn_secret:
        raise ValueError("TURN needs the secret that the TURN server knows")
    if config.turn and not config.turn_ttl > 0:
        raise ValueError("a TURN credential needs some time in which it can be used")
