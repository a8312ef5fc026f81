"""Arguments of functions: their types, times and durations as people and programs write them."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MAX_DURATION = timedelta(days=365 * 1000)

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def check_type(name: str, value: object, kind: type, expected: str = "text") -> None:
    """Check the type of an argument.

    Args:
        name: of the argument.
        value: its value.
        kind: the type that it must have.
        expected: that type, in words.

    Raises:
        TypeError: it has another one.
    """
    if not isinstance(value, kind):
        raise _type_error(name, value, expected)


def check_text(**arguments: object) -> None:
    """Check that arguments are text, or None.

    Raises:
        TypeError: one is something else.
    """
    for name, value in arguments.items():
        if value is not None:
            check_type(name, value, str)


def texts_argument(name: str, values: Iterable[str]) -> list[str]:
    """Return the texts of an argument that is a list of them, as the mirror would store them.

    Args:
        name: of the argument.
        values: a list, or anything else to iterate over that is not text itself.

    Raises:
        TypeError: it is something else, or one of them is no text.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise _type_error(name, values, "a list of texts")
    texts = list(values)
    for text in texts:
        check_type(name, text, str)
    return [storable(text) for text in texts]


def whole_number(name: str, value: object) -> int:
    """Return an argument that is a whole number, also one of another library such as NumPy.

    Raises:
        TypeError: it is something else, such as a bool.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise _type_error(name, value, "a whole number")
    return operator.index(value)


def _type_error(name: str, value: object, expected: str) -> TypeError:
    found = "None" if value is None else type(value).__name__
    return TypeError(f"{name} must be {expected}, not {found}")


def storable(text: str) -> str:
    """Return a text as the mirror would have stored it: U+FFFD for what no database can hold.

    An argument of a command has lone surrogates where it is not UTF-8.
    """
    return _UNSTORABLE.sub("\ufffd", text)


def parse_time(text: str) -> datetime:
    """Return the time (UTC) of an ISO 8601 date or time; of a date its start, at 00:00 UTC.

    Args:
        text: such as 2024-01-31 or 2024-01-31T14:30:00Z; UTC without an offset.

    Raises:
        ValueError: it is neither, or not in the years 1 to 9999 in UTC.
    """
    return _in_utc(datetime.fromisoformat(text))


def parse_duration(text: str) -> timedelta | None:
    """Return the duration of a whole number and its unit, such as "90s", "15m", "2h", "7d" or "4w".

    Returns:
        None if the text is anything else.
    """
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None


def parse_positive_duration(text: str) -> timedelta:
    """Return a duration above zero, of at most 1,000 years.

    Raises:
        ValueError: the text is none; the message is a sentence for people.
    """
    duration = parse_duration(text)
    if not duration or duration > _MAX_DURATION:
        raise ValueError(
            f"{text!r} is not a duration; write a whole number and its unit, such as 90s, 15m, "
            "2h, 7d or 4w"
        )
    return duration


def time_argument(name: str, value: date | str | None) -> datetime | None:
    """Return the time (UTC) that an argument means; None for None.

    Args:
        name: of the argument.
        value: a date (its start, at 00:00 UTC), a datetime (UTC if it is naive), or ISO 8601 text.

    Raises:
        TypeError: it has another type.
        ValueError: the text is no date or time, or the time is out of range.
    """
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return parse_time(value)
        check_type(name, value, date, "a date, a datetime or ISO 8601 text")
        return _in_utc(value)
    except ValueError as error:
        raise ValueError(
            f"{name} must be a date or time in the years 1 to 9999, such as 2024-01-31 or "
            f"2024-01-31T14:30:00Z, not {value!r}"
        ) from error


def day_argument(name: str, value: date | str | None) -> date | None:
    """Return the day (UTC) of the time that an argument means; otherwise like `time_argument`."""
    moment = time_argument(name, value)
    return moment and moment.date()


def _in_utc(value: date) -> datetime:
    """Return a date, its start, or a time as an aware `datetime` in UTC; a naive one is in UTC."""
    if not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC)
    if value.utcoffset() is None:
        value = value.replace(tzinfo=UTC)
    try:
        value = value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("it is not in the years 1 to 9999 in UTC") from error
    # A plain one: libraries have classes of their own, which drivers do not know.
    return datetime.combine(value.date(), value.timetz())
