"""What a transfer is sure to need is imported in a thread from the start."""

from __future__ import annotations

import contextlib
import threading
from importlib import import_module


def preload() -> None:
    """Begin to import the HTTP client while this thread imports the rest.

    A third of that import is OpenSSL, which reads the certificates of this machine and leaves the interpreter to others
    meanwhile. The next import of it waits for this one, and raises what goes wrong.
    """
    threading.Thread(target=_import, name="preload", daemon=True).start()


def _import() -> None:
    with contextlib.suppress(Exception):
        import_module("aiohttp")
