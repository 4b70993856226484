"""A malicious server that keeps every byte it sees, while a transfer is stopped, resumed and connected again."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import socket
import struct
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.trees import MIB
from tests.security.evil_server import EvilServer, evil_server
from tests.unit.app.kit import HALF, Place, gated, only_id, peer_of

from p2pal.app import events
from p2pal.app.events import Event
from p2pal.app.transfer import Transfer
from p2pal.crypto import codes
from p2pal.crypto.codes import JoinCode
from p2pal.crypto.seal import MailboxSealer
from p2pal.errors import ProtocolError
from p2pal.wire.signal import decode_pake

WORDS = ("hospital", "biology")
SIZE = 6 * MIB + 54_321
"""Bytes of the large file: a number that nothing else says by chance."""


class Payload:
    """A tree whose names, links and contents cannot be mistaken for anything else."""

    def __init__(self, root: Path) -> None:
        self.marks = [secrets.token_hex(12) for _ in range(7)]
        top, folder, name, target, first, middle, last = self.marks
        self.tree = root / f"top-{top}"
        (self.tree / f"folder-{folder}").mkdir(parents=True)
        self.file = self.tree / f"folder-{folder}" / f"name-{name}.txt"
        body = bytearray(os.urandom(SIZE))
        for mark, at in ((first, 0), (middle, SIZE // 2), (last, SIZE - 24)):
            body[at : at + 24] = mark.encode()
        self.file.write_bytes(body)
        (self.tree / "a-link").symlink_to(f"target-{target}")

    def arrived(self, out: Path) -> bool:
        there = out / self.file.relative_to(self.tree.parent)
        return there.read_bytes() == self.file.read_bytes()


class Overheard:
    """What the peers really said to each other through the server, before it was sealed."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.said: list[bytes] = []
        genuine = MailboxSealer.seal

        def seal(sealer: MailboxSealer, plaintext: bytes) -> tuple[int, bytes]:
            self.said.append(bytes(plaintext))
            return genuine(sealer, plaintext)

        patch.setattr(MailboxSealer, "seal", seal)

    def secrets(self) -> set[bytes]:
        """Everything in it that describes a connection: addresses with ports, names, passwords, fingerprints."""
        text = b"\n".join(self.said)
        found = set(re.findall(rb"candidate:\S+ \d \w+ \d+ (\S+ \d+) typ", text))
        assert found, "candidates were said"
        for pattern in (rb"ice-ufrag:(\S+)", rb"ice-pwd:(\S+)", rb"fingerprint:\S+ (\S+)", rb"o=- (\d+)"):
            values = set(re.findall(pattern, text))
            assert values, pattern
            found |= values
        return {value for value in found if len(value) > 4}


def addresses() -> Iterator[str]:
    """This machine's own, as far as its name leads to them."""
    for *_, address in socket.getaddrinfo("localhost", None) + socket.getaddrinfo("127.0.0.1", None):
        yield str(address[0])
    try:
        yield from socket.gethostbyname_ex(socket.gethostname())[2]
    except OSError:
        return


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def disguises(secret: bytes) -> Iterator[bytes]:
    """A secret as it is, in other alphabets, and as what identifies it without showing it."""
    yield secret
    yield secret.upper()
    yield secret.lower()
    yield secret.hex().encode()
    yield secret[::-1]
    for shift in range(3):  # wherever it stands in what is encoded
        encoded = b64encode(bytes(shift) + secret)
        middle = encoded[-(-shift * 8 // 6) : (len(secret) + shift) * 8 // 6]
        yield middle
        yield middle.translate(bytes.maketrans(b"+/", b"-_"))
    for name in ("sha256", "sha1", "md5", "sha512", "blake2b"):
        digest = hashlib.new(name, secret).digest()
        yield digest
        yield digest.hex().encode()
        yield b64encode(digest)[:-2]


_BODY = re.compile(rb'"body":"[^"]*"')
_RANDOM = re.compile(rb"[0-9a-f]{32}|[a-z2-7]{26}|\.[A-Za-z0-9_-]{32}|[A-Za-z0-9+/]{22}==|[0-9a-f]{16}")
"""Ids, secrets of tokens and WebSocket keys: anything short stands in them by chance."""


def learned(evil: EvilServer, wanted: set[bytes]) -> list[bytes]:
    """Return what of it the server knows.

    A few bytes stand in what is sealed or random by chance: anything short is looked for beside it.
    """
    bodies = set(evil.bodies)
    seen = b"\n".join(evil.seen)
    clear = b"\n".join(_RANDOM.sub(b"", _BODY.sub(b"", each)) for each in evil.seen if each not in bodies)
    found = []
    for secret in wanted:
        where, forms = (seen, list(disguises(secret))) if len(secret) >= 6 else (clear, [secret, secret.upper()])
        if any(form in where or form in where.lower() for form in forms):
            found.append(secret)
    return found


def all_secrets(payload: Payload, code: str, ident: str, overheard: Overheard) -> set[bytes]:
    words = code.rpartition("-")[0]
    found = {mark.encode() for mark in payload.marks} | {code.encode(), words.encode(), b"a-link", ident.encode()}
    found |= {word.encode() for word in words.split("-")}
    found |= {str(SIZE).encode(), struct.pack(">I", SIZE), struct.pack("<I", SIZE), struct.pack(">Q", SIZE)}
    found |= {
        b"v=0",
        b"v=0\r\no=-",
        b"a=candidate",
        b"candidate:",
        b"ice-ufrag",
        b"ice-pwd",
        b"fingerprint",
        b"typ host",
        b".local",
    }
    found |= {b"m=application", b"webrtc-datachannel", socket.gethostname().encode()} - {b"localhost", b""}
    found |= {form for address in addresses() for form in (address.encode(), packed(address))}
    return found | overheard.secrets()


async def test_the_reader_finds_what_is_there() -> None:
    """The search itself: what is said in any of these ways is found."""
    evil = EvilServer("", None)  # type: ignore[arg-type]
    for each in disguises(b"hospital-biology"):
        evil.seen = [b"before " + each + b" after"]
        assert learned(evil, {b"hospital-biology"})
    for shift in range(3):
        evil.seen = [b64encode(b"x" * shift + b"hospital-biology and more")]
        assert learned(evil, {b"hospital-biology"})
    evil.seen = [b"nothing of the kind"]
    assert not learned(evil, {b"hospital-biology"})


def test_of_a_transfer_that_is_stopped_resumed_and_reconnected_it_learns_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes, "make", lambda slot, **_: JoinCode(WORDS, slot))
    overheard = Overheard(monkeypatch)
    payload, out = Payload(tmp_path), tmp_path / "out"
    out.mkdir()
    code = ""
    cut = False

    def watch(event: Event, transfer: Transfer) -> None:
        nonlocal code, cut
        if isinstance(event, events.Code):
            code = event.code
        if isinstance(event, events.Progress) and event.done > HALF and not cut and peer_of(transfer).link.linked:
            cut = True
            for live in list(peer_of(transfer).link.lanes.by_id.values()):
                live.lane.close()

    async def run() -> None:
        async with evil_server() as evil:
            there = Place(evil.url, tmp_path / "homes")
            with gated(HALF) as gate:
                await there.stopped(gate, payload.tree, out=out)
            ident = only_id(there)
            with gated(HALF // 2) as gate:

                def drop(event: Event, transfer: Transfer) -> None:
                    watch(event, transfer)
                    if cut:
                        gate.open()

                sent, received = await there.both(
                    there.send(resume=ident), lambda told: there.receive(told, out), on_sent=drop
                )
            assert sent.error is received.error is None
            assert cut
            assert events.Reconnecting in sent.kinds
            assert payload.arrived(out)
            assert len(evil.hellos) >= 4, "both sides came twice"
            check(evil, ident)

    def check(evil: EvilServer, ident: str) -> None:
        assert learned(evil, all_secrets(payload, code, ident, overheard)) == []
        clear = 0
        for body in evil.bodies:
            try:
                decode_pake(body)
                clear += 1
            except ProtocolError:
                assert len(body) % 256 == 0
                assert body
        assert clear == 6, "three messages of the key exchange for each time that the code was used"

    asyncio.run(run())
