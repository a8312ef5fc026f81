"""Format numbers, times and differences for people."""

from __future__ import annotations

from datetime import date, datetime

from mirror.report.model import Report
from mirror.report.period import Period
from mirror.text import plural

MINUS = "\N{MINUS SIGN}"
NOTHING = TO = "\N{EN DASH}"


def day(value: date) -> str:
    """Format a day, such as "31 Aug 2026"."""
    return f"{value.day} {value:%b} {value.year}"


def short_day(value: date) -> str:
    """Format a day without its year, such as "31 Aug"."""
    return f"{value.day} {value:%b}"


def days(value: Period) -> str:
    """Format a period, such as "31 Aug to 25 Nov 2026"."""
    if value.days == 1:
        return day(value.since)
    same_year = value.since.year == value.last.year
    return f"{(short_day if same_year else day)(value.since)} to {day(value.last)}"


def bucket(value: Period, unit: str) -> str:
    """Format a bucket by its first day: "31 Aug 2026", "Aug 2026" or "2026"."""
    return {"week": day(value.since), "month": f"{value.since:%b} {value.since.year}"}.get(
        unit, str(value.since.year)
    )


def stamp(value: datetime) -> str:
    """Format a time (UTC) to the minute, such as "2026-11-25 10:15"."""
    return f"{value.date().isoformat()} {value:%H:%M}"


def count(number: int | None) -> str:
    """Format a whole number, such as "12,345", None as a dash."""
    return NOTHING if number is None else f"{number:,}"


def decimal(number: float | None) -> str:
    """Format a number with one decimal, None as a dash."""
    return NOTHING if number is None else f"{number:,.1f}"


def signed(text: str, *, negative: bool) -> str:
    """Prefix a formatted number with its sign."""
    return (MINUS if negative else "+") + text


def shortened(text: str, limit: int) -> str:
    """Cut a text at `limit` characters, and state how many more there are."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({plural(len(text) - limit, 'more character')})"


def first_pull(report: Report) -> str:
    """Format the pull from which on the report has all: "the first complete pull (…)"."""
    text, pull = "the first complete pull", report.first_pull
    if pull is None:
        return text
    if len(report.environments) > 1:
        text += f" of {shortened(pull.environment, 40)}"
    clock = ", by a wrong clock" if pull.at > report.made_at else ""
    return f"{text} ({stamp(pull.at)} UTC{clock})"


def is_short(text: str, limit: int) -> bool:
    """Return whether a text is short and plain enough for a narrow column without wrapping."""
    return len(text) <= limit and text.isascii() and text.isprintable()
