"""Join codes: whatever is typed is read rightly, corrected rightly, or refused with an error made for a person."""

from __future__ import annotations

import string
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.crypto.codes import MAX_SLOT, JoinCode, complete, edit_distance, make, parse
from p2pal.crypto.words import WORDS
from p2pal.errors import MistypedCode

codes = st.builds(
    JoinCode, st.lists(st.sampled_from(WORDS), min_size=2, max_size=8).map(tuple), st.integers(1, MAX_SLOT)
)
separators = st.text(" -_.\u2013\u2014\u00a0\u3000,/", min_size=1, max_size=3)
common = settings(max_examples=150, deadline=None)


@st.composite
def typos(draw: st.DrawFn, word: str) -> str:
    """One slip: a letter lost, doubled or added, hit wrong, or swapped with its neighbour."""
    at = draw(st.integers(0, len(word) - 1))
    letter = draw(st.sampled_from(string.ascii_lowercase))
    return draw(
        st.sampled_from(
            [
                word[:at] + word[at + 1 :],
                word[:at] + letter + word[at:],
                word[:at] + letter + word[at + 1 :],
                word[:at] + word[at : at + 2][::-1] + word[at + 2 :],
            ]
        )
    )


@common
@given(codes)
def test_what_is_written_is_read(code: JoinCode) -> None:
    parsed = parse(str(code))
    assert parsed.code == code
    assert parsed.corrections == ()


@common
@given(st.integers(1, MAX_SLOT), st.integers(2, 8), st.integers())
def test_what_is_drawn_is_read(slot: int, count: int, seed: int) -> None:
    code = make(slot, count=count, randbelow=Random(seed).randrange)
    assert len(code.words) == count
    assert parse(str(code)).code == code


@common
@given(codes, separators, st.randoms(use_true_random=False))
def test_letter_case_and_separators_do_not_matter(code: JoinCode, separator: str, random: Random) -> None:
    written = separator.join((*code.words, str(code.slot)))
    typed = "".join(random.choice((char.upper(), char)) for char in written)
    assert parse(typed).code == code


@common
@given(codes, st.data())
def test_a_slip_is_never_taken_for_another_word(code: JoinCode, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(code.words) - 1))
    right = code.words[position]
    typed = data.draw(typos(right))
    text = "-".join((*code.words[:position], typed, *code.words[position + 1 :], str(code.slot)))
    if typed != right and sum(edit_distance(typed, word) == 1 for word in WORDS) > 1:
        with pytest.raises(MistypedCode, match="did you mean "):
            parse(text)
    else:
        parsed = parse(text)
        assert parsed.code == code
        assert parsed.corrections == (() if typed == right else ((typed, right),))


@common
@given(st.text(max_size=300) | st.text(string.ascii_letters + string.digits + "- \u0664\ufdfa\u246b", max_size=300))
def test_any_text_is_read_or_refused_in_plain_words(text: str) -> None:
    error = ""
    try:
        code = parse(text).code
    except MistypedCode as refusal:
        error = str(refusal)
    else:
        assert parse(str(code)).code == code
    assert error.isascii()
    assert error.isprintable() or not error
    assert len(error) < 200


@common
@given(
    st.text(max_size=40) | codes.map(str).flatmap(lambda text: st.integers(0, len(text)).map(lambda end: text[:end]))
)
def test_completions_extend_what_was_typed(prefix: str) -> None:
    for completion in complete(prefix)[:20]:
        assert set(completion.rstrip("-").split("-")) <= set(WORDS)
        assert completion in complete(completion[:-1])


@common
@given(codes, st.integers(1, 8))
def test_the_right_code_is_among_the_completions(code: JoinCode, size: int) -> None:
    assert f"{code.words[0]}-" in complete(code.words[0][:size])
    assert "-".join((*code.words, "")) in complete("-".join((*code.words[:-1], code.words[-1][:size])))
