"""The charts of the report: what each shows, and what it says to those who do not see it."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from mirror.db.models import CLOSED_STATUSES
from mirror.report import formatting
from mirror.report.model import Report, Step
from mirror.report.statistics import Reason
from mirror.report.svg import (
    Chart,
    Rows,
    Size,
    colours,
    inline,
    render_wide_and_narrow,
    whole_numbers,
)
from mirror.text import escape_unsafe

_AROUND_BARS = 60
_BAR = 46
"""Pixels for each bar, and for all around them."""

_TICK = 80
"""Pixels from one time to the next one on an axis."""

_LONGEST_REASON = 300
_LETTER = 8
"""Pixels, of a wide one; those of East Asia, and emojis, are twice as wide."""

_TICKS = {"week": "%-d %b %Y", "month": "%b %Y"}
"""How the days on an axis of time are written, by the step; those of longer steps by the year."""


def charts(report: Report) -> list[Chart]:
    """Draw the charts of a report; none of those for which there is nothing to show."""
    drawn = []
    if report.steps:
        drawn += [_open(report), _outcomes(report)]
    if any(one.hours.requests for one in report.steps):
        drawn.append(_hours(report))
    if report.reasons.rows:
        drawn.append(_reasons(report))
    return drawn


def _open(report: Report) -> Chart:
    import altair as alt

    points = report.open_over_time
    each = report.unit if len(points) == len(report.steps) else "day"
    most = max(points, key=lambda one: one.open)
    data = [{"day": one.day.isoformat(), "open": one.open} for one in points]

    def draw(size: Size) -> Any:
        axis = alt.Axis(
            values=_ticks(report, size),
            format="%-d %b" if _in_a_year(report) else _TICKS.get(report.unit, "%Y"),
            grid=False,
        )
        area = alt.Chart(inline(data)).mark_area(
            color="var(--open)",
            fillOpacity=0.15,
            line={"color": "var(--open)", "strokeWidth": 2},
            point={"color": "var(--open)"} if len(data) == 1 else False,
        )
        return area.encode(
            x=alt.X(
                "day:T",
                title=f"End of the {each} (UTC)",
                scale=alt.Scale(type="utc"),
                axis=axis,
            ),
            y=alt.Y("open:Q", title="Open requests", axis=whole_numbers(most.open)),
        )

    return render_wide_and_narrow(
        "open",
        "Open requests over time",
        f"Requests that were open at the end of each {each}: {formatting.count(points[0].open)} on "
        f"{formatting.day(points[0].day)}, at most {formatting.count(most.open)} on "
        f"{formatting.day(most.day)}, and {formatting.count(points[-1].open)} on "
        f"{formatting.day(points[-1].day)}.",
        _by_step(report, ("Open at its end",), lambda one: [formatting.count(one.open)]),
        draw,
    )


def _outcomes(report: Report) -> Chart:
    import altair as alt

    highest = max(max(one.counts.requested, one.counts.resolved) for one in report.steps)
    bars = [("1", "requested"), *(("2", outcome) for outcome in CLOSED_STATUSES)]
    data = [
        {
            "step": _label(one, report),
            "bar": bar,
            "what": what,
            "requests": _of(one, what),
            "order": order,
        }
        for one in report.steps
        for order, (bar, what) in enumerate(bars)
    ]

    def draw(size: Size) -> Any:
        return (
            alt.Chart(inline(data))
            .mark_bar()
            .encode(
                x=_steps(report),
                xOffset=alt.XOffset("bar:N", scale=alt.Scale(paddingInner=0)),
                y=alt.Y("requests:Q", title="Requests", axis=whole_numbers(highest)),
                color=colours("what", [what for _, what in bars], size),
                order="order:Q",
            )
        )

    total = report.figures.counts
    return render_wide_and_narrow(
        "outcomes",
        f"Requests and resolutions per {report.unit}",
        f"Requests and resolutions in each {report.unit}. In all, "
        f"{formatting.count(total.requested)} were requested, "
        f"{formatting.count(total.approved)} approved, "
        f"{formatting.count(total.rejected)} rejected and "
        f"{formatting.count(total.cancelled)} cancelled.",
        _by_step(
            report,
            [what.capitalize() for _, what in bars],
            lambda one: [formatting.count(_of(one, what)) for _, what in bars],
        ),
        draw,
    )


def _of(one: Step, what: str) -> int:
    return int(getattr(one.counts, what))


def _hours(report: Report) -> Chart:
    import altair as alt

    what = ["median", "90th percentile"]
    data = [
        {"step": _label(one, report), "what": name, "hours": hours}
        for one in report.steps
        for name, hours in zip(what, (one.hours.median, one.hours.percentile_90), strict=True)
    ]

    def draw(size: Size) -> Any:
        return (
            alt.Chart(inline(data))
            .mark_line(point={"size": 30}, strokeWidth=2)
            .encode(
                x=_steps(report),
                y=alt.Y("hours:Q", title="Hours to resolve", axis=alt.Axis(tickCount=5)),
                color=colours("what", what, size),
                strokeDash=alt.StrokeDash(
                    "what:N",
                    scale=alt.Scale(domain=what, range=[[1, 0], [4, 4]]),
                    legend=None,  # where both are the same, one shows through the other
                ),
            )
        )

    total = report.figures.hours
    return render_wide_and_narrow(
        "hours",
        "Hours to resolve",
        f"Hours from request to resolution, of the requests resolved in each {report.unit}. Over "
        f"the period the median is {formatting.decimal(total.median)}, and nine in ten took at "
        f"most {formatting.decimal(total.percentile_90)}.",
        _by_step(
            report,
            ("Resolved, with a time", "Median", "90th percentile"),
            lambda one: [
                formatting.count(one.hours.requests),
                formatting.decimal(one.hours.median),
                formatting.decimal(one.hours.percentile_90),
            ],
        ),
        draw,
    )


def _reasons(report: Report) -> Chart:
    import altair as alt

    shown = report.reasons.rows

    def draw(size: Size) -> Any:
        data = [
            {"reason": f"{place}\n{_in_lines(one, size)}", "requests": one.requests}
            for place, one in enumerate(shown)
        ]
        labels = alt.Axis(
            labelExpr="slice(split(datum.label, '\\n'), 1)",  # without the place
            labelLimit=0,  # what is cut might be half of a character, which Vega cannot measure
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
                axis=whole_numbers(shown[0].requests, size.width // 110),
            ),
        )

    rows = [(_reason(one), formatting.count(one.requests)) for one in shown]
    if others := report.reasons.left_out:
        rest = report.figures.counts.rejected - sum(one.requests for one in shown)
        rows.append((formatting.plural(others, "other reason"), formatting.count(rest)))
    return render_wide_and_narrow(
        "reasons",
        "Why requests were rejected",
        "Rejected requests by reason, of which there were "
        f"{formatting.count(report.reasons.total)}; "
        f"the most frequent one was given {formatting.plural(shown[0].requests, 'time')}.",
        Rows(("Reason", "Rejected"), rows),
        draw,
        _AROUND_BARS + _BAR * len(shown),
    )


def _reason(one: Reason) -> str:
    return "none given" if one.reason is None else formatting.shortened(one.reason, _LONGEST_REASON)


def _in_lines(one: Reason, size: Size) -> str:
    """Write a reason beside its bar."""
    text = escape_unsafe(_reason(one))
    wide = any(unicodedata.east_asian_width(letter) in "FW" for letter in text)
    letters = size.width * 2 // 5 // (2 * _LETTER if wide else _LETTER)
    lines = textwrap.wrap(text, letters, max_lines=3, placeholder=" …")
    return "\n".join(lines or [""])


def _by_step(report: Report, titles: Sequence[str], of: Callable[[Step], Sequence[str]]) -> Rows:
    """Make a table of what there is in each step."""
    rows = [(formatting.step(one.period, report.unit), *of(one)) for one in report.steps]
    return Rows((f"{report.unit.capitalize()} from", *titles), rows)


def _steps(report: Report) -> Any:
    """The axis of the steps, which are named by their first day."""
    import altair as alt

    year = f", {report.period.since.year}" if _in_a_year(report) else ""
    return alt.X(
        "step:O",
        sort=None,
        title=f"{report.unit.capitalize()} beginning (UTC){year}",
        axis=alt.Axis(labelAngle=0, labelOverlap="greedy", labelSeparation=16),
    )


def _ticks(report: Report, size: Size) -> list[Any]:
    """Choose days for an axis of time: the first ones of steps, as many as there is room for."""
    import altair as alt

    starts = [one.period.since for one in report.steps]
    apart = -(-len(starts) * _TICK // size.width)
    return [
        alt.DateTime(year=day.year, month=day.month, date=day.day, utc=True)
        for day in starts[:: max(apart, 1)]
    ]


def _label(one: Step, report: Report) -> str:
    if report.unit == "week" and _in_a_year(report):
        return formatting.short_day(one.period.since)
    return formatting.step(one.period, report.unit)


def _in_a_year(report: Report) -> bool:
    first, last = report.steps[0].period, report.steps[-1].period
    return report.unit == "week" and first.since.year == last.since.year
