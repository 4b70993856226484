from __future__ import annotations

from p2pal.errors import ProtocolError, first_error


def test_our_own_error_is_chosen_out_of_a_group() -> None:
    ours, other = ProtocolError("x"), ValueError()
    assert first_error(BaseExceptionGroup("", [other, BaseExceptionGroup("", [ours])])) is ours
    assert first_error(BaseExceptionGroup("", [other, KeyError()])) is other
