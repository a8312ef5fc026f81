"""Write messages, numbers, days, times and differences as people of a language do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from markupsafe import Markup

from mirror.report.messages import catalogue, message
from mirror.report.model import Report
from mirror.report.period import Period
from mirror.text import escape_unsafe

MINUS = "\N{MINUS SIGN}"
NOTHING = TO = "\N{EN DASH}"
_MAX_NAME = 40
_MAX_NAMES = 4
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Language:
    """A language of the page.

    Attributes:
        code: one of `messages.LANGUAGES`.
    """

    code: str

    def text(self, key: str, number: int | None = None, /, **values: object) -> str:
        """Return a message as plain text.

        Args:
            key: of the message.
            number: selects singular or plural, and replaces `{n}`.
            values: replace the other placeholders.
        """
        return self._message(key, number).format(n=self.count(number), **values)

    def html(self, key: str, number: int | None = None, /, **values: object) -> Markup:
        """Return a message as HTML; the values are escaped, and invisible characters shown."""
        shown = {
            name: escape_unsafe(value)
            if isinstance(value, str) and not isinstance(value, Markup)
            else value
            for name, value in values.items()
        }
        template = Markup(self._message(key, number))  # noqa: S704 (the catalogue is no foreign text)
        return template.format(n=self.count(number), **shown)

    def _message(self, key: str, number: int | None) -> str:
        return message(self.code, key, 1 if number is None else number)

    def word(self, name: str, limit: int = 300) -> str:
        """Translate a status, event, kind or outcome; one that is not documented stays."""
        key = f"word_{name}"
        return self.text(key) if key in catalogue() else self.shortened(name, limit)

    # Numbers

    def count(self, number: int | None) -> str:
        """Format a whole number, such as "12,345", None as a dash."""
        return NOTHING if number is None else self._separated(f"{number:,}")

    def decimal(self, number: float | None) -> str:
        """Format a number with one decimal, None as a dash."""
        return NOTHING if number is None else self._separated(f"{number:,.1f}")

    def percent(self, value: float | None) -> str:
        """Format a percentage without decimals; one that rounds to nothing is "<1 %"."""
        if value is None:
            return NOTHING
        return self.text("percent", value="<1" if 0 < value < 0.5 else self.count(round(value)))

    def rates(self, limits: tuple[float, float] | None) -> str:
        """Format a percentage that is known within limits, with one decimal."""
        if limits is None:
            return NOTHING
        values = dict.fromkeys(map(self.decimal, limits))
        return self.text("percent", value=TO.join(values))

    def _separated(self, text: str) -> str:
        separators = {",": self.text("thousands"), ".": self.text("decimal_point")}
        return "".join(separators.get(character, character) for character in text)

    # Days and times

    def day(self, value: date) -> str:
        """Format a day, such as "31 Aug 2026"."""
        return self._date("day", value)

    def short_day(self, value: date) -> str:
        """Format a day without its year, such as "31 Aug"."""
        return self._date("short_day", value)

    def stamp(self, value: datetime) -> str:
        """Format a time (UTC) to the minute, such as "2026-11-25 10:15"."""
        return self._date("stamp", value, time=f"{value:%H:%M}")

    def days(self, value: Period) -> str:
        """Format a period, such as "31 Aug to 25 Nov 2026"."""
        if value.days == 1:
            return self.day(value.since)
        is_short = value.since.year == value.last.year and self.code == "en"
        first = (self.short_day if is_short else self.day)(value.since)
        return self.text("range", first=first, last=self.day(value.last))

    def bucket(self, value: Period, unit: str) -> str:
        """Format a bucket by its first day: "31 Aug 2026", "Aug 2026" or "2026"."""
        if unit in {"day", "week"}:
            return self.day(value.since)
        return self._date("month", value.since) if unit == "month" else str(value.since.year)

    def _date(self, key: str, value: date, **values: str) -> str:
        month = self.text("months").split()[value.month - 1]
        day, year = value.day, f"{value.year:04d}" if key in {"stamp", "day"} else value.year
        return self.text(
            key, day=day, month=month, year=year, dd=f"{day:02d}", mm=f"{value.month:02d}", **values
        )

    # Durations

    def duration(self, hours: float | None) -> str:
        """Format a duration: minutes under an hour, hours under a day, days above."""
        return NOTHING if hours is None else self.amount(*duration_of(hours))

    def age(self, value: timedelta | None) -> str:
        """Format an age in whole hours, or in whole days from a day on, rounded down."""
        return NOTHING if value is None else self.amount(*age_of(value))

    def amount(self, number: float, unit: str) -> str:
        """Format a number of "minutes", "hours" or "days"."""
        short = self._short(number)
        return self.text(unit, 1 if short == self._short(1) else 2, value=short)

    def since(self, seconds: float | None) -> str:
        """Format the age of data, to the minute under an hour."""
        if seconds is None:
            return self.text("never")
        if seconds < 0:
            return self.text("in_the_future")
        return (
            self.duration(seconds / 3600)
            if seconds < 3600
            else self.age(timedelta(seconds=seconds))
        )

    def _short(self, number: float) -> str:
        """Format a number with a decimal, unless that is zero or the number is long."""
        rounded = round(number, 1)
        return (
            self.count(round(number))
            if rounded >= 100 or rounded % 1 == 0
            else self.decimal(rounded)
        )

    # Texts of others

    def shortened(self, text: str, limit: int) -> str:
        """Cut a text at `limit` characters, and state how many more there are."""
        if len(text) <= limit:
            return text
        return self.text("more_characters", len(text) - limit, text=text[:limit])

    def names(self, names: Sequence[str]) -> str:
        """List the first names, and how many more there are."""
        listed = ", ".join(self.shortened(name, _MAX_NAME) for name in names[:_MAX_NAMES])
        omitted = len(names) - _MAX_NAMES
        return self.text("and_more", omitted, names=listed) if omitted > 0 else listed

    def first_pull(self, report: Report) -> str:
        """Format the pull from which on the report has all: "the first complete pull (…)"."""
        pull = report.first_pull
        if pull is None:
            return NOTHING
        time = self.stamp(pull.at)
        if len(report.environments) == 1:
            text = self.text("first_pull", time=time)
        else:
            name = self.shortened(pull.environment, _MAX_NAME)
            text = self.text("first_pull_of", name=name, time=time)
        return self.text("wrong_clock", pull=text) if pull.at > report.made_at else text


def duration_of(hours: float, unit: str = "") -> tuple[float, str]:
    """Return a duration as people read it: a rounded number, and its unit.

    Args:
        hours: the duration; one that is negative counts as none.
        unit: "minutes", "hours" or "days"; empty for the one that fits.
    """
    hours = max(hours, 0)
    if not unit:
        unit = "hours" if round(hours, 1) < 24 else "days"
        unit = "minutes" if round(60 * hours) < 60 else unit
    if unit == "minutes":
        return round(60 * hours), unit
    number = hours / 24 if unit == "days" else hours
    return round(number, 0 if round(number, 1) >= 100 else 1), unit


def age_of(age: timedelta, unit: str = "") -> tuple[int, str]:
    """Return an age in whole hours or days, rounded down as a count of elapsed days, and its unit.

    Args:
        age: the age; one that is negative, as mirror's clock is behind, counts as none.
        unit: "hours" or "days"; empty for the one that fits.
    """
    unit = unit or ("hours" if age < _DAY else "days")
    return max(age, timedelta()) // (_DAY if unit == "days" else _HOUR), unit


def is_short(text: str, limit: int) -> bool:
    """Return whether a text is short and plain enough for a narrow column without wrapping."""
    return len(text) <= limit and text.isascii() and text.isprintable()
