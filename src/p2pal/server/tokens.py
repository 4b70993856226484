"""Tokens: 192 random bits, kept only as SHA-256, compared in constant time.

A token reads ``<rendezvous id>.<who>.<secret>``, so that the transfer is found without an index of tokens; only the
secret part proves anything.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Final

from p2pal.server.state import SENDER, Denied, Rendezvous

_TOKEN: Final = re.compile(r"([0-9a-f]{32}|[a-z2-7]{26})\.([0-9]{1,10})\.([A-Za-z0-9_-]{32})")


def new_id() -> str:
    """Return a new rendezvous id: 128 random bits."""
    return secrets.token_hex(16)


def new_secret() -> str:
    """Return the secret part of a new token: 192 random bits."""
    return secrets.token_urlsafe(24)


def digest(secret: str) -> bytes:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def assemble(rendezvous_id: str, who: int, secret: str) -> str:
    """Return the token that the client gets."""
    return f"{rendezvous_id}.{who}.{secret}"


def parse(token: str) -> tuple[str, int, str]:
    """Return a token's rendezvous id, its owner and its secret.

    Raises:
        Denied: ``unauthorised``, if it is no token at all.
    """
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise Denied("unauthorised")
    return match[1], int(match[2]), match[3]


def verify(transfer: Rendezvous, who: int, secret: str) -> None:
    """Check that the secret is that of ``who``; released attempts count while they are remembered.

    Raises:
        Denied: ``unauthorised``.
    """
    known = [transfer.token] if who == SENDER and transfer.token else []
    known += (attempt.token for attempt in transfer.attempts if attempt.number == who)
    known += (past.token for past in transfer.past if past.number == who)
    presented = digest(secret)
    if not any(hmac.compare_digest(presented, token) for token in known):
        raise Denied("unauthorised")
