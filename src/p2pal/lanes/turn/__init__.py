"""TURN over TLS and through proxies, for engines that can do neither."""
