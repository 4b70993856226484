"""The store in Redis, for several server instances."""

from p2pal.server.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
