"""What every store does. A store joins the suite by an entry in ``STORES``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import pytest
from tests.unit.server.kit import on_loop

from p2pal.server import state as s
from p2pal.server.config import Limits
from p2pal.server.memory import MemoryStore
from p2pal.server.state import SENDER, Denied
from p2pal.server.store import News, Store
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import State

LIMITS = Limits(rest=20.0, messages=8)


class Bench(Protocol):
    """A store whose time the test can move."""

    store: Store
    heard: list[tuple[str, News]]

    async def pass_time(self, seconds: float) -> None: ...


async def log_of(made: Bench, rendezvous_id: str, who: int, start: int = 0) -> list[bytes]:
    """Return what a socket that comes back is sent of the log which ``who`` reads; the attempt is its own or 1."""
    before = len(made.heard)
    await made.store.execute(rendezvous_id, s.Attach(who, "again", {who or 1: start}))
    news = [effect for _, effect in made.heard[before:]]
    told = [effect.message for effect in news if isinstance(effect, s.Tell) and effect.socket == "again"]
    return [message.body for message in told if isinstance(message, wire.Message)]


class MemoryBench:
    def __init__(self) -> None:
        self._now = 100.0
        self._memory = MemoryStore(LIMITS, max_transfers=40, max_bytes=200_000, clock=lambda: self._now)
        self.store: Store = self._memory
        self.heard: list[tuple[str, News]] = []
        self.store.listen(lambda rendezvous_id, effect: self.heard.append((rendezvous_id, effect)))

    async def pass_time(self, seconds: float) -> None:
        self._now += seconds
        self._memory.sweep()


STORES: dict[str, Callable[[], Bench]] = {"memory": MemoryBench}


@pytest.fixture(params=list(STORES))
def bench(request: pytest.FixtureRequest) -> Callable[[], Bench]:
    """Makes the bench inside the test's event loop."""
    return STORES[request.param]


async def denial(call: Awaitable[object]) -> str:
    with pytest.raises(Denied) as caught:
        await call
    return caught.value.code


async def served(store: Store) -> tuple[s.Transfer, str, str]:
    transfer, token = await store.create(60.0)
    _, number, receiver = await store.join(transfer.slot)
    await store.execute(transfer.id, s.Attach(SENDER, "A"))
    return await store.execute(transfer.id, s.Attach(number, "B")), token, receiver


def test_the_life_of_a_transfer(bench: Callable[[], Bench]) -> None:
    @on_loop
    async def run() -> None:
        made = bench()
        transfer, token, receiver = await served(made.store)
        assert transfer.state is State.READY
        assert (await made.store.authorise(token))[1] == SENDER
        assert (await made.store.authorise(receiver))[1] == 1
        await made.store.execute(transfer.id, s.Append(SENDER, 1, 0, b"a"))
        await made.store.execute(transfer.id, s.Append(SENDER, 1, 1, b"b"))
        await made.store.execute(transfer.id, s.Append(1, 1, 0, b"c"))
        assert (transfer.id, s.Tell("B", wire.Message(1, 1, b"b"))) in made.heard
        assert await log_of(made, transfer.id, 1) == [b"a", b"b"]
        assert await log_of(made, transfer.id, 1, 1) == [b"b"]
        assert await log_of(made, transfer.id, SENDER) == [b"c"]
        await made.store.execute(transfer.id, s.Accept(SENDER, 1))
        done = await made.store.execute(transfer.id, s.Complete(SENDER))
        assert done.state is State.COMPLETED
        assert (await made.store.load(transfer.id)) == done
        assert await log_of(made, transfer.id, 1) == []

    run()


def test_duplicates_are_dropped_by_their_bytes(bench: Callable[[], Bench]) -> None:
    @on_loop
    async def run() -> None:
        made = bench()
        transfer, _, _ = await served(made.store)
        await made.store.execute(transfer.id, s.Append(1, 1, 0, b"x"))
        await made.store.execute(transfer.id, s.Append(1, 1, 0, b"x"))
        assert await denial(made.store.execute(transfer.id, s.Append(1, 1, 0, b"y"))) == "conflict"
        assert await denial(made.store.execute(transfer.id, s.Append(1, 1, 2, b"z"))) == "gap"
        assert await log_of(made, transfer.id, SENDER) == [b"x"]

    run()


def test_unknown_things(bench: Callable[[], Bench]) -> None:
    @on_loop
    async def run() -> None:
        made = bench()
        transfer, token = await made.store.create(60.0)
        _, other = await made.store.create(60.0)
        assert await denial(made.store.join(10_000)) == "unknown"
        assert await denial(made.store.load("0" * 32)) == "unknown"
        assert await denial(made.store.execute("0" * 32, s.Delete(SENDER))) == "unknown"
        secret = other.rsplit(".", 1)[1]
        for forged in (f"{transfer.id}.0.{secret}", f"{transfer.id}.1.{token.rsplit('.', 1)[1]}", "x", token + "x"):
            assert await denial(made.store.authorise(forged)) == "unauthorised"

    run()


def test_time_ends_a_transfer_and_frees_its_slot_later(bench: Callable[[], Bench]) -> None:
    @on_loop
    async def run() -> None:
        made = bench()
        transfer, token = await made.store.create(5.0)
        await made.store.execute(transfer.id, s.Attach(SENDER, "A"))
        await made.pass_time(5.0)
        assert (transfer.id, s.Close("A", wire.CloseCode.EXPIRED)) in made.heard
        assert await denial(made.store.join(transfer.slot)) == "expired"
        assert (await made.store.authorise(token))[0].expired
        await made.pass_time(LIMITS.rest)
        assert await denial(made.store.join(transfer.slot)) == "unknown"
        assert await denial(made.store.authorise(token)) == "unknown"

    run()


def test_a_slot_is_not_given_out_again_while_it_rests(bench: Callable[[], Bench]) -> None:
    @on_loop
    async def run() -> None:
        made = bench()
        over = set()
        for _ in range(10):
            transfer, _ = await made.store.create(60.0)
            await made.store.execute(transfer.id, s.Delete(SENDER))
            over.add(transfer.slot)
        assert len(over) == 10
        live = {(await made.store.create(600.0))[0].slot for _ in range(20)}
        assert not live & over
        await made.pass_time(LIMITS.rest)
        assert {(await made.store.create(60.0))[0].slot for _ in range(20)} & over

    run()


def test_secrets_are_stored_as_digests(bench: Callable[[], Bench]) -> None:
    @on_loop
    async def run() -> None:
        made = bench()
        transfer, token, receiver = await served(made.store)
        kept = repr(await made.store.load(transfer.id))
        assert token.rsplit(".", 1)[1] not in kept
        assert receiver.rsplit(".", 1)[1] not in kept

    run()


MEETING = "m" * 26


def test_the_life_of_a_meeting(bench: Callable[[], Bench]) -> None:
    @on_loop
    async def run() -> None:
        made = bench()
        transfer, number, receiver = await made.store.meet(MEETING, 60.0, sender=False)
        assert (transfer.id, transfer.slot, number) == (MEETING, 0, 1)
        assert (await made.store.authorise(receiver))[1] == 1
        forged = [f"{MEETING}.0.{secret}" for secret in ("x" * 32, receiver.rsplit(".", 1)[1])]
        for token in forged:
            assert await denial(made.store.authorise(token)) == "unauthorised"
        await made.store.execute(MEETING, s.Attach(1, "B"))
        _, who, first = await made.store.meet(MEETING, 60.0, sender=True)
        _, _, second = await made.store.meet(MEETING, 60.0, sender=True)
        assert who == SENDER
        assert await denial(made.store.authorise(first)) == "unauthorised"
        assert (await made.store.authorise(second))[1] == SENDER
        await made.store.execute(MEETING, s.Attach(SENDER, "A"))
        await made.store.execute(MEETING, s.Append(SENDER, 1, 0, b"a"))
        assert await log_of(made, MEETING, 1) == [b"a"]
        await made.store.meet(MEETING, 60.0, sender=True)
        assert await log_of(made, MEETING, 1) == []
        assert (MEETING, s.Close("again", wire.CloseCode.RELEASED)) in made.heard
        _, number, _ = await made.store.meet(MEETING, 60.0, sender=False)
        assert number == 2

    run()


def test_a_meeting_that_is_over_begins_anew(bench: Callable[[], Bench]) -> None:
    @on_loop
    async def run() -> None:
        made = bench()
        _, _, token = await made.store.meet(MEETING, 5.0, sender=True)
        await made.pass_time(5.0)
        assert (await made.store.load(MEETING)).expired
        await made.store.meet(MEETING, 5.0, sender=False)
        assert not (await made.store.load(MEETING)).over
        assert await denial(made.store.authorise(token)) == "unauthorised"
        await made.pass_time(5.0)
        await made.pass_time(LIMITS.rest)
        assert await denial(made.store.load(MEETING)) == "unknown"
        assert not (await made.store.meet(MEETING, 5.0, sender=True))[0].over

    run()


def test_meetings_take_no_slots_and_count_as_transfers(bench: Callable[[], Bench]) -> None:
    @on_loop
    async def run() -> None:
        made = bench()
        for n in range(38):
            await made.store.meet(f"{'m' * 24}{chr(97 + n // 26)}{chr(97 + n % 26)}", 5.0, sender=True)
        slots = {(await made.store.create(60.0))[0].slot for _ in range(2)}
        assert max(slots) <= 17
        assert await denial(made.store.meet(MEETING, 5.0, sender=True)) == "full"
        assert await denial(made.store.create(60.0)) == "full"
        assert await denial(made.store.join(0)) == "unknown"
        await made.store.meet("m" * 24 + "aa", 5.0, sender=False)
        await made.pass_time(5.0)
        await made.pass_time(LIMITS.rest)
        await made.store.meet(MEETING, 5.0, sender=True)
        assert (await made.store.create(60.0))[0].slot not in slots

    run()


def test_a_store_is_bounded(bench: Callable[[], Bench]) -> None:
    @on_loop
    async def run() -> None:
        made = bench()
        transfer, _, _ = await served(made.store)
        for n in range(3):
            await made.store.execute(transfer.id, s.Append(1, 1, n, bytes(60_000)))
        assert await denial(made.store.execute(transfer.id, s.Append(1, 1, 3, bytes(60_000)))) == "log-full"
        await made.store.execute(transfer.id, s.Release(SENDER, 1))
        for _ in range(39):
            await made.store.create(60.0)
        assert await denial(made.store.create(60.0)) == "full"
        await made.pass_time(60.0)
        await made.pass_time(LIMITS.rest)
        transfer, _, _ = await served(made.store)
        await made.store.execute(transfer.id, s.Append(1, 1, 0, bytes(60_000)))

    run()
