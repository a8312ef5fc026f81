"""The wire format: bytes of an answer in, typed records and rejects out.

The envelope, its paging and its three shapes of errors are those of the vendor's public
documentation; what is not promised there is treated as optional.
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
from mirror.api.envelope import _NOTHING, _fields, _storable
from mirror.api.malformed import DECODING_ERRORS, LONGEST_IDENTIFIER

_NUL = re.compile(rb"\\u0000")  # finds it in half the time that `in` takes

_BATCH = 1_000

Identifier = Annotated[str, Meta(min_length=1, max_length=LONGEST_IDENTIFIER)]
Time = Annotated[datetime, Meta(tz=True)]
_NeverOnTheWire = Annotated[str, Meta(pattern="(?!)")]


class Record(Struct, frozen=True, forbid_unknown_fields=True, gc=False, kw_only=True):
    """A release request as upstream states it now; times are in UTC.

    Attributes:
        extra: the fields that `mirror` does not know, as the text of a JSON object with sorted
            keys and the values as they came; empty if there are none. It is filled in after
            decoding, and its own type accepts nothing from the wire: a field that upstream
            happens to call "extra" is an unknown field like any other.
    """

    id: Identifier
    phone_number: Identifier
    status: Identifier
    requested_at: Time
    phone_number_id: Annotated[str, Meta(max_length=LONGEST_IDENTIFIER)] | None = None
    reason: str | None = None
    resolved_at: Time | None = None
    rejection_reason: str | None = None
    extra: _NeverOnTheWire = ""


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """An entry of the list that could not be understood.

    Attributes:
        request_id: the id, if that much could be read.
        raw: the JSON as it came; a byte that is not UTF-8 is written as a hex escape.
        error: why it was not understood.
        fingerprint: SHA-256 of its known fields, in hex, or of all of it if it has none: a field
            that upstream adds does not make another entry of it. Of contradicting entries always
            of all of it.
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
    """What the ids of a list say about it, before anything else of it is decoded."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._repeated: set[str] = set()
        self._unidentified = 0

    @property
    def distinct(self) -> int:
        """Number of entries so far, those with the same id counted once."""
        return len(self._seen) + self._unidentified

    @property
    def repeated(self) -> frozenset[str]:
        """The ids that occur more than once."""
        return frozenset(self._repeated)

    def add(self, items: Sequence[Raw]) -> None:
        """Look at more entries of the list."""
        for batch in batches(items):
            ids = _request_ids(batch)
            distinct = set(ids)
            if len(distinct) < len(ids) or not distinct.isdisjoint(self._seen):
                self._repeated.update(_repeated(ids, self._seen))
            if None in distinct:
                self._unidentified += ids.count(None)
                distinct.discard(None)
            self._seen |= distinct  # type: ignore[arg-type]


def _repeated(ids: Iterable[str | None], seen: set[str]) -> Iterator[str]:
    """Find the ids that occur more than once, or were seen before."""
    for one, count in Counter(ids).items():
        if one is not None and (count > 1 or one in seen):
            yield one


def _request_ids(raws: Sequence[Raw]) -> list[str | None]:
    """Return the id of each entry, as `_request_id` does."""
    with suppress(*DECODING_ERRORS):
        ids = [one.id for one in _identities.decode(_together(raws))]
        if "\0" not in "".join(ids):
            return list(ids)
    return [_request_id(raw) for raw in raws]


def decode(items: Iterable[Raw], repeated: frozenset[str]) -> Iterator[Record | InvalidRecord]:
    """Decode the entries of a list, a batch at a time.

    Args:
        items: the entries.
        repeated: the ids that occur more than once, from a `Survey`.

    Yields:
        A record for each request, and a reject for each entry that could not be understood.
        Of equal entries with the same id only one comes; contradicting ones are all rejects.
    """
    held: dict[str, list[Raw]] = {}
    for batch in batches(items):
        yield from _decode_batch(_hold_back(batch, repeated, held) if repeated else batch)
    for entries in held.values():
        yield from _reconcile(entries)


def _hold_back(
    raws: Sequence[Raw], repeated: frozenset[str], held: dict[str, list[Raw]]
) -> Sequence[Raw]:
    """Put the entries with a repeated id aside; return the others."""
    others = []
    for raw, request_id in zip(raws, _request_ids(raws), strict=True):
        if request_id is not None and request_id in repeated:
            held.setdefault(request_id, []).append(raw)
        else:
            others.append(raw)
    return others


def batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    """Cut a list into batches: what is done to many at once takes two thirds of the time."""
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _together(raws: Sequence[Raw]) -> bytes:
    """Make one JSON document of some entries."""
    return b"[" + b",".join(raws) + b"]"


def _decode_batch(raws: Sequence[Raw]) -> Sequence[Record | InvalidRecord]:
    """Decode some entries at once, or one by one if that tells which of them are the odd ones."""
    together = _together(raws)
    if not _NUL.search(together):
        try:
            records = _records.decode(together)
            zones = {one.requested_at.tzinfo for one in records}
            zones.update([one.resolved_at.tzinfo for one in records if one.resolved_at])
            return records if zones == {UTC} else [_in_utc(record) for record in records]
        except DECODING_ERRORS:
            pass
    return [_decode_one(raw) for raw in raws]


def _reconcile(entries: list[Raw]) -> Iterator[Record | InvalidRecord]:
    """Make one record of equal entries with the same id, and rejects of contradicting ones."""
    decoded = [_decode_one(raw) for raw in entries]
    if all(one == decoded[0] for one in decoded):
        yield decoded[0]
        return
    for raw, one in zip(entries, decoded, strict=True):
        if isinstance(one, InvalidRecord):
            yield one
        else:
            reason = f"the list holds {len(entries)} contradicting entries with this id"
            yield _reject(raw, reason, identity=bytes(raw))


def _decode_one(raw: Raw) -> Record | InvalidRecord:
    entry = bytes(raw)
    if _NUL.search(entry):
        entry = _storable(entry)
    try:
        return _in_utc(_record.decode(entry))
    except DECODING_ERRORS:
        pass  # most likely a field that is not known; if it is worse, the next line finds it too
    try:
        return _in_utc(_decode_with_unknown_fields(entry))
    except DECODING_ERRORS:
        return _reject(raw, malformed.why_no_request(entry))


def _decode_with_unknown_fields(entry: bytes) -> Record:
    """Decode an entry with the fields that are not known set apart, each as the text it came as."""
    fields = _fields.decode(entry)
    unknown = {key: fields.pop(key) for key in sorted(fields.keys() - _KNOWN_FIELDS)}
    record = _record.decode(msgspec.json.encode(fields))
    extra = msgspec.json.encode(unknown).decode() if unknown else ""
    return msgspec.structs.replace(record, extra=extra)


def _reject(raw: Raw, error: str, identity: bytes | None = None) -> InvalidRecord:
    return InvalidRecord(
        request_id=_request_id(raw),
        raw=bytes(raw).decode("utf-8", "backslashreplace"),
        error=error,
        fingerprint=hashlib.sha256(_storable(identity or _known_part(raw))).hexdigest(),
    )


def _known_part(raw: Raw) -> bytes:
    """Return the known fields of an entry in a fixed order, or all of it if it has none."""
    try:
        fields = _fields.decode(raw)
    except DECODING_ERRORS:
        return bytes(raw)
    known = {key: fields[key] for key in sorted(fields.keys() & _KNOWN_FIELDS)}
    return msgspec.json.encode(known) if known else bytes(raw)


def _in_utc(record: Record) -> Record:
    """Express the times in UTC; raises OverflowError where that leaves the calendar."""
    requested_at, resolved_at = record.requested_at, record.resolved_at
    if requested_at.tzinfo is UTC and (resolved_at is None or resolved_at.tzinfo is UTC):
        return record
    return msgspec.structs.replace(
        record,
        requested_at=requested_at.astimezone(UTC),
        resolved_at=resolved_at and resolved_at.astimezone(UTC),
    )


def _request_id(raw: Raw) -> str | None:
    """Return the id of an entry, if it has a usable one; of several the last one counts."""
    try:
        request_id = _identity.decode(raw).id
    except DECODING_ERRORS:
        try:  # one that cannot be read may stand before it, which `_decode_one` does not mind
            request_id = _text.decode(_fields.decode(raw).get("id", _NOTHING))
        except DECODING_ERRORS:
            return None
    if not 0 < len(request_id) <= LONGEST_IDENTIFIER:
        return None
    return request_id.replace("\0", "\ufffd")
