"""The SELECTs of the views, in the words of each database.

A change is a past version beside its successor, which is the version of the same id whose
`valid_from` is its `valid_to`. Written that way, the views need few window functions, and a filter
by number, id or time reaches the indexes of the tables.
"""

from __future__ import annotations

from mirror.db.dialects import Dialect

_FIELDS = """v.id, v.environment, v.phone_number_id, v.phone_number, v.reason, v.status,
       v.rejection_reason, v.requested_at, v.resolved_at, v.extra, v.first_seen_at, v.valid_from,
       v.missing_since, v.sync_run_id"""


def versions(words: Dialect) -> str:
    """Number the past versions of each request, and its current one."""
    earlier = "SELECT count(*) FROM release_request_past_versions e WHERE e.id = v.id"
    past = words.typed(f"1 + ({earlier} AND e.valid_from < v.valid_from)", "v.sync_run_id")
    current = words.typed(f"1 + ({earlier})", "v.sync_run_id")
    return f"""
SELECT {_FIELDS}, v.valid_to,
       {past} AS version
FROM release_request_past_versions v
UNION ALL
SELECT {_FIELDS}, {words.null("v.valid_from")},
       {current}
FROM release_requests v
"""


def is_resolved_sql(version: str) -> str:
    """Tell whether a version has left pending for good."""
    return (
        f"({version}.status IN ('approved', 'rejected', 'cancelled')"
        f" OR {version}.status <> 'pending' AND {version}.resolved_at IS NOT NULL)"
    )


def _resolved_in_the_end(version: str) -> str:
    """Tell whether a past version's status was one that has left pending for good.

    It may have got its `resolved_at` later than the status, which matters for unknown ones.
    """
    return f"""({version}.status IN ('approved', 'rejected', 'cancelled')
        OR {version}.status <> 'pending' AND (
          SELECT l.resolved_at FROM release_request_versions l
          WHERE l.id = {version}.id AND l.valid_from >= {version}.valid_from
            AND NOT EXISTS (
              SELECT 1 FROM release_request_versions e
              WHERE e.id = {version}.id AND e.status <> {version}.status
                AND e.valid_from BETWEEN {version}.valid_from AND l.valid_from)
          ORDER BY l.valid_from DESC LIMIT 1) IS NOT NULL)"""


def changes(words: Dialect) -> str:
    """Put each past version beside its successor, and say what differs."""
    presence = (
        "CASE WHEN n.missing_since IS NULL THEN 'returned' ELSE 'vanished' END",
        "(o.missing_since IS NULL) <> (n.missing_since IS NULL)",
    )
    content = (
        f"""CASE WHEN n.status = 'pending' AND o.status <> 'pending' THEN 'reopened'
            WHEN {is_resolved_sql("n")}
             AND NOT {is_resolved_sql("o")} THEN 'resolved'
            ELSE 'corrected' END""",
        """n.missing_since IS NULL
  AND (o.missing_since IS NULL OR EXISTS (
       SELECT o.phone_number_id, o.phone_number, o.reason, o.status, o.rejection_reason,
              o.requested_at, o.resolved_at
       EXCEPT
       SELECT n.phone_number_id, n.phone_number, n.reason, n.status, n.rejection_reason,
              n.requested_at, n.resolved_at))""",
    )
    return "UNION ALL".join(
        f"""
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       {words.typed(kind, "n.status")} AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN {successors} n ON n.id = o.id AND n.valid_from = {words.unindexed("o.valid_to")}
WHERE {seen}{words.expect_few("o.id")}
"""
        for kind, seen in (presence, content)
        for successors in ("release_requests", "release_request_past_versions")
    )


def history(words: Dialect) -> str:
    """Tell the events of each request under the number that it has now."""
    return events_sql(words, "release_requests")


def events_sql(words: Dialect, requests: str, *, openness: bool = False) -> str:
    """Tell the events of requests.

    Args:
        words: of the database.
        requests: where the requests are.
        openness: tell in two columns more whether the request is open after the event (1 or 0),
            and which of the events that were observed at once comes first.
    """

    def after(is_open: str, place: int) -> str:
        return f",\n       {is_open} AS is_open, {place} AS place" if openness else ""

    def unless(closed: str) -> str:
        return f"CASE WHEN {closed} THEN 0 ELSE 1 END"

    def text(value: str) -> str:
        return words.typed(f"'{value}'", "r.status")

    return "UNION ALL".join(
        (
            f"""
SELECT r.environment, r.phone_number, r.phone_number_id, r.requested_at AS occurred_at,
       {text("requested")} AS event, r.id AS request_id, {text("pending")} AS status, r.reason,
       {words.null("r.rejection_reason")} AS rejection_reason, {text("reported")} AS time_source,
       r.first_seen_at AS observed_at{after("1", 0)}
FROM {requests} r
""",
            _status_now(words, requests, after(unless(is_resolved_sql("c")), 2)),
            _status_before(words, requests, after(unless(is_resolved_sql("c")), 2)),
            f"""
SELECT r.environment, r.phone_number, r.phone_number_id, r.missing_since, 'vanished', r.id,
       r.status, r.reason, r.rejection_reason, 'observed', r.missing_since{after("0", 2)}
FROM {requests} r
WHERE r.missing_since IS NOT NULL
""",
            f"""
SELECT r.environment, r.phone_number, r.phone_number_id, p.missing_since, 'vanished', r.id,
       p.status, p.reason, p.rejection_reason, 'observed', p.missing_since{after("0", 2)}
FROM {requests} r
JOIN release_request_past_versions p ON p.id = r.id
WHERE p.missing_since IS NOT NULL
""",
            f"""
SELECT r.environment, r.phone_number, r.phone_number_id, p.valid_to, 'returned', r.id,
       n.status, n.reason, n.rejection_reason, 'observed', p.valid_to{
                after(unless(_resolved_in_the_end("n")), 1)
            }
FROM {requests} r
JOIN release_request_past_versions p ON p.id = r.id
JOIN release_request_past_versions n ON n.id = p.id AND n.valid_from = p.valid_to
WHERE p.missing_since IS NOT NULL
""",
            f"""
SELECT r.environment, r.phone_number, r.phone_number_id, p.valid_to, {text("returned")}, r.id,
       r.status, r.reason, r.rejection_reason, {text("observed")}, p.valid_to{
                after(unless(is_resolved_sql("r")), 1)
            }
FROM {requests} r
JOIN release_request_past_versions p
  ON p.id = r.id AND {words.unindexed("p.valid_to")} = r.valid_from
WHERE p.missing_since IS NOT NULL
""",
        )
    )


def status_entered_sql(version: str, condition: str = "") -> str:
    """Tell when a version's status was entered: when the last other status before it ended."""
    return (
        "SELECT e.valid_to FROM release_request_past_versions e"
        f" WHERE e.id = {version}.id{condition} AND e.status <> {version}.status"
        " ORDER BY e.valid_from DESC LIMIT 1"
    )


def _status_now(words: Dialect, requests: str, more: str) -> str:
    """Tell of the status that each request has now."""
    return _status_entered(
        words,
        words.looked_up("r.*", f"{requests} r", status_entered_sql("r"), "entered_at"),
        "c.status <> 'pending' OR c.entered_at IS NOT NULL",
        more,
    )


def _status_before(words: Dialect, requests: str, more: str) -> str:
    """Tell of the statuses that each request had: of the last version with each."""
    before = words.looked_up(
        """r.environment, r.phone_number, r.phone_number_id, p.id, p.status, p.reason,
       p.rejection_reason, p.resolved_at, p.first_seen_at,
       coalesce(n.status, r.status) AS next_status""",
        f"""{requests} r
JOIN release_request_past_versions p ON p.id = r.id
LEFT JOIN release_request_past_versions n ON n.id = p.id AND n.valid_from = p.valid_to""",
        status_entered_sql("p", " AND e.valid_from < p.valid_from"),
        "entered_at",
    )
    return _status_entered(
        words,
        before,
        "c.next_status <> c.status AND (c.status <> 'pending' OR c.entered_at IS NOT NULL)",
        more,
    )


def _status_entered(words: Dialect, last_versions: str, condition: str, more: str) -> str:
    """Tell that a status was entered.

    The event's time is the best known one: `resolved_at` of the last version with that status,
    unless it was told already when the status was entered before. The observed time is that of the
    first version with it.

    Args:
        words: of the database.
        last_versions: the last version with each status, and as `entered_at`, when the status
            before it ended.
        condition: which of them to tell of.
        more: columns besides.
    """
    occurred_at = words.typed(
        "coalesce(c.reported_at, c.entered_at, c.first_seen_at)", "c.first_seen_at"
    )
    observed_at = words.typed("coalesce(c.entered_at, c.first_seen_at)", "c.first_seen_at")
    told_before = """SELECT 1 FROM release_request_past_versions e
       WHERE e.id = v.id AND e.valid_to <= v.entered_at AND e.status = v.status
         AND e.resolved_at = v.resolved_at"""
    versions = words.looked_up(
        "v.*",
        f"({last_versions}) v",
        f"SELECT v.resolved_at WHERE v.status <> 'pending' AND NOT EXISTS ({told_before})",
        "reported_at",
    )
    return f"""
SELECT c.environment, c.phone_number, c.phone_number_id,
       {occurred_at},
       CASE WHEN c.status = 'pending' THEN 'reopened' ELSE c.status END,
       c.id, c.status, c.reason, c.rejection_reason,
       CASE WHEN c.reported_at IS NULL THEN 'observed' ELSE 'reported' END,
       {observed_at}{more}
FROM ({versions}) c
WHERE {condition}
"""


def numbers(words: Dialect) -> str:
    """Sum up the requests of each number.

    The number comes first in PARTITION BY, so that a filter on it is pushed down.
    """
    return f"""
SELECT n.environment, n.phone_number, n.phone_number_id,
       {words.typed("n.requests", "n.sync_run_id")} AS requests, n.id AS last_request_id,
       n.status AS last_status,
       {words.typed("n.first_requested_at", "n.requested_at")} AS first_requested_at,
       n.requested_at AS last_requested_at,
       {words.typed("n.last_resolved_at", "n.requested_at")} AS last_resolved_at,
       {words.typed("n.status = 'approved'", "n.sync_run_id")} AS released
FROM (SELECT r.environment, r.phone_number, r.phone_number_id, r.id, r.status, r.requested_at,
             r.sync_run_id,
             row_number() OVER (PARTITION BY r.phone_number, r.environment
                                ORDER BY r.requested_at DESC, r.id DESC) AS place,
             count(*) OVER (PARTITION BY r.phone_number, r.environment) AS requests,
             min(r.requested_at) OVER (PARTITION BY r.phone_number, r.environment)
               AS first_requested_at,
             max(r.resolved_at) OVER (PARTITION BY r.phone_number, r.environment)
               AS last_resolved_at
      FROM release_requests r) n
WHERE n.place = 1
"""


def turnaround(words: Dialect) -> str:
    """Tell how long each review took.

    Where upstream gave a time, it stands there as it is, so that a filter on it reaches the index.
    """

    def hours(end: str) -> str:
        return words.typed(words.hours("r.requested_at", end), "seconds FROM sync_runs")

    unreported = words.looked_up("r.*", "release_requests r", status_entered_sql("r"), "entered_at")
    observed_at = words.typed("coalesce(r.entered_at, r.first_seen_at)", "r.first_seen_at")
    return f"""
SELECT r.id, r.environment, r.phone_number, r.status, r.requested_at, r.resolved_at,
       {hours("r.resolved_at")} AS hours_to_resolve,
       {words.typed("'reported'", "r.status")} AS time_source
FROM release_requests r
WHERE r.status <> 'pending' AND r.resolved_at IS NOT NULL
UNION ALL
SELECT r.id, r.environment, r.phone_number, r.status, r.requested_at, {observed_at},
       {hours("coalesce(r.entered_at, r.first_seen_at)")}, {words.typed("'observed'", "r.status")}
FROM ({unreported}) r
WHERE r.status IN ('approved', 'rejected', 'cancelled') AND r.resolved_at IS NULL
"""
