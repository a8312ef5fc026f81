"""Decodes entries of the list into typed records, and rejects invalid ones with a reason.

The fields are those of the vendor's public documentation; anything not documented is optional.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from mirror.api import malformed
from mirror.api.malformed import MAX_IDENTIFIER
from mirror.api.raw_json import DECODING_ERRORS, NULL, decode_fields, replace_unstorable
from mirror.errors import ApiError

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


class InvalidRecord(msgspec.Struct, frozen=True):
    """An entry of the list that is not a valid release request.

    Attributes:
        id: its id, if usable.
        raw: its JSON, unchanged; a byte that is not UTF-8 is written as a hex escape.
        error: why it is invalid.
        fingerprint: SHA-256 in hex of its known fields, so that a field that upstream adds does not
            change it; of the whole entry if it has no known field, or contradicts another entry.
    """

    id: str | None
    raw: str
    error: str
    fingerprint: str


class _Identity(Struct, gc=False):
    id: Identifier


_record = msgspec.json.Decoder(Record)
_records = msgspec.json.Decoder(list[Record])
_entries = msgspec.json.Decoder(list[Raw])
_identity = msgspec.json.Decoder(_Identity)
_identities = msgspec.json.Decoder(list[_Identity])
_text = msgspec.json.Decoder(str)
_KNOWN_FIELDS = frozenset(Record.__struct_encode_fields__) - {"extra"}


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
            yield record
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
        id=_request_id(raw),
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
