"""`mirror changes`: what the syncs saw change, and what of it is new to a reader."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

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
    help="Name of the reader that asks; each has a cursor of its own. Implies --new.",
    show_default="default",
)
@reading_options
def changes(
    since: datetime | None,
    run_id: int | None,
    new: bool,
    cursor: str | None,
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
        _show_new(cursor, since, environment, output_format, database, config_file)
        return
    with open_mirror(database, config_file) as connection:
        rows = helpers.changes(connection, since=since, environment=environment, run_id=run_id)
        reason = (
            None
            if rows
            else empty.no_changes(connection, environment=environment, since=since, run_id=run_id)
        )
    write_changes(rows, output_format)
    if reason:
        notify(reason)


def _show_new(
    cursor: str | None,
    since: datetime | None,
    environment: str | None,
    output_format: str,
    database: str | None,
    config_file: str | None,
) -> None:
    """Write the changes after a cursor; then move it."""
    from mirror.queries import cursors, empty

    name = cursors.check_name(cursors.DEFAULT if cursor is None else cursor)
    engine = open_database(database, config_file)
    with open_mirror(database, config_file) as connection:
        reason = empty.no_environment(connection, environment)
        unseen = cursors.unseen(connection, name, environment=environment, since=since)
    cursors.require_writable(engine)
    write_changes(unseen.changes, output_format)
    sys.stdout.flush()
    cursors.move(engine, name, unseen.positions, now=now())
    if not unseen.changes:
        notify(reason or f"there is no change that the cursor {name!r} has not shown")


def write_changes(rows: Sequence[Change], output_format: str) -> None:
    """Write changes that syncs saw."""
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
            "fields": lambda row: ", ".join(row.changed_fields),
        },
    )
