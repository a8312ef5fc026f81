"""All that is known of a single request, found by its id or the beginning of it."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from dataclasses import fields, replace
from itertools import pairwise

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.arguments import check_type, storable
from mirror.db.models import quarantined_records, release_requests
from mirror.db.views import versions as versions_view
from mirror.errors import UsageError
from mirror.queries import empty
from mirror.queries.helpers import QUARANTINE_ORDER
from mirror.queries.results import (
    FieldChange,
    QuarantinedRecord,
    ReleaseRequest,
    RequestDetails,
    RequestVersion,
)
from mirror.queries.select import as_text, check_connection, fetch, in_environment, select_as

_ELLIPSES = ("…", "...")
_LAST = "\U0010ffff"
"""No text that begins with a prefix is greater than the prefix and this."""

_MAX_LISTED = 10
_MIN_ALIKE = 4
"""Characters at the beginning that a suggested id has in common with what was typed."""

_COLUMNS = [field.name for field in fields(RequestVersion) if field.name != "changes"]
_KEY = {"id", "version", "valid_from", "valid_to", "sync_run_id", "environment"}
"""Columns of a version that are not compared."""

_Found = list[tuple[str, str]]
"""Ids and their environments."""


class UnknownRequest(UsageError):
    """There is no request with an id, or with its beginning."""


def request_details(
    connection: Connection, request_id: str, *, environment: str | None = None
) -> RequestDetails:
    """Return a request with its versions and its quarantine.

    Args:
        connection: to the mirror's database.
        request_id: its id, or a beginning of it that no other one has.
        environment: only in this environment; None for all.

    Raises:
        UsageError: no request has this id, or several do.
    """
    request_id, environment = find_request(connection, request_id, environment=environment)
    current = release_requests.c
    requests = fetch(
        connection,
        ReleaseRequest,
        select_as(ReleaseRequest, release_requests),
        [current.id == request_id, current.environment == environment],
    )
    invalid = quarantined_records.c
    return RequestDetails(
        request_id,
        environment,
        requests[0] if requests else None,
        _versions(connection, request_id) if requests else [],
        fetch(
            connection,
            QuarantinedRecord,
            select_as(QuarantinedRecord, quarantined_records).order_by(*QUARANTINE_ORDER),
            [invalid.request_id == request_id, invalid.environment == environment],
        ),
    )


def find_request(
    connection: Connection, text: str, *, environment: str | None = None
) -> tuple[str, str]:
    """Return the id and the environment of the request that a text means.

    Args:
        connection: to the mirror's database.
        text: its id, or a beginning of it that no other one has, with or without an ellipsis.
        environment: only in this environment; None for all.

    Raises:
        UsageError: there is no such request, or there are several.
    """
    check_connection(connection)
    check_type("request_id", text, str)
    text = storable(text)
    if found := _select_ids(connection, environment, text):
        if len(found) == 1:
            return found[0]
        raise UsageError(
            f"several environments have a record with the id {text!r}",
            hint=f"name one with --environment: {_listed(repr(name) for _, name in found)}",
        )
    start = text
    for ellipsis in _ELLIPSES:
        start = start.removesuffix(ellipsis)
    found = _select_ids(connection, environment, start, prefix=True) if start else []
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"the ids of several requests begin with {start!r}",
            hint="write more of it",
            details=_described(connection, found),
        )
    raise _unknown(connection, text, start, environment)


def _select_ids(
    connection: Connection, environment: str | None, text: str, *, prefix: bool = False
) -> _Found:
    """Return the ids that are a text, or begin with it, in order; a few more than are listed.

    The range of a prefix is found by index.
    """

    def select(table: sa.Table, column: sa.Column[str]) -> sa.Select[tuple[str, str]]:
        is_wanted = sa.and_(column >= text, column < text + _LAST) if prefix else column == text
        return (
            sa.select(column.label("id"), table.c.environment)
            .where(is_wanted, *in_environment(table.c, environment))
            .distinct()
            .order_by(column, table.c.environment)
            .limit(_MAX_LISTED + 1)
        )

    found: set[tuple[str, str]] = set()
    for table, column in (
        (release_requests, release_requests.c.id),
        (quarantined_records, quarantined_records.c.request_id),
    ):
        found.update((row.id, row.environment) for row in connection.execute(select(table, column)))
    return sorted(found)


def _unknown(
    connection: Connection, text: str, start: str, environment: str | None
) -> UnknownRequest:
    """Say that there is no such request, and which ids begin almost as it does."""
    if reason := empty.no_environment(connection, environment):
        return UnknownRequest(reason)
    scope = f" in {environment!r}" if environment else ""
    message = f"there is no request {text!r}{scope}"

    def beginning_alike(length: int) -> _Found:
        return _select_ids(connection, environment, start[:length], prefix=True)

    # If no id begins with some characters, none begins with more: few beginnings are tried.
    lengths = range(_MIN_ALIKE, len(start))
    if alike := bisect(lengths, 0, key=lambda length: not beginning_alike(length)):
        found = beginning_alike(lengths[alike - 1])
        if len(found) == 1:
            return UnknownRequest(message, hint=f"did you mean {found[0][0]}?")
        details = _described(connection, found)
        return UnknownRequest(message, hint="did you mean one of these?", details=details)
    command = "history` takes a phone number" if text.startswith("+") else "requests` lists them"
    return UnknownRequest(message, hint=f"`mirror {command}")


def _described(connection: Connection, found: _Found) -> list[str]:
    """Return a line for each of the first requests: its id, number, status and environment."""
    columns = release_requests.c
    shown = found[:_MAX_LISTED]
    query = sa.select(columns.id, columns.phone_number, columns.status).where(
        columns.id.in_([request_id for request_id, _ in shown])
    )
    known = {row.id: (row.phone_number, row.status) for row in connection.execute(query)}
    several = len({environment for _, environment in shown}) > 1
    lines = [
        (request_id, *known.get(request_id, ("in quarantine",)), environment if several else "")
        for request_id, environment in shown
    ]
    width = max(len(request_id) for request_id, _ in shown)
    texts = ["  ".join((line[0].ljust(width), *line[1:])).rstrip() for line in lines]
    return [*texts, *(["…"] if len(found) > _MAX_LISTED else [])]


def _listed(names: Iterable[str]) -> str:
    """List the first names, and say if there are more."""
    listed = list(names)
    return ", ".join([*listed[:_MAX_LISTED], *(["…"] if len(listed) > _MAX_LISTED else [])])


def _versions(connection: Connection, request_id: str) -> list[RequestVersion]:
    """Return the versions of a request, each with what changed in it."""
    view = versions_view.c
    query = (
        sa.select(*(as_text(view[name]) for name in _COLUMNS))
        .where(view.id == request_id)
        .order_by(view.version)
    )
    versions = [RequestVersion(*row) for row in connection.execute(query)]
    return versions[:1] + [
        replace(version, changes=_changes(before, version))
        for before, version in pairwise(versions)
    ]


def _changes(before: RequestVersion, version: RequestVersion) -> tuple[FieldChange, ...]:
    return tuple(
        FieldChange(name, old, new)
        for name in _COLUMNS
        if name not in _KEY
        if (old := getattr(before, name)) != (new := getattr(version, name))
    )
