"""A drawing surface of few words: boxes, arrows, text and grids, written as SVG by hand so that
the same call gives the same bytes on every machine.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from m2v_lib.notebook.colours import GREY, INK, WHITE, tint

LINE_HEIGHT = 1.25
_HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-label="{title}" font-family="DejaVu Sans, Helvetica, Arial, \
sans-serif" font-size="13">
<title>{title}</title>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" \
orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="{ink}"/></marker></defs>
<rect width="100%" height="100%" fill="{white}"/>
"""


class Drawing:
    """A picture of `width` x `height` px; y points down. The title is its text for who cannot see
    it.
    """

    def __init__(self, width: int, height: int, title: str) -> None:
        self.title = title
        self._parts = [
            _HEAD.format(width=width, height=height, title=html.escape(title), ink=INK, white=WHITE)
        ]

    def add(self, element: str) -> None:
        self._parts.append(element + "\n")

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str = WHITE,
        stroke: str = INK,
        dash: str = "",
        radius: float = 5,
    ) -> None:
        self.add(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" '
            f'rx="{_n(radius)}" fill="{fill}" stroke="{stroke}" stroke-width="1.3"{_dash(dash)}/>'
        )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        text: str,
        colour: str = GREY,
        dash: str = "",
        size: float = 13,
    ) -> None:
        """A box tinted in a colour, its text in the middle; `\\n` begins a new line."""
        self.rect(x, y, width, height, tint(colour), colour, dash)
        self.text(x + width / 2, y + height / 2, text, size=size)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 13,
        anchor: str = "middle",
        colour: str = INK,
        bold: bool = False,
    ) -> None:
        """Text whose lines are centred about y."""
        lines = text.split("\n")
        top = y - (len(lines) - 1) * size * LINE_HEIGHT / 2 + size * 0.35
        weight = ' font-weight="bold"' if bold else ""
        for number, line in enumerate(lines):
            at = top + number * size * LINE_HEIGHT
            self.add(
                f'<text x="{_n(x)}" y="{_n(at)}" font-size="{_n(size)}" text-anchor="{anchor}" '
                f'fill="{colour}"{weight}>{html.escape(line, quote=False)}</text>'
            )

    def line(
        self,
        points: Iterable[tuple[float, float]],
        colour: str = INK,
        width: float = 1.5,
        *,
        dash: str = "",
        arrow: bool = False,
    ) -> None:
        path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        end = ' marker-end="url(#head)"' if arrow else ""
        self.add(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{_n(width)}" '
            f'stroke-linejoin="round"{_dash(dash)}{end}/>'
        )

    def arrow(self, x1: float, y1: float, x2: float, y2: float, label: str = "") -> None:
        self.line([(x1, y1), (x2, y2)], arrow=True)
        if label:
            self.text((x1 + x2) / 2, (y1 + y2) / 2 - 10, label, size=11)

    def arc(self, x1: float, x2: float, y: float, lift: float, colour: str = INK) -> None:
        """A bow from (x1, y) to (x2, y) with an arrow's head."""
        middle = (x1 + x2) / 2
        self.add(
            f'<path d="M{_n(x1)} {_n(y)} Q{_n(middle)} {_n(y - lift)} {_n(x2)} {_n(y)}" '
            f'fill="none" stroke="{colour}" stroke-width="1.5" marker-end="url(#head)"/>'
        )

    def dot(self, x: float, y: float, radius: float = 4, fill: str = INK) -> None:
        self.add(
            f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" fill="{fill}" stroke="{WHITE}"/>'
        )

    def grid(self, x: float, y: float, rows: Sequence[Sequence[str]], size: float = 16) -> None:
        """Squares, each in its colour."""
        for i, row in enumerate(rows):
            for j, colour in enumerate(row):
                self.rect(x + j * size, y + i * size, size, size, colour, GREY, radius=0)

    def svg(self) -> str:
        return "".join(self._parts) + "</svg>\n"


def _n(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def _dash(dash: str) -> str:
    return f' stroke-dasharray="{dash}"' if dash else ""
