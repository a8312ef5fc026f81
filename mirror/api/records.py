"""Decodes entries of the list into typed records, and rejects invalid ones with a reason.

The fields are those of the vendor's public documentation; anything not documented is optional.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from mirror.api import malformed
from mirror.api.malformed import MAX_IDENTIFIER
from mirror.api.raw_json import (
    DECODING_ERRORS,
    NULL,
    decode_fields,
    quote_huge_numbers,
    replace_unstorable,
)
from mirror.errors import ApiError

_T = TypeVar("_T")

_NUL = re.compile(rb"\\u0000")  # takes half the time of `in`

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


class PartialRecord(Struct, frozen=True, forbid_unknown_fields=True, gc=False, kw_only=True):
    """What can be read of an invalid entry: the fields of `Record`, without its id.

    A field is `UNSET` if it cannot be read, or is not in the entry. `resolved_at` and
    `rejection_reason` belong to a status, and are not read without it.
    """

    phone_number: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    requested_at: datetime | UnsetType = UNSET
    phone_number_id: str | UnsetType | None = UNSET
    reason: str | UnsetType | None = UNSET
    resolved_at: datetime | UnsetType | None = UNSET
    rejection_reason: str | UnsetType | None = UNSET
    extra: str | UnsetType = UNSET


class InvalidRecord(msgspec.Struct, frozen=True):
    """An entry of the list that is not a valid release request.

    Attributes:
        id: its id, if usable.
        raw: its JSON, unchanged; a byte that is not UTF-8 is written as a hex escape.
        error: why it is invalid.
        fingerprint: SHA-256 in hex of its fields that version 0.1.0 knows, so that neither a field
            that upstream adds nor a later version changes it; of the whole entry if it has none of
            them, or contradicts another entry.
        readable: what can be read of it all the same; None without a usable id, or if another entry
            has this id.
    """

    id: str | None
    raw: str
    error: str
    fingerprint: str
    readable: PartialRecord | None = None


class _Identity(Struct, gc=False):
    id: Identifier


_record = msgspec.json.Decoder(Record)
_partial = msgspec.json.Decoder(PartialRecord)
_records = msgspec.json.Decoder(list[Record])
_entries = msgspec.json.Decoder(list[Raw])
_identity = msgspec.json.Decoder(_Identity)
_identities = msgspec.json.Decoder(list[_Identity])
_text = msgspec.json.Decoder(str)
_text_or_number = msgspec.json.Decoder(str | int | float)
_KNOWN_FIELDS = frozenset(Record.__struct_encode_fields__) - {"extra"}
_PARTIAL_FIELDS = _KNOWN_FIELDS - {"id"}
_FINGERPRINT_FIELDS = {
    *("id", "phone_number", "phone_number_id", "reason", "status"),
    *("requested_at", "resolved_at", "rejection_reason"),
}
"""The known fields of version 0.1.0; with others, records in quarantine would be taken for new."""


def _as_array(text: bytes | memoryview) -> bytes:
    """Return a JSON array of entries that are separated by commas."""
    return b"".join((b"[", text, b"]"))


def decode_entries(text: bytes | memoryview) -> Sequence[Record | InvalidRecord]:
    """Decode entries: a record for each request, an invalid record for each invalid entry.

    Args:
        text: the entries, separated by commas.
    """
    array = _as_array(text)
    if not _NUL.search(array):
        with suppress(*DECODING_ERRORS):
            records = _records.decode(array)
            zones = {record.requested_at.tzinfo for record in records}
            zones.update([record.resolved_at.tzinfo for record in records if record.resolved_at])
            return records if zones == {UTC} else [_in_utc(record) for record in records]
    return [_decode_one(entry) for entry in split_block(text)]


def split_block(text: bytes | memoryview) -> list[Raw]:
    """Split entries that are separated by commas.

    Raises:
        ApiError: an entry is nested too deeply. The envelope was not, but how deep is too deep
            depends on how many functions are being called.
        msgspec.DecodeError: the text is something else.
    """
    try:
        return _entries.decode(_as_array(text))
    except RecursionError as error:
        raise ApiError(
            f"the list holds an entry that is {malformed.TOO_DEEP}",
            hint="report this to the API's operator",
        ) from error


def merge_duplicates(entries: Sequence[Raw]) -> Iterator[Record | InvalidRecord]:
    """Decode entries with the same id: one record if they are equal, else all are invalid."""
    decoded = [_decode_one(entry) for entry in entries]
    if all(record == decoded[0] for record in decoded):
        yield decoded[0]
        return
    for entry, record in zip(entries, decoded, strict=True):
        if isinstance(record, InvalidRecord):
            yield msgspec.structs.replace(record, readable=None)
        else:
            reason = f"the list has {len(entries)} contradicting entries with this id"
            yield _invalid(entry, reason, identity=bytes(entry))


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
        record = _invalid(raw, malformed.record_fault(entry))
    return record if record.id is None else msgspec.structs.replace(record, readable=_read(entry))


def _decode_with_unknown_fields(entry: bytes) -> Record:
    """Decode an entry; keep the text of each unknown field."""
    fields = decode_fields(entry)
    extra = _pop_unknown_fields(fields)
    record = _record.decode(msgspec.json.encode(fields))
    return msgspec.structs.replace(record, extra=extra)


def _pop_unknown_fields(fields: dict[str, Raw]) -> str:
    """Remove the unknown fields; return them as in `Record.extra`."""
    unknown = {key: fields.pop(key) for key in sorted(fields.keys() - _KNOWN_FIELDS)}
    return quote_huge_numbers(msgspec.json.encode(unknown)).decode() if unknown else ""


def _read(entry: bytes) -> PartialRecord:
    """Decode the fields of an invalid entry that can be read."""
    extra = ""
    try:
        fields = decode_fields(entry)
        unreadable = {name for name, _ in malformed.field_faults(fields)}
        with suppress(UnicodeDecodeError):
            extra = _pop_unknown_fields(fields)
    except DECODING_ERRORS:
        return PartialRecord()
    if "status" in unreadable:
        unreadable |= {"resolved_at", "rejection_reason"}
    readable = fields.keys() & _PARTIAL_FIELDS - unreadable
    record = _partial.decode(msgspec.json.encode({name: fields[name] for name in readable}))
    return msgspec.structs.replace(
        record,
        requested_at=_to_utc(record.requested_at),
        resolved_at=_to_utc(record.resolved_at),
        extra=extra or UNSET,
    )


def _invalid(raw: Raw, error: str, identity: bytes | None = None) -> InvalidRecord:
    """Return an invalid record whose fingerprint is of `identity`, by default the known fields."""
    return InvalidRecord(
        id=_request_id(raw),
        raw=bytes(raw).decode("utf-8", "backslashreplace"),
        error=error,
        fingerprint=hashlib.sha256(
            replace_unstorable(identity or _fingerprint_text(raw))
        ).hexdigest(),
    )


def _fingerprint_text(raw: Raw) -> bytes:
    """Return the fields of a fingerprint in a fixed order; the whole entry if it has none."""
    try:
        fields = decode_fields(raw)
    except DECODING_ERRORS:
        return bytes(raw)
    known = {key: fields[key] for key in sorted(fields.keys() & _FINGERPRINT_FIELDS)}
    return msgspec.json.encode(known) if known else bytes(raw)


def _in_utc(record: Record) -> Record:
    """Convert the times to UTC; raises OverflowError outside the years 1 to 9999."""
    requested_at, resolved_at = record.requested_at, record.resolved_at
    if requested_at.tzinfo is UTC and (resolved_at is None or resolved_at.tzinfo is UTC):
        return record
    return msgspec.structs.replace(
        record,
        requested_at=_to_utc(requested_at),
        resolved_at=_to_utc(resolved_at),
    )


def _to_utc(time: _T) -> _T | datetime:
    """Convert a time to UTC; return anything else as it is."""
    return time.astimezone(UTC) if isinstance(time, datetime) else time


def request_ids(text: bytes | memoryview, entries: Sequence[Raw]) -> list[str | None]:
    """Return the id of each entry; None if it has no usable one.

    Args:
        text: the entries, separated by commas.
        entries: the same entries.
    """
    with suppress(*DECODING_ERRORS):
        ids = [identity.id for identity in _identities.decode(_as_array(text))]
        if "\0" not in "".join(ids):
            return list(ids)
    return [_request_id(entry) for entry in entries]


def unusable_id(raw: str) -> str | float | None:
    """Return the id in the JSON of an entry that has no usable one, if it is a text or a number."""
    with suppress(*DECODING_ERRORS):
        value = decode_fields(raw.encode()).get("id", NULL)
        request_id: str | float = _text_or_number.decode(value)
        return request_id
    return None


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
