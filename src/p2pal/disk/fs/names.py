"""Names that come from the peer: which may be used here, and which free one to take where one is taken.

Everything is bytes, as the file system has it: a name in no known encoding arrives unchanged.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import Final

from p2pal.wire.transfer import MAX_PATH

MAX_NAME: Final = 255
"""Bytes in one part of a path; every common file system has this limit (some count characters: never fewer bytes)."""

ON_WINDOWS: Final = sys.platform == "win32"

TAG: Final = 8
"""Characters of a transfer's tag, in the names of its unfinished files: the first of its checkpoint's id."""

_TAG: Final = re.compile(rf"[0-9a-z]{{{TAG}}}")
_PART_FILE: Final = re.compile(rb"\.p2pal-.{%d}-.*\.part" % TAG, re.DOTALL | re.IGNORECASE)
_WINDOWS_BAD: Final = re.compile(rb'[\x00-\x1f<>:"|?*\\]')
_WINDOWS_DEVICE: Final = re.compile(
    "(con|prn|aux|nul|conin\\$|conout\\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])[ ]*([.:].*)?", re.IGNORECASE | re.DOTALL
)
_DOUBLE_SUFFIX: Final = re.compile(rb"\.tar\.[^.]{1,8}\Z", re.IGNORECASE)
_MAX_TRIES: Final = 10_000
_PART_NAMES: Final = 10


def part_name(tag: str, index: int | str) -> bytes:
    """Return the name under which entry ``index`` of the transfer with this 8-character tag is written.

    Raises:
        ValueError: If the tag is not eight of 0-9 and a-z.
    """
    if not _TAG.fullmatch(tag):
        raise ValueError("a transfer tag is eight letters and digits")
    return f".p2pal-{tag}-{index}.part".encode()


def part_names(tag: str, index: int) -> Iterator[bytes]:
    """Yield the names that the part file of an entry may have: :func:`part_name`, and some for when that is taken.

    Raises:
        ValueError: If the tag is not eight of 0-9 and a-z.
    """
    yield part_name(tag, index)
    for number in range(1, _PART_NAMES):
        yield part_name(tag, f"{index}-{number}")


def is_part_name(name: bytes) -> bool:
    """Say whether p2pal itself could have made a file of this name: it is neither sent nor accepted."""
    return _PART_FILE.fullmatch(name) is not None


def check_path(path: bytes, *, windows: bool = ON_WINDOWS) -> str | None:
    """Say why an entry's path cannot be used on this machine; None if it can.

    A path that passes is relative, stays below its root whatever its parts mean to the system, and cannot be taken
    for one of our own part files. Links that stand in its way are another matter (:mod:`p2pal.disk.fs.directory`).

    Args:
        path: As offered: parts divided by ``/``.
        windows: Whether the rules of Windows apply too: no drives, streams, devices, backslashes; valid UTF-8.
    """
    if not path:
        return "the name is empty"
    if len(path) > MAX_PATH:
        return "the path is too long"
    if b"\0" in path:
        return "the name holds a NUL byte"
    if path.startswith(b"/"):
        return "the path is absolute"
    for part in path.split(b"/"):
        reason = _check_part(part) or (_check_windows_part(part) if windows else None)
        if reason is not None:
            return reason
    return None


def _check_part(part: bytes) -> str | None:
    if not part:
        return "the path has an empty part"
    if part in {b".", b".."}:
        return "the path has a part that is '.' or '..'"
    if len(part) > MAX_NAME:
        return "the name is longer than 255 bytes"
    if is_part_name(part):
        return "the name is one that p2pal uses for unfinished files"
    return None


def _check_windows_part(part: bytes) -> str | None:
    if _WINDOWS_BAD.search(part):
        return "the name holds a character that Windows does not allow"
    if part.endswith((b".", b" ")):
        return "the name ends in a dot or space, which Windows drops"
    try:
        text = part.decode()
    except UnicodeDecodeError:
        return "the name is not valid UTF-8"
    if _WINDOWS_DEVICE.fullmatch(text):
        return "the name is that of a device"
    return None


def check_link(path: bytes, target: bytes, *, windows: bool = ON_WINDOWS) -> str | None:
    """Say why a link may not be made; None if it may.

    A link at ``path`` may point only into the top-level entry that it came with. ``..`` is allowed only at the
    beginning of the target: the link's own directory is real, so these steps are exact; after a name, ``..`` would
    start from wherever another link of the same payload leads, and what looks harmless as text could lead out.
    """
    if not target or b"\0" in target:
        return "the link's target is empty or holds a NUL byte"
    if windows:
        if b":" in target:
            return "the link leads out of the tree: its target names a drive or a stream"
        target = target.replace(b"\\", b"/")
    if target.startswith(b"/"):
        return "the link leads out of the tree: its target is absolute"
    depth = path.count(b"/") - 1  # directories between the top-level one and the link; -1: it is top-level itself
    named = False
    for part in target.split(b"/"):
        if part == b"..":
            if named:
                return "the link may lead out of the tree: its target has '..' after a name"
            depth -= 1
        elif part not in {b"", b"."}:
            named = True
    return "the link leads out of the tree" if depth < 0 else None


def free_name(taken: Callable[[bytes], bool], name: bytes, *, directory: bool = False) -> bytes:
    """Return ``name``, or the first of ``name (1)``, ``name (2)`` and so on that is not taken.

    A file's number goes before its suffix (``report (1).pdf``, ``src (1).tar.gz``). The result fits in 255 bytes.

    Args:
        taken: Says whether something stands under a name.
        name: One part of a path.
        directory: Dots in a directory's name are no suffix.

    Raises:
        FileExistsError: If ten thousand names are taken.
    """
    if not taken(name):
        return name
    stem, suffix = (name, b"") if directory else _split(name)
    for number in range(1, _MAX_TRIES):
        ending = b" (%d)" % number + suffix
        candidate = _shorten(stem, MAX_NAME - len(ending)) + ending
        if not taken(candidate):
            return candidate
    raise FileExistsError("no free name is left")


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Cut a file's name before its suffix; a leading dot begins no suffix."""
    double = _DOUBLE_SUFFIX.search(name)
    position = double.start() if double else name.rfind(b".")
    if position <= 0 or len(name) - position > 32 or not name[:position].strip(b"."):
        return name, b""
    return name[:position], name[position:]


def _shorten(stem: bytes, limit: int) -> bytes:
    """Cut to ``limit`` bytes, and not within a UTF-8 character."""
    if len(stem) <= limit:
        return stem
    while limit > 0 and stem[limit] & 0xC0 == 0x80:
        limit -= 1
    return stem[:limit]
