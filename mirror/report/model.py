"""What the report tells, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from mirror.queries.results import Change, HistoryEvent, Limited, PhoneNumber, ReleaseRequest
from mirror.queries.status import EnvironmentStatus
from mirror.report.period import Period
from mirror.report.statistics import Counts, Hours, Reason


@dataclass(frozen=True, slots=True)
class Figures:
    """The key figures of a period.

    Attributes:
        at: when it ended (UTC), or now, if it has not ended: what is open, missing or quarantined
            was so then.
        open: requests that were neither resolved nor missing.
        oldest_open: when the oldest of these was submitted (UTC), or None if there were none.
        counts: requests that were submitted, approved, rejected and cancelled in the period.
        hours: how long the reviews took that ended in it.
        released: phone numbers that were released in it.
        missing: requests that were no longer in the list.
        quarantined: entries of the list that could not be understood.
    """

    at: datetime
    open: int
    oldest_open: datetime | None
    counts: Counts
    hours: Hours
    released: int
    missing: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class OpenThen:
    """How many requests were open at the end of a day.

    Attributes:
        day: which day (UTC); of today, it is now.
        open: how many.
    """

    day: date
    open: int


@dataclass(frozen=True, slots=True)
class Step:
    """What happened in a week, or a longer part, of the period.

    Attributes:
        period: its days.
        open: requests that were open at its end.
        counts: requests that were submitted, approved, rejected and cancelled.
        hours: how long the reviews took.
    """

    period: Period
    open: int
    counts: Counts
    hours: Hours


@dataclass(frozen=True, slots=True)
class TimeLine:
    """What happened to a phone number.

    Attributes:
        number: which one.
        events: the last ones, oldest first.
    """

    number: PhoneNumber
    events: Limited[HistoryEvent]


@dataclass(frozen=True, slots=True)
class Report:
    """All that the report tells.

    Attributes:
        made_at: when it was made (UTC).
        database: URL of the mirror, without a password.
        environment: the one it is about, or None for all.
        environments: how fresh the mirror is of each of them.
        period: the one it is about.
        is_current: whether the period has not ended yet.
        figures, figures_before: of the period, and of the one before it.
        unit: what a step is, such as "week".
        steps: what happened in each, from the first request on; none without requests.
        open_over_time: how many requests were open at the end of each day from the first request
            on; of each step, if these would be too many days.
        reasons: why requests were rejected in the period.
        open: the requests that were open at its end, the oldest first.
        changes: the last that syncs saw in it.
        numbers: those asked for more than once.
    """

    made_at: datetime
    database: str
    environment: str | None
    environments: list[EnvironmentStatus]
    period: Period
    is_current: bool
    figures: Figures
    figures_before: Figures
    unit: str
    steps: list[Step]
    open_over_time: list[OpenThen]
    reasons: Limited[Reason]
    open: Limited[ReleaseRequest]
    changes: Limited[Change]
    numbers: Limited[TimeLine]

    @property
    def other(self) -> int:
        """How many requests of the list have a status that is not documented."""
        return sum(one.other for one in self.environments)
