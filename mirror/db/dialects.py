"""The few words for which SQLite and Postgres have different ones, for the text of the views."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Dialect(ABC):
    """How a database says what the views need; every argument and result is SQL."""

    @abstractmethod
    def typed(self, expression: str, like: str) -> str:
        """Give an expression the declared type of `like`, a column that is in scope."""

    @abstractmethod
    def null(self, like: str) -> str:
        """Write NULL, with the declared type of `like`, a column that is in scope."""

    @abstractmethod
    def looked_up(self, columns: str, source: str, select: str, name: str) -> str:
        """Select from `source`, and look something up for each of its rows.

        Args:
            columns: what to select.
            source: what stands behind FROM.
            select: a SELECT of one value or none, in which `source` is in scope.
            name: what to call the value; it is NULL if there is none.
        """

    @abstractmethod
    def unindexed(self, column: str) -> str:
        """Write a column by which rows are not to be looked up, as it is the same for many."""

    @abstractmethod
    def expect_few(self, column: str) -> str:
        """Write a further condition that is always true, for a planner that joins whole tables.

        It tells that few rows of the table are wanted, one by one; `column` is never null there.
        """

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


class SQLite(Dialect):
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

    def looked_up(self, columns: str, source: str, select: str, name: str) -> str:
        """Look it up in a scalar subquery: there is no LATERAL."""
        return f"SELECT {columns}, ({select}) AS {name}\nFROM {source}"

    def unindexed(self, column: str) -> str:
        """Write it as an expression: without statistics SQLite takes any index for a good one."""
        return f"+{column}"

    def expect_few(self, column: str) -> str:  # noqa: ARG002 (it goes by indexes anyhow)
        """Say nothing."""
        return ""

    def day(self, time: str) -> str:
        """Take the start of the text."""
        return f"substr({time}, 1, 10)"

    def next_day(self, day: str) -> str:
        """Let SQLite know the calendar, but for one day that it takes for another (in 3.40)."""
        return f"replace(date({day}, '+1 day'), '0300-02-29', '0300-03-01')"

    def today(self) -> str:
        """SQLite thinks in UTC."""
        return "date('now')"

    def hours(self, start: str, end: str) -> str:
        """Count seconds and milliseconds apart: julianday() is not exact to the millisecond."""
        seconds = " - ".join(f"strftime('%s', substr({time}, 1, 19))" for time in (end, start))
        milliseconds = " - ".join(f"substr({time}, 21, 3)" for time in (end, start))
        return f"CAST(({seconds}) * 1000 + {milliseconds} AS REAL) / 3600000"


class Postgres(Dialect):
    """Words of Postgres, where every expression has a type."""

    def typed(self, expression: str, like: str) -> str:  # noqa: ARG002 (it has a type already)
        """Leave it as it is."""
        return expression

    def null(self, like: str) -> str:  # noqa: ARG002 (likewise)
        """Leave it to the other branches of a UNION."""
        return "NULL"

    def looked_up(self, columns: str, source: str, select: str, name: str) -> str:
        """Join it: a scalar subquery would be run again for each place that uses its value."""
        return (
            f"SELECT {columns}, {name}.value AS {name}\n"
            f"FROM {source} LEFT JOIN LATERAL ({select}) AS {name} (value) ON true"
        )

    def unindexed(self, column: str) -> str:
        """Leave it to the statistics."""
        return column

    def expect_few(self, column: str) -> str:
        """Use that Postgres expects one in 200 rows where it knows nothing of an expression.

        By itself it reads a table of 100,000 rows rather than looking up 1,000 of them.
        """
        return f" AND {column} || '' = {column}"

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


BY_NAME: dict[str, Dialect] = {"sqlite": SQLite(), "postgresql": Postgres()}
"""The words of each dialect of SQLAlchemy."""
