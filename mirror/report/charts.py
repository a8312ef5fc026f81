"""The charts of the report: what they draw, label and say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mirror.db.models import CLOSED_STATUSES
from mirror.report.formatting import Language
from mirror.report.model import Bucket, Counts, Report
from mirror.report.plot import FOOT, LABEL, Plot
from mirror.report.svg import Drawing, ticks, width_of

WIDE, NARROW = 560, 330
"""Widths of the two drawings of a chart, for screens and for phones and paper."""

_HEIGHT = 220
_TOP = 18
"""Height above the highest value."""

_ROW, _CAPTION = 104, 36
"""Heights of a row of bars, and of its caption and the numbers on its bars."""

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


def _twice(draw: Callable[[float], Drawing], description: str) -> tuple[Markup, Markup]:
    wide, narrow = (draw(width).svg(description) for width in (WIDE, NARROW))
    return wide, narrow


def _open(report: Report, language: Language) -> Chart:
    points = report.open_over_time
    first, last = points[0], points[-1]
    place_of_peak = max(range(len(points)), key=lambda place: points[place].open)
    peak = points[place_of_peak]
    values = ticks(peak.open, whole=True)
    days = max((last.day - first.day).days, 1)
    before_pull = 0.0
    if report.first_pull is not None:
        before_pull = min((report.first_pull.at.date() - first.day).days / days, 1)
    unknown = report.figures.undated.unknown.resolved
    columns = ["open_at_end"] if report.unit == "day" else ["open_at_end", "most_open"]

    def row(bucket: Bucket) -> Sequence[str]:
        most = max((point.open for point in points if point.day in bucket.period), default=0)
        return [language.count(number) for number in (bucket.open, most)[: len(columns)]]

    def draw(width: float) -> Drawing:
        drawing = Drawing(width, _HEIGHT)
        left = width_of(language.count(round(values[-1]))) + 12
        end = language.text("open_value", last.open)
        right, top = width - 8 - width_of(end, strong=True), _top(before_pull)
        plot = Plot(drawing, left, right, top, _HEIGHT - FOOT, values[-1])
        plot.shade(before_pull, language.text("before_pull"))
        plot.grid(values, [language.count(round(value)) for value in values])
        line = [
            (plot.x((point.day - first.day).days / days), plot.y(point.open)) for point in points
        ]
        drawing.area(line, plot.bottom, "main")
        drawing.line(line, "main")
        drawing.dot(line[-1], "main")
        drawing.text((line[-1][0] + 7, line[-1][1] + 4), end, "strong")
        if peak.open > last.open:
            at = line[place_of_peak]
            drawing.dot(at, "main", 2)
            drawing.text((at[0], at[1] - 6), language.text("at_most", peak.open), anchor="middle")
        plot.axis_of_points(
            ((bucket.period.since - first.day).days / days, _label(bucket, report, language))
            for bucket in report.buckets
        )
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
        _note(report, language, before_pull > 0, "unknown_omitted", unknown),
        _table(report, language, columns, row),
        *_twice(draw, words),
    )


def _outcomes(report: Report, language: Language) -> Chart:
    """Draw a row of bars for each kind of event, all on one scale."""
    buckets = report.buckets
    highest = max(_count(bucket.counts, name) for bucket in buckets for name in _SERIES)
    running = language.text("so_far") if buckets[-1].is_running else ""

    def draw(width: float) -> Drawing:
        drawing = Drawing(width, _ROW * len(_SERIES) + FOOT)
        pitch = (width - 2) / len(buckets)
        is_numbered = width_of(language.count(highest)) + 4 <= pitch
        for row, name in enumerate(_SERIES):
            bottom = _ROW * (row + 1)
            plot = Plot(drawing, 1, width - 1, bottom - _ROW + _CAPTION, bottom, max(highest, 1))
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
    totals = {name: language.text(f"count_{name}", _count(counts, name)) for name in _SERIES}
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
    in_hours = [
        [bucket.hours.median for bucket in buckets],
        [bucket.hours.percentile_90 for bucket in buckets],
    ]
    highest = max(value for line in in_hours for value in line if value is not None)
    hours, unit = (1.0, "hours") if highest < 24 else (24.0, "days")
    lines = [[None if value is None else value / hours for value in line] for line in in_hours]
    values = ticks(highest / hours)
    running = language.text("so_far") if buckets[-1].is_running else ""

    def draw(width: float) -> Drawing:
        drawing = Drawing(width, _HEIGHT)
        labels = [language.text(f"line_{name}") for name in names]
        numbers = [_tick(language, value) for value in values]
        left = max(map(width_of, numbers)) + 12
        right = width - 8 - max(width_of(label, strong=True) for label in labels)
        top = _top(_share_before(report))
        plot = Plot(drawing, left, right, top, _HEIGHT - FOOT, values[-1])
        plot.shade(_share_before(report), language.text("before_pull"))
        plot.grid(values, [*numbers[:-1], ""])
        drawing.text((0, top - 6), language.text(unit, 2, value=numbers[-1]))
        ends = [
            (plot.series(line, name, is_running=bool(running)), label, name)
            for name, label, line in zip(names, labels, lines, strict=True)
        ]
        plot.label_ends(ends)
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


def _top(shaded: float) -> int:
    """Return the height above the highest value: the label of what is shaded has its own line."""
    return _TOP + LABEL if shaded > 0 else _TOP


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
