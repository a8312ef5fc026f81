"""Decodes entries of the list into typed records, and rejects invalid ones with a reason.

The fields are those of the vendor's public documentation; anything not documented is optional.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from mirror.api import malformed
from mirror.api.malformed import MAX_IDENTIFIER
from mirror.api.raw_json import DECODING_ERRORS, NULL, decode_fields, replace_unstorable

_NUL = re.compile(rb"\\u0000")  # takes half the time of `in`
_BATCH = 1_000

Identifier = Annotated[str, Meta(min_length=1, max_length=MAX_IDENTIFIER)]
Time = Annotated[datetime, Meta(tz=True)]
_NeverOnTheWire = Annotated[str, Meta(pattern="(?!)")]


class Record(Struct, frozen=True, forbid_unknown_fields=True, gc=False, kw_only=True):
    """A release request in its current state; times are in UTC.

    Attributes:
        extra: the fields that `mirror` does not know, as the text of a JSON object with sorted
            keys and unchanged values; empty if there are none. It is set after decoding. Its type
            accepts nothing from the wire, so an upstream field named "extra" is an unknown field
            like any other.
    """

    id: Identifier
    phone_number: Identifier
    status: Identifier
    requested_at: Time
    phone_number_id: Annotated[str, Meta(max_length=MAX_IDENTIFIER)] | None = None
    reason: str | None = None
    resolved_at: Time | None = None
    rejection_reason: str | None = None
    extra: _NeverOnTheWire = ""


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """An entry of the list that is not a valid release request.

    Attributes:
        request_id: its id, if usable.
        raw: its JSON, unchanged; a byte that is not UTF-8 is written as a hex escape.
        error: why it is invalid.
        fingerprint: SHA-256 in hex of its known fields, so that a field that upstream adds does not
            change it; of the whole entry if it has no known field, or contradicts another entry.
    """

    request_id: str | None
    raw: str
    error: str
    fingerprint: str


_T = TypeVar("_T")


class _Identity(Struct, gc=False):
    id: Identifier


_record = msgspec.json.Decoder(Record)
_records = msgspec.json.Decoder(list[Record])
_identity = msgspec.json.Decoder(_Identity)
_identities = msgspec.json.Decoder(list[_Identity])
_text = msgspec.json.Decoder(str)
_KNOWN_FIELDS = frozenset(Record.__struct_encode_fields__) - {"extra"}


class IdIndex:
    """The ids of a list, collected before the rest of its entries is decoded."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._repeated: set[str] = set()
        self._without_id = 0

    @property
    def distinct(self) -> int:
        """Number of entries, those with the same id counted once."""
        return len(self._seen) + self._without_id

    @property
    def repeated(self) -> frozenset[str]:
        """The ids that occur more than once."""
        return frozenset(self._repeated)

    def add(self, entries: Sequence[Raw]) -> None:
        """Add entries of the list."""
        for batch in batches(entries):
            ids = _request_ids(batch)
            distinct = set(ids)
            if len(distinct) < len(ids) or not distinct.isdisjoint(self._seen):
                self._repeated.update(
                    request_id
                    for request_id, count in Counter(ids).items()
                    if request_id is not None and (count > 1 or request_id in self._seen)
                )
            if None in distinct:
                self._without_id += ids.count(None)
                distinct.discard(None)
            self._seen |= distinct  # type: ignore[arg-type]


def decode(entries: Iterable[Raw], repeated: frozenset[str]) -> Iterator[Record | InvalidRecord]:
    """Decode the entries of a list, a batch at a time.

    Args:
        entries: the entries.
        repeated: the ids that occur more than once, from an `IdIndex`.

    Yields:
        A record for each request, an invalid record for each invalid entry. Equal entries with the
        same id yield one of these, contradicting ones an invalid record each.
    """
    duplicates: dict[str, list[Raw]] = {}
    for batch in batches(entries):
        yield from _decode_batch(
            _split_duplicates(batch, repeated, duplicates) if repeated else batch
        )
    for group in duplicates.values():
        yield from _merge_duplicates(group)


def batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    """Split items into batches: processing many at once takes two thirds of the time."""
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _split_duplicates(
    batch: Sequence[Raw], repeated: frozenset[str], duplicates: dict[str, list[Raw]]
) -> Sequence[Raw]:
    """Move the entries with a repeated id into `duplicates`; return the others."""
    unique = []
    for entry, request_id in zip(batch, _request_ids(batch), strict=True):
        if request_id is not None and request_id in repeated:
            duplicates.setdefault(request_id, []).append(entry)
        else:
            unique.append(entry)
    return unique


def _merge_duplicates(entries: list[Raw]) -> Iterator[Record | InvalidRecord]:
    """Decode entries with the same id: one record if they are equal, else all are invalid."""
    decoded = [_decode_one(entry) for entry in entries]
    if all(record == decoded[0] for record in decoded):
        yield decoded[0]
        return
    for entry, record in zip(entries, decoded, strict=True):
        if isinstance(record, InvalidRecord):
            yield record
        else:
            reason = f"the list has {len(entries)} contradicting entries with this id"
            yield _invalid(entry, reason, identity=bytes(entry))


def _join(entries: Sequence[Raw]) -> bytes:
    """Return one JSON array of some entries."""
    return b"[" + b",".join(entries) + b"]"


def _decode_batch(batch: Sequence[Raw]) -> Sequence[Record | InvalidRecord]:
    """Decode entries at once, or one by one if any of them is unusual."""
    joined = _join(batch)
    if not _NUL.search(joined):
        with suppress(*DECODING_ERRORS):
            records = _records.decode(joined)
            zones = {record.requested_at.tzinfo for record in records}
            zones.update([record.resolved_at.tzinfo for record in records if record.resolved_at])
            return records if zones == {UTC} else [_in_utc(record) for record in records]
    return [_decode_one(entry) for entry in batch]


def _decode_one(raw: Raw) -> Record | InvalidRecord:
    entry = bytes(raw)
    if _NUL.search(entry):
        entry = replace_unstorable(entry)
    try:
        return _in_utc(_record.decode(entry))
    except DECODING_ERRORS:
        pass  # most likely for an unknown field; the next attempt finds any other fault too
    try:
        return _in_utc(_decode_with_unknown_fields(entry))
    except DECODING_ERRORS:
        return _invalid(raw, malformed.record_fault(entry))


def _decode_with_unknown_fields(entry: bytes) -> Record:
    """Decode an entry; keep the text of each unknown field."""
    fields = decode_fields(entry)
    unknown = {key: fields.pop(key) for key in sorted(fields.keys() - _KNOWN_FIELDS)}
    record = _record.decode(msgspec.json.encode(fields))
    extra = msgspec.json.encode(unknown).decode() if unknown else ""
    return msgspec.structs.replace(record, extra=extra)


def _invalid(raw: Raw, error: str, identity: bytes | None = None) -> InvalidRecord:
    """Return an invalid record whose fingerprint is of `identity`, by default the known fields."""
    return InvalidRecord(
        request_id=_request_id(raw),
        raw=bytes(raw).decode("utf-8", "backslashreplace"),
        error=error,
        fingerprint=hashlib.sha256(replace_unstorable(identity or _known_fields(raw))).hexdigest(),
    )


def _known_fields(raw: Raw) -> bytes:
    """Return the known fields of an entry in a fixed order; the whole entry if it has none."""
    try:
        fields = decode_fields(raw)
    except DECODING_ERRORS:
        return bytes(raw)
    known = {key: fields[key] for key in sorted(fields.keys() & _KNOWN_FIELDS)}
    return msgspec.json.encode(known) if known else bytes(raw)


def _in_utc(record: Record) -> Record:
    """Convert the times to UTC; raises OverflowError outside the years 1 to 9999."""
    requested_at, resolved_at = record.requested_at, record.resolved_at
    if requested_at.tzinfo is UTC and (resolved_at is None or resolved_at.tzinfo is UTC):
        return record
    return msgspec.structs.replace(
        record,
        requested_at=requested_at.astimezone(UTC),
        resolved_at=resolved_at and resolved_at.astimezone(UTC),
    )


def _request_ids(entries: Sequence[Raw]) -> list[str | None]:
    """Return the id of each entry, as `_request_id` does."""
    with suppress(*DECODING_ERRORS):
        ids = [identity.id for identity in _identities.decode(_join(entries))]
        if "\0" not in "".join(ids):
            return list(ids)
    return [_request_id(entry) for entry in entries]


def _request_id(raw: Raw) -> str | None:
    """Return the id of an entry, if usable; of several ids the last one."""
    try:
        request_id = _identity.decode(raw).id
    except DECODING_ERRORS:
        try:  # an earlier id may be invalid, which `_decode_one` accepts
            request_id = _text.decode(decode_fields(raw).get("id", NULL))
        except DECODING_ERRORS:
            return None
    if not 0 < len(request_id) <= MAX_IDENTIFIER:
        return None
    return request_id.replace("\0", "\ufffd")
