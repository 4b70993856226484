"""One live peer: the key exchange, the link, the lanes and the session, driven by one event loop.

:mod:`p2pal.peer.key_exchange` gets from a join code to a shared secret, through the mailbox.
:mod:`p2pal.peer.peer` gets from the secret to an ordered stream of payloads, and keeps it going.
"""
