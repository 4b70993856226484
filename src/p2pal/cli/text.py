r"""Text from outside (names, messages, server text) made safe to show on a terminal.

A terminal obeys control characters, and a reader believes what is shown. So nothing that moves the cursor, changes
colours, breaks the line, reverses the reading order or hides itself is ever written as it came: it becomes a
visible escape such as ``\x1b`` or ``\u202e``, as Python and shells spell it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final

LIMIT: Final = 200
"""Characters of one shown name or message, unless the caller says otherwise."""

ELLIPSIS: Final = "…"

# Everything here is dangerous whatever str.isprintable() says of it: C0 and C1 controls, line and paragraph
# separators, bidirectional controls, zero-width and other invisible ("default ignorable") characters, lone
# surrogates, non-characters, tags, and every other format character of Unicode (Cf). Variation selectors 15 and 16
# stay: emoji need them and they hide nothing.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb"
    "\ufffe\uffff\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8 (PEP 383): show the byte
        return f"\\x{code - 0xDC00:02x}"
    if short := _SHORT.get(char):
        return short
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _shown(char: str) -> str:
    if _UNSAFE.match(char):
        return _escape(char)
    # Spaces of every width are harmless, though isprintable() refuses all but the plain one.
    return char if char.isprintable() or char.isspace() else _escape(char)


def safe(text: str, limit: int = LIMIT) -> str:
    """Return ``text`` as one line of at most ``limit`` characters that cannot control a terminal.

    What is too long loses its middle, so that a file's extension stays in sight.
    """
    # The output is never shorter than the input, so a hostile length costs no more than the limit.
    if len(text) > limit:
        half = (limit + 1) // 2
        text = text[:half] + ELLIPSIS + text[len(text) - half :]
    if not (text.isascii() and text.isprintable()):
        text = "".join(map(_shown, text))
    return shorten(text, limit)


def shorten(text: str, limit: int) -> str:
    """Cut the middle out of ``text`` so that at most ``limit`` characters remain; 0 or less leaves nothing."""
    if len(text) <= limit:
        return text
    if limit <= 1:
        return ELLIPSIS[: max(limit, 0)]
    head = limit // 2
    tail = limit - 1 - head
    return text[:head] + ELLIPSIS + (text[-tail:] if tail else "")


def safe_path(path: str | bytes | os.PathLike[str], limit: int = LIMIT) -> str:
    """:func:`safe` for a path of this machine: its names may come from anywhere too."""
    return safe(os.fsdecode(path), limit)


def json_ascii(line: str) -> str:
    r"""Return a JSON text in which every unsafe character is a ``\u`` escape: the same value, safe on a terminal.

    Such characters occur in JSON only inside strings, so the whole text can be treated alike.
    """
    return _UNSAFE.sub(_json_escape, line)


def _json_escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def names(items: Sequence[str], *, more: int = 0, limit: int = 60) -> str:
    """Return names as a person says them: ``a, b and c``; of four or more, ``a, b and 4 more``. Each is made safe.

    Args:
        items: The names that are known.
        more: How many there are besides.
        limit: Characters of one name.
    """
    total = len(items) + more
    shown = [safe(item, limit) for item in (items if total <= 3 else items[:2])]
    if more := total - len(shown):
        return f"{', '.join(shown)} and {more:,} more"
    if len(shown) > 1:
        return f"{', '.join(shown[:-1])} and {shown[-1]}"
    return shown[0] if shown else ""
