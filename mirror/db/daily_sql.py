"""The SELECT of the view that counts days, in the words of each database."""

from __future__ import annotations

from mirror.db.dialects import Dialect
from mirror.db.view_sql import events_sql, is_resolved_sql, status_entered_sql

_COUNTED = ("requested", "approved", "rejected", "cancelled")


def daily(words: Dialect) -> str:
    """Count the events of each day, and what was open at its end.

    A request opens and closes where its events say so, in the order in which they were observed.
    It did so at the best known time, but not after it was observed, nor after what came next: then
    the sum over all days is what is open now, whatever the clocks were like.

    Nearly all requests are steady: they opened once, and closed at most once. Only of the others
    are all events looked at in turn, which takes several times as long.
    """
    counted = ",\n             ".join(
        f"sum(CASE WHEN event = '{event}' THEN times ELSE 0 END) AS {event}" for event in _COUNTED
    )

    def number(expression: str) -> str:
        return words.typed(f"CAST({expression} AS bigint)", "sync_run_id FROM release_requests")

    shown = ",\n       ".join(f"{number(event)} AS {event}" for event in _COUNTED)
    return f"""
WITH RECURSIVE
winding_ids AS MATERIALIZED (
  SELECT id FROM release_requests WHERE missing_since IS NOT NULL
  UNION
  SELECT p.id FROM release_request_past_versions p
  WHERE p.missing_since IS NOT NULL OR {is_resolved_sql("p")}),
steady AS MATERIALIZED ({_steady(words)}),
winding AS MATERIALIZED ({_winding(words)}),
told AS (
  SELECT environment, requested_on AS day, 'requested' AS event, times, 0 AS opened FROM steady
  UNION ALL
  SELECT environment, resolved_on, {_entered("status")}, times, 0 FROM steady
  WHERE status IS NOT NULL
  UNION ALL
  SELECT environment, opened_on, NULL, 0, times FROM steady
  UNION ALL
  SELECT environment, closed_on, NULL, 0, -times FROM steady WHERE status IS NOT NULL
  UNION ALL
  SELECT environment, occurred_on, CASE WHEN place = 0 THEN event ELSE {_entered("event")} END,
         times, 0
  FROM winding
  UNION ALL
  SELECT environment, taken_on, NULL, 0, opened FROM winding),
calendar AS (
  SELECT environment, min(day) AS day FROM told
  GROUP BY environment HAVING min(day) <= {words.today()}
  UNION ALL
  SELECT environment, {words.next_day("day")} FROM calendar WHERE day < {words.today()})
SELECT environment, {words.typed("day", "environment")} AS day,
       {shown},
       {number("open_at_end")} AS open_at_end
FROM (SELECT environment, day,
             {counted},
             sum(sum(opened)) OVER (PARTITION BY environment ORDER BY day) AS open_at_end
      FROM (SELECT * FROM told
            UNION ALL
            SELECT environment, day, NULL, 0, 0 FROM calendar) d
      WHERE day <= {words.today()}
      GROUP BY environment, day) d
"""


def _entered(status: str) -> str:
    """Take the event that a status was entered; upstream might call one as we call submitting."""
    return f"nullif({status}, 'requested')"


def _earlier(one: str, other: str) -> str:
    """Take the earlier of two times; the first one if the second is null."""
    return f"CASE WHEN {other} < {one} THEN {other} ELSE {one} END"


def _steady(words: Dialect) -> str:
    """Group the requests that opened once and closed at most once by the days on which they did."""
    requests = words.looked_up("r.*", "release_requests r", status_entered_sql("r"), "entered_at")
    # Not NOT IN: where Postgres expects more ids than fit into its work_mem, it would read all of
    # them again for each request.
    steady = "NOT EXISTS (SELECT 1 FROM winding_ids w WHERE w.id = r.id)"
    return f"""
  SELECT environment, {words.day("requested_at")} AS requested_on, status,
         {words.day("occurred_at")} AS resolved_on,
         {words.day(_earlier("opened_at", "closed_at"))} AS opened_on,
         {words.day("closed_at")} AS closed_on, count(*) AS times
  FROM (SELECT environment, requested_at, opened_at, status, occurred_at,
               {_earlier("occurred_at", "observed_at")} AS closed_at
        FROM (SELECT r.environment, r.requested_at, r.status,
                     {_earlier("r.requested_at", "r.first_seen_at")} AS opened_at,
                     coalesce(r.resolved_at, r.entered_at, r.first_seen_at) AS occurred_at,
                     coalesce(r.entered_at, r.first_seen_at) AS observed_at
              FROM ({requests}) r
              WHERE {is_resolved_sql("r")} AND {steady}
              UNION ALL
              SELECT r.environment, r.requested_at, NULL,
                     {_earlier("r.requested_at", "r.first_seen_at")}, NULL, NULL
              FROM release_requests r
              WHERE NOT {is_resolved_sql("r")} AND {steady}) r) r
  GROUP BY 1, 2, 3, 4, 5, 6"""


def _winding(words: Dialect) -> str:
    """Group the steps of the other requests by the days on which they were taken."""
    requests = "(SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids))"
    return f"""
  SELECT environment, {words.day("occurred_at")} AS occurred_on,
         {words.day("taken_at")} AS taken_on, event, place, count(*) AS times,
         sum(opened) AS opened
  FROM (SELECT environment, event, place, occurred_at,
               min({_earlier("occurred_at", "observed_at")}) OVER sequel AS taken_at,
               is_open - lag(is_open, 1, 0) OVER sequel AS opened
        FROM ({events_sql(words, requests, openness=True)}) event
        WINDOW sequel AS (PARTITION BY request_id ORDER BY observed_at, place
                          ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)) step
  GROUP BY 1, 2, 3, 4, 5"""
