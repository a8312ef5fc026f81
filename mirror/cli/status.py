"""The commands that tell how the mirror is."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from mirror.cli.exit_codes import EXIT_STALE, exit_code, most_serious
from mirror.cli.options import (
    api_options,
    database_option,
    echo_status,
    environment_filter,
    environments_option,
    format_option,
    now,
    open_mirror,
    parse_duration,
    reading_options,
)
from mirror.config import file as config
from mirror.config import settings, sources
from mirror.text import escape_unsafe, format_duration
from mirror.version import __version__

if TYPE_CHECKING:
    from mirror.checks import Check
    from mirror.queries.status import EnvironmentStatus


@click.command(epilog="Example: mirror quarantine --environment prod --format json")
@click.option("--all", "resolved", is_flag=True, help="Also those that no longer occur.")
@reading_options
def quarantine(
    resolved: bool,
    environment: str | None,
    form: str,
    database: str | None,
    config_file: str | None,
) -> None:
    """Show the records that could not be understood, and why.

    A record stays in quarantine as long as the list holds it; its request keeps the row that it
    had before. --format json and csv have the record itself.
    """
    from mirror.cli import output
    from mirror.queries import helpers
    from mirror.queries.results import QuarantinedRecord

    with open_mirror(database, config_file) as connection:
        found = helpers.quarantine(
            connection, environment=environment_filter(environment), resolved=resolved
        )
    output.write(
        found,
        QuarantinedRecord,
        form,
        sys.stdout,
        drawn={
            "first seen (UTC)": lambda one: one.first_seen_at,
            "environment": lambda one: one.environment,
            "request": lambda one: output.abbreviated(one.request_id or "unknown"),
            "why": lambda one: one.error,
        },
    )


@click.command(epilog="Example: mirror status --max-age 2h || mail -s stale ops@example.com")
@click.option(
    "--max-age",
    type=parse_duration,
    metavar="TIME",
    help="Exit with 5 if an environment had no complete pull for so long, such as 2h.",
)
@environments_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "prometheus"]),
    default="table",
    show_default=True,
    help="prometheus is for the textfile collector of the node exporter.",
)
@database_option
def status(
    max_age: timedelta | None,
    named: tuple[str, ...],
    form: str,
    database: str | None,
    config_file: str | None,
) -> int:
    """Show how fresh the mirror is, and how the last runs went.

    Of each environment: its last complete pull (one that found nothing new counts as well), its
    last run and why that failed, its requests by status, and what is missing or in quarantine.

    The environments of the configuration file are shown, or those that are named; without either,
    all that were ever synced.
    """
    from mirror.db import migrate
    from mirror.queries import status as health

    file = config.load(config_file)
    labels = _labels(named) or list(file.environments) or None
    with open_mirror(database, config_file) as connection:
        found = health.status(connection, now=now(), environments=labels)
        revision = migrate.current(connection)
    _write_status(found, form, str(revision))
    if max_age is None:
        return 0
    stale = [one for one in found if health.is_stale(one, max_age)]
    for one in stale:
        echo_status(
            f"{one.environment} is stale: {_freshness(one)}; run `mirror doctor`",
            logging.ERROR,
        )
    if not found:
        echo_status("nothing was ever synced; run `mirror sync`", logging.ERROR)
    return EXIT_STALE if stale or not found else 0


@click.command(epilog="Example: mirror doctor --environment prod")
@environments_option
@api_options
@format_option
@database_option
def doctor(
    named: tuple[str, ...],
    form: str,
    database: str | None,
    config_file: str | None,
    **settings_of_the_api: str | None,
) -> int:
    """Check everything that a sync needs, and say what to do.

    Settings and where each comes from, the API and its token, the clock, the database, room on the
    disk, the last runs and the quarantine: one line each. Nothing is changed. The exit code is
    that of the most serious failure; a warning is none.
    """
    from mirror.checks import Check
    from mirror.cli import output
    from mirror.config.environments import environments
    from mirror.doctor import Doctor

    file = config.load(config_file)
    everything = sources.SettingSources(settings_of_the_api, file=file)
    patient = Doctor(
        everything,
        sources.find_database(database, file=file),
        environments(everything, named),
        now,
    )
    if form == "table" and sys.stdout.isatty():
        for check in patient.checks():
            _draw_check(check)
    else:
        output.write(list(patient.checks()), Check, form, sys.stdout, drawn={})
    return most_serious(exit_code(error) for error in patient.failures)


def _labels(named: Sequence[str]) -> list[str]:
    """Return the environments that options or the variable name."""
    if not named and os.environ.get("MIRROR_ENVIRONMENT"):
        return [settings.environment_name()]
    return [settings.environment_name(label) for label in named]


def _write_status(found: Sequence[EnvironmentStatus], form: str, revision: str) -> None:
    """Write what there is to say of environments."""
    from mirror.cli import output
    from mirror.queries.status import EnvironmentStatus

    if form == "prometheus":
        from mirror.cli.prometheus import prometheus

        lines = prometheus(found, schema_revision=revision, version=__version__).splitlines()
        shown = map(escape_unsafe, lines) if sys.stdout.isatty() else lines
        click.echo("\n".join(shown))
    elif form == "table" and sys.stdout.isatty():
        _draw_status(found)
    else:
        output.write(found, EnvironmentStatus, form, sys.stdout, drawn={})


def _draw_status(found: Sequence[EnvironmentStatus]) -> None:
    """Draw what there is to say of environments: two tables, and the errors."""
    from mirror.cli import output
    from mirror.queries.status import DOCUMENTED_STATUSES

    for where in {f"{one.database}, schema {one.schema_revision}" for one in found}:
        output.wrap(where, sys.stdout)
        click.echo()
    output.render_table(
        [
            (
                one.environment,
                one.complete_at,
                format_duration(one.age),
                one.outcome or "none",
                one.failures,
            )
            for one in found
        ],
        ("environment", "complete (UTC)", "age", "last run", "failed since"),
        sys.stdout,
    )
    click.echo()
    counts = (*DOCUMENTED_STATUSES, "other", "missing", "quarantined")
    output.render_table(
        [(one.environment, *(f"{getattr(one, name):,}" for name in counts)) for one in found],
        ("environment", *counts),
        sys.stdout,
    )
    for one in found:
        if one.error is not None:
            click.echo()
            output.wrap(f"{one.environment}: {one.error}", sys.stdout, indent=2)


def _draw_check(check: Check) -> None:
    """Draw a check on the terminal, folded to its width."""
    from mirror.cli import output

    whose = f"{check.environment}: " if check.environment else ""
    advice = f". {check.advice[0].upper()}{check.advice[1:]}" if check.advice else ""
    line = f"{check.state:8} {whose}{check.check}: {check.found}{advice}"
    output.wrap(line, sys.stdout, indent=9)


def _freshness(one: EnvironmentStatus) -> str:
    """Say when the last complete pull was."""
    if one.age is None:
        return "it had no complete pull yet"
    if one.age < 0:
        return "its last complete pull began in the future, so a clock is wrong"
    return f"its last complete pull began {format_duration(one.age)} ago"
