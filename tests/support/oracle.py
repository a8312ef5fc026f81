"""A mirror in plain Python: what the real one must know, remembered without any SQL.

`hear` reads a list as the contract says, with Python's own JSON. `Memory` knows each request's
states in turn, and `PlainMirror` also what is in quarantine, and how a sync must end.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise, zip_longest
from typing import Any, Literal

from mirror.sync.run import Outcome

Fields = dict[str, Any]
"""A request as upstream gives it, or a part of it."""

Paging = Literal["meta", "pagination"] | None
"""The key under which a list says its pages, or None: it comes whole."""

TIMES = ("requested_at", "resolved_at")
KNOWN = (
    "phone_number",
    "phone_number_id",
    "reason",
    "status",
    "rejection_reason",
    *TIMES,
)
HALF = "\udead"
"""Half of a surrogate pair, which JSON may hold and no database can keep; NUL is the other one."""

_FEW = 5
_LONGEST_IDENTIFIER = 255


@dataclass(frozen=True)
class State:
    """What is known of a request after a sync, and since when.

    Attributes:
        fields: the known fields, as rows of the views have them.
        gone: whether it was missing from the list.
        since: when the sync began that first knew it so.
        first: when the sync began that first saw the request.
        extra: the fields that mirror does not know, as they were last; they do not make a state.
    """

    fields: dict[str, Any]
    gone: bool
    since: datetime
    first: datetime
    extra: Fields | None = field(default=None, compare=False)

    @property
    def status(self) -> str:
        """The status, as upstream gave it."""
        return str(self.fields["status"])

    @property
    def resolved(self) -> bool:
        """Whether it has left pending for good."""
        known = {"approved", "rejected", "cancelled"}
        return self.status in known or (
            self.status != "pending" and self.fields["resolved_at"] is not None
        )


class Memory:
    """What a mirror must know: each request's states in turn, remembered without any SQL."""

    def __init__(self) -> None:
        self.states: dict[str, list[State]] = {}

    def copy(self) -> Memory:
        """Make another memory of the same."""
        other = Memory()
        other.states = {key: list(states) for key, states in self.states.items()}
        return other

    def learn(self, when: datetime, understood: dict[str, Fields], bad: set[str]) -> Counter[str]:
        """Take in a list: requests that it lacks are gone, unreadable ones stay as they were.

        Returns:
            How many requests were inserted, updated, returned, unchanged and missing.
        """
        happened: Counter[str] = Counter()
        for key, one in understood.items():
            happened[self._hear_of(key, cut(one), _unknown(one), when)] += 1
        for key in self.lacking(understood, bad):
            self.states[key].append(replace(self.states[key][-1], gone=True, since=when))
            happened["missing"] += 1
        return happened

    def lacking(self, understood: dict[str, Fields], bad: set[str]) -> set[str]:
        """Tell which requests would go missing by a list."""
        return self.states.keys() - understood.keys() - bad - self.gone()

    def gone(self) -> set[str]:
        """Tell which requests are missing."""
        return {key for key, states in self.states.items() if states[-1].gone}

    def _hear_of(
        self, key: str, fields: dict[str, Any], extra: Fields | None, when: datetime
    ) -> str:
        """Take in what a list says about one request; return what became of it."""
        states = self.states.setdefault(key, [])
        last = states[-1] if states else None
        if last and not last.gone and last.fields == fields:
            states[-1] = replace(last, extra=extra)
            return "unchanged"
        first = last.first if last else when
        states.append(State(fields, gone=False, since=when, first=first, extra=extra))
        if last is None:
            return "inserted"
        return "returned" if last.gone else "updated"

    def as_of(self, when: datetime) -> dict[str, State]:
        """Look up each request's state at a time."""
        return {
            key: [state for state in states if state.since <= when][-1]
            for key, states in self.states.items()
            if states[0].since <= when
        }

    def versions(self) -> list[dict[str, Any]]:
        """Tell each state, with its number and the time when the next one began."""
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
            }
            for key, states in self.states.items()
            for number, (state, later) in enumerate(zip_longest(states, states[1:]), start=1)
        ]

    def changes(self) -> list[dict[str, Any]]:
        """Tell what changed between each state and the next."""
        rows = []
        for key, states in self.states.items():
            for old, new in pairwise(states):
                kinds = []
                if old.gone != new.gone:
                    kinds.append("vanished" if new.gone else "returned")
                if old.fields != new.fields:
                    kinds.append(self._kind(old, new))
                rows += [
                    {
                        "request_id": key,
                        "phone_number": new.fields["phone_number"],
                        "changed_at": new.since,
                        "kind": kind,
                        "old_status": old.status,
                        "new_status": new.status,
                        "old_resolved_at": old.fields["resolved_at"],
                        "new_resolved_at": new.fields["resolved_at"],
                    }
                    for kind in kinds
                ]
        return rows

    def history(self) -> list[dict[str, Any]]:
        """Tell each request's events under the number that it has now."""
        rows = []
        for key, states in self.states.items():
            now = states[-1].fields
            known = {
                "request_id": key,
                "phone_number": now["phone_number"],
                "phone_number_id": now["phone_number_id"],
            }
            rows += [known | event for event in self._events(states)]
        return rows

    def _events(self, states: list[State]) -> Iterator[dict[str, Any]]:
        """Tell the events of one request."""
        now = states[-1].fields
        yield {
            "event": "requested",
            "occurred_at": now["requested_at"],
            "time_source": "reported",
            "status": "pending",
            "reason": now["reason"],
            "rejection_reason": None,
        }
        told: set[tuple[str, datetime | None]] = set()
        for place, (status, group) in enumerate(groupby(states, lambda state: state.status)):
            first, *rest = group
            last = rest[-1] if rest else first
            if status == "pending" and place == 0:
                continue
            reported = None if status == "pending" else last.fields["resolved_at"]
            if (status, reported) in told:
                reported = None
            told |= {(status, state.fields["resolved_at"]) for state in (first, *rest)}
            yield self._event("reopened" if status == "pending" else status, last) | {
                "occurred_at": reported or first.since,
                "time_source": "reported" if reported else "observed",
            }
        for old, new in pairwise(states):
            if old.gone != new.gone:
                yield self._event("vanished" if new.gone else "returned", new)

    def _event(self, event: str, state: State) -> dict[str, Any]:
        return {
            "event": event,
            "occurred_at": state.since,
            "time_source": "observed",
            "status": state.status,
            "reason": state.fields["reason"],
            "rejection_reason": state.fields["rejection_reason"],
        }

    def numbers(self) -> list[dict[str, Any]]:
        """Sum up the requests of each number."""
        by_number: dict[str, list[tuple[datetime, str, dict[str, Any]]]] = {}
        for key, states in self.states.items():
            fields = states[-1].fields
            ours = by_number.setdefault(fields["phone_number"], [])
            ours.append((fields["requested_at"], key, fields))
        rows = []
        for number, requests in by_number.items():
            requested_at, key, fields = max(requests)
            times = [one["resolved_at"] for _, _, one in requests if one["resolved_at"]]
            rows.append(
                {
                    "phone_number": number,
                    "phone_number_id": fields["phone_number_id"],
                    "requests": len(requests),
                    "last_request_id": key,
                    "last_status": fields["status"],
                    "first_requested_at": min(requests)[0],
                    "last_requested_at": requested_at,
                    "last_resolved_at": max(times, default=None),
                    "released": fields["status"] == "approved",
                }
            )
        return rows

    def _kind(self, old: State, new: State) -> str:
        if new.status == "pending" and old.status != "pending":
            return "reopened"
        return "resolved" if new.resolved and not old.resolved else "corrected"


def cut(one: Fields) -> dict[str, Any]:
    """Cut the fields of an entry to what the database can keep."""
    return {name: _cut(name, one.get(name)) for name in KNOWN}


def _cut(name: str, value: str | None) -> str | datetime | None:
    if value is None:
        return None
    if name not in TIMES:
        return value.replace("\0", "\ufffd")
    time = datetime.fromisoformat(value).astimezone(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _unknown(one: Fields) -> Fields | None:
    """The fields of an entry that mirror does not know."""
    return {name: value for name, value in one.items() if name not in {"id", *KNOWN}} or None


@dataclass(frozen=True)
class Reject:
    """An entry that cannot be understood.

    Attributes:
        key: what tells it from others: its known fields, or all of it.
        raw: its JSON, as a database can keep it.
        request_id: the id, if that much can be read.
    """

    key: str
    raw: str
    request_id: str | None


@dataclass
class ParsedList:
    """What there is to understand in a list.

    Attributes:
        entries: how many there are.
        understood: those that can be understood, by id.
        rejects: those that cannot.
        duplicates: those that equal another one with the same id.
        repeated: whether an id occurs more than once.
    """

    entries: int
    understood: dict[str, Fields] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    duplicates: int = 0
    repeated: bool = False

    @property
    def bad(self) -> set[str]:
        """The ids of entries that cannot be understood."""
        return {one.request_id for one in self.rejects if one.request_id is not None}


def parse_list(texts: tuple[str, ...]) -> ParsedList:
    """Read a list, given each entry's JSON."""
    heard = ParsedList(len(texts))
    groups: dict[str | int, list[str]] = {}
    for place, text in enumerate(texts):
        request_id = _request_id(text)
        groups.setdefault(place if request_id is None else request_id, []).append(text)
    for group in groups.values():
        meanings = [_meaning(text) for text in group]
        same = all(one == meanings[0] for one in meanings)
        heard.repeated |= len(group) > 1
        if same and meanings[0] is not None:
            heard.understood[meanings[0]["id"]] = meanings[0]
            heard.duplicates += len(group) - 1
        elif len({_kept(text) for text in group}) == 1:
            heard.rejects.append(_reject(group[0], whole=False))
            heard.duplicates += len(group) - 1
        else:
            pairs = zip(group, meanings, strict=True)
            heard.rejects += [_reject(text, whole=one is not None) for text, one in pairs]
    return heard


def _kept(text: str) -> str:
    """Write JSON as a database can keep it: without half a pair."""
    return text.replace("\\udead", "\\ufffd")


def _reject(text: str, *, whole: bool) -> Reject:
    one = json.loads(text)
    known = set(one) & {"id", *KNOWN} if isinstance(one, dict) else set()
    key = _kept(text)
    if known and not whole:
        part = {name: one[name] for name in sorted(known)}
        key = json.dumps(part, separators=(",", ":"), ensure_ascii=text.isascii())
    key = _kept(key.replace(HALF, "\\udead")).replace("\\u0000", "\\ufffd")
    return Reject(key, _kept(text), _request_id(text))


def _request_id(text: str) -> str | None:
    """Read the id of an entry, if it has one that can be used."""
    one = json.loads(text)
    request_id = one.get("id") if isinstance(one, dict) else None
    return request_id if _is_identifier(request_id) else None


def _is_identifier(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_IDENTIFIER


def _meaning(text: str) -> Fields | None:
    """Read an entry: no known field is null, and times are in UTC; None if it makes no sense."""
    one = json.loads(text.replace("\\u0000", "\\ufffd").replace("\\udead", "\\ufffd"))
    if not isinstance(one, dict):
        return None
    fields = {name: one[name] for name in one if one[name] is not None or name not in KNOWN}
    texts = fields.keys() & (set(KNOWN) - {*TIMES})
    if not (
        all(_is_identifier(fields.get(name)) for name in ("id", "phone_number", "status"))
        and all(isinstance(fields[name], str) for name in texts)
        and len(fields.get("phone_number_id", "")) <= _LONGEST_IDENTIFIER
        and "requested_at" in fields
    ):
        return None
    times = {name: _in_utc(fields[name]) for name in TIMES if name in fields}
    return None if None in times.values() else fields | times


def _in_utc(value: object) -> str | None:
    """Write a time in UTC, with all of its digits; None if it is none, or has no zone."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.astimezone(UTC).isoformat() if time.tzinfo else None
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class Kept:
    """A record in quarantine, with the columns of its row.

    Attributes:
        first_run_id, last_run_id, first_seen_at, last_seen_at: who saw it, and when.
        resolved_at: when it no longer occurred.
    """

    request_id: str | None
    raw: str
    first_run_id: int | None
    last_run_id: int | None
    first_seen_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None = None


@dataclass(frozen=True)
class Answer:
    """What upstream says to one sync.

    Attributes:
        texts: the entries of its list, as JSON.
        paging: whether the list comes in pages.
    """

    texts: tuple[str, ...]
    paging: Paging = None


class PlainMirror:
    """A mirror in plain Python: what the real one must know, and do with a list.

    Attributes:
        memory: the requests.
        quarantine: the records that were not understood, by what tells them apart.
        answer: what upstream said to the last complete sync.
        observed_at: the time that stands for that sync.
    """

    def __init__(self) -> None:
        self.memory = Memory()
        self.quarantine: dict[str, Kept] = {}
        self.answer: Answer | None = None
        self.observed_at: datetime | None = None

    def copy(self) -> PlainMirror:
        """Make another mirror that knows the same."""
        other = PlainMirror()
        other.memory, other.quarantine = self.memory.copy(), dict(self.quarantine)
        return other

    def time_of(self, now: datetime) -> datetime:
        """Tell the time that must stand for a sync: to the millisecond, and always a later one."""
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        return max(now, self.observed_at + timedelta(milliseconds=1)) if self.observed_at else now

    def outcome(self, answer: Answer, *, accept_missing: bool = False) -> Outcome:
        """Tell how a sync must end to which upstream says `answer`."""
        heard = parse_list(answer.texts)
        if answer.paging and heard.repeated:
            return Outcome.FAILED
        if answer == self.answer:
            return Outcome.UNCHANGED
        refused = self._lacks_too_much(heard) and not accept_missing
        return Outcome.REFUSED if refused else Outcome.APPLIED

    def _lacks_too_much(self, heard: ParsedList) -> bool:
        missing = len(self.memory.lacking(heard.understood, heard.bad))
        known = len(self.memory.states) - len(self.memory.gone())
        return missing > 0 and (not heard.entries or (missing > _FEW and missing * 10 > known))

    def learn(self, when: datetime, answer: Answer, run_id: int | None) -> dict[str, int]:
        """Take in a list; return what must be counted."""
        heard = parse_list(answer.texts)
        happened = self.memory.learn(when, heard.understood, heard.bad)
        self.answer, self.observed_at = answer, when
        names = ("inserted", "updated", "unchanged", "missing", "returned")
        return {name: happened[name] for name in names} | {
            "fetched": heard.entries,
            "duplicates": heard.duplicates,
            "quarantined": len(heard.rejects),
            "newly_quarantined": self._put_away(when, heard.rejects, run_id),
        }

    def _put_away(self, when: datetime, rejects: list[Reject], run_id: int | None) -> int:
        """Put rejects into quarantine, and let out what no longer occurs; count the new ones."""
        new = 0
        for key, one in {reject.key: reject for reject in rejects}.items():
            was = self.quarantine.get(key)
            new += was is None or was.resolved_at is not None
            seen = Kept(one.request_id, one.raw, run_id, run_id, when, when)
            if was is not None:
                since = was.first_run_id, was.first_seen_at
                seen = replace(seen, first_run_id=since[0], first_seen_at=since[1])
            self.quarantine[key] = seen
        for key in self.quarantine.keys() - {reject.key for reject in rejects}:
            if self.quarantine[key].resolved_at is None:
                self.quarantine[key] = replace(self.quarantine[key], resolved_at=when)
        return new
