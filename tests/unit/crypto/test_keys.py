from __future__ import annotations

import hashlib
import hmac

import pytest

from p2pal.crypto.keys import Direction, MailboxSecret, Master, SessionSecret, TransferEnd, join_parts, resume_proof

KEY = bytes(range(32))
SECRET = SessionSecret(KEY)
MASTER = SECRET.master()
NONCE = bytes(16)


def hkdf(key: bytes, info: bytes) -> bytes:
    """RFC 5869 for one block of output and no salt, from the standard library alone."""
    pseudorandom = hmac.digest(bytes(32), key, "sha256")
    return hmac.digest(pseudorandom, info + b"\x01", "sha256")


def every_key() -> list[bytes]:
    ways = list(Direction)
    return [
        *(SECRET.confirmation(role) for role in TransferEnd),
        *(SECRET.mailbox_key(attempt, way) for attempt in (1, 2) for way in ways),
        *(MASTER.lane_key(lane, way, NONCE) for lane in (1, 2) for way in ways),
        MASTER.lane_key(1, Direction.TO_SENDER, b"\x01" + NONCE[1:]),
        *(MASTER.datagram_key(lane, way, NONCE)[0] for lane in (1, 2) for way in ways),
        MASTER.datagram_key(1, Direction.TO_SENDER, b"\x01" + NONCE[1:])[0],
        *(MASTER.reconnect(n, NONCE).mailbox_key(1, Direction.TO_SENDER) for n in (1, 2)),
        MASTER.reconnect(1, b"\x01" + NONCE[1:]).mailbox_key(1, Direction.TO_SENDER),
        MASTER.resume_key(),
        MASTER.transcript(),
        MASTER._key,
        KEY,
    ]


def test_every_derivation_is_the_documented_hkdf() -> None:
    assert SECRET.confirmation(TransferEnd.SENDER) == hkdf(KEY, b"\x00\x07p2pal/1\x00\x07confirm\x00\x06sender")
    assert SECRET.mailbox_key(258, Direction.TO_SENDER) == hkdf(
        KEY, b"\x00\x07p2pal/1\x00\x07mailbox\x00\x04\x00\x00\x01\x02\x00\x01\x01"
    )
    assert hkdf(KEY, b"\x00\x07p2pal/1\x00\x06master") == MASTER._key
    assert MASTER.lane_key(7, Direction.TO_RECEIVER, b"n" * 16) == hkdf(
        MASTER._key, b"\x00\x07p2pal/1\x00\x04lane\x00\x04\x00\x00\x00\x07\x00\x01\x00\x00\x10" + b"n" * 16
    )
    assert MASTER.resume_key() == hkdf(MASTER._key, b"\x00\x07p2pal/1\x00\x06resume")
    assert MASTER.transcript() == hkdf(MASTER._key, b"\x00\x07p2pal/1\x00\x0atranscript")
    assert MASTER.reconnect(1, NONCE)._key == hkdf(
        MASTER._key, b"\x00\x07p2pal/1\x00\x09reconnect\x00\x04\x00\x00\x00\x01\x00\x10" + NONCE
    )


def test_no_two_keys_are_the_same() -> None:
    keys = every_key()
    assert {len(key) for key in keys} == {32}
    assert len(set(keys)) == len(keys)


def test_another_secret_gives_other_keys() -> None:
    other = SessionSecret(KEY[::-1])
    assert other.master()._key != MASTER._key
    assert other.confirmation(TransferEnd.SENDER) != SECRET.confirmation(TransferEnd.SENDER)


def test_rendezvous_ids_are_short_names() -> None:
    names = {MASTER.rendezvous_id(n) for n in range(1, 50)}
    assert len(names) == 49
    assert all(len(name) == 26 and set(name) <= set("abcdefghijklmnopqrstuvwxyz234567") for name in names)


def test_repr_hides_the_key() -> None:
    for secret in (SECRET, MASTER, MASTER.reconnect(1, NONCE)):
        assert repr(secret) == str(secret) == f"<{type(secret).__name__}>"


@pytest.mark.parametrize("kind", [SessionSecret, Master, MailboxSecret])
@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_has_32_bytes(kind: type[SessionSecret | Master], size: int) -> None:
    with pytest.raises(ValueError):
        kind(bytes(size))


@pytest.mark.parametrize("size", [0, 12, 15, 17])
def test_an_opening_nonce_has_16_bytes(size: int) -> None:
    with pytest.raises(ValueError):
        MASTER.lane_key(1, Direction.TO_SENDER, bytes(size))
    with pytest.raises(ValueError):
        MASTER.reconnect(1, bytes(size))


def test_joined_parts_tell_every_list_apart() -> None:
    lists = [(b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"", b"abc"), (b"abc", b""), (), (b"",)]
    assert len({join_parts(*parts) for parts in lists}) == len(lists)
    with pytest.raises(ValueError):
        join_parts(bytes(65_536))


def test_a_resume_proof_binds_key_role_and_session() -> None:
    key, name = MASTER.resume_key(), MASTER.transcript()
    proofs = [
        resume_proof(key, TransferEnd.SENDER, name),
        resume_proof(key, TransferEnd.RECEIVER, name),
        resume_proof(key, TransferEnd.SENDER, bytes(32)),
        resume_proof(bytes(32), TransferEnd.SENDER, name),
    ]
    assert len(set(proofs)) == len(proofs)
    message = b"\x00\x07p2pal/1\x00\x0cresume-proof\x00\x06sender\x00\x20" + name
    assert proofs[0] == hmac.new(key, message, hashlib.sha256).digest()


def test_the_tag_of_a_datagram_lane_is_of_that_lane_and_direction() -> None:
    made = [
        MASTER.datagram_key(lane, way, nonce)[1]
        for lane in (1, 2)
        for way in Direction
        for nonce in (NONCE, b"\x01" + NONCE[1:])
    ]
    assert len(set(made)) == len(made)
    assert all(0 <= tag < 2**64 for tag in made)
    info = join_parts(b"p2pal/1", b"tag", (1).to_bytes(4, "big"), b"\x00", NONCE)
    expected = int.from_bytes(hkdf(hkdf(KEY, join_parts(b"p2pal/1", b"master")), info)[:8], "big")
    assert MASTER.datagram_key(1, Direction.TO_RECEIVER, NONCE)[1] == expected
