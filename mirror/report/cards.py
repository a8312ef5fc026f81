"""The key figures as the report shows them: what each is called, and how it has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from mirror.report import formatting
from mirror.report.model import Figures, Report

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_FEW_HOURS = 48
_LEAST = timedelta(minutes=30)
"""What would be written as no hour."""


@dataclass(frozen=True, slots=True)
class Card:
    """A key figure.

    Attributes:
        label: what it is.
        value: what it is now.
        change: by how much it differs from before.
        before: what it was before.
    """

    label: str
    value: str
    change: str
    before: str


def cards(report: Report) -> Sequence[Card]:
    """Return the key figures of a report, in the order in which they are shown."""
    now, before = report.figures, report.figures_before
    when = "now" if report.is_current else "at the end"
    return [
        _counted(f"Open {when}", now.open, before.open),
        _age(now, before),
        _counted("Requested", now.counts.requested, before.counts.requested),
        _counted("Resolved", now.counts.resolved, before.counts.resolved),
        _measured(
            "Approval rate",
            (now.counts.approval_rate, before.counts.approval_rate),
            unit="%",
            difference="points",
        ),
        _measured("Median time to resolve", (now.hours.median, before.hours.median), unit="h"),
        _measured(
            "90th percentile to resolve",
            (now.hours.percentile_90, before.hours.percentile_90),
            unit="h",
        ),
        _counted("Numbers released", now.released, before.released),
        _counted(f"Missing {when}", now.missing, before.missing),
        _counted(f"Quarantined {when}", now.quarantined, before.quarantined),
    ]


def _counted(label: str, now: int, before: int) -> Card:
    change = now - before
    text = (
        formatting.signed(formatting.count(abs(change)), negative=change < 0)
        if change
        else "no change"
    )
    return Card(label, formatting.count(now), text, formatting.count(before))


def _measured(
    label: str, values: tuple[float | None, float | None], *, unit: str, difference: str = ""
) -> Card:
    """Make a card of a figure to a tenth, which there may not be."""
    now, before = (None if one is None else round(one, 1) for one in values)
    return Card(
        label,
        _with_unit(now, unit),
        _difference(now, before, difference or unit),
        _with_unit(before, unit),
    )


def _difference(now: float | None, before: float | None, unit: str) -> str:
    if now is None or before is None:
        return "no comparison"
    change = round(now - before, 1)
    if not change:
        return "no change"
    return f"{formatting.signed(formatting.decimal(abs(change)), negative=change < 0)} {unit}"


def _with_unit(value: float | None, unit: str) -> str:
    return formatting.decimal(value) if value is None else f"{formatting.decimal(value)} {unit}"


def _age(now: Figures, before: Figures) -> Card:
    ours, theirs = _age_of(now), _age_of(before)
    return Card("Oldest open", age(ours), _difference_of_ages(ours, theirs), age(theirs))


def _age_of(figures: Figures) -> timedelta | None:
    return None if figures.oldest_open is None else figures.at - figures.oldest_open


def _difference_of_ages(now: timedelta | None, before: timedelta | None) -> str:
    if now is None or before is None:
        return "no comparison"
    change = now - before
    if abs(change) <= _LEAST:
        return "no change"
    return formatting.signed(age(abs(change)), negative=change < timedelta())


def age(value: timedelta | None) -> str:
    """Write how old something is, in days, or in hours if these are few."""
    if value is None:
        return formatting.NOTHING
    hours = round(max(value, timedelta()) / _HOUR)  # a clock may be behind that of upstream
    return f"{hours} h" if hours < _FEW_HOURS else f"{value / _DAY:,.0f} days"
