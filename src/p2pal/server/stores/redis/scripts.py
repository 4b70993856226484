"""What Redis carries out in one step. Each script touches one key, so that it runs on any Redis Cluster.

Redis 7 and Valkey replicate what a script did, not the script: it may ask for the time.
"""

from __future__ import annotations

import hashlib
from typing import Final

from p2pal.server.stores.redis.keys import STATE, VERSION


class Script:
    """A Lua script and the name under which Redis remembers it."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()  # the name that Redis gives it


_FIELDS: Final = f"\nlocal VERSION, STATE = '{VERSION}', '{STATE}'"
_COMMIT: Final = """
-- Compare and set. KEYS: the transfer. ARGV: the version it must have (0: there must be none), the next version, the
-- new state, when it expires (ms), then each with its count: fields and values to store, fields to remove, fields to
-- return; then channels and what to publish there. Returns {1, values...}, or {0, version, state} of what is there
-- instead.
local version = redis.call('HGET', KEYS[1], VERSION) or '0'
if version ~= ARGV[1] then
    return {0, version, redis.call('HGET', KEYS[1], STATE) or ''}
end
redis.call('HSET', KEYS[1], VERSION, ARGV[2], STATE, ARGV[3])
local at = 5
local function count()
    at = at + 1
    return tonumber(ARGV[at - 1])
end
for _ = 1, count() do
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
    at = at + 2
end
for _ = 1, count() do
    redis.call('HDEL', KEYS[1], ARGV[at])
    at = at + 1
end
local answer = {1}
for _ = 1, count() do
    answer[#answer + 1] = redis.call('HGET', KEYS[1], ARGV[at]) or ''
    at = at + 1
end
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
while at < #ARGV do
    redis.call('PUBLISH', ARGV[at], ARGV[at + 1])
    at = at + 2
end
return answer
"""
_WITHOUT_MEMORY: Final = "#!lua flags=allow-oom"

COMMIT: Final = Script(_FIELDS + _COMMIT)
SETTLE: Final = Script(_WITHOUT_MEMORY + _FIELDS + _COMMIT)
"""The same for steps that add nothing: what ends can end when no memory is left."""

HOLD: Final = Script(
    _WITHOUT_MEMORY
    + """
-- Keep a slot for a transfer until a time (ms), if it is not another's by now. KEYS: the slot. ARGV: id, time.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])
return 1
"""
)

OPEN: Final = Script("""
-- Count a transfer as open until a time. KEYS: the owner's set. ARGV: id, that time, now (both ms), how many it may
-- have.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then
    return 0
end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last))
return 1
""")

SPEND: Final = Script("""
-- Take one from an allowance; see rate_limit.spend. KEYS: when it is whole. ARGV: the time for one and for all (us).
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local whole = math.min(tonumber(redis.call('GET', KEYS[1]) or 0), now + ARGV[2])  -- the clock may have gone back
local after = math.max(whole, now) + tonumber(ARGV[1])
local wait = after - now - tonumber(ARGV[2])
if wait > 1 then
    return string.format('%.0f', wait)
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', string.format('%.0f', (after - now) / 1000 + 1))
return '0'
""")

BEAT: Final = Script(
    _WITHOUT_MEMORY
    + """
-- A sign of life, which also comes back to its channel, and is given where no memory is left, too. KEYS: the instances.
-- ARGV: the instance, its channel, for how long (ms) others count as alive, and are remembered. Returns the time (us),
-- the age (ms) of this instance's last sign or -1, and those alive.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[2], '')
local alive = redis.call('ZRANGEBYSCORE', KEYS[1], now - ARGV[3], now + ARGV[3])  -- the clock may have gone back
local age = before and string.format('%.0f', now - before) or '-1'
return {string.format('%.0f', time[1] * 1000000 + time[2]), age, unpack(alive)}
"""
)
