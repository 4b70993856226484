"""What every store does. A store joins the suite by an entry in :data:`tests.contract.benches.STORES`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import wraps
from typing import Any
from uuid import uuid4

import pytest
from tests.contract.benches import LIMITS, MAX_KEPT, MAX_OPEN, PATIENCE, STORES, Bench
from tests.redis_kit import Servers

from p2pal.rate_limit import Rate
from p2pal.server import state as s
from p2pal.server.state import SENDER, Denied
from p2pal.server.stores.base import News
from p2pal.server.stores.redis.reservations import FREE
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import State

Opening = Callable[[], AbstractAsyncContextManager[Bench]]


async def log_of(made: Bench, rendezvous_id: str, who: int, start: int = 0) -> list[bytes]:
    """Return what a socket that comes back is sent of the log which ``who`` reads; the attempt is its own or 1."""
    sockets = [made.socket(f"again-{uuid4().hex}") for _ in range(2)]
    for socket in sockets:  # the second one has the first one closed, if nothing else has: it is sent nothing more
        await made.store.execute(rendezvous_id, s.Attach(who, socket, {who or 1: start}))

    def told() -> list[News]:
        return [effect for _, effect in made.heard if not isinstance(effect, s.Note) and effect.socket == sockets[0]]

    await made.until(lambda: any(isinstance(effect, s.CloseSocket) for effect in told()))
    messages = [effect.message for effect in told() if isinstance(effect, s.Tell)]
    return [message.body for message in messages if isinstance(message, wire.LogMessage)]


@pytest.fixture(params=list(STORES))
def bench(request: pytest.FixtureRequest, servers: Servers) -> Opening:
    """Opens the bench inside the test's event loop."""
    return lambda: STORES[request.param](servers)


def on_bench(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[Opening], None]:
    """Run an async test on every bench."""

    @wraps(test)
    def run(bench: Opening) -> None:
        async def on_one() -> None:
            async with bench() as made:
                await test(made)

        asyncio.run(on_one())

    del run.__dict__["__wrapped__"]  # pytest is to see what this one takes
    return run


async def denial(call: Awaitable[object]) -> str:
    with pytest.raises(Denied) as caught:
        await call
    return caught.value.code


async def eventually(attempt: Callable[[], Awaitable[object]]) -> None:
    """Do it again and again while it is refused: a place may become free a moment after its transfer is over."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await attempt()
            except Denied:
                await asyncio.sleep(0.005)
            else:
                return


async def served(made: Bench) -> tuple[s.Rendezvous, str, str]:
    store = made.store
    transfer, token = await store.create(60.0)
    _, number, receiver = await store.join(transfer.slot)
    await store.execute(transfer.id, s.Attach(SENDER, made.socket("A")))
    return await store.execute(transfer.id, s.Attach(number, made.socket("B"))), token, receiver


@on_bench
async def test_the_life_of_a_transfer(made: Bench) -> None:
    transfer, token, receiver = await served(made)
    assert transfer.state is State.READY
    assert (await made.store.authorise(token))[1] == SENDER
    assert (await made.store.authorise(receiver))[1] == 1
    await made.store.execute(transfer.id, s.AppendMessage(SENDER, 1, 0, b"a"))
    await made.store.execute(transfer.id, s.AppendMessage(SENDER, 1, 1, b"b"))
    await made.store.execute(transfer.id, s.AppendMessage(1, 1, 0, b"c"))
    await made.hears(transfer.id, s.Tell(made.socket("B"), wire.LogMessage(1, 1, b"b")))
    assert await log_of(made, transfer.id, 1) == [b"a", b"b"]
    assert await log_of(made, transfer.id, 1, 1) == [b"b"]
    assert await log_of(made, transfer.id, SENDER) == [b"c"]
    await made.store.execute(transfer.id, s.AcceptAttempt(SENDER, 1))
    done = await made.store.execute(transfer.id, s.CompleteTransfer(SENDER))
    assert done.state is State.COMPLETED
    assert (await made.store.load(transfer.id)) == done
    assert await log_of(made, transfer.id, 1) == []


@on_bench
async def test_duplicates_are_dropped_by_their_bytes(made: Bench) -> None:
    transfer, _, _ = await served(made)
    await made.store.execute(transfer.id, s.AppendMessage(1, 1, 0, b"x"))
    await made.store.execute(transfer.id, s.AppendMessage(1, 1, 0, b"x"))
    assert await denial(made.store.execute(transfer.id, s.AppendMessage(1, 1, 0, b"y"))) == "conflict"
    assert await denial(made.store.execute(transfer.id, s.AppendMessage(1, 1, 2, b"z"))) == "gap"
    assert await log_of(made, transfer.id, SENDER) == [b"x"]


@on_bench
async def test_unknown_things(made: Bench) -> None:
    transfer, token = await made.store.create(60.0)
    _, other = await made.store.create(60.0)
    assert await denial(made.store.join(10_000)) == "unknown"
    assert await denial(made.store.load("0" * 32)) == "unknown"
    assert await denial(made.store.execute("0" * 32, s.Delete(SENDER))) == "unknown"
    secret = other.rsplit(".", 1)[1]
    for forged in (f"{transfer.id}.0.{secret}", f"{transfer.id}.1.{token.rsplit('.', 1)[1]}", "x", token + "x"):
        assert await denial(made.store.authorise(forged)) == "unauthorised"


@on_bench
async def test_time_ends_a_transfer_and_frees_its_slot_later(made: Bench) -> None:
    transfer, token = await made.store.create(5.0)
    await made.store.execute(transfer.id, s.Attach(SENDER, made.socket("A")))
    await made.pass_time(5.0)
    await made.hears(transfer.id, s.CloseSocket(made.socket("A"), wire.CloseCode.EXPIRED))
    assert await denial(made.store.join(transfer.slot)) == "expired"
    assert (await made.store.authorise(token))[0].expired
    await made.pass_time(LIMITS.rest)
    assert await denial(made.store.join(transfer.slot)) == "unknown"
    assert await denial(made.store.authorise(token)) == "unknown"


@on_bench
async def test_a_slot_is_not_given_out_again_while_it_rests(made: Bench) -> None:
    over = set()
    for _ in range(10):
        transfer, _ = await made.store.create(60.0)
        await made.store.execute(transfer.id, s.Delete(SENDER))
        over.add(transfer.slot)
    assert len(over) == 10
    live = {(await made.store.create(600.0))[0].slot for _ in range(20)}
    assert not live & over
    await made.pass_time(LIMITS.rest - 1.0)
    live |= {(await made.store.create(600.0))[0].slot for _ in range(20)}
    assert not live & over
    assert len(live) == 40


@on_bench
async def test_a_slot_stays_with_a_transfer_that_lives_longer_than_it_was_to(made: Bench) -> None:
    transfer, _, _ = await served(made)
    await made.store.execute(transfer.id, s.AcceptAttempt(SENDER, 1))
    for _ in range(10):  # sockets are there all the while
        await made.pass_time(30.0)
    joined, number, _ = await made.store.join(transfer.slot)
    assert (joined.id, joined.state, number) == (transfer.id, State.ACTIVE, 2)
    await made.store.execute(transfer.id, s.Detach(1, made.socket("B")))
    await made.store.execute(transfer.id, s.Detach(SENDER, made.socket("A")))
    await made.pass_time(59.0)
    assert (await made.store.load(transfer.id)).state is State.ACTIVE
    await made.pass_time(1.0)
    assert await denial(made.store.join(transfer.slot)) == "expired"


@on_bench
async def test_secrets_are_stored_as_digests(made: Bench) -> None:
    transfer, token, receiver = await served(made)
    kept = repr(await made.store.load(transfer.id))
    assert token.rsplit(".", 1)[1] not in kept
    assert receiver.rsplit(".", 1)[1] not in kept


MEETING = "m" * 26


@on_bench
async def test_the_life_of_a_meeting(made: Bench) -> None:
    transfer, number, receiver = await made.store.meet(MEETING, 60.0, sender=False)
    assert (transfer.id, transfer.slot, number) == (MEETING, 0, 1)
    assert (await made.store.authorise(receiver))[1] == 1
    forged = [f"{MEETING}.0.{secret}" for secret in ("x" * 32, receiver.rsplit(".", 1)[1])]
    for token in forged:
        assert await denial(made.store.authorise(token)) == "unauthorised"
    await made.store.execute(MEETING, s.Attach(1, made.socket("B")))
    _, who, first = await made.store.meet(MEETING, 60.0, sender=True)
    _, _, second = await made.store.meet(MEETING, 60.0, sender=True)
    assert who == SENDER
    assert await denial(made.store.authorise(first)) == "unauthorised"
    assert (await made.store.authorise(second))[1] == SENDER
    await made.store.execute(MEETING, s.Attach(SENDER, made.socket("A")))
    await made.store.execute(MEETING, s.AppendMessage(SENDER, 1, 0, b"a"))
    assert await log_of(made, MEETING, 1) == [b"a"]
    await made.store.meet(MEETING, 60.0, sender=True)
    assert await log_of(made, MEETING, 1) == []
    _, number, _ = await made.store.meet(MEETING, 60.0, sender=False)
    assert number == 2


@on_bench
async def test_a_meeting_that_is_over_begins_anew(made: Bench) -> None:
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


@on_bench
async def test_meetings_take_no_slots(made: Bench) -> None:
    for n in range(38):
        await made.store.meet(f"{'m' * 24}{chr(97 + n // 26)}{chr(97 + n % 26)}", 5.0, sender=True)
    slots = {(await made.store.create(60.0))[0].slot for _ in range(2)}
    assert len(slots) == 2
    assert 1 <= min(slots) <= max(slots) <= 99
    assert await denial(made.store.join(0)) == "unknown"


@on_bench
async def test_a_log_is_bounded(made: Bench) -> None:
    transfer, _, _ = await served(made)
    for n in range(LIMITS.messages):
        await made.store.execute(transfer.id, s.AppendMessage(1, 1, n, b"x"))
    assert await denial(made.store.execute(transfer.id, s.AppendMessage(1, 1, LIMITS.messages, b"x"))) == "log-full"
    too_large = s.AppendMessage(SENDER, 1, 0, bytes(LIMITS.message_bytes + 1))
    assert await denial(made.store.execute(transfer.id, too_large)) == "too-large"
    assert await log_of(made, transfer.id, SENDER) == [b"x"] * LIMITS.messages
    assert await log_of(made, transfer.id, 1) == []


@on_bench
async def test_a_log_goes_with_its_attempt(made: Bench) -> None:
    transfer, _, _ = await served(made)
    await made.store.join(transfer.slot)
    await made.store.execute(transfer.id, s.Attach(2, made.socket("C")))
    await made.store.execute(transfer.id, s.AppendMessage(SENDER, 1, 0, b"to the first"))
    await made.store.execute(transfer.id, s.AppendMessage(1, 1, 0, b"from the first"))
    after = await made.store.execute(transfer.id, s.ReleaseAttempt(SENDER, 1, "wrong-code"))
    assert (after.served, after.state) == (2, State.READY)
    await made.hears(transfer.id, s.Tell(made.socket("A"), wire.Released(1, "wrong-code")))
    await made.hears(transfer.id, s.CloseSocket(made.socket("B"), wire.CloseCode.RELEASED))
    await made.hears(transfer.id, s.Tell(made.socket("A"), wire.Served(2)))
    assert await denial(made.store.execute(transfer.id, s.AppendMessage(1, 1, 1, b"late"))) == "released"
    assert await log_of(made, transfer.id, 1) == []
    await made.store.execute(transfer.id, s.AppendMessage(SENDER, 2, 0, b"to the second"))
    assert await log_of(made, transfer.id, 2) == [b"to the second"]


@on_bench
async def test_what_is_said_comes_in_the_order_of_the_steps(made: Bench) -> None:
    transfer, _, _ = await served(made)
    for n in range(LIMITS.messages):
        await made.store.execute(transfer.id, s.AppendMessage(SENDER, 1, n, b"%d" % n))
    await made.store.execute(transfer.id, s.Delete(SENDER))
    await made.hears(transfer.id, s.CloseSocket(made.socket("B"), wire.CloseCode.OVER))
    told = [effect for _, effect in made.heard if not isinstance(effect, s.Note) and effect.socket == made.socket("B")]
    messages = [effect.message for effect in told if isinstance(effect, s.Tell)]
    assert [m.index for m in messages if isinstance(m, wire.LogMessage)] == list(range(LIMITS.messages))
    assert isinstance(messages[0], wire.Welcome)
    assert told[-1] == s.CloseSocket(made.socket("B"), wire.CloseCode.OVER)


@on_bench
async def test_commands_at_the_same_time_are_carried_out_one_after_the_other(made: Bench) -> None:
    transfer, _ = await made.store.create(60.0)
    joins = await asyncio.gather(*(made.store.join(transfer.slot) for _ in range(LIMITS.attempts)))
    assert sorted(number for _, number, _ in joins) == list(range(1, LIMITS.attempts + 1))
    assert await denial(made.store.join(transfer.slot)) == "queue-full"
    await made.store.execute(transfer.id, s.Attach(SENDER, made.socket("A")))
    await made.store.execute(transfer.id, s.Attach(1, made.socket("B")))
    appends = (made.store.execute(transfer.id, s.AppendMessage(1, 1, 0, b"%d" % n)) for n in range(5))
    ends = await asyncio.gather(*appends, return_exceptions=True)
    assert sorted(end.code for end in ends if isinstance(end, Denied)) == ["conflict"] * 4
    log = await log_of(made, transfer.id, SENDER)
    assert len(log) == 1
    assert isinstance(ends[int(log[0])], s.Rendezvous)


@on_bench
async def test_a_socket_that_may_have_missed_something_is_told_everything(made: Bench) -> None:
    transfer, _, _ = await served(made)
    await made.store.execute(transfer.id, s.AppendMessage(1, 1, 0, b"to the sender"))
    await made.store.execute(transfer.id, s.AppendMessage(SENDER, 1, 0, b"to the receiver"))
    await made.hears(transfer.id, s.Tell(made.socket("B"), wire.LogMessage(1, 0, b"to the receiver")))
    made.heard.clear()
    await made.store.execute(transfer.id, s.Attach(SENDER, made.socket("A"), {1: 0}, again=True))
    await made.hears(transfer.id, s.Tell(made.socket("A"), wire.LogMessage(1, 0, b"to the sender")))
    told = [
        effect.message for _, effect in made.heard if isinstance(effect, s.Tell) and effect.socket == made.socket("A")
    ]
    assert isinstance(told[0], wire.Welcome)  # for the socket: the client is passed on no second one
    assert any(isinstance(message, wire.StateChanged) for message in told)
    assert wire.Appended(1, 0) in told
    assert not any(isinstance(effect, s.CloseSocket) for _, effect in made.heard)
    await made.store.execute(transfer.id, s.Attach(1, made.socket("later")))
    await made.store.execute(transfer.id, s.Attach(1, made.socket("B"), {1: 1}, again=True))
    await made.hears(transfer.id, s.CloseSocket(made.socket("B"), wire.CloseCode.REPLACED))
    assert (await made.store.load(transfer.id)).attempts[0].socket == made.socket("later")


@on_bench
async def test_time_counts_while_nobody_is_there(made: Bench) -> None:
    transfer, token = await made.store.create(5.0)
    await made.pass_time(5.0)
    assert (await made.store.authorise(token))[0].expired
    assert await denial(made.store.join(transfer.slot)) == "expired"
    joiner, _ = await made.store.create(60.0)
    await made.store.join(joiner.slot)
    await made.pass_time(LIMITS.join_grace)
    assert (await made.store.load(joiner.id)).attempts == ()


@on_bench
async def test_an_address_has_so_many_open_transfers(made: Bench) -> None:
    first, _ = await made.store.create(60.0, "a")
    await made.store.create(5.0, "a")
    await made.store.meet(MEETING, 60.0, sender=True, owner="a")
    await made.store.meet(MEETING, 60.0, sender=False, owner="a")
    for _ in range(MAX_OPEN - 3):
        await made.store.create(60.0, "a")
    assert await denial(made.store.create(60.0, "a")) == "too-many-open"
    assert await denial(made.store.meet("n" * 26, 60.0, sender=True, owner="a")) == "too-many-open"
    await made.store.meet(MEETING, 60.0, sender=True, owner="a")
    await made.store.create(60.0, "b")
    await made.store.execute(first.id, s.Delete(SENDER))
    await eventually(lambda: made.store.create(60.0, "a"))
    assert await denial(made.store.create(60.0, "a")) == "too-many-open"
    await made.pass_time(60.0)
    await made.pass_time(60.0 + 2 * LIMITS.rest)  # those that nobody ended may count for longer
    for _ in range(MAX_OPEN):
        await made.store.create(60.0, "a")
    assert await denial(made.store.create(60.0, "a")) == "too-many-open"


@on_bench
async def test_the_logs_of_one_owner_are_bounded_together(made: Bench) -> None:
    async def fill(owner: str) -> tuple[list[s.Rendezvous], int]:
        """Open transfers and fill their logs with messages of 64 KiB, until the owner has no more room."""
        filled, count = [], 0
        for _ in range(MAX_OPEN):
            transfer, _ = await made.store.create(60.0, owner)
            filled.append(transfer)
            await made.store.join(transfer.slot)
            await made.store.execute(transfer.id, s.Attach(SENDER, made.socket(f"{transfer.id}-s")))
            await made.store.execute(transfer.id, s.Attach(1, made.socket(f"{transfer.id}-r")))
            with contextlib.suppress(Denied):
                for n in range(LIMITS.messages):
                    await made.store.execute(transfer.id, s.AppendMessage(1, 1, n, bytes(1 << 16)))
                    count += 1
        return filled, count

    filled, count = await fill("a")
    assert MAX_KEPT // 2 < count << 16 <= MAX_KEPT // 2 + MAX_OPEN * FREE
    other, _ = await made.store.create(60.0, "b")
    await made.store.join(other.slot)
    await made.store.execute(other.id, s.Attach(SENDER, made.socket("b-s")))
    await made.store.execute(other.id, s.Attach(1, made.socket("b-r")))
    for n in range(4):
        await made.store.execute(other.id, s.AppendMessage(1, 1, n, bytes(1 << 16)))
    last = filled[-1].id
    more = s.AppendMessage(1, 1, (await made.store.load(last)).attempts[0].to_sender.count, bytes(1 << 16))
    assert await denial(made.store.execute(last, more)) == "log-full"
    for transfer in filled[:-1]:
        await made.store.execute(transfer.id, s.Delete(SENDER))
    await eventually(lambda: made.store.execute(last, more))


@on_bench
async def test_an_address_may_do_something_so_often(made: Bench) -> None:
    rate = Rate(3, 60.0)
    assert [await made.store.spend("join", "a", rate) for _ in range(3)] == [0.0] * 3
    wait = await made.store.spend("join", "a", rate)
    assert 15.0 < wait <= 20.0
    assert await made.store.spend("join", "a", rate) <= wait
    assert await made.store.spend("join", "b", rate) == 0.0
    assert await made.store.spend("create", "a", rate) == 0.0
    await made.pass_time(60.0)
    assert await made.store.spend("join", "a", rate) == 0.0


@on_bench
async def test_a_store_that_is_there_says_so(made: Bench) -> None:
    await made.store.check()
    async with asyncio.timeout(5.0):
        await made.store.available()


@on_bench
async def test_the_census_counts_transfers_whose_sender_is_here(made: Bench) -> None:
    await made.store.create(60.0)
    waiting, _ = await made.store.create(60.0)
    await made.store.execute(waiting.id, s.Attach(SENDER, made.socket("W")))
    transfer, _, _ = await served(made)
    assert made.store.census() == {State.PENDING: 1, State.READY: 1}
    await made.store.execute(transfer.id, s.AcceptAttempt(SENDER, 1))
    assert made.store.census() == {State.PENDING: 1, State.ACTIVE: 1}
    await made.store.execute(waiting.id, s.Detach(SENDER, made.socket("W")))
    assert made.store.census() == {State.ACTIVE: 1}
