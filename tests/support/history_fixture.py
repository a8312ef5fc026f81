"""The history in every frozen database: the lists of the API, the syncs and the erasures.

The dumps of released revisions hold these rows, so tests/stress/test_upgrades.py expects them:
nothing here is ever changed. It uses no defaults of other tests. Entries with a new field may be
added to `ODD`.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from mirror import erasure
from mirror.db import models, runs
from mirror.db.engine import write_transaction
from mirror.queries import cursors
from tests.support.mirrors import Mirror

Entry = dict[str, Any]

BASE_URL = "https://api.example/api/v1"
"""Base URL of the API."""

_REASON = 'It\'s "over" — número não é mais necessário;\n100 % \\ {done} 漢字 🙂'
_CARRIER = msgspec.Raw(b'{"name": "It\'s \\u00e9 \\\\", "since": 1.50, "tags": [null, true, 1e3]}')
_JUNK = 'no "object", isn\'t it? — não'


def entry(number: int, **fields: Any) -> Entry:
    """Return a release request as the API returns it."""
    return {
        "id": f"request-{number}",
        "phone_number_id": f"phone-{number}",
        "phone_number": f"+1555123{number:04d}",
        "reason": "The campaign has ended",
        "status": "pending",
        "requested_at": f"2024-01-10T14:30:{number:02d}Z",
    } | fields


def after(before: list[Entry], gone: tuple[int, ...] = (), **changes: Entry) -> list[Entry]:
    """Return a list without some requests, and with changes by "r" and number."""
    lost = {f"request-{number}" for number in gone}
    changed = {name.replace("r", "request-"): fields for name, fields in changes.items()}
    return [one | changed.get(one["id"], {}) for one in before if one["id"] not in lost]


FIRST = [
    entry(1, reason=_REASON),
    entry(2, requested_at="2024-01-09T23:59:59.250999Z"),
    entry(3),
    entry(4, reason=None),
    entry(5, phone_number_id=None),
    entry(6),
    entry(7),
    entry(8, carrier=_CARRIER, priority=2),
    entry(
        9,
        reason=None,
        status="approved",
        requested_at="2023-12-31T22:00:00-03:00",
        resolved_at="2024-01-05T10:00:00.001+02:00",
    ),
    entry(10, phone_number="+15551230002", phone_number_id="phone-2-again"),
    entry(11, requested_at="yesterday"),
    entry(12, status=7),
]
SECOND = after(
    FIRST,
    (6, 7),
    r2={"status": "approved", "resolved_at": "2024-01-11T13:30:00Z"},
    r3={
        "status": "rejected",
        "resolved_at": "2024-01-11T14:00:00.5Z",
        "rejection_reason": 'A porting request isn\'t "done" — aguarde',
    },
    r4={"status": "approved", "resolved_at": "2024-01-11T14:15:00Z"},
    r5={"status": "cancelled"},
    r8={"priority": 3},
)
THIRD = [
    *after(
        SECOND,
        r3={"status": "pending", "resolved_at": None, "rejection_reason": None},
        r4={"reason": "Replaced", "resolved_at": "2024-01-11T14:20:00Z"},
    ),
    entry(6),
]
STAGING = [
    entry(21),
    entry(22, status="rejected", resolved_at="2024-01-10T18:00:00Z", rejection_reason="Open bill"),
]
ODD = [
    entry(31, status="approved"),
    entry(32, phone_number="+1 (555) 123-0032", reason="\0 \x1b[31m \u202e \ufeff e\u0301 \t"),
    entry(33, status="rejected", rejection_reason="", phone_number="tel:+1-555-123-0033"),
    entry(34, status="on hold", reason="", huge=msgspec.Raw(b"1" * 40)),
    entry(35, reason=msgspec.Raw(b'"half of \\ud83d"')),
    entry(36),
    entry(37, phone_number="number \0"),
    entry(38, requested_at=None),
    entry(39, reason="as it was before"),
]
"""Resolved at an unknown time, odd texts, other notations; 36, 38 and 39 are erased."""


def sync_all(mirror: Mirror) -> None:
    """Sync everything into an empty mirror; its clock advances by an hour per sync."""
    mirror.sync([*FIRST, FIRST[0], _JUNK])
    mirror.sync()
    _begin(mirror, "default")  # abandoned; the next complete sync finds it
    slow = _begin(mirror, "default")
    mirror.sync(SECOND)
    with write_transaction(mirror.engine, runs.lock(slow.environment)) as connection:
        runs.end(
            connection, slow, outcome="superseded", finished_at=mirror.now, pages=1, bytes=2479,
            seconds=0.25,
        )  # fmt: skip
    mirror.sync(THIRD)
    mirror.sync([])
    mirror.sandbox.set_fault("forbidden", times=1)
    mirror.sync()
    mirror.sync(STAGING, environment="staging")
    _sync_odd(mirror)
    _begin(mirror, "staging")
    with write_transaction(mirror.engine, "cursors") as connection:
        connection.execute(
            sa.insert(models.change_cursors).values(
                name="default", environment="staging", moved_at=mirror.now
            )
        )


def _sync_odd(mirror: Mirror) -> None:
    """Sync `ODD`, erase numbers and take one erasure back; a reader sees the changes until then."""
    mirror.sync(ODD, environment="odd")
    for number in (36, 38, 39):
        erasure.erase(mirror.engine, f"+1555123{number:04d}", environment="odd", now=mirror.now)
    erasure.clean(mirror.engine, now=mirror.now)
    erasure.undo(mirror.engine, "erased-3", now=mirror.now)
    closed = {"status": "approved", "resolved_at": "2024-01-11T20:30:00Z"}
    seen = mirror.sync(after(ODD, r31={"reason": None}, r36=closed), environment="odd")
    position = cursors.Position(seen.run_id, mirror.now)
    cursors.move(mirror.engine, "reader", {"odd": position}, now=mirror.now)


def _begin(mirror: Mirror, environment: str) -> runs.Run:
    """Record the start of a run that does not continue."""
    with write_transaction(mirror.engine, runs.lock(environment)) as connection:
        return runs.begin(connection, environment, BASE_URL, mirror.now)
