"""The area of a chart in which its values are: scale, grid, shading, and axis of time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mirror.report.svg import Drawing, Point, runs, width_of

FOOT = 22
"""Height of the labels of a time axis, in pixels."""

_GAP = 16
"""Pixels between labels."""

LABEL = 15
"""Height of a label, in pixels."""


@dataclass(frozen=True, slots=True)
class Plot:
    """An area, in pixels.

    Attributes:
        drawing: the image.
        left, right, top, bottom: its edges.
        maximum: the value at its top; that at its bottom is 0.
    """

    drawing: Drawing
    left: float
    right: float
    top: float
    bottom: float
    maximum: float

    def x(self, share: float) -> float:
        """Return the place of a share (0 to 1) of its width."""
        return self.left + (self.right - self.left) * share

    def y(self, value: float) -> float:
        """Return the height of a value."""
        return self.bottom - (self.bottom - self.top) * value / self.maximum

    def grid(self, values: Sequence[float], labels: Sequence[str]) -> None:
        """Draw the lines of values, and label them on the left."""
        for value, label in zip(values, labels, strict=True):
            y = self.y(value)
            style = "axis" if value == 0 else "grid"
            self.drawing.line([(self.left, y), (self.right, y)], style)
            self.drawing.text((self.left - 6, y + 4), label, anchor="end")

    def shade(self, share: float, label: str = "") -> None:
        """Shade a share of it, from the left, and say why if there is room.

        The label stands at the top of the drawing, where no line crosses it.
        """
        if share <= 0:
            return
        width = self.x(share) - self.left
        top = 0 if label else self.top
        self.drawing.rectangle(self.left, top, width, self.bottom - top, "shade")
        if label and width > width_of(label):
            self.drawing.text((self.left + 4, LABEL - 3), label)

    def time_axis(self, labels: Sequence[str], last: str = "") -> None:
        """Label parts of equal width below, as many as fit.

        Args:
            labels: of all parts.
            last: replaces the label of the last part, if it is not empty.
        """
        y, pitch = self.bottom + FOOT - 6, (self.right - self.left) / len(labels)
        end = self.right
        if last:
            x = self.right - pitch / 2
            end = min(x - width_of(last) / 2, self.right - width_of(last)) - _GAP
            self.drawing.text((x, y), last, "so-far", anchor="middle")
            labels = labels[:-1]
        step = math.ceil((max(map(width_of, labels), default=0) + _GAP) / pitch)
        for place in range(0, len(labels), max(step, 1)):
            x = self.left + pitch * (place + 0.5)
            if x + width_of(labels[place]) / 2 <= end or not (last or place):
                self.drawing.text((x, y), labels[place], anchor="middle")

    def axis_of_points(self, labels: Iterable[tuple[float, str]]) -> None:
        """Label shares of its width below, as many as fit, in their order."""
        end = -math.inf
        for share, label in labels:
            x, width = self.x(share), width_of(label)
            start = max(x - width / 2, 0)
            if start >= end and x <= self.right:
                self.drawing.text((x, self.bottom + FOOT - 6), label, anchor="middle")
                end = start + width + _GAP

    def series(self, values: Sequence[float | None], style: str, *, is_running: bool) -> Point:
        """Draw a line with a dot for each value that there is.

        Args:
            values: of parts of equal width; at least one is not None.
            style: CSS class.
            is_running: mark the last part, which has not ended.

        Returns:
            The point at which it ends.
        """
        points: list[Point] = []
        for stretch in runs(values):
            points = [(self.x((place + 0.5) / len(values)), self.y(y)) for place, y in stretch]
            self.drawing.line(points, style)
            for point in points:
                self.drawing.dot(point, style, 2.5)
        if is_running and values[-1] is not None:
            self.drawing.dot(points[-1], f"{style} running")
        return points[-1]

    def label_ends(self, ends: Iterable[tuple[Point, str, str]]) -> None:
        """Label two lines on the right of their ends, below each other.

        Args:
            ends: point, label and CSS class of each; the points are below each other.
        """
        upper, lower = sorted(ends, key=lambda end: end[0][1])
        apart = max(LABEL - (lower[0][1] - upper[0][1]), 0) / 2
        for ((x, y), label, style), shift in ((upper, -apart), (lower, apart)):
            y_of_text = min(max(y + shift, self.top), self.bottom - 2)
            self.drawing.text((x + 8, y_of_text + 4), label, f"strong {style}")
