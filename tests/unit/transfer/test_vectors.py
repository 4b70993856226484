"""The digest vectors say what the program does, and hold by plain hashlib."""

from __future__ import annotations

import json
import runpy
import struct
from hashlib import sha256
from pathlib import Path
from typing import Any

from p2pal.wire.transfer import decode_payload, encode_record

VECTORS = Path(__file__).parents[2] / "vectors"


def load() -> Any:
    return json.loads((VECTORS / "digests.json").read_text(encoding="ascii"))


def test_the_file_is_what_its_generator_writes() -> None:
    assert runpy.run_path(str(VECTORS / "make_digests.py"))["build"]() == load()


def test_files_hold_by_hashlib() -> None:
    for vector in load()["files"]:
        size = vector["size"]
        data = bytes((7 * i + i // 251) & 0xFF for i in range(size))
        leaves = [sha256(b"\x00" + data[start : start + 2**20]).digest() for start in range(0, size, 2**20)]
        assert [each.hex() for each in leaves] == vector["leaves"]
        assert sha256(b"\x01" + struct.pack(">QI", size, 2**20) + b"".join(leaves)).hexdigest() == vector["digest"]


def test_the_offer_holds_by_hashlib() -> None:
    offer = load()["offer"]
    encoded = [bytes.fromhex(entry["encoded"]) for entry in offer["entries"]]
    parts = b"".join(struct.pack(">I", len(each)) + each for each in encoded)
    assert sha256(b"\x02" + parts).hexdigest() == offer["digest"]


def test_records_decode_and_encode_to_themselves() -> None:
    for vector in load()["records"]:
        data = bytes.fromhex(vector["record"])
        (record,) = decode_payload(data)
        assert type(record).__name__ == vector["kind"]
        assert b"".join(encode_record(record)) == data
