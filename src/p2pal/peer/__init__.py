"""One live peer: the key exchange, the signaling, the link, its lanes and the session, driven by one event loop."""
