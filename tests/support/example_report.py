"""A report made by hand: what a page can have, without a mirror. Its figures need not agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from mirror.queries.results import (
    Change,
    HistoryEvent,
    Limited,
    PhoneNumber,
    QuarantinedRecord,
    ReleaseRequest,
)
from mirror.report.model import (
    AgeBin,
    Attention,
    Bucket,
    Counts,
    EnvironmentRow,
    FirstPull,
    Hours,
    KeyFigures,
    OpenCount,
    Overdue,
    Reason,
    RepeatedRejection,
    Report,
    SyncChanges,
    Timeline,
    Undated,
)
from mirror.report.period import Period, split

NOW = datetime(2026, 11, 30, 11, 40, tzinfo=UTC)
NAMES = ("acme", "zeta")
DATA = ("reason-1", "reason-2", "error-1", *NAMES)
"""Texts of upstream, which no language translates."""

FIGURES = KeyFigures(
    at=NOW,
    open=1_236,
    oldest_open=NOW - timedelta(days=38),
    counts=Counts(requested=900, approved=500, rejected=300, cancelled=1),
    undated=Undated(observed=2, unknown=Counts(0, 0, 0, 1)),
    hours=Hours(requests=700, median=97.6, percentile_90=226.9),
    released=480,
    missing=1,
    quarantined=1,
)
BEFORE = replace(
    FIGURES,
    open=1_104,
    oldest_open=NOW - timedelta(days=35),
    counts=Counts(requested=800, approved=300, rejected=200, cancelled=1),
    hours=Hours(requests=700, median=126.4, percentile_90=200.0),
)


def buckets(since: date, until: date) -> tuple[str, list[Bucket]]:
    """The parts of a period; the last one is running."""
    unit, parts = split(Period(since, until))
    made = [
        Bucket(
            part,
            open=place * 7 % 20,
            counts=Counts(place * 11 % 30, place * 5 % 20, place * 3 % 10, place % 2),
            hours=Hours(place % 4, *((None, None) if place % 4 == 0 else (20.0 + place, 150.0))),
            is_running=part is parts[-1],
        )
        for place, part in enumerate(parts)
    ]
    return unit, made


def _request(**fields: Any) -> ReleaseRequest:
    requested_at = NOW - timedelta(days=38)
    request = ReleaseRequest(
        id="one",
        environment="acme",
        phone_number="+15550000001",
        phone_number_id=None,
        status="pending",
        reason="reason-1",
        rejection_reason=None,
        requested_at=requested_at,
        resolved_at=None,
        missing_since=None,
        first_seen_at=requested_at,
        valid_from=requested_at,
        extra=None,
    )
    return replace(request, **fields)


def example(days: int = 84, **changes: Any) -> Report:
    """A report that has everything that a page can have.

    Args:
        days: length of its period, which ends with the 30 November 2026.
        changes: other values of its fields.
    """
    until = date(2026, 12, 1)
    since = until - timedelta(days=days)
    unit, parts = buckets(since, until)
    opened = [OpenCount(since + timedelta(days=place), place * 13 % 40) for place in range(days)]
    rows = [
        EnvironmentRow(
            environment=name,
            figures=FIGURES,
            open_over_time=opened,
            first_pull=FirstPull(name, NOW - timedelta(days=400), saw_requests=True),
            complete_at=NOW - timedelta(days=2),
            age=172_800.0,
            is_stale=True,
            outcome="failed",
            failures=failures,
            error="error-1" if failures else None,
            other=1,
        )
        for name, failures in zip(NAMES, (2, 0), strict=True)
    ]
    young = _request(
        requested_at=NOW - timedelta(hours=5), reason=None, phone_number="+15550000002"
    )
    events = [
        HistoryEvent(
            occurred_at=None if source == "unknown" else NOW,
            event=event,
            environment="acme",
            phone_number="+15550000001",
            phone_number_id=None,
            request_id="one",
            status=event,
            reason="reason-1",
            rejection_reason="reason-2",
            time_source=source,
            observed_at=NOW,
            not_before=None if source == "reported" else NOW,
        )
        for event, source in (
            ("requested", "reported"),
            ("rejected", "observed"),
            ("reopened", "reported"),
            ("cancelled", "unknown"),
            ("vanished", "reported"),
            ("returned", "reported"),
            ("approved", "reported"),
        )
    ]
    number = PhoneNumber("acme", "+15550000001", None, 3, "one", "approved", NOW, NOW, NOW, True)
    record = QuarantinedRecord("acme", "x", "error-1", "{}", NOW, NOW, None, 1, 1)
    report = Report(
        made_at=NOW,
        environment=None,
        period=Period(since, until),
        is_current=True,
        first_pull=rows[0].first_pull,
        attention=Attention(
            overdue=Overdue(226.9, 700, Limited([_request()], 1)),
            rejected_again=Limited(
                [RepeatedRejection("acme", "+15550000001", "reason-2", 2, NOW)], 1
            ),
            environments=rows,
            missing=Limited([_request(missing_since=NOW)], 1),
            quarantined=Limited([record], 1),
        ),
        figures=FIGURES,
        figures_before=BEFORE,
        environments=rows,
        unit=unit,
        buckets=parts,
        open_over_time=opened,
        reasons=Limited([Reason("reason-2", 200, 66.7), Reason(None, 90, 30.0)], 4),
        open=Limited([_request(), young], 1_236),
        ages=[
            AgeBin(timedelta(), timedelta(days=1), 6),
            AgeBin(timedelta(days=1), timedelta(days=2), 1),
            AgeBin(timedelta(days=2), None, 3),
        ],
        syncs=Limited([SyncChanges(NOW, "acme", 7, 12, 1, 1, 2, 1)], 5),
        surprises=Limited(
            [
                Change(
                    NOW, kind, "acme", "+15550000001", "one", old, new, None, None, 7, ("status",)
                )
                for kind, old, new in (
                    ("reopened", "rejected", "pending"),
                    ("corrected", "approved", "rejected"),
                )
            ],
            9,
        ),
        numbers=Limited([Timeline(number, Limited(events, 9))], 3),
    )
    return replace(report, **changes)


def empty() -> Report:
    """The report on an empty mirror."""
    figures = KeyFigures(
        at=NOW,
        open=0,
        oldest_open=None,
        counts=Counts(0, 0, 0, 0),
        undated=Undated(0, Counts(0, 0, 0, 0)),
        hours=Hours(0, None, None),
        released=0,
        missing=0,
        quarantined=0,
    )
    nothing: Limited[Any] = Limited([], 0)
    return example(
        first_pull=None,
        attention=Attention(None, nothing, [], nothing, nothing),
        figures=figures,
        figures_before=None,
        environments=[],
        buckets=[],
        open_over_time=[],
        reasons=nothing,
        open=nothing,
        ages=[],
        syncs=nothing,
        surprises=nothing,
        numbers=nothing,
    )
