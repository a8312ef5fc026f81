"""The key figures as cards: label, value, and change from the period before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from mirror.report import formatting
from mirror.report.model import Hours, KeyFigures, Report

_T = TypeVar("_T")
_Periods = tuple[KeyFigures | None, KeyFigures | None]
"""The figures of the period and of the one before, as far as they are known."""

_Range = tuple[float, float]
"""The lowest and the highest value that a figure may have."""

_NO_COMPARISON = "no comparison"
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
    """Return the key figures of a report, in the order of display.

    What was counted before the first complete pull is not compared: the events of a period that
    began before it, and the state at a time before it. What only syncs can see is not even shown.
    """
    now, before = report.figures, report.figures_before
    state = now, before
    events = now, before if report.is_known(report.period.before.start) else None
    is_seen = report.is_current or report.is_known(report.period.end)
    seen = state if is_seen else (None, None)
    when = "now" if report.is_current else "at the end"
    return [
        _count(f"Open {when}", state, lambda figures: figures.open),
        _oldest(state),
        _count("Requested", events, lambda figures: figures.counts.requested),
        _count("Resolved", events, lambda figures: figures.counts.resolved),
        _decimal("Approval rate", events, lambda figures: figures.approval_rates, "%", "points"),
        _hours("Median time to resolve", events, lambda hours: hours.median),
        _hours("90th percentile to resolve", events, lambda hours: hours.percentile_90),
        _count("Numbers released", events, lambda figures: figures.released),
        _count(f"Missing {when}", seen, lambda figures: figures.missing),
        _count(f"Quarantined {when}", seen, lambda figures: figures.quarantined),
    ]


def _values(periods: _Periods, get: Callable[[KeyFigures], _T | None]) -> Sequence[_T | None]:
    return [None if figures is None else get(figures) for figures in periods]


def _count(label: str, periods: _Periods, get: Callable[[KeyFigures], int]) -> Card:
    now, before = _values(periods, get)
    change = _NO_COMPARISON
    if now is not None and before is not None:
        change = _signed(now - before, formatting.count(abs(now - before)))
    return Card(label, formatting.count(now), change, formatting.count(before))


def _decimal(
    label: str,
    periods: _Periods,
    get: Callable[[KeyFigures], _Range | None],
    unit: str,
    unit_of_change: str,
) -> Card:
    """Format a figure with one decimal; the change is that of the rounded values.

    A figure that is known only within limits is shown as a range, and not compared.
    """
    ranges = [
        [] if limits is None else sorted({round(limit, 1) for limit in limits})
        for limits in _values(periods, get)
    ]
    now, before = (
        f"{formatting.TO.join(map(formatting.decimal, limits))} {unit}"
        if limits
        else formatting.NOTHING
        for limits in ranges
    )
    change = _NO_COMPARISON
    if all(len(limits) == 1 for limits in ranges):
        difference = round(ranges[0][0] - ranges[1][0], 1)
        change = _signed(difference, f"{formatting.decimal(abs(difference))} {unit_of_change}")
    return Card(label, now, change, before)


def _hours(label: str, periods: _Periods, get: Callable[[Hours], float | None]) -> Card:
    def limits(figures: KeyFigures) -> _Range | None:
        hours = get(figures.hours)
        return None if hours is None else (hours, hours)

    return _decimal(label, periods, limits, "h", "h")


def _oldest(periods: _Periods) -> Card:
    now, before = _values(periods, _age_of_oldest)
    change = _NO_COMPARISON
    if now is not None and before is not None:
        difference = now - before
        is_change = abs(difference) > _MIN_CHANGE
        change = _signed(difference / _DAY if is_change else 0, age(abs(difference)))
    return Card("Oldest open", age(now), change, age(before))


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
