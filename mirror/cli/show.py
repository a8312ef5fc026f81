"""`mirror show`: all about one request."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

import click

from mirror.cli.completion import complete_id
from mirror.cli.log import notify
from mirror.cli.options import environment_filter, open_mirror, reading_options
from mirror.text import plural

if TYPE_CHECKING:
    from mirror.queries.results import (
        FieldChange,
        QuarantinedRecord,
        RequestDetails,
        RequestVersion,
    )


@click.command(epilog="Example: mirror show 343e57eb-3465…")
@click.argument("request_id", metavar="ID", shell_complete=complete_id)
@reading_options
def show(
    request_id: str,
    environment: str | None,
    output_format: str,
    database: str | None,
    config_file: str | None,
) -> None:
    """Show the request ID, its versions, and its quarantine.

    ID may be the beginning of an id, if no other one begins so. Each version has what changed in
    it. json is one object with the request, its versions and its quarantine; csv, spreadsheet and
    tab-separated output have a row for each version.
    """
    from mirror.cli import output
    from mirror.cli.pager import paged
    from mirror.queries.details import request_details
    from mirror.queries.results import RequestVersion

    with open_mirror(database, config_file) as connection:
        details = request_details(
            connection, request_id, environment=environment_filter(environment)
        )
    if output_format == "table" and sys.stdout.isatty():
        with paged(sys.stdout) as out:
            _render_details(details, out)
    elif output_format == "json":
        with paged(sys.stdout) as out:
            out.write(output.json_text(output.json_object(details)) + "\n")
    else:
        output.write_rows(details.versions, RequestVersion, output_format, sys.stdout)
        if details.quarantine:
            records = plural(len(details.quarantine), "invalid record")
            notify(f"{records} of this request: `mirror quarantine` and --format json show them")


def _render_details(details: RequestDetails, out: TextIO) -> None:
    """Draw a request, its versions and its quarantine."""
    from mirror.cli import output

    request = details.request
    values: dict[str, object] = {"request": details.id, "environment": details.environment}
    if request is not None:
        values |= {
            "number": request.phone_number,
            "status": request.status,
            "requested": request.requested_at,
            "resolved": request.resolved_at,
            "missing since": request.missing_since,
            "first seen": request.first_seen_at,
            "reason": request.reason,
            "rejection reason": request.rejection_reason,
            "number id": request.phone_number_id,
            "extra": request.extra,
        }
    times = {
        name: f"{value:%Y-%m-%d %H:%M} UTC"
        for name, value in values.items()
        if isinstance(value, datetime)
    }
    output.render_fields(values | times, out)
    if details.versions:
        out.write("\n")
        output.render_table(
            [_version_cells(version) for version in details.versions],
            ("version", "since (UTC)", "run", "change"),
            out,
        )
    if details.quarantine:
        out.write("\n")
        output.render_table(
            [_quarantine_cells(record) for record in details.quarantine],
            ("first seen (UTC)", "quarantine", "why"),
            out,
        )


def _version_cells(version: RequestVersion) -> tuple[object, ...]:
    from mirror.cli import output

    changes: object = f"first seen, {version.status}"
    if version.version > 1:
        changes = output.Lines([_describe(change) for change in version.changes])
    return version.version, version.valid_from, version.sync_run_id, changes


def _describe(change: FieldChange) -> str:
    """Return a sentence on a change."""
    from mirror.cli import output

    if change.field == "missing_since" and change.old is None:
        return "no longer in the list"
    if change.field == "missing_since" and change.new is None:
        return "in the list again"
    old, new = (output.to_text(side) or "none" for side in (change.old, change.new))
    return f"{change.field}: {old} → {new}"


def _quarantine_cells(record: QuarantinedRecord) -> tuple[object, ...]:
    from mirror.cli import output

    state = output.StyledCell("in the list", "yellow")
    if record.resolved_at is not None:
        state = output.StyledCell(f"until {record.resolved_at:%Y-%m-%d %H:%M}", "")
    return record.first_seen_at, state, record.error
