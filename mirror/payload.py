"""The wire format: bytes of an answer in, typed records and rejects out.

The envelope, its paging and its three shapes of errors are those of the vendor's public
documentation; what is not promised there is treated as optional.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from mirror import malformed
from mirror.errors import ApiError
from mirror.malformed import DECODING_ERRORS, LONGEST_IDENTIFIER

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NUL = re.compile(rb"\\u0000")  # finds it in half the time that `in` takes
_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF = rb"[dD][89a-fA-F][0-9a-fA-F]{2}"
_HALF_PAIR = re.compile(rb"\\\\|" + _PAIR + rb"|(\\u" + _HALF + rb")")
_UNSTORABLE = re.compile(rb"\\\\|" + _PAIR + rb"|(\\u(?:0000|" + _HALF + rb"))")

_NOTHING = Raw(b"null")
_BATCH = 1_000
_LONGEST_ERROR = 500

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
class Reject:
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


class Paging(Struct, frozen=True):
    """What an answer says about the pages of its list."""

    current_page: int | None = None
    last_page: int | None = None
    per_page: int | None = None
    total: int | None = None

    @property
    def pages(self) -> int | None:
        """How many pages there are, as stated or as `total` and `per_page` imply."""
        if self.last_page is not None:
            return max(1, self.last_page)
        if self.total is not None and self.per_page:
            return max(1, -(-self.total // self.per_page))
        return 1 if self.current_page is None and self.per_page is None else None


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the list: its entries, not yet decoded, and its paging if there is any."""

    items: list[Raw]
    paging: Paging | None


Hide = Callable[[str], str]
_T = TypeVar("_T")


def _nothing_hidden(text: str) -> str:
    return text


class PayloadError(ApiError):
    """An answer is not the documented envelope, or says that it failed."""


class TruncatedPayload(PayloadError):
    """An answer ends in the middle: the connection was cut where HTTP could not tell."""


class _Envelope(Struct):
    success: bool
    data: list[Raw]
    meta: Raw = _NOTHING
    pagination: Raw = _NOTHING
    links: Raw = _NOTHING
    current_page: Raw = _NOTHING
    last_page: Raw = _NOTHING
    per_page: Raw = _NOTHING
    total: Raw = _NOTHING
    next_page_url: Raw = _NOTHING


class _Identity(Struct, gc=False):
    id: Identifier


class _Error(Struct):
    success: Any = None
    error: Any = None
    message: Any = None
    code: Any = None
    errors: Any = None


_envelope = msgspec.json.Decoder(_Envelope)
_record = msgspec.json.Decoder(Record)
_records = msgspec.json.Decoder(list[Record])
_identity = msgspec.json.Decoder(_Identity)
_identities = msgspec.json.Decoder(list[_Identity])
_fields = msgspec.json.Decoder(dict[str, Raw])
_text = msgspec.json.Decoder(str)
_paging = msgspec.json.Decoder(Paging, strict=False)
_number = msgspec.json.Decoder(Annotated[int, Meta(ge=0)], strict=False)
_PAGING_FIELDS = Paging.__struct_fields__
_NO_MORE = {b"null", b"false", b'""'}
_MORE = ("next_page_url", "next_cursor", "next")
_KNOWN_FIELDS = frozenset(Record.__struct_encode_fields__) - {"extra"}


def read_page(body: bytes | bytearray, hide: Hide = _nothing_hidden) -> Page:
    """Read the envelope of one answer.

    Args:
        body: the answer.
        hide: takes out of a text of upstream's what must not be shown.

    Raises:
        TruncatedPayload: the JSON ends too early.
        PayloadError: it is not JSON, not the documented envelope, or `success` is not true.
    """
    if body.startswith(_BYTE_ORDER_MARK):  # removeprefix alone would copy the body in any case
        body = body.removeprefix(_BYTE_ORDER_MARK)
    try:
        envelope = _read_envelope(body)
    except DECODING_ERRORS as error:
        raise _unusable(body, hide) from error
    if not envelope.success:
        raise PayloadError(f"the API says that it failed: {describe_error(body, hide)}")
    return Page(items=envelope.data, paging=_find_paging(envelope))


def _read_envelope(body: bytes | bytearray) -> _Envelope:
    """Decode an envelope, also if a text in it holds half of a surrogate pair.

    JSON's grammar allows that, no database can store it, and msgspec refuses the whole document.
    """
    try:
        return _envelope.decode(body)
    except msgspec.DecodeError:
        repaired = _HALF_PAIR.sub(_replaced, body)
        if repaired == body:
            raise
        return _envelope.decode(repaired)


def _storable(text: bytes | bytearray) -> bytes:
    """Replace the escapes that no database can store, NUL and half surrogate pairs, by U+FFFD."""
    return _UNSTORABLE.sub(_replaced, text)


def _replaced(found: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if found[1] else found[0]


def _unusable(body: bytes | bytearray, hide: Hide) -> PayloadError:
    """Say what came instead of the documented envelope."""
    if not body.strip():
        return PayloadError("the answer is empty")
    try:
        if malformed.is_cut(body):
            return TruncatedPayload("the answer ends in the middle of its JSON")
        if (wrong := malformed.why_not_json(body)) is not None:
            kind = _kind(body)
            what = f"not valid JSON: {wrong}" if kind == "JSON" else f"{kind}, not JSON"
            return PayloadError(f"the answer is {what}")
        with suppress(*DECODING_ERRORS):
            if stated := _stated_error(body, hide):
                return PayloadError(f"the API says that it failed: {stated}")
        # What is wrong with none of its fields as they stand last is wrong with one before.
        repaired = _HALF_PAIR.sub(_replaced, body)
        wrong = malformed.why_no_list(repaired) or "a field is given twice"
        return PayloadError(f"the answer is not a list of release requests: {wrong}")
    except RecursionError:
        return PayloadError(f"the answer is {malformed.TOO_DEEP}")


def describe_error(body: bytes | bytearray, hide: Hide = _nothing_hidden) -> str:
    """Return what the body of a failed answer says, in one line of at most 500 characters.

    Args:
        body: the answer, or its start.
        hide: takes out of it what must not be shown, before it is cut.
    """
    try:
        stated = _stated_error(body, hide)
    except DECODING_ERRORS:
        stated = None
    return stated or f"({_kind(body)} without code or message)"


def _stated_error(body: bytes | bytearray, hide: Hide) -> str | None:
    """Find code and message in any of the three documented shapes of an error."""
    outer = msgspec.json.decode(
        _storable(body).decode("utf-8", "replace").lstrip("\ufeff"), type=_Error
    )
    if outer.success is not False and not (outer.error or outer.errors or outer.code):
        return (
            one_line(hide(str(outer.message))) if outer.success is None and outer.message else None
        )
    inner = outer.error if isinstance(outer.error, dict) else {"message": outer.error}
    code = inner.get("code") or outer.code
    message = inner.get("message") or outer.message
    parts = [str(part) for part in (code, message) if part]
    details = outer.errors or inner.get("details")
    if isinstance(details, dict) and details:
        parts.append(msgspec.json.encode(details).decode())
    if not parts and outer.success is False:
        return "success is false, without code or message"
    return one_line(hide(": ".join(parts))) or None


def one_line(text: str) -> str:
    """Fold a text of somebody else's into one line that a log and a database can hold."""
    return " ".join(text.replace("\0", "\ufffd").split())[:_LONGEST_ERROR]


def _kind(body: bytes | bytearray) -> str:
    """Name what a body looks like."""
    start = bytes(body[:512]).lstrip().lower()
    if not start:
        return "empty"
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if start[:1] in {b"{", b"["}:
        return "JSON"
    text = "".join(start.decode("utf-8", "replace")[:-1].split())
    return "plain text" if text.isprintable() and "\ufffd" not in text else "binary data"


def _find_paging(envelope: _Envelope) -> Paging | None:
    """Find the paging, under its two documented names or where Laravel puts it else.

    Raises:
        PayloadError: it cannot be read, or the list goes on in a way that is not known.
    """
    meta, pagination, links = map(_object, (envelope.meta, envelope.pagination, envelope.links))
    top = {name: getattr(envelope, name) for name in (*_PAGING_FIELDS, "next_page_url")}
    places = (meta, pagination, _object(meta.get("pagination", _NOTHING)), top)
    for place in places:
        stated = {
            name: place[name] for name in _PAGING_FIELDS if place.get(name, _NOTHING) != _NOTHING
        }
        if stated:
            return _read_paging(stated)
    hints = (place.get(name, _NOTHING) for place in (*places, links) for name in _MORE)
    if any(bytes(hint) not in _NO_MORE for hint in hints):
        raise PayloadError("the list goes on elsewhere, in pages of a kind that is not known")
    return None


def _read_paging(stated: dict[str, Raw]) -> Paging:
    """Read the numbers of a paging."""
    for name, value in stated.items():
        try:
            _number.decode(value)
        except DECODING_ERRORS as error:
            raise PayloadError(
                f"the paging of the list cannot be read: `{name}` is not a usable whole number"
            ) from error
    return _paging.decode(msgspec.json.encode(stated))


def _object(raw: Raw) -> dict[str, Raw]:
    """Return the fields of what may be an object."""
    try:
        return _fields.decode(raw)
    except DECODING_ERRORS:
        return {}


class Survey:
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


def decode(items: Iterable[Raw], repeated: frozenset[str]) -> Iterator[Record | Reject]:
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


def _decode_batch(raws: Sequence[Raw]) -> Sequence[Record | Reject]:
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


def _reconcile(entries: list[Raw]) -> Iterator[Record | Reject]:
    """Make one record of equal entries with the same id, and rejects of contradicting ones."""
    decoded = [_decode_one(raw) for raw in entries]
    if all(one == decoded[0] for one in decoded):
        yield decoded[0]
        return
    for raw, one in zip(entries, decoded, strict=True):
        if isinstance(one, Reject):
            yield one
        else:
            reason = f"the list holds {len(entries)} contradicting entries with this id"
            yield _reject(raw, reason, identity=bytes(raw))


def _decode_one(raw: Raw) -> Record | Reject:
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


def _reject(raw: Raw, error: str, identity: bytes | None = None) -> Reject:
    return Reject(
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
