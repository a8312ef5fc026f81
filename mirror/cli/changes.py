"""`mirror changes`: what the syncs saw change, and what of it is new to a reader."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from mirror.cli.completion import complete_cursor
from mirror.cli.listing import listing_options, select
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


@click.command(epilog="Example: mirror changes --since 7d --format csv")
@click.option("--since", type=TIME, help="Only changes seen at this time or later.")
@click.option("--run", "run_id", type=int, metavar="ID", help="Only changes that this run saw.")
@click.option("--new", is_flag=True, help="Only changes since this was last asked.")
@click.option(
    "--cursor",
    metavar="NAME",
    shell_complete=complete_cursor,
    help="Who asks, if there are several readers; implies --new. Without it: default.",
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
    when the output has been written, so what fails is shown again. The first time all changes are
    shown, or with --since those from then on.
    """
    from mirror.queries import empty, helpers

    environment = environment_filter(environment)
    if new or cursor is not None:
        if run_id is not None:
            raise UsageError("--run and --new contradict each other", hint="leave one out")
        if limit is not None:
            raise UsageError(
                "--limit with --new would lose what it leaves out", hint="leave one of them out"
            )
        show = partial(write_changes, output_format=output_format, columns=columns)
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
    write_changes(rows, output_format, columns)
    if message:
        notify(message)


def _show_new(
    cursor: str | None,
    since: datetime | None,
    sort: str | None,
    environment: str | None,
    show: Callable[[Sequence[Change]], None],
    database: str | None,
    config_file: str | None,
) -> None:
    """Write the changes after a cursor; then move it."""
    from mirror.queries import cursors, empty

    name = cursors.check_name(cursors.DEFAULT if cursor is None else cursor)
    engine = open_database(database, config_file)
    with open_mirror(database, config_file) as connection:
        reason = empty.no_environment(connection, environment)
        unseen = cursors.unseen(connection, name, environment=environment, since=since, sort=sort)
    cursors.require_writable(engine)
    show(unseen.changes)
    sys.stdout.flush()
    cursors.move(engine, name, unseen.positions, now=now())
    if not unseen.changes:
        notify(reason or f"the cursor {name!r} has shown all changes")


def write_changes(
    rows: Sequence[Change], output_format: str, columns: list[str] | None = None
) -> None:
    """Write changes that syncs saw; only some columns, if they are named."""
    from mirror.cli import output
    from mirror.queries.results import Change

    output.write_rows(
        rows,
        Change,
        output_format,
        sys.stdout,
        columns={
            "seen (UTC)": lambda row: row.changed_at,
            "number": lambda row: row.phone_number,
            "change": lambda row: row.kind,
            "from": lambda row: row.old_status,
            "to": lambda row: row.new_status,
            "also changed": lambda row: ", ".join(
                name for name in row.changed_fields if name != "status"
            ),
        },
        only=columns,
    )
