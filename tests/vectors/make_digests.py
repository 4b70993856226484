"""Writes ``digests.json`` for a second implementation: pieces, leaves, file digests, offers, records. Bytes are in hex.

Run it after a deliberate change of the protocol, and raise the protocol's version with it::

    python tests/vectors/make_digests.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from p2pal.transfer.manifest import Manifest
from p2pal.wire import transfer as wire
from p2pal.wire.pieces import file_digest, leaf, piece_count, piece_size
from p2pal.wire.transfer import Entry, EntryKind, Reason, Record, Verdict

HERE = Path(__file__).parent
MIB = 1 << 20

PIECE_SIZES = (0, 1, MIB, 1 << 30, (1 << 30) + 1, 1 << 31, (1 << 32) + 1, 1 << 34, wire.MAX_FILE_SIZE)
FILES = (0, 1, 1000, MIB - 1, MIB, MIB + 1, 3 * MIB + 17)
ENTRIES = [
    Entry(b"report.pdf", EntryKind.FILE, 2_300_000, 0o640, 1_700_000_000_123_456_789),
    Entry(b"photos", EntryKind.DIRECTORY, 0, 0o755, -1),
    Entry("photos/\u00e9t\u00e9 \u590f.jpg".encode(), EntryKind.FILE, 5_000_000_000, 0o644, 0),
    Entry(b"photos/\xff\xfe", EntryKind.FILE, 0, 0, 2**62),
    Entry(b"photos/latest", EntryKind.LINK, 0, 0o777, 7, "\u00e9t\u00e9 \u590f.jpg".encode()),
]
DIGEST = bytes(range(32))
RECORDS: list[tuple[str, Record]] = [
    ("OfferBegin", wire.OfferBegin(bytes(range(16)), True)),
    ("OfferPart", wire.OfferPart(0, ENTRIES)),
    ("OfferEnd", wire.OfferEnd(5, 3, 5_002_300_000, DIGEST, 1)),
    ("Accept", wire.Accept(DIGEST)),
    ("Want", wire.Want([(0, 3), (4, 5)], [])),
    ("Chunk", wire.Chunk(2, 4_999_999_999, b"\x00")),
    ("PieceDone", wire.PieceDone(2, 7, DIGEST)),
    ("FileDone", wire.FileDone(2, DIGEST)),
    ("FileFailed", wire.FileFailed(0, Reason.CHANGED, "the file changed while it was read")),
    ("AllSent", wire.AllSent(1)),
    ("PieceAgain", wire.PieceAgain(2, 7)),
    ("Verdicts", wire.Verdicts([Verdict(1, True), Verdict(0, False, Reason.CHANGED, "")])),
    ("Hold", wire.Hold(True, Reason.DISK, 1_048_576)),
    ("Complete", wire.Complete(4, 1, 5_000_000_000)),
    ("Abort", wire.Abort(Reason.CANCELLED, "stopped")),
]


def content(size: int) -> bytes:
    """Return the bytes of the vectors' files: byte number i is (7 i + i // 251) mod 256."""
    return bytes((7 * i + i // 251) & 0xFF for i in range(size))


def build() -> dict[str, Any]:
    """Return ``digests.json``."""
    files = []
    for size in FILES:
        data, each = content(size), piece_size(size)
        leaves = [leaf(data[start : start + each]) for start in range(0, size, each)]
        digest = file_digest(size, each, leaves)
        files.append({"size": size, "leaves": [each.hex() for each in leaves], "digest": digest.hex()})
    manifest = Manifest()
    for entry in ENTRIES:
        manifest.append(entry)
    return {
        "about": "leaf = SHA-256(00 || data); file digest = SHA-256(01 || u64 size || u32 piece size || leaves); offer "
        "digest = SHA-256(02 || for each entry: u32 length || MessagePack). "
        "Byte i of a file is (7 i + i // 251) mod 256.",
        "pieces": [
            {"size": size, "piece_size": piece_size(size), "pieces": piece_count(size, piece_size(size))}
            for size in PIECE_SIZES
        ],
        "files": files,
        "offer": {
            "entries": [
                {
                    "path": entry.path.hex(), "kind": int(entry.kind), "size": entry.size, "mode": entry.mode,
                    "mtime_ns": str(entry.mtime_ns), "target": entry.target.hex(),
                    "encoded": manifest.encoded(index, 1, 0)[1].hex(),
                }
                for index, entry in enumerate(ENTRIES)
            ],
            "digest": manifest.digest().hex(),
        },
        "records": [{"kind": kind, "record": b"".join(wire.encode_record(each)).hex()} for kind, each in RECORDS],
    }  # fmt: skip


def main() -> None:
    """Write the file."""
    (HERE / "digests.json").write_text(json.dumps(build(), indent=2) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
