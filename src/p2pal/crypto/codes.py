"""Join codes such as ``zebra-luna-47``: draw, write, read, correct, complete.

A code is some words and a *slot*. The slot comes from the server and finds the transfer; the words are drawn on the
sender's machine, never leave the two peers, and are the password of the key exchange (:mod:`p2pal.crypto.pake`).

Reading is generous, because people type codes and paste them: letter case, accents, any separator, digits of any
script and a pasted command line are all the same. A word one edit away from exactly one word of the list is
corrected and the correction reported, before anything is sent.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from p2pal.crypto.words import WORDS
from p2pal.errors import MistypedCode

MIN_WORDS: Final = 2
MAX_WORDS: Final = 8
MAX_SLOT: Final = 2**31 - 1
MAX_TEXT: Final = 256

_EXAMPLE: Final = "a code looks like zebra-luna-47"
_PASTED: Final = re.compile(r"\W*(?:p2pal\s+recv\b|join\s+code\s*:)")
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_LONGEST: Final = 8
_KNOWN: Final = frozenset(WORDS)
_SHOWN_LETTERS: Final = 12
_SUGGESTIONS: Final = 3


@dataclass(frozen=True, slots=True, repr=False)
class JoinCode:
    """A join code. ``str()`` writes it out; ``repr()`` keeps the words out of logs and tracebacks."""

    words: tuple[str, ...]
    slot: int

    def __str__(self) -> str:
        return f"{'-'.join(self.words)}-{self.slot}"

    def __repr__(self) -> str:
        return f"JoinCode(<{len(self.words)} words>, slot={self.slot})"


@dataclass(frozen=True, slots=True, repr=False)
class Parsed:
    """A code that was read, and the words that were corrected: pairs of what was typed and what is used."""

    code: JoinCode
    corrections: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Parsed({self.code!r}, <{len(self.corrections)} corrections>)"


def make(slot: int, *, count: int = 2, randbelow: Callable[[int], int]) -> JoinCode:
    """Draw a new code.

    Args:
        slot: The number the server gave, 1 to 2^31 - 1.
        count: How many words, 2 to 8; each is worth 11 bits.
        randbelow: A uniform, unpredictable number from 0 to its argument, exclusive: ``secrets.randbelow``.

    Raises:
        ValueError: If ``slot`` or ``count`` is out of range.
    """
    if not 1 <= slot <= MAX_SLOT:
        raise ValueError("the slot is out of range")
    if not MIN_WORDS <= count <= MAX_WORDS:
        message = f"a code has {MIN_WORDS} to {MAX_WORDS} words"
        raise ValueError(message)
    return JoinCode(tuple(WORDS[randbelow(len(WORDS))] for _ in range(count)), slot)


def parse(text: str) -> Parsed:
    """Read a code as a person typed or pasted it.

    Raises:
        MistypedCode: If it has not the shape of a code, or a word is not in the list and no single word is one edit
            away; the message says which, the hint what may be meant.
    """
    if len(text) > MAX_TEXT:
        raise MistypedCode("this is too long for a join code", hint=_EXAMPLE)
    typed, slot = _split(_tokens(text))
    words: list[str] = []
    corrections: list[tuple[str, str]] = []
    for position, token in enumerate(typed, start=1):
        word = token if token in _KNOWN else _correct(token, position)
        if word != token:
            corrections.append((token, word))
        words.append(word)
    return Parsed(JoinCode(tuple(words), slot), tuple(corrections))


def complete(prefix: str) -> list[str]:
    """Return what the code that starts with ``prefix`` may be up to its next dash; for shells and prompts.

    Once two words stand the number is next, which nobody can guess: then only a third word that was begun is completed.
    """
    if len(prefix) > MAX_TEXT:
        return []
    tokens = _tokens(prefix)
    begun = tokens.pop() if tokens and prefix[-1].isalnum() else ""
    if len(tokens) >= MAX_WORDS or not _KNOWN.issuperset(tokens) or (len(tokens) >= MIN_WORDS and not begun):
        return []
    return ["-".join((*tokens, word, "")) for word in WORDS if word.startswith(begun)]


def password(code: JoinCode) -> bytes:
    """Return the password of the key exchange: the words, without the slot, which is public."""
    return "-".join(code.words).encode("ascii")


def _tokens(text: str) -> list[str]:
    """Return the runs of letters and digits, in plain lower case; everything else separates."""
    # NFKD turns full-width and circled forms into plain ones and splits accents off, as marks (Mn). Format
    # characters (Cf) are the invisible ones that travel with a paste: zero-width spaces, direction marks.
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    kept = "".join(char for char in plain if unicodedata.category(char) not in {"Mn", "Cf"})
    pasted = _PASTED.match(kept)
    code = kept[pasted.end() :] if pasted else kept
    return "".join(char if char.isalnum() else " " for char in code).split()


def _split(tokens: list[str]) -> tuple[list[str], int]:
    """Return the words, still unchecked, and the slot."""
    if not tokens:
        raise MistypedCode("no join code was given", hint=_EXAMPLE)
    words, number = tokens[:-1], tokens[-1]
    if not number.isdecimal():
        # 'luna47': the last separator is easily lost.
        word = number.rstrip("0123456789")
        words, number = [*words, word], number[len(word) :]
    if not number:
        raise MistypedCode("the join code has no number at its end", hint=_EXAMPLE)
    # Not corrected even where a word is near: 'luna4-7' would go to slot 7, which is somebody else's.
    if any(word[-1:].isdecimal() for word in words):
        raise MistypedCode("a join code has one number, at its end", hint=_EXAMPLE)
    if len(words) < MIN_WORDS:
        raise MistypedCode(f"the join code has fewer than {MIN_WORDS} words", hint=_EXAMPLE)
    if len(words) > MAX_WORDS:
        raise MistypedCode(f"the join code has more than {MAX_WORDS} words", hint=_EXAMPLE)
    slot = int(number)
    if not 1 <= slot <= MAX_SLOT:
        raise MistypedCode("the number at the end of the join code is out of range")
    return words, slot


def _correct(typed: str, position: int) -> str:
    """Return the one word that is one edit away from what was typed."""
    near = _one_edit(typed) & _KNOWN if 1 < len(typed) <= _LONGEST + 1 else frozenset[str]()
    if len(near) == 1:
        return next(iter(near))
    # Only plain letters are shown, and few: what was typed or pasted may be anything.
    shown = "".join(char for char in typed if char in _LETTERS)[:_SHOWN_LETTERS]
    quoted = f', "{shown}",' if shown else ""
    suggestions = _suggest(typed)
    raise MistypedCode(
        f"word {position} of the join code{quoted} is not in the word list",
        hint=f"did you mean {_either(suggestions)}?" if suggestions else None,
    )


def _one_edit(word: str) -> set[str]:
    """Return every string one edit away: a letter left out, put in, replaced, or two neighbours swapped."""
    cuts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    left_out = {head + tail[1:] for head, tail in cuts if tail}
    swapped = {head + tail[1] + tail[0] + tail[2:] for head, tail in cuts if len(tail) > 1}
    replaced = {head + letter + tail[1:] for head, tail in cuts if tail for letter in _LETTERS}
    put_in = {head + letter + tail for head, tail in cuts for letter in _LETTERS}
    return left_out | swapped | replaced | put_in


def _suggest(typed: str) -> list[str]:
    """Return the nearest words, at most three, the same first letter first; the longer the word, the more edits."""
    limit = 1 if len(typed) < 4 else 2 if len(typed) < 7 else 3
    ranked = sorted(
        (distance, word[0] != typed[0], word)
        for word in WORDS
        if abs(len(word) - len(typed)) <= limit and (distance := edit_distance(typed, word)) <= limit
    )
    return [word for *_, word in ranked[:_SUGGESTIONS]]


def edit_distance(a: str, b: str) -> int:
    """Return the optimal string alignment distance: edits between ``a`` and ``b``, no part edited twice.

    After F. Damerau, "A technique for computer detection and correction of spelling errors" (1964).
    """
    before: list[int] = []
    previous = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        row = [i]
        for j, other in enumerate(b, start=1):
            best = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before, previous = previous, row
    return previous[-1]


def _either(words: list[str]) -> str:
    """Return ``a``, ``a or b`` or ``a, b or c``."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
