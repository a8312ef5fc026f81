"""The content of the report, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Generic, TypeVar

from mirror.queries.results import (
    Change,
    HistoryEvent,
    Limited,
    PhoneNumber,
    QuarantinedRecord,
    ReleaseRequest,
)
from mirror.report.period import Period

_T = TypeVar("_T")


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

    def __add__(self, other: Counts) -> Counts:
        """Return the events of both."""
        return Counts(
            self.requested + other.requested,
            self.approved + other.approved,
            self.rejected + other.rejected,
            self.cancelled + other.cancelled,
        )

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
        requests: number of rejections for it.
        share: percentage of all rejections of the period.
    """

    reason: str | None
    requests: int
    share: float


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
    def oldest_age(self) -> timedelta | None:
        """Age of the oldest open request, or None; never negative, whatever the clocks."""
        if self.oldest_open is None:
            return None
        return max(self.at - self.oldest_open, timedelta())

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
    """A day, a week or a longer part of the period.

    Attributes:
        period: its days.
        open: open requests at its end; now, if it is running.
        counts: events in it.
        hours: hours to resolve of the reviews that ended in it.
        is_running: whether it has not ended yet.
    """

    period: Period
    open: int
    counts: Counts
    hours: Hours
    is_running: bool


@dataclass(frozen=True, slots=True)
class AgeBin:
    """The open requests of an age.

    Attributes:
        since: the lowest age; zero for the first bin, which also has requests that a wrong clock
            says are yet to come.
        until: the lowest age of the next bin, or None for the last one.
        requests: number of requests.
    """

    since: timedelta
    until: timedelta | None
    requests: int


@dataclass(frozen=True, slots=True)
class Figure(Generic[_T]):
    """A large figure, and what it is compared with.

    Attributes:
        value: of the period, or None if there is none.
        before: of the period before, or None if there is none or it is not known: the period began
            (for a state: ended) before the first complete pull.
    """

    value: _T | None
    before: _T | None


@dataclass(frozen=True, slots=True)
class Headline:
    """The large figures of the report.

    Attributes:
        open: requests open at the end of the period, or now.
        oldest_open: age of the oldest of these.
        median_hours: median of the hours to resolve, of the reviews that ended at a reported time.
        approval_rate: the lowest and the highest approval rate (percent) that the resolutions of
            unknown time allow; equal, if there are none. A true range has nothing to compare.
    """

    open: Figure[int]
    oldest_open: Figure[timedelta]
    median_hours: Figure[float]
    approval_rate: Figure[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Overdue:
    """Open requests that are older than usual.

    Attributes:
        hours: the age from which on a request counts: the 90th percentile of the hours of all
            reviews that ended before the end of the period, at a reported time.
        reviews: number of these reviews.
        requests: the first of the requests, oldest first.
    """

    hours: float
    reviews: int
    requests: Limited[ReleaseRequest]


@dataclass(frozen=True, slots=True)
class RepeatedRejection:
    """A phone number that was rejected again, for the same reason.

    Attributes:
        environment, phone_number: the number.
        rejection_reason: the reason, as sent by upstream.
        rejections: how often the number was rejected for it up to the end of the period.
        last_rejected_at: the last time (UTC); it is in the period.
    """

    environment: str
    phone_number: str
    rejection_reason: str
    rejections: int
    last_rejected_at: datetime


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """An environment: its figures of the period, and how fresh its data is.

    Attributes:
        environment: its name.
        figures: key figures of the period.
        open_over_time: open requests at the end of each day, for a sparkline; if there are too many
            days, as for the report.
        first_pull: its first complete pull, or None.
        complete_at: start of the last complete sync (UTC), or None.
        age: seconds since then, or None; negative if a clock is wrong.
        is_stale: whether it has no complete sync, or the last one is older than its `max_age` (a
            day, if it has none) or in the future.
        outcome: outcome of the last run, or None if there was none.
        failures: number of runs that failed after the last complete one.
        error: error of the last of these, or None.
        other: number of requests with an undocumented status.
    """

    environment: str
    figures: KeyFigures
    open_over_time: Sequence[OpenCount]
    first_pull: FirstPull | None
    complete_at: datetime | None
    age: float | None
    is_stale: bool
    outcome: str | None
    failures: int
    error: str | None
    other: int

    @property
    def needs_attention(self) -> bool:
        """Whether it is stale, or its last runs failed."""
        return self.is_stale or self.failures > 0


@dataclass(frozen=True, slots=True)
class Attention:
    """What needs somebody; whatever is None or empty does not.

    Attributes:
        overdue: requests open at the end of the period that are older than usual, or None if there
            are none, or too few reviews have ended to know what is usual.
        rejected_again: numbers rejected in the period for a reason for which they had been rejected
            before, and not approved since; last rejection first.
        environments: environments that are stale now, or whose last runs failed.
        missing: requests that went missing from the list in the period and still were at its end,
            last missed first; `KeyFigures.missing` counts earlier ones too.
        quarantined: entries that could not be understood then, first seen last first.
    """

    overdue: Overdue | None
    rejected_again: Limited[RepeatedRejection]
    environments: Sequence[EnvironmentRow]
    missing: Limited[ReleaseRequest]
    quarantined: Limited[QuarantinedRecord]

    def __bool__(self) -> bool:
        """Return whether anything needs somebody."""
        limited = (self.rejected_again, self.missing, self.quarantined)
        return bool(self.overdue or self.environments or any(part.total for part in limited))


@dataclass(frozen=True, slots=True)
class SyncChanges:
    """The changes that one sync saw in known requests, counted.

    Attributes:
        changed_at: its start (UTC).
        environment: the environment.
        sync_run_id: the run.
        resolved, reopened, corrected, vanished, returned: number of such changes.
    """

    changed_at: datetime
    environment: str
    sync_run_id: int
    resolved: int
    reopened: int
    corrected: int
    vanished: int
    returned: int

    @property
    def surprises(self) -> int:
        """Number of changes other than "resolved"."""
        return self.reopened + self.corrected + self.vanished + self.returned


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
        environment: the environment of the report, or None for all.
        period: the period of the report.
        is_current: whether the period has not ended yet.
        first_pull: the complete pull from which on the mirror knows all environments, or None.
        attention: what needs somebody.
        figures: key figures of the period, over all environments.
        figures_before: key figures of the period before it, or None if it ended before the first
            complete pull. If it began before that, only those of a time are known.
        environments: the environments of the report, most open requests first.
        unit: length of a bucket: "day", "week", "month", "year", "decade" or "century".
        buckets: the period from the first request on, in parts; empty without requests.
        open_over_time: open requests at the end of each day from the first request on. If there are
            too many days: of the first, the last, and the day of each bucket on which most were.
        reasons: reasons of the rejections in the period, most frequent first.
        open: requests that were open at its end, oldest first.
        ages: the same requests, all of them, by age.
        syncs: syncs that saw changes in it, last first.
        surprises: changes in it other than "resolved", last first.
        numbers: numbers with more than one request.
    """

    made_at: datetime
    environment: str | None
    period: Period
    is_current: bool
    first_pull: FirstPull | None
    attention: Attention
    figures: KeyFigures
    figures_before: KeyFigures | None
    environments: Sequence[EnvironmentRow]
    unit: str
    buckets: Sequence[Bucket]
    open_over_time: Sequence[OpenCount]
    reasons: Limited[Reason]
    open: Limited[ReleaseRequest]
    ages: Sequence[AgeBin]
    syncs: Limited[SyncChanges]
    surprises: Limited[Change]
    numbers: Limited[Timeline]

    @property
    def headline(self) -> Headline:
        """The large figures.

        A state is compared if the mirror knew it, events if it knew all of them.
        """
        state = self.figures_before
        events = state if self.is_known(self.period.before.start) else None

        def figure(before: KeyFigures | None, get: Callable[[KeyFigures], _T | None]) -> Figure[_T]:
            return Figure(get(self.figures), None if before is None else get(before))

        return Headline(
            open=figure(state, lambda figures: figures.open),
            oldest_open=figure(state, lambda figures: figures.oldest_age),
            median_hours=figure(events, lambda figures: figures.hours.median),
            approval_rate=figure(events, lambda figures: figures.approval_rates),
        )

    @property
    def complete_at(self) -> datetime | None:
        """Start of the last complete sync (UTC) of the environment whose data is oldest."""
        times = (row.complete_at for row in self.environments)
        return min((time for time in times if time is not None), default=None)

    @property
    def last_complete_at(self) -> datetime | None:
        """The same of the environment whose data is newest."""
        times = (row.complete_at for row in self.environments)
        return max((time for time in times if time is not None), default=None)

    @property
    def other(self) -> int:
        """Number of requests in the list with an undocumented status."""
        return sum(row.other for row in self.environments)

    def is_known(self, at: datetime) -> bool:
        """Return whether a time (UTC) is not before the first complete pull."""
        return self.first_pull is not None and self.first_pull.at <= at
