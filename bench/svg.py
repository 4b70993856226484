"""A small canvas for pictures in SVG that are readable on light and on dark pages.

A picture has a ground of its own. Where its reader asks for dark colours (``prefers-color-scheme``) it has those; where
the page around it does otherwise, it is a card of the other colour, and as readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal
from xml.sax.saxutils import escape

Theme = Literal["auto", "light", "dark"]
Anchor = Literal["start", "middle", "end"]

FONT: Final = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
LIGHT: Final = {
    "ground": "#ffffff",
    "edge": "#d0d7de",
    "ink": "#1f2328",
    "quiet": "#59636e",
    "grid": "#e3e7eb",
    "first": "#0a58ca",
    "second": "#b35900",
    "third": "#00796b",
}
DARK: Final = {
    "ground": "#0d1117",
    "edge": "#3d444d",
    "ink": "#f0f6fc",
    "quiet": "#9198a1",
    "grid": "#262c34",
    "first": "#6cb6ff",
    "second": "#f0a04b",
    "third": "#4fd1b8",
}
"""Colours by what they are for. The three of the lines differ in lightness as well, for those who see few hues."""


class Picture:
    """Shapes and words on a ground.

    Args:
        width: Pixels.
        height: Pixels.
        title: What is told to those who do not see it.
        theme: Whose colours it has: those that its reader asks for, or always the same.
    """

    def __init__(self, width: int, height: int, title: str, *, theme: Theme = "auto") -> None:
        self._width, self._height, self._title, self._theme = width, height, title, theme
        self._parts: list[str] = []

    def rect(self, x: float, y: float, width: float, height: float, fill: str, *, radius: float = 0) -> None:
        """Draw a filled rectangle; the fill is a colour."""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" fill="{fill}"/>'
        )

    def line(self, points: Sequence[tuple[float, float]], role: str, *, width: float = 2, dashes: str = "") -> None:
        """Draw a line through points in the colour for a role."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self._parts.append(f'<polyline class="s-{role}" points="{path}" stroke-width="{width:g}"{dashed}/>')

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        role: str = "ink",
        size: float = 13,
        anchor: Anchor = "start",
        bold: bool = False,
        fill: str = "",
    ) -> None:
        """Write words in the colour for a role, or in this colour."""
        look = f'fill="{fill}"' if fill else f'class="f-{role}"'
        look += ' font-weight="600"' if bold else ""
        where = f'x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}"'
        self._parts.append(f"<text {where} {look}>{escape(words)}</text>")

    def __str__(self) -> str:
        """The file."""
        style = _style(DARK if self._theme == "dark" else LIGHT)
        if self._theme == "auto":
            style += f"@media (prefers-color-scheme: dark) {{\n{_style(DARK)}}}\n"
        size = f'width="{self._width}" height="{self._height}" viewBox="0 0 {self._width} {self._height}"'
        inner = f'width="{self._width - 1}" height="{self._height - 1}"'
        return "\n".join(
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{FONT}">',
                f"<title>{escape(self._title)}</title>",
                f"<style>\n{style}</style>",
                f'<rect x="0.5" y="0.5" {inner} rx="8" class="ground"/>',
                *self._parts,
                "</svg>\n",
            )
        )


def _style(colours: dict[str, str]) -> str:
    lines = [f".ground {{ fill: {colours['ground']}; stroke: {colours['edge']}; }}"]
    for role in ("ink", "quiet", "grid", "first", "second", "third"):
        lines.append(f".f-{role} {{ fill: {colours[role]}; }}")
        lines.append(f".s-{role} {{ fill: none; stroke: {colours[role]}; stroke-linejoin: round; }}")
    return "".join(f"{line}\n" for line in lines)
