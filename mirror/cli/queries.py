"""`mirror history`: what happened to a number."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, TextIO

import click

from mirror.cli.listing import columns_option, is_narrow
from mirror.cli.log import notify
from mirror.cli.options import (
    environment_filter,
    number_argument,
    open_mirror,
    reading_options,
    region_option,
)

if TYPE_CHECKING:
    from mirror.queries.lookup import NumberMatch, Renumbered
    from mirror.queries.results import HistoryEvent, ReleaseRequest

_EVENT_WIDTH = len("requested *")
_INTERVAL_WIDTH = len("between 2024-01-31")

_MAX_RENUMBERED = 5
"""Requests to name that had a number before."""


@click.command(epilog='Example: mirror history "+1 (555) 123-4567"')
@number_argument
@region_option
@columns_option("HistoryEvent")
@reading_options
def history(
    number: str,
    region: str | None,
    columns: list[str] | None,
    environment: str | None,
    output_format: str,
    database: str | None,
    config_file: str | None,
) -> None:
    """Show the history of a phone NUMBER.

    The time line covers all its requests. NUMBER may be written in any usual way; without its
    country code it needs --region.
    """
    from mirror.queries import empty, helpers
    from mirror.queries.lookup import find_number, find_renumbered

    environment = environment_filter(environment)
    with open_mirror(database, config_file) as connection:
        matches = find_number(connection, number, region)
        renumbered = find_renumbered(connection, matches, environment)
        events = helpers.phone_number_history(
            connection, number, region=region, environment=environment
        )
        reason = None if events else empty.no_environment(connection, environment)
    write_history(events, output_format, columns)
    if reason:
        notify(reason)
        return
    scope = f" in {environment!r}" if environment else ""
    explain_numbers(number, region, matches, events, scope)
    explain_renumbered(renumbered)


def explain_numbers(
    number: str,
    region: str | None,
    matches: list[NumberMatch],
    rows: Sequence[HistoryEvent | ReleaseRequest],
    scope: str,
) -> None:
    """Say how a number was read, and if nothing was found, what was looked for."""
    shown = {row.phone_number for row in rows}
    for match in matches:
        if match.phone_number in shown and match.words:
            notify(f"{match.phone_number}: {match.words}")
    if not rows:
        wanted = looked_for(number, region, matches)
        notify(f"no release request{scope} has the number {wanted}")


def explain_renumbered(renumbered: Sequence[Renumbered]) -> None:
    """Name requests that had a number before it was corrected."""
    from mirror.text import plural

    for request in renumbered[:_MAX_RENUMBERED]:
        notify(
            f"the request {request.request_id!r} had the number {request.former} before, and has "
            f"{request.present} now, which has its history"
        )
    others = len(renumbered) - _MAX_RENUMBERED
    if others > 0:
        notify(f"{plural(others, 'other request')} had it before")


def looked_for(number: str, region: str | None, matches: Sequence[NumberMatch]) -> str:
    """Return which numbers were looked for, and a hint if another country may be meant."""
    from mirror.numbers import reading

    wanted = reading.read(number, region).numbers or [match.phone_number for match in matches]
    is_clear = region or "+" in number
    hint = "" if is_clear else "; give the country of a national number with --region"
    return " or ".join(wanted) + hint


def write_history(
    events: list[HistoryEvent], output_format: str, columns: list[str] | None = None
) -> None:
    """Write the time line of a number, or some columns of it."""
    from mirror.cli import output
    from mirror.cli.pager import paged
    from mirror.queries.results import HistoryEvent

    unknown = sum(event.time_source == "unknown" for event in events)
    if output_format == "table" and sys.stdout.isatty() and events and not columns:
        with paged(sys.stdout) as out:
            _render_time_line(events, unknown, out)
        return
    output.write_rows(events, HistoryEvent, output_format, sys.stdout, only=columns)
    if unknown and output_format == "table":
        notify(_unknown_times(unknown))


def _unknown_times(count: int) -> str:
    """Say how many events have no time, and why."""
    times, requests = ("time is", "the request") if count == 1 else ("times are", "each request")
    return (
        f"{count} {times} unknown: {requests} already had this status when a sync first saw it, "
        "and the API states no time"
    )


def _render_time_line(events: list[HistoryEvent], unknown: int, out: TextIO) -> None:
    """Draw the time line of each number, with a blank line where the request changes."""
    from mirror.cli import output

    events = sorted(events, key=lambda event: event.phone_number)
    columns: dict[str, Callable[[HistoryEvent], object]] = {
        "when (UTC)": lambda event: event.occurred_at or _interval(event),
        "event": _styled_event,
        "after": _times_since_previous(events).get,
        "number": lambda event: event.phone_number,
        "request": lambda event: output.abbreviate_id(event.request_id),
        "reason": _reason,
        "environment": lambda event: event.environment,
    }
    if len({event.environment for event in events}) < 2:
        del columns["environment"]
    if len({event.phone_number for event in events}) < 2:
        del columns["number"]
    if is_narrow():
        del columns["after"], columns["request"]
    last_of_request = {
        number
        for number, (event, following) in enumerate(pairwise(events))
        if event.request_id != following.request_id
    }
    output.render_table(
        [[column(event) for column in columns.values()] for event in events],
        list(columns),
        out,
        blank_after=last_of_request,
        min_widths={"event": _EVENT_WIDTH},
        widths={"when (UTC)": _INTERVAL_WIDTH} if unknown else {},
    )
    if any(event.time_source == "observed" for event in events):
        out.write("\n")
        output.wrap(
            "* time of the sync that first saw it; the API stated none for this event. It happened "
            "since the last sync that saw the request unchanged",
            out,
        )
    if unknown:
        out.write("\n")
        output.wrap(_unknown_times(unknown), out)


def _interval(event: HistoryEvent) -> str:
    """Say between which days an event happened whose time is unknown."""
    assert event.not_before is not None
    first, last = event.not_before.date(), event.observed_at.date()
    return f"between {first} and {last}" if first < last else f"by {last}"


def _styled_event(event: HistoryEvent) -> object:
    """Return the event in its colour, marked if its time is that of a sync."""
    from mirror.cli import output

    mark = " *" if event.time_source == "observed" else ""
    return output.StyledCell(event.event + mark, output.STYLES.get(event.event, ""))


def _times_since_previous(events: list[HistoryEvent]) -> dict[HistoryEvent, str]:
    """Return the time between each event and the one before it."""
    from mirror.text import format_duration

    return {
        event: format_duration((event.occurred_at - previous.occurred_at).total_seconds())
        for previous, event in pairwise(events)
        if event.phone_number == previous.phone_number
        and event.occurred_at
        and previous.occurred_at
    }


def _reason(event: HistoryEvent) -> str | None:
    """Return the reason to show for an event: each reason appears once."""
    if event.event == "requested":
        return event.reason
    return event.rejection_reason if event.event == "rejected" else None
