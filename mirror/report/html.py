"""The report as one HTML page, which needs neither script nor network."""

from __future__ import annotations

from pathlib import Path

from mirror.db.models import CLOSED_STATUSES
from mirror.report import formatting
from mirror.report.cards import age, cards
from mirror.report.model import Report
from mirror.report.svg import Chart
from mirror.text import escape_unsafe, format_duration
from mirror.version import __version__

_FOLDER = Path(__file__).parent
_EVENTS_WITH_A_COLOUR = {"requested", "reopened", *CLOSED_STATUSES}
_MOST_ENVIRONMENTS = 30
_DAY = 86_400.0


def render(report: Report, charts: list[Chart]) -> str:
    """Return the page.

    Texts of upstream stay texts: they are escaped, and what a person could not see in them is
    written out, as on a terminal.

    Args:
        report: what to tell.
        charts: the SVG of each may stand in the page as it is.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: object) -> object:
        return (
            escape_unsafe(value)
            if isinstance(value, str) and not hasattr(value, "__html__")
            else value
        )

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (
        formatting.day,
        formatting.days,
        formatting.stamp,
        formatting.count,
        formatting.decimal,
        formatting.plural,
    )
    environment.filters |= {
        one.__name__: one for one in (*filters, formatting.shortened, age, format_duration)
    }
    environment.filters["svg"] = Markup
    environment.tests["short"] = formatting.is_short
    return environment.get_template("page.html").render(
        report=report,
        cards=cards(report),
        charts=charts,
        known_events=_EVENTS_WITH_A_COLOUR,
        environments_shown=_MOST_ENVIRONMENTS,
        day=_DAY,
        version=__version__,
    )
