"""What the views of figures must say, found out in plain Python from what `Memory` remembers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

from tests.support.oracle import Memory, State

VERDICTS = ("approved", "rejected", "cancelled")
_MILLISECONDS_AN_HOUR = 3_600_000


def turnaround(memory: Memory) -> list[dict[str, Any]]:
    """Tell how long each request took that is resolved now."""
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
                now.first,
            )
            reported = now.fields["resolved_at"]
            took = (reported or entered) - now.fields["requested_at"]
            rows.append(
                {
                    "id": key,
                    "phone_number": now.fields["phone_number"],
                    "status": now.status,
                    "requested_at": now.fields["requested_at"],
                    "resolved_at": reported or entered,
                    "hours_to_resolve": took // timedelta(milliseconds=1) / _MILLISECONDS_AN_HOUR,
                    "time_source": "reported" if reported else "observed",
                }
            )
    return rows


def daily(memory: Memory, today: date) -> list[dict[str, Any]]:
    """Count the events of each day, and look at each request at the end of each day."""
    events = Counter((one["event"], one["occurred_at"].date()) for one in memory.history())
    lives = [_settled(_life(states)) for states in memory.states.values()]
    first = min((life[0][0].date() for life in lives), default=today)
    rows = []
    for day in (first + timedelta(days=number) for number in range((today - first).days + 1)):
        end = datetime.combine(day + timedelta(days=1), time(), UTC)
        rows.append(
            {"day": day, "open_at_end": sum(_is_open(life, end) for life in lives)}
            | {name: events[name, day] for name in ("requested", *VERDICTS)}
        )
    return rows


def _life(states: list[State]) -> Iterator[tuple[datetime, bool]]:
    """Tell when a request opened and closed, in the order in which it was observed.

    It did so when upstream says, but not after it was observed.
    """
    yield min(states[-1].fields["requested_at"], states[0].first), True
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


def _settled(life: Iterator[tuple[datetime, bool]]) -> list[tuple[datetime, bool]]:
    """Move each step back to what came later, if that happened earlier: then it had ended."""
    settled: list[tuple[datetime, bool]] = []
    for when, is_open in reversed(list(life)):
        settled.insert(0, (min(when, settled[0][0]) if settled else when, is_open))
    return settled


def _is_open(life: list[tuple[datetime, bool]], when: datetime) -> bool:
    """Tell whether a request was open just before a time."""
    return [False, *(is_open for since, is_open in life if since < when)][-1]
