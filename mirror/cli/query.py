"""`mirror query`: SQL that reads, and the questions of the cookbook."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from typing import TYPE_CHECKING

import click

from mirror.cli.completion import complete_parameter, complete_question
from mirror.cli.log import notify
from mirror.cli.options import (
    TIME,
    database_option,
    database_url,
    format_option,
    open_mirror,
    region_option,
)
from mirror.cli.pager import paged
from mirror.config.file import suggest
from mirror.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mirror.db.cookbook import Recipe

_MAX_TABLE_ROWS = 1000
"""Rows of a table on a terminal, which is drawn when all are there, unless --limit says more."""

_LEGIBLE = 20
"""Characters of a column of texts below which folded text cannot be read."""

_NAME = re.compile(r"[\w-]+")
"""No SQL: a statement has at least a space or a bracket."""


@click.command(epilog="Example: mirror query day-by-day --param since=7d --param until=1d")
@click.argument(
    "statement", metavar="[SQL|NAME|-]", required=False, shell_complete=complete_question
)
@click.option(
    "--param",
    "given",
    metavar="NAME=VALUE",
    multiple=True,
    shell_complete=complete_parameter,
    help="Value of the parameter :NAME; may be repeated.",
)
@click.option("--list", "is_list", is_flag=True, help="List the questions, and their parameters.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N rows.")
@region_option
@format_option
@database_option
def query(
    statement: str | None,
    given: tuple[str, ...],
    is_list: bool,
    limit: int | None,
    region: str | None,
    output_format: str,
    database: str | None,
    config_file: str | None,
) -> None:
    """Run SQL that reads, or a question of the cookbook.

    NAME is one of --list, and - reads the SQL from stdin. The SQL is one SELECT, with :name for a
    parameter. A statement that would write is refused. SQL that begins with a comment needs -- as
    an argument before it.

    A question takes a number in any usual way, and a time as 2024-01-31, 2024-01-31T14:30:00Z, or a
    time ago: 24h, 7d. A value for SQL of your own is used as it is.
    """
    if is_list:
        if statement is not None or given or limit is not None:
            raise UsageError("--list lists all questions", hint="leave the other arguments out")
        _write_questions(output_format)
        return
    if statement is None:
        raise UsageError("there is neither SQL nor a name", hint="`mirror query --list` has names")
    recipe = _find_recipe(statement)
    sql = recipe.sql if recipe else _read_stdin() if statement == "-" else statement
    with _open(database, config_file) as connection:
        values = _values(connection, sql, given)
        if recipe:
            values = _convert(connection, recipe, values, region)
        _write(connection, sql, values, limit, output_format)


def _read_stdin() -> str:
    """Return the SQL on stdin.

    Raises:
        UsageError: it is not UTF-8.
    """
    try:
        return sys.stdin.read().removeprefix("\ufeff") if sys.stdin else ""
    except UnicodeDecodeError as error:
        raise UsageError("the SQL on stdin is not valid UTF-8") from error


def _write_questions(output_format: str) -> None:
    from mirror.cli import output
    from mirror.db.cookbook import Question, questions

    output.write_rows(
        questions(),
        Question,
        output_format,
        sys.stdout,
        only=None if output_format == "json" else ["name", "question", "parameters"],
    )


def _find_recipe(statement: str) -> Recipe | None:
    """Return the recipe that an argument names; None if it is SQL, or `-`.

    Raises:
        UsageError: it is a name, and there is no such recipe.
    """
    from mirror.db.cookbook import RECIPES, find_recipe

    recipe = find_recipe(statement)
    if recipe is None and statement != "-" and _NAME.fullmatch(statement):
        raise UsageError(
            f"there is no question {statement!r}",
            hint=suggest(statement, [recipe.name for recipe in RECIPES]),
        )
    return recipe


@contextmanager
def _open(database: str | None, config_file: str | None) -> Iterator[Connection]:
    """Open the mirror such that nothing can write to it."""
    from mirror.db.engine import create_engine, read_transaction

    with open_mirror(database, config_file) as connection:
        if connection.dialect.name != "sqlite":
            try:
                yield connection
            finally:
                # Without a ROLLBACK, after which a pooler would keep the session of the server, and
                # with it what a function did to that, such as pg_advisory_lock.
                connection.invalidate()
            return
    # The file is recovered from a writer that was killed by now, which takes the right to write.
    engine = create_engine(database_url(database, config_file), read_only=True)
    with read_transaction(engine) as connection:
        yield connection


def _values(connection: Connection, sql: str, given: Sequence[str]) -> dict[str, str]:
    """Return the values of all parameters of a statement, by their names.

    Raises:
        UsageError: one is missing, given twice, or not in the statement.
    """
    from mirror.db.statement import parameter_names

    values: dict[str, str] = {}
    for text in given:
        name, equals, value = text.removeprefix(":").partition("=")
        if not equals:
            raise UsageError(f"--param {text!r} has no value", hint="write --param NAME=VALUE")
        if name in values:
            raise UsageError(f"--param gives {name!r} twice", hint="leave one out")
        values[name] = value
    names = parameter_names(sql, connection.dialect.name)
    if unknown := [repr(name) for name in values if name not in names]:
        there_are = ", ".join(names) if names else "none"
        raise UsageError(
            f"the SQL has no parameter {', '.join(unknown)}", hint=f"its parameters: {there_are}"
        )
    if missing := [name for name in names if name not in values]:
        options = " ".join(f"--param {name}=…" for name in missing)
        raise UsageError(
            f"the SQL has parameters without a value: {', '.join(missing)}", hint=f"add {options}"
        )
    return values


def _convert(
    connection: Connection, recipe: Recipe, values: dict[str, str], region: str | None
) -> dict[str, str]:
    """Return the values of a recipe's parameters as the database compares them.

    Raises:
        UsageError: one is not of the kind of its parameter.
    """
    from mirror.db.types import to_text

    converted = {}
    for name, value in values.items():
        if recipe.parameters[name] == "number":
            converted[name] = _stored_number(connection, value, region)
            continue
        try:
            time = TIME.convert(value, None, None)
        except click.BadParameter as error:
            raise UsageError(f"--param {name}: {error.message}") from error
        is_day = recipe.parameters[name] == "day"
        converted[name] = time.date().isoformat() if is_day else to_text(time)
    return converted


def _stored_number(connection: Connection, typed: str, region: str | None) -> str:
    """Return the stored phone number that was meant; a number that is not stored as E.164."""
    from mirror.cli.queries import explain_numbers, explain_renumbered
    from mirror.numbers import reading
    from mirror.queries.lookup import find_number, find_renumbered

    matches = find_number(connection, typed, region)
    if not matches:
        explain_numbers(typed, region, matches, [], "")
        return reading.normalize_number(typed, region)
    match = next((match for match in matches if match.phone_number == typed), matches[0])
    if match.words:
        notify(f"{match.phone_number}: {match.words}")
    explain_renumbered(find_renumbered(connection, [match], None))
    if others := [other.phone_number for other in matches if other != match]:
        notify(f"this is the answer for {match.phone_number}; ask for {', '.join(others)} too")
    return match.phone_number


def _write(
    connection: Connection, sql: str, values: dict[str, str], limit: int | None, output_format: str
) -> None:
    """Run a statement and write its result, row by row but for a table on a terminal."""
    from mirror.cli import output
    from mirror.db import statement

    with statement.running(connection, sql, values) as result:
        if output_format == "table" and sys.stdout.isatty():
            limit = limit or _MAX_TABLE_ROWS
            rows = list(islice(result.rows, limit))
            found = len(rows)
            if rows:
                _draw(rows, result.columns)
        else:
            counter = count()
            rows_read = (row for row, _ in zip(islice(result.rows, limit), counter, strict=False))
            output.write_values(rows_read, result.columns, output_format, sys.stdout)
            found = next(counter)
        is_cut = found == limit and next(result.rows, None) is not None
    if is_cut:
        notify(f"only the first {found:,} are shown; --limit sets how many")
    elif not found:
        notify("the query found nothing")


def _draw(rows: list[Sequence[object]], names: list[str]) -> None:
    """Draw a table on the terminal, or a record for each row if its columns have no room there."""
    from mirror.cli import output

    lengths = (
        max([len(name), *(min(len(output.to_text(row[place])), _LEGIBLE) for row in rows)])
        for place, name in enumerate(names)
    )
    is_wide = sum(lengths) + 2 * len(names) > shutil.get_terminal_size().columns
    with paged(sys.stdout) as screen:
        if not is_wide:
            output.write_values(rows, names, "table", screen)
            return
        for row in rows:
            output.render_fields(dict(zip(names, row, strict=True)), screen)
            screen.write("\n")
