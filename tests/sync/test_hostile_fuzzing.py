"""Fuzzing: mutated bodies, random JSON and random texts."""

from __future__ import annotations

import io
import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.api.entries import EntryScan
from mirror.api.envelope import PayloadError, parse_page
from mirror.api.records import InvalidRecord, Record
from mirror.cli import output
from mirror.queries.results import ReleaseRequest
from tests.support.api_payloads import records_of
from tests.support.cli_mirror import (
    FORMATS,
    KNOWN,
    TIMES,
    UNSTORABLE,
    as_csv,
    as_json,
    from_csv,
    from_json,
    read_json,
    storable,
)
from tests.support.hostile import LONGEST, NASTY, TEXTS, entry, entry_with, page
from tests.support.upstream import request

SEEDS = (
    page([entry(id=key) for key in "abc"]),
    page(
        [entry_with("note", rb'{"\ud83d":"\u0000\ude00"}', id="\0 \u00e9"), entry(), entry(id="b")]
    ),
    page(
        [entry(status=TEXTS["json"]), entry(id="b", rejection_reason=NASTY, more=[1.5e3, None])],
        b',"meta":{"current_page":1,"last_page":"1","per_page":100,"total":2}',
    ),
)
PIECES = (
    b'"', b"\\", b",", b":", b"[", b"]", b"{", b"}", b"-", b"e9", b"9" * 400, b"null", b"true",
    b"\0", b"\x1b", b"\xff", b"\xc2", b"\xed\xa0\x80", b"\\u0000", b"\\ud800", b"\\udfff", b"\\\\",
    b'"id":5,', b'"id":"b",', b'"status":"x",', b'"data":[],', b"\xef\xbb\xbf", b" ", b"[" * 300,
)  # fmt: skip
"""Bytes that are likely to break a body."""


@dataclass(frozen=True)
class Change:
    """A change to a body, at one or two positions."""

    kind: str
    at: int
    to: int
    size: int
    piece: bytes

    def __call__(self, body: bytes) -> bytes:
        """Return the changed body."""
        at, to = sorted((self.at % (len(body) + 1), self.to % (len(body) + 1)))
        end, last = min(at + self.size, to), to + self.size
        first, second = body[at:end], body[to:last]
        return {
            "flip": body[:at]
            + bytes(byte ^ 1 << self.size % 8 for byte in first[:1])
            + body[at + 1 :],
            "delete": body[:at] + body[at + self.size :],
            "insert": body[:at] + self.piece + body[at:],
            "overwrite": body[:at] + self.piece + body[at + len(self.piece) :],
            "cut": body[:at],
            "duplicate": body[:to] + first + body[to:],
            "swap": body[:at] + second + body[end:to] + first + body[last:],
        }[self.kind]


changes = st.builds(
    Change,
    kind=st.sampled_from(["flip", "delete", "insert", "overwrite", "cut", "duplicate", "swap"]),
    at=st.integers(0, 2000),
    to=st.integers(0, 2000),
    size=st.integers(1, 60),
    piece=st.sampled_from(PIECES) | st.binary(min_size=1, max_size=4),
)


def examples(count: int) -> settings:
    """Settings for so many deterministic examples."""
    return settings(max_examples=count, deadline=None, database=None, derandomize=True)


def check_list(body: bytes) -> None:
    """The records of a body are storable, complete and equal to its entries."""
    scan = EntryScan()
    count = scan.add(parse_page(body).data)
    decoded = records_of(scan)
    ids = [item.id for item in decoded]
    distinct = scan.count - scan.repetitions
    assert distinct == len(set(ids) - {None}) + ids.count(None)
    assert distinct <= len(decoded) <= count
    stated = read_json(body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"))
    assert (stated["success"], len(stated["data"])) == (True, count)
    entries = [storable(item) for item in stated["data"] if isinstance(item, dict)]
    records = [item for item in decoded if isinstance(item, Record)]
    assert len({record.id for record in records}) == len(records)
    for item in decoded:
        if isinstance(item, Record):
            check_record(item, [fields for fields in entries if fields.get("id") == item.id])
        else:
            check_invalid(item)


def check_record(record: Record, entries: list[dict[str, Any]]) -> None:
    """A record is storable and equal to each of its entries."""
    actual = msgspec.structs.asdict(record)
    assert entries
    assert UNSTORABLE.search("".join(str(value) for value in actual.values())) is None
    for name in ("id", "phone_number", "status"):
        assert 0 < len(actual[name]) <= LONGEST
    for fields_ in entries:
        for name in KNOWN - TIMES:
            assert actual[name] == fields_.get(name)
        for name in TIMES:
            check_time(actual[name], fields_.get(name))
        unknown = {name: value for name, value in fields_.items() if name not in KNOWN}
        assert (read_json(record.extra) if record.extra else {}) == unknown
    assert record.extra == storable(record.extra)


def check_time(time: datetime | None, text: str | None) -> None:
    """A time is in UTC and equal to its text."""
    if time is None or text is None:
        assert (time, text) == (None, None)
        return
    assert time.tzinfo is UTC
    assert abs(time - datetime.fromisoformat(text.upper())) <= timedelta(microseconds=1)


def check_invalid(record: InvalidRecord) -> None:
    """An invalid record is storable and has a reason."""
    assert record.error
    assert re.fullmatch("[0-9a-f]{64}", record.fingerprint)
    for text in (record.id or "x", record.raw, record.error):
        assert text
        assert UNSTORABLE.search(text) is None
    assert len(record.id or "") <= LONGEST


@pytest.mark.long
def test_mutated_bodies_are_refused_or_decoded(in_full: bool) -> None:
    """A mutated body is refused as a whole, or each record equals its entry."""

    @examples(50_000 if in_full else 300)
    @given(st.sampled_from(SEEDS), st.lists(changes, min_size=1, max_size=4))
    def check(body: bytes, changes: list[Change]) -> None:
        for change in changes:
            body = change(body)
        with suppress(PayloadError):
            check_list(body)

    check()


nasty_texts = st.text(
    st.sampled_from("\0\x1b\x9b\n\t\ud83d\ude00\u202e\u200b\"\\',[]{}u0d8 é") | st.characters(),
    max_size=20,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | nasty_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(nasty_texts, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
entries = values | st.builds(
    lambda known, unknown: request() | unknown | known,
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(sorted(KNOWN - TIMES), nasty_texts)
        | {name: st.datetimes(timezones=st.timezones()).map(datetime.isoformat) for name in TIMES},
    ),
    st.dictionaries(nasty_texts | st.sampled_from(sorted(KNOWN)), values, max_size=3),
)


@pytest.mark.long
def test_any_json_is_decoded_or_invalid(in_full: bool) -> None:
    """Any JSON in a list is a record with the same fields, or an invalid record."""

    @examples(20_000 if in_full else 100)
    @given(st.lists(entries, max_size=4))
    def check(items: list[Any]) -> None:
        check_list(page([json.dumps(item).encode() for item in items]))

    check()


@pytest.mark.long
def test_any_text_comes_back_from_a_pipe(in_full: bool) -> None:
    """Any text can be read back from the three formats; CSV with returns has its own test."""

    @examples(20_000 if in_full else 150)
    @given(nasty_texts.map(lambda text: storable(text.replace("\r", ""))))
    def check(text: str) -> None:
        extra = json.dumps({text: [text, 1]}, ensure_ascii=False)
        now = datetime(2024, 1, 10, 14, 30, tzinfo=UTC)
        row = ReleaseRequest(
            text, text, text, text, text, text, text, now, None, None, now, now, extra
        )
        written = {name: write_twice(row, name) for name in FORMATS}
        rows = [asdict(row)] * 2
        assert from_json(written["json"]) == as_json(rows)
        assert from_csv(written["csv"]) == as_csv(rows)
        assert written["table"].count("\n") == 3
        assert written["table"].count("\t") == 3 * (len(fields(row)) - 1)

    check()


def write_twice(row: ReleaseRequest, form: str) -> str:
    """Write a row twice, into a pipe."""
    out = io.StringIO(newline="")
    output.write_rows([row, row], ReleaseRequest, form, out)
    return out.getvalue()
