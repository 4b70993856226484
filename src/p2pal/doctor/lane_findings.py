"""Which lanes this machine has sockets for, and what its system does for them: findings. Pure."""

from __future__ import annotations

import ipaddress
from typing import Final

from p2pal.doctor.datagram_facts import DatagramFacts
from p2pal.doctor.facts import Facts
from p2pal.doctor.report import NO_TIME, CheckResult, Rating
from p2pal.units import size

SHOWN_ADDRESSES: Final = 2
LEAST_BUFFER: Final = 128 << 10
"""Bytes below which a buffer holds too little of what comes in while the program does something else."""


def judge_lanes(facts: Facts) -> list[CheckResult]:
    """Return the findings about datagram lanes: their sockets, batches and buffers."""
    datagrams = facts.datagrams
    if datagrams is None:
        return [CheckResult("datagrams", Rating.NONE, NO_TIME)]
    if not datagrams.addresses:
        return [_no_sockets(datagrams)]
    return [_sockets(datagrams), *_batches(datagrams)]


def _no_sockets(datagrams: DatagramFacts) -> CheckResult:
    if not datagrams.refused:
        detail = "no socket of our own: there is no address that another machine may reach"
        return CheckResult("datagrams", Rating.NONE, detail)
    address, why = datagrams.refused[0]
    detail = f"no UDP socket can be opened ({address}: {why}): transfers are left to WebRTC"
    advice = "let p2pal open UDP sockets: a sandbox or a security program forbids it, or no file may be opened any more"
    return CheckResult("datagrams", Rating.WARN, detail, advice)


def _sockets(datagrams: DatagramFacts) -> CheckResult:
    addresses = datagrams.addresses
    versions = sorted({ipaddress.ip_address(address).version for address in addresses})
    over = "IPv4 and IPv6" if len(versions) > 1 else f"IPv{versions[0]} alone"
    more = len(addresses) - SHOWN_ADDRESSES
    shown = ", ".join(addresses[:SHOWN_ADDRESSES]) + (f" and {more} more" if more > 0 else "")
    detail = f"sockets of our own over {over}: {shown}"
    if datagrams.refused:
        address, why = datagrams.refused[0]
        detail = f"{detail}; none for {address} ({why})"
    if datagrams.batching is not None and not datagrams.batching.heard:
        detail = f"{detail}; but {addresses[0]} does not hear what it sends to itself"
        advice = "check whether a firewall on this machine keeps back UDP: without it transfers need a relay over TCP"
        return CheckResult("datagrams", Rating.WARN, detail, advice)
    return CheckResult("datagrams", Rating.OK, detail)


def _batches(datagrams: DatagramFacts) -> list[CheckResult]:
    batching = datagrams.batching
    if batching is None:
        return []
    found: list[CheckResult] = []
    if batching.heard:
        match batching.one_call_out, batching.one_call_in:
            case True, True:
                verdict, detail = Rating.OK, "many datagrams leave, and come in, at once"
            case True, False:
                verdict, detail = Rating.OK, "many datagrams leave at once, but come in one at a time"
            case False, True:
                verdict, detail = Rating.OK, "datagrams leave one at a time, but many come in at once"
            case _:
                verdict = Rating.NONE
                detail = "datagrams leave, and come in, one at a time: a fast link takes more of the processor"
        found.append(CheckResult("batches", verdict, detail))
    if batching.buffers is not None:
        found.append(_buffers(*batching.buffers, batching.asked))
    return found


def _buffers(out: int, back: int, asked: int) -> CheckResult:
    detail = f"{size(out)} to send, {size(back)} to receive"
    if min(out, back) < LEAST_BUFFER:
        advice = "let the system give more (Linux: net.core.wmem_max and net.core.rmem_max, 212992 at least)"
        return CheckResult("buffers", Rating.WARN, f"{detail}: a fast link loses datagrams here", advice)
    if min(out, back) < asked:
        detail = f"{detail}, of the {size(asked)} that a lane asks for"
    return CheckResult("buffers", Rating.OK, detail)
