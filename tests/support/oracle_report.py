"""The key figures of a report, as plain SQL on the tables and views finds them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from tests.support.reports import ask

MINUS, NOTHING = "\N{MINUS SIGN}", "\N{EN DASH}"

_OPEN_AT = """FROM release_requests r LEFT JOIN release_request_turnaround t ON t.id = r.id
WHERE r.requested_at < '{at}' AND (r.missing_since IS NULL OR r.missing_since >= '{at}')
  AND (t.id IS NULL OR t.resolved_at >= '{at}') AND r.{only}"""
_HOURS = """SELECT count(*), min(CASE WHEN place * 2 >= total THEN hours END),
       min(CASE WHEN place * 10 >= total * 9 THEN hours END)
FROM (SELECT hours_to_resolve AS hours, row_number() OVER (ORDER BY hours_to_resolve) AS place,
             count(*) OVER () AS total
      FROM release_request_turnaround
      WHERE time_source = 'reported' AND {only}
        AND resolved_at >= '{start}' AND resolved_at < '{end}') ranked"""
_RELEASED = """SELECT count(*) FROM (
  SELECT DISTINCT environment, phone_number FROM release_request_turnaround
  WHERE status = 'approved' AND {only}
    AND resolved_at >= '{start}' AND resolved_at < '{end}') numbers"""
_MISSING = """SELECT count(*) FROM release_request_versions
WHERE missing_since IS NOT NULL AND {only}
  AND valid_from <= '{at}' AND (valid_to IS NULL OR valid_to > '{at}')"""
_QUARANTINED = """SELECT count(*) FROM quarantined_records
WHERE first_seen_at <= '{at}' AND (resolved_at IS NULL OR resolved_at > '{at}') AND {only}"""


@dataclass(frozen=True)
class Asked:
    """What a report is about.

    Attributes:
        url: the mirror.
        since, until: the first day, and the day after the last one.
        now: when the page was made (UTC), if the period had not ended.
        environment: the only one, or None.
    """

    url: str
    since: date
    until: date
    now: datetime | None = None
    environment: str | None = None

    @property
    def before(self) -> Asked:
        """As many days before."""
        days = self.until - self.since
        return Asked(self.url, self.since - days, self.since, None, self.environment)

    @property
    def at(self) -> datetime:
        """When it ended (UTC), or now."""
        return self.now or _midnight(self.until)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query, which may hold {start}, {end} and {at}, and the condition {only}."""
        start, end, at = (
            time.replace(tzinfo=None).isoformat(" ", "milliseconds")
            for time in (_midnight(self.since), _midnight(self.until), self.at)
        )
        only = "environment " + (f"= '{self.environment}'" if self.environment else "IS NOT NULL")
        return ask(self.url, query.format(start=start, end=end, at=at, only=only))

    def count(self, query: str) -> int:
        """Run a query that counts."""
        ((count,),) = self.ask(query)
        return int(count)

    def events(self, event: str) -> int:
        """Count the events of the period."""
        return self.count(
            f"SELECT count(*) FROM phone_number_history WHERE event = '{event}' AND {{only}}"
            " AND occurred_at >= '{start}' AND occurred_at < '{end}'"
        )

    @property
    def waiting(self) -> list[tuple[datetime, str, str]]:
        """The requests that were open when it ended, as far as is known now: the oldest first."""
        query = "SELECT r.requested_at, r.phone_number, r.environment {} ORDER BY 1, r.id"
        return [(moment(asked), *rest) for asked, *rest in self.ask(query.format(_OPEN_AT))]


@dataclass(frozen=True)
class KeyFigures:
    """The key figures of a period."""

    open: int
    oldest: timedelta | None
    requested: int
    approved: int
    rejected: int
    cancelled: int
    timed: int
    median: float | None
    percentile_90: float | None
    released: int
    missing: int
    quarantined: int

    @property
    def resolved(self) -> int:
        """All that were approved, rejected or cancelled."""
        return self.approved + self.rejected + self.cancelled

    @property
    def rate(self) -> float | None:
        """Approvals among the decisions, in percent."""
        decided = self.approved + self.rejected
        return 100 * self.approved / decided if decided else None


def find(asked: Asked) -> KeyFigures:
    """Find the key figures of a period."""
    ((timed, median, percentile_90),) = asked.ask(_HOURS)
    waiting = asked.waiting
    last = asked.until - timedelta(days=1)
    return KeyFigures(
        open=asked.count(
            "SELECT coalesce(sum(open_at_end), 0) FROM release_requests_daily"
            f" WHERE day = '{last}' AND {{only}}"
        ),
        oldest=asked.at - waiting[0][0] if waiting else None,
        requested=asked.events("requested"),
        approved=asked.events("approved"),
        rejected=asked.events("rejected"),
        cancelled=asked.events("cancelled"),
        timed=timed,
        median=median,
        percentile_90=percentile_90,
        released=asked.count(_RELEASED),
        missing=asked.count(_MISSING),
        quarantined=asked.count(_QUARANTINED),
    )


def cards(now: KeyFigures, before: KeyFigures, when: str) -> list[tuple[str, ...]]:
    """Write key figures as a page shows them.

    Args:
        now: those of the period.
        before: those of the one before it.
        when: what is open is so "now" or "at the end".
    """
    return [
        _card(f"Open {when}", now.open, before.open),
        _oldest(now.oldest, before.oldest),
        _card("Requested", now.requested, before.requested),
        _card("Resolved", now.resolved, before.resolved),
        _card("Approval rate", now.rate, before.rate, "%"),
        _card("Median time to resolve", now.median, before.median, "h"),
        _card("90th percentile to resolve", now.percentile_90, before.percentile_90, "h"),
        _card("Numbers released", now.released, before.released),
        _card(f"Missing {when}", now.missing, before.missing),
        _card(f"Quarantined {when}", now.quarantined, before.quarantined),
    ]


def _card(label: str, now: float | None, before: float | None, unit: str = "") -> tuple[str, ...]:
    shown = [NOTHING if one is None else _written(one, unit) for one in (now, before)]
    if now is None or before is None:
        return label, shown[0], "no comparison", shown[1]
    change = round(round(now, 1) - round(before, 1), 1)
    written = _written(abs(change), "points" if unit == "%" else unit)
    sign = "+" if change > 0 else MINUS
    return label, shown[0], sign + written if change else "no change", shown[1]


def _written(value: float, unit: str) -> str:
    return f"{value:,} {unit}".strip() if isinstance(value, int) else f"{value:,.1f} {unit}"


def _oldest(now: timedelta | None, before: timedelta | None) -> tuple[str, ...]:
    shown = [NOTHING if one is None else _age(one) for one in (now, before)]
    if now is None or before is None:
        return "Oldest open", shown[0], "no comparison", shown[1]
    sign = "+" if now > before else MINUS
    return "Oldest open", shown[0], sign + _age(abs(now - before)), shown[1]


def _age(value: timedelta) -> str:
    hours = value / timedelta(hours=1)
    return f"{hours / 24:,.0f} days" if hours >= 47.5 else f"{hours:.0f} h"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def moment(stored: Any) -> datetime:
    """A time as a database gives it."""
    time = datetime.fromisoformat(str(stored))
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
