"""Render the report as one HTML page, without script or network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from mirror.db.models import CLOSED_STATUSES
from mirror.report import formatting
from mirror.report.cards import cards
from mirror.report.charts import charts
from mirror.report.formatting import Language
from mirror.report.model import AgeBin, EnvironmentRow, Report
from mirror.report.svg import sparkline
from mirror.text import escape_unsafe
from mirror.version import __version__

_FOLDER = Path(__file__).parent
_COLOURED_EVENTS = {"requested", "reopened", *CLOSED_STATUSES}
_DAY = timedelta(days=1)
_KINDS = ("resolved", "reopened", "corrected", "vanished", "returned")
_MAX_ENVIRONMENTS = 30
_MAX_FAILING = 5


def render(report: Report, language: Language) -> str:
    """Return the page.

    All texts are escaped. Characters that a reader could not see are written as escape sequences,
    as in the terminal.

    Args:
        report: its content.
        language: of the page.
    """
    return _template().render(
        report=report,
        language=language,
        t=language.html,
        cards=cards(report, language),
        charts=charts(report, language),
        ages=_without_empty_ends(report.ages),
        age_bin=lambda part: _age_bin(part, language),
        bar=_bar,
        trend=lambda row: _trend(row, language),
        kinds=_KINDS,
        coloured_events=_COLOURED_EVENTS,
        max_environments=_MAX_ENVIRONMENTS,
        max_failing=_MAX_FAILING,
        version=__version__,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["short"] = formatting.is_short
    return environment.get_template("page.html")


def _visible(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Markup):
        return escape_unsafe(value)
    return value


def _without_empty_ends(bins: Sequence[AgeBin]) -> Sequence[AgeBin]:
    """Leave out the empty bins before the first and after the last one that has requests."""
    places = [place for place, part in enumerate(bins) if part.requests]
    return bins[places[0] : places[-1] + 1] if places else bins


def _age_bin(part: AgeBin, language: Language) -> str:
    """Name a range of ages."""
    if part.until is None:
        return language.text("or_more", age=language.age(part.since))
    if part.since == timedelta():
        return language.text("under", age=language.age(part.until))
    first, last = part.since // _DAY, part.until // _DAY
    return language.text("days_range", first=language.count(first), last=language.count(last))


def _trend(row: EnvironmentRow, language: Language) -> Markup:
    """Draw what was open in an environment over time."""
    values = [point.open for point in row.open_over_time]
    first, most, last = (
        (language.count(number) for number in (values[0], max(values), values[-1]))
        if values
        else ("0", "0", "0")
    )
    return sparkline(values, language.text("sparkline", first=first, most=most, last=last))


def _bar(share: float) -> Markup:
    """Draw a bar in a cell of a table; `share` is its width in percent."""
    return Markup('<span class="bar" style="width:{:.1f}%"></span>').format(share)
