"""How many probes may go to addresses that have not answered: a lying peer names whom it likes."""

from __future__ import annotations

from typing import Final

from p2pal.lanes.udp.addresses import Address

MAX_ADDRESS_PROBES: Final = 80
"""Probes to one address and port that never answered."""
MAX_IP_PROBES: Final = 160
"""Probes to one IP address, whatever the port, that never answered."""
MAX_PROBES: Final = 1000
"""Probes of one lane to addresses that never answered."""


class ProbeBudget:
    """Counts them. An address that answers once is of no further account: it wants to be asked."""

    __slots__ = ("_answered", "_by_address", "_by_ip", "_total")

    def __init__(self) -> None:
        self._by_address: dict[tuple[str, int], int] = {}
        self._by_ip: dict[str, int] = {}
        self._answered: set[tuple[str, int]] = set()
        self._total = 0

    def take(self, address: Address) -> bool:
        """Whether one more probe may go there; it is counted."""
        key = address.ip, address.port
        if key in self._answered:
            return True
        to_address, to_ip = self._by_address.get(key, 0), self._by_ip.get(address.ip, 0)
        if to_address >= MAX_ADDRESS_PROBES or to_ip >= MAX_IP_PROBES or self._total >= MAX_PROBES:
            return False
        self._by_address[key] = to_address + 1
        self._by_ip[address.ip] = to_ip + 1
        self._total += 1
        return True

    def answered(self, address: Address) -> None:
        """An address answered."""
        self._answered.add((address.ip, address.port))
