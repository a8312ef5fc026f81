"""`mirror status` and `quarantine`: what the mirror holds, and how fresh it is."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from mirror.cli.exit_codes import EXIT_STALE
from mirror.cli.listing import listing_options, select, shows_environment
from mirror.cli.log import notify
from mirror.cli.options import (
    DURATION,
    FORMATS,
    database_option,
    environment_filter,
    environments_option,
    now,
    open_mirror,
    reading_options,
)
from mirror.cli.pager import no_pager_option, paged
from mirror.config import file as config
from mirror.config import settings
from mirror.text import escape_unsafe, format_duration
from mirror.version import __version__

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mirror.queries.status import EnvironmentStatus


@click.command(epilog="Example: mirror quarantine --environment prod --format json")
@click.option("--all", "resolved", is_flag=True, help="Also those that no longer occur.")
@listing_options("QuarantinedRecord")
@reading_options
def quarantine(
    resolved: bool,
    limit: int | None,
    sort: str | None,
    columns: list[str] | None,
    environment: str | None,
    output_format: str,
    database: str | None,
    config_file: str | None,
) -> None:
    """Show invalid records, and what is wrong with each.

    A record stays in quarantine as long as the list contains it. The row of its request follows the
    fields that can be read, and keeps the last known values of the others. --format json and csv
    include the record itself.
    """
    from mirror.cli import output
    from mirror.queries import empty, helpers
    from mirror.queries.results import QuarantinedRecord

    selection: dict[str, Any] = {
        "environment": environment_filter(environment),
        "resolved": resolved,
    }
    with open_mirror(database, config_file) as connection:
        records, message = select(
            partial(helpers.quarantine, connection, sort=sort, **selection),
            limit,
            partial(helpers.count_quarantine, connection, **selection),
            partial(empty.no_quarantine, connection, **selection),
        )
        several = shows_environment(connection, selection["environment"])
    table: dict[str, output.Column] = {
        "first seen (UTC)": lambda record: record.first_seen_at,
        "environment": lambda record: record.environment,
        "request": lambda record: output.abbreviate_id(record.request_id or "unknown"),
        "why": lambda record: record.error,
    }
    if not several:
        del table["environment"]
    output.write_rows(
        records, QuarantinedRecord, output_format, sys.stdout, columns=table, only=columns
    )
    if message:
        notify(message)


@click.command(epilog="Example: mirror status --max-age 2h || mail -s stale ops@example.com")
@click.option(
    "--max-age",
    type=DURATION,
    help="Exit with 5 if the last complete pull of an environment is older, such as 2h.",
    show_default="max_age of the configuration file",
)
@environments_option
@click.option(
    "--format",
    "output_format",
    type=click.Choice([*FORMATS, "prometheus"]),
    default="table",
    show_default=True,
    help="prometheus is for the textfile collector of the node exporter.",
)
@no_pager_option
@database_option
def status(
    max_age: timedelta | None,
    names: tuple[str, ...],
    output_format: str,
    database: str | None,
    config_file: str | None,
) -> int:
    """Show the age, the last run and the counts of the mirror.

    For each environment: the last complete pull (one that found nothing new counts), the last run
    and its error, the requests by status, and how many are missing or in quarantine.

    The environments of the configuration file are shown, or those of --environment; without
    either, all that were ever synced. Those that are stale by --max-age, or by max_age in the file,
    are named first, on stderr.
    """
    from mirror.db import environments, migrate
    from mirror.queries import status as status_queries

    file = config.load(config_file)
    wanted = [settings.environment_name(name) for name in names] or list(file.environments)

    def max_age_of(environment: str) -> timedelta | None:
        return max_age or settings.max_age(file, environment)

    is_health_check = any(map(max_age_of, wanted or [settings.DEFAULT_ENVIRONMENT]))
    with open_mirror(database, config_file) as connection:
        statuses = status_queries.status(
            connection, now=now(), environments=wanted or None, max_age=max_age_of
        )
        revision = migrate.current(connection)
        on_record = environments.on_record(connection)
        unknown = sorted(set(wanted) - set(on_record)) if names else []
        reasons = _nothing_known(connection, unknown) if unknown or not statuses else []
    is_stale = is_health_check and _report_stale(statuses, file)
    _write_statuses(statuses, output_format, str(revision))
    if statuses or not is_health_check:
        for reason in reasons:
            notify(reason)
    # A health check must not mail about an environment that is kept for its history.
    if file.path and wanted and not names and (is_stale or not is_health_check):
        new = [status.environment for status in statuses if status.complete_at is None]
        for name in sorted(set(on_record) - set(wanted)):
            notify(f"{name} is {'; '.join(environments.unknown_to_file(name, file.path, new))}")
    return EXIT_STALE if is_stale else 0


def _write_statuses(
    statuses: Sequence[EnvironmentStatus], output_format: str, revision: str
) -> None:
    from mirror.cli import output
    from mirror.queries.status import EnvironmentStatus

    if output_format == "prometheus":
        from mirror.cli.prometheus import render_metrics

        text = render_metrics(statuses, schema_revision=revision, version=__version__)
        escape = escape_unsafe if sys.stdout.isatty() else str
        click.echo("\n".join(escape(line) for line in text.splitlines()))
    elif output_format == "table" and sys.stdout.isatty():
        with paged(sys.stdout) as screen, redirect_stdout(screen):
            _render_statuses(statuses)
    else:
        output.write_rows(statuses, EnvironmentStatus, output_format, sys.stdout)


def _render_statuses(statuses: Sequence[EnvironmentStatus]) -> None:
    """Draw two tables of the environments, and their errors."""
    from mirror.cli import output
    from mirror.queries.status import DOCUMENTED_STATUSES

    for database in {f"{row.database}, schema {row.schema_revision}" for row in statuses}:
        output.wrap(database, sys.stdout)
        click.echo()
    output.render_table(
        [
            (
                row.environment,
                row.complete_at,
                output.StyledCell(
                    format_duration(row.age) + (", stale" if row.stale else ""),
                    "red" if row.stale else "",
                ),
                row.outcome or "none",
                row.failures,
            )
            for row in statuses
        ],
        ("environment", "complete (UTC)", "age", "last run", "failures since"),
        sys.stdout,
    )
    click.echo()
    counts = (*DOCUMENTED_STATUSES, "other", "missing", "quarantined")
    output.render_table(
        [(row.environment, *(f"{getattr(row, count):,}" for count in counts)) for row in statuses],
        ("environment", *counts),
        sys.stdout,
    )
    for row in statuses:
        if row.error is not None:
            click.echo()
            output.wrap(f"{row.environment}: {row.error}", sys.stdout, indent=2)


def _nothing_known(connection: Connection, unknown: Sequence[str]) -> list[str]:
    """Say of environments that are not on record, or of an empty mirror, what there is instead."""
    from mirror.queries import empty

    names = unknown or (None,)
    reasons = [empty.no_environment(connection, name) for name in names]
    return list(dict.fromkeys(reason for reason in reasons if reason))


def _report_stale(statuses: Sequence[EnvironmentStatus], file: config.Configuration) -> bool:
    """Name the environments that are stale; return whether there are any, or none at all."""
    from mirror.db.environments import forget_command
    from mirror.queries.status import describe_age

    stale = [status for status in statuses if status.stale]
    for status in stale:
        remedy = "run `mirror doctor`"
        never_complete = status.complete_at is None and status.outcome is not None
        if never_complete and status.environment not in file.environments:
            remedy += f", or if its name was mistyped, `{forget_command(status.environment)}`"
        notify(f"{status.environment} is stale: {describe_age(status)}; {remedy}", logging.ERROR)
    if not statuses:
        notify("nothing was ever synced; run `mirror sync`", logging.ERROR)
    return bool(stale) or not statuses
