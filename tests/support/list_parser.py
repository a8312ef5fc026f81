"""Decodes a list in plain Python: which entries are valid, which are invalid, which repeat."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

Fields = dict[str, Any]
"""A request as upstream gives it, or a part of it."""

TIMES = ("requested_at", "resolved_at")
OF_A_STATUS = ("resolved_at", "rejection_reason")
FINGERPRINTED = {
    *("id", "phone_number", "phone_number_id", "reason", "status"),
    *("requested_at", "resolved_at", "rejection_reason"),
}
KNOWN = ("phone_number", "phone_number_id", "reason", "status", "rejection_reason", *TIMES)
HALF = "\udead"
"""Half of a surrogate pair: like NUL, JSON can contain it, and no database can store it."""

_LONGEST_IDENTIFIER = 255


def cut(entry: Fields) -> Fields:
    """Return the known fields of an entry, with the characters and precision of the database."""
    return {name: _cut(name, entry.get(name)) for name in KNOWN}


def _cut(name: str, value: str | None) -> str | datetime | None:
    if value is None:
        return None
    if name not in TIMES:
        return value.replace("\0", "\ufffd")
    return to_milliseconds(datetime.fromisoformat(value).astimezone(UTC))


def to_milliseconds(time: datetime) -> datetime:
    """Truncate a time to milliseconds, the precision of the database."""
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


@dataclass(frozen=True)
class InvalidRecord:
    """An entry that cannot be understood."""

    key: str  # identifies the record: its known fields, or all of it
    raw: str  # its JSON, with the characters of the database
    request_id: str | None  # if it is readable
    # What else is readable and there; None without a readable id, or if another entry has it.
    readable: Fields | None = None

    @property
    def written_id(self) -> str:
        """The id as text, readable or not; empty if it is neither a text nor a number."""
        entry = json.loads(self.raw)
        written = entry.get("id") if isinstance(entry, dict) else None
        return str(written) if isinstance(written, str | int | float) else ""


@dataclass
class ParsedList:
    """A decoded list."""

    entries: int  # their number
    valid: dict[str, Fields] = field(default_factory=dict)  # by id
    invalid: list[InvalidRecord] = field(default_factory=list)
    duplicates: int = 0  # entries equal to another one with the same id
    places: list[list[int]] = field(default_factory=list)  # of the entries of each id

    @property
    def invalid_ids(self) -> set[str]:
        """The readable ids of the invalid entries."""
        return {record.request_id for record in self.invalid if record.request_id is not None}

    @property
    def partial(self) -> dict[str, Fields]:
        """What can be read of the invalid entries, by id."""
        return {
            record.request_id: record.readable
            for record in self.invalid
            if record.request_id is not None and record.readable is not None
        }


def parse_list(texts: tuple[str, ...]) -> ParsedList:
    """Decode a list, given the JSON of each entry."""
    parsed = ParsedList(len(texts))
    groups: dict[str | int, list[str]] = {}
    places: dict[str | int, list[int]] = {}
    for position, text in enumerate(texts):
        request_id = _request_id(text)
        key = position if request_id is None else request_id
        groups.setdefault(key, []).append(text)
        places.setdefault(key, []).append(position)
    parsed.places += places.values()
    for group in groups.values():
        records = [_record(text) for text in group]
        if records[0] is not None and all(record == records[0] for record in records[1:]):
            parsed.valid[records[0]["id"]] = records[0]
            parsed.duplicates += len(group) - 1
        elif len({_storable(text) for text in group}) == 1:
            parsed.invalid.append(
                replace(_invalid(group[0], contradicts=False), readable=_partial(group[0]))
            )
            parsed.duplicates += len(group) - 1
        else:
            pairs = zip(group, records, strict=True)
            parsed.invalid += [
                _invalid(text, contradicts=record is not None) for text, record in pairs
            ]
    return parsed


def _storable(text: str) -> str:
    return text.replace("\\udead", "\\ufffd")


def _invalid(text: str, *, contradicts: bool) -> InvalidRecord:
    """Make an invalid record; one that only contradicts another is identified by all its fields."""
    entry = json.loads(text)
    known = set(entry) & FINGERPRINTED if isinstance(entry, dict) else set()
    key = _storable(text)
    if known and not contradicts:
        part = {name: entry[name] for name in sorted(known)}
        key = json.dumps(part, separators=(",", ":"), ensure_ascii=text.isascii())
    key = _storable(key.replace(HALF, "\\udead")).replace("\\u0000", "\\ufffd")
    return InvalidRecord(key, _storable(text), _request_id(text))


@lru_cache(maxsize=1 << 17)
def _request_id(text: str) -> str | None:
    entry = json.loads(text)
    request_id = entry.get("id") if isinstance(entry, dict) else None
    return request_id if _is_identifier(request_id) else None


def _is_identifier(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_IDENTIFIER


@lru_cache(maxsize=1 << 17)  # lists of 30,000 entries are parsed again and again
def _record(text: str) -> Fields | None:
    """Decode an entry, without known fields that are null, times in UTC; None if invalid."""
    entry = _load(text)
    if not isinstance(entry, dict):
        return None
    if not all(_is_readable(name, entry.get(name)) for name in ("id", *KNOWN)):
        return None
    fields = {name: entry[name] for name in entry if entry[name] is not None or name not in KNOWN}
    return fields | {name: _in_utc(fields[name]) for name in TIMES if name in fields}


@lru_cache(maxsize=1 << 17)
def _partial(text: str) -> Fields | None:
    """Return the fields of an invalid entry that are there and readable; None without an id.

    `resolved_at` and `rejection_reason` say nothing without a status.
    """
    if _request_id(text) is None:
        return None
    entry = _load(text)
    fields = {
        name: entry[name]
        for name in entry
        if name != "id" and (name not in KNOWN or _is_readable(name, entry[name]))
    }
    if "status" not in fields:
        fields = {name: fields[name] for name in fields if name not in OF_A_STATUS}
    return fields


def _load(text: str) -> Any:
    return json.loads(text.replace("\\u0000", "\\ufffd").replace("\\udead", "\\ufffd"))


def _is_readable(name: str, value: object) -> bool:
    if name in ("id", "phone_number", "status"):
        return _is_identifier(value)
    if name == "requested_at" or (name == "resolved_at" and value is not None):
        return _in_utc(value) is not None
    longest = _LONGEST_IDENTIFIER if name == "phone_number_id" else math.inf
    return value is None or (isinstance(value, str) and len(value) <= longest)


def _in_utc(value: object) -> str | None:
    """Convert a time to UTC, with all of its digits; None if it is invalid or has no zone."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.astimezone(UTC).isoformat() if time.tzinfo else None
    except (ValueError, OverflowError):
        return None
