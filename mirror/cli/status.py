"""`mirror status` and `quarantine`: what the mirror holds, and how fresh it is."""

from __future__ import annotations

import logging
import shlex
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
    given_settings,
    now,
    open_mirror,
    reading_options,
)
from mirror.cli.pager import no_pager_option, paged
from mirror.config import file as config
from mirror.config import settings
from mirror.text import escape_unsafe, format_duration, listed
from mirror.version import __version__

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mirror.config.sources import ResolvedSetting
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


@click.command(epilog="Example: mirror status --max-age 2h --environment prod")
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
    from mirror.db import commands, environments, revisions
    from mirror.queries import status as status_queries

    file = config.load(config_file)
    given = given_settings()
    options = commands.mirror_options(given)
    wanted = [settings.environment_name(name) for name in names]
    if not wanted and not _is_another_database(given.get("database"), file):
        wanted = list(file.environments)
    limits = [settings.max_age(file, name) for name in file.environments]

    with open_mirror(database, config_file) as connection:
        on_record = environments.on_record(connection)

        def max_age_of(environment: str) -> timedelta | None:
            if limit := max_age or settings.max_age(file, environment):
                return limit
            # A mistyped name must not be healthy for ever.
            is_unknown = environment not in {*on_record, *file.environments}
            return next(filter(None, limits), None) if is_unknown else None

        is_health_check = any(map(max_age_of, wanted or [settings.DEFAULT_ENVIRONMENT]))
        statuses = status_queries.status(
            connection, now=now(), environments=wanted or None, max_age=max_age_of
        )
        revision = revisions.current(connection)
        unknown = sorted(set(wanted) - set(on_record)) if names else []
        reasons = _nothing_known(connection, unknown) if unknown or not statuses else []
    is_stale = is_health_check and _report_stale(statuses, file, options)
    _write_statuses(statuses, output_format, str(revision))
    if statuses or not is_health_check:
        for reason in reasons:
            notify(reason)
    # A health check must not mail about an environment that is kept for its history.
    if file.path and wanted and not names and (is_stale or not is_health_check):
        new = [status.environment for status in statuses if status.complete_at is None]
        for name in sorted(set(on_record) - set(wanted)):
            found = environments.unknown_to_file(name, file.path, new, options)
            notify(f"{name} is {'; '.join(found)}")
    return EXIT_STALE if is_stale else 0


def _is_another_database(given: ResolvedSetting | None, file: config.Configuration) -> bool:
    """Return whether an option or variable names another database than the file does."""
    from mirror.db.urls import same_database, to_url

    # A file without a database leaves that to options and variables.
    if given is None or file.database is None:
        return False
    return not same_database(to_url(given.text), to_url(file.database.text))


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
    exceptions = ("other", "missing", "quarantined")
    counts = [*DOCUMENTED_STATUSES]
    counts += [name for name in exceptions if any(getattr(row, name) for row in statuses)]
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


def _report_stale(
    statuses: Sequence[EnvironmentStatus], file: config.Configuration, options: Sequence[str]
) -> bool:
    """Name the environments that are stale; return whether there are any, or none at all."""
    from mirror.db.commands import forget_command
    from mirror.queries.status import describe_age

    stale = [status for status in statuses if status.stale]
    doctor = shlex.join(["mirror", "doctor", *options])
    may_be_mistyped = [
        status
        for status in stale
        if status.complete_at is None
        and status.outcome is not None
        and status.environment not in file.environments
    ]
    others = [status for status in stale if status not in may_be_mistyped]
    for group in (may_be_mistyped, others):
        if not group:
            continue
        name = group[0].environment if len(group) == 1 else "NAME"
        remedy = f"run `{doctor}`"
        if group is may_be_mistyped:
            forget = forget_command(name, options)
            remedy += f", or if {'its' if len(group) == 1 else 'a'} name was mistyped, `{forget}`"
        if len(group) == 1:
            what = f"{name} is stale: {describe_age(group[0])}"
        else:
            ages = listed([f"{each.environment} {format_duration(each.age)}" for each in group])
            what = f"{len(group)} environments are stale: {ages}"
        notify(f"{what}; {remedy}", logging.ERROR)
    if not statuses:
        notify("nothing was ever synced; run `mirror sync`", logging.ERROR)
    return bool(stale) or not statuses
