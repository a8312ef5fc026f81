"""Options of commands that list rows: which rows, in which order, and which columns."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mirror.cli.options import options
from mirror.config.file import suggest

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mirror.cli.output import Column

_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")

_NARROW = 70

_OTHER_NAMES = {
    "id": ["request_id"],
    "number": ["phone_number"],
    "request": ["request_id", "id"],
    "request_id": ["id"],
    "run": ["sync_run_id", "last_run_id", "id"],
    "run_id": ["sync_run_id", "last_run_id", "id"],
}
"""What other listings, tables and options call a column."""


class _ColumnNames(click.ParamType):  # type: ignore[type-arg] # (not generic in click 8.1)
    """Columns of a type of rows, separated by commas."""

    name = "columns"

    def __init__(self, row_type: str) -> None:
        self._row_type = row_type

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Return the names, each once."""
        if isinstance(value, list):
            return value
        names = list(dict.fromkeys(name.strip() for name in value.split(",")))
        for name in names:
            self.check(name, param, ctx)
        return names

    def check(self, name: str, param: click.Parameter | None, ctx: click.Context | None) -> None:
        """Fail if there is no column of this name."""
        known = self.known()
        if name not in known:
            other = next((n for n in _OTHER_NAMES.get(name, ()) if n in known), name)
            hint = suggest(other, known)
            names = ", ".join(known)
            hint = hint if names in hint else f"{hint} There are {names}"
            self.fail(f"there is no column {name!r}; {hint}", param, ctx)

    def known(self) -> list[str]:
        """Return the names of all columns."""
        from mirror.queries import results

        return [field.name for field in fields(getattr(results, self._row_type))]

    def complete(
        self, _context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[str]:
        """Complete the last name."""
        before, comma, name = incomplete.rpartition(",")
        return [before + comma + known for known in self.known() if known.startswith(name)]


class _SortKey(_ColumnNames):
    """A column to sort by, such as "status"; "-status" is descending."""

    name = "column"

    def known(self) -> list[str]:
        """Return the names of the columns that can be sorted by: not those of JSON."""
        return [name for name in super().known() if name != "extra"]

    def check(self, name: str, param: click.Parameter | None, ctx: click.Context | None) -> None:
        """Fail if there is no column of this name, or none to sort by."""
        if name in super().known() and name not in self.known():
            self.fail(f"{name!r} is JSON, which has no order; sort by another column", param, ctx)
        super().check(name, param, ctx)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the key."""
        self.check(value.removeprefix("-"), param, ctx)
        return value

    def complete(
        self, _context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[str]:
        """Complete the name of the column."""
        name = incomplete.removeprefix("-")
        sign = incomplete.removesuffix(name)
        return [sign + known for known in self.known() if known.startswith(name)]


def columns_option(row_type: str) -> Callable[[_F], _F]:
    """Give a command `--columns`, as `columns: list[str] | None` for `output.write_rows`.

    Args:
        row_type: name of the dataclass in `mirror.queries.results`.
    """
    kind = _ColumnNames(row_type)
    return click.option(
        "--columns",
        type=kind,
        shell_complete=kind.complete,
        metavar="A,B,…",
        help="Only these columns of the JSON output, in this order, in all formats.",
    )


def listing_options(row_type: str, *, limit: int | None = None) -> Callable[[_F], _F]:
    """Give a command `--limit`, `--sort` and `--columns`.

    It receives `limit: int | None`, `sort: str | None` and `columns: list[str] | None`: the first
    two for its query helper, the last one for `output.write_rows`.

    Args:
        row_type: name of the dataclass in `mirror.queries.results`.
        limit: default of `--limit`; None for no limit.
    """
    key = _SortKey(row_type)
    return options(
        click.option(
            "--limit",
            type=click.IntRange(min=1),
            metavar="N",
            default=limit,
            show_default=limit is not None,
            help="Only the first N.",
        ),
        click.option(
            "--sort",
            type=key,
            shell_complete=key.complete,
            metavar="COLUMN",
            help="Sort by a column of the JSON output; -COLUMN is descending. Nulls come last.",
        ),
        columns_option(row_type),
    )


def select(
    query: Callable[..., list[_T]],
    limit: int | None,
    count: Callable[[], int] | None,
    explain: Callable[[], str | None],
) -> tuple[list[_T], str | None]:
    """Return the first rows of a query, and what to say on stderr after them.

    Args:
        query: returns the rows; takes a `limit`.
        limit: number of rows to show; None for all.
        count: counts all rows; None if that costs too much. Called if some are left out.
        explain: says why there are none. Called if there are none.
    """
    rows = query(limit=None if limit is None else limit + 1)
    if limit is None or len(rows) <= limit:
        return rows, None if rows else explain()
    shown = f"only the first {limit:,} are" if count is None else f"{limit:,} of {count():,}"
    return rows[:limit], f"{shown} shown; --limit sets how many"


def shows_environment(connection: Connection, environment: str | None) -> bool:
    """Return whether a table has to name the environment of each row.

    Args:
        connection: to the mirror's database.
        environment: whose rows are shown; None for all.
    """
    from mirror.db import environments

    if environment is not None or not sys.stdout.isatty():
        return False
    return len(environments.on_record(connection)) > 1


def fitting(
    columns: Mapping[str, Column], rows: Sequence[Any], *, optional: Sequence[str]
) -> dict[str, Column]:
    """Return the columns of a table on a terminal that have content and room.

    Args:
        columns: by their headers.
        rows: of the table.
        optional: headers of the columns that are left out until there is room, the first one first.
    """
    from mirror.cli import output

    if not sys.stdout.isatty():
        return {}
    cells = {name: [column(row) for row in rows] for name, column in columns.items()}
    needed = output.needed_widths(
        {
            name: found
            for name, found in cells.items()
            if any(cell not in (None, "") for cell in found)
        }
    )
    for name in optional:
        if sum(needed.values()) <= shutil.get_terminal_size().columns + 2:  # none after the last
            break
        needed.pop(name, None)
    return {name: columns[name] for name in needed}


def is_narrow() -> bool:
    """Return whether the terminal has no room for all columns of a table."""
    return shutil.get_terminal_size().columns < _NARROW
