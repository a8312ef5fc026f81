"""Entries and pages byte for byte, and what they are decoded to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import strategies as st
from msgspec import Raw

from mirror.api.entries import EntryScan, split
from mirror.api.envelope import parse_page
from mirror.api.records import InvalidRecord, Record, decode_entries, split_block
from tests.support.upstream import request

LONE, TAIL, FACE = rb"\ud83d", rb"\ude00", rb"\ud83d\ude00"
"""Escapes: either half of a surrogate pair, and the whole pair."""

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def page(*entries: bytes, **more: bytes) -> bytes:
    """The documented envelope around entries, with more fields after them."""
    fields = b"".join(b',"%s":%s' % (name.encode(), value) for name, value in more.items())
    return b'{"success":true,"data":[%s]%s}' % (b",".join(entries), fields)


def entry(**fields: Any) -> bytes:
    """A release request as JSON; unlike with `request`, a field that is None is null."""
    return json.dumps(request() | fields).encode()


def entry_with(field: str, value: bytes) -> bytes:
    """A release request as JSON, with one field whose value is given byte for byte."""
    rest = {name: given for name, given in request().items() if name != field}
    return json.dumps(rest).encode()[:-1] + b', "%s": %s}' % (field.encode(), value)


def entry_without(field: str) -> bytes:
    """A release request as JSON that lacks a field."""
    return json.dumps({k: v for k, v in request().items() if k != field}).encode()


def scan_of(*pages: Sequence[bytes], known: Iterable[tuple[str, int | None]] = ()) -> EntryScan:
    """The scan of a list that has some pages."""
    scan = EntryScan(known)
    for entries in pages:
        scan.add(parse_page(page(*entries)).data)
    return scan


def records_of(scan: EntryScan) -> list[Record | InvalidRecord]:
    """The decoded entries of a list, unless they are known."""
    return [record for batch in scan.decode() for record, _ in batch]


def entries_of(data: bytes | Raw) -> list[bytes]:
    """The entries of a page."""
    return [bytes(entry) for _, entries in split(data) for entry in entries]


def unknown_entries(scan: EntryScan) -> list[bytes]:
    """The entries that a scan has kept."""
    return [bytes(entry) for text, _ in scan._kept for entry in split_block(text)]


def decoded(*entries: bytes) -> list[Record | InvalidRecord]:
    """The decoded entries of a list."""
    return records_of(scan_of(entries))


def alone(raw: bytes) -> Record | InvalidRecord:
    """An entry that is decoded alone, without its envelope."""
    (record,) = decode_entries(raw)
    return record


def valid(raw: bytes) -> Record:
    """A valid entry, decoded."""
    (record,) = decoded(raw)
    assert isinstance(record, Record), record
    return record


def invalid(raw: bytes) -> InvalidRecord:
    """An invalid entry, decoded."""
    (record,) = decoded(raw)
    assert isinstance(record, InvalidRecord), record
    return record
