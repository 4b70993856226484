"""Write frames.json: session frames as bytes and as fields, and frames that must be refused.

    python tests/vectors/make_frames.py

Run it only when the format changes; a second implementation checks itself against the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from p2pal.wire.frames import Ack, Close, Data, Frame, LaneAck, Ping, Pong, encode

PATH = Path(__file__).with_name("frames.json")

GOOD: list[tuple[str, Frame]] = [
    ("data, first", Data(0, memoryview(b"hello"))),
    ("data, highest number, all byte values", Data(2**63 - 1, memoryview(bytes(range(256))))),
    ("ack, nothing yet", Ack(0, 256)),
    ("ack, cumulative", Ack(1000, 1256, (), (LaneAck(1, 1003, 0.0029),))),
    ("ack, gaps and lanes", Ack(5, 261, ((6, 8), (10, 11)), (LaneAck(1, 7, 0.0), LaneAck(3, 2**32 - 1, 4294.967295)))),
    ("ack, as long as it gets", Ack(
        0, 256, tuple((2 * i + 1, 2 * i + 2) for i in range(32)), tuple(LaneAck(i, i, i / 1e6) for i in range(32))
    )),
    ("ping", Ping(1)),
    ("pong, highest number", Pong(2**32 - 1)),
    ("close", Close(0, "done")),
    ("close, without reason", Close(65535, "")),
    ("close, longest reason", Close(3, "é" * 100)),
]  # fmt: skip

BAD: list[tuple[str, str]] = [
    ("empty", ""),
    ("type 0", "00"),
    ("unknown type", "06"),
    ("data without payload", "01" + "00" * 8),
    ("data, truncated number", "0100"),
    ("data, number 2^63", "01" + "80" + "00" * 7 + "ff"),
    ("ack, truncated", "02" + "00" * 17),
    ("ack, one byte too many", "02" + "00" * 15 + "08" + "0000" + "00"),
    ("ack, edge below next", "02" + "00" * 7 + "05" + "00" * 7 + "04" + "0000"),
    ("ack, edge past 2^63", "02" + "00" * 8 + "8000000000000001" + "0000"),
    ("ack, announces a range it lacks", "02" + "00" * 15 + "08" + "0100"),
    ("ack, 33 ranges", "02" + "00" * 8 + "00000000000000ff" + "2100"
     + "".join(f"{2 * i + 1:016x}{2 * i + 2:016x}" for i in range(33))),
    ("ack, 33 lanes", "02" + "00" * 15 + "08" + "0021" + "".join(f"{i:08x}{0:08x}{0:08x}" for i in range(33))),
    ("ack, range at next", "02" + "00" * 15 + "08" + "0100" + f"{0:016x}{1:016x}"),
    ("ack, empty range", "02" + "00" * 15 + "08" + "0100" + f"{2:016x}{2:016x}"),
    ("ack, adjacent ranges", "02" + "00" * 15 + "08" + "0200" + f"{1:016x}{2:016x}{2:016x}{3:016x}"),
    ("ack, descending ranges", "02" + "00" * 15 + "08" + "0200" + f"{4:016x}{5:016x}{1:016x}{2:016x}"),
    ("ack, range past the edge", "02" + "00" * 15 + "08" + "0100" + f"{7:016x}{9:016x}"),
    ("ack, the same lane twice", "02" + "00" * 15 + "08" + "0002" + f"{1:08x}{0:08x}{0:08x}" * 2),
    ("ping, too short", "03000000"),
    ("ping, too long", "030000000000"),
    ("pong, too short", "04"),
    ("close, without code", "0500"),
    ("close, reason too long", "050000" + "61" * 201),
    ("close, reason not UTF-8", "050000ff"),
]  # fmt: skip


def fields(frame: Frame) -> dict[str, Any]:
    """Return the frame as JSON would say it; delays in microseconds, as on the wire."""
    if isinstance(frame, Data):
        return {"type": "DATA", "number": frame.number, "payload": bytes(frame.payload).hex()}
    if isinstance(frame, Ack):
        return {
            "type": "ACK",
            "next": frame.next,
            "edge": frame.edge,
            "ranges": [list(pair) for pair in frame.ranges],
            "lanes": [{"lane": a.lane, "counter": a.counter, "delay": round(a.delay * 1e6)} for a in frame.lanes],
        }
    if isinstance(frame, (Ping, Pong)):
        return {"type": type(frame).__name__.upper(), "number": frame.number}
    return {"type": "CLOSE", "code": frame.code, "reason": frame.reason}


def vectors() -> dict[str, Any]:
    """Return what the file holds."""
    return {
        "good": [{"name": name, "hex": encode(frame).hex(), "fields": fields(frame)} for name, frame in GOOD],
        "bad": [{"name": name, "hex": text} for name, text in BAD],
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
