"""Common questions with their SQL, for the documentation and for Datasette.

Both databases return the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["number", "time", "day"]
"""What a parameter is: a phone number, a time, or a day with which a `day` is compared."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A question and its SQL.

    Attributes:
        name: name of the query, in lower case with hyphens.
        question: the question in English.
        sql: one SELECT without a semicolon; `:since` and the like are parameters, such as
            '2026-11-16'.
        parameters: the kind of each parameter, by its name.
    """

    name: str
    question: str
    sql: str
    parameters: Mapping[str, Kind] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """A recipe as a row of a list.

    Attributes:
        name: name of the query.
        question: the question in English.
        parameters: the names of its parameters, separated by commas; empty if it has none.
        sql: the statement that answers it.
    """

    name: str
    question: str
    parameters: str
    sql: str


RECIPES: Sequence[Recipe] = (
    Recipe(
        "pending-longest",
        "What has been pending longest?",
        """SELECT environment, requested_at, phone_number, reason
FROM release_requests
WHERE status = 'pending' AND missing_since IS NULL
ORDER BY requested_at, id""",
    ),
    Recipe(
        "rejection-rate",
        "Which share of the decisions of each month were rejections?",
        """WITH undated AS MATERIALIZED (
  SELECT substr(CAST(not_before AS text), 1, 7) AS first_month,
         substr(CAST(observed_at AS text), 1, 7) AS last_month, count(*) AS decisions
  FROM phone_number_history
  WHERE event IN ('approved', 'rejected') AND time_source = 'unknown'
  GROUP BY 1, 2),
months AS (
  SELECT substr(CAST(day AS text), 1, 7) AS month,
         sum(approved) AS approved, sum(rejected) AS rejected
  FROM release_requests_daily
  GROUP BY 1)
SELECT month, approved, rejected,
       CASE WHEN perhaps_more = 0 THEN round(100.0 * rejected / (approved + rejected), 1) END
         AS percent_rejected,
       perhaps_more
FROM (SELECT months.*, (SELECT coalesce(sum(decisions), 0) FROM undated
                        WHERE first_month <= month AND month <= last_month) AS perhaps_more
      FROM months) counted
WHERE approved + rejected + perhaps_more > 0
ORDER BY month""",
    ),
    Recipe(
        "hours-to-resolve",
        "How many hours do reviews take: the median, and what nine in ten stay within?",
        """SELECT status, count(hours) AS requests,
       round(CAST(min(CASE WHEN place * 2 >= total THEN hours END) AS numeric), 1) AS median,
       round(CAST(min(CASE WHEN place * 10 >= total * 9 THEN hours END) AS numeric), 1)
         AS percentile_90,
       count(*) - count(hours) AS not_reported
FROM (SELECT status, CASE WHEN time_source = 'reported' THEN hours_to_resolve END AS hours,
             row_number() OVER (PARTITION BY status, time_source ORDER BY hours_to_resolve)
               AS place,
             count(*) OVER (PARTITION BY status, time_source) AS total
      FROM release_request_turnaround) ranked
GROUP BY status ORDER BY status""",
    ),
    Recipe(
        "rejection-reasons",
        "Why were requests rejected?",
        """SELECT rejection_reason, count(*) AS requests
FROM release_requests
WHERE status = 'rejected'
GROUP BY rejection_reason ORDER BY requests DESC, rejection_reason""",
    ),
    Recipe(
        "asked-more-than-once",
        "Which numbers were asked for more than once, and what became of them?",
        """SELECT environment, phone_number, requests, last_status, last_requested_at
FROM phone_numbers
WHERE requests > 1
ORDER BY requests DESC, last_requested_at DESC, environment, phone_number""",
    ),
    Recipe(
        "history",
        "What happened to a number?",
        """SELECT environment, occurred_at, event, time_source, not_before, observed_at, reason,
       rejection_reason
FROM phone_number_history
WHERE phone_number = :number
ORDER BY coalesce(occurred_at, not_before), request_id, observed_at,
         event <> 'requested', event <> 'returned'""",
        {"number": "number"},
    ),
    Recipe(
        "as-of",
        "What did the mirror look like on a day?",
        """SELECT status, count(*) AS requests
FROM release_request_versions
WHERE valid_from <= :at AND (valid_to IS NULL OR valid_to > :at) AND missing_since IS NULL
GROUP BY status ORDER BY requests DESC, status""",
        {"at": "time"},
    ),
    Recipe(
        "changed-since",
        "What changed since a day?",
        """SELECT environment, changed_at, phone_number, kind, old_status, new_status
FROM release_request_changes
WHERE changed_at >= :since
ORDER BY changed_at DESC, phone_number, request_id""",
        {"since": "time"},
    ),
    Recipe(
        "new-since",
        "Which requests came in since a day, and where do they stand?",
        """SELECT environment, requested_at, phone_number, status
FROM release_requests
WHERE requested_at >= :since
ORDER BY requested_at, id""",
        {"since": "time"},
    ),
    Recipe(
        "day-by-day",
        "What happened on each day, and how many requests were open when it ended?",
        """SELECT environment, day, requested, approved, rejected, cancelled, open_at_end, undated
FROM release_requests_daily
WHERE day >= :since AND day <= :until
ORDER BY environment, day""",
        {"since": "day", "until": "day"},
    ),
    Recipe(
        "released-per-month",
        "How many numbers were released in each month?",
        """WITH undated AS MATERIALIZED (
  SELECT substr(CAST(not_before AS text), 1, 7) AS first_month,
         substr(CAST(observed_at AS text), 1, 7) AS last_month, count(*) AS approvals
  FROM phone_number_history
  WHERE event = 'approved' AND time_source = 'unknown'
  GROUP BY 1, 2),
months AS (
  SELECT substr(CAST(day AS text), 1, 7) AS month, sum(approved) AS released
  FROM release_requests_daily
  GROUP BY 1)
SELECT month, released, perhaps_more
FROM (SELECT months.*, (SELECT coalesce(sum(approvals), 0) FROM undated
                        WHERE first_month <= month AND month <= last_month) AS perhaps_more
      FROM months) counted
WHERE released + perhaps_more > 0
ORDER BY month""",
    ),
    Recipe(
        "vanished",
        "Which requests are no longer in the list?",
        """SELECT environment, missing_since, phone_number, status, requested_at
FROM release_requests
WHERE missing_since IS NOT NULL
ORDER BY missing_since DESC, id""",
    ),
    Recipe(
        "quarantine",
        "Which records could not be understood, and why?",
        """SELECT environment, first_seen_at, request_id, error
FROM quarantined_records
WHERE resolved_at IS NULL
ORDER BY first_seen_at, request_id IS NULL, request_id, id""",
    ),
    Recipe(
        "freshness",
        "How fresh is the mirror?",
        """SELECT environment, max(observed_at) AS complete_as_of, max(started_at) AS last_tried
FROM sync_runs
GROUP BY environment ORDER BY environment""",
    ),
    Recipe(
        "runs",
        "What did the last syncs do?",
        """SELECT environment, id, started_at, outcome, fetched, inserted, updated, missing,
       quarantined, error
FROM sync_runs
ORDER BY id DESC""",
    ),
)
"""All recipes, in the order of the documentation."""


def questions() -> list[Question]:
    """Return all recipes as rows, in the order of the documentation."""
    return [
        Question(recipe.name, recipe.question, ", ".join(recipe.parameters), recipe.sql)
        for recipe in RECIPES
    ]


def find_recipe(name: str) -> Recipe | None:
    """Return the recipe of a name, or None."""
    return next((recipe for recipe in RECIPES if recipe.name == name), None)
