"""``--json``: every event as one JSON object on its own line, and nothing else on stdout."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from p2pal.app.events import Event
from p2pal.cli.text import json_ascii

_encoder = msgspec.json.Encoder()


def encode(event: Event | dict[str, Any]) -> str:
    r"""Return the event, or another object, as one line of JSON, without the newline.

    Characters that could control a terminal are ``\u`` escapes. A name that was not UTF-8 keeps its bytes as lone
    surrogates (PEP 383), written as escapes too, so that Python's ``os.fsencode`` gives the bytes back.
    """
    try:
        line = _encoder.encode(event).decode()
    except UnicodeEncodeError:
        line = json.dumps(msgspec.to_builtins(event), separators=(",", ":"))
    return json_ascii(line)
