"""Render charts as SVG, without script or network.

Colours are custom properties of the page's style sheet, so that charts follow its light and dark
colour schemes. Each chart is rendered twice: wide, and narrow enough for a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mirror.config.folders import substitute_home
from mirror.errors import MissingExtra

_WIDE = 560
_NARROW = 330
_HEIGHT = 240
_LEGEND = 130
"""Pixels for each entry of a legend."""

_PADDING = 14
"""Pixels between the title and the labels of an axis, whose widths are estimates."""

SHADE = 0.5
"""Opacity of what is shaded: visible, and with enough contrast to each mark on it."""

_MARGIN = {"left": 8, "right": 16, "top": 4, "bottom": 4}
"""Pixels around a chart; the last label of an axis may be wider than estimated, too."""


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
        description: its content in words, for screen readers.
        note: what is shaded or left out; may be empty.
        table: its figures as a table.
        wide, narrow: SVG for wide and narrow screens.
    """

    name: str
    title: str
    description: str
    note: str
    table: Table
    wide: str
    narrow: str


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a chart, in pixels."""

    width: int
    height: int = _HEIGHT


def check() -> None:
    """Check that the libraries for the report are installed.

    Raises:
        MissingExtra: they are not.
    """
    try:
        with substitute_home():  # altair's import fails without a home folder
            import altair as alt  # noqa: F401
        import jinja2  # noqa: F401
        import vl_convert  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"the report needs {error.name}, which is not installed", "report"
        ) from error


def integer_axis(maximum: int, ticks: int = 5) -> Any:
    """Return an axis for counts: about `ticks` ticks, at whole numbers only."""
    import altair as alt

    values = list(range(maximum + 1)) if maximum <= ticks else alt.Undefined
    return alt.Axis(format=",d", values=values, tickCount=ticks)


def colours(field: str, names: Sequence[str], size: Size) -> Any:
    """Map each name to the custom property of that name, with a legend."""
    import altair as alt

    properties = [f"var(--{name.replace(' ', '-')})" for name in names]
    return alt.Color(
        f"{field}:N",
        scale=alt.Scale(domain=list(names), range=properties),
        legend=alt.Legend(columns=size.width // _LEGEND),
    )


def shading(parts: Sequence[dict[str, Any]], x: Any, x2: Any) -> Any:
    """Return a layer that shades parts of a chart, from top to bottom.

    Args:
        parts: the data.
        x: the channel of the start of a part.
        x2: the channel of its end.
    """
    import altair as alt

    rectangles = alt.Chart(inline(parts)).mark_rect(color="var(--line)", opacity=SHADE)
    return rectangles.encode(x=x, x2=x2)


def render_wide_and_narrow(draw: Callable[[Size], Any], height: int = _HEIGHT) -> tuple[str, str]:
    """Render a chart in both sizes.

    Args:
        draw: returns the Altair chart for a size.
        height: in pixels.
    """
    wide, narrow = (_svg(draw(size), size) for size in (Size(_WIDE, height), Size(_NARROW, height)))
    return wide, narrow


def _svg(chart: Any, size: Size) -> str:
    """Render an Altair chart in exactly that size."""
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
        .configure(aria=False, font="system-ui, sans-serif", padding=_MARGIN)
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
    """Embed the data in the chart."""
    import altair as alt

    return alt.InlineData(values=list(rows))
