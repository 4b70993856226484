r"""Text from outside (names, messages, server text) made safe to show on a terminal.

A terminal obeys control characters, and a reader believes what is shown. So nothing that moves the cursor, changes
colours, breaks the line, reverses the reading order or hides itself is ever written as it came: it becomes a
visible escape such as ``\x1b`` or ``\u202e``, as Python and shells spell it. So do marks that pile up on a letter until
they cover other lines, marks without a letter, and what looks like nothing.

**Right to left.** Letters of Hebrew or Arabic take what stands beside them along: a slash, a bracket, a number changes
sides, and with it what belongs to which name. So each part of a path that has such letters is shown as a left-to-right
isolate (UAX #9: LRI, PDI), the way addresses are to be shown (RFC 3987, section 4.1): nothing outside moves, the parts
stand in their order, and a name's extension stands at its end. First-strong isolates (FSI) would leave it to the name's
first letter at which end that is. Terminals that do not reverse anything do not show the two characters.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

LIMIT: Final = 200
"""Characters of one shown name or message, unless the caller says otherwise."""

ELLIPSIS: Final = "…"

# Everything here is dangerous whatever str.isprintable() says of it: C0 and C1 controls, line and paragraph
# separators, bidirectional controls, zero-width and other invisible ("default ignorable") characters, lone
# surrogates, non-characters, tags, and every other format character of Unicode (Cf). Variation selectors 15 and 16
# stay on a character of their own: emoji need them and they hide nothing.
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


# Printable, and yet nothing is seen: a Braille cell without dots, an object that is not there, a note without a head.
_BLANK: Final = frozenset("\u2800\ufffc\U0001d159\U00016fe4")
_SPACES: Final = frozenset(" \xa0\u202f\u3000")
"""Spaces that names have: of typewriters, of French, of the times in macOS' screenshots, of Chinese and Japanese."""

_MOST_SPACES: Final = 16
"""In a row. More push what follows out of sight."""

_MOST_MARKS: Final = 8
"""On one letter: Tibetan stacks have up to 7."""

_MOST_HIGH: Final = 4
"""Of those, that are put above or below each other: Hebrew with all its points and accents has 3 or 4."""

_JOINERS: Final = frozenset("\u200c\u200d")
_VIRAMA: Final = 9
_PILED: Final = 200
"""Combining classes (Unicode Standard, 4.3): of a virama, and from which on marks are piled up."""

_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN"})
_LRI: Final = "\u2066"
_PDI: Final = "\u2069"
_MOST_ISOLATES: Final = 8


class _Scribe:
    """Writes one text, character by character: what a mark does depends on what it stands on."""

    __slots__ = ("_base", "_high", "_marks", "_spaces", "_text", "written")

    def __init__(self, text: str) -> None:
        self._text = text
        self._base = False
        self._marks = self._high = self._spaces = 0
        self.written: list[str] = []

    def write(self) -> str:
        """Return all of it, safe."""
        for index, char in enumerate(self._text):
            self.written.append(char if self._may(index, char) else _escape(char))
        return "".join(self.written)

    def _may(self, index: int, char: str) -> bool:
        if char in _JOINERS:
            return self._joins(index, char)
        if _UNSAFE.match(char) or char in _BLANK:
            return self._begin(base=False)
        category = unicodedata.category(char)
        if category in ("Mn", "Me"):
            return self._pile(char, category)
        if category == "Zs":
            return self._space(char)
        return self._begin(base=char.isprintable()) and char.isprintable()

    def _begin(self, *, base: bool) -> bool:
        """A character of its own; return whether marks may stand on it."""
        self._base = base
        self._marks = self._high = self._spaces = 0
        return base

    def _space(self, char: str) -> bool:
        self._base = False
        self._spaces += 1
        return char in _SPACES and self._spaces <= _MOST_SPACES

    def _pile(self, char: str, category: str) -> bool:
        """A mark: whether there is something to stand on, and room."""
        self._marks += 1
        self._high += category == "Me" or unicodedata.combining(char) >= _PILED
        if char in "\ufe0e\ufe0f":
            return self._base and self._marks == 1
        return self._base and self._marks <= _MOST_MARKS and self._high <= _MOST_HIGH

    def _joins(self, index: int, char: str) -> bool:
        """Whether a joiner is one that writing needs (RFC 5892, appendices A.1 and A.2).

        Between emoji it is left out: terminals do not agree on how many columns they take together.
        """
        before, after = self._text[index - 1 : index], self._text[index + 1 : index + 2]
        if not (self._base and before and after):
            return False
        if unicodedata.combining(before) == _VIRAMA:
            return True
        return char == "\u200c" and unicodedata.bidirectional(before) == unicodedata.bidirectional(after) == "AL"


def safe(text: str, limit: int = LIMIT, *, isolate: bool = True) -> str:
    """Return ``text`` as one line of at most ``limit`` characters that cannot control a terminal.

    What is too long loses its middle, so that a file's extension stays in sight.

    Args:
        text: The text.
        limit: Characters, those of isolates included.
        isolate: Isolate what is written from right to left; otherwise it is spelled, as in a command that is to be
            copied without characters that nobody sees.
    """
    # The output is never shorter than the input, so a hostile length costs no more than the limit.
    if len(text) > limit:
        half = (limit + 1) // 2
        text = text[:half] + ELLIPSIS + text[len(text) - half :]
    if not (text.isascii() and text.isprintable() and " " * (_MOST_SPACES + 1) not in text):
        text = _Scribe(text).write()
    if _is_mirrored(text):
        if isolate:
            return _isolated(text, limit)
        text = "".join(_escape(char) if _is_mirrored(char) or char in _JOINERS else char for char in text)
    return shorten(text, limit)


def _is_mirrored(text: str) -> bool:
    """Whether some of it is written from right to left."""
    return not text.isascii() and any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in text)


def _isolated(text: str, limit: int) -> str:
    count = sum(map(_is_mirrored, text.split("/")))
    if count > _MOST_ISOLATES or limit <= 2 * count:
        return shorten(f"{_LRI}{shorten(text, limit - 2)}{_PDI}" if limit > 2 else ELLIPSIS, limit)
    parts = shorten(text, limit - 2 * count).split("/")
    return "/".join(f"{_LRI}{part}{_PDI}" if _is_mirrored(part) else part for part in parts)


def broken(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines that a text was broken into: an isolate that goes on in the next one ends and begins anew."""
    open_ = False
    for line in lines:
        whole = f"{_LRI}{line}" if open_ else line
        open_ = whole.count(_LRI) > whole.count(_PDI)
        yield whole + _PDI * open_


def balanced(text: str) -> str:
    """Return a text that was cut, with an end for each isolate that lost its own, and no end without a beginning."""
    if _LRI not in text and _PDI not in text:
        return text
    kept, opened = [], 0
    for char in text:
        opened += (char == _LRI) - (char == _PDI)
        if opened < 0:
            opened = 0
        else:
            kept.append(char)
    return "".join(kept) + _PDI * opened


def shorten(text: str, limit: int) -> str:
    """Cut the middle out of ``text`` so that at most ``limit`` characters remain; 0 or less leaves nothing."""
    if len(text) <= limit:
        return text
    if limit <= 1:
        return ELLIPSIS[: max(limit, 0)]
    head = limit // 2
    tail = text[-(limit - 1 - head) :] if limit - 1 > head else ""
    while tail and unicodedata.category(tail[0]) in ("Mn", "Me"):  # its letter is gone
        tail = tail[1:]
    return text[:head] + ELLIPSIS + tail


def safe_path(path: str | bytes | os.PathLike[str], limit: int = LIMIT) -> str:
    """:func:`safe` for a path of this machine: its names may come from anywhere too."""
    return safe(os.fsdecode(path), limit)


def json_ascii(line: str) -> str:
    r"""Return a JSON text in which every unsafe character is a ``\u`` escape: the same value, safe on a terminal.

    What is written from right to left, marks and blanks are escapes as well: programs read them, and on a terminal they
    would change what seems to belong to which name. Such characters occur in JSON only inside strings, so the whole
    text can be treated alike.
    """
    return line if line.isascii() and line.isprintable() else "".join(map(_json_shown, line))


@lru_cache(maxsize=4096)
def _json_shown(char: str) -> str:
    category = unicodedata.category(char)
    hidden = char in _BLANK or (category in ("Mn", "Me", "Cn", "Co", "Zs") and char != " ")
    if _UNSAFE.match(char) or hidden or unicodedata.bidirectional(char) in _RIGHT_TO_LEFT:
        return _json_escape(ord(char))
    return char


def _json_escape(code: int) -> str:
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
