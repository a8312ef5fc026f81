"""Check the arguments of the query helpers: errors name the argument."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy.engine import Connection

from mirror.times import in_utc, parse_time

_KINDS = {str: "text", int: "a whole number"}


def check_connection(connection: Connection) -> None:
    """Check that this is an open connection of SQLAlchemy.

    Raises:
        TypeError: it is something else, such as the context that `mirror.connect` returns.
    """
    if not isinstance(connection, Connection):
        raise _type_error(
            "connection",
            "an SQLAlchemy Connection, as in `with mirror.connect() as connection`",
            connection,
        )


def check_type(name: str, value: object, kind: type[str | int]) -> None:
    """Check the type of an argument.

    Args:
        name: of the argument.
        value: its value.
        kind: the type that it must have.

    Raises:
        TypeError: it has another one.
    """
    if not isinstance(value, kind):
        raise _type_error(name, _KINDS[kind], value)


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
    if not isinstance(value, date | str):
        raise _type_error(name, "a date, a datetime or ISO 8601 text", value)
    try:
        return parse_time(value) if isinstance(value, str) else in_utc(value)
    except ValueError as error:
        raise ValueError(
            f"{name} must be a date or time in the years 1 to 9999, such as 2024-01-31 or "
            f"2024-01-31T14:30:00Z, not {value!r}"
        ) from error


def day_argument(name: str, value: date | str | None) -> date | None:
    """Return the day (UTC) of the time that an argument means; otherwise like `time_argument`."""
    time = time_argument(name, value)
    return time and time.date()


def _type_error(name: str, expected: str, value: Any) -> TypeError:
    found = "None" if value is None else type(value).__name__
    return TypeError(f"{name} must be {expected}, not {found}")
