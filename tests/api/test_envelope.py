"""Envelopes: which bodies are pages, which paging is believed, and the messages of errors."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.api.envelope import PayloadError, TruncatedPayload, error_summary, parse_page
from mirror.api.malformed import is_truncated
from mirror.api.paging import Paging
from tests.support import ROOT
from tests.support.api_payloads import (
    FACE,
    JSON_VALUES,
    LONE,
    TAIL,
    entries_of,
    entry,
    entry_with,
    page,
)
from tests.support.upstream import request

DOCUMENTED = (ROOT / "tests" / "data" / "documented-list.json").read_bytes().strip()
BOM = b"\xef\xbb\xbf"


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
    assert (len(entries_of(parsed.data)), parsed.paging) == (count, None)
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
    "flat-without-code": ({"message": "Unauthenticated."}, "Unauthenticated"),
    "ellipsis": ({"message": "Busy...", "code": "BUSY"}, "BUSY: Busy"),
    "another full stop": ({"message": "\u7e41\u5fd9\u3002"}, "\u7e41\u5fd9"),
    "validation": (
        {"message": "The given data was invalid.", "errors": {"page": ["Too small", "Odd"]}},
        'The given data was invalid: {"page":["Too small","Odd"]}',
    ),
    "error-is-a-text": ({"error": "Something broke"}, "Something broke"),
    "only punctuation": ({"message": "...", "code": "BUSY"}, "BUSY"),
    "no-message": ({}, "success is false, without code or message"),
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
    response = json.dumps({"success": False} | body | data).encode()
    error = payload_error(response)
    assert str(error) == f"the API reports a failure: {message}"
    assert not isinstance(error, TruncatedPayload)
    assert error_summary(response) == message


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
    "data-object": (b'{"success":true,"data":{"a":{}}}', "`data` is not an array"),
    "data-text": (b'{"success":true,"data":"[]"}', "`data` is not an array"),
    "bare-list": (b"[]", "not a list of release requests: it is not an object"),
    "null": (b"null", "not a list of release requests: it is not an object"),
    "trailing": (page() + b"{}", "data follows after its end"),
    "trailing-text": (
        page(entry()) + b"\n<br />\n<b>Warning</b>: in index.php",
        "data follows",
    ),
    "trailing-bracket": (page(entry()) + b"]", "data follows after its end"),
    "never-json": (b"{hello world", "its syntax is invalid"),
    "nan": (page(entry_with("score", b"NaN")), "its syntax is invalid"),
    "infinity": (page(entry_with("score", b"-Infinity")), "its syntax is invalid"),
    "single-quotes": (b"{'success':true,'data':[]}", "its syntax is invalid"),
    "control-character": (page(entry_with("reason", b'"a\x01b"')), "its syntax is invalid"),
    "raw-nul": (page(entry_with("reason", b'"a\x00b"')), "its syntax is invalid"),
    "bad-escape": (page(entry_with("score", rb'"\q"')), "its syntax is invalid"),
    "cut-after-an-error": (page(entry_with("score", b"NaN"))[:-1], "its syntax is invalid"),
    "never-closed": (b'{"success" true', "its syntax is invalid"),
    "not-utf-8": (b'{"success":true,"data":5,"\xff":"\xff"}', "not"),
    "repeated-field": (b'{"success":1,"success":true,"data":[]}', "a field occurs twice"),
    "half-pair": (b'{"success":1,"data":["%s"]}' % LONE, "`success` is not true or false"),
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
    "half-pairs": page(entry_with("reason", b'"' + TAIL + LONE + b" " + FACE + LONE + b'"')),
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


@given(
    st.dictionaries(st.text(), JSON_VALUES, min_size=1) | st.lists(JSON_VALUES, min_size=1),
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
        (b"", "(no readable body)"),
        (b"<html></html>", "(an HTML page without"),
        (b"...", "(plain text without"),
        (b"\xff\xfe", "(binary data without"),
        (b'{"status":500}', "(JSON without"),
        (b'["error"]', "(JSON without"),
        (b'{"error":' + b"[" * 9999, "(JSON without"),
    ],
)
def test_an_error_without_message_is_described_by_its_kind(body: bytes, kind: str) -> None:
    """Whatever arrived instead of a documented error, there is something to show."""
    assert error_summary(body).startswith(kind)


@pytest.mark.parametrize("broken", [LONE, b"\xff"], ids=["lone surrogate", "not UTF-8"])
def test_the_message_of_an_error_survives_a_broken_character(broken: bytes) -> None:
    """One invalid character does not hide the API's message."""
    body = b'{"success":false,"code":"DOWN","message":"Closed %s today"}' % broken
    assert error_summary(body).startswith("DOWN: Closed ")


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
    with pytest.raises(PayloadError, match="has more pages"):
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
