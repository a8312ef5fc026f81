"""Oracle for statistics and the report.

`turnaround` and `daily` compute views from a `Memory`, in plain Python. `Oracle` computes the
statistics of a period in plain SQL, or in plain Python from all rows of a view.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise, takewhile
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db import views
from mirror.db.models import sync_runs
from mirror.queries import helpers
from mirror.queries.results import (
    Change,
    HistoryEvent,
    PhoneNumber,
    QuarantinedRecord,
    ReleaseRequest,
)
from mirror.report.model import (
    Bucket,
    Counts,
    Figure,
    Headline,
    Hours,
    KeyFigures,
    Reason,
    RepeatedRejection,
    SyncChanges,
    Undated,
)
from mirror.report.period import Period
from tests.support.oracle import Memory, State

VERDICTS = ("approved", "rejected", "cancelled")
MINUS, NOTHING = "\N{MINUS SIGN}", "\N{EN DASH}"
_MILLISECONDS_AN_HOUR = 3_600_000


def turnaround(memory: Memory) -> list[dict[str, Any]]:
    """Compute the view `release_request_turnaround`, without its environment."""
    rows = []
    for key, states in memory.states.items():
        now = states[-1]
        if now.resolved:
            entered = next(
                (
                    new.since
                    for old, new in reversed(list(pairwise(states)))
                    if old.status != new.status
                ),
                None,
            )
            reported = now.fields["resolved_at"]
            best = reported or entered
            took = best - now.fields["requested_at"] if best else None
            rows.append(
                {
                    "id": key,
                    "phone_number": now.fields["phone_number"],
                    "status": now.status,
                    "requested_at": now.fields["requested_at"],
                    "resolved_at": best,
                    "hours_to_resolve": None
                    if took is None
                    else took // timedelta(milliseconds=1) / _MILLISECONDS_AN_HOUR,
                    "time_source": "reported" if reported else "observed" if entered else "unknown",
                }
            )
    return rows


def daily(memory: Memory, today: date) -> list[dict[str, Any]]:
    """Compute the view `release_requests_daily`, without its environment."""
    events = Counter(
        (event["event"], event["occurred_at"].date())
        for event in memory.history()
        if event["occurred_at"]
    )
    undated = sum(map(_is_undated, memory.states.values()))
    timelines = [_ordered(_transitions(states)) for states in memory.states.values()]
    first = min((timeline[0][0].date() for timeline in timelines), default=today)
    rows = []
    for day in (first + timedelta(days=number) for number in range((today - first).days + 1)):
        end = datetime.combine(day + timedelta(days=1), time(), UTC)
        rows.append(
            {
                "day": day,
                "open_at_end": sum(_is_open(timeline, end) for timeline in timelines),
                "undated": undated,
            }
            | {name: events[name, day] for name in ("requested", *VERDICTS)}
        )
    return rows


def _transitions(states: list[State]) -> Iterator[tuple[datetime, bool]]:
    """Return when a request opened and closed, in order of observation.

    The time is that reported by upstream, but at most that of the observation.
    """
    if not states:  # of another environment
        return
    yield min(states[-1].fields["requested_at"], states[0].first), not _is_undated(states)
    for place, state in enumerate(states):
        run = [state]
        for later in states[place + 1 :]:
            if later.status != state.status:
                break
            run.append(later)
        entered = not place or states[place - 1].status != state.status
        if place == 0 and state.status == "pending":
            continue
        reported = run[-1].fields["resolved_at"] if entered and state.status != "pending" else None
        if reported and any(
            old.status == state.status and old.fields["resolved_at"] == reported
            for old in states[:place]
        ):
            reported = None
        yield (
            min(reported or state.since, state.since),
            not state.gone and not run[-1].resolved,
        )


def _is_undated(states: list[State]) -> bool:
    """Return whether a request was resolved at an unknown time: before it was first seen."""
    first_period = list(takewhile(lambda state: state.status == states[0].status, states))
    return states[0].status in VERDICTS and first_period[-1].fields["resolved_at"] is None


def _ordered(transitions: Iterator[tuple[datetime, bool]]) -> list[tuple[datetime, bool]]:
    """Move each transition back to the next one, if that happened earlier."""
    ordered: list[tuple[datetime, bool]] = []
    for when, is_open in reversed(list(transitions)):
        ordered.insert(0, (min(when, ordered[0][0]) if ordered else when, is_open))
    return ordered


def _is_open(timeline: list[tuple[datetime, bool]], when: datetime) -> bool:
    """Return whether a request was open just before a time."""
    return [False, *(is_open for since, is_open in timeline if since < when)][-1]


_OURS = "(CAST(:environment AS text) IS NULL OR environment = :environment)"
_COUNTS = """SELECT event, count(*) FROM phone_number_history
WHERE occurred_at >= :start AND occurred_at < :end AND {ours} GROUP BY event"""
_OBSERVED = """SELECT count(*) FROM phone_number_history
WHERE time_source = 'observed' AND occurred_at >= :start AND occurred_at < :end
  AND event IN ('approved', 'rejected', 'cancelled') AND {ours}"""
_UNKNOWN = """SELECT event, count(*) FROM phone_number_history
WHERE time_source = 'unknown' AND not_before < :end
  AND NOT (observed_at < :start AND not_before <= observed_at) AND {ours} GROUP BY event"""
_HOURS = """SELECT count(*), min(CASE WHEN place * 2 >= total THEN hours END),
       min(CASE WHEN place * 10 >= total * 9 THEN hours END)
FROM (SELECT hours_to_resolve AS hours, row_number() OVER (ORDER BY hours_to_resolve) AS place,
             count(*) OVER () AS total
      FROM release_request_turnaround
      WHERE time_source = 'reported' AND status IN ('approved', 'rejected', 'cancelled') AND {ours}
        AND resolved_at >= :start AND resolved_at < :end) ranked"""
_RELEASED = """SELECT count(*) FROM (
  SELECT DISTINCT environment, phone_number FROM release_request_turnaround
  WHERE status = 'approved' AND resolved_at >= :start AND resolved_at < :end AND {ours}) numbers"""
_MISSING = """SELECT count(*) FROM release_request_versions
WHERE missing_since IS NOT NULL AND valid_from <= :at AND (valid_to IS NULL OR valid_to > :at)
  AND {ours}"""
_QUARANTINED = """SELECT count(*) FROM quarantined_records
WHERE first_seen_at <= :at AND (resolved_at IS NULL OR resolved_at > :at) AND {ours}"""
_OPEN_AT_END = """SELECT coalesce(sum(open_at_end), 0) FROM release_requests_daily
WHERE day = :last AND {ours}"""


@dataclass(frozen=True)
class Oracle:
    """Computes the statistics of a period.

    Attributes:
        connection: to the mirror.
        period: the period.
        environment: only this one; None for all.
        now: the time in place of the period's end, if it has not ended.
    """

    connection: Connection
    period: Period
    environment: str | None = None
    now: datetime | None = None

    @property
    def at(self) -> datetime:
        """The end of the period, or now."""
        return self.now or self.period.end

    @property
    def before(self) -> Oracle:
        """The oracle of the period before."""
        return Oracle(self.connection, self.period.before, self.environment)

    def select(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query with :start, :end, :last (the last day), :at, and the condition {ours}."""
        times = {"start": self.period.start, "end": self.period.end, "at": self.at}
        values: dict[str, Any] = {
            name: when.replace(tzinfo=None).isoformat(" ", "milliseconds")
            for name, when in times.items()
        }
        last = self.period.last if self.period.days else self.period.since
        values |= {"last": str(last), "environment": self.environment}
        text = sa.text(query.replace("{ours}", _OURS))
        wanted = {name: values[name] for name in text.compile().params}
        return [tuple(row) for row in self.connection.execute(text, wanted)]

    def count(self, query: str) -> int:
        """Run a query that counts."""
        ((count,),) = self.select(query)
        return int(count)

    def counts(self) -> Counts:
        """The events of the period."""
        events: dict[str, int] = dict(self.select(_COUNTS))
        return Counts(*(events.get(name, 0) for name in ("requested", *VERDICTS)))

    def undated(self) -> Undated:
        """The resolutions without a reported time."""
        unknown: dict[str, int] = dict(self.select(_UNKNOWN))
        return Undated(
            self.count(_OBSERVED), Counts(0, *(unknown.get(name, 0) for name in VERDICTS))
        )

    def known_from(self) -> datetime | None:
        """The time from which on the mirror knows all lists.

        The last of the first complete pulls; those that saw no earlier request do not count, but
        the first of all does.
        """
        is_ours = self.environment.__eq__ if self.environment else bool
        requested: dict[str, datetime] = {}
        for number in helpers.phone_numbers(self.connection):
            first = requested.get(number.environment, number.first_requested_at)
            requested[number.environment] = min(first, number.first_requested_at)
        pulls: dict[str, datetime] = {}
        runs = sa.select(sync_runs.c.environment, sync_runs.c.observed_at)
        for name, observed_at in self.connection.execute(runs):
            if is_ours(name) and observed_at:
                pulls[name] = min(observed_at, pulls.get(name, observed_at))
        seen = [at for name, at in pulls.items() if requested.get(name, at) < at]
        return max([min(pulls.values()), *seen]) if pulls else None

    def hours(self) -> Hours:
        """The hours to resolve."""
        return Hours(*self.select(_HOURS)[0])

    def released(self) -> int:
        """The number of phone numbers released."""
        return self.count(_RELEASED)

    def missing(self) -> int:
        """The number of requests missing at the end."""
        return self.count(_MISSING)

    def quarantined(self) -> int:
        """The number of entries in quarantine at the end."""
        return self.count(_QUARANTINED)

    def open_requests(self) -> list[ReleaseRequest]:
        """The requests open at the end; oldest first."""
        known = (
            request
            for missing in (False, True)
            for request in helpers.release_requests(self.connection, missing=missing)
        )
        states_of = self._states()
        were_open = [
            request
            for request in known
            if _is_open(_ordered(_transitions(states_of.get(request.id, []))), self.at)
        ]
        return sorted(were_open, key=lambda request: (request.requested_at, request.id))

    def _states(self) -> dict[str, list[State]]:
        """The successive states of each request."""
        names = ("status", "requested_at", "resolved_at")
        columns = views.versions.c
        query = sa.select(
            columns.id,
            *(columns[name] for name in names),
            columns.missing_since,
            columns.valid_from,
            columns.first_seen_at,
        ).order_by(columns.id, columns.valid_from)
        if self.environment is not None:
            query = query.where(columns.environment == self.environment)
        states: dict[str, list[State]] = {}
        for key, *values, missing_since, since, first in self.connection.execute(query):
            fields = dict(zip(names, values, strict=True))
            gone = missing_since is not None
            states.setdefault(key, []).append(State(fields, gone, since, first))
        return states

    def key_figures(self) -> KeyFigures:
        """The key figures of a report."""
        waiting = self.open_requests()
        return KeyFigures(
            at=self.at,
            open=self.count(_OPEN_AT_END),
            oldest_open=waiting[0].requested_at if waiting else None,
            counts=self.counts(),
            undated=self.undated(),
            hours=self.hours(),
            released=self.released(),
            missing=self.missing(),
            quarantined=self.quarantined(),
        )

    def headline(self) -> Headline:
        """The large figures; what was before the first complete pull is not compared."""
        known, days = self.known_from(), self.before.period
        now, before = self.key_figures(), self.before.key_figures()
        state = before if known and known <= days.end else None
        events = before if known and known <= days.start else None
        return Headline(
            Figure(now.open, state.open if state else None),
            Figure(_age_of_oldest(now), _age_of_oldest(state)),
            Figure(now.hours.median, events.hours.median if events else None),
            Figure(now.approval_rates, events.approval_rates if events else None),
        )

    def ages(self) -> list[int]:
        """The open requests by age: below 1, 3, 7, 14 and 28 days, and the rest."""
        limits = [timedelta(days=days) for days in (1, 3, 7, 14, 28)]
        ages = [self.at - request.requested_at for request in self.open_requests()]
        return [
            sum(sum(age >= limit for limit in limits) == place for age in ages)
            for place in range(len(limits) + 1)
        ]

    def usual_hours(self) -> tuple[int, float | None]:
        """The number of reviews that ended before the end, and the 90th percentile of them all."""
        took = sorted(
            hours
            for review in helpers.turnaround(self.connection, environment=self.environment)
            if (hours := review.hours_to_resolve) is not None
            and review.time_source == "reported"
            and review.status in VERDICTS
            and review.resolved_at < self.at  # type: ignore[operator]
        )
        place = next((n for n in range(1, len(took) + 1) if n * 10 >= len(took) * 9), 0)
        return len(took), took[place - 1] if took else None

    def overdue(self) -> tuple[float, list[ReleaseRequest]] | None:
        """The age that is unusual, and the open requests that have it."""
        reviews, hours = self.usual_hours()
        if reviews < 10 or hours is None:
            return None
        limit = timedelta(hours=hours)
        old = [row for row in self.open_requests() if self.at - row.requested_at >= limit]
        return (hours, old) if old else None

    def rejected_again(self) -> list[RepeatedRejection]:
        """The numbers rejected again for the same reason and not approved since; last first."""
        approved = [
            (row.environment, row.phone_number, row.resolved_at)
            for row in helpers.turnaround(self.connection)
            if row.status == "approved" and row.resolved_at and row.resolved_at < self.period.end
        ]
        rows = []
        for (environment, number), events in self.histories().items():
            rejections = [
                event
                for event in events
                if event.event == "rejected"
                and (event.occurred_at or event.observed_at) < self.period.end
            ]
            for reason in {event.rejection_reason for event in rejections}:
                if reason is None:
                    continue
                same = [event for event in rejections if event.rejection_reason == reason]
                last = max((event.occurred_at for event in same if event.occurred_at), default=None)
                if len(same) < 2 or last is None or last < self.period.start:
                    continue
                since = [key for key in approved if key[:2] == (environment, number)]
                if any(at >= last for *_, at in since):
                    continue
                if self.environment in (None, environment):
                    rows.append(RepeatedRejection(environment, number, reason, len(same), last))
        rows.sort(key=lambda row: (row.environment, row.phone_number, row.rejection_reason))
        return sorted(rows, key=lambda row: row.last_rejected_at, reverse=True)

    def missing_requests(self) -> list[ReleaseRequest]:
        """The requests missing at the end, the last to go missing first."""
        rows = helpers.release_requests(
            self.connection, as_of=self.at, missing=True, environment=self.environment
        )
        rows.sort(key=lambda row: row.id)
        return sorted(rows, key=lambda row: row.missing_since, reverse=True)  # type: ignore[arg-type, return-value]

    def quarantined_records(self) -> list[QuarantinedRecord]:
        """The entries in quarantine at the end, first seen last first."""
        return [
            record
            for record in helpers.quarantine(
                self.connection, environment=self.environment, resolved=True
            )
            if record.first_seen_at <= self.at
            and (record.resolved_at is None or record.resolved_at > self.at)
        ]

    def syncs(self) -> list[SyncChanges]:
        """The syncs that saw changes in the period, with their counts; last first."""
        kinds = ("resolved", "reopened", "corrected", "vanished", "returned")
        changes = self.changes()
        runs = {(row.changed_at, row.environment, row.sync_run_id) for row in changes}
        return [
            SyncChanges(
                *run,
                *(
                    sum(row.kind == kind for row in changes if row.sync_run_id == run[2])
                    for kind in kinds
                ),
            )
            for run in sorted(runs, key=lambda run: (-run[0].timestamp(), *run[1:]))
        ]

    def surprises(self) -> list[Change]:
        """The changes other than resolutions, last first."""
        return [change for change in self.changes() if change.kind != "resolved"]

    def bucket(self, part: Period) -> Bucket:
        """A part of the period."""
        oracle = replace(self, period=part)
        open_at_end = oracle.count(_OPEN_AT_END)
        is_running = self.now is not None and part.end > self.now
        return Bucket(part, open_at_end, oracle.counts(), oracle.hours(), is_running)

    def rejection_reasons(self) -> list[Reason]:
        """The reasons of all rejections, most frequent first."""
        query = """SELECT rejection_reason, count(*) FROM phone_number_history
            WHERE event = 'rejected' AND occurred_at >= :start AND occurred_at < :end AND {ours}
            GROUP BY rejection_reason"""
        counted = self.select(query)
        total = sum(count for _, count in counted)
        reasons = [Reason(reason, count, 100 * count / total) for reason, count in counted]
        return sorted(
            reasons, key=lambda row: (-row.requests, row.reason is not None, row.reason or "")
        )

    def changes(self) -> list[Change]:
        """The changes seen in the period, last first."""
        changes = [
            change
            for change in helpers.changes(self.connection, environment=self.environment)
            if self.period.start <= change.changed_at < self.period.end
        ]
        changes.sort(key=lambda change: (change.request_id, change.kind))
        return sorted(changes, key=lambda change: change.changed_at, reverse=True)

    def repeat_numbers(self) -> list[PhoneNumber]:
        """The numbers with several requests, around the period; most requests first."""
        numbers = [
            number
            for number in helpers.phone_numbers(self.connection, environment=self.environment)
            if number.requests > 1
            and number.first_requested_at < self.period.end
            and number.last_requested_at >= self.period.start
        ]
        numbers.sort(key=lambda number: number.last_requested_at, reverse=True)
        return sorted(numbers, key=lambda number: -number.requests)

    def histories(self) -> dict[tuple[str, str], list[HistoryEvent]]:
        """The events of each environment and number, oldest first."""
        query = sa.select(*(views.history.c[name] for name in HistoryEvent.__slots__))
        events = [HistoryEvent(*row) for row in self.connection.execute(query)]
        order = {"requested": 0, "returned": 1}
        events.sort(key=lambda event: (event.observed_at, order.get(event.event, 2)))
        events.sort(key=lambda event: (event.occurred_at or event.not_before, event.request_id))
        histories: dict[tuple[str, str], list[HistoryEvent]] = {}
        for event in events:
            histories.setdefault((event.environment, event.phone_number), []).append(event)
        return histories


def cards(oracle: Oracle, when: str) -> list[tuple[str, ...]]:
    """Format key figures as the page does; `when` is "now" or "at the end".

    What was before the first complete pull is not compared.
    """
    known, days = oracle.known_from(), oracle.before.period
    now, before = oracle.key_figures(), oracle.before.key_figures()
    events = before if known and known <= days.start else None
    state = before if known and known <= days.end else None
    return [
        _card(f"Open {when}", now.open, state.open if state else None),
        _oldest(now, state),
        _card("Requested", now.counts.requested, events.counts.requested if events else None),
        _card("Resolved", now.counts.resolved, events.counts.resolved if events else None),
        _card("Approval rate", _rate(now), _rate(events) if events else None, "%"),
        _card(
            "Median time to resolve", now.hours.median, events.hours.median if events else None, "h"
        ),
        _card(
            "90th percentile to resolve",
            now.hours.percentile_90,
            events.hours.percentile_90 if events else None,
            "h",
        ),
        _card("Numbers released", now.released, events.released if events else None),
        _card(f"Missing {when}", now.missing, state.missing if state else None),
        _card(f"Quarantined {when}", now.quarantined, state.quarantined if state else None),
    ]


def _rate(figures: KeyFigures) -> float | None:
    assert figures.undated.unknown.approved == figures.undated.unknown.rejected == 0
    return figures.counts.approval_rate


def _card(label: str, now: float | None, before: float | None, unit: str = "") -> tuple[str, ...]:
    values = [NOTHING if value is None else _formatted(value, unit) for value in (now, before)]
    if now is None or before is None:
        return label, values[0], "no comparison", values[1]
    change = round(round(now, 1) - round(before, 1), 1)
    magnitude = _formatted(abs(change), "points" if unit == "%" else unit)
    sign = "+" if change > 0 else MINUS
    return label, values[0], sign + magnitude if change else "no change", values[1]


def _formatted(value: float, unit: str) -> str:
    return f"{value:,} {unit}".strip() if isinstance(value, int) else f"{value:,.1f} {unit}"


def _oldest(*periods: KeyFigures | None) -> tuple[str, ...]:
    ages = [
        figures.at - figures.oldest_open if figures and figures.oldest_open else None
        for figures in periods
    ]
    values = [NOTHING if age is None else _age(age) for age in ages]
    now, before = ages
    if now is None or before is None:
        return "Oldest open", values[0], "no comparison", values[1]
    sign = "+" if now > before else MINUS
    return "Oldest open", values[0], sign + _age(abs(now - before)), values[1]


def _age(value: timedelta) -> str:
    hours = value / timedelta(hours=1)
    return f"{hours / 24:,.0f} days" if hours >= 47.5 else f"{hours:.0f} h"


def _age_of_oldest(figures: KeyFigures | None) -> timedelta | None:
    if figures is None or figures.oldest_open is None:
        return None
    return max(figures.at - figures.oldest_open, timedelta())
