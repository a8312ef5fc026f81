"""Entries and pages byte for byte, and what they are decoded to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st
from msgspec import Raw

from mirror.api.envelope import parse_page
from mirror.api.records import IdIndex, InvalidRecord, Record, decode
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


def index(raws: Iterable[bytes | Raw]) -> IdIndex:
    """The ids of a list."""
    ids = IdIndex()
    ids.add(list(map(Raw, raws)))
    return ids


def decoded(*entries: bytes) -> list[Record | InvalidRecord]:
    """The decoded entries of a list."""
    raws = parse_page(page(*entries)).entries
    return list(decode(raws, index(raws).repeated))


def alone(raw: bytes) -> Record | InvalidRecord:
    """An entry that is decoded alone, without its envelope."""
    (record,) = decode([Raw(raw)], frozenset())
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
