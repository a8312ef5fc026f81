"""Hostile entries of a list: escape codes, markup, SQL, extreme numbers, broken characters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.upstream import request

LONGEST = 255
"""Maximum number of characters of an identifier."""

NUMBER = "+15551234567"
"""The phone number of many requests, so that it has a history."""

TEXTS = {
    "colour": "\x1b[31mred\x1b[0m \x1b[8mhidden",
    "screen": "\x1b[2J\x1b[H\x1b[?1049h\x1b[6n\x1bc",
    "title": "\x1b]0;title\x07 \x1bPq\x1b\\",
    "link": "\x1b]8;;http://example.invalid\x1b\\here\x1b]8;;\x1b\\",
    "c0": "".join(map(chr, range(1, 32))) + "\x7f",
    "c1": "\x9b31m \x9d0;title\x9c " + "".join(map(chr, range(0x80, 0xA0))),
    "markup": "[bold red]markup[/bold red] [link=http://example.invalid]here[/link] [/] :boom:",
    "bidi": "\u202a\u202b\u202c\u202d\u202egnp.exe \u2066\u2067\u2068\u2069 \u200e\u200f\u061c",
    "invisible": "a\u200b\u200c\u200d\u2060\u2061\ufeff\xad\u180e\ufff9\ufffb\U000e0041\U000e007fb",
    "lines": "one\ntwo\r\nthree\u2028four\u2029five\x85six\x0bseven\x0ceight",
    "sql": "'); DROP TABLE release_requests; DELETE FROM sync_runs; -- \" ; $$ /* \\' COMMIT",
    "marks": "%s %(id)s %% {0} {} $1 :name ? @p1 ${x} `id`",
    "copy": "\\N\t\\.\n\\t\\x41 \\",
    "csv": '"quoted", ; =1+1 +1 -1 @SUM(A1) ""',
    "json": '"}],"success":false,"data":[{"\\u0000\\ud800 \\',
    "html": "<script>alert(1)</script>&amp;<!-- ]]>",
    "spaces": " \t in front and behind \u00a0\t ",
    "null": "NULL",
    "nul": "a\0b\0",
    "half pairs": "\ud83d \ude00\ud83d",
    "whole pairs": "\U0001f600\U0001f468\u200d\U0001f469 \\ud83d\\ude00",
    "no characters": "\ufffe\uffff\ufdd0\U0010ffff\ue000",
    "combining": "Z" + "\u0301" * 40,
    "wide": "\u6f22\u5b57" * 20,
    "longest": "\U0001f600" * LONGEST,
}
"""Texts that harm programs without escaping."""

NASTY = (
    "\x1b[31m\x1b]0;t\x07\x9b2J\0\x08\r\n\u202e\u2066\u200b\ufeff\xad\U000e0041\ud800"
    "[bold]x[/] '; DROP TABLE sync_runs; --"
)
"""A part of each, short enough to be printed in full."""

EXACT = {
    "too large": "1e400",
    "too small": "-1E-400",
    "out of range": "1e99999",
    "5,000 digits": "1" + "0" * 5000,
    "many digits": "-0.1000000000000000000000000000000000000001E+2",
    "negative nothing": "-0",
    "whole": "[1.0,1,1e0]",
    "escapes": r'"\u00e9\/\\u0000\ud83d\ude00"',
    "the same key": '{"a":1,"a":{"b":2,"b":3}}',
    "keys": '{"":1,"\\u001b[31m":2,"\\u202e":3,"\x9b\u200b":4,"__proto__":5,"constructor":6}',
    "10 deep": "[" * 10 + "]" * 10,
    "500 deep": "[" * 500 + "]" * 500,
    "500 objects deep": '{"a":' * 500 + "null" + "}" * 500,
}
"""JSON values of an unknown field, which must be stored exactly."""

VALID_TIMES = (
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00-00:01",
    "1582-10-10T12:00:00Z",
    "1969-12-31T23:59:59.999Z",
    "2024-02-29T23:59:59.000999-23:59",
    "2024-01-10T14:30:00.1234567Z",
    "2024-01-10T14:30:00.123456712345678901234567890+05:45",
    "2038-01-19T03:14:08z",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59+23:59",
)

INVALID_TIMES = {
    "2016-12-31T23:59:60Z": "is not a time",
    "2024-01-10T24:00:00Z": "is not a time",
    "0000-01-01T00:00:00Z": "is not a time",
    "10000-01-01T00:00:00Z": "is not a time",
    "-001-01-01T00:00:00Z": "is not a time",
    "2024-01-10T14:30:00Z'; DROP TABLE sync_runs; --": "is not a time",
    "\x1b[31m2024-01-10T14:30:00Z": "is not a time",
    "\u0662\u0660\u0662\u0664-01-10T14:30:00Z": "is not a time",
    "infinity": "is not a time",
    "now": "is not a time",
    "2024-01-10T14:30:00": "no time zone",
    "0001-01-01T00:00:00+00:01": "outside the years",
    "9999-12-31T23:59:59.999-00:01": "outside the years",
}
"""Invalid times, and a part of the reason."""


def entry(**fields: Any) -> bytes:
    """An entry as JSON in UTF-8, escaped only if it contains half of a surrogate pair."""
    record = request() | fields
    try:
        return json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(record).encode()


def entry_with(name: str, value: str | bytes, **fields: Any) -> bytes:
    """An entry with the raw JSON value of one field."""
    others = {key: field for key, field in (request() | fields).items() if key != name}
    raw = value if isinstance(value, bytes) else value.encode()
    return json.dumps(others).encode()[:-1] + b',"%s":%s}' % (name.encode(), raw)


def hostile_entry(mark: str, text: str, **fields: Any) -> bytes:
    """An entry with a text in all of its fields."""
    short = text[:LONGEST]
    everywhere = {
        "id": (mark + text)[:LONGEST],
        "phone_number_id": short,
        "phone_number": short,
        "reason": text,
        "status": short,
        "rejection_reason": text,
        text: text,
        "more": [{text: [text]}],
    }
    return entry(**(everywhere | fields))


def good_entries(turn: int) -> list[bytes]:
    """The valid entries of the first or the second list, in which some vanish or change."""
    entries = []
    for text in TEXTS.values():
        status = {"status": (str(turn) + text)[:LONGEST]} if turn > 1 else {}
        entries += [
            hostile_entry("a", text, **status),
            hostile_entry("b", text, phone_number=NUMBER, **status),
        ]
        if turn == 1:
            entries.append(hostile_entry("c", text))
    return [
        *entries,
        *(entry_with("score", value, id=f"exact {name}") for name, value in EXACT.items()),
        *(entry(id=f"time {time}", requested_at=time, resolved_at=time) for time in VALID_TIMES),
        entry_with("status", '"first","status":"last"', id="status twice"),
        entry_with("score", '1,"score":2', id="unknown field twice"),
        entry_with("\\u0073tatus", '"escaped"', id="escaped key", status="plain"),
        entry_with("extra", '{"extra":{"id":"not the id"}}', id="a field called extra"),
        entry_with("\\u001b]0;t\\u0007\u202e", "1", id="a hostile key"),
    ]


@dataclass(frozen=True)
class BadEntry:
    """An entry that cannot be understood, and a part of the reason."""

    raw: bytes
    reason: str
    request_id: str | None = None  # if it is readable
    stored: str | None = None  # the text in quarantine, if it differs from `raw`

    @property
    def row(self) -> tuple[str | None, str]:
        """The id and JSON of its row in quarantine."""
        return (self.request_id, self.raw.decode() if self.stored is None else self.stored)


def _bad_entries() -> list[BadEntry]:
    long = "\U0001f600" * (LONGEST + 1)
    bad = [
        BadEntry(entry(id=long), "`id`"),
        BadEntry(entry(id=""), "`id`"),
        BadEntry(entry(id=[TEXTS["sql"]]), "`id`"),
        BadEntry(entry_with("id", "1" * 5000), "`id`"),
        BadEntry(entry_with("id", '"x","id":5'), "`id`"),
        BadEntry(json.dumps(TEXTS["colour"]).encode(), "object"),
        BadEntry(json.dumps({TEXTS["sql"]: TEXTS["colour"]}).encode(), "`id` is missing"),
        BadEntry(b"[" * 500 + b"]" * 500, "object"),
        BadEntry(b"-1e400", "object"),
        BadEntry(b"null", "object"),
        BadEntry(b"{}", "`id` is missing"),
    ]
    bad += [
        BadEntry(entry(id=f"long {name}", **{name: long}), f"`{name}`", f"long {name}")
        for name in ("phone_number", "status", "phone_number_id")
    ]
    for name in ("phone_number", "status", "reason", "requested_at", "resolved_at"):
        for value in ("1e400", "-0", "1E-400", "9" * 5000, '{"\\u001b[31m":[]}'):
            key = f"{name} {value[:9]}"
            bad.append(BadEntry(entry_with(name, value, id=key), f"`{name}`", key))
    for time, reason in INVALID_TIMES.items():
        for name in ("requested_at", "resolved_at"):
            key = f"{name} {time}"
            bad.append(BadEntry(entry(id=key, **{name: time}), reason, key))
    not_utf_8: list[tuple[bytes, str | None]] = [(entry_with("id", b'"\xff"'), None)]
    for number, raw in enumerate((b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'{"\xe9":1}')):
        for name in ("reason", "note"):
            key = f"not UTF-8 {number} {name}"
            not_utf_8.append((entry_with(name, raw, id=key), key))
    bad += [
        BadEntry(raw, "not valid UTF-8", request_id, raw.decode("utf-8", "backslashreplace"))
        for raw, request_id in not_utf_8
    ]
    half = entry_with("status", r'{"\ud800":"\u0000"}', id="half a pair")
    stored = half.decode().replace(r"\ud800", r"\ufffd")
    bad.append(BadEntry(half, "`status`", "half a pair", stored))
    key = "\x1b[31mcontradicts\u202e itself"
    return [
        *bad,
        BadEntry(entry(id=key, status="one"), "2 contradicting entries", key),
        BadEntry(entry(id=key, status="two"), "2 contradicting entries", key),
    ]


BAD = _bad_entries()
ODD = entry(id="odd", reason="a carriage\rreturn")[:-1] + b', "more": {\n\t"a": [1,\r\n 2]}}'


def page(entries: Sequence[bytes], more: bytes = b"") -> bytes:
    """The documented envelope around entries."""
    return b'{"success":true,"data":[%s]%s}' % (b",".join(entries), more)


def listing(turn: int) -> bytes:
    """The first or the second list: bad entries between good ones."""
    good, bad = good_entries(turn), [item.raw for item in BAD]
    return page([*good[:20], *bad, *good[20:]], b',"message":%s,"\\u001b[31m":[]' % entry())
