"""What the query helpers answer with: rows of the tables and views, with aware UTC times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Generic, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Limited(Generic[_T]):
    """The first rows of an answer.

    Attributes:
        rows: those.
        total: how many there are in all.
    """

    rows: list[_T]
    total: int

    @property
    def left_out(self) -> int:
        """How many rows there are besides."""
        return self.total - len(self.rows)


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A release request as it is now, or as it was at a time.

    Attributes:
        id: its id, as upstream gave it.
        environment: label of the token whose list holds it.
        phone_number: the number, as upstream gave it; documented as E.164.
        phone_number_id: upstream id of the number's record.
        status: as upstream gave it; documented: pending, approved, rejected, cancelled.
        reason: why the customer gives the number back.
        rejection_reason: why the request was denied.
        requested_at: when it was submitted (UTC).
        resolved_at: when it left pending (UTC), if upstream said so.
        missing_since: since when it is no longer in the list (UTC), or None.
        first_seen_at: when the mirror first saw it (UTC).
        valid_from: when the mirror first saw this version (UTC).
        extra: JSON text of the fields that mirror does not know, or None.
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
    """An event in the life of a phone number.

    Attributes:
        occurred_at: when it happened (UTC), as well as is known.
        event: "requested"; the status entered ("approved", …); "reopened", "vanished", "returned".
        environment, phone_number, phone_number_id, request_id: whose event it is.
        status, reason, rejection_reason: of the request after the event.
        time_source: "reported" by upstream, or "observed" by a sync.
        observed_at: when the pull began that first saw it (UTC).
    """

    occurred_at: datetime
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


@dataclass(frozen=True, slots=True)
class Change:
    """A change that a sync saw in a request known before.

    Attributes:
        changed_at: when the pull began that first saw it (UTC).
        kind: "resolved", "reopened", "corrected", "vanished" or "returned".
        environment, phone_number, request_id: whose change it is.
        old_status, new_status, old_resolved_at, new_resolved_at: before and after.
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
    """A phone number for which there were release requests.

    Attributes:
        environment, phone_number: which one.
        phone_number_id: upstream id of the number's record in its last request.
        requests: how many requests there were.
        last_request_id, last_status: the one submitted last.
        first_requested_at, last_requested_at: when they were submitted (UTC).
        last_resolved_at: the latest that upstream reported (UTC), or None.
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
    """How long the review of a resolved request took.

    Attributes:
        id, environment, phone_number, status: which request, and what became of it.
        requested_at: when it was submitted (UTC).
        resolved_at: when it got its status (UTC), as well as is known.
        hours_to_resolve: hours between the two.
        time_source: "reported" by upstream, or "observed" by a sync: then it took less.
    """

    id: str
    environment: str
    phone_number: str
    status: str
    requested_at: datetime
    resolved_at: datetime
    hours_to_resolve: float
    time_source: str


@dataclass(frozen=True, slots=True)
class Day:
    """What happened on a day (UTC) in an environment.

    Attributes:
        environment, day: which one.
        requested, approved, rejected, cancelled: how many requests were.
        open_at_end: how many were neither resolved nor missing when it ended; today: are now.
    """

    environment: str
    day: date
    requested: int
    approved: int
    rejected: int
    cancelled: int
    open_at_end: int


@dataclass(frozen=True, slots=True)
class QuarantinedRecord:
    """An entry of the list that could not be understood.

    Attributes:
        environment: label of the token whose list held it.
        request_id: the id of the request, if that much could be read.
        error: why it could not be understood.
        raw: its JSON, as it last came.
        resolved_at: when the pull began that no longer held it (UTC), or None while it occurs.
        first_run_id, last_run_id: the run that saw it first, and the last applied one that did.
        first_seen_at, last_seen_at: when those two pulls began (UTC).
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
class SyncRun:
    """A run of `mirror sync`, as it is on record; see the table `sync_runs` for the fields."""

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
