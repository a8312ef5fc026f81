"""The commands that read the mirror."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from mirror.cli.options import (
    moment,
    only,
    open_mirror,
    reading_options,
    region_option,
    say,
)

if TYPE_CHECKING:
    from mirror.rows import Change, HistoryEvent


@click.command(epilog='Example: mirror history "+1 (555) 123-4567"')
@click.argument("number")
@region_option
@reading_options
def history(
    number: str,
    region: str | None,
    environment: str | None,
    form: str,
    database: str | None,
    config_file: str | None,
) -> None:
    """Show what happened to a phone NUMBER.

    The time line goes over all its requests. NUMBER may be written in any usual way.
    """
    from mirror import queries

    with open_mirror(database, config_file) as connection:
        events = queries.phone_number_history(
            connection, number, region=region, environment=only(environment)
        )
    write_history(events, form)
    if not events:
        say(f"no release request has the number {queries.normalize_number(number, region)} now")


@click.command(epilog="Example: mirror requests --status pending --until 7d")
@click.option("--status", metavar="STATUS", help="Only those with this status.")
@click.option("--number", metavar="NUMBER", help="Only those of this phone number.")
@region_option
@click.option(
    "--since", type=moment, metavar="TIME", help="Only those submitted at this time or later."
)
@click.option("--until", type=moment, metavar="TIME", help="Only those submitted before this time.")
@click.option("--as-of", type=moment, metavar="TIME", help="As the mirror knew them at this time.")
@click.option("--missing", is_flag=True, help="Those that are no longer in the list, instead.")
@reading_options
def requests(
    environment: str | None,
    form: str,
    database: str | None,
    config_file: str | None,
    **filters: Any,
) -> None:
    """Show the release requests, newest first.

    Times are written 2024-01-31, 2024-01-31T14:30:00Z, or as a time ago: 24h, 7d. Without a zone
    they are UTC.
    """
    from mirror import output, queries
    from mirror.rows import ReleaseRequest

    with open_mirror(database, config_file) as connection:
        found = queries.release_requests(connection, environment=only(environment), **filters)
    output.write(
        found,
        ReleaseRequest,
        form,
        sys.stdout,
        drawn={
            "requested (UTC)": lambda one: one.requested_at,
            "number": lambda one: one.phone_number,
            "status": lambda one: one.status,
            "resolved (UTC)": lambda one: one.resolved_at,
            "reason": lambda one: one.rejection_reason or one.reason,
        },
    )


@click.command(epilog="Example: mirror changes --since 7d --format csv")
@click.option(
    "--since", type=moment, metavar="TIME", help="Only changes seen at this time or later."
)
@reading_options
def changes(
    since: datetime | None,
    environment: str | None,
    form: str,
    database: str | None,
    config_file: str | None,
) -> None:
    """Show what the syncs saw change, oldest first.

    A request that is seen for the first time is no change.
    """
    from mirror import queries

    with open_mirror(database, config_file) as connection:
        found = queries.changes(connection, since=since, environment=only(environment))
    write_changes(found, form)


def write_history(events: list[HistoryEvent], form: str) -> None:
    """Write the time line of a number."""
    from mirror import output
    from mirror.rows import HistoryEvent

    output.write(
        events,
        HistoryEvent,
        form,
        sys.stdout,
        drawn={
            "when (UTC)": lambda one: one.occurred_at,
            "event": lambda one: one.event,
            "request": lambda one: output.abbreviated(one.request_id),
            "source": lambda one: one.time_source,
            "reason": lambda one: one.rejection_reason or one.reason,
        },
    )


def write_changes(found: Sequence[Change], form: str) -> None:
    """Write what syncs saw change."""
    from mirror import output
    from mirror.rows import Change

    output.write(
        found,
        Change,
        form,
        sys.stdout,
        drawn={
            "seen (UTC)": lambda one: one.changed_at,
            "number": lambda one: one.phone_number,
            "change": lambda one: one.kind,
            "from": lambda one: one.old_status,
            "to": lambda one: one.new_status,
            "resolved (UTC)": lambda one: one.new_resolved_at,
        },
    )
