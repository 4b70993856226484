"""Writes ``pake.json``, ``seals.json`` and ``codes.json`` for a second implementation. All bytes are in hex.

Run it after a deliberate change of the protocol, and raise the protocol's version with it::

    python tests/vectors/make_crypto.py

Everything secret in them is drawn from SHA-256 of a counter, so the files come out the same every time. The SPAKE2
intermediate values are computed here from the group, step by step, beside the library, and must agree with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from spake2.ed25519_basic import L, bytes_to_element
from spake2.parameters.ed25519 import ParamsEd25519

from p2pal.crypto import codes
from p2pal.crypto.keys import Direction, SessionSecret, TransferEnd, join_parts, resume_proof
from p2pal.crypto.pake import ReceiverPake, SenderPake, identity
from p2pal.crypto.seal import LaneSealer, MailboxSealer
from p2pal.crypto.words import WORDS
from p2pal.errors import MistypedCode

PARAMETERS = ParamsEd25519
GROUP_ORDER: int = L
HERE = Path(__file__).parent
DIRECTIONS = {Direction.TO_RECEIVER: "to receiver", Direction.TO_SENDER: "to sender"}


def stream(seed: str) -> Callable[[int], bytes]:
    """Return a source of bytes that look random and are always the same."""
    blocks = (sha256(f"{seed} {number}".encode()).digest() for number in count())
    buffer = bytearray()

    def draw(size: int) -> bytes:
        while len(buffer) < size:
            buffer.extend(next(blocks))
        drawn = bytes(buffer[:size])
        del buffer[:size]
        return drawn

    return draw


def scalar(entropy: bytes) -> int:
    """Return the secret scalar that the library makes of 64 random bytes."""
    return int.from_bytes(entropy, "big") % GROUP_ORDER


def pake_case(words: str, rendezvous_id: str, attempt: int) -> dict[str, Any]:
    """Return one key exchange with everything in between, and every key that follows from it."""
    password = words.encode("ascii")
    entropy = stream(f"pake {words} {rendezvous_id} {attempt}")
    entropy_a, entropy_b = entropy(64), entropy(64)
    id_a, id_b = (identity(rendezvous_id, attempt, role) for role in (TransferEnd.SENDER, TransferEnd.RECEIVER))

    x, y, w = scalar(entropy_a), scalar(entropy_b), PARAMETERS.group.password_to_scalar(password)
    base, m, n = PARAMETERS.group.Base, PARAMETERS.M, PARAMETERS.N
    element_a = base.scalarmult(x).add(m.scalarmult(w)).to_bytes()
    element_b = base.scalarmult(y).add(n.scalarmult(w)).to_bytes()
    k = base.scalarmult(x * y).to_bytes()
    hashed = b"".join((sha256(password).digest(), sha256(id_a).digest(), sha256(id_b).digest()))
    key = sha256(hashed + element_a + element_b + k).digest()

    sender = SenderPake(password, rendezvous_id, attempt, entropy=lambda _: entropy_a)
    receiver = ReceiverPake(password, rendezvous_id, attempt, entropy=lambda _: entropy_b)
    answer, confirmation = receiver.answer(sender.element)
    secret = sender.finish(answer, confirmation)
    assert (sender.element, answer, secret._key) == (b"A" + element_a, b"B" + element_b, key)
    assert receiver.verify(sender.confirmation)._key == key

    return {
        "password": words,
        "rendezvous_id": rendezvous_id,
        "attempt": attempt,
        "id_a": id_a.hex(),
        "id_b": id_b.hex(),
        "password_scalar": w.to_bytes(32, "little").hex(),
        "sender_entropy": entropy_a.hex(),
        "sender_scalar": x.to_bytes(32, "little").hex(),
        "receiver_entropy": entropy_b.hex(),
        "receiver_scalar": y.to_bytes(32, "little").hex(),
        "sender_element": sender.element.hex(),
        "receiver_element": answer.hex(),
        "shared_point": k.hex(),
        "key": key.hex(),
        "receiver_confirmation": confirmation.hex(),
        "sender_confirmation": sender.confirmation.hex(),
        **keys(secret, attempt, entropy(16)),
    }


def keys(secret: SessionSecret, attempt: int, nonce: bytes) -> dict[str, Any]:
    """Return every key of a session."""
    master = secret.master()
    return {
        "mailbox_keys": [
            {"attempt": attempt, "direction": way.value, "key": secret.mailbox_key(attempt, way).hex()}
            for way in DIRECTIONS
        ],
        "master": master._key.hex(),
        "transcript": master.transcript().hex(),
        "lane_keys": [
            {"lane": lane, "direction": way.value, "nonce": nonce.hex(), "key": master.lane_key(lane, way, nonce).hex()}
            for lane in (1, 2**31 - 1)
            for way in DIRECTIONS
        ],
        "rendezvous": [
            {
                "n": n,
                "id": master.rendezvous_id(n),
                "nonce": nonce.hex(),
                "mailbox_key_attempt_1_to_receiver": master.reconnect(n, nonce)
                .mailbox_key(1, Direction.TO_RECEIVER)
                .hex(),
            }
            for n in (1, 2)
        ],
        "resume_key": master.resume_key().hex(),
        "resume_proofs": {
            role.name.lower(): resume_proof(master.resume_key(), role, master.transcript()).hex()
            for role in TransferEnd
        },
    }


def invalid_elements() -> list[dict[str, str]]:
    """Return what a receiver must refuse where a sender's element is due."""
    prime = 2**255 - 19
    good = SenderPake(b"zebra-luna", "r", 1, entropy=stream("invalid")).element
    order_8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
    torsion = bytes_to_unknown(bytes.fromhex(order_8))
    mixed = bytes_to_element(good[1:]).add(torsion).to_bytes()
    points = {
        "the neutral element": (1).to_bytes(32, "little"),
        "the neutral element with a sign bit": (1 | 1 << 255).to_bytes(32, "little"),
        "the neutral element as y = p + 1": (prime + 1).to_bytes(32, "little"),
        "order 2": (prime - 1).to_bytes(32, "little"),
        "order 4": bytes(32),
        "order 8": bytes.fromhex(order_8),
        "order 8 L: a good point plus one of order 8": mixed,
        "not on the curve": (2).to_bytes(32, "little"),
        "y = p + 3, not reduced": (prime + 3).to_bytes(32, "little"),
    }
    whole = {
        "the receiver's side byte": b"B" + good[1:],
        "the symmetric side byte": b"S" + good[1:],
        "no side byte": good[1:],
        "a byte short": good[:-1],
        "a byte long": good + b"\x00",
        "empty": b"",
    }
    listed = {why: b"A" + point for why, point in points.items()} | whole
    return [{"why": why, "element": element.hex()} for why, element in listed.items()]


def bytes_to_unknown(point: bytes) -> Any:
    """Return a point of the curve, of whatever order."""
    from spake2.ed25519_basic import bytes_to_unknown_group_element

    return bytes_to_unknown_group_element(point)


def pake() -> dict[str, Any]:
    """Return ``pake.json``."""
    return {
        "about": "SPAKE2 as on PyPI (spake2 0.9, Ed25519), p2pal's confirmation, and every key derived from it.",
        "formulas": [
            "G, L: base point and group order of Ed25519. Points: 32 bytes as in RFC 8032. Scalars: little-endian.",
            "w = password_scalar = HKDF-SHA256(password, no salt, info 'SPAKE2 pw', 48 bytes), big-endian, mod L",
            "x, y = sender_scalar, receiver_scalar = the 64 bytes of entropy, big-endian, mod L",
            "sender_element = 'A' || X, X = x G + w m; receiver_element = 'B' || Y, Y = y G + w n",
            "shared_point = x (Y - w n) = y (X - w m)",
            "key = SHA-256(SHA-256(password) || SHA-256(id_a) || SHA-256(id_b) || X || Y || shared_point)",
            "id_a, id_b = parts('p2pal/1', rendezvous_id in UTF-8, u32 attempt, 'sender' or 'receiver')",
            "parts(...) = each part behind its length, u16; all integers in parts are big-endian",
            "every other key = HKDF-SHA256(from, no salt, info parts('p2pal/1', label, parameters...), 32 bytes)",
            "resume_proof = HMAC-SHA256(resume_key, parts('p2pal/1', 'resume-proof', role, transcript))",
        ],
        "m": PARAMETERS.M.to_bytes().hex(),
        "n": PARAMETERS.N.to_bytes().hex(),
        "hkdf_info_example": {
            "parts": ["p2pal/1", "mailbox", "u32 1", "u8 0"],
            "info": join_parts(b"p2pal/1", b"mailbox", b"\x00\x00\x00\x01", b"\x00").hex(),
        },
        "cases": [
            pake_case("zebra-luna", "k3v5wq7x2mzr4tcn", 1),
            pake_case("zebra-luna", "k3v5wq7x2mzr4tcn", 2),
            pake_case("-".join(WORDS[:8]), "é, not only ASCII", 2**32 - 1),
        ],
        "invalid_sender_elements": invalid_elements(),
    }


def seals() -> dict[str, Any]:
    """Return ``seals.json``."""
    draw = stream("seals")
    lane_key = draw(32)
    lanes = []
    for counter, plaintext in ((0, b""), (1, b"hello"), (2, draw(100)), (2**32 - 1, b"the last frame of a key")):
        sealer = LaneSealer(lane_key)
        sealer._count = counter
        sealed = sealer.seal(plaintext)
        nonce = counter.to_bytes(12, "big").hex()
        lanes.append({"counter": counter, "nonce": nonce, "plaintext": plaintext.hex(), "sealed": sealed.hex()})
    secret = SessionSecret(draw(32))
    mailbox = []
    for way, first, plaintexts in (
        (Direction.TO_RECEIVER, 2, (b"", b"hello", b"ends in the pad \x80\x00", draw(239), draw(240))),
        (Direction.TO_SENDER, 1, (b"hello",)),
    ):
        log = MailboxSealer(secret, 3, way, first)
        for plaintext in plaintexts:
            index, sealed = log.seal(plaintext)
            mailbox.append(
                {
                    "attempt": 3,
                    "direction": way.value,
                    "index": index,
                    "key": secret.mailbox_key(3, way).hex(),
                    "nonce": index.to_bytes(12, "big").hex(),
                    "associated_data": f"{3:08x}{way.value:02x}{index:08x}",
                    "plaintext": plaintext.hex(),
                    "sealed": sealed.hex(),
                }
            )
    return {
        "about": "AES-256-GCM. Lane frames: the nonce is a counter, no associated data. Mailbox messages: the nonce is "
        "the index; plaintext || 80 || zeros up to a multiple of 256 bytes with the tag.",
        "lane": {"key": lane_key.hex(), "frames": lanes},
        "mailbox": {"secret": secret._key.hex(), "messages": mailbox},
    }


def code_vectors() -> dict[str, Any]:
    """Return ``codes.json``."""
    readable = (
        "zebra-luna-47",
        "  Zebra LUNA 0047 ",
        "p2pal recv zebra_luna.47",
        "Join code: zebra-luna-47",
        "zebra\u2014luna\u00a0\uff14\uff17",
        "z\u00e9bra luna47",
        "zebar-lunaa-47",
        "zebra-luna-zebra-2147483647",
    )
    refused = (
        "", "47", "zebra-luna", "zebra-47", "47-zebra-luna", "zebra-luna-0", "zebra-luna-2147483648", "zebra-luna4-7",
        "zebra-luna-4-7", "zebra-zzzzz-47", "-".join(["zebra"] * 9) + "-1", "z" * 300,
    )  # fmt: skip
    parsed = []
    for text in readable:
        result = codes.parse(text)
        corrections = [list(pair) for pair in result.corrections]
        password = codes.password(result.code).decode("ascii")
        parsed.append({"text": text, "code": str(result.code), "corrections": corrections, "password": password})
    for text in refused:
        try:
            codes.parse(text)
        except MistypedCode:
            continue
        raise AssertionError(text)
    return {
        "about": "Join codes: what is read how, and what is refused. The password is what enters SPAKE2.",
        "word_count": len(WORDS),
        "sha256_of_words_joined_by_newlines": sha256("\n".join(WORDS).encode("ascii")).hexdigest(),
        "parsed": parsed,
        "refused": list(refused),
    }


def build() -> dict[str, dict[str, Any]]:
    """Return every file's content by its name."""
    return {"pake.json": pake(), "seals.json": seals(), "codes.json": code_vectors()}


def main() -> None:
    """Write the files."""
    for name, content in build().items():
        (HERE / name).write_text(json.dumps(content, indent=2) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
