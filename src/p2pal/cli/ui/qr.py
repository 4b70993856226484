"""A QR code (ISO/IEC 18004) in the terminal, two rows of modules to a line."""

from __future__ import annotations

from typing import Final

QUIET_ZONE: Final = 4
"""Light modules around the picture, as the standard asks for."""

_HALVES: Final = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}
"""What stands for two modules, one below the other; True is light. Most terminals are dark, and their ink is light."""
_WHITE_ON_BLACK: Final = "\x1b[97;40m"
_RESET: Final = "\x1b[0m"


def picture(text: str, *, colour: bool, encoding: str) -> list[str]:
    """Return the lines that show a text as a QR code.

    Args:
        text: What a camera reads.
        colour: Whether the lines set their colours; without, they take those of a dark terminal for granted.
        encoding: That of where they go. One without block elements gets lines of ``##``, twice as many.
    """
    import segno

    light = [
        [not module for module in row] for row in segno.make(text, error="m", micro=False).matrix_iter(1, QUIET_ZONE)
    ]
    lines = _blocks(light) if _takes_blocks(encoding) else ["".join("##" if m else "  " for m in row) for row in light]
    return [f"{_WHITE_ON_BLACK}{line}{_RESET}" for line in lines] if colour else lines


def _takes_blocks(encoding: str) -> bool:
    try:
        "".join(_HALVES.values()).encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def _blocks(light: list[list[bool]]) -> list[str]:
    below = [*light[1::2], [True] * len(light)] if len(light) % 2 else light[1::2]
    return ["".join(_HALVES[pair] for pair in zip(*rows, strict=True)) for rows in zip(light[::2], below, strict=True)]
