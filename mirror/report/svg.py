"""Draw SVG images: primitives, scales, and sparklines. No script, no library, no network.

Colours are classes of the page's style sheet, so that drawings follow its colour schemes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from markupsafe import Markup, escape

_CHARACTER, _STRONG = 7.4, 8.4
"""Pixels of width for each character of a label, plain or strong; estimates, on the safe side."""

_SPARKLINE = 96, 22, 3
"""Width, height and margin of a sparkline, in pixels."""

_STEPS = 4
"""About how many steps an axis has."""

Point = tuple[float, float]


@dataclass(slots=True)
class Drawing:
    """An image under construction; coordinates are pixels from its top left corner.

    Attributes:
        width, height: its size in pixels.
    """

    width: float
    height: float
    _elements: list[Markup] = field(default_factory=list)

    def rectangle(self, x: float, y: float, width: float, height: float, style: str) -> None:
        """Add a rectangle of a CSS class."""
        self._add(
            Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>'),
            *(style, _px(x), _px(y), _px(max(width, 0)), _px(max(height, 0))),
        )

    def line(self, points: Sequence[Point], style: str) -> None:
        """Add a line through points; a single one becomes a dot."""
        if len(points) == 1:
            self.dot(points[0], style)
        elif points:
            self._add(Markup('<path class="line {}" d="M{}"/>'), style, _path(points))

    def area(self, points: Sequence[Point], base: float, style: str) -> None:
        """Fill the area between a line and a base."""
        outline = [(points[0][0], base), *points, (points[-1][0], base)]
        self._add(Markup('<path class="area {}" d="M{}Z"/>'), style, _path(outline))

    def dot(self, at: Point, style: str, radius: float = 3) -> None:
        """Add a dot."""
        self._add(
            Markup('<circle class="dot {}" cx="{}" cy="{}" r="{}"/>'),
            *(style, _px(at[0]), _px(at[1]), radius),
        )

    def text(self, at: Point, text: str, style: str = "", anchor: str = "start") -> None:
        """Add a text; `anchor` is "start", "middle" or "end". One that would stick out is moved."""
        x, width = at[0], width_of(text, strong="strong" in style)
        before = {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        x += max(before - x, 0) or min(self.width - (x - before + width), 0)
        self._add(
            Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>'),
            *(style, _px(x), _px(at[1]), anchor, text),
        )

    def _add(self, template: Markup, *values: object) -> None:
        self._elements.append(template.format(*values))

    def svg(self, description: str) -> Markup:
        """Return the image, described for screen readers."""
        template = Markup(
            '<svg role="img" viewBox="0 0 {0} {1}" width="{0}" height="{1}"><title>{2}</title>{3}'
            "</svg>"
        )
        return template.format(
            _px(self.width), _px(self.height), description, Markup("").join(self._elements)
        )


def width_of(text: str, *, strong: bool = False) -> float:
    """Estimate the width of a label, in pixels."""
    return (_STRONG if strong else _CHARACTER) * len(text)


def ticks(maximum: float, *, whole: bool = False) -> list[float]:
    """Return round values from 0 up to the first one that is not below a maximum.

    Args:
        maximum: of the axis.
        whole: only whole numbers.
    """
    rough = maximum / _STEPS if maximum > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    if whole:
        step = max(step, 1.0)
    return [step * number for number in range(max(math.ceil(maximum / step - 1e-9), 1) + 1)]


def runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Return the stretches of values without a gap, each with its places."""
    grouped = groupby(enumerate(values), key=lambda pair: pair[1] is None)
    return [
        [(place, value) for place, value in group if value is not None]
        for is_gap, group in grouped
        if not is_gap
    ]


def sparkline(values: Sequence[int], description: str) -> Markup:
    """Draw a line without axes; its last point is marked."""
    width, height, margin = _SPARKLINE
    drawing = Drawing(width, height)
    top, step = max([*values, 1]), (width - 2 * margin) / max(len(values) - 1, 1)
    points = [
        (margin + step * place, height - margin - (height - 2 * margin) * value / top)
        for place, value in enumerate(values)
    ]
    if points:
        drawing.line(points, "main")
        drawing.dot(points[-1], "main", 2.5)
    return drawing.svg(description)


def _path(points: Sequence[Point]) -> Markup:
    return escape("L".join(f"{_px(x)} {_px(y)}" for x, y in points))


def _px(value: float) -> str:
    """Format pixels with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")
