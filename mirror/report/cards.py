"""The large figures: value, comparison with the period before, and what they are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mirror.report.formatting import Language, age_of, duration_of
from mirror.report.model import Report


@dataclass(frozen=True, slots=True)
class Comparison:
    """A figure compared with the period before.

    Attributes:
        change: the difference, and whether it is better or worse.
        before: the value then.
        trend: "better", "worse", or "same".
    """

    change: str
    before: str
    trend: str


@dataclass(frozen=True, slots=True)
class Card:
    """A large figure, formatted.

    Attributes:
        name: identifies it in the page.
        label: its name for people.
        value: its value.
        comparison: with the period before, or None if there is nothing to compare.
        note: what it is made of; may be empty.
    """

    name: str
    label: str
    value: str
    comparison: Comparison | None
    note: str


def cards(report: Report, language: Language) -> list[Card]:
    """Return the large figures of a report, in the order of display."""
    return [make(report, language) for make in (_open, _oldest, _median, _approval)]


def _open(report: Report, language: Language) -> Card:
    figure, counts = report.headline.open, report.figures.counts
    value, before, comparison = figure.value or 0, figure.before, None
    if before is not None:
        change = value - before
        size = language.count(value)
        if before:
            ratio = 100 * abs(change) / before
            size = language.percent(ratio) if ratio >= 1 else language.rates((ratio, ratio))
        comparison = _compare(language, change, size, language.count(before), "more", "less")
    note = _counted(language, requested=counts.requested, resolved=counts.resolved)
    label = language.text("open_now" if report.is_current else "open_then")
    return Card("open", label, language.count(value), comparison, note)


def _oldest(report: Report, language: Language) -> Card:
    figure, oldest, comparison = report.headline.oldest_open, report.figures.oldest_open, None
    value, before = figure.value, figure.before
    if value is not None and before is not None:
        comparison = _compare_times(language, age_of(value), lambda unit: age_of(before, unit))
    note = "" if oldest is None else language.text("requested_on", time=language.stamp(oldest))
    return Card("oldest", language.text("oldest_open"), language.age(value), comparison, note)


def _median(report: Report, language: Language) -> Card:
    figure, hours, comparison = report.headline.median_hours, report.figures.hours, None
    value, before = figure.value, figure.before
    if value is not None and before is not None:
        comparison = _compare_times(
            language, duration_of(value), lambda unit: duration_of(before, unit)
        )
    note = ""
    if hours.requests:
        note = language.text(
            "percentile_of_reported",
            hours.requests,
            percentile=language.duration(hours.percentile_90),
        )
    return Card("median", language.text("median_time"), language.duration(value), comparison, note)


def _approval(report: Report, language: Language) -> Card:
    figure, comparison = report.headline.approval_rate, None
    now, before = (
        sorted({round(limit, 1) for limit in limits or ()})
        for limits in (figure.value, figure.before)
    )
    if len(now) == len(before) == 1:
        change = round(now[0] - before[0], 1)
        size = language.text(
            "points", 1 if abs(change) == 1 else 2, value=language.decimal(abs(change))
        )
        old = language.rates(figure.before)
        comparison = _compare(language, -change, size, old, "less", "more")
    counts, unknown = report.figures.counts, report.figures.undated.unknown
    note = _counted(language, approved=counts.approved, rejected=counts.rejected)
    if len(now) > 1:
        uncertain = unknown.approved + unknown.rejected
        note += "; " + language.text("rate_is_range", uncertain)
    label, value = language.text("approval_rate"), language.rates(figure.value)
    return Card("approval", label, value, comparison, note)


def _counted(language: Language, **counts: int) -> str:
    return ", ".join(language.text(f"count_{name}", count) for name, count in counts.items())


def _compare_times(
    language: Language,
    now: tuple[float, str],
    before_in: Callable[[str], tuple[float, str]],
) -> Comparison:
    """Compare two times in the unit of the first one, as they are shown."""
    value, unit = now
    before = before_in(unit)
    change = round(value - before[0], 1)
    size = language.amount(abs(change), unit)
    return _compare(language, change, size, language.amount(*before), "longer", "shorter")


def _compare(
    language: Language,
    change: float,
    size: str,
    before: str,
    *names: str,
) -> Comparison:
    """Compare two values; more is worse.

    Args:
        language: of the text.
        change: the difference from the value before.
        size: its size, formatted.
        before: the value before, formatted.
        names: of a change that is worse, and of one that is better.
    """
    old = language.text("before", value=before)
    if not change:
        return Comparison(language.text("no_change"), old, "same")
    name, trend = (names[0], "worse") if change > 0 else (names[1], "better")
    text = language.text(f"change_{name}", value=size)
    return Comparison(language.text(trend, change=text), old, trend)
