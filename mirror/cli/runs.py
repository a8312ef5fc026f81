"""`mirror runs`: what the last syncs did."""

from __future__ import annotations

import sys
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from mirror.cli.listing import is_narrow, listing_options, select, shows_environment
from mirror.cli.log import notify
from mirror.cli.options import TIME, environment_filter, open_mirror, reading_options
from mirror.cli.sync_output import counts_of
from mirror.text import format_seconds

if TYPE_CHECKING:
    from mirror.cli.output import Column
    from mirror.queries.results import SyncRun

OUTCOMES = ("applied", "unchanged", "superseded", "refused", "failed", "running", "abandoned")
"""Outcomes of runs on record: those of `mirror.db.runs.Outcome`, which takes long to import."""

_LIMIT = 20


@click.command(epilog="Example: mirror runs --outcome failed --outcome refused --since 7d")
@click.option(
    "--outcome",
    "outcomes",
    type=click.Choice(OUTCOMES),
    multiple=True,
    help="Only those with this outcome; may be repeated.",
)
@click.option("--since", type=TIME, help="Only those that started at this time or later.")
@listing_options("SyncRun", limit=_LIMIT)
@reading_options
def runs(
    outcomes: tuple[str, ...],
    since: datetime | None,
    limit: int | None,
    sort: str | None,
    columns: list[str] | None,
    environment: str | None,
    output_format: str,
    database: str | None,
    config_file: str | None,
) -> None:
    """Show what the last syncs did, newest first.

    Of a sync that did not complete, the result is why.

    TIME is 2024-01-31, 2024-01-31T14:30:00Z, or a time ago: 24h, 7d.
    """
    from mirror.cli import output
    from mirror.queries import empty, helpers
    from mirror.queries.results import SyncRun

    selection: dict[str, Any] = {
        "environment": environment_filter(environment),
        "outcomes": outcomes or None,
        "since": since,
    }
    with open_mirror(database, config_file) as connection:
        rows, message = select(
            partial(helpers.runs, connection, sort=sort, **selection),
            limit,
            partial(helpers.count_runs, connection, **selection),
            partial(empty.no_runs, connection, **selection),
        )
        several = shows_environment(connection, selection["environment"])
    table: dict[str, Column] = {
        "run": lambda row: row.id,
        "started (UTC)": lambda row: row.started_at,
        "environment": lambda row: row.environment,
        "outcome": lambda row: row.outcome,
        "took": lambda row: None if row.seconds is None else format_seconds(row.seconds),
        "result": _result,
    }
    if not several:
        del table["environment"]
    if is_narrow():
        del table["took"]
    output.write_rows(rows, SyncRun, output_format, sys.stdout, columns=table, only=columns)
    if message:
        notify(message)


def _result(run: SyncRun) -> str | None:
    """Return what a run did, or why it failed."""
    if run.error is not None:
        return run.error
    if run.outcome == "unchanged":
        return "nothing new"
    if run.outcome == "superseded":
        return "another sync completed meanwhile"
    return ", ".join(counts_of(run)) or ("nothing new" if run.outcome == "applied" else None)
