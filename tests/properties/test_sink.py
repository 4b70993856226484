"""Whatever arrives, in whatever cut: what is done is exact, and nothing outside the chosen place changes."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.disk.disk import Disk, directory_entry, link_entry, part_files, snapshot

from p2pal.disk.fs.names import check_link, check_path
from p2pal.errors import ProtocolError
from p2pal.transfer import ops
from p2pal.wire.pieces import file_digest, leaf, piece_count
from p2pal.wire.transfer import Entry, EntryKind

TOP = b"top"
PIECE = 64


@contextlib.contextmanager
def fresh() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path:
        (Path(path) / "out").mkdir()
        yield Path(path)


def entry_of(path: bytes, size: int) -> Entry:
    return Entry(path, EntryKind.FILE, size)


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[bytes], list[list[ops.SinkOp]]]:
    """Some files, and for each the operations that bring it: any cuts, some pieces damaged first and repaired."""
    contents = draw(st.lists(st.binary(max_size=4 * PIECE), min_size=1, max_size=5))
    streams = []
    for index, data in enumerate(contents):
        stream: list[ops.SinkOp] = [ops.Begin(index, entry_of(TOP + b"/%d" % index, len(data)), PIECE)]
        for piece in range(piece_count(len(data), PIECE)):
            right = data[piece * PIECE : (piece + 1) * PIECE]
            if draw(st.booleans()):
                stream += cut(draw, index, piece, bytes(byte ^ 1 for byte in right))
                stream += [ops.CheckPiece(index, piece, leaf(right)), ops.ResetPiece(index, piece)]
            stream += cut(draw, index, piece, right)
            stream.append(ops.CheckPiece(index, piece, leaf(right)))
        stream.append(ops.Finish(index, digest(data)))
        streams.append(stream)
    return contents, streams


def cut(draw: st.DrawFn, index: int, piece: int, data: bytes) -> list[ops.SinkOp]:
    points = sorted({0, len(data), *draw(st.lists(st.integers(0, len(data)), max_size=3))})
    return [ops.Write(index, piece * PIECE + start, data[start:stop]) for start, stop in itertools.pairwise(points)]


def digest(data: bytes) -> bytes:
    return file_digest(len(data), PIECE, (leaf(data[i : i + PIECE]) for i in range(0, len(data), PIECE)))


@given(arrivals(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_every_file_that_is_done_is_the_one_that_was_sent(
    arrival: tuple[list[bytes], list[list[ops.SinkOp]]], random: object
) -> None:
    contents, streams = arrival
    choose = random.choice  # type: ignore[attr-defined]
    with fresh() as path, Disk(path / "out", [(TOP, EntryKind.DIRECTORY)]) as disk:
        disk.do(ops.MakeDirectory(99, directory_entry(TOP)))
        while any(streams):
            disk.do(choose([stream for stream in streams if stream]).pop(0))
        disk.seal()
        assert disk.done == {99, *range(len(contents))}
        assert not disk.failed
        expected = {b"top/%d" % index: data for index, data in enumerate(contents)}
        assert snapshot(path / "out") == {TOP: None, **expected}


NAMES = st.sampled_from(
    [b"top", b"..", b".", b"", b"a", b"b", b"l", b"/", b"x" * 255, b"x" * 256, b"\0", b"\xff", b"a\nb", b"c:", b"\\",
     b".p2pal-abcd2345-0.part"]
)  # fmt: skip
PATHS = st.one_of(
    st.lists(NAMES, min_size=1, max_size=4).map(b"/".join),
    st.lists(NAMES, max_size=3).map(lambda parts: b"/".join([TOP, *parts])),
    st.binary(min_size=1, max_size=20),
)
TARGETS = st.one_of(PATHS, st.sampled_from([b"../../secret", b"..", b"a/../..", b"/etc", b"l/..", b"b"]))


@st.composite
def hostile(draw: st.DrawFn) -> ops.SinkOp:
    index = draw(st.integers(0, 5))
    match draw(st.integers(0, 7)):
        case 0 | 1:
            return ops.MakeDirectory(index, directory_entry(draw(PATHS), draw(st.integers(0, 0o777))))
        case 2:
            return ops.MakeLink(index, link_entry(draw(PATHS), draw(TARGETS)))
        case 3 | 4:
            return ops.Begin(index, entry_of(draw(PATHS), draw(st.sampled_from([0, 1, 5, 2**63 - 1]))), 1 << 20)
        case 5:
            return ops.Write(index, draw(st.sampled_from([0, 1, 4, 5, 2**62])), draw(st.binary(max_size=6)))
        case 6:
            return ops.Finish(index, draw(st.sampled_from([digest(b""), digest(b"x"), bytes(32)])))
        case _:
            others: list[ops.SinkOp] = [ops.Discard(index), ops.ResetPiece(index, 0), ops.CheckPiece(index, 0, b"")]
            return draw(st.sampled_from(others))


@given(st.lists(hostile(), max_size=25), st.booleans())
@settings(max_examples=60, deadline=None)
def test_nothing_outside_changes_and_nothing_unfinished_stays(operations: list[ops.SinkOp], overwrite: bool) -> None:
    with fresh() as path:
        secret, out = path / "secret", path / "out"
        secret.write_bytes(b"precious")
        (out / "top" / "a").mkdir(parents=True)
        (out / "top" / "l").symlink_to("../..")
        (out / "other").write_bytes(b"precious")
        with Disk(out, [(TOP, EntryKind.DIRECTORY), (b"a", EntryKind.FILE)], overwrite=overwrite) as disk:
            for op in operations:
                with contextlib.suppress(ProtocolError):
                    disk.do(op)
            disk.seal()
        os.chmod(out, 0o755)
        assert part_files(path) == []
        assert snapshot(path)[b"secret"] == b"precious"
        assert snapshot(out)[b"other"] == b"precious"
        assert set(os.listdir(path)) == {"secret", "out"}
        assert set(os.listdir(out)) <= {"other", "top", "top (1)", "a"}
        if not overwrite:
            assert sorted(os.listdir(out / "top")) == ["a", "l"]


def leads_in_a_circle(path: bytes) -> bool:
    try:
        os.stat(path)
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), TARGETS), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_no_chain_of_links_leads_out_of_the_tree(links: list[tuple[int, int, bytes]]) -> None:
    """The rule looks at one link at a time, as text; the system then follows several. Ask the system."""
    with fresh() as path:
        top = path / "out" / "top"
        (top / "a" / "b" / "c").mkdir(parents=True)
        places = [b"top", b"top/a", b"top/a/b", b"top/a/b/c", b"top"]
        root = os.fsencode(path / "out")
        for place, name, target in links:
            link = places[place] + b"/l%d" % name if name else places[place] + b"/l"
            if check_path(link) is None and check_link(link, target) is None:
                with contextlib.suppress(OSError):
                    os.symlink(target, os.path.join(root, link))
        for parent, directories, files in os.walk(os.fsencode(top)):
            for each in directories + files:
                found = os.path.join(parent, each)
                if leads_in_a_circle(found):
                    continue  # nowhere, for the system; Python's realpath makes up an end
                real = os.path.realpath(found)
                assert real == os.fsencode(top.resolve()) or real.startswith(os.fsencode(top.resolve()) + b"/")
