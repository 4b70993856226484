from __future__ import annotations

from collections.abc import Callable

import pytest

from p2pal.crypto.codes import MAX_SLOT, JoinCode, Parsed, complete, edit_distance, make, parse, password
from p2pal.crypto.words import WORDS
from p2pal.errors import CodeError, MistypedCode

CODE = JoinCode(("zebra", "luna"), 47)


def draws(*words: str) -> Callable[[int], int]:
    remaining = [WORDS.index(word) for word in words]

    def randbelow(bound: int) -> int:
        assert bound == 2048
        return remaining.pop(0)

    return randbelow


def refusal(text: str) -> MistypedCode:
    with pytest.raises(MistypedCode) as caught:
        parse(text)
    return caught.value


def test_a_code_is_written_with_dashes() -> None:
    assert str(CODE) == "zebra-luna-47"


def test_repr_hides_the_words() -> None:
    parsed = Parsed(CODE, (("lnua", "luna"),))
    for shown in (repr(CODE), repr(parsed), f"{[parsed]}"):
        assert "47" in shown
        assert not any(word in shown for word in ("zebra", "luna", "lnua"))


def test_make_draws_each_word_from_the_whole_list() -> None:
    assert make(47, randbelow=draws("zebra", "luna")) == CODE
    assert make(1, count=4, randbelow=draws("zebra", "zebra", WORDS[0], WORDS[-1])).words == (
        "zebra", "zebra", WORDS[0], WORDS[-1],
    )  # fmt: skip


@pytest.mark.parametrize(("slot", "count"), [(0, 2), (-1, 2), (MAX_SLOT + 1, 2), (1, 1), (1, 9)])
def test_make_refuses_what_parse_would(slot: int, count: int) -> None:
    with pytest.raises(ValueError):
        make(slot, count=count, randbelow=lambda _: 0)


def test_the_password_is_the_words_without_the_slot() -> None:
    assert password(CODE) == b"zebra-luna" == password(JoinCode(CODE.words, 48))


@pytest.mark.parametrize(
    "text",
    [
        "zebra-luna-47",
        "  zebra-luna-47\n",
        "ZEBRA-Luna-47",
        "zebra luna 47",
        "zebra_luna.47",
        "zebra, luna, 47.",
        "zebra\u2013luna\u201447",  # en dash, em dash
        "zebra\u2212luna\u201047",  # minus sign, hyphen
        "zebra\u00a0luna\u300047",  # no-break space, ideographic space
        "zebra--luna---47-",
        "zebra-luna-047",
        "zebra-luna47",
        "zebra-luna-\uff14\uff17",  # full-width digits
        "zebra-luna-\u0664\u0667",  # Arabic digits
        "\uff3aebra-luna-47",  # full-width letter
        "z\u00e9bra-l\u00fcna-47",  # accents
        "\u202azebra\u200b-luna-47\u202c",  # direction marks, zero-width space
        "p2pal recv zebra-luna-47",
        "$ P2PAL RECV 'zebra-luna-47'",
        "Join code: zebra-luna-47",
    ],
)
def test_one_code_is_read_however_it_is_written(text: str) -> None:
    assert parse(text) == Parsed(CODE)


@pytest.mark.parametrize("typed", ["lna", "luuna", "lunq", "lnua", "1una", "l0una", "lun\u0430", "ulna"])
def test_a_typo_is_corrected_and_reported(typed: str) -> None:
    assert parse(f"zebra-{typed}-47") == Parsed(CODE, ((typed, "luna"),))


def test_a_typo_that_looks_like_a_pasted_label_is_still_a_typo() -> None:
    assert parse("join-code-zebra-47") == Parsed(JoinCode(("join", "node", "zebra"), 47), (("code", "node"),))


def test_every_word_is_corrected_on_its_own() -> None:
    parsed = parse("Zebar-LUNAA-zebra-47")
    assert parsed.code == JoinCode(("zebra", "luna", "zebra"), 47)
    assert parsed.corrections == (("zebar", "zebra"), ("lunaa", "luna"))


def test_a_word_between_two_is_not_guessed() -> None:
    # One edit from both 'hill' and 'pull'.
    assert {"hill", "pull"} <= set(WORDS)
    error = refusal("zebra-hull-47")
    assert error.message == 'word 2 of the join code, "hull", is not in the word list'
    assert error.hint is not None
    assert error.hint.startswith("did you mean hill, ")
    assert "pull" in error.hint


def test_a_mistyped_code_is_a_code_error_of_its_own() -> None:
    error = refusal("zebra-lumm-47")
    assert isinstance(error, CodeError)
    assert (error.code, error.exit_code) == ("code-mistyped", 4)
    assert error.message == 'word 2 of the join code, "lumm", is not in the word list'
    assert error.hint == "did you mean limo, luna or jump?"


def test_nothing_near_gets_the_general_hint() -> None:
    assert refusal("zebra-qqqqq-47").hint == MistypedCode.default_hint


def test_one_near_word_is_one_suggestion() -> None:
    assert refusal("zebra-octopusses-47").hint == "did you mean octopus?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no join code was given"),
        (" - \n", "no join code was given"),
        ("p2pal recv", "no join code was given"),
        ("zebra-luna", "the join code has no number at its end"),
        ("47-zebra-luna", "the join code has no number at its end"),
        ("47", "the join code has fewer than 2 words"),
        ("zebra-47", "the join code has fewer than 2 words"),
        ("-".join(["zebra"] * 9) + "-47", "the join code has more than 8 words"),
        ("zebra-4-7", "a join code has one number, at its end"),
        ("zebra-luna4-7", "a join code has one number, at its end"),
        ("zebra4-luna-7", "a join code has one number, at its end"),
        ("zebra-luna-" + "1" * 300, "this is too long for a join code"),
    ],
)
def test_a_wrong_shape_is_explained_with_an_example(text: str, message: str) -> None:
    error = refusal(text)
    assert error.message == message
    assert "zebra-luna-47" in error.hint


@pytest.mark.parametrize("slot", ["0", "000", "2147483648", "9" * 200])
def test_a_slot_out_of_range_is_refused(slot: str) -> None:
    assert refusal(f"zebra-luna-{slot}").message == "the number at the end of the join code is out of range"


def test_the_largest_slot_and_the_most_words_are_read() -> None:
    assert parse("-".join(["luna"] * 8) + f"-{MAX_SLOT}").code == JoinCode(("luna",) * 8, MAX_SLOT)


def test_what_was_typed_is_shown_only_as_a_few_plain_letters() -> None:
    assert (
        refusal("zebra-\u043b\u0443\u043d\u0430\u0430-47").message == "word 2 of the join code is not in the word list"
    )
    assert refusal("zebra-xy\u0436xyz-47").message == 'word 2 of the join code, "xyxyz", is not in the word list'
    assert refusal("zebra-" + "x" * 100 + "-47").message.count("x") == 12
    error = refusal("zebra-\x1b[31mqqqqq\u202e-47")
    assert error.message.isascii()
    assert error.message.isprintable()


def test_the_words_are_completed_up_to_the_next_dash() -> None:
    assert complete("zeb") == ["zebra-"]
    assert complete("Zebra lun") == ["zebra-luna-", "zebra-lunch-", "zebra-luncheon-"]
    assert complete("zebra") == ["zebra-"]
    assert len(complete("")) == len(complete("zebra-")) == 2048
    assert complete("zebra-luna-zeb") == ["zebra-luna-zebra-"]


@pytest.mark.parametrize("prefix", ["qqq", "qqq-zeb", "zebra-luna-", "zebra-luna-4", "4", "z" * 300, "luna-" * 8 + "z"])
def test_what_cannot_be_completed_has_no_completions(prefix: str) -> None:
    assert complete(prefix) == []


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("abc", "", 3),
        ("luna", "luna", 0),
        ("luna", "lnua", 1),
        ("luna", "una", 1),
        ("luna", "tuna", 1),
        ("ca", "abc", 3),  # 2 if a swapped pair could be edited again
        ("kitten", "sitting", 3),
    ],
)
def test_edit_distance_is_optimal_string_alignment(a: str, b: str, distance: int) -> None:
    assert edit_distance(a, b) == edit_distance(b, a) == distance
