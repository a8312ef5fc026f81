"""Column types that both databases store alike, and the text format of times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import JSON, TIMESTAMP, BigInteger, Dialect, Integer, Text
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

RowNumber = BigInteger().with_variant(Integer, "sqlite")
"""Type of generated keys; SQLite generates only an INTEGER."""


class _SQLiteTimestamp(UserDefinedType[str]):
    """A column declared TIMESTAMP that stores text.

    sqlite-jdbc, and so Metabase and DBeaver, reads this declaration and text format as a time in
    milliseconds.
    """

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "TIMESTAMP"


class UTCDateTime(TypeDecorator[datetime]):
    """A time in UTC with millisecond precision; an aware `datetime` in Python.

    Stored as `timestamptz` in Postgres and as the text of `to_text` in SQLite.
    """

    impl = TIMESTAMP(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of the database."""
        if dialect.name == "sqlite":
            return _SQLiteTimestamp()
        return dialect.type_descriptor(TIMESTAMP(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Convert a time for the database, truncated to milliseconds. A naive one is in UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            value = value.replace(tzinfo=UTC)
        if dialect.name == "sqlite":
            return to_text(value.astimezone(UTC))
        return value.replace(microsecond=value.microsecond // 1000 * 1000)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Convert a time of the database to an aware `datetime` in UTC."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        time: datetime = value
        return time.astimezone(UTC)


class JSONObject(TypeDecorator[Any]):
    """A JSON object: `jsonb` in Postgres, text in a column declared JSON in SQLite.

    Postgres cannot compare values of type `json`, so `SELECT DISTINCT`, `UNION` and `GROUP BY` fail
    where one is selected.
    """

    impl = JSON(none_as_null=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of the database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(JSON(none_as_null=True))
        from sqlalchemy.dialects.postgresql import JSONB  # 20 ms

        return dialect.type_descriptor(JSONB(none_as_null=True))


class Names(TypeDecorator[tuple[str, ...]]):
    """Names without commas: text in the database, separated by commas; a tuple in Python."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...]:
        """Split the text."""
        del dialect
        return tuple(value.split(",")) if value else ()


def to_text(time: datetime) -> str:
    """Format an aware UTC time as `YYYY-MM-DD HH:MM:SS.mmm`, for SQLite; Postgres parses it."""
    (text,) = to_texts([time])
    assert text is not None
    return text


def to_texts(times: Sequence[datetime | None]) -> list[str | None]:
    """Format many times like `to_text`, ten times as fast as `isoformat`."""
    isos: list[str | None] = msgspec.to_builtins(times)
    joined = "\n".join([iso or "" for iso in isos])
    if "." in joined or not isos:
        return [iso and _with_milliseconds(iso) for iso in isos]
    # Most lists hold whole seconds only, and are converted as one string.
    return [text or None for text in joined.replace("T", " ").replace("Z", ".000").split("\n")]


def _with_milliseconds(iso: str) -> str:
    fraction = iso[20:23] if iso[19] == "." else "000"
    return f"{iso[:10]} {iso[11:19]}.{fraction}"


Identifier = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that both databases compare and sort byte by byte."""
