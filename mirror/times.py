"""Times as people and programs write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time


def parse_time(text: str) -> datetime:
    """Return the time (UTC) of an ISO 8601 date or time; of a date its start, at 00:00 UTC.

    Args:
        text: such as 2024-01-31 or 2024-01-31T14:30:00Z; UTC without an offset.

    Raises:
        ValueError: it is neither, or not in the years 1 to 9999 in UTC.
    """
    return in_utc(datetime.fromisoformat(text))


def in_utc(value: date) -> datetime:
    """Return a date, its start, or a time as an aware `datetime` in UTC; a naive one is in UTC.

    Raises:
        ValueError: it is not in the years 1 to 9999 in UTC.
    """
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
