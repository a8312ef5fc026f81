"""Decoding: which entries are valid, which are rejected with a reason, what stops the fetch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from mirror.api.envelope import Paging, PayloadError, TruncatedPayload, error_summary, parse_page
from mirror.api.malformed import is_truncated
from mirror.api.records import MAX_IDENTIFIER, IdIndex, InvalidRecord, Record, decode
from tests.support import ROOT
from tests.support.upstream import request

DOCUMENTED = (ROOT / "tests" / "data" / "documented-list.json").read_bytes().strip()
REQUIRED_TEXTS = ("id", "phone_number", "status")
TIMES = ("requested_at", "resolved_at")
FIELDS = (*REQUIRED_TEXTS, *TIMES, "phone_number_id", "reason", "rejection_reason")
REASONS = (
    rf"`({'|'.join(FIELDS)})` (is (missing|null|empty|not a text|not a time|longer than 255 "
    r"characters)|has no time zone|lies outside the years 1 to 9999 in UTC)"
)
BOM = b"\xef\xbb\xbf"
HALF, TAIL, FACE = rb"\ud83d", rb"\ude00", rb"\ud83d\ude00"


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


def payload_error(body: bytes) -> PayloadError:
    """The error of a body that is no page."""
    with pytest.raises(PayloadError) as raised:
        parse_page(body)
    return raised.value


# The envelope


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (DOCUMENTED, 2),
        (b" \n" + page(entry(), message=b'"Done"', links=b'{"next":null}') + b"\r\n", 1),
    ],
    ids=["documented", "space-and-unknown-fields"],
)
def test_a_list_is_parsed(body: bytes, count: int) -> None:
    """Undocumented fields are ignored, and so is a BOM, which PHP may put before every response."""
    parsed = parse_page(body)
    assert (len(parsed.entries), parsed.paging) == (count, None)
    assert parse_page(BOM + body) == parsed


ERRORS = {
    "nested": (
        {
            "error": {
                "code": "RATE_LIMITED",
                "message": "Slow down",
                "details": {"plan": "Standard"},
            }
        },
        'RATE_LIMITED: Slow down: {"plan":"Standard"}',
    ),
    "nested-without-details": ({"error": {"code": "GONE", "message": "Old"}}, "GONE: Old"),
    "nested-with-empty-details": ({"error": {"message": "Old", "details": {}}}, "Old"),
    "flat": ({"message": "No such thing", "code": "NOT_FOUND"}, "NOT_FOUND: No such thing"),
    "flat-without-code": ({"message": "Unauthenticated."}, "Unauthenticated."),
    "validation": (
        {"message": "The given data was invalid", "errors": {"page": ["Too small", "Odd"]}},
        'The given data was invalid: {"page":["Too small","Odd"]}',
    ),
    "error-is-a-text": ({"error": "Something broke"}, "Something broke"),
    "nothing-said": ({}, "success is false, without code or message"),
    "empty-values": (
        {"error": [], "message": "", "code": 0},
        "success is false, without code or message",
    ),
}


@pytest.mark.parametrize(
    "data", [{}, {"data": []}, {"data": [request()]}], ids=["", "empty", "one"]
)
@pytest.mark.parametrize(("body", "message"), ERRORS.values(), ids=ERRORS)
def test_success_false_is_a_failure(
    body: dict[str, object], message: str, data: dict[str, object]
) -> None:
    """A response that states a failure is an error with its code and message."""
    answer = json.dumps({"success": False} | body | data).encode()
    error = payload_error(answer)
    assert str(error) == f"the API says that it failed: {message}"
    assert not isinstance(error, TruncatedPayload)
    assert error_summary(answer) == message


UNUSABLE = {
    "empty": (b"", "empty"),
    "blank": (b" \r\n", "empty"),
    "html": (b"<!DOCTYPE html><html><h1>502</h1></html>", "an HTML page, not JSON"),
    "html-after-space": (b"\n <HTML lang=en>", "an HTML page, not JSON"),
    "html-after-bom": (BOM + b"<!doctype html>", "an HTML page, not JSON"),
    "text": (b"upstream connect error", "not JSON"),
    "utf-16": (DOCUMENTED.decode().encode("utf-16"), "not JSON"),
    "success-missing": (b'{"data":[]}', "`success` is missing"),
    "success-null": (b'{"success":null,"data":[]}', "`success` is not true or false"),
    "success-number": (b'{"success":1,"data":[]}', "`success` is not true or false"),
    "success-text": (b'{"success":"true","data":[]}', "`success` is not true or false"),
    "success-list": (b'{"success":[true],"data":[]}', "`success` is not true or false"),
    "data-missing": (b'{"success":true}', "`data` is missing"),
    "data-null": (b'{"success":true,"data":null}', "`data` is not an array"),
    "data-object": (b'{"success":true,"data":{"0":{}}}', "`data` is not an array"),
    "data-text": (b'{"success":true,"data":"[]"}', "`data` is not an array"),
    "bare-list": (b"[]", "not a list of release requests: it is not an object"),
    "null": (b"null", "not a list of release requests: it is not an object"),
    "trailing": (page() + b"{}", "something follows after its end"),
    "trailing-text": (
        page(entry()) + b"\n<br />\n<b>Warning</b>: in index.php",
        "something follows",
    ),
    "trailing-bracket": (page(entry()) + b"]", "something follows after its end"),
    "never-json": (b"{hello world", "its syntax is wrong"),
    "nan": (page(entry_with("score", b"NaN")), "its syntax is wrong"),
    "infinity": (page(entry_with("score", b"-Infinity")), "its syntax is wrong"),
    "single-quotes": (b"{'success':true,'data':[]}", "its syntax is wrong"),
    "control-character": (page(entry_with("reason", b'"a\x01b"')), "its syntax is wrong"),
    "raw-nul": (page(entry_with("reason", b'"a\x00b"')), "its syntax is wrong"),
    "bad-escape": (page(entry_with("score", rb'"\q"')), "its syntax is wrong"),
    "cut-after-an-error": (page(entry_with("score", b"NaN"))[:-1], "its syntax is wrong"),
    "never-closed": (b'{"success" true', "its syntax is wrong"),
    "not-utf-8": (b'{"success":true,"data":5,"\xff":"\xff"}', "not"),
    "given-twice": (b'{"success":1,"success":true,"data":[]}', "a field is given twice"),
    "half-pair": (b'{"success":1,"data":["%s"]}' % HALF, "`success` is not true or false"),
    "message-of-success": (
        b'{"success":true,"message":"Operation completed successfully","data":{}}',
        "not a list of release requests",
    ),
    "message-of-success-as-a-text": (
        b'{"success":"true","message":"Operation completed successfully","data":[]}',
        "not a list of release requests",
    ),
    "too-deep": (
        b'{"success":true,"data":' + b"[" * 9999 + b"]" * 9999 + b"}",
        "nested too deeply",
    ),
    "entry-too-deep": (page(entry_with("x", b"[" * 9999 + b"]" * 9999)), "nested too deeply"),
}


@pytest.mark.parametrize(("body", "fault"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_bodies_are_named(body: bytes, fault: str) -> None:
    """A body that is not the documented envelope is a final error, which says what it is."""
    error = payload_error(body)
    assert fault in str(error)
    assert "JSON, not JSON" not in str(error)
    assert not isinstance(error, TruncatedPayload)


CUT = {
    "documented": DOCUMENTED,
    "escapes": page(entry(reason='é\u2028\0\\ "quoted" 😀', more={"a": [True, False, None]})),
    "half-pairs": page(entry_with("reason", b'"' + TAIL + HALF + b" " + FACE + HALF + b'"')),
    "utf-8": page(json.dumps(request(reason="é€😀"), ensure_ascii=False).encode()),
    "paging": page(meta=b'{"current_page":1,"last_page":1,"per_page":"100","total":0}'),
    "numbers": page(entry_with("score", b"[-1.25e+10,0,-0.5E-3]")),
}


@pytest.mark.parametrize("body", CUT.values(), ids=CUT)
def test_a_body_cut_anywhere_is_truncated(body: bytes) -> None:
    """Wherever the connection was cut, a retry may help; no part is taken for the whole."""
    parse_page(body)
    for end in range(1, len(body)):
        with pytest.raises(TruncatedPayload):
            parse_page(body[:end])


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text(), _VALUES, min_size=1) | st.lists(_VALUES, min_size=1),
    st.booleans(),
    st.sampled_from([None, 1]),
    st.integers(1),
)
@settings(max_examples=30, deadline=None, database=None, derandomize=True)
def test_every_beginning_of_a_document_is_truncated_and_the_whole_is_not(
    value: object, escaped: bool, indent: int | None, place: int
) -> None:
    """A text that more JSON could complete is truncated; a closed one is not, even if invalid."""
    text = json.dumps(value, ensure_ascii=escaped, indent=indent).encode("utf-8", "surrogatepass")
    place %= len(text)
    for end in range(1, len(text)):
        assert is_truncated(text[:end]), text[:end]
    for wrong in (b"\x01", b"\xff", b"&", b'"', b"]", b"\\", b"0"):
        corrupted = text[:place] + wrong + text[place:]
        assert not (closed(corrupted) and is_truncated(corrupted)), corrupted
    assert not is_truncated(text)
    assert not is_truncated(text + b" \n")
    assert not is_truncated(text + text)


def closed(text: bytes) -> bool:
    """Whether the brackets of a text are all closed, byte by byte."""
    depth, quoted, escaped = 0, False, False
    for byte in text:
        if quoted:
            quoted, escaped = escaped or byte != ord('"'), byte == ord("\\") and not escaped
        elif byte == ord('"'):
            quoted = True
        else:
            depth += (byte in b"[{") - (byte in b"]}")
            if depth <= 0:
                return True
    return False


@pytest.mark.parametrize(
    ("body", "message"),
    [
        *(case for case in ERRORS.values() if not case[1].startswith("success is false")),
        ({"success": False, "message": "1\n2\r\n3\u20284"}, "1 2 3 4"),
        ({"message": "x" * 9000}, "x" * 500),
    ],
)
def test_an_error_needs_no_success_to_be_summarized(body: dict[str, object], message: str) -> None:
    """Laravel's own errors have no `success`; a summary is one line of at most 500 characters."""
    assert error_summary(json.dumps(body).encode()) == message


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "empty"),
        (b"<html></html>", "an HTML page"),
        (b"oops", "plain text"),
        (b'{"status":500}', "JSON"),
        (b'["error"]', "JSON"),
        (b'{"error":' + b"[" * 9999, "JSON"),
    ],
)
def test_an_error_without_message_is_described_by_its_kind(body: bytes, kind: str) -> None:
    """Whatever arrived instead of a documented error, there is something to show."""
    assert error_summary(body).startswith(f"({kind} without")


@pytest.mark.parametrize("broken", [HALF, b"\xff"], ids=["lone surrogate", "not UTF-8"])
def test_the_message_of_an_error_survives_a_broken_character(broken: bytes) -> None:
    """One invalid character does not hide the API's message."""
    answer = b'{"success":false,"code":"DOWN","message":"Closed %s today"}' % broken
    assert error_summary(answer).startswith("DOWN: Closed ")


# Paging


FULL = Paging(current_page=2, last_page=3, per_page=100, total=250)
IRRELEVANT = (b"{}", b"[]", b"null", b'"v1"', b"5", b'{"request_id":"abc","took":0.5}')
PAGINGS: list[tuple[bytes, Paging | None]] = [
    *(
        (b'"%s":%s' % (key, paging), expected)
        for key in (b"meta", b"pagination")
        for paging, expected in (
            (b'{"current_page":2,"last_page":3,"per_page":100,"total":250}', FULL),
            (b'{"current_page":"2","last_page":"3","per_page":"100","total":"250"}', FULL),
            (b'{"total":250,"per_page":"100","last_page":null}', Paging(per_page=100, total=250)),
            (b'{"last_page":1,"path":"https://x","from":null}', Paging(last_page=1)),
        )
    ),
    *((b'"meta":%s' % meta, None) for meta in IRRELEVANT),
    *(
        (b'"meta":%s,"pagination":{"last_page":2}' % meta, Paging(last_page=2))
        for meta in IRRELEVANT
    ),
    (
        b'"current_page":2,"last_page":3,"per_page":100,"total":250,"next_page_url":"https://x"',
        FULL,
    ),
    (b'"meta":{"pagination":{"last_page":2}}', Paging(last_page=2)),
    (b'"meta":{"last_page":2},"links":{"next":"https://x"}', Paging(last_page=2)),
    (b'"links":{"next":null},"meta":{"next_cursor":null}', None),
    (b'"next_page_url":null', None),
]


@pytest.mark.parametrize(("members", "expected"), PAGINGS)
def test_paging_is_found(members: bytes, expected: Paging | None) -> None:
    """Paging is found where it is documented and where frameworks put it; numbers may be texts."""
    assert parse_page(b'{"success":true,"data":[],%s}' % members).paging == expected


@pytest.mark.parametrize("key", ["meta", "pagination"])
@pytest.mark.parametrize(
    "value", [b'"three"', b'""', b"1.5", b"-1", b"true", b"[]", b"{}", b"1e999"]
)
@pytest.mark.parametrize("field", ["current_page", "last_page", "per_page", "total"])
def test_unreadable_paging_is_refused(key: str, field: str, value: bytes) -> None:
    """A list with malformed paging is not taken for complete."""
    paging = b'{"%s":%s}' % (field.encode(), value)
    with pytest.raises(PayloadError, match=f"`{field}` is not a usable whole number"):
        parse_page(page(**{key: paging}))


@pytest.mark.parametrize(
    "members",
    [
        b'"links":{"next":"https://x"}',
        b'"meta":{"next_cursor":"abc"}',
        b'"pagination":{"next":2}',
        b'"next_page_url":"https://x"',
    ],
)
def test_a_list_that_goes_on_in_an_unknown_way_is_refused(members: bytes) -> None:
    """A first page that points to another one is not taken for the whole list."""
    with pytest.raises(PayloadError, match="goes on"):
        parse_page(b'{"success":true,"data":[],%s}' % members)


@pytest.mark.parametrize(
    ("paging", "pages"),
    [
        (Paging(last_page=3), 3),
        (Paging(last_page=3, total=9, per_page=1), 3),
        (Paging(last_page=0, total=0), 1),
        (Paging(total=0, per_page=100), 1),
        (Paging(total=100, per_page=100), 1),
        (Paging(total=101, per_page=100), 2),
        (Paging(total=101), 1),
        (Paging(total=101, per_page=0), None),
        (Paging(current_page=1, per_page=100), None),
    ],
)
def test_number_of_pages(paging: Paging, pages: int | None) -> None:
    """The number of pages is stated, or follows from `total` and `per_page`, or is unknown."""
    assert paging.pages == pages


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
    kind = "time" if field in TIMES else "text"
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
@given(st.dictionaries(st.sampled_from(FIELDS), _VALUES | st.datetimes().map(str)))
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
    assert (record.request_id, record.raw) == (request_id, raw.decode())


@pytest.mark.parametrize("raw", [b'"text"', b"5", b"null", b"[]", b"{}", b"true", b"[{}]"])
def test_an_entry_that_is_no_request_is_kept_unchanged(raw: bytes) -> None:
    """Whatever an entry is, its neighbours are decoded."""
    before, record, after = decoded(entry(id="a"), raw, entry(id="b"))
    assert [type(one) for one in (before, record, after)] == [Record, InvalidRecord, Record]
    assert record == invalid(raw)
    assert (invalid(raw).request_id, invalid(raw).raw) == (None, raw.decode())
    assert invalid(raw).error == ("`id` is missing" if raw == b"{}" else "not an object")


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
    assert (record.error, record.request_id) == (f"`{field}` {fault}", "request-1")


# Unknown fields


@pytest.mark.parametrize(
    "value",
    [
        b"1e400",
        b"-0.1000000000000000000000000000000000000001E+2",
        b"9" * 5000,
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
    assert invalid(entry(status=5, carrier={"name": "Example"})).error == "`status` is not a text"


# Characters that no database can store


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rb"a\u0000b", "a\ufffdb"),
        (rb"\u0000\u0000", "\ufffd\ufffd"),
        (HALF, "\ufffd"),
        (TAIL, "\ufffd"),
        (TAIL + HALF, "\ufffd\ufffd"),
        (HALF + FACE, "\ufffd😀"),
        (FACE + TAIL, "😀\ufffd"),
        (HALF + rb"\u0041", "\ufffdA"),
        (HALF.upper().replace(b"U", b"u"), "\ufffd"),
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
        (HALF, "\ufffd"),
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
    assert record.request_id == (None if field == "id" else "request-1")


@pytest.mark.parametrize("depth", [50_000, 200_000])
def test_an_entry_nested_too_deeply_is_rejected(depth: int) -> None:
    """An entry of any depth neither ends the process nor stops its neighbours."""
    deep = Raw(entry_with("x", b"[" * depth + b"]" * depth))
    record, neighbour = decode([deep, Raw(entry(id="b"))], frozenset())
    assert isinstance(neighbour, Record)
    assert isinstance(record, InvalidRecord)
    assert record.error == "nested too deeply to be read"


# The same id twice


@pytest.mark.parametrize(
    "other",
    [
        entry(),
        json.dumps(dict(reversed(request().items())), indent=2).encode(),
        entry(requested_at="2024-01-10T11:30:00.000-03:00"),
        entry(resolved_at=None),
        entry_with("reason", rb'"Number is no longer in \u0075se"'),
    ],
    ids=["same-bytes", "other-order", "other-zone", "null-for-absent", "other-escapes"],
)
def test_equal_entries_count_once(other: bytes) -> None:
    """Entries of the same content in other bytes are one request."""
    assert decoded(entry(), other, entry()) == [valid(entry())]


def test_contradicting_entries_are_all_rejected() -> None:
    """Of contradicting entries none is valid, and other requests are not affected."""
    raws = [entry(), entry(status="approved"), entry()]
    other, *records = decoded(raws[0], entry(id="b"), *raws[1:])
    assert isinstance(other, Record)
    for raw, record in zip(raws, records, strict=True):
        assert isinstance(record, InvalidRecord)
        assert (record.request_id, record.raw) == ("request-1", raw.decode())
        assert "3 contradicting entries" in record.error


def test_a_valid_and_an_invalid_entry_contradict_each_other() -> None:
    """Both are rejected, each for its own reason."""
    good, bad = decoded(entry(), entry(status=5))
    assert isinstance(good, InvalidRecord)
    assert isinstance(bad, InvalidRecord)
    assert "2 contradicting entries" in good.error
    assert bad.error == "`status` is not a text"
    assert good.fingerprint != bad.fingerprint


def test_equal_invalid_entries_count_once() -> None:
    """Of equal entries with the same id only one is kept, also if they are invalid."""
    assert decoded(entry(status=5), entry(status=5)) == [invalid(entry(status=5))]


def test_contradictions_in_unknown_fields_keep_both_entries() -> None:
    """Entries that differ only in an unknown field are two, with a fingerprint each."""
    records = decoded(entry(score=1), entry(score=2))
    fingerprints = {one.fingerprint for one in records if isinstance(one, InvalidRecord)}
    assert len(fingerprints) == 2


# The fingerprint


@pytest.mark.parametrize(
    "other",
    [
        entry(status=5, carrier={"name": "Example"}, score=1),
        json.dumps(dict(reversed(request(status=5).items()))).encode(),
    ],
    ids=["added-fields", "other-order"],
)
def test_the_fingerprint_is_of_the_known_fields(other: bytes) -> None:
    """Neither a field that upstream adds nor another order makes another invalid record."""
    plain, changed = invalid(entry(status=5)), invalid(other)
    assert (changed.fingerprint, len(plain.fingerprint)) == (plain.fingerprint, 64)
    assert changed.raw != plain.raw


@pytest.mark.parametrize("change", [{"id": "b"}, {"reason": "x"}, {"status": 6}], ids=str)
def test_the_fingerprint_tells_known_fields_apart(change: dict[str, object]) -> None:
    """Entries that differ in a known field are different invalid records."""
    changed = invalid(entry(**{"status": 5} | change))
    assert changed.fingerprint != invalid(entry(status=5)).fingerprint


def test_the_fingerprint_is_of_the_whole_entry_if_no_field_is_known() -> None:
    """Entries without any known field are told apart by all they contain."""
    raws = (b'{"a":1}', b'{"a":2}', b"{}", b'"a"', b"5")
    assert len({invalid(raw).fingerprint for raw in raws}) == len(raws)


def test_the_fingerprint_does_not_depend_on_the_rest_of_the_list() -> None:
    """A lone surrogate in one entry does not change the fingerprint of another."""
    bad = entry(status=5, reason="\0")
    beside, other = decoded(bad, entry_with("reason", b'"%s"' % HALF).replace(b"st-1", b"st-2"))
    assert isinstance(other, Record)
    assert isinstance(beside, InvalidRecord)
    assert beside.fingerprint == invalid(bad).fingerprint


# The index of ids


LONGEST = "x" * 255
INDEXED: dict[str, tuple[list[bytes], int, set[str]]] = {
    "nothing": ([], 0, set()),
    "distinct": ([entry(id="a"), entry(id="b")], 2, set()),
    "repeated": ([entry(id="a"), entry(id="b"), entry(id="a"), entry(id="a")], 2, {"a"}),
    "invalid-repeated": ([entry(id="a"), entry(id="a", status=5)], 1, {"a"}),
    "without-id": ([b'"x"', b'"x"', b"5", entry(id=""), entry(id=""), entry(id=5)], 6, set()),
    "too-long": ([entry(id=LONGEST + "x")] * 2, 2, set()),
    "longest": ([entry(id=LONGEST)] * 2, 1, {LONGEST}),
    "nul": ([entry(id="a\0"), entry(id="a\ufffd")], 1, {"a\ufffd"}),
    "escapes": ([entry(id="é"), entry_with("id", '"é"'.encode())], 1, {"é"}),
    "case": ([entry(id="A"), entry(id="a"), entry(id="a ")], 3, set()),
    "not-utf-8": ([entry(id="a"), *[entry_with("id", b'"\xff"')] * 2], 3, set()),
}


@pytest.mark.parametrize(("raws", "distinct", "repeated"), INDEXED.values(), ids=INDEXED)
def test_ids_are_counted(raws: list[bytes], distinct: int, repeated: set[str]) -> None:
    """Each id counts once, and each entry without a usable id counts, added at once or in steps."""
    in_steps = IdIndex()
    for raw in raws:
        in_steps.add([Raw(raw)])
    for ids in (index(raws), in_steps):
        assert (ids.distinct, ids.repeated) == (distinct, frozenset(repeated))


# Batches


def test_an_unusual_entry_does_not_affect_its_neighbours() -> None:
    """Entries are decoded many at a time, each with the same result as alone."""
    unusual = [
        entry_without("status"),
        entry_with("id", b'"\xff"'),
        entry_with("reason", rb'"a\u0000b"'),
        entry_with("requested_at", b'"0001-01-01T00:00:00+14:00"'),
        entry_with("extra", b"[" * 900 + b"]" * 900),
        entry(id="with more", score=1),
        b"5",
    ]
    raws = [entry(id=f"request-{number}") for number in range(2_500)]
    for place, raw in enumerate(unusual):
        raws.insert(place * 333, raw)
    expected = [alone(raw) for raw in raws]
    assert list(decode(map(Raw, raws), frozenset())) == expected
    assert sum(isinstance(record, InvalidRecord) for record in expected) == 4


def test_duplicates_are_merged_across_batches() -> None:
    """Equal entries count once and contradicting ones are all invalid, also if far apart."""
    raws = [entry(id=f"request-{number}") for number in range(2_500)]
    raws += [entry(id="request-0"), entry(id="request-1", status="approved")]
    ids = [record.id for record in decoded(*raws) if isinstance(record, Record)]
    assert len(ids) == 2_499
    assert set(ids) == {f"request-{number}" for number in range(2_500)} - {"request-1"}
