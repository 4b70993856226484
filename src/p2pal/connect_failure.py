"""Why a server was not reached: the causes, each with its words, which are the same wherever a person reads them."""

from __future__ import annotations

from enum import Enum, unique


@unique
class ConnectFailure(Enum):
    """A cause. :func:`p2pal.hosts.connect_failure` finds that of an error."""

    NO_ANSWER = "no answer in time"
    NOT_RESOLVED = "its name does not resolve"
    UNUSABLE_NAME = "its name cannot be used"
    REFUSED = "connection refused"
    NO_ROUTE = "no network route to it"
    UNTRUSTED = "its TLS certificate is not trusted"
    EXPIRED = "its TLS certificate has expired"
    NOT_YET_VALID = "its TLS certificate is not valid yet"
    OTHER_NAME = "its TLS certificate is for another name"
    NO_TLS = "it does not speak TLS"
    NO_HANDSHAKE = "the TLS handshake failed"
    PROXY_SILENT = "the proxy does not answer"
    PROXY_NOT_RESOLVED = "the proxy's name does not resolve"
    PROXY_LOGIN = "the proxy wants another user name and password"
    PROXY_REFUSED = "the proxy refused the connection"
    PROXY_CANNOT = "the proxy does not reach it"
    PROXY_LOST = "the connection through the proxy was lost"
    PROXY_HANDSHAKE = "the TLS handshake with the proxy failed"
    PROXY_URL = "the proxy's URL cannot be used"
    PROXY_UDP = "UDP does not go through the proxy"
    PROXY_TLS = "a proxy that is reached by https:// cannot be used"
    NO_SOCKET = "this machine has no socket left for it"
    TOO_NEAR = "the signaling server may not name an address that is nearer than itself"
    REFERRED = "it refers to another server"
    LOST = "the connection was lost"
    FAILED = "the connection failed"

    @property
    def words(self) -> str:
        """The cause as a person reads it: part of a sentence, after the server's URL and a colon."""
        return self.value
