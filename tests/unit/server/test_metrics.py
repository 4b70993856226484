from __future__ import annotations

import pytest

from p2pal.server.config import ServerConfig
from p2pal.server.metrics import BUCKETS, EVENTS, REASONS, Histogram, MeasuredStore, Metrics, Watch
from p2pal.server.state import SENDER, AppendMessage, Attach, Denied, Note
from p2pal.server.stores.memory import MemoryStore
from p2pal.wire.rendezvous import CloseCode


def test_a_histogram_counts_into_the_first_bucket_that_is_large_enough() -> None:
    histogram = Histogram()
    for seconds in (0.0, BUCKETS[0], BUCKETS[0] * 1.01, BUCKETS[-1] + 1):
        histogram.observe(seconds)
    assert histogram.counts[:2] == [2, 1]
    assert histogram.counts[-1] == 1
    assert sum(histogram.counts) == 4
    assert histogram.total > BUCKETS[-1] + 1


def test_a_watch_also_counts_what_fails() -> None:
    histogram = Histogram()
    with pytest.raises(Denied), Watch(histogram):
        raise Denied("unavailable")
    assert sum(histogram.counts) == 1


def test_what_clients_choose_names_no_count() -> None:
    metrics = Metrics()
    for reason in (*REASONS, "my-secret", "another", ""):
        metrics.note(Note("released", 1, reason))
    assert metrics.releases == {**dict.fromkeys(REASONS, 1), "other": 3}
    for code in (1000, 1006, CloseCode.OVER, 4999, 3000):
        metrics.closed(code)
    assert metrics.sockets_closed == {"1000": 1, "1006": 1, "4411": 1, "other": 2}
    metrics.note(Note("something-new"))
    metrics.note(Note("joined", 1))
    assert metrics.events == {**dict.fromkeys(EVENTS, 0), "joined": 1}


async def test_every_step_of_the_store_is_measured() -> None:
    metrics = Metrics()
    inner = MemoryStore()
    store = MeasuredStore(inner, metrics)
    store.listen(lambda _id, _effect: None)
    transfer, token = await store.create(60.0)
    _, attempt, _ = await store.join(transfer.slot)
    assert await store.authorise(token) == (await store.load(transfer.id), SENDER)
    await store.meet("a2" * 13, 60.0, sender=True)
    await store.execute(transfer.id, Attach(SENDER, "socket-1"))
    await store.execute(transfer.id, Attach(attempt, "socket-2"))
    await store.execute(transfer.id, AppendMessage(SENDER, attempt, 0, b"12345"))
    rate = ServerConfig().addresses.creates
    assert rate is not None
    assert await store.spend("create", "address", rate) == 0.0
    await store.check()
    await store.available()
    assert store.now() > 0
    assert store.census() == inner.census() != {}
    counted = {name: sum(histogram.counts) for name, histogram in metrics.steps.items()}
    assert counted == {
        "create": 1, "join": 1, "meet": 1, "authorise": 1, "load": 1, "execute": 3, "spend": 1
    }  # fmt: skip
    assert (metrics.events["created"], metrics.stored, metrics.stored_bytes) == (1, 1, 5)
    with pytest.raises(Denied, match="the index is not the next one"):
        await store.execute(transfer.id, AppendMessage(SENDER, attempt, 7, b"12345"))
    assert metrics.stored == 1
    assert sum(metrics.steps["execute"].counts) == 4
