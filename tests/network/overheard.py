"""p2pal as whoever writes down what the other side tells it through the mailbox, before it is looked at.

Usage: ``overheard.py FILE PYTHON -m p2pal ARGS``: each message stands in a line of the file.
"""

from __future__ import annotations

import sys

from p2pal.cli.main import main
from p2pal.peer.sealed_logs import Conversation
from p2pal.wire.signal import SignalMessage

path, sys.argv[1:] = sys.argv[1], sys.argv[5:]
_hear = Conversation.hear


def _note(self: Conversation, index: int, body: bytes) -> SignalMessage | None:
    message = _hear(self, index, body)
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{message!r}\n")
    return message


Conversation.hear = _note  # type: ignore[method-assign]
main()
