"""The wire format: what is believed, what is put aside with a reason, and what stops the pull."""

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


def surveyed(items: Iterable[Raw]) -> IdIndex:
    """What the ids of a list say about it."""
    survey = IdIndex()
    survey.add(list(items))
    return survey


def decoded(*entries: bytes) -> list[Record | InvalidRecord]:
    """What becomes of the entries of a list."""
    items = parse_page(page(*entries)).entries
    return list(decode(items, surveyed(items).repeated))


def understood(raw: bytes) -> Record:
    """The record that an entry becomes."""
    (one,) = decoded(raw)
    assert isinstance(one, Record), one
    return one


def refused(raw: bytes) -> InvalidRecord:
    """The reject that an entry becomes."""
    (one,) = decoded(raw)
    assert isinstance(one, InvalidRecord), one
    return one


# The envelope


def test_documented_list_is_read() -> None:
    """The documented example holds two entries and no paging."""
    read = parse_page(DOCUMENTED)
    assert (len(read.entries), read.paging) == (2, None)


def test_space_and_unknown_fields_around_the_list_do_not_matter() -> None:
    """What is not documented in an envelope is ignored."""
    read = parse_page(b" \n" + page(entry(), message=b'"Done"', links=b'{"next":null}') + b"\r\n")
    assert (len(read.entries), read.paging) == (1, None)


def test_a_byte_order_mark_is_ignored() -> None:
    """A PHP file that was saved with a BOM puts it before every answer; the list is the same."""
    assert parse_page(BOM + DOCUMENTED) == parse_page(DOCUMENTED)


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
@pytest.mark.parametrize(("body", "said"), ERRORS.values(), ids=ERRORS)
def test_success_false_is_a_failure(
    body: dict[str, object], said: str, data: dict[str, object]
) -> None:
    """An answer that says it failed is not believed, and its code and message are shown."""
    answer = json.dumps({"success": False} | body | data).encode()
    with pytest.raises(PayloadError) as raised:
        parse_page(answer)
    assert "says that it failed" in str(raised.value)
    assert said in str(raised.value)
    assert not isinstance(raised.value, TruncatedPayload)
    assert error_summary(answer) == said


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
    "too-deep": (
        b'{"success":true,"data":' + b"[" * 9999 + b"]" * 9999 + b"}",
        "nested too deeply",
    ),
    "entry-too-deep": (page(entry_with("x", b"[" * 9999 + b"]" * 9999)), "nested too deeply"),
}


@pytest.mark.parametrize(("body", "said"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_answers_are_named(body: bytes, said: str) -> None:
    """What is not the documented envelope is refused for good, and the error says what came."""
    with pytest.raises(PayloadError) as raised:
        parse_page(body)
    assert said in str(raised.value)
    assert not isinstance(raised.value, TruncatedPayload)


def test_malformed_json_is_not_called_something_else() -> None:
    """An answer that begins as JSON and goes wrong later is not said to be "JSON, not JSON"."""
    with pytest.raises(PayloadError) as raised:
        parse_page(page() + b"{}")
    assert "JSON, not JSON" not in str(raised.value)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"success":true,"message":"Operation completed successfully","data":{}}',
        b'{"success":"true","message":"Operation completed successfully","data":[]}',
    ],
    ids=["data-is-no-list", "success-is-a-text"],
)
def test_a_message_of_success_is_not_taken_for_an_error(answer: bytes) -> None:
    """`message` comes with good answers too; what is wrong is the shape, so the shape is named."""
    with pytest.raises(PayloadError) as raised:
        parse_page(answer)
    assert "not a list of release requests" in str(raised.value)


CUT = {
    "documented": DOCUMENTED,
    "escapes": page(entry(reason='é\u2028\0\\ "quoted" 😀', more={"a": [True, False, None]})),
    "half-pairs": page(entry_with("reason", b'"' + TAIL + HALF + b" " + FACE + HALF + b'"')),
    "utf-8": page(json.dumps(request(reason="é€😀"), ensure_ascii=False).encode()),
    "paging": page(meta=b'{"current_page":1,"last_page":1,"per_page":"100","total":0}'),
    "numbers": page(entry_with("score", b"[-1.25e+10,0,-0.5E-3]")),
}


@pytest.mark.parametrize("body", CUT.values(), ids=CUT)
def test_an_answer_cut_anywhere_is_truncated(body: bytes) -> None:
    """Wherever the connection was cut, asking again may help; no part is taken for the whole."""
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
def test_every_beginning_of_a_document_is_cut_and_the_whole_is_not(
    value: object, escaped: bool, indent: int | None, place: int
) -> None:
    """What more JSON could complete is cut; what is closed is not, whatever is wrong in it."""
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
    """Whether the brackets of a text are all closed, seen byte by byte."""
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
    ("body", "said"),
    [(body, said) for body, said in ERRORS.values() if not said.startswith("success is false")],
)
def test_an_error_needs_no_success_to_be_described(body: dict[str, object], said: str) -> None:
    """Laravel's own errors have no `success`; their code and message are shown all the same."""
    assert error_summary(json.dumps(body).encode()) == said


def test_an_error_is_described_in_one_line() -> None:
    """A message with line breaks cannot forge a second line of a log."""
    answer = json.dumps({"success": False, "message": "one\ntwo\r\nthree\u2028four"}).encode()
    assert len(error_summary(answer).splitlines()) == 1


def test_a_long_error_is_truncated() -> None:
    """The description of an error has at most 500 characters."""
    said = error_summary(json.dumps({"message": "x" * 9000}).encode())
    assert said == "x" * 500


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "(empty without"),
        (b"<html></html>", "(an HTML page without"),
        (b"oops", "(plain text without"),
        (b'{"status":500}', "(JSON without"),
        (b'["error"]', "(JSON without"),
        (b'{"error":' + b"[" * 9999, "(JSON without"),
    ],
)
def test_an_error_without_message_is_described_by_its_kind(body: bytes, said: str) -> None:
    """Whatever came instead of a documented error, there is something to show."""
    assert error_summary(body).startswith(said)


@pytest.mark.parametrize("broken", [HALF, b"\xff"], ids=["half a surrogate pair", "not UTF-8"])
def test_the_message_of_an_error_survives_a_broken_character(broken: bytes) -> None:
    """One bad character does not hide what the API said about its failure."""
    answer = b'{"success":false,"code":"DOWN","message":"Closed %s today"}' % broken
    assert error_summary(answer).startswith("DOWN: Closed ")


# Paging


@pytest.mark.parametrize("key", ["meta", "pagination"])
@pytest.mark.parametrize(
    ("paging", "expected"),
    [
        (
            b'{"current_page":2,"last_page":3,"per_page":100,"total":250}',
            Paging(current_page=2, last_page=3, per_page=100, total=250),
        ),
        (
            b'{"current_page":"2","last_page":"3","per_page":"100","total":"250"}',
            Paging(current_page=2, last_page=3, per_page=100, total=250),
        ),
        (b'{"total":250,"per_page":"100","last_page":null}', Paging(per_page=100, total=250)),
        (b'{"last_page":1,"path":"https://x","from":null}', Paging(last_page=1)),
    ],
    ids=["numbers", "texts", "without-last-page", "with-unknown-fields"],
)
def test_paging_is_found_under_either_key(key: str, paging: bytes, expected: Paging) -> None:
    """Paging is read under `meta` and `pagination`, its numbers also where they came as texts."""
    assert parse_page(page(**{key: paging})).paging == expected


IRRELEVANT = (b"{}", b"[]", b"null", b'"v1"', b"5", b'{"request_id":"abc","took":0.5}')


@pytest.mark.parametrize("other", IRRELEVANT)
def test_irrelevant_meta_is_not_paging(other: bytes) -> None:
    """A `meta` without paging means a list that came whole, and hides no `pagination`."""
    assert parse_page(page(entry(), meta=other)).paging is None
    paged = parse_page(page(entry(), meta=other, pagination=b'{"last_page":2}'))
    assert paged.paging == Paging(last_page=2)


@pytest.mark.parametrize("key", ["meta", "pagination"])
@pytest.mark.parametrize(
    "value", [b'"three"', b'""', b"1.5", b"-1", b"true", b"[]", b"{}", b"1e999"]
)
@pytest.mark.parametrize("field", ["current_page", "last_page", "per_page", "total"])
def test_unreadable_paging_is_refused(key: str, field: str, value: bytes) -> None:
    """Paging that cannot be understood is no reason to believe that a list is whole."""
    paging = b'{"%s":%s}' % (field.encode(), value)
    with pytest.raises(PayloadError, match=f"`{field}` is not a usable whole number"):
        parse_page(page(**{key: paging}))


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (
            b'"current_page":1,"last_page":3,"per_page":100,"total":250,"next_page_url":"https://x"',
            Paging(current_page=1, last_page=3, per_page=100, total=250),
        ),
        (b'"meta":{"pagination":{"last_page":2}}', Paging(last_page=2)),
        (b'"meta":{"last_page":2},"links":{"next":"https://x"}', Paging(last_page=2)),
        (b'"links":{"next":null},"meta":{"next_cursor":null}', None),
        (b'"next_page_url":null', None),
    ],
    ids=["plain-paginator", "nested", "with-links", "last-of-a-cursor", "last-of-all"],
)
def test_paging_is_found_where_frameworks_put_it(members: bytes, expected: Paging | None) -> None:
    """Paging that stands elsewhere than documented is read, so that page 1 is never the list."""
    assert parse_page(b'{"success":true,"data":[],%s}' % members).paging == expected


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
    """A first page that points to more is not taken for the whole list."""
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
    """The number of pages is the stated one, else what `total` and `per_page` imply, else None."""
    assert paging.pages == pages


# Records


def test_a_record_holds_what_upstream_said() -> None:
    """Each documented field arrives, times in UTC, and there is nothing extra."""
    fields = request(
        status="rejected", resolved_at="2024-01-11T09:00:00Z", rejection_reason="In use"
    )
    assert understood(json.dumps(fields).encode()) == Record(
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
def test_what_is_not_required_may_be_null_or_missing(field: str) -> None:
    """Null and absent mean the same, and neither makes a reject."""
    null = understood(entry(**{field: None}))
    assert getattr(null, field) is None
    assert understood(entry_without(field)) == null


@pytest.mark.parametrize("value", [5, 5.5, True, [], {}], ids=repr)
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_must_have_its_type(field: str, value: object) -> None:
    """A field of another type makes a reject that names the field, not a guess."""
    kind = "time" if field in TIMES else "text"
    assert refused(entry(**{field: value})).error == f"`{field}` is not a {kind}"


@pytest.mark.parametrize("field", [*REQUIRED_TEXTS, "requested_at"])
def test_a_required_field_must_be_there(field: str) -> None:
    """A required field that is missing, null or empty makes a reject that names the field."""
    assert refused(entry_without(field)).error == f"`{field}` is missing"
    assert refused(entry(**{field: None})).error == f"`{field}` is null"
    empty = "is not a time" if field in TIMES else "is empty"
    assert refused(entry(**{field: ""})).error == f"`{field}` {empty}"


@pytest.mark.parametrize("letter", ["x", "é", "😀"])
@pytest.mark.parametrize("field", [*REQUIRED_TEXTS, "phone_number_id"])
def test_identifiers_have_a_longest_length(field: str, letter: str) -> None:
    """255 characters fit, of whatever script, and one more is a reject."""
    assert MAX_IDENTIFIER == 255
    assert getattr(understood(entry(**{field: letter * 255})), field) == letter * 255
    reject = refused(entry(**{field: letter * 256}))
    assert reject.error == f"`{field}` is longer than 255 characters"


def test_the_first_fault_is_told() -> None:
    """Of several faults one is named, whatever the order in which the fields come."""
    faults = {"status": 5, "id": "", "resolved_at": "soon", "x": 1}
    assert refused(entry(**faults)).error == "`id` is empty"
    assert refused(json.dumps(dict(reversed(faults.items()))).encode()).error == "`id` is empty"


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(FIELDS), _VALUES | st.datetimes().map(str)))
def test_every_reject_has_a_reason_of_ours(fields: dict[str, Any]) -> None:
    """An entry is a record, or the sentence that says why not names one of its fields."""
    (one,) = decode([Raw(entry(**fields))], frozenset())
    if isinstance(one, InvalidRecord):
        assert re.fullmatch(REASONS, one.error), one.error


def test_reasons_may_be_of_any_length() -> None:
    """The documented 500 characters are upstream's business; nothing is cut here."""
    assert understood(entry(reason="é" * 100_000)).reason == "é" * 100_000
    assert understood(entry(reason="")).reason == ""


def test_any_status_is_taken_as_it_came() -> None:
    """A status from the future is not an error."""
    assert understood(entry(status="On hold ")).status == "On hold "


@pytest.mark.parametrize(
    ("field", "request_id"),
    [("phone_number", "request-1"), ("status", "request-1"), ("id", None)],
)
def test_a_reject_keeps_the_id_if_it_can_be_read(field: str, request_id: str | None) -> None:
    """The row of a request whose record turns bad can be found by the reject's id."""
    raw = entry(**{field: 5})
    reject = refused(raw)
    assert (reject.request_id, reject.raw) == (request_id, raw.decode())


@pytest.mark.parametrize("raw", [b'"text"', b"5", b"null", b"[]", b"{}", b"true", b"[{}]"])
def test_an_entry_that_is_no_request_is_put_aside(raw: bytes) -> None:
    """Whatever stands in the list, its neighbours are read, and it is kept as it came."""
    before, reject, after = decoded(entry(id="a"), raw, entry(id="b"))
    assert isinstance(before, Record)
    assert isinstance(after, Record)
    assert isinstance(reject, InvalidRecord)
    assert (reject.request_id, reject.raw) == (None, raw.decode())
    assert reject.error == ("`id` is missing" if raw == b"{}" else "not an object")


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
def test_times_are_expressed_in_utc(field: str, text: str, expected: datetime) -> None:
    """Any zone is accepted, and the same instant comes out in UTC."""
    time = getattr(understood(entry(**{field: text})), field)
    assert (time, time.tzinfo) == (expected, UTC)


@pytest.mark.parametrize(
    ("text", "said"),
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
def test_times_that_are_none_are_refused(field: str, text: str, said: str) -> None:
    """A time without zone, without sense, or outside the calendar in UTC is never guessed at."""
    reject = refused(entry(**{field: text}))
    assert (reject.error, reject.request_id) == (f"`{field}` {said}", "request-1")


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
    """What the mirror does not know it does not touch: no digit, space or escape is lost."""
    record = understood(entry_with("score", value))
    assert record.extra == '{"score":' + value.decode() + "}"
    assert record.id == "request-1"


def test_unknown_fields_are_sorted_by_name() -> None:
    """The order in which upstream sends fields makes no difference."""
    one, other = entry(zone="b", Area=[2, 1], é=None), entry(é=None, Area=[2, 1], zone="b")
    assert understood(one).extra == '{"Area":[2, 1],"zone":"b","é":null}'
    assert understood(other) == understood(one)


@pytest.mark.parametrize("value", [b'""', b'"text"', b"5", b'{"extra": ""}'])
def test_a_field_called_extra_is_an_unknown_field(value: bytes) -> None:
    """Upstream cannot reach into the mirror's own column by a field of its name."""
    assert understood(entry_with("extra", value)).extra == '{"extra":' + value.decode() + "}"


def test_unknown_fields_do_not_excuse_a_bad_known_one() -> None:
    """The reject is about the known field, not about the unknown one."""
    reject = refused(entry(status=5, carrier={"name": "Example"}))
    assert reject.error == "`status` is not a text"


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
def test_nul_and_half_pairs_become_replacement_characters(
    field: str, text: bytes, expected: str
) -> None:
    """NUL and half of a surrogate pair become U+FFFD; whole pairs and escaped backslashes stay."""
    assert getattr(understood(entry_with(field, b'"%s"' % text)), field) == expected


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
    """Neither a name nor a value of an unknown field holds what Postgres refuses."""
    extra = understood(entry_with("note", b'{"a%s":"b%s"}' % (text, text))).extra
    assert json.loads(extra) == {"note": {"a" + expected: "b" + expected}}


@pytest.mark.parametrize("field", ["id", "reason", "note"])
@pytest.mark.parametrize("bad", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"caf\xe9"])
def test_invalid_utf8_is_a_reject(field: str, bad: bytes) -> None:
    """Bytes that are no text are not guessed at; they are kept as hex, and neighbours are read."""
    raw = entry_with(field, b'"%s"' % bad)
    reject, neighbour = decoded(raw, entry(id="b"))
    assert isinstance(neighbour, Record)
    assert isinstance(reject, InvalidRecord)
    assert reject.error == "not valid UTF-8"
    assert reject.raw == raw.decode("utf-8", "backslashreplace")
    assert reject.request_id == (None if field == "id" else "request-1")


@pytest.mark.parametrize("depth", [50_000, 200_000])
def test_an_entry_nested_too_deeply_is_a_reject(depth: int) -> None:
    """An entry of any depth neither ends the process nor stops its neighbours."""
    deep = Raw(entry_with("x", b"[" * depth + b"]" * depth))
    reject, neighbour = decode([deep, Raw(entry(id="b"))], frozenset())
    assert isinstance(neighbour, Record)
    assert isinstance(reject, InvalidRecord)
    assert reject.error == "nested too deeply to be read"


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
    """Entries that say the same with other bytes are one request."""
    assert decoded(entry(), other, entry()) == [understood(entry())]


def test_contradicting_entries_are_all_put_aside() -> None:
    """Of contradicting entries none is believed, and other requests are not held up."""
    raws = [entry(), entry(status="approved"), entry()]
    other, *rejects = decoded(raws[0], entry(id="b"), *raws[1:])
    assert isinstance(other, Record)
    for raw, reject in zip(raws, rejects, strict=True):
        assert isinstance(reject, InvalidRecord)
        assert (reject.request_id, reject.raw) == ("request-1", raw.decode())
        assert "3 contradicting entries" in reject.error


def test_a_good_and_a_bad_entry_contradict_each_other() -> None:
    """A record beside one that cannot be read is not believed, and each says its own reason."""
    good, bad = decoded(entry(), entry(status=5))
    assert isinstance(good, InvalidRecord)
    assert isinstance(bad, InvalidRecord)
    assert "2 contradicting entries" in good.error
    assert bad.error == "`status` is not a text"
    assert good.fingerprint != bad.fingerprint


def test_equal_bad_entries_count_once() -> None:
    """Of equal entries with the same id only one comes, also if it cannot be understood."""
    assert decoded(entry(status=5), entry(status=5)) == [refused(entry(status=5))]


def test_contradictions_in_unknown_fields_keep_both_entries() -> None:
    """Entries that differ in an unknown field alone are two, with a fingerprint each."""
    rejects = decoded(entry(score=1), entry(score=2))
    prints = {one.fingerprint for one in rejects if isinstance(one, InvalidRecord)}
    assert len(prints) == 2


# The fingerprint of a reject


def test_the_fingerprint_is_stable_when_unknown_fields_are_added() -> None:
    """A field that upstream adds to all records does not make known rejects new ones."""
    plain = refused(entry(status=5))
    added = refused(entry(status=5, carrier={"name": "Example"}, score=1))
    assert (added.fingerprint, len(plain.fingerprint)) == (plain.fingerprint, 64)
    assert added.raw != plain.raw


def test_the_fingerprint_does_not_depend_on_the_order_of_fields() -> None:
    """The same entry with its fields in another order is the same reject."""
    reordered = json.dumps(dict(reversed(request(status=5).items()))).encode()
    assert refused(reordered).fingerprint == refused(entry(status=5)).fingerprint


@pytest.mark.parametrize("change", [{"id": "b"}, {"reason": "x"}, {"status": 6}], ids=str)
def test_the_fingerprint_tells_known_fields_apart(change: dict[str, object]) -> None:
    """Entries that differ in a known field are different rejects."""
    assert (
        refused(entry(**{"status": 5} | change)).fingerprint != refused(entry(status=5)).fingerprint
    )


def test_the_fingerprint_is_of_all_where_nothing_is_known() -> None:
    """Entries without any known field are told apart by all they hold."""
    raws = (b'{"a":1}', b'{"a":2}', b"{}", b'"a"', b"5")
    assert len({refused(raw).fingerprint for raw in raws}) == len(raws)


def test_the_fingerprint_does_not_depend_on_the_rest_of_the_list() -> None:
    """Half a surrogate pair in one record does not make other, known rejects new ones."""
    bad = entry(status=5, reason="\0")
    beside, other = decoded(bad, entry_with("reason", b'"%s"' % HALF).replace(b"st-1", b"st-2"))
    assert isinstance(other, Record)
    assert isinstance(beside, InvalidRecord)
    assert beside.fingerprint == refused(bad).fingerprint


# The survey


@pytest.mark.parametrize(
    ("raws", "distinct", "repeated"),
    [
        ([], 0, set()),
        ([entry(id="a"), entry(id="b")], 2, set()),
        ([entry(id="a"), entry(id="b"), entry(id="a"), entry(id="a")], 2, {"a"}),
        ([entry(id="a"), entry(id="a", status=5)], 1, {"a"}),
        ([b'"x"', b'"x"', b"5", entry(id=""), entry(id=""), entry(id=5)], 6, set()),
        ([entry(id="x" * 256), entry(id="x" * 256)], 2, set()),
        ([entry(id="x" * 255), entry(id="x" * 255)], 1, {"x" * 255}),
        ([entry(id="a\0"), entry(id="a\ufffd")], 1, {"a\ufffd"}),
        ([entry(id="é"), entry_with("id", '"é"'.encode())], 1, {"é"}),
        ([entry(id="A"), entry(id="a"), entry(id="a ")], 3, set()),
        ([entry(id="a"), entry_with("id", b'"\xff"'), entry_with("id", b'"\xff"')], 3, set()),
    ],
    ids=[
        "nothing",
        "distinct",
        "repeated",
        "bad-repeated",
        "without-id",
        "too-long",
        "longest",
        "nul",
        "escapes",
        "case",
        "not-utf-8",
    ],
)
def test_survey_counts_ids(raws: list[bytes], distinct: int, repeated: set[str]) -> None:
    """Each id counts once, and each entry without a usable id for itself, however they come."""
    at_once, in_steps = surveyed(map(Raw, raws)), IdIndex()
    for raw in raws:
        in_steps.add([Raw(raw)])
    for survey in (at_once, in_steps):
        assert (survey.distinct, survey.repeated) == (distinct, frozenset(repeated))


# Batches


def test_an_odd_entry_does_not_change_what_becomes_of_its_neighbours() -> None:
    """Entries are decoded many at a time; each is understood as if it had come alone."""
    odd = [
        entry_without("status"),
        entry_with("id", b'"\xff"'),
        entry_with("reason", rb'"a\u0000b"'),
        entry_with("requested_at", b'"0001-01-01T00:00:00+14:00"'),
        entry_with("extra", b"[" * 900 + b"]" * 900),
        entry(id="with more", score=1),
        b"5",
    ]
    raws = [entry(id=f"request-{number}") for number in range(2_500)]
    for place, raw in enumerate(odd):
        raws.insert(place * 333, raw)
    alone = [one for raw in raws for one in decode([Raw(raw)], frozenset())]
    assert list(decode(map(Raw, raws), frozenset())) == alone
    assert sum(isinstance(one, InvalidRecord) for one in alone) == 4


def test_entries_with_one_id_are_reconciled_across_batches() -> None:
    """Equal ones count as one, contradicting ones are all rejects, also if they are far apart."""
    raws = [entry(id=f"request-{number}") for number in range(2_500)]
    raws += [entry(id="request-0"), entry(id="request-1", status="approved")]
    records = [one for one in decoded(*raws) if isinstance(one, Record)]
    assert len(records) == 2_499
    assert {one.id for one in records} == {f"request-{number}" for number in range(2_500)} - {
        "request-1"
    }
