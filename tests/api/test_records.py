"""Records: which entries are valid, and why others are not."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.api.malformed import MAX_IDENTIFIER
from mirror.api.records import InvalidRecord, Record, decode_entries
from mirror.errors import ApiError
from tests.support.api_payloads import (
    FACE,
    JSON_VALUES,
    LONE,
    TAIL,
    alone,
    decoded,
    entry,
    entry_with,
    entry_without,
    invalid,
    valid,
)
from tests.support.upstream import request

REQUIRED_TEXTS = ("id", "phone_number", "status")
TIMES = ("requested_at", "resolved_at")
FIELDS = (*REQUIRED_TEXTS, *TIMES, "phone_number_id", "reason", "rejection_reason")
REASONS = (
    rf"`({'|'.join(FIELDS)})` (is (missing|null|empty|not a string|not a time|longer than 255 "
    r"characters)|has no time zone|lies outside the years 1 to 9999 in UTC)"
)


# Records


def test_a_record_has_all_documented_fields() -> None:
    """Each documented field is decoded, times in UTC, and nothing is extra."""
    fields = request(
        status="rejected", resolved_at="2024-01-11T09:00:00Z", rejection_reason="In use"
    )
    assert valid(json.dumps(fields).encode()) == Record(
        id="request-1",
        phone_number_id="phone-1",
        phone_number="+15550000001",
        reason="Number is no longer in use",
        status="rejected",
        requested_at=datetime(2024, 1, 10, 14, 30, tzinfo=UTC),
        resolved_at=datetime(2024, 1, 11, 9, 0, tzinfo=UTC),
        rejection_reason="In use",
        extra="",
    )


@pytest.mark.parametrize("field", ["phone_number_id", "reason", "resolved_at", "rejection_reason"])
def test_optional_fields_may_be_null_or_missing(field: str) -> None:
    """Null and absent mean the same, and both are valid."""
    null = valid(entry(**{field: None}))
    assert getattr(null, field) is None
    assert valid(entry_without(field)) == null


@pytest.mark.parametrize("value", [5, 5.5, True, [], {}], ids=repr)
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_must_have_its_type(field: str, value: object) -> None:
    """A value of another type is not converted; the reason names the field."""
    kind = "time" if field in TIMES else "string"
    assert invalid(entry(**{field: value})).error == f"`{field}` is not a {kind}"


@pytest.mark.parametrize("field", [*REQUIRED_TEXTS, "requested_at"])
def test_a_required_field_must_be_there(field: str) -> None:
    """A required field must not be missing, null or empty; the reason names the field."""
    assert invalid(entry_without(field)).error == f"`{field}` is missing"
    assert invalid(entry(**{field: None})).error == f"`{field}` is null"
    empty = "is not a time" if field in TIMES else "is empty"
    assert invalid(entry(**{field: ""})).error == f"`{field}` {empty}"


@pytest.mark.parametrize("letter", ["x", "é", "😀"])
@pytest.mark.parametrize("field", [*REQUIRED_TEXTS, "phone_number_id"])
def test_identifiers_have_a_longest_length(field: str, letter: str) -> None:
    """255 characters of any script are valid, and one more is not."""
    assert MAX_IDENTIFIER == 255
    assert getattr(valid(entry(**{field: letter * 255})), field) == letter * 255
    assert (
        invalid(entry(**{field: letter * 256})).error == f"`{field}` is longer than 255 characters"
    )


def test_the_first_fault_is_the_reason() -> None:
    """Of several faults one is named, in whatever order the fields arrive."""
    faults = {"status": 5, "id": "", "resolved_at": "soon", "x": 1}
    assert invalid(entry(**faults)).error == "`id` is empty"
    assert invalid(json.dumps(dict(reversed(faults.items()))).encode()).error == "`id` is empty"


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES | st.datetimes().map(str)))
def test_every_reason_is_ours(fields: dict[str, Any]) -> None:
    """An entry is valid, or the reason names one of its fields."""
    record = alone(entry(**fields))
    assert isinstance(record, Record) or re.fullmatch(REASONS, record.error), record


@pytest.mark.parametrize(
    ("field", "value"), [("reason", "é" * 100_000), ("reason", ""), ("status", "On hold ")]
)
def test_texts_are_kept_unchanged(field: str, value: str) -> None:
    """The documented 500 characters of a reason are no limit here, and any status is valid."""
    assert getattr(valid(entry(**{field: value})), field) == value


@pytest.mark.parametrize(
    ("field", "request_id"),
    [("phone_number", "request-1"), ("status", "request-1"), ("id", None)],
)
def test_an_invalid_record_keeps_a_usable_id(field: str, request_id: str | None) -> None:
    """The row of a request whose entry becomes invalid can be found by its id."""
    raw = entry(**{field: 5})
    record = invalid(raw)
    assert (record.id, record.raw) == (request_id, raw.decode())


@pytest.mark.parametrize("raw", [b'"text"', b"5", b"null", b"[]", b"{}", b"true", b"[{}]"])
def test_an_entry_that_is_no_request_is_kept_unchanged(raw: bytes) -> None:
    """Whatever an entry is, its neighbours are decoded."""
    before, after = entry(id="a"), entry(id="b")
    record = invalid(raw)
    assert decoded(before, raw, after) == [valid(before), record, valid(after)]
    assert (record.id, record.raw) == (None, raw.decode())
    assert record.error == ("`id` is missing" if raw == b"{}" else "not an object")


# Times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-10T14:30:00Z", datetime(2024, 1, 10, 14, 30, tzinfo=UTC)),
        ("2024-01-10T14:30:00z", datetime(2024, 1, 10, 14, 30, tzinfo=UTC)),
        ("2024-01-10T14:30:00+00:00", datetime(2024, 1, 10, 14, 30, tzinfo=UTC)),
        ("2024-01-10T14:30:00-03:00", datetime(2024, 1, 10, 17, 30, tzinfo=UTC)),
        ("2024-01-10T00:10:00+05:45", datetime(2024, 1, 9, 18, 25, tzinfo=UTC)),
        ("2024-01-10T14:30:00.5Z", datetime(2024, 1, 10, 14, 30, 0, 500_000, tzinfo=UTC)),
        ("2024-01-10T14:30:00.123456Z", datetime(2024, 1, 10, 14, 30, 0, 123_456, tzinfo=UTC)),
        ("2024-02-29T23:59:59.000001-03:00", datetime(2024, 3, 1, 2, 59, 59, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("field", TIMES)
def test_times_are_converted_to_utc(field: str, text: str, expected: datetime) -> None:
    """Any zone is valid, and the same instant is stored in UTC."""
    time = getattr(valid(entry(**{field: text})), field)
    assert (time, time.tzinfo) == (expected, UTC)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("2024-01-10T14:30:00", "has no time zone"),
        ("2024-01-10T14:30:00.123456", "has no time zone"),
        ("2024-01-10", "is not a time"),
        ("", "is not a time"),
        ("yesterday", "is not a time"),
        ("1704897000", "is not a time"),
        ("10/01/2024 14:30", "is not a time"),
        ("2024-02-30T00:00:00Z", "is not a time"),
        ("2024-01-10T25:00:00Z", "is not a time"),
        ("0000-01-01T00:00:00Z", "is not a time"),
        ("0000-00-00T00:00:00Z", "is not a time"),
        ("2024-01-10T14:30:00+24:00", "is not a time"),
        ("0001-01-01T00:00:00+01:00", "lies outside the years 1 to 9999 in UTC"),
        ("9999-12-31T23:59:59-00:01", "lies outside the years 1 to 9999 in UTC"),
    ],
)
@pytest.mark.parametrize("field", TIMES)
def test_invalid_times_are_rejected(field: str, text: str, fault: str) -> None:
    """A time without zone, without sense, or outside the calendar in UTC is never guessed at."""
    record = invalid(entry(**{field: text}))
    assert (record.error, record.id) == (f"`{field}` {fault}", "request-1")


# Unknown fields


@pytest.mark.parametrize(
    "value",
    [
        b"1e99",
        b"-0.1000000000000000000000000000000000000001E+2",
        b"9" * 1000,
        b"-0",
        b"null",
        b'""',
        rb'"\u00e9 \/ \\u0000 ' + FACE + b'"',
        b'[ 1 ,\n{"z": 1, "a": {"b": [[]]}} ]',
        b"[" * 100 + b"]" * 100,
    ],
    ids=lambda value: value[:12].decode(),
)
def test_unknown_fields_keep_their_exact_text(value: bytes) -> None:
    """No digit, space or escape of an unknown field is lost."""
    record = valid(entry_with("score", value))
    assert record.extra == '{"score":' + value.decode() + "}"
    assert record.id == "request-1"


@pytest.mark.parametrize(
    "number",
    [b"1e100", b"9" * 5000, b"-1.5e+99999", b"1E-20000", b"0." + b"1" * 20_000, b"1e0099999"],
)
def test_a_number_that_no_database_holds_is_a_string(number: bytes) -> None:
    """Postgres would refuse the whole list for a number out of range; texts that look so stay."""
    text = b'"\\": [1e99999, \\\\"'
    record = valid(entry_with("score", b'[1, {"a":' + number + b',"b":' + text + b"}, 2e5]"))
    assert record.extra == f'{{"score":[1, {{"a":"{number.decode()}","b":{text.decode()}}}, 2e5]}}'


def test_unknown_fields_are_sorted_by_name() -> None:
    """The order of the fields makes no difference."""
    record = valid(entry(zone="b", Area=[2, 1], é=None))
    assert record.extra == '{"Area":[2, 1],"zone":"b","é":null}'
    assert valid(entry(é=None, Area=[2, 1], zone="b")) == record


@pytest.mark.parametrize("value", [b'""', b'"text"', b"5", b'{"extra": ""}'])
def test_a_field_called_extra_is_an_unknown_field(value: bytes) -> None:
    """Upstream cannot write to the mirror's own column by a field of its name."""
    assert valid(entry_with("extra", value)).extra == '{"extra":' + value.decode() + "}"


def test_unknown_fields_do_not_excuse_a_bad_known_one() -> None:
    """The reason names the known field, not the unknown one."""
    assert invalid(entry(status=5, carrier={"name": "Example"})).error == "`status` is not a string"


# Characters that no database can store


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rb"a\u0000b", "a\ufffdb"),
        (rb"\u0000\u0000", "\ufffd\ufffd"),
        (LONE, "\ufffd"),
        (TAIL, "\ufffd"),
        (TAIL + LONE, "\ufffd\ufffd"),
        (LONE + FACE, "\ufffd😀"),
        (FACE + TAIL, "😀\ufffd"),
        (LONE + rb"\u0041", "\ufffdA"),
        (LONE.upper().replace(b"U", b"u"), "\ufffd"),
        (FACE + rb"\u0000", "😀\ufffd"),
        (rb"\\u0000", r"\u0000"),
        (rb"\\ud800", r"\ud800"),
        (rb"\\\u0000", "\\\ufffd"),
        (rb"\\\\u0000 \u0000", "\\\\u0000 \ufffd"),
        (rb"\\\ud800\\ud800", "\\\ufffd\\ud800"),
        (FACE, "😀"),
        (rb"\ufffd", "\ufffd"),
    ],
)
@pytest.mark.parametrize("field", ["id", "phone_number", "status", "reason", "rejection_reason"])
def test_nul_and_lone_surrogates_become_replacement_characters(
    field: str, text: bytes, expected: str
) -> None:
    """NUL and lone surrogates become U+FFFD; whole pairs and escaped backslashes stay."""
    assert getattr(valid(entry_with(field, b'"%s"' % text)), field) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rb"\u0000", "\ufffd"),
        (LONE, "\ufffd"),
        (FACE, "😀"),
        (rb"\\u0000", r"\u0000"),
        (rb"\\ud800", r"\ud800"),
    ],
)
def test_unknown_fields_are_storable_too(text: bytes, expected: str) -> None:
    """Neither a name nor a value of an unknown field contains what Postgres refuses."""
    extra = valid(entry_with("note", b'{"a%s":"b%s"}' % (text, text))).extra
    assert json.loads(extra) == {"note": {"a" + expected: "b" + expected}}


@pytest.mark.parametrize("field", ["id", "reason", "note"])
@pytest.mark.parametrize("bad", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"caf\xe9"])
def test_invalid_utf8_is_rejected(field: str, bad: bytes) -> None:
    """Invalid bytes are not guessed at; they are kept as hex, and neighbours are decoded."""
    raw = entry_with(field, b'"%s"' % bad)
    record, neighbour = decoded(raw, entry(id="b"))
    assert isinstance(neighbour, Record)
    assert isinstance(record, InvalidRecord)
    assert record.error == "not valid UTF-8"
    assert record.raw == raw.decode("utf-8", "backslashreplace")
    assert record.id == (None if field == "id" else "request-1")


@pytest.mark.parametrize("depth", [50_000, 200_000])
def test_an_entry_nested_too_deeply_is_refused(depth: int) -> None:
    """An entry of any depth fails the list, and does not end the process."""
    deep = entry_with("x", b"[" * depth + b"]" * depth)
    with pytest.raises(ApiError, match="nested too deeply to be read; report this to the API"):
        decode_entries(b"%b,%b" % (deep, entry(id="b")))
