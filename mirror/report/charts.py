"""The charts of the report, and their descriptions for screen readers."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from mirror.db.models import CLOSED_STATUSES
from mirror.report import formatting
from mirror.report.model import Bucket, Reason, Report
from mirror.report.svg import (
    Chart,
    Size,
    Table,
    colours,
    inline,
    integer_axis,
    render_wide_and_narrow,
    shading,
)
from mirror.text import escape_unsafe, plural

_SERIES = ("requested", *CLOSED_STATUSES)
_BAR = 46
_AROUND_BARS = 60
"""Pixels of height for each bar, and for everything around the bars."""

_TICK = 80
"""Pixels of width for each label of a time axis."""

_MAX_REASON = 300
_CHARACTER = 8
"""Pixels of width; East Asian characters and emojis take twice as many."""

_TICK_FORMATS = {"week": "%-d %b %Y", "month": "%b %Y"}
"""Labels of a time axis by unit; longer units are labelled by year."""


def charts(report: Report) -> list[Chart]:
    """Render the charts of a report, except those without data."""
    rendered = []
    if report.buckets:
        rendered += [_open(report), _outcomes(report)]
    if any(bucket.hours.requests for bucket in report.buckets):
        rendered.append(_hours(report))
    if report.reasons.rows:
        rendered.append(_reasons(report))
    return rendered


def _open(report: Report) -> Chart:
    import altair as alt

    points = report.open_over_time
    unit = report.unit if len(points) == len(report.buckets) else "day"
    first, last = points[0], points[-1]
    peak = max(points, key=lambda point: point.open)
    data = [{"day": point.day.isoformat(), "open": point.open} for point in points]
    known = last.day if report.first_pull is None else min(report.first_pull.at.date(), last.day)
    before = {"day": first.day.isoformat(), "until": known.isoformat()}
    shaded = [before] if first.day < known else []
    unknown = report.figures.undated.unknown.resolved

    def draw(size: Size) -> Any:
        axis = alt.Axis(
            values=_ticks(report, size),
            format="%-d %b" if _weeks_of_one_year(report) else _TICK_FORMATS.get(report.unit, "%Y"),
            grid=False,
        )
        x = alt.X("day:T", title=f"End of the {unit} (UTC)", scale=alt.Scale(type="utc"), axis=axis)
        y = alt.Y("open:Q", title="Open requests", axis=integer_axis(peak.open))
        area = alt.Chart(inline(data)).mark_area(
            color="var(--open)",
            fillOpacity=0.15,
            line={"color": "var(--open)", "strokeWidth": 2},
            point={"color": "var(--open)"} if len(data) == 1 else False,
        )
        return shading(shaded, x, alt.X2("until:T")) + area.encode(x=x, y=y)

    return Chart(
        "open",
        "Open requests over time",
        f"Requests open at the end of each {unit}: {formatting.count(first.open)} on "
        f"{formatting.day(first.day)}, at most {formatting.count(peak.open)} on "
        f"{formatting.day(peak.day)}, and {formatting.count(last.open)} on "
        f"{formatting.day(last.day)}.",
        _note(report, "before" if shaded else "", unknown, "resolution at an unknown time"),
        _table(report, ["Open at its end"], lambda bucket: [formatting.count(bucket.open)]),
        *render_wide_and_narrow(draw),
    )


def _outcomes(report: Report) -> Chart:
    import altair as alt

    highest = max(max(bucket.counts.requested, bucket.counts.resolved) for bucket in report.buckets)
    data = [
        {
            "bucket": _label(bucket, report),
            "bar": "1" if series == "requested" else "2",
            "series": series,
            "requests": _count(bucket, series),
            "order": order,
        }
        for bucket in report.buckets
        for order, series in enumerate(_SERIES)
    ]

    def draw(size: Size) -> Any:
        bars = (
            alt.Chart(inline(data))
            .mark_bar()
            .encode(
                x=_bucket_axis(report),
                xOffset=alt.XOffset("bar:N", scale=alt.Scale(paddingInner=0)),
                y=alt.Y("requests:Q", title="Requests", axis=integer_axis(highest)),
                color=colours("series", _SERIES, size),
                order="order:Q",
            )
        )
        return _shading(report) + bars

    total, unknown = report.figures.counts, report.figures.undated.unknown.resolved
    return Chart(
        "outcomes",
        f"Requests and resolutions per {report.unit}",
        f"Requests and resolutions per {report.unit}. In total, "
        f"{formatting.count(total.requested)} requested, "
        f"{formatting.count(total.approved)} approved, "
        f"{formatting.count(total.rejected)} rejected and "
        f"{formatting.count(total.cancelled)} cancelled.",
        _note(report, _shaded_buckets(report), unknown, "resolution at an unknown time"),
        _table(
            report,
            [series.capitalize() for series in _SERIES],
            lambda bucket: [formatting.count(_count(bucket, series)) for series in _SERIES],
        ),
        *render_wide_and_narrow(draw),
    )


def _count(bucket: Bucket, series: str) -> int:
    return int(getattr(bucket.counts, series))


def _hours(report: Report) -> Chart:
    import altair as alt

    names = ("median", "90th percentile")
    data = [
        {"bucket": _label(bucket, report), "series": name, "hours": hours}
        for bucket in report.buckets
        for name, hours in zip(
            names, (bucket.hours.median, bucket.hours.percentile_90), strict=True
        )
    ]

    def draw(size: Size) -> Any:
        lines = (
            alt.Chart(inline(data))
            .mark_line(point={"size": 30}, strokeWidth=2)
            .encode(
                x=_bucket_axis(report),
                y=alt.Y("hours:Q", title="Hours to resolve", axis=alt.Axis(tickCount=5)),
                color=colours("series", names, size),
                strokeDash=alt.StrokeDash(
                    "series:N",
                    scale=alt.Scale(domain=names, range=[[1, 0], [4, 4]]),
                    legend=None,  # dashes only keep both lines visible where they coincide
                ),
            )
        )
        return _shading(report) + lines

    total, undated = report.figures.hours, report.figures.undated
    omitted = undated.observed + undated.unknown.resolved
    return Chart(
        "hours",
        "Hours to resolve",
        f"Hours from request to resolution, of the requests resolved in each {report.unit}. Over "
        f"the period the median is {formatting.decimal(total.median)}, and the 90th percentile "
        f"{formatting.decimal(total.percentile_90)}.",
        _note(report, _shaded_buckets(report), omitted, "resolution without a reported time"),
        _table(
            report,
            ["Resolved, with a time", "Median", "90th percentile"],
            lambda bucket: [
                formatting.count(bucket.hours.requests),
                formatting.decimal(bucket.hours.median),
                formatting.decimal(bucket.hours.percentile_90),
            ],
        ),
        *render_wide_and_narrow(draw),
    )


def _reasons(report: Report) -> Chart:
    import altair as alt

    reasons = report.reasons.rows
    most, unknown = reasons[0].requests, report.figures.undated.unknown.rejected

    def draw(size: Size) -> Any:
        data = [
            {"reason": f"{rank}\n{_wrapped(reason, size)}", "requests": reason.requests}
            for rank, reason in enumerate(reasons)
        ]
        labels = alt.Axis(
            labelExpr="slice(split(datum.label, '\\n'), 1)",  # without the rank
            labelLimit=0,  # Vega would cut surrogate pairs in half, which it cannot measure
            minExtent=size.width * 2 // 5,
            ticks=False,
            domain=False,
        )
        bars = alt.Chart(inline(data)).mark_bar(color="var(--rejected)", height={"band": 0.6})
        return bars.encode(
            y=alt.Y("reason:N", sort=None, title=None, axis=labels),
            x=alt.X(
                "requests:Q",
                title="Rejected requests",
                axis=integer_axis(most, size.width // 110),
            ),
        )

    rows = [(_reason(reason), formatting.count(reason.requests)) for reason in reasons]
    if omitted := report.reasons.omitted:
        rest = report.figures.counts.rejected - sum(reason.requests for reason in reasons)
        rows.append((plural(omitted, "other reason"), formatting.count(rest)))
    return Chart(
        "reasons",
        "Rejection reasons",
        f"Rejected requests by reason: {plural(report.reasons.total, 'reason')}, "
        f"the most frequent given {plural(most, 'time')}.",
        _note(report, "", unknown, "rejection at an unknown time"),
        Table(("Reason", "Rejected"), rows),
        *render_wide_and_narrow(draw, _AROUND_BARS + _BAR * len(reasons)),
    )


def _reason(reason: Reason) -> str:
    text = reason.reason
    return "none given" if text is None else formatting.shortened(text, _MAX_REASON)


def _wrapped(reason: Reason, size: Size) -> str:
    """Wrap a reason into at most three lines beside its bar."""
    text = escape_unsafe(_reason(reason))
    is_wide = any(unicodedata.east_asian_width(character) in "FW" for character in text)
    width = size.width * 2 // 5 // (2 * _CHARACTER if is_wide else _CHARACTER)
    lines = textwrap.wrap(text, width, max_lines=3, placeholder=" …")
    return "\n".join(lines or [""])


def _table(
    report: Report, columns: Sequence[str], values: Callable[[Bucket], Sequence[str]]
) -> Table:
    """Return a table with a row for each bucket."""
    rows = [
        (formatting.bucket(bucket.period, report.unit), *values(bucket))
        for bucket in report.buckets
    ]
    return Table((f"{report.unit.capitalize()} from", *columns), rows)


def _note(report: Report, shaded: str, omitted: int, what: str) -> str:
    """Return what a chart shades and leaves out.

    Args:
        report: the report.
        shaded: what is shaded, up to the first complete pull; empty if nothing is.
        omitted: number of events left out.
        what: one of these; its first word is the noun.
    """
    noun, _, details = what.partition(" ")
    sentences = []
    if shaded:
        sentences.append(f"Shaded: {shaded} {formatting.first_pull(report)}.")
    if omitted:
        sentences.append(f"Without {plural(omitted, noun)} {details}.")
    return " ".join(sentences)


def _shaded(report: Report) -> Sequence[str]:
    """Return the labels of the buckets that begin before the first complete pull."""
    return [
        _label(bucket, report)
        for bucket in report.buckets
        if not report.is_known(bucket.period.start)
    ]


def _shaded_buckets(report: Report) -> str:
    return f"{report.unit}s that begin before" if _shaded(report) else ""


def _shading(report: Report) -> Any:
    """Return the layer that shades these buckets."""
    import altair as alt

    shaded = _shaded(report)
    return shading(
        [{"bucket": shaded[0], "last": shaded[-1]}] if shaded else [],
        _bucket_axis(report, bandPosition=0),
        alt.X2("last", bandPosition=1),
    )


def _bucket_axis(report: Report, **options: Any) -> Any:
    """Return the axis of the buckets, labelled by their first day."""
    import altair as alt

    year = f", {report.period.since.year}" if _weeks_of_one_year(report) else ""
    return alt.X(
        "bucket:O",
        scale=alt.Scale(
            domain=[_label(bucket, report) for bucket in report.buckets],
            paddingInner=0.2,
            paddingOuter=0.1,
        ),
        title=f"{report.unit.capitalize()} beginning (UTC){year}",
        axis=alt.Axis(labelAngle=0, labelOverlap="greedy", labelSeparation=16),
        **options,
    )


def _ticks(report: Report, size: Size) -> list[Any]:
    """Return the ticks of a time axis: first days of buckets, as many as fit."""
    import altair as alt

    starts = [bucket.period.since for bucket in report.buckets]
    step = -(-len(starts) * _TICK // size.width)
    return [
        alt.DateTime(year=day.year, month=day.month, date=day.day, utc=True)
        for day in starts[:: max(step, 1)]
    ]


def _label(bucket: Bucket, report: Report) -> str:
    if _weeks_of_one_year(report):
        return formatting.short_day(bucket.period.since)
    return formatting.bucket(bucket.period, report.unit)


def _weeks_of_one_year(report: Report) -> bool:
    first, last = report.buckets[0].period, report.buckets[-1].period
    return report.unit == "week" and first.since.year == last.since.year
