"""The few words for which SQLite and Postgres have different ones, for the text of the views."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Words(ABC):
    """How a database says what the views need; every argument and result is SQL."""

    @abstractmethod
    def typed(self, expression: str, like: str) -> str:
        """Give an expression the declared type of `like`, a column that is in scope."""

    @abstractmethod
    def null(self, like: str) -> str:
        """Write NULL, with the declared type of `like`, a column that is in scope."""

    @abstractmethod
    def day(self, time: str) -> str:
        """Cut a time to its day (UTC)."""

    @abstractmethod
    def next_day(self, day: str) -> str:
        """Add a day to a day."""

    @abstractmethod
    def today(self) -> str:
        """Tell the day that it is now (UTC)."""

    @abstractmethod
    def hours(self, start: str, end: str) -> str:
        """Tell the hours between two times, to the millisecond.

        Both databases divide the same whole number of milliseconds, so that they come to the same.
        """


class SQLite(Words):
    """Words of SQLite.

    A column of a view has a type there only if it is a column of a table; so have those that a
    scalar subquery ends with, whether they give a row or not. ODBC and JDBC drivers go by it.
    """

    def typed(self, expression: str, like: str) -> str:
        """Let a column that gives no row lend its type."""
        return f"(SELECT {expression} UNION ALL SELECT {like} WHERE 0)"

    def null(self, like: str) -> str:
        """Select nothing from a column of that type."""
        return f"(SELECT {like} WHERE 0)"

    def day(self, time: str) -> str:
        """Take the start of the text."""
        return f"substr({time}, 1, 10)"

    def next_day(self, day: str) -> str:
        """Let SQLite know the calendar."""
        return f"date({day}, '+1 day')"

    def today(self) -> str:
        """SQLite thinks in UTC."""
        return "date('now')"

    def hours(self, start: str, end: str) -> str:
        """Count seconds and milliseconds apart: julianday() is not exact to the millisecond."""
        seconds = " - ".join(f"strftime('%s', substr({time}, 1, 19))" for time in (end, start))
        milliseconds = " - ".join(f"substr({time}, 21, 3)" for time in (end, start))
        return f"CAST(({seconds}) * 1000 + {milliseconds} AS REAL) / 3600000"


class Postgres(Words):
    """Words of Postgres, where every expression has a type."""

    def typed(self, expression: str, like: str) -> str:  # noqa: ARG002 (it has a type already)
        """Leave it as it is."""
        return expression

    def null(self, like: str) -> str:  # noqa: ARG002 (likewise)
        """Leave it to the other branches of a UNION."""
        return "NULL"

    def day(self, time: str) -> str:
        """Look at the clock of UTC, whatever zone the session thinks in."""
        return f"CAST({time} AT TIME ZONE 'UTC' AS date)"

    def next_day(self, day: str) -> str:
        """Add a whole number to a date."""
        return f"{day} + 1"

    def today(self) -> str:
        """Look at the clock of UTC."""
        return self.day("now()")

    def hours(self, start: str, end: str) -> str:
        """Count milliseconds: the difference of two times is kept to the microsecond."""
        return (
            f"CAST(extract(epoch FROM {end} - {start}) * 1000 AS bigint)"
            " / CAST(3600000 AS double precision)"
        )


BY_NAME: dict[str, Words] = {"sqlite": SQLite(), "postgresql": Postgres()}
"""The words of each dialect of SQLAlchemy."""
