"""The charts of the report: what they draw, label and say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mirror.db.models import CLOSED_STATUSES
from mirror.report.formatting import Language
from mirror.report.model import Bucket, Counts, Report
from mirror.report.svg import Drawing, Point, runs, ticks, width_of

WIDE, NARROW = 560, 330
"""Widths of the two drawings of a chart, for screens and for phones and paper."""

_HEIGHT = 220
_FOOT, _TOP = 22, 18
"""Heights of the labels of a time axis, and above the highest value."""

_ROW, _CAPTION = 104, 36
"""Heights of a row of bars, and of its caption and the numbers on its bars."""

_GAP = 16
"""Pixels between labels."""

_LINE = 15
"""Pixels of height of a label."""

_SERIES = ("requested", *CLOSED_STATUSES)


@dataclass(frozen=True, slots=True)
class Table:
    """The figures of a chart as a table; the first cell of a row is its heading."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Attributes:
        name: identifies it in the page.
        title: its caption.
        note: what is shaded or left out; may be empty.
        table: its figures as a table.
        wide, narrow: SVG for wide and narrow screens.
    """

    name: str
    title: str
    note: str
    table: Table
    wide: Markup
    narrow: Markup


def charts(report: Report, language: Language) -> list[Chart]:
    """Draw the charts of a report, except those without data."""
    drawn = []
    if report.buckets:
        drawn += [_open(report, language), _outcomes(report, language)]
    if any(bucket.hours.requests for bucket in report.buckets):
        drawn.append(_hours(report, language))
    return drawn


@dataclass(frozen=True, slots=True)
class _Plot:
    """The area of a chart in which its values are, in pixels.

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
        """Shade a share of it, from the left, and say why if there is room."""
        if share <= 0:
            return
        width = self.x(share) - self.left
        self.drawing.rectangle(self.left, self.top, width, self.bottom - self.top, "shade")
        if label and width > width_of(label):
            self.drawing.text((self.left + 4, self.top + 12), label)

    def time_axis(self, labels: Sequence[str], last: str = "") -> None:
        """Label parts of equal width below, as many as fit.

        Args:
            labels: of all parts.
            last: replaces the label of the last part, if it is not empty.
        """
        y, pitch = self.bottom + _FOOT - 6, (self.right - self.left) / len(labels)
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


def _twice(draw: Callable[[float], Drawing], description: str) -> tuple[Markup, Markup]:
    wide, narrow = (draw(width).svg(description) for width in (WIDE, NARROW))
    return wide, narrow


def _open(report: Report, language: Language) -> Chart:
    points = report.open_over_time
    first, last = points[0], points[-1]
    place_of_peak = max(range(len(points)), key=lambda place: points[place].open)
    peak = points[place_of_peak]
    values = ticks(peak.open, whole=True)
    span = max(len(points) - 1, 1)
    known = 0.0
    if report.first_pull is not None:
        total = max((last.day - first.day).days, 1)
        known = min((report.first_pull.at.date() - first.day).days / total, 1)
    unknown = report.figures.undated.unknown.resolved

    def draw(width: float) -> Drawing:
        drawing = Drawing(width, _HEIGHT)
        left = width_of(language.count(round(values[-1]))) + 12
        end = language.text("open_value", last.open)
        plot = _Plot(
            drawing, left, width - 8 - width_of(end, strong=True), _TOP, _HEIGHT - _FOOT, values[-1]
        )
        plot.shade(known, language.text("before_pull"))
        plot.grid(values, [language.count(round(value)) for value in values])
        line = [(plot.x(place / span), plot.y(point.open)) for place, point in enumerate(points)]
        drawing.area(line, plot.bottom, "main")
        drawing.line(line, "main")
        drawing.dot(line[-1], "main")
        drawing.text((line[-1][0] + 7, line[-1][1] + 4), end, "strong")
        if peak.open > last.open:
            at = line[place_of_peak]
            drawing.dot(at, "main", 2)
            drawing.text((at[0], at[1] - 6), language.text("at_most", peak.open), anchor="middle")
        _days_below(plot, report, language)
        return drawing

    words = language.text(
        "chart_open_words",
        first=language.count(first.open),
        first_day=language.day(first.day),
        most=language.count(peak.open),
        most_day=language.day(peak.day),
        last=language.count(last.open),
        last_day=language.day(last.day),
    )
    return Chart(
        "open",
        language.text("chart_open"),
        _note(report, language, known > 0, "unknown_omitted", unknown),
        _table(report, language, ["open_at_end"], lambda bucket: [language.count(bucket.open)]),
        *_twice(draw, words),
    )


def _days_below(plot: _Plot, report: Report, language: Language) -> None:
    """Label the first days of the parts, as many as fit, at their place in the line."""
    points = report.open_over_time
    first, total = points[0].day, max((points[-1].day - points[0].day).days, 1)
    labels = [(bucket.period.since, _label(bucket, report, language)) for bucket in report.buckets]
    end = -math.inf
    for day, label in labels:
        x = plot.x((day - first).days / total)
        start = max(x - width_of(label) / 2, 0)
        if start >= end and x <= plot.right:
            plot.drawing.text((x, plot.bottom + _FOOT - 6), label, anchor="middle")
            end = start + width_of(label) + _GAP


def _outcomes(report: Report, language: Language) -> Chart:
    """Draw a row of bars for each kind of event, all on one scale."""
    buckets = report.buckets
    highest = max(_count(bucket.counts, name) for bucket in buckets for name in _SERIES)
    running = language.text("so_far") if buckets[-1].is_running else ""

    def draw(width: float) -> Drawing:
        drawing = Drawing(width, _ROW * len(_SERIES) + _FOOT)
        pitch = (width - 2) / len(buckets)
        is_numbered = width_of(language.count(highest)) + 4 <= pitch
        for row, name in enumerate(_SERIES):
            bottom = _ROW * (row + 1)
            plot = _Plot(drawing, 1, width - 1, bottom - _ROW + _CAPTION, bottom, max(highest, 1))
            total = language.count(_count(report.figures.counts, name))
            drawing.text((0, bottom - _ROW + 18), f"{language.text(name)} {total}", "strong")
            plot.shade(_share_before(report))
            drawing.line([(plot.left, bottom), (plot.right, bottom)], "axis")
            best = max(buckets, key=lambda bucket: _count(bucket.counts, name))
            for place, bucket in enumerate(buckets):
                value = _count(bucket.counts, name)
                x, y = plot.left + pitch * place, plot.y(value)
                style = "bar running" if bucket.is_running else "bar"
                if value:
                    drawing.rectangle(
                        x + pitch * 0.12, y, pitch * 0.76, bottom - y, f"{style} {name}"
                    )
                if value and (is_numbered or bucket is best):
                    drawing.text((x + pitch / 2, y - 3), language.count(value), anchor="middle")
        plot.time_axis([_label(bucket, report, language) for bucket in buckets], running)
        return drawing

    title, counts = language.text(f"outcomes_{report.unit}"), report.figures.counts
    totals = {name: language.count(_count(counts, name)) for name in _SERIES}
    undated = report.figures.undated
    note = _note(
        report, language, _share_before(report) > 0, "unknown_omitted", undated.unknown.resolved
    )
    if undated.observed:
        note = f"{note} {language.text('observed_counted', undated.observed)}".strip()
    return Chart(
        "outcomes",
        title,
        note,
        _table(
            report,
            language,
            _SERIES,
            lambda bucket: [language.count(_count(bucket.counts, name)) for name in _SERIES],
        ),
        *_twice(draw, language.text("outcomes_words", title=title, **totals)),
    )


def _count(counts: Counts, name: str) -> int:
    return int(getattr(counts, name))


def _hours(report: Report, language: Language) -> Chart:
    buckets, total = report.buckets, report.figures.hours
    names = ("median", "percentile")
    lines = [
        [bucket.hours.median for bucket in buckets],
        [bucket.hours.percentile_90 for bucket in buckets],
    ]
    highest = max(value for line in lines for value in line if value is not None)
    hours, unit = (1.0, "hours") if highest < 24 else (24.0, "days")
    values = ticks(highest / hours)
    running = language.text("so_far") if buckets[-1].is_running else ""

    def draw(width: float) -> Drawing:
        drawing = Drawing(width, _HEIGHT)
        labels = [language.text(f"line_{name}") for name in names]
        numbers = [_tick(language, value) for value in values]
        left = max(map(width_of, numbers)) + 12
        right = width - 8 - max(width_of(label, strong=True) for label in labels)
        plot = _Plot(drawing, left, right, _TOP, _HEIGHT - _FOOT, values[-1])
        plot.shade(_share_before(report), language.text("before_pull"))
        top = language.text(unit, 2, value=numbers[-1])
        plot.grid(values, [*numbers[:-1], ""])
        drawing.text((0, _TOP - 6), top)
        ends: list[tuple[float, str, str]] = []
        for name, label, line in zip(names, labels, lines, strict=True):
            stretches = [
                [
                    (plot.x((place + 0.5) / len(line)), plot.y(value / hours))
                    for place, value in stretch
                ]
                for stretch in runs(line)
            ]
            _draw_line(drawing, stretches, name)
            if running and line[-1] is not None:
                drawing.dot(stretches[-1][-1], f"{name} running")
            ends.append((stretches[-1][-1][1], label, name))
        ends.sort()
        (upper, *_), (lower, *_) = ends
        apart = max(_LINE - (lower - upper), 0) / 2
        for (y, label, name), shift in zip(ends, (-apart, apart), strict=True):
            y_of_text = min(max(y + shift, plot.top), plot.bottom - 2)
            drawing.text((plot.right + 4, y_of_text + 4), label, f"strong {name}")
        plot.time_axis([_label(bucket, report, language) for bucket in buckets], running)
        return drawing

    undated = report.figures.undated
    omitted = undated.observed + undated.unknown.resolved
    return Chart(
        "hours",
        language.text("chart_time"),
        _note(report, language, _share_before(report) > 0, "unreported_omitted", omitted),
        _table(
            report,
            language,
            ["with_time", "median", "percentile"],
            lambda bucket: [
                language.count(bucket.hours.requests),
                language.duration(bucket.hours.median),
                language.duration(bucket.hours.percentile_90),
            ],
        ),
        *_twice(
            draw,
            language.text(
                "chart_time_words",
                median=language.duration(total.median),
                percentile=language.duration(total.percentile_90),
            ),
        ),
    )


def _draw_line(drawing: Drawing, stretches: Sequence[Sequence[Point]], style: str) -> None:
    for stretch in stretches:
        drawing.line(stretch, style)
        for point in stretch:
            drawing.dot(point, style, 2.5)


def _tick(language: Language, value: float) -> str:
    return language.count(round(value)) if value % 1 == 0 else language.decimal(value)


def _table(
    report: Report,
    language: Language,
    columns: Sequence[str],
    values: Callable[[Bucket], Sequence[str]],
) -> Table:
    """Return a table with a row for each bucket."""
    rows = [
        (language.bucket(bucket.period, report.unit), *values(bucket)) for bucket in report.buckets
    ]
    return Table([language.text(key) for key in (f"unit_{report.unit}", *columns)], rows)


def _note(report: Report, language: Language, shaded: bool, key: str, omitted: int) -> str:  # noqa: FBT001
    """Return what a chart shades and leaves out."""
    sentences = []
    if shaded:
        sentences.append(language.text("shaded", pull=language.first_pull(report)))
    if omitted:
        sentences.append(language.text(key, omitted))
    return " ".join(sentences)


def _share_before(report: Report) -> float:
    """Return the share of the buckets that begin before the first complete pull."""
    before = sum(not report.is_known(bucket.period.start) for bucket in report.buckets)
    return before / len(report.buckets)


def _label(bucket: Bucket, report: Report, language: Language) -> str:
    """Return the label of a bucket on a time axis."""
    first, last = report.buckets[0].period, report.buckets[-1].period
    if report.unit in {"day", "week"} and first.since.year == last.since.year:
        return language.short_day(bucket.period.since)
    return language.bucket(bucket.period, report.unit)
