from __future__ import annotations

import pytest

from p2pal.server import rules, tokens
from p2pal.server import state as s
from p2pal.server.config import Limits
from p2pal.server.state import SENDER, Denied


def test_a_token_names_its_transfer_and_owner() -> None:
    rendezvous_id, secret = tokens.new_id(), tokens.new_secret()
    assert tokens.parse(tokens.assemble(rendezvous_id, 3, secret)) == (rendezvous_id, 3, secret)


def test_tokens_are_long_and_differ() -> None:
    assert len({tokens.new_secret() for _ in range(100)}) == 100
    assert len(tokens.new_secret()) * 6 >= 128
    assert len(tokens.new_id()) * 4 >= 128


@pytest.mark.parametrize("text", ["", "a.b.c", "0" * 32 + ".0." + "x" * 31, "0" * 32 + ".-1." + "x" * 32, "\x00" * 60])
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(Denied) as caught:
        tokens.parse(text)
    assert caught.value.code == "unauthorised"


def test_each_owner_has_its_own_secret_even_after_its_release() -> None:
    transfer = rules.create("r" * 32, 1, tokens.digest("sender"), 60.0, 0.0)
    transfer, _ = rules.handle(transfer, s.Join(tokens.digest("one")), 0.0, Limits())
    transfer, _ = rules.handle(transfer, s.ReleaseAttempt(SENDER, 1), 0.0, Limits())
    tokens.verify(transfer, SENDER, "sender")
    tokens.verify(transfer, 1, "one")
    for who, secret in ((SENDER, "one"), (1, "sender"), (2, "one"), (2, "")):
        with pytest.raises(Denied):
            tokens.verify(transfer, who, secret)
