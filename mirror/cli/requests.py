"""`mirror requests`: the requests that options select."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from mirror.cli.completion import complete_id, complete_status
from mirror.cli.listing import fitting, is_narrow, listing_options, select, shows_environment
from mirror.cli.log import notify
from mirror.cli.options import (
    TIME,
    environment_filter,
    now,
    open_mirror,
    reading_options,
    region_option,
)
from mirror.errors import UsageError
from mirror.text import format_duration

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mirror.cli.output import Column
    from mirror.queries.results import ReleaseRequest

_WIDE = 120
"""Width of a terminal, without environments, from which on the table has more columns."""

_MAX_IDS = 10_000


@click.command(epilog="Example: mirror requests --status pending --until 7d --sort requested_at")
@click.option(
    "--status",
    metavar="STATUS",
    shell_complete=complete_status,
    help="Only those with this status.",
)
@click.option("--number", metavar="NUMBER", help="Only those of this phone number.")
@region_option
@click.option(
    "--id",
    "ids",
    metavar="ID",
    shell_complete=complete_id,
    multiple=True,
    help="Only the one with this id, or a unique beginning of it; may be repeated.",
)
@click.option("--since", type=TIME, help="Only those submitted at this time or later.")
@click.option("--until", type=TIME, help="Only those submitted before this time.")
@click.option("--as-of", type=TIME, help="As the mirror knew them at this time.")
@click.option("--missing", is_flag=True, help="Those that are no longer in the list, instead.")
@listing_options("ReleaseRequest")
@reading_options
def requests(
    ids: tuple[str, ...],
    limit: int | None,
    sort: str | None,
    columns: list[str] | None,
    environment: str | None,
    output_format: str,
    database: str | None,
    config_file: str | None,
    **filters: Any,
) -> None:
    """Show the release requests, newest first.

    TIME is 2024-01-31, 2024-01-31T14:30:00Z, or a time ago: 24h, 7d. Without an offset it is UTC.
    """
    from mirror.cli import output
    from mirror.cli.queries import explain_numbers, explain_renumbered
    from mirror.queries import empty, helpers
    from mirror.queries.lookup import find_number, find_renumbered
    from mirror.queries.results import ReleaseRequest

    environment = environment_filter(environment)
    number, region = filters["number"], filters["region"]
    with open_mirror(database, config_file) as connection:
        matches = [] if number is None else find_number(connection, number, region)
        known, unknown = _find(connection, ids, environment)
        selection = {"environment": environment, "ids": known if ids else None, **filters}
        others = {name: filters[name] for name in filters.keys() - {"number", "region"}}
        rows, message = select(
            partial(helpers.release_requests, connection, sort=sort, **selection),
            limit,
            # All versions are read to count those of a time.
            None if filters["as_of"] else partial(helpers.count_requests, connection, **selection),
            partial(empty.no_requests, connection, environment=environment, **others),
        )
        several = shows_environment(connection, environment)
        renumbered = [] if rows else find_renumbered(connection, matches, environment)
    output.write_rows(
        rows,
        ReleaseRequest,
        output_format,
        sys.stdout,
        columns=_columns(
            rows, filters["as_of"] or now(), missing=filters["missing"], several=several
        ),
        only=columns,
    )
    for reason in unknown:
        notify(reason)
    is_cut = bool(rows and message)
    for request_id in [] if is_cut else sorted(set(known) - {row.id for row in rows}):
        notify(f"the options leave out {request_id!r}, which `mirror show` shows")
    if message:
        notify(message)
    if number is not None and (rows or not (message or ids)):
        selected = " that these options select" if any(others.values()) else ""
        scope = f" in {environment!r}" if environment else ""
        explain_numbers(number, region, matches, rows, selected + scope)
        explain_renumbered(renumbered)


def _find(
    connection: Connection, texts: Sequence[str], environment: str | None
) -> tuple[list[str], list[str]]:
    """Return the ids that texts mean, and what to say of those that are not known.

    Raises:
        UsageError: a text is the beginning of several ids, or there are too many texts.
    """
    from mirror.queries.details import UnknownRequest, find_request

    if len(texts) > _MAX_IDS:
        raise UsageError(f"--id is given more than {_MAX_IDS:,} times", hint="use SQL for so many")
    known, unknown = [], []
    for text in texts:
        try:
            known.append(find_request(connection, text, environment=environment)[0])
        except UnknownRequest as error:
            unknown += [str(error), *error.details]
    return known, unknown


def _columns(
    rows: Sequence[ReleaseRequest], at: datetime, *, missing: bool, several: bool
) -> dict[str, Column]:
    """Return the columns of the table that fit the terminal and have content.

    Args:
        rows: of the table.
        at: the time of their state.
        missing: whether they are those that are no longer listed.
        several: whether there are several environments.
    """
    from mirror.cli import output

    names = ["environment", *(row.environment for row in rows)] if several else []
    room = shutil.get_terminal_size().columns - max(map(len, names), default=0)
    is_wide = room >= _WIDE
    columns: dict[str, Column] = {
        "request": lambda row: output.abbreviate_id(row.id),
        "requested (UTC)": lambda row: row.requested_at,
        "requested": lambda row: row.requested_at.date(),
        "number": lambda row: row.phone_number,
        "status": lambda row: row.status,
        "resolved (UTC)": lambda row: row.resolved_at,
        "open": lambda row: _open_for(row, at),
        "missing since (UTC)": lambda row: row.missing_since,
        "missing since": lambda row: row.missing_since and row.missing_since.date(),
        "environment": lambda row: row.environment,
        "reason": lambda row: _cut(row.reason),
        "rejection reason": lambda row: _cut(row.rejection_reason),
        "reasons": _reasons,
    }
    hidden = {"requested", "missing since", "reasons"}
    if not is_wide:
        hidden = {"requested (UTC)", "missing since (UTC)", "resolved (UTC)"}
        hidden |= {"reason", "rejection reason"}
    if is_narrow():
        hidden |= {"request", "open"}
    if not missing:
        hidden |= {"missing since", "missing since (UTC)"}
    if not several:
        hidden.add("environment")
    shown = {name: column for name, column in columns.items() if name not in hidden}
    reasons = ["rejection reason", "reason", "reasons"]
    optional = [*reasons, "open"] if several or missing else ["open", *reasons]
    return fitting(shown, rows, optional=[*optional, "request", "requested"])


def _open_for(row: ReleaseRequest, at: datetime) -> str | None:
    """Return how long a request took, or has been pending; None if that is unknown."""
    end = row.resolved_at or (at if row.status == "pending" and not row.missing_since else None)
    return None if end is None else format_duration((end - row.requested_at).total_seconds())


def _reasons(row: ReleaseRequest) -> object:
    """Return the customer's reason, and on a line of its own that of the rejection."""
    from mirror.cli import output

    if row.rejection_reason is None:
        return _cut(row.reason)
    rejected = f"rejected: {row.rejection_reason}"
    return output.Lines([row.reason, rejected], most=1) if row.reason else _cut(rejected)


def _cut(text: str | None) -> object:
    """Return a text as a cell of at most two lines: `mirror show` has it in full."""
    from mirror.cli import output

    return output.Lines([text], most=2) if text else None
