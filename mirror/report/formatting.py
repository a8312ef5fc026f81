"""How the report says numbers, times and changes, so that a person can read them at a glance."""

from __future__ import annotations

from datetime import date, datetime

from mirror.report.period import Period

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"


def day(value: date) -> str:
    """Write a day, such as "31 Aug 2026"."""
    return f"{value.day} {value:%b} {value.year}"


def short_day(value: date) -> str:
    """Write a day of a year that is known, such as "31 Aug"."""
    return f"{value.day} {value:%b}"


def days(value: Period) -> str:
    """Write which days a period has, such as "31 Aug to 25 Nov 2026"."""
    if value.days == 1:
        return day(value.since)
    same_year = value.since.year == value.last.year
    return f"{(short_day if same_year else day)(value.since)} to {day(value.last)}"


def step(value: Period, unit: str) -> str:
    """Write which step of a period it is, by its first day: "31 Aug 2026", "Aug 2026" or "2026"."""
    return {"week": day(value.since), "month": f"{value.since:%b} {value.since.year}"}.get(
        unit, str(value.since.year)
    )


def stamp(value: datetime) -> str:
    """Write a time (UTC) to the minute, such as "2026-11-25 10:15"."""
    return f"{value.date().isoformat()} {value:%H:%M}"


def count(number: int) -> str:
    """Write a whole number, such as "12,345"."""
    return f"{number:,}"


def decimal(number: float | None) -> str:
    """Write a number to a tenth, or a dash if there is none."""
    return NOTHING if number is None else f"{number:,.1f}"


def signed(text: str, *, negative: bool) -> str:
    """Put a sign before a number that is written already."""
    return (MINUS if negative else "+") + text


def plural(number: int, one: str, many: str | None = None) -> str:
    """Write how many there are of something, such as "1 request" or "1,200 requests"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def shortened(text: str, limit: int) -> str:
    """Cut a text that is too long, and say how much is left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({plural(len(text) - limit, 'more character')})"


def is_short(text: str, limit: int) -> bool:
    """Tell whether a text is so short, and so plain, that it fits into a narrow column."""
    return len(text) <= limit and text.isascii() and text.isprintable()
