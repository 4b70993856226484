from __future__ import annotations

import subprocess
import sys
from collections import defaultdict

from p2pal.crypto.codes import edit_distance
from p2pal.crypto.words import WORDS


def test_there_are_2048_different_words() -> None:
    assert len(WORDS) == len(set(WORDS)) == 2048
    assert {"zebra", "luna"} <= set(WORDS)


def test_every_word_is_short_plain_and_lower_case() -> None:
    assert all(word.isascii() and word.isalpha() and word.islower() and 3 <= len(word) <= 8 for word in WORDS)


def test_the_list_is_sorted() -> None:
    assert list(WORDS) == sorted(WORDS)


def test_no_two_words_are_one_edit_apart() -> None:
    # Words one edit apart share a string that a deletion gives, or one is a deletion of the other: only words that
    # meet in a bucket need the real distance.
    buckets: defaultdict[str, list[str]] = defaultdict(list)
    for word in WORDS:
        for variant in {word, *(word[:i] + word[i + 1 :] for i in range(len(word)))}:
            buckets[variant].append(word)
    pairs = {(a, b) for meeting in buckets.values() for a in meeting for b in meeting if a < b}
    assert [(a, b) for a, b in pairs if edit_distance(a, b) < 2] == []


def test_codes_and_words_load_nothing_heavy() -> None:
    script = "import sys, p2pal.crypto.codes as _; print({'cryptography', 'spake2', 'msgspec'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
