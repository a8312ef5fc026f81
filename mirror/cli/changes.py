"""`mirror changes`: what the syncs saw change, and what of it is new to a reader."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from mirror.cli.completion import complete_cursor
from mirror.cli.listing import (
    fitting,
    is_narrow,
    listing_options,
    select,
    shows_environment,
)
from mirror.cli.log import notify
from mirror.cli.options import (
    TIME,
    environment_filter,
    now,
    open_database,
    open_mirror,
    reading_options,
)
from mirror.errors import UsageError

if TYPE_CHECKING:
    from mirror.queries.results import Change

_WIDE = 100
"""Width of a terminal from which on the table has the ids of requests."""


@click.command(epilog="Example: mirror changes --since 7d --format csv")
@click.option("--since", type=TIME, help="Only changes seen at this time or later.")
@click.option("--run", "run_id", type=int, metavar="ID", help="Only changes that this run saw.")
@click.option("--new", is_flag=True, help="Only changes that were not shown before.")
@click.option(
    "--cursor",
    metavar="NAME",
    shell_complete=complete_cursor,
    help="Name of the reader, if there are several; implies --new. Without it: default.",
)
@listing_options("Change")
@reading_options
def changes(
    since: datetime | None,
    run_id: int | None,
    new: bool,
    cursor: str | None,
    limit: int | None,
    sort: str | None,
    columns: list[str] | None,
    environment: str | None,
    output_format: str,
    database: str | None,
    config_file: str | None,
) -> None:
    """Show what the syncs saw change, newest first.

    A request that is seen for the first time is not a change. TIME is 2024-01-31,
    2024-01-31T14:30:00Z, or a time ago: 24h, 7d.

    With --new, the database keeps how far the reader has read in each environment. That is moved
    when the output has been written, so what fails is shown again; there is no pager, which may be
    left early. The first time all changes are shown, or with --since those from then on.
    """
    from mirror.queries import empty, helpers

    environment = environment_filter(environment)
    show = partial(write_changes, output_format=output_format, columns=columns)
    if new or cursor is not None:
        if run_id is not None:
            raise UsageError("--run and --new contradict each other", hint="leave one out")
        if limit is not None:
            raise UsageError(
                "--limit with --new would lose what it leaves out", hint="leave one of them out"
            )
        _show_new(cursor, since, sort, environment, show, database, config_file)
        return
    filters: dict[str, Any] = {"since": since, "environment": environment, "run_id": run_id}
    with open_mirror(database, config_file) as connection:
        rows, message = select(
            partial(helpers.changes, connection, sort=sort, **filters),
            limit,
            partial(helpers.count_changes, connection, **filters),
            partial(empty.no_changes, connection, **filters),
        )
        several = shows_environment(connection, environment)
    show(rows, several=several)
    if message:
        notify(message)


def _show_new(
    cursor: str | None,
    since: datetime | None,
    sort: str | None,
    environment: str | None,
    show: Callable[..., None],
    database: str | None,
    config_file: str | None,
) -> None:
    """Write the changes after a cursor; then move it."""
    from mirror.cli import pager
    from mirror.queries import cursors, empty

    pager.forbid()
    name = cursors.check_name(cursors.DEFAULT if cursor is None else cursor)
    engine = open_database(database, config_file)
    with open_mirror(database, config_file) as connection:
        reason = empty.no_environment(connection, environment)
        several = shows_environment(connection, environment)
        unseen = cursors.unseen(connection, name, environment=environment, since=since, sort=sort)
    cursors.require_writable(engine)
    show(unseen.changes, several=several)
    sys.stdout.flush()
    cursors.move(engine, name, unseen.positions, now=now())
    if not unseen.changes:
        notify(reason or f"the cursor {name!r} has shown all changes")


def write_changes(
    rows: Sequence[Change],
    output_format: str,
    columns: list[str] | None = None,
    *,
    several: bool = False,
) -> None:
    """Write changes that syncs saw.

    Args:
        rows: the changes.
        output_format: as for `output.write_rows`.
        columns: names of the fields to write; None for all.
        several: whether they may be of several environments.
    """
    from mirror.cli import output
    from mirror.queries.results import Change

    table: dict[str, output.Column] = {
        "seen (UTC)": lambda row: row.changed_at,
        "seen": lambda row: row.changed_at.date(),
        "request": lambda row: output.abbreviate_id(row.request_id),
        "number": lambda row: row.phone_number,
        "change": lambda row: row.kind,
        "from": lambda row: row.old_status,
        "to": lambda row: row.new_status,
        "environment": lambda row: row.environment,
        "also changed": _other_fields,
    }
    del table["seen (UTC)" if is_narrow() else "seen"]
    if shutil.get_terminal_size().columns < _WIDE:
        del table["request"]
    if not several:
        del table["environment"]
    table = fitting(table, rows, optional=["also changed", "from"])
    output.write_rows(rows, Change, output_format, sys.stdout, columns=table, only=columns)


def _other_fields(row: Change) -> object:
    """Return the names of the fields that changed besides the status."""
    from mirror.cli import output

    names = ", ".join(name for name in row.changed_fields if name != "status")
    return output.Lines([names]) if names else None
