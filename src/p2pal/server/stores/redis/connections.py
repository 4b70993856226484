"""The connections to Redis: one for commands, which share round trips, and one subscription for this instance.

While anything about them is broken every call is refused at once; what was under way is unknown. Once both stand
again the owner hears of it, because publications of the time between are lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from yarl import URL

from p2pal.errors import UsageError, first_error
from p2pal.server.logs import log, log_failure, log_warning
from p2pal.server.state import Denied
from p2pal.server.stores.redis.keys import Keys
from p2pal.server.stores.redis.scripts import BEAT, Script

GRACE: Final = 4.0
"""Seconds after its last sign of life that an instance is not counted among those alive; then the same once more."""

ALIVE: Final = 2 * GRACE
"""Seconds after its last sign of life that an instance counts as dead."""

_BEAT: Final = 2.0
_TIMEOUT: Final = 3.0
_REMEMBERED: Final = 3600.0
_BATCH: Final = 256
_MAX_WAITING: Final = 100_000
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_CLUSTER: Final = "+cluster"
_KEEPS: Final = "noeviction"
_MAX_CAUSES: Final = 8
_ADVICE: Final = (
    (AuthenticationError, "", "check the user name and the password in the Redis URL"),
    (NoPermissionError, "", "this Redis user lacks permissions: look at its ACL"),
    (ReadOnlyError, "", "this Redis is a replica: name the primary"),
    (MovedError, "", "this is a Redis Cluster: write redis+cluster://"),
    (ResponseError, "DB index", "this Redis has no database of that number"),
    (RedisClusterException, "not enabled", "this is no Redis Cluster: write redis://"),
)
"""Errors that do not mend themselves, what is in their text, and what to do."""

_PASSING: Final = (
    ReadOnlyError,
    MasterDownError,
    ClusterDownError,
    TryAgainError,
    AuthenticationError,
    NoPermissionError,
)
"""Refusals that concern not one command but Redis as a whole."""

Value = bytes | str | int | float
_Call = tuple[Sequence[Value], "asyncio.Future[Any]"]


class LinkOwner(Protocol):
    """Who hears of what the link brings."""

    def published(self, payload: bytes) -> None:
        """Another instance published something for this one."""

    def restored(self) -> None:
        """The link stands, for the first time or again: what was published before is lost."""

    def beaten(self, alive: Sequence[str]) -> None:
        """These instances gave a sign of life."""


class RedisLink:
    """A lasting link to Redis, Valkey or a Redis Cluster.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``; with ``+cluster`` behind the scheme, a Redis Cluster.
        keys: The names in Redis.
        instance: This instance's name.
        owner: Who hears.

    Raises:
        UsageError: If the URL is none.
    """

    def __init__(self, url: str, keys: Keys, instance: str, owner: LinkOwner) -> None:
        self._keys = keys
        self._instance = instance
        self._owner = owner
        self._cluster: redis.RedisCluster | None = None
        # No socket_timeout: one for each batch costs less than one for each send and answer.
        options: dict[str, Any] = {
            "socket_timeout": None,
            "socket_connect_timeout": _TIMEOUT,
            "retry": Retry(NoBackoff(), 0),
        }
        self._options = options
        scheme, separator, rest = url.partition("://")
        self._url = scheme.removesuffix(_CLUSTER) + separator + rest
        try:
            self._client: redis.Redis = redis.Redis.from_url(self._url, **options)
            if scheme.endswith(_CLUSTER):
                self._cluster = redis.RedisCluster.from_url(self._url, **options)
        except (ValueError, RedisError, RedisClusterException):
            raise UsageError(
                "the Redis URL is none", hint="write redis://HOST:6379/0, rediss://..., or redis+cluster://HOST:6379"
            ) from None
        self._waiting: deque[_Call] = deque()
        self._more = asyncio.Event()
        self._up = asyncio.Event()
        self._heard = self._since = 0.0
        self._offset = 0.0
        self._told_lost = False
        self._told_advice = ""
        self._looked = False

    def now(self) -> float:
        """Redis' time in seconds since 1970, as it was at the last sign of life and has gone on since."""
        return time.monotonic() + self._offset

    async def wait_up(self) -> None:
        """Wait until the link stands."""
        await self._up.wait()

    async def call(self, *command: Value) -> Any:
        """Carry out one command and return Redis' answer.

        Raises:
            Denied: ``unavailable``: it is not known whether it was carried out; ``full``: Redis has no memory left.
        """
        if not self._up.is_set() or len(self._waiting) >= _MAX_WAITING:
            raise Denied("unavailable")
        return await self._enqueue(command)

    async def run_script(self, script: Script, key: str, *args: Value) -> Any:
        """Carry out a script on one key; see :meth:`call`."""
        try:
            return await self.call("EVALSHA", script.sha, 1, key, *args)
        except NoScriptError:
            return await self.call("EVAL", script.text, 1, key, *args)

    def _enqueue(self, command: Sequence[Value]) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        self._more.set()
        return answer

    # The life of the link.

    async def run(self) -> None:
        """Keep the link standing, until cancelled."""
        pause = _FIRST_PAUSE
        try:
            while True:
                # In a task of its own: a group whose child fails leaves the mark of a cancellation on its task (3.11).
                error = await asyncio.create_task(self._stand())
                _end_if_cancelled()  # what failed was being ended
                if self._up.is_set():
                    self._up.clear()
                    if time.monotonic() - self._since > ALIVE:
                        pause = _FIRST_PAUSE
                self._fail_waiting()
                self._tell_lost(error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                pause = min(_LONGEST_PAUSE, pause * 2)
        finally:
            self._up.clear()
            self._fail_waiting()
            await self._close()

    def _tell_lost(self, error: BaseException | None) -> None:
        """Log it once, and again if it turns out to be what only a person can mend."""
        advice = _advice(error)
        if self._told_lost and advice in ("", self._told_advice):
            return
        self._told_lost, self._told_advice = True, advice
        hint = {"hint": advice} if advice else {}
        log_failure("store-lost", cause=type(error).__name__, server=_place(self._url), **hint)

    async def _stand(self) -> BaseException | None:
        """Have both connections and use them until one fails; return why."""
        cause: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._flush_forever())
                tasks.create_task(self._listen_forever(tasks))
        except* (RedisError, RedisClusterException, OSError, TimeoutError, Denied) as group:
            # What shared a round trip with the command that failed was denied; that is a consequence.
            cause = first_error(group.subgroup(lambda error: not isinstance(error, Denied)) or group)
        return cause

    async def _listen_forever(self, tasks: asyncio.TaskGroup) -> None:
        client = await self._listening_client()
        try:
            async with client.pubsub() as subscription:
                async with asyncio.timeout(_TIMEOUT):
                    await subscription.subscribe(self._keys.channel(self._instance))
                    while (await subscription.get_message(timeout=_TIMEOUT) or {}).get("type") != "subscribe":
                        pass
                self._heard = self._since = time.monotonic()
                await self._beat()
                tasks.create_task(self._beat_forever())
                self._up.set()
                if self._told_lost:
                    self._told_lost, self._told_advice = False, ""
                    log("store-back")
                self._owner.restored()
                if not self._looked:
                    self._looked = True
                    tasks.create_task(_warn_if_evicting(client))
                while True:
                    message = await subscription.get_message(timeout=_TIMEOUT)
                    _end_if_cancelled()
                    if message is not None and message["type"] == "message":
                        self._heard = time.monotonic()
                        if message["data"]:
                            self._owner.published(message["data"])
        finally:
            if client is not self._client:
                await client.aclose()

    async def _listening_client(self) -> redis.Redis:
        """Return a client for the subscription; in a cluster any node will do, all of them hear what is published."""
        if self._cluster is None:
            return self._client
        await self._cluster.initialize()
        node = random.choice(self._cluster.get_nodes())  # noqa: S311 - any will do
        return redis.Redis.from_url(str(URL(self._url).with_host(node.host).with_port(int(node.port))), **self._options)

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(_BEAT)
            if not await self._beat():
                self._owner.restored()
            if time.monotonic() - self._heard > ALIVE:
                raise TimeoutError  # the subscription brings nothing, not even our own signs of life

    async def _beat(self) -> bool:
        """Give a sign of life; return whether Redis remembers the last one, and the others saw it in time."""
        key, channel = self._keys.instances, self._keys.channel(self._instance)
        before = time.monotonic()
        args = (key, self._instance, channel, int(GRACE * 1000), int(_REMEMBERED * 1000))
        try:
            answer = await self._enqueue(("EVALSHA", BEAT.sha, 1, *args))
        except NoScriptError:
            answer = await self._enqueue(("EVAL", BEAT.text, 1, *args))
        after = time.monotonic()
        self._offset = int(answer[0]) / 1e6 - (before + after) / 2
        self._owner.beaten([name.decode() for name in answer[2:]])
        return 0 <= int(answer[1]) <= GRACE * 1000

    # Commands share round trips: those that come while one is under way wait for the next.

    async def _flush_forever(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                try:
                    await self._carry_out(batch)
                finally:
                    _refuse(batch)
                _end_if_cancelled()

    async def _carry_out(self, batch: list[_Call]) -> None:
        async with asyncio.timeout(_TIMEOUT):
            answers = await self._ask([command for command, _ in batch])
        lost: BaseException | None = None
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if not isinstance(answer, BaseException):
                future.set_result(answer)
            elif isinstance(answer, NoScriptError):
                future.set_exception(answer)
            elif isinstance(answer, OutOfMemoryError):
                future.set_exception(Denied("full"))
            elif isinstance(answer, ResponseError) and not isinstance(answer, _PASSING):
                log_failure("store-refused", cause=type(answer).__name__)
                future.set_exception(Denied("unavailable"))
            elif self._cluster is not None:  # one of its nodes; the others go on
                future.set_exception(Denied("unavailable"))
            else:
                lost = answer
        if lost is not None:
            raise lost

    async def _ask(self, commands: list[Sequence[Value]]) -> list[Any]:
        if self._cluster is not None:
            cluster = self._cluster
            return await asyncio.gather(*(cluster.execute_command(*c) for c in commands), return_exceptions=True)
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    def _fail_waiting(self) -> None:
        _refuse(self._waiting)
        self._waiting.clear()

    async def _close(self) -> None:
        with contextlib.suppress(RedisError, RedisClusterException, OSError):
            await self._client.aclose()
            if self._cluster is not None:
                await self._cluster.aclose()


def _place(url: str) -> str:
    """Return where a Redis is, without user name and password."""
    parts = URL(url)
    host = f"[{parts.host}]" if ":" in (parts.host or "") else parts.host
    return f"{host}:{parts.port or 6379}" if host else parts.path


def _advice(error: BaseException | None) -> str:
    """Return what to do about an error or what caused it, if waiting does not help. Its text is not shown."""
    for _ in range(_MAX_CAUSES):
        for kind, text, advice in _ADVICE:
            if isinstance(error, kind) and text in str(error):
                return advice
        error = error.__cause__ or error.__context__ if error is not None else None
    return ""


async def _warn_if_evicting(client: redis.Redis) -> None:
    """Log a warning if this Redis may throw transfers away. It need not allow the question."""
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        async with asyncio.timeout(_TIMEOUT):
            policy = str((await client.info("memory")).get("maxmemory_policy", _KEEPS))
        if policy != _KEEPS:
            hint = f"set its maxmemory-policy to {_KEEPS}: it would throw away living transfers when its memory is full"
            log_warning("redis-evicts", policy=policy, hint=hint)


def _end_if_cancelled() -> None:
    """End this task if it was cancelled: the Redis client may take a cancellation for one of its own timeouts."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _refuse(calls: Sequence[_Call] | deque[_Call]) -> None:
    for _, future in calls:
        if not future.done():
            future.set_exception(Denied("unavailable"))
            future.exception()  # who waited may be gone
