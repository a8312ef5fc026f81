"""How a chart is drawn: as SVG that needs no script and no network.

Colours are custom properties of the page's style sheet, so that a chart is as light or dark as the
page it stands in. Each chart is drawn twice: wide, and narrow enough for a telephone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mirror.errors import UsageError

_WIDE = 560
_NARROW = 330
_HEIGHT = 240
_LEGEND = 130
"""Pixels for each name in a legend."""

_PADDING = 14
"""Pixels between a title and numbers, which may be wider than they are thought to be."""

_AROUND = {"left": 8, "right": 16, "top": 4, "bottom": 4}
"""Pixels around a chart: the last text of an axis ends there, and may be wider than thought too."""


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
class Size:
    """How large a chart is, in pixels."""

    width: int
    height: int = _HEIGHT


@dataclass(frozen=True, slots=True)
class Rows:
    """The table of a chart; see `Chart`."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]


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
            f"the report needs {error.name}, which is not installed",
            hint="install all it needs with: pip install 'talkover-mirror[report]'",
        ) from error


def whole_numbers(most: int, count: int = 5) -> Any:
    """An axis for what is counted: about so many numbers, and none between two whole ones."""
    import altair as alt

    values = list(range(most + 1)) if most <= count else alt.Undefined
    return alt.Axis(format=",d", values=values, tickCount=count)


def colours(field: str, names: Sequence[str], size: Size) -> Any:
    """A colour for each name, by the custom property of that name."""
    import altair as alt

    properties = [f"var(--{name.replace(' ', '-')})" for name in names]
    return alt.Color(
        f"{field}:N",
        scale=alt.Scale(domain=list(names), range=properties),
        legend=alt.Legend(columns=size.width // _LEGEND),
    )


def render_wide_and_narrow(  # noqa: PLR0917 (in the order in which they are shown)
    name: str,
    title: str,
    text: str,
    table: Rows,
    draw: Callable[[Size], Any],
    height: int = _HEIGHT,
) -> Chart:
    """Draw a chart in both sizes.

    Args:
        name: as in `Chart`.
        title: likewise.
        text: likewise.
        table: of the same figures.
        draw: makes the chart of Altair for a size.
        height: in pixels.
    """
    wide, narrow = (_svg(draw(size), size) for size in (Size(_WIDE, height), Size(_NARROW, height)))
    return Chart(name, title, text, table.titles, table.rows, wide, narrow)


def _svg(chart: Any, size: Size) -> str:
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
        .configure_legend(
            **ink, **text, orient="top", title=None, symbolType="square", symbolStrokeWidth=0
        )
    )
    return str(vl_convert.vegalite_to_svg(sized.to_dict(format="vega-lite")))


def inline(rows: Sequence[dict[str, Any]]) -> Any:
    """Return data of a chart, which stand in it."""
    import altair as alt

    return alt.InlineData(values=list(rows))
