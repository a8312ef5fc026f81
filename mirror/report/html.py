"""Render the report as one HTML page, without script or network."""

from __future__ import annotations

from pathlib import Path

from mirror.db.models import CLOSED_STATUSES
from mirror.report import formatting
from mirror.report.cards import age, cards
from mirror.report.model import Report
from mirror.report.svg import Chart
from mirror.text import escape_unsafe, format_duration, plural
from mirror.version import __version__

_FOLDER = Path(__file__).parent
_COLOURED_EVENTS = {"requested", "reopened", *CLOSED_STATUSES}
_MAX_ENVIRONMENTS = 30
_STALE_AFTER = 86_400.0
"""Seconds."""

_FILTERS = (
    formatting.day,
    formatting.days,
    formatting.stamp,
    formatting.count,
    formatting.first_pull,
    formatting.decimal,
    plural,
    formatting.shortened,
    age,
    format_duration,
)


def render(report: Report, charts: list[Chart]) -> str:
    """Return the page.

    All texts are escaped. Characters that a reader could not see are written as escape sequences,
    as in the terminal.

    Args:
        report: its content.
        charts: their SVG is trusted, and inserted as it is.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def visible(value: object) -> object:
        if isinstance(value, str) and not hasattr(value, "__html__"):
            return escape_unsafe(value)
        return value

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {function.__name__: function for function in _FILTERS}
    environment.filters["svg"] = Markup
    environment.tests["short"] = formatting.is_short
    return environment.get_template("page.html").render(
        report=report,
        cards=cards(report),
        charts=charts,
        closed_statuses=CLOSED_STATUSES,
        coloured_events=_COLOURED_EVENTS,
        max_environments=_MAX_ENVIRONMENTS,
        stale_after=_STALE_AFTER,
        version=__version__,
    )
