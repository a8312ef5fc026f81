"""The commands that read the mirror."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from mirror.cli.options import (
    echo_status,
    environment_filter,
    open_mirror,
    parse_time,
    reading_options,
    region_option,
)

if TYPE_CHECKING:
    from mirror.queries.results import Change, HistoryEvent

_NARROW = 70
"""Columns of a terminal that has no room for all there is to tell of a number."""

_EVENT = len("requested *")
"""Characters of an event that is never folded."""

_COLOURS = {
    "requested": "blue",
    "reopened": "blue",
    "approved": "green",
    "rejected": "red",
    "vanished": "yellow",
    "returned": "yellow",
}
"""Of events on a terminal; the others are written as all the rest."""


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
    from mirror.queries import helpers

    with open_mirror(database, config_file) as connection:
        events = helpers.phone_number_history(
            connection, number, region=region, environment=environment_filter(environment)
        )
    write_history(events, form)
    if not events:
        echo_status(
            f"no release request has the number {helpers.normalize_number(number, region)} now"
        )


@click.command(epilog="Example: mirror requests --status pending --until 7d")
@click.option("--status", metavar="STATUS", help="Only those with this status.")
@click.option("--number", metavar="NUMBER", help="Only those of this phone number.")
@region_option
@click.option(
    "--since", type=parse_time, metavar="TIME", help="Only those submitted at this time or later."
)
@click.option(
    "--until", type=parse_time, metavar="TIME", help="Only those submitted before this time."
)
@click.option(
    "--as-of", type=parse_time, metavar="TIME", help="As the mirror knew them at this time."
)
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
    from mirror.cli import output
    from mirror.queries import helpers
    from mirror.queries.results import ReleaseRequest

    with open_mirror(database, config_file) as connection:
        found = helpers.release_requests(
            connection, environment=environment_filter(environment), **filters
        )
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
    "--since", type=parse_time, metavar="TIME", help="Only changes seen at this time or later."
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
    from mirror.queries import helpers

    with open_mirror(database, config_file) as connection:
        found = helpers.changes(
            connection, since=since, environment=environment_filter(environment)
        )
    write_changes(found, form)


def write_history(events: list[HistoryEvent], form: str) -> None:
    """Write the time line of a number."""
    from mirror.cli import output
    from mirror.queries.results import HistoryEvent

    if form == "table" and sys.stdout.isatty():
        _draw_time_line(events)
    else:
        output.write(events, HistoryEvent, form, sys.stdout, drawn={})


def _draw_time_line(events: list[HistoryEvent]) -> None:
    """Draw the time line of a number, with a free line wherever another request goes on."""
    from mirror.cli import output

    columns: dict[str, Callable[[HistoryEvent], object]] = {
        "when (UTC)": lambda one: one.occurred_at,
        "event": _coloured,
        "after": _waits(events).get,
        "request": lambda one: output.abbreviated(one.request_id),
        "reason": _why,
        "environment": lambda one: one.environment,
    }
    if len({one.environment for one in events}) < 2:
        del columns["environment"]
    if shutil.get_terminal_size().columns < _NARROW:
        del columns["after"], columns["request"]
    gaps = {
        number
        for number, (one, following) in enumerate(pairwise(events))
        if one.request_id != following.request_id
    }
    rows = [[column(one) for column in columns.values()] for one in events]
    output.render_table(rows, list(columns), sys.stdout, gaps=gaps, least={"event": _EVENT})
    if any(one.time_source == "observed" for one in events):
        click.echo()
        output.wrap("* when a sync saw it; upstream did not say when it was", sys.stdout)


def _coloured(event: HistoryEvent) -> object:
    """Return what happened, with a mark if upstream did not say when."""
    from mirror.cli import output

    mark = " *" if event.time_source == "observed" else ""
    return output.Coloured(event.event + mark, _COLOURS.get(event.event, ""))


def _waits(events: list[HistoryEvent]) -> dict[HistoryEvent, str]:
    """Return how long it took from the event before each one."""
    from mirror.text import format_duration

    return {
        one: format_duration((one.occurred_at - before.occurred_at).total_seconds())
        for before, one in pairwise(events)
    }


def _why(event: HistoryEvent) -> str | None:
    """Return the reason for an event, which is told once in the time line."""
    if event.event == "requested":
        return event.reason
    return event.rejection_reason if event.event == "rejected" else None


def write_changes(found: Sequence[Change], form: str) -> None:
    """Write what syncs saw change."""
    from mirror.cli import output
    from mirror.queries.results import Change

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
