"""The vectors say what the program does, and what they say holds without the program's own code where that is short."""

from __future__ import annotations

import hmac
import json
import runpy
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import GCM

from p2pal.crypto import codes
from p2pal.crypto.keys import Direction, SessionSecret
from p2pal.crypto.pake import ReceiverPake, SenderPake
from p2pal.crypto.seal import LaneOpener, MailboxOpener
from p2pal.errors import MistypedCode, WrongCode

VECTORS = Path(__file__).parents[2] / "vectors"


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="ascii"))


def unhex(vector: dict[str, Any], *names: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(vector[name]) for name in names)


def parts(*listed: bytes) -> bytes:
    return b"".join(len(part).to_bytes(2, "big") + part for part in listed)


def hkdf(key: bytes, *listed: bytes) -> bytes:
    return hmac.digest(hmac.digest(bytes(32), key, "sha256"), parts(b"p2pal/1", *listed) + b"\x01", "sha256")


def gcm_seal(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    encryptor = Cipher(AES256(key), GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(associated)
    sealed = encryptor.update(plaintext) + encryptor.finalize()
    return sealed + encryptor.tag


@pytest.mark.parametrize("name", ["pake.json", "seals.json", "codes.json"])
def test_the_generator_gives_what_is_committed(name: str) -> None:
    built = runpy.run_path(str(VECTORS / "make_crypto.py"))["build"]()
    assert built[name] == load(name)


@pytest.mark.parametrize("case", load("pake.json")["cases"])
def test_exchanges_run_as_written(case: dict[str, Any]) -> None:
    password, rendezvous, attempt = case["password"].encode(), case["rendezvous_id"], case["attempt"]
    entropy_a, entropy_b = unhex(case, "sender_entropy", "receiver_entropy")
    sender = SenderPake(password, rendezvous, attempt, entropy=lambda _: entropy_a)
    receiver = ReceiverPake(password, rendezvous, attempt, entropy=lambda _: entropy_b)
    answer = receiver.answer(sender.element)
    assert sender.element.hex() == case["sender_element"]
    assert answer == unhex(case, "receiver_element", "receiver_confirmation")
    assert sender.finish(*answer)._key.hex() == case["key"]
    assert sender.confirmation.hex() == case["sender_confirmation"]


@pytest.mark.parametrize("case", load("pake.json")["cases"])
def test_keys_follow_from_the_formulas(case: dict[str, Any]) -> None:
    attempt = case["attempt"].to_bytes(4, "big")
    id_a, id_b, x, y, point, key = unhex(
        case, "id_a", "id_b", "sender_element", "receiver_element", "shared_point", "key"
    )
    rendezvous = case["rendezvous_id"].encode()
    assert id_a == parts(b"p2pal/1", rendezvous, attempt, b"sender")
    assert id_b == parts(b"p2pal/1", rendezvous, attempt, b"receiver")
    hashes = b"".join(sha256(part).digest() for part in (case["password"].encode(), id_a, id_b))
    assert sha256(hashes + x[1:] + y[1:] + point).digest() == key
    assert unhex(case, "sender_confirmation", "receiver_confirmation") == (
        hkdf(key, b"confirm", b"sender"),
        hkdf(key, b"confirm", b"receiver"),
    )
    for mailbox in case["mailbox_keys"]:
        assert hkdf(key, b"mailbox", attempt, bytes([mailbox["direction"]])).hex() == mailbox["key"]
    master = hkdf(key, b"master")
    assert master.hex() == case["master"]
    transcript, resume_key = hkdf(master, b"transcript"), hkdf(master, b"resume")
    assert (transcript, resume_key) == unhex(case, "transcript", "resume_key")
    for lane in case["lane_keys"]:
        parameters = lane["lane"].to_bytes(4, "big"), bytes([lane["direction"]]), bytes.fromhex(lane["nonce"])
        assert hkdf(master, b"lane", *parameters).hex() == lane["key"]
    for role, proof in case["resume_proofs"].items():
        message = parts(b"p2pal/1", b"resume-proof", role.encode(), transcript)
        assert hmac.digest(resume_key, message, "sha256").hex() == proof


@pytest.mark.parametrize("vector", load("pake.json")["invalid_sender_elements"], ids=lambda vector: vector["why"])
def test_invalid_elements_are_refused(vector: dict[str, str]) -> None:
    with pytest.raises(WrongCode):
        ReceiverPake(b"zebra-luna", "r", 1).answer(bytes.fromhex(vector["element"]))


def test_lane_frames_open() -> None:
    lane = load("seals.json")["lane"]
    (key,) = unhex(lane, "key")
    for frame in lane["frames"]:
        nonce, plaintext, sealed = unhex(frame, "nonce", "plaintext", "sealed")
        assert gcm_seal(key, nonce, plaintext, b"") == sealed
        opener = LaneOpener(key)
        opener._count = frame["counter"]
        assert opener.open(sealed) == plaintext


def test_mailbox_messages_open() -> None:
    mailbox = load("seals.json")["mailbox"]
    (secret,) = unhex(mailbox, "secret")
    for message in mailbox["messages"]:
        names = ("key", "nonce", "associated_data", "plaintext", "sealed")
        key, nonce, associated, plaintext, sealed = unhex(message, *names)
        padded = plaintext + b"\x80"
        padded += bytes(len(sealed) - 16 - len(padded))
        assert gcm_seal(key, nonce, padded, associated) == sealed
        way, index = Direction(message["direction"]), message["index"]
        opener = MailboxOpener(SessionSecret(secret), message["attempt"], way, index)
        assert opener.open(index, sealed) == plaintext


def test_codes_are_read_and_refused_as_written() -> None:
    vectors = load("codes.json")
    for vector in vectors["parsed"]:
        parsed = codes.parse(vector["text"])
        assert str(parsed.code) == vector["code"]
        assert [list(pair) for pair in parsed.corrections] == vector["corrections"]
        assert codes.password(parsed.code).decode() == vector["password"]
    for text in vectors["refused"]:
        with pytest.raises(MistypedCode):
            codes.parse(text)
