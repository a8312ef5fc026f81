"""The charts of the report, as SVG that needs no script and no network.

Colours are custom properties of the page's style sheet, so that a chart is as light or dark as the
page it stands in. Each chart is drawn twice: wide, and narrow enough for a telephone.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mirror.errors import UsageError
from mirror.output import visible
from mirror.report import words
from mirror.report.contents import Report, Step
from mirror.summary import Reason

_WIDE = 560
_NARROW = 330
_HEIGHT = 240
_OUTCOMES = ("approved", "rejected", "cancelled")
_AROUND_BARS = 60
_BAR = 46
"""Pixels for each bar, and for all around them."""

_LEGEND = 130
"""Pixels for each name in a legend."""

_TICK = 80
"""Pixels from one time to the next one on an axis."""

_LONGEST_REASON = 300
_PADDING = 14
"""Pixels between a title and numbers, which may be wider than they are thought to be."""

_AROUND = {"left": 8, "right": 16, "top": 4, "bottom": 4}
"""Pixels around a chart: the last text of an axis ends there, and may be wider than thought too."""

_LETTER = 8
"""Pixels, of a wide one; those of East Asia, and emojis, are twice as wide."""

_NO_XML = {code: f"\\u{code:04x}" for code in (0xFFFE, 0xFFFF)}
"""Characters at which vl-convert ends the process, as no SVG may hold them."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Attributes:
        name: what to call it in the page.
        title: what it shows.
        text: what there is to see, for those who do not see it.
        titles: those of a table of the same figures.
        rows: those of the table; what comes first is what a row is about.
        wide, narrow: SVG, for screens of both kinds.
    """

    name: str
    title: str
    text: str
    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    wide: str
    narrow: str


@dataclass(frozen=True, slots=True)
class _Size:
    """How large a chart is, in pixels."""

    width: int
    height: int = _HEIGHT


def check() -> None:
    """Make sure that charts can be drawn.

    Raises:
        UsageError: the libraries for it are not installed.
    """
    try:
        import altair as alt  # noqa: F401
        import jinja2  # noqa: F401
        import vl_convert  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the report needs {error.name}, which is not installed; install all it needs with: "
            "pip install 'talkover-mirror[report]'"
        ) from error


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

    def draw(size: _Size) -> Any:
        axis = alt.Axis(
            values=_ticks(report, size),
            format="%-d %b" if _in_a_year(report) else "%b %Y",
            grid=False,
        )
        area = alt.Chart(_data(data)).mark_area(
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
            y=alt.Y("open:Q", title="Open requests", axis=_whole_numbers(most.open)),
        )

    return _chart(
        "open",
        "Open requests over time",
        f"Requests that were open at the end of each {each}: {words.count(points[0].open)} on "
        f"{words.day(points[0].day)}, at most {words.count(most.open)} on {words.day(most.day)}, "
        f"and {words.count(points[-1].open)} on {words.day(points[-1].day)}.",
        _by_step(report, ("Open at its end",), lambda one: [words.count(one.open)]),
        draw,
    )


def _outcomes(report: Report) -> Chart:
    import altair as alt

    highest = max(max(one.counts.requested, one.counts.resolved) for one in report.steps)
    bars = [("1", "requested"), *(("2", outcome) for outcome in _OUTCOMES)]
    data = [
        {"step": _label(one, report), "bar": bar, "what": what, "requests": _of(one, what)}
        | {"order": order}
        for one in report.steps
        for order, (bar, what) in enumerate(bars)
    ]

    def draw(size: _Size) -> Any:
        return (
            alt.Chart(_data(data))
            .mark_bar()
            .encode(
                x=_steps(report),
                xOffset=alt.XOffset("bar:N", scale=alt.Scale(paddingInner=0)),
                y=alt.Y("requests:Q", title="Requests", axis=_whole_numbers(highest)),
                color=_colours("what", [what for _, what in bars], size),
                order="order:Q",
            )
        )

    total = report.figures.counts
    return _chart(
        "outcomes",
        f"Requests and resolutions per {report.unit}",
        f"Requests and resolutions in each {report.unit}. In all, {words.count(total.requested)} "
        f"were requested, {words.count(total.approved)} approved, {words.count(total.rejected)} "
        f"rejected and {words.count(total.cancelled)} cancelled.",
        _by_step(
            report,
            [what.capitalize() for _, what in bars],
            lambda one: [words.count(_of(one, what)) for _, what in bars],
        ),
        draw,
    )


def _of(one: Step, what: str) -> int:
    return int(getattr(one.counts, what))


def _hours(report: Report) -> Chart:
    import altair as alt

    data = [
        {"step": _label(one, report), "what": what, "hours": hours}
        for one in report.steps
        for what, hours in (
            ("median", one.hours.median),
            ("90th percentile", one.hours.percentile_90),
        )
    ]

    def draw(size: _Size) -> Any:
        return (
            alt.Chart(_data(data))
            .mark_line(point={"size": 30}, strokeWidth=2)
            .encode(
                x=_steps(report),
                y=alt.Y("hours:Q", title="Hours to resolve", axis=alt.Axis(tickCount=5)),
                color=_colours("what", ["median", "90th percentile"], size),
            )
        )

    total = report.figures.hours
    return _chart(
        "hours",
        "Hours to resolve",
        f"Hours from request to resolution, of the requests resolved in each {report.unit}. Over "
        f"the period the median is {words.decimal(total.median)}, and nine in ten took at most "
        f"{words.decimal(total.percentile_90)}.",
        _by_step(
            report,
            ("Resolved, with a time", "Median", "90th percentile"),
            lambda one: [
                words.count(one.hours.requests),
                words.decimal(one.hours.median),
                words.decimal(one.hours.percentile_90),
            ],
        ),
        draw,
    )


def _reasons(report: Report) -> Chart:
    import altair as alt

    shown = report.reasons.rows

    def draw(size: _Size) -> Any:
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
        bars = alt.Chart(_data(data)).mark_bar(color="var(--rejected)", height={"band": 0.6})
        return bars.encode(
            y=alt.Y("reason:N", sort=None, title=None, axis=labels),
            x=alt.X(
                "requests:Q",
                title="Rejected requests",
                axis=_whole_numbers(shown[0].requests, size.width // 110),
            ),
        )

    rows = [(_reason(one), words.count(one.requests)) for one in shown]
    if others := report.reasons.left_out:
        rest = report.figures.counts.rejected - sum(one.requests for one in shown)
        rows.append((words.plural(others, "other reason"), words.count(rest)))
    return _chart(
        "reasons",
        "Why requests were rejected",
        f"Rejected requests by reason, of which there were {words.count(report.reasons.total)}; "
        f"the most frequent one was given {words.plural(shown[0].requests, 'time')}.",
        _Rows(("Reason", "Rejected"), rows),
        draw,
        _AROUND_BARS + _BAR * len(shown),
    )


def _reason(one: Reason) -> str:
    return "none given" if one.reason is None else words.shortened(one.reason, _LONGEST_REASON)


def _in_lines(one: Reason, size: _Size) -> str:
    """Write a reason beside its bar."""
    text = visible(_reason(one)).translate(_NO_XML)
    wide = any(unicodedata.east_asian_width(letter) in "FW" for letter in text)
    letters = size.width * 2 // 5 // (2 * _LETTER if wide else _LETTER)
    lines = textwrap.wrap(text, letters, max_lines=3, placeholder=" …")
    return "\n".join(lines or [""])


@dataclass(frozen=True, slots=True)
class _Rows:
    """The table of a chart."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]


def _by_step(report: Report, titles: Sequence[str], of: Callable[[Step], Sequence[str]]) -> _Rows:
    """Make a table of what there is in each step."""
    rows = [(words.step(one.period, report.unit), *of(one)) for one in report.steps]
    return _Rows((f"{report.unit.capitalize()} from", *titles), rows)


def _steps(report: Report) -> Any:
    """The axis of the steps, which are named by their first day."""
    import altair as alt

    year = f", {report.period.since.year}" if _in_a_year(report) else ""
    return alt.X(
        "step:O",
        sort=None,
        title=f"{report.unit.capitalize()} beginning (UTC){year}",
        axis=alt.Axis(labelAngle=0, labelOverlap="greedy", labelSeparation=8),
    )


def _ticks(report: Report, size: _Size) -> list[Any]:
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
        return words.short_day(one.period.since)
    return words.step(one.period, report.unit)


def _in_a_year(report: Report) -> bool:
    first, last = report.steps[0].period, report.steps[-1].period
    return report.unit == "week" and first.since.year == last.since.year


def _whole_numbers(most: int, count: int = 5) -> Any:
    """An axis for what is counted: about so many numbers, and none between two whole ones."""
    import altair as alt

    values = list(range(most + 1)) if most <= count else alt.Undefined
    return alt.Axis(format=",d", values=values, tickCount=count)


def _colours(field: str, names: Sequence[str], size: _Size) -> Any:
    """A colour for each name, by the custom property of that name."""
    import altair as alt

    properties = [f"var(--{name.replace(' ', '-')})" for name in names]
    return alt.Color(
        f"{field}:N",
        scale=alt.Scale(domain=list(names), range=properties),
        legend=alt.Legend(columns=size.width // _LEGEND),
    )


def _chart(  # noqa: PLR0917 (in the order in which they are shown)
    name: str,
    title: str,
    text: str,
    table: _Rows,
    draw: Callable[[_Size], Any],
    height: int = _HEIGHT,
) -> Chart:
    wide, narrow = (
        _svg(draw(size), size) for size in (_Size(_WIDE, height), _Size(_NARROW, height))
    )
    return Chart(name, title, text, table.titles, table.rows, wide, narrow)


def _svg(chart: Any, size: _Size) -> str:
    """Have a chart drawn in exactly that size."""
    import vl_convert

    ink = {"labelColor": "var(--muted)", "titleColor": "var(--ink)"}
    text = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    sized = (
        chart.properties(
            width=size.width,
            height=size.height,
            autosize={"type": "fit", "contains": "padding"},
            background="transparent",
        )
        .configure(aria=False, font="system-ui, sans-serif", padding=_AROUND)
        .configure_view(stroke=None)
        .configure_axis(
            **ink,
            **text,
            gridColor="var(--line)",
            domainColor="var(--line)",
            tickColor="var(--line)",
        )
        .configure_axisY(titlePadding=_PADDING)
        .configure_legend(**ink, **text, orient="top", title=None, symbolType="square")
    )
    return str(vl_convert.vegalite_to_svg(sized.to_dict(format="vega-lite")))


def _data(rows: Sequence[dict[str, Any]]) -> Any:
    import altair as alt

    return alt.InlineData(values=list(rows))
