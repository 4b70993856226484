"""How many probes may go to addresses that have not answered: a lying peer names whom it likes.

One budget serves all lanes of a session, or a peer would begin lane after lane to have each spend another one. What is
used up comes back slowly: machines move, and meet again at addresses that were of no use before.
"""

from __future__ import annotations

from typing import Final, TypeVar

from p2pal.lanes.candidate_filter import SESSION_HOSTS
from p2pal.lanes.udp.addresses import Address
from p2pal.rate_limit import Allowance

MAX_ADDRESS_PROBES: Final = 80
"""Probes to one address and port that never answered."""
MAX_IP_PROBES: Final = 160
"""Probes to one IP address, whatever the port, that never answered."""
MAX_PROBES: Final = 1000
"""Probes of one session to addresses that never answered."""

ADDRESS_REFILL: Final = 60.0
"""Seconds after which one more may go to an address and port, beyond those."""
IP_REFILL: Final = 30.0
REFILL: Final = 5.0

ANSWERED: Final = 60.0
"""Seconds for which an answer says that an address wants to be asked: it may be somebody else's later (RFC 7675)."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_KNOWN: Final = 1024
"""Addresses that are remembered."""


class ProbeBudget:
    """Counts the probes of one session. An address that answered a while ago is of no account: it wants to be asked."""

    __slots__ = ("_answered", "_by_address", "_by_ip", "_every", "_hosts")

    def __init__(self) -> None:
        self._by_address: dict[tuple[str, int], Allowance] = {}
        self._by_ip: dict[str, Allowance] = {}
        self._every = Allowance(MAX_PROBES, REFILL)
        self._hosts = Allowance(*SESSION_HOSTS)
        self._answered: dict[tuple[str, int], float] = {}

    def take(self, address: Address, now: float) -> bool:
        """Whether one more probe may go there; it is counted."""
        key = address.ip, address.port
        answered = self._answered.get(key)
        if answered is not None and now < answered + ANSWERED:
            return True
        to_address = self._by_address.get(key) or Allowance(MAX_ADDRESS_PROBES, ADDRESS_REFILL)
        to_ip = self._by_ip.get(address.ip) or Allowance(MAX_IP_PROBES, IP_REFILL)
        counts = [to_address, to_ip, self._every]
        if address.ip not in self._by_ip:
            counts.append(self._hosts)
        if not all(count.may(now) for count in counts):
            return False
        for count in counts:
            count.take(now)
        _keep(self._by_address, key, to_address)
        _keep(self._by_ip, address.ip, to_ip)
        return True

    def answered(self, address: Address, now: float) -> None:
        """An address answered."""
        key = address.ip, address.port
        self._answered.pop(key, None)
        _keep(self._answered, key, now)


def _keep(known: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Remember something; the oldest makes room."""
    if key not in known and len(known) >= _KNOWN:
        del known[next(iter(known))]
    known[key] = value
