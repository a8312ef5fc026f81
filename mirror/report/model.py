"""The content of the report, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from mirror.queries.results import Change, HistoryEvent, Limited, PhoneNumber, ReleaseRequest
from mirror.queries.status import EnvironmentStatus
from mirror.report.period import Period


@dataclass(frozen=True, slots=True)
class Counts:
    """The events of a period, counted.

    Attributes:
        requested, approved, rejected, cancelled: number of such events.
    """

    requested: int
    approved: int
    rejected: int
    cancelled: int

    @property
    def resolved(self) -> int:
        """Number of approvals, rejections and cancellations."""
        return self.approved + self.rejected + self.cancelled

    @property
    def approval_rate(self) -> float | None:
        """Percentage of approvals among approvals and rejections; None if there are neither."""
        decided = self.approved + self.rejected
        return 100 * self.approved / decided if decided else None


@dataclass(frozen=True, slots=True)
class Undated:
    """Resolutions without a reported time.

    Attributes:
        observed: those counted in a period because a sync saw them then; they happened after the
            pull before.
        unknown: those counted in no period, because the mirror first saw the request resolved, but
            which may have happened in this one.
    """

    observed: int
    unknown: Counts


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours from request to resolution, of the reviews that ended in a period.

    Attributes:
        requests: number of reviews whose end upstream reported; of all others at most bounds are
            known, and they are excluded.
        median: the median, or None if there are no such reviews.
        percentile_90: likewise the 90th percentile.
    """

    requests: int
    median: float | None
    percentile_90: float | None


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason for rejections.

    Attributes:
        reason: as sent by upstream, or None.
        requests: number of requests rejected for it.
    """

    reason: str | None
    requests: int


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """The key figures of a period.

    Attributes:
        at: end of the period, or now if it has not ended (UTC): the time to which `open`,
            `oldest_open`, `missing` and `quarantined` refer.
        open: requests that were neither resolved nor missing.
        oldest_open: when the oldest of these was submitted (UTC), or None if there were none.
        counts: events of the period.
        undated: resolutions that have no reported time.
        hours: hours to resolve of the reviews that ended in it.
        released: phone numbers released in it.
        missing: requests that were no longer in the list.
        quarantined: entries of the list that could not be understood.
    """

    at: datetime
    open: int
    oldest_open: datetime | None
    counts: Counts
    undated: Undated
    hours: Hours
    released: int
    missing: int
    quarantined: int

    @property
    def approval_rates(self) -> tuple[float, float] | None:
        """The lowest and the highest approval rate that the resolutions of unknown time allow.

        None if no approval or rejection has a time.
        """
        counts, unknown = self.counts, self.undated.unknown
        lowest = replace(counts, rejected=counts.rejected + unknown.rejected).approval_rate
        highest = replace(counts, approved=counts.approved + unknown.approved).approval_rate
        if counts.approval_rate is None or lowest is None or highest is None:
            return None
        return lowest, highest


@dataclass(frozen=True, slots=True)
class FirstPull:
    """The first complete pull of an environment.

    Attributes:
        environment: name of the environment.
        at: its start (UTC), the earliest time at which the mirror saw what it holds.
        saw_requests: whether the environment has requests that were submitted before it.
    """

    environment: str
    at: datetime
    saw_requests: bool


@dataclass(frozen=True, slots=True)
class OpenCount:
    """The number of open requests at the end of a day (UTC), or now for today."""

    day: date
    open: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """A week, or a longer part, of the period.

    Attributes:
        period: its days.
        open: open requests at its end.
        counts: events in it.
        hours: hours to resolve of the reviews that ended in it.
    """

    period: Period
    open: int
    counts: Counts
    hours: Hours


@dataclass(frozen=True, slots=True)
class Timeline:
    """The last events of a phone number, oldest first."""

    number: PhoneNumber
    events: Limited[HistoryEvent]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the report shows.

    Attributes:
        made_at: when it was made (UTC).
        database: URL of the mirror, without password.
        environment: the environment of the report, or None for all.
        environments: status of each environment of the report.
        first_pulls: first complete pulls of these environments, except those without one.
        first_pull: the one from which on the mirror knows all of these environments, or None.
        period: the period of the report.
        is_current: whether the period has not ended yet.
        figures: key figures of the period.
        figures_before: key figures of the period before it, or None if it ended before the first
            complete pull. If it began before that, only those of a time are known.
        unit: length of a bucket, such as "week".
        buckets: the period from the first request on, in parts; empty without requests.
        open_over_time: open requests at the end of each day from the first request on; of each
            bucket, if there are too many days.
        reasons: reasons of the rejections in the period.
        open: requests that were open at its end, oldest first.
        changes: changes that syncs saw in it, last first.
        numbers: numbers with more than one request.
    """

    made_at: datetime
    database: str
    environment: str | None
    environments: list[EnvironmentStatus]
    first_pulls: Sequence[FirstPull]
    first_pull: FirstPull | None
    period: Period
    is_current: bool
    figures: KeyFigures
    figures_before: KeyFigures | None
    unit: str
    buckets: list[Bucket]
    open_over_time: list[OpenCount]
    reasons: Limited[Reason]
    open: Limited[ReleaseRequest]
    changes: Limited[Change]
    numbers: Limited[Timeline]

    @property
    def other(self) -> int:
        """Number of requests in the list with an undocumented status."""
        return sum(status.other for status in self.environments)

    def is_known(self, at: datetime) -> bool:
        """Return whether a time (UTC) is not before the first complete pull."""
        return self.first_pull is not None and self.first_pull.at <= at
