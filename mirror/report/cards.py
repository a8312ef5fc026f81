"""The key figures as cards: label, value, and change from the period before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from mirror.report import formatting
from mirror.report.model import KeyFigures, Report

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_MIN_DAYS = 48
"""Ages of fewer hours than this are in hours."""

_MIN_CHANGE = timedelta(minutes=30)
"""Shorter differences of ages round to no hour."""


@dataclass(frozen=True, slots=True)
class Card:
    """A key figure, formatted.

    Attributes:
        label: its name.
        value: its value.
        change: its difference from the period before.
        before: its value in the period before.
    """

    label: str
    value: str
    change: str
    before: str


def cards(report: Report) -> Sequence[Card]:
    """Return the key figures of a report, in the order of display."""
    now, before = report.figures, report.figures_before
    when = "now" if report.is_current else "at the end"
    return [
        _count(f"Open {when}", now.open, before.open),
        _oldest(now, before),
        _count("Requested", now.counts.requested, before.counts.requested),
        _count("Resolved", now.counts.resolved, before.counts.resolved),
        _decimal(
            "Approval rate", now.counts.approval_rate, before.counts.approval_rate, "%", "points"
        ),
        _decimal("Median time to resolve", now.hours.median, before.hours.median, "h", "h"),
        _decimal(
            "90th percentile to resolve",
            now.hours.percentile_90,
            before.hours.percentile_90,
            "h",
            "h",
        ),
        _count("Numbers released", now.released, before.released),
        _count(f"Missing {when}", now.missing, before.missing),
        _count(f"Quarantined {when}", now.quarantined, before.quarantined),
    ]


def _count(label: str, now: int, before: int) -> Card:
    change = _signed(now - before, formatting.count(abs(now - before)))
    return Card(label, formatting.count(now), change, formatting.count(before))


def _decimal(
    label: str, now: float | None, before: float | None, unit: str, unit_of_change: str
) -> Card:
    """Format a figure with one decimal; the change is that of the rounded values."""

    def with_unit(value: float | None) -> str:
        return formatting.decimal(value) if value is None else f"{formatting.decimal(value)} {unit}"

    change = "no comparison"
    if now is not None and before is not None:
        difference = round(round(now, 1) - round(before, 1), 1)
        change = _signed(difference, f"{formatting.decimal(abs(difference))} {unit_of_change}")
    return Card(label, with_unit(now), change, with_unit(before))


def _oldest(now: KeyFigures, before: KeyFigures) -> Card:
    age_now, age_before = _age_of_oldest(now), _age_of_oldest(before)
    change = "no comparison"
    if age_now is not None and age_before is not None:
        difference = age_now - age_before
        is_change = abs(difference) > _MIN_CHANGE
        change = _signed(difference / _DAY if is_change else 0, age(abs(difference)))
    return Card("Oldest open", age(age_now), change, age(age_before))


def _age_of_oldest(figures: KeyFigures) -> timedelta | None:
    return None if figures.oldest_open is None else figures.at - figures.oldest_open


def _signed(change: float, magnitude: str) -> str:
    return formatting.signed(magnitude, negative=change < 0) if change else "no change"


def age(value: timedelta | None) -> str:
    """Format an age in hours, or in days from two days on."""
    if value is None:
        return formatting.NOTHING
    hours = round(
        max(value, timedelta()) / _HOUR
    )  # negative if mirror's clock is behind upstream's
    return f"{hours} h" if hours < _MIN_DAYS else f"{value / _DAY:,.0f} days"
