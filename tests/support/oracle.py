"""A model of the mirror in plain Python, independent of the product's code and of SQL.

`Memory` holds the successive states of each request. `PlainMirror` adds the quarantine and the
outcome of a sync. `expected_tables` has the rows that the database must contain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby, pairwise, zip_longest
from typing import Any, Literal

from tests.support.list_parser import (
    KNOWN,
    OF_A_STATUS,
    Fields,
    InvalidRecord,
    ParsedList,
    cut,
    parse_list,
    to_milliseconds,
)

Row = dict[str, Any]

Paging = Literal["meta", "pagination"] | None
"""The key of the paging object, or None for a list in one response."""

PAGE = 20
"""Entries in a page: few, so that a short list has several."""

_VERSION = (
    "environment",
    "id",
    "valid_from",
    *KNOWN,
    "extra",
    "first_seen_at",
    "missing_since",
    "sync_run_id",
)
COLUMNS = {
    "release_requests": _VERSION,
    "release_request_past_versions": (*_VERSION, "valid_to"),
    "quarantined_records": (
        *("environment", "raw", "request_id", "first_run_id", "last_run_id"),
        *("first_seen_at", "last_seen_at", "resolved_at"),
    ),
}
"""The columns that a sync writes, without those that depend on wording."""

_IN_ORDER = (
    *("phone_number_id", "phone_number", "reason", "status", "rejection_reason"),
    *("requested_at", "resolved_at"),
)
"""The known fields in the order of the columns of `release_requests`."""

Tables = dict[str, list[tuple[Any, ...]]]
"""The sorted rows of each table, with the values of its `COLUMNS`."""

_GUARD_MINIMUM = 5


@dataclass(frozen=True)
class State:
    """The known state of a request after a sync."""

    fields: Fields  # the known ones, as in rows of the views
    gone: bool  # missing from the list
    since: datetime  # start of the sync that first saw this state
    first: datetime  # start of the sync that first saw the request
    # The last unknown fields, a change of which makes no new state, and the run of `since`.
    extra: Fields | None = field(default=None, compare=False)
    run_id: int | None = field(default=None, compare=False)

    @property
    def status(self) -> str:
        """The status, as upstream gave it."""
        return str(self.fields["status"])

    @property
    def resolved(self) -> bool:
        """Whether the request has left pending for good."""
        known = {"approved", "rejected", "cancelled"}
        return self.status in known or (
            self.status != "pending" and self.fields["resolved_at"] is not None
        )


@dataclass(frozen=True)
class Pull:
    """A complete sync: its observation time, and the ids that its list had."""

    when: datetime
    listed: frozenset[str]
    with_status: frozenset[str]  # those whose status could be read
    invalid: frozenset[str]


class Memory:
    """The successive states of each request, by its id, and the pulls that saw them."""

    def __init__(self) -> None:
        self.states: dict[str, list[State]] = {}
        self.pulls: list[Pull] = []

    def copy(self) -> Memory:
        """Return an independent copy."""
        other = Memory()
        other.states = {key: list(states) for key, states in self.states.items()}
        other.pulls = list(self.pulls)
        return other

    def see_again(self, when: datetime) -> None:
        """Note a pull whose list is that of the last one."""
        self.pulls.append(replace(self.pulls[-1], when=when))

    def learn(self, when: datetime, parsed: ParsedList, run_id: int | None = None) -> Counter[str]:
        """Apply a list: requests that it lacks are gone, invalid ones follow what can be read."""
        counts: Counter[str] = Counter()
        invalid = frozenset(parsed.invalid_ids)
        with_status = {key for key, entry in parsed.partial.items() if "status" in entry}
        self.pulls.append(
            Pull(
                when,
                invalid | parsed.valid.keys(),
                invalid & with_status | parsed.valid.keys(),
                invalid,
            )
        )
        for key, entry in parsed.valid.items():
            state = State(
                cut(entry), gone=False, since=when, first=when, extra=_extra(entry), run_id=run_id
            )
            counts[self._learn_entry(key, state)] += 1
        for key, entry in parsed.partial.items():
            if key in self.states:
                last = self.states[key][-1]
                state = State(
                    _follow(last, entry),
                    gone=False,
                    since=when,
                    first=when,
                    extra=_extra(entry) or last.extra,
                    run_id=run_id,
                )
                counts[f"partly {self._learn_entry(key, state)}"] += 1
        for name in ("updated", "returned"):
            counts[name] += counts[f"partly {name}"]
        for key in self.lacking(parsed):
            last = self.states[key][-1]
            self.states[key].append(replace(last, gone=True, since=when, run_id=run_id))
            counts["missing"] += 1
        return counts

    def _learn_entry(self, key: str, new: State) -> str:
        """Apply one entry; return the name of its count."""
        states = self.states.setdefault(key, [])
        last = states[-1] if states else None
        if last is None:
            states.append(new)
            return "inserted"
        if not last.gone and last.fields == new.fields:
            if last.extra != new.extra:
                states[-1] = replace(last, extra=new.extra)
            return "unchanged"
        states.append(replace(new, first=last.first))
        return "returned" if last.gone else "updated"

    def lacking(self, parsed: ParsedList) -> set[str]:
        """The requests that would go missing if a list were applied."""
        return self.listed() - parsed.valid.keys() - parsed.invalid_ids

    def listed(self) -> set[str]:
        """The requests that are not missing."""
        return self.states.keys() - self.gone()

    def gone(self) -> set[str]:
        """The missing requests."""
        return {key for key, states in self.states.items() if states[-1].gone}

    def as_of(self, when: datetime) -> dict[str, State]:
        """The state of each request at a time."""
        return {
            key: [state for state in states if state.since <= when][-1]
            for key, states in self.states.items()
            if states[0].since <= when
        }

    def versions(self) -> list[Row]:
        """The rows of `release_request_versions`."""
        return [
            state.fields
            | {
                "id": key,
                "version": number,
                "extra": state.extra,
                "first_seen_at": state.first,
                "valid_from": state.since,
                "valid_to": later.since if later else None,
                "missing_since": state.since if state.gone else None,
                "sync_run_id": state.run_id,
            }
            for key, states in self.states.items()
            for number, (state, later) in enumerate(zip_longest(states, states[1:]), start=1)
        ]

    def changes(self) -> list[Row]:
        """The rows of `release_request_changes`."""
        return [
            {
                "request_id": key,
                "phone_number": new.fields["phone_number"],
                "changed_at": new.since,
                "kind": kind,
                "old_status": old.status,
                "new_status": new.status,
                "old_resolved_at": old.fields["resolved_at"],
                "new_resolved_at": new.fields["resolved_at"],
                "changed_fields": ()
                if kind in {"vanished", "returned"}
                else tuple(name for name in _IN_ORDER if old.fields[name] != new.fields[name]),
            }
            for key, states in self.states.items()
            for old, new in pairwise(states)
            for kind in _kinds(old, new)
        ]

    def history(self) -> list[Row]:
        """The rows of `phone_number_history`, under the current number of each request."""
        return [
            {
                "request_id": key,
                "phone_number": states[-1].fields["phone_number"],
                "phone_number_id": states[-1].fields["phone_number_id"],
            }
            | event
            | {"not_before": self._not_before(key, event)}
            for key, states in self.states.items()
            for event in _events(states)
        ]

    def _not_before(self, key: str, event: Row) -> datetime | None:
        """The last pull that showed the request in the state before an event."""
        requested_at: datetime = self.states[key][-1].fields["requested_at"]
        if event["time_source"] != "observed":
            return requested_at if event["time_source"] == "unknown" else None
        kind = event["event"]

        def shown(pull: Pull) -> bool:
            if kind in {"vanished", "returned"}:
                return (key in pull.listed) is (kind == "vanished")
            return key in pull.with_status

        pulls = (pull for pull in self.pulls if pull.when < event["observed_at"])
        return max(requested_at, *(pull.when for pull in pulls if shown(pull)))

    def history_like(self, rows: list[Row]) -> list[Row]:
        """The rows of `phone_number_history`, with the `not_before` of given rows where allowed.

        The mirror does not know when a request was in quarantine, and what of it could be read
        then. So the bound may be earlier for a request that was, but never later.
        """
        found = {_key(row): row["not_before"] for row in rows}
        model = self.history()
        for event in model:
            key, bound = event["request_id"], found.get(_key(event))
            was_invalid = any(key in pull.invalid for pull in self.pulls)
            if was_invalid and bound and event["not_before"] and bound < event["not_before"]:
                last = self.states[key][-1]
                assert bound >= max(last.fields["requested_at"], last.first)
                event["not_before"] = bound
        return model

    def numbers(self) -> list[Row]:
        """The rows of `phone_numbers`."""
        by_number: dict[str, list[tuple[datetime, str, Fields]]] = {}
        for key, states in self.states.items():
            fields = states[-1].fields
            requests = by_number.setdefault(fields["phone_number"], [])
            requests.append((fields["requested_at"], key, fields))
        rows = []
        for number, requests in by_number.items():
            requested_at, key, fields = max(requests)
            resolved = [other["resolved_at"] for *_, other in requests if other["resolved_at"]]
            rows.append(
                {
                    "phone_number": number,
                    "phone_number_id": fields["phone_number_id"],
                    "requests": len(requests),
                    "last_request_id": key,
                    "last_status": fields["status"],
                    "first_requested_at": min(requests)[0],
                    "last_requested_at": requested_at,
                    "last_resolved_at": max(resolved, default=None),
                    "released": fields["status"] == "approved",
                }
            )
        return rows


def _extra(entry: Fields) -> Fields | None:
    """The unknown fields of an entry."""
    return {name: entry[name] for name in entry if name not in {"id", *KNOWN}} or None


def _follow(last: State, entry: Fields) -> Fields:
    """The fields of a request after an entry of which only some can be read."""
    fields = last.fields
    if entry.get("status", last.status) != last.status:
        fields = fields | dict.fromkeys(OF_A_STATUS)
    return fields | {name: cut(entry)[name] for name in entry if name in KNOWN}


def _notation(request_id: str) -> str:
    """An id without white space around it and without capitals."""
    return request_id.strip().lower()


def _kinds(old: State, new: State) -> Iterator[str]:
    """The kinds of change between two successive states."""
    if old.gone != new.gone:
        yield "vanished" if new.gone else "returned"
    if old.fields != new.fields:
        if new.status == "pending" and old.status != "pending":
            yield "reopened"
        else:
            yield "resolved" if new.resolved and not old.resolved else "corrected"


def _events(states: list[State]) -> Iterator[Row]:
    """The events of one request."""
    yield _event("requested", states[-1]) | {
        "occurred_at": states[-1].fields["requested_at"],
        "observed_at": states[0].since,
        "time_source": "reported",
        "status": "pending",
        "rejection_reason": None,
    }
    used: set[tuple[str, datetime | None]] = set()
    for position, (status, group) in enumerate(groupby(states, lambda state: state.status)):
        first, *rest = group
        last = rest[-1] if rest else first
        if status == "pending" and position == 0:
            continue
        reported = None if status == "pending" else last.fields["resolved_at"]
        if (status, reported) in used:
            reported = None
        used |= {(status, state.fields["resolved_at"]) for state in (first, *rest)}
        observed = first.since if position else None
        yield _event("reopened" if status == "pending" else status, last) | {
            "occurred_at": reported or observed,
            "observed_at": first.since,
            "time_source": "reported" if reported else "observed" if observed else "unknown",
        }
    for old, new in pairwise(states):
        if old.gone != new.gone:
            yield _event("vanished" if new.gone else "returned", new)


def _key(event: Row) -> tuple[Any, ...]:
    return event["request_id"], event["event"], event["observed_at"]


def _event(event: str, state: State) -> Row:
    return {
        "event": event,
        "occurred_at": state.since,
        "observed_at": state.since,
        "time_source": "observed",
        "status": state.status,
        "reason": state.fields["reason"],
        "rejection_reason": state.fields["rejection_reason"],
    }


@dataclass(frozen=True)
class QuarantinedRecord:
    """A row of `quarantined_records`."""

    request_id: str | None
    raw: str
    first_run_id: int | None
    last_run_id: int | None
    first_seen_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None = None


@dataclass(frozen=True)
class ListResponse:
    """What upstream responds to one sync: the JSON of each entry, whole or in pages."""

    texts: tuple[str, ...]
    paging: Paging = None


class PlainMirror:
    """The mirror of one environment."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.quarantine: dict[str, QuarantinedRecord] = {}  # by `InvalidRecord.key`
        # The response to the last complete sync, and its observation time.
        self.response: ListResponse | None = None
        self.observed_at: datetime | None = None

    def copy(self) -> PlainMirror:
        """Return an independent copy."""
        other = PlainMirror()
        other.memory, other.quarantine = self.memory.copy(), dict(self.quarantine)
        return other

    def observation_time(self, now: datetime) -> datetime:
        """The observation time of a sync: in milliseconds, and later than the last one."""
        now = to_milliseconds(now)
        return max(now, self.observed_at + timedelta(milliseconds=1)) if self.observed_at else now

    def outcome(self, response: ListResponse, *, accept_missing: bool = False) -> str:
        """The expected outcome of a sync."""
        parsed = parse_list(response.texts)
        pages = [{place // PAGE for place in places} for places in parsed.places]
        if response.paging and any(len(of_an_id) > 1 for of_an_id in pages):
            return "failed"
        if response == self.response:
            return "unchanged"
        return "refused" if self._is_implausible(parsed) and not accept_missing else "applied"

    def _is_implausible(self, parsed: ParsedList) -> bool:
        listed, missing = self.memory.listed(), self.memory.lacking(parsed)
        in_quarantine = {
            record.request_id for record in self.quarantine.values() if not record.resolved_at
        }
        unreadable = (listed & parsed.invalid_ids) - in_quarantine
        lost, known = len(missing) + len(unreadable), len(listed)
        if lost > _GUARD_MINIMUM and lost * 10 > known:
            return True
        if lost == known > 0 and (unreadable or not parsed.valid):
            return known > 1 or bool(missing)
        contested = parsed.invalid_ids - parsed.partial.keys()
        ids = (parsed.valid.keys() | parsed.invalid_ids) - listed - (contested & self.memory.gone())
        ids |= {record.written_id for record in parsed.invalid if record.request_id is None}
        return not {_notation(one) for one in ids}.isdisjoint(map(_notation, missing))

    def learn(self, when: datetime, response: ListResponse, run_id: int | None) -> dict[str, int]:
        """Apply a list; return the expected counts of the run."""
        parsed = parse_list(response.texts)
        counts = self.memory.learn(when, parsed, run_id)
        self.response, self.observed_at = response, when
        names = ("inserted", "updated", "unchanged", "missing", "returned")
        return {name: counts[name] for name in names} | {
            "fetched": parsed.entries,
            "duplicates": parsed.duplicates,
            "quarantined": len(parsed.invalid),
            "newly_quarantined": self._quarantine(when, parsed.invalid, run_id),
        }

    def _quarantine(self, when: datetime, records: list[InvalidRecord], run_id: int | None) -> int:
        """Add invalid records, resolve those that no longer occur; return how many are new."""
        added = 0
        by_key = {record.key: record for record in records}
        for key, record in by_key.items():
            old = self.quarantine.get(key)
            added += old is None or old.resolved_at is not None
            new = QuarantinedRecord(record.request_id, record.raw, run_id, run_id, when, when)
            if old is not None:
                first_run_id, first_seen_at = old.first_run_id, old.first_seen_at
                new = replace(new, first_run_id=first_run_id, first_seen_at=first_seen_at)
            self.quarantine[key] = new
        for key, old in self.quarantine.items():
            if key not in by_key and old.resolved_at is None:
                self.quarantine[key] = replace(old, resolved_at=when)
        return added


def expected_tables(mirrors: Mapping[str, PlainMirror]) -> Tables:
    """The rows that the database must contain, given the mirror of each environment."""
    tables: dict[str, list[Row]] = {table: [] for table in COLUMNS}
    for environment, mirror in mirrors.items():
        for version in mirror.memory.versions():
            is_past = version["valid_to"] is not None
            table = "release_request_past_versions" if is_past else "release_requests"
            tables[table].append(version | {"environment": environment})
        quarantined = (vars(record) for record in mirror.quarantine.values())
        tables["quarantined_records"] += [
            record | {"environment": environment} for record in quarantined
        ]
    return {
        table: in_order(tuple(row[name] for name in COLUMNS[table]) for row in rows)
        for table, rows in tables.items()
    }


def in_order(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Sort rows of a table by their first columns, which no two rows share."""
    return sorted(rows, key=lambda row: row[:3])
