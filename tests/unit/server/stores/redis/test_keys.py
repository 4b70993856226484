"""What the store calls its keys, watched at a real Redis."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.contract.benches import running
from tests.redis_kit import RedisServer
from tests.redis_kit import running as running_redis

from p2pal.rate_limit import Rate
from p2pal.server import state as s
from p2pal.server.state import SENDER
from p2pal.server.stores.redis import RedisStore, keys
from p2pal.server.stores.redis.keys import Keys, log_unit, message_field
from p2pal.server.stores.redis.reservations import FREE
from p2pal.wire.rendezvous import MAX_BODY

PACKAGE: Final = Path(keys.__file__).parent
MEETING: Final = "m" * 26
OWNER: Final = "192.0.2.1"
ROW: Final = re.compile(r"^``p2pal:(\S+)`` +(\w+)", re.MULTILINE)
WITHOUT_NAME: Final = frozenset(
    {"AUTH", "CLIENT", "EVAL", "EVALSHA", "HELLO", "INFO", "PING", "SELECT", "TIME", "UNSUBSCRIBE"}
)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path) as server:
        yield server


def documented() -> dict[str, str]:
    """Return what the module's table says: kinds of names without the prefix, with their types."""
    return dict(ROW.findall(keys.__doc__ or ""))


def pattern(kind: str) -> re.Pattern[str]:
    return re.compile("p2pal:" + re.sub(r"[A-Z]+", ".+", re.escape(kind)))


def kind_of(name: str) -> str:
    kinds = [kind for kind in documented() if pattern(kind).fullmatch(name)]
    assert len(kinds) == 1, (name, kinds)
    return kinds[0]


async def use(store: RedisStore) -> set[str]:
    """Ask a store for everything that it can do; return the names that this needs."""
    names = Keys()
    transfer, token = await store.create(60.0, OWNER)
    await store.join(transfer.slot)
    await store.authorise(token)
    await store.execute(transfer.id, s.Attach(SENDER, f"{store.instance}.A"))
    await store.execute(transfer.id, s.Attach(1, f"{store.instance}.B"))
    for index in range(-(-FREE // MAX_BODY) + 1):
        await store.execute(transfer.id, s.AppendMessage(SENDER, 1, index, b"x" * MAX_BODY))
    await store.execute(transfer.id, s.AppendMessage(SENDER, 1, 0, b"x" * MAX_BODY))
    await store.meet(MEETING, 60.0, sender=True, owner=OWNER)
    await store.spend("create", OWNER, Rate(10, 60.0))
    await store.check()
    return {
        names.transfer(transfer.id), names.transfer(MEETING), names.slot(transfer.slot), names.open(OWNER),
        names.kept(OWNER), names.rate("create", OWNER), names.instances, names.check, names.channel(store.instance),
    }  # fmt: skip


def named(command: str) -> set[str]:
    """Return the key or channel that a command names, as MONITOR shows it; scripts' own commands follow them."""
    verb, *rest = command.split(" ")
    return set() if verb.upper() in WITHOUT_NAME else {rest[0]}


async def test_the_store_touches_what_the_table_says(redis: RedisServer) -> None:
    """Also what its scripts do inside of Redis."""
    client: Any = redis.client
    store = RedisStore(redis.url, max_open=10)
    with client.monitor() as monitor:
        async with running(store):
            expected = await use(store)
            present: dict[str, Any] = {name.decode(): client.type(name) for name in client.scan_iter()}
        client.echo("that was all")
        seen: set[str] = set()
        while "that was all" not in (command := monitor.next_command()["command"]):
            if not command.startswith(("TYPE ", "SCAN ")):  # our own questions
                seen |= named(command)
    assert seen == expected
    assert {kind_of(name) for name in seen} == documented().keys()
    assert {name for name in expected if name not in present} == {Keys().check, Keys().channel(store.instance)}
    for name, kind in present.items():
        assert documented()[kind_of(name)] == kind.decode(), name


async def test_a_transfer_has_the_fields_that_are_named(redis: RedisServer) -> None:
    store = RedisStore(redis.url)
    async with running(store):
        transfer, _ = await store.create(60.0)
        await store.join(transfer.slot)
        await store.execute(transfer.id, s.Attach(SENDER, f"{store.instance}.A"))
        await store.execute(transfer.id, s.Attach(1, f"{store.instance}.B"))
        await store.execute(transfer.id, s.AppendMessage(SENDER, 1, 0, b"first"))
        await store.execute(transfer.id, s.AppendMessage(1, 1, 0, b"answer"))
    client: Any = redis.client
    fields = client.hgetall(Keys().transfer(transfer.id))
    first, answer = message_field(1, True, 0).encode(), message_field(1, False, 0).encode()
    assert fields.keys() == {keys.VERSION.encode(), keys.STATE.encode(), first, answer}
    assert (fields[first], fields[answer]) == (b"first", b"answer")


def test_names_stay_as_servers_of_other_versions_know_them() -> None:
    names = Keys("x")
    assert [
        names.transfer("abc"), names.slot(47), names.open("o"), names.kept("o"), names.rate("join", "192.0.2.1"),
        names.instances, names.check, names.channel("i"), log_unit("abc", 3), message_field(3, True, 0),
        message_field(3, False, 12), keys.VERSION, keys.STATE, keys.PREFIX,
    ] == [
        "x:transfer:{abc}", "x:slot:47", "x:open:o", "x:kept:o", "x:rate:join:192.0.2.1",
        "x:instances", "x:check", "x:to:i", "abc:3", "3s0", "3r12", "version", "state", "p2pal",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "module", sorted(set(PACKAGE.glob("*.py")) - {Path(keys.__file__)}), ids=lambda path: path.stem
)
def test_no_other_module_makes_a_name(module: Path) -> None:
    """Of what begins with the prefix only this one knows how it goes on."""
    source = module.read_text(encoding="utf-8")
    for kind in documented():
        word = kind.partition(":")[0]
        assert f":{word}" not in source, word
    assert not re.search(r"""["'](?:version|state)["']""", source)
