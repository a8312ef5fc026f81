"""Results of the query helpers: rows of the tables and views, with aware UTC times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Generic, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Limited(Generic[_T]):
    """The first rows of a result.

    Attributes:
        rows: the first rows.
        total: number of rows without the limit.
    """

    rows: list[_T]
    total: int

    @property
    def omitted(self) -> int:
        """Number of rows beyond the limit."""
        return self.total - len(self.rows)


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A release request, now or as of a time.

    Attributes:
        id: as sent by upstream.
        environment: name of the environment whose list has it.
        phone_number: as sent by upstream; documented as E.164.
        phone_number_id: upstream id of the phone number.
        status: as sent by upstream; documented: pending, approved, rejected, cancelled.
        reason: why the customer releases the number.
        rejection_reason: why the request was rejected.
        requested_at: when it was submitted (UTC).
        resolved_at: when it left pending (UTC), as reported by upstream, or None.
        missing_since: when it was first missing from the list (UTC), or None.
        first_seen_at: when the mirror first saw it (UTC).
        valid_from: when the mirror first saw this version (UTC).
        extra: JSON text of the fields unknown to mirror, or None.
    """

    id: str
    environment: str
    phone_number: str
    phone_number_id: str | None
    status: str
    reason: str | None
    rejection_reason: str | None
    requested_at: datetime
    resolved_at: datetime | None
    missing_since: datetime | None
    first_seen_at: datetime
    valid_from: datetime
    extra: str | None


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """An event in the history of a phone number.

    Attributes:
        occurred_at: best known time of the event (UTC), or None if it is unknown.
        event: "requested"; the status entered ("approved", …); "reopened", "vanished", "returned".
        environment, phone_number, phone_number_id, request_id: the request concerned.
        status, reason, rejection_reason: fields of the request after the event.
        time_source: "reported" by upstream, "observed" by a sync, or "unknown".
        observed_at: when the sync started that first saw it (UTC).
        not_before: it happened between this time and `observed_at` (UTC); None if "reported".
    """

    occurred_at: datetime | None
    event: str
    environment: str
    phone_number: str
    phone_number_id: str | None
    request_id: str
    status: str
    reason: str | None
    rejection_reason: str | None
    time_source: str
    observed_at: datetime
    not_before: datetime | None


@dataclass(frozen=True, slots=True)
class Change:
    """A change that a sync saw in a known request.

    Attributes:
        changed_at: when the sync started that first saw it (UTC).
        kind: "resolved", "reopened", "corrected", "vanished" or "returned".
        environment, phone_number, request_id: the request concerned.
        old_status, new_status, old_resolved_at, new_resolved_at: values before and after.
        sync_run_id: the run that saw it.
    """

    changed_at: datetime
    kind: str
    environment: str
    phone_number: str
    request_id: str
    old_status: str
    new_status: str
    old_resolved_at: datetime | None
    new_resolved_at: datetime | None
    sync_run_id: int


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A phone number with release requests.

    Attributes:
        environment, phone_number: the key.
        phone_number_id: upstream id of the phone number in its last request.
        requests: number of requests.
        last_request_id, last_status: the request submitted last.
        first_requested_at, last_requested_at: first and last submission (UTC).
        last_resolved_at: latest resolution reported by upstream (UTC), or None.
        released: whether the last request was approved.
    """

    environment: str
    phone_number: str
    phone_number_id: str | None
    requests: int
    last_request_id: str
    last_status: str
    first_requested_at: datetime
    last_requested_at: datetime
    last_resolved_at: datetime | None
    released: bool


@dataclass(frozen=True, slots=True)
class Turnaround:
    """The duration of the review of a resolved request.

    Attributes:
        id, environment, phone_number, status: the request and its present status.
        requested_at: when it was submitted (UTC).
        resolved_at: best known time at which it got its status (UTC), or None if it is unknown.
        hours_to_resolve: hours between the two, or None.
        time_source: "reported" by upstream, "observed" by a sync (then an upper bound), or
            "unknown".
    """

    id: str
    environment: str
    phone_number: str
    status: str
    requested_at: datetime
    resolved_at: datetime | None
    hours_to_resolve: float | None
    time_source: str


@dataclass(frozen=True, slots=True)
class Day:
    """The counts of a day (UTC) in an environment.

    Attributes:
        environment, day: the key.
        requested, approved, rejected, cancelled: number of such events.
        open_at_end: requests neither resolved nor missing at the end of the day; now, if today.
        undated: requests of the environment that were resolved at an unknown time, which no other
            count but `requested` includes; the same on each day.
    """

    environment: str
    day: date
    requested: int
    approved: int
    rejected: int
    cancelled: int
    open_at_end: int
    undated: int


@dataclass(frozen=True, slots=True)
class QuarantinedRecord:
    """An entry of the list that could not be understood.

    Attributes:
        environment: name of the environment whose list had it.
        request_id: id of the request, or None if it could not be read.
        error: why it could not be understood.
        raw: its JSON, as last received.
        resolved_at: when the sync started that no longer saw it (UTC), or None while it occurs.
        first_run_id, last_run_id: the first run and the last applied run that saw it.
        first_seen_at, last_seen_at: start of those two runs (UTC).
    """

    environment: str
    request_id: str | None
    error: str
    raw: str
    first_seen_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None
    first_run_id: int
    last_run_id: int


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field whose value differs from that of the version before.

    Attributes:
        field: name of the column.
        old, new: its values.
    """

    field: str
    old: datetime | str | None
    new: datetime | str | None

    def __str__(self) -> str:
        """Return the name of the field, as in CSV."""
        return self.field


@dataclass(frozen=True, slots=True)
class RequestVersion:
    """A version of a request, past or current.

    Attributes:
        id: of the request.
        version: 1, 2, …, the oldest first.
        valid_from: when the mirror first saw this version (UTC).
        valid_to: when it first saw the next one (UTC), or None.
        sync_run_id: the run that first saw this version.
        environment, phone_number, phone_number_id, status, reason, rejection_reason, requested_at,
            resolved_at, missing_since, extra: as for `ReleaseRequest`, in this version.
        changes: the fields that differ from the version before; in CSV their names.
    """

    id: str
    version: int
    valid_from: datetime
    valid_to: datetime | None
    sync_run_id: int
    environment: str
    phone_number: str
    phone_number_id: str | None
    status: str
    reason: str | None
    rejection_reason: str | None
    requested_at: datetime
    resolved_at: datetime | None
    missing_since: datetime | None
    extra: str | None
    changes: tuple[FieldChange, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestDetails:
    """All that the mirror knows of a request.

    Attributes:
        id: as sent by upstream.
        environment: name of the environment whose list has it.
        request: its current version, or None if no record of it was ever valid.
        versions: all versions, the oldest first.
        quarantine: its invalid records, most recently first seen first, with those that no longer
            occur.
    """

    id: str
    environment: str
    request: ReleaseRequest | None
    versions: list[RequestVersion]
    quarantine: list[QuarantinedRecord]


@dataclass(frozen=True, slots=True)
class SyncRun:
    """A recorded run of `mirror sync`; the table `sync_runs` documents the fields."""

    id: int
    environment: str
    outcome: str
    started_at: datetime
    finished_at: datetime | None
    seconds: float | None
    fetched: int | None
    inserted: int | None
    updated: int | None
    unchanged: int | None
    missing: int | None
    returned: int | None
    quarantined: int | None
    newly_quarantined: int | None
    duplicates: int | None
    pages: int | None
    bytes: int | None
    error: str | None
    mirror_version: str
