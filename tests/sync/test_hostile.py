"""Hostile content from upstream: kept as it came, harmless to the database and on a terminal.

What an entry says is taken from the JSON reader of the standard library, so that the mirror is
compared with another opinion.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from mirror.api.envelope import PayloadError, error_summary, parse_page
from mirror.api.records import IdIndex, InvalidRecord, Record, decode
from mirror.cli import output
from mirror.db import migrate
from mirror.queries import helpers
from mirror.queries.results import ReleaseRequest
from mirror.text import escape_unsafe
from tests.support.commands import Ran, run_mirror, run_on_a_terminal
from tests.support.databases import DATABASES
from tests.support.http_servers import HttpRequest, HttpResponse, ScriptedServer, http
from tests.support.mirrors import Mirror, mirrors_by_kind
from tests.support.upstream import TOKEN, request

LONGEST = 255
"""Characters that an identifier may have, whatever the database."""

NUMBER = "+15551234567"
"""The phone number of many requests, so that its history has something to tell."""

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
"""Texts that break programs that trust them."""

NASTY = (
    "\x1b[31m\x1b]0;t\x07\x9b2J\0\x08\r\n\u202e\u2066\u200b\ufeff\xad\U000e0041\ud800"
    "[bold]x[/] '; DROP TABLE sync_runs; --"
)
"""A bit of each, short enough to be shown whole."""

EXACT = {
    "too large": "1e400",
    "too small": "-1E-400",
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
"""Values of an unknown field: no byte of them may change."""

MOMENTS = (
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

NO_MOMENTS = {
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
"""Times that are none, and what the reason says."""


def entry(**said: Any) -> bytes:
    """An entry as JSON: characters as they are, unless half of a pair must be an escape."""
    text = json.dumps(request() | said, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(request() | said).encode()


def entry_with(field: str, value: str | bytes, **said: Any) -> bytes:
    """An entry in which the value of one field is given byte for byte."""
    rest = {name: one for name, one in (request() | said).items() if name != field}
    raw = value if isinstance(value, bytes) else value.encode()
    return json.dumps(rest).encode()[:-1] + b',"%s":%s}' % (field.encode(), raw)


def hostile_entry(mark: str, text: str, **said: Any) -> bytes:
    """An entry that has a text wherever there is room."""
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
    return entry(**(everywhere | said))


def harmless_entries(turn: int) -> list[bytes]:
    """The good entries of the first list or of the second one.

    Of each text there is a request with it for a number, one for `NUMBER`, and one that vanishes;
    those that stay get another status, hostile as well.
    """
    entries = []
    for text in TEXTS.values():
        now = {"status": (str(turn) + text)[:LONGEST]} if turn > 1 else {}
        entries += [
            hostile_entry("a", text, **now),
            hostile_entry("b", text, phone_number=NUMBER, **now),
        ]
        if turn == 1:
            entries.append(hostile_entry("c", text))
    entries += [entry_with("score", value, id=f"exact {name}") for name, value in EXACT.items()]
    entries += [entry(id=f"moment {time}", requested_at=time, resolved_at=time) for time in MOMENTS]
    entries += [
        entry_with("status", '"first","status":"last"', id="status twice"),
        entry_with("score", '1,"score":2', id="unknown field twice"),
        entry_with("\\u0073tatus", '"escaped"', id="escaped key", status="plain"),
        entry_with("extra", '{"extra":{"id":"not the id"}}', id="a field called extra"),
        entry_with("\\u001b]0;t\\u0007\u202e", "1", id="a hostile key"),
    ]
    return entries


@dataclass(frozen=True)
class Bad:
    """An entry that cannot be understood.

    Attributes:
        raw: its bytes.
        why: what the reason must say.
        request_id: the id that can be read all the same.
        kept: what is kept of it, if not the bytes as they are.
    """

    raw: bytes
    why: str
    request_id: str | None = None
    kept: str | None = None

    @property
    def row(self) -> tuple[str | None, str]:
        """What the quarantine has of it, without the reason."""
        return (self.request_id, self.raw.decode() if self.kept is None else self.kept)


def bad_entries() -> list[Bad]:
    """Entries that cannot be understood, each for another reason."""
    long = "\U0001f600" * (LONGEST + 1)
    found = [
        Bad(entry(id=long), "`id`"),
        Bad(entry(id=""), "`id`"),
        Bad(entry(id=[TEXTS["sql"]]), "`id`"),
        Bad(entry_with("id", "1" * 5000), "`id`"),
        Bad(entry_with("id", '"x","id":5'), "`id`"),
        Bad(json.dumps(TEXTS["colour"]).encode(), "object"),
        Bad(json.dumps({TEXTS["sql"]: TEXTS["colour"]}).encode(), "`id` is missing"),
        Bad(b"[" * 500 + b"]" * 500, "object"),
        Bad(b"-1e400", "object"),
        Bad(b"null", "object"),
        Bad(b"{}", "`id` is missing"),
    ]
    found += [
        Bad(entry(id=f"long {field}", **{field: long}), f"`{field}`", f"long {field}")
        for field in ("phone_number", "status", "phone_number_id")
    ]
    for field in ("phone_number", "status", "reason", "requested_at", "resolved_at"):
        for value in ("1e400", "-0", "1E-400", "9" * 5000, '{"\\u001b[31m":[]}'):
            name = f"{field} {value[:9]}"
            found.append(Bad(entry_with(field, value, id=name), f"`{field}`", name))
    for time, why in NO_MOMENTS.items():
        for field in ("requested_at", "resolved_at"):
            name = f"{field} {time}"
            found.append(Bad(entry(id=name, **{field: time}), why, name))
    for place, broken in enumerate((b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'{"\xe9":1}')):
        for field in ("reason", "note"):
            name = f"not UTF-8 {place} {field}"
            raw = entry_with(field, broken, id=name)
            why = "not valid UTF-8"
            found.append(Bad(raw, why, name, raw.decode("utf-8", "backslashreplace")))
    raw = entry_with("id", b'"\xff"')
    found.append(Bad(raw, "not valid UTF-8", None, raw.decode("utf-8", "backslashreplace")))
    half = entry_with("status", r'{"\ud800":"\u0000"}', id="half a pair")
    kept = half.decode().replace(r"\ud800", r"\ufffd")
    found.append(Bad(half, "`status`", "half a pair", kept))
    for status in ("one", "two"):
        name = "\x1b[31mcontradicts\u202e itself"
        found.append(Bad(entry(id=name, status=status), "2 contradicting entries", name))
    return found


BAD = bad_entries()
ODD = entry(id="odd", reason="a carriage\rreturn")[:-1] + b', "more": {\n\t"a": [1,\r\n 2]}}'


def page(entries: Sequence[bytes], more: bytes = b"") -> bytes:
    """The documented envelope around entries."""
    return b'{"success":true,"data":[%s]%s}' % (b",".join(entries), more)


def listing(turn: int) -> bytes:
    """The first list or the second one: bad entries between good ones."""
    good, bad = harmless_entries(turn), [one.raw for one in BAD]
    return page([*good[:20], *bad, *good[20:]], b',"message":%s,"\\u001b[31m":[]' % entry())


# What upstream said, in another opinion

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
TIMES = {"requested_at", "resolved_at"}
KNOWN = {
    "id", "phone_number_id", "phone_number", "reason", "status", "rejection_reason", *TIMES,
}  # fmt: skip


def storable(value: Any) -> Any:
    """A value with NUL and half surrogate pairs replaced, wherever they are in it."""
    if isinstance(value, str):
        return UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return list(map(storable, value))
    if isinstance(value, dict):
        return dict(zip(map(storable, value), map(storable, value.values()), strict=True))
    return value


def read_json(text: str) -> Any:
    """Read JSON, with numbers as the texts that they came as."""

    def number(digits: str) -> tuple[str, str]:
        return ("number", digits)

    def no_json(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, parse_int=number, parse_float=number, parse_constant=no_json)


def moment(text: str) -> datetime:
    """A time to the millisecond, in UTC."""
    time = datetime.fromisoformat(text.upper()).astimezone(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def said(raw: bytes) -> dict[str, Any]:
    """What an entry says, as a row that has it."""
    stated = storable(read_json(raw.decode()))
    row = {name: stated.pop(name, None) for name in sorted(KNOWN)}
    row |= {name: moment(row[name]) for name in TIMES if row[name] is not None}
    return row | {"extra": stated or None}


def as_said(row: ReleaseRequest) -> dict[str, Any]:
    """What the mirror has of an entry, in the form of `said`."""
    has = {name: getattr(row, name) for name in sorted(KNOWN)}
    return has | {"extra": None if row.extra is None else read_json(row.extra)}


# The mirror under test


class Site:
    """A mirror that has read both hostile lists, and the command line to look at it with.

    Attributes:
        first: how the sync of the first list ended.
        second: how that of the second one did.
    """

    def __init__(self, mirror: Mirror, token_file: Path) -> None:
        self.mirror = mirror
        self._token = ("--token-file", str(token_file))
        self._database = ("--database", mirror.url)
        self.first = self.sync(http(200, listing(1)))
        self.second = self.sync(http(200, listing(2)), "--accept-missing")
        self.sync(http(200, page([ODD])), "--environment", "odd")

    def kept(self) -> dict[str, list[str]]:
        """All rows, versions and bad records."""
        found: dict[str, list[str]] = self.mirror.state()
        return found

    def sync(self, answer: HttpResponse, *options: str) -> Ran:
        """Run `mirror sync --json` from a server that gives one answer, again and again."""
        with ScriptedServer([answer]).running() as server:
            return run_mirror(*self.syncing(server.base_url, "--json", *options))

    def syncing(self, base_url: str, *options: str) -> list[str]:
        """The arguments of a sync."""
        return ["sync", "--base-url", base_url, *self._token, *self._database, *options]

    def reading(self, *arguments: str, environment: str = "default") -> list[str]:
        """The arguments of a command that reads."""
        return [*arguments, "--environment", environment, *self._database]

    def read(self, *arguments: str, environment: str = "default") -> str:
        """The output of a command that reads, into a pipe."""
        ran = run_mirror(*self.reading(*arguments, environment=environment))
        assert (ran.code, ran.err) == (0, "")
        return ran.out


@pytest.fixture(scope="module")
def sites(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Site]]:
    """Gives the mirror of a kind of database, made when it is first asked for."""
    token_file = tmp_path_factory.mktemp("hostile") / "token"
    token_file.write_text(TOKEN)

    with mirrors_by_kind(request, lambda mirror: Site(mirror, token_file)) as get:
        yield get


@pytest.fixture(params=DATABASES)
def site(request: pytest.FixtureRequest, sites: Callable[[str], Site]) -> Site:
    """The mirror that has read the hostile lists, once of each kind."""
    return sites(request.param)


# What is stored


def test_hostile_lists_are_applied(site: Site) -> None:
    """Good records are applied, bad ones are counted, and both syncs say so without a traceback."""
    good, now = len(harmless_entries(1)), len(harmless_entries(2))
    first, second = json.loads(site.first.out), json.loads(site.second.out)
    assert (site.first.code, site.first.err) == (3, "")
    assert (site.second.code, site.second.err) == (0, "")
    assert first["outcome"] == "applied"
    assert (first["inserted"], first["quarantined"]) == (good, len(BAD))
    assert (first["fetched"], first["duplicates"]) == (good + len(BAD), 0)
    assert second["outcome"] == "applied"
    assert second["updated"] == 2 * len(TEXTS)
    assert second["missing"] == good - now == len(TEXTS)
    assert second["unchanged"] == now - 2 * len(TEXTS)


def test_what_is_stored_is_what_upstream_said(site: Site) -> None:
    """Every field of every good record is there as it came, and nothing else is."""
    stored = site.mirror.query(helpers.release_requests, environment="default")
    expected = {one["id"]: one for one in map(said, harmless_entries(2))}
    assert {one.id: as_said(one) for one in stored} == expected
    missing = site.mirror.query(helpers.release_requests, environment="default", missing=True)
    assert [as_said(one) for one in sorted(missing, key=lambda one: one.id)] == sorted(
        (one for one in map(said, harmless_entries(1)) if one["id"] not in expected),
        key=lambda one: one["id"],
    )


@pytest.mark.parametrize("name", EXACT)
def test_unknown_values_are_stored_byte_for_byte(site: Site, name: str) -> None:
    """No digit, no key and no level of a value that the mirror does not know is lost."""
    query = "SELECT CAST(extra AS text) FROM release_requests WHERE id = :id"
    assert site.mirror.rows(query, id=f"exact {name}") == [(f'{{"score":{EXACT[name]}}}',)]


def test_bad_records_are_put_aside_alone(site: Site) -> None:
    """The quarantine has just the bad records: each with its JSON, its id and a reason."""
    query = "SELECT request_id, raw, error FROM quarantined_records WHERE environment = 'default'"
    found = {(request_id, raw): error for request_id, raw, error in site.mirror.rows(query)}
    assert set(found) == {one.row for one in BAD}
    for one in BAD:
        assert one.why in found[one.row]
        assert not harm(found[one.row])


def test_both_databases_hold_the_same(sites: Callable[[str], Site]) -> None:
    """What is kept does not depend on where: rows, versions and quarantine are equal."""
    names = ", ".join(sorted(KNOWN - TIMES))
    for query in (
        f"SELECT {names}, CAST(extra AS text), missing_since IS NULL FROM release_requests",
        f"SELECT {names}, CAST(extra AS text) FROM release_request_past_versions",
        "SELECT request_id, raw, error, fingerprint FROM quarantined_records",
        "SELECT phone_number, request_id, status, event FROM phone_number_history",
    ):
        one, other = (
            sorted(sites(kind).mirror.rows(f"{query} WHERE environment = 'default'"), key=repr)
            for kind in DATABASES
        )
        assert one == other
    times = [
        [(one["id"], one["requested_at"], one["resolved_at"]) for one in rows]
        for rows in (known_rows(sites(kind), "requests") for kind in DATABASES)
    ]
    assert times[0] == times[1]


def test_nothing_was_injected(site: Site) -> None:
    """The database has its own tables and views, at its own revision, and plain SQL works."""
    mirror = site.mirror
    lists = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')",
        "postgresql": "SELECT table_name FROM information_schema.tables "
        "WHERE table_schema = 'public'",
    }
    names = {name for (name,) in mirror.rows(lists[mirror.engine.dialect.name])}
    assert names - {"sqlite_sequence"} == {
        "alembic_version", "phone_number_history", "phone_numbers", "quarantined_records",
        "release_request_changes", "release_request_past_versions", "release_request_turnaround",
        "release_request_versions", "release_requests", "release_requests_daily", "sync_runs",
    }  # fmt: skip
    assert mirror.query(migrate.current) == migrate.revisions()[-1]
    if mirror.engine.dialect.name == "sqlite":
        assert mirror.rows("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_text_can_be_asked_for(sites: Callable[[str], Site], name: str) -> None:
    """Whoever looks for a hostile status or number finds the requests that have it, no others."""
    text = storable(TEXTS[name])
    site = sites("sqlite" if name < "lines" else "postgresql")
    marked = {mark: (mark + text)[:LONGEST] for mark in "abc2"}
    found = site.mirror.query(helpers.release_requests, status=marked["2"])
    assert {one.id for one in found} == {marked["a"], marked["b"]}
    query = "SELECT id FROM release_requests WHERE phone_number = :number ORDER BY id"
    rows = site.mirror.rows(query, number=text[:LONGEST])
    assert rows == [(marked["a"],), (marked["c"],)]


def test_changes_and_history_tell_the_statuses_as_they_came(site: Site) -> None:
    """A status is no less told for being hostile, and never taken for another one."""
    before, after = (
        {one["id"]: one["status"] for one in map(said, harmless_entries(turn))} for turn in (1, 2)
    )
    changes = site.mirror.query(helpers.changes, environment="default")
    seen = {(one.request_id, one.old_status, one.new_status) for one in changes}
    changed = {(one, was, after[one]) for one, was in before.items() if after.get(one, was) != was}
    vanished = {(one, was, was) for one, was in before.items() if one not in after}
    assert seen == changed | vanished
    events = site.mirror.query(helpers.phone_number_history, NUMBER)
    assert {one.event for one in events} == {"requested"} | {
        status
        for request_id, old, new in changed
        if request_id.startswith("b")
        for status in (old, new)
    }


# Into a pipe

Helper = Callable[..., Sequence[Any]]

READS: dict[str, tuple[tuple[str, ...], Helper]] = {
    "requests": (("requests",), helpers.release_requests),
    "missing": (
        ("requests", "--missing"),
        lambda connection, **only: helpers.release_requests(connection, missing=True, **only),
    ),
    "history": (
        ("history", NUMBER),
        lambda connection, **only: helpers.phone_number_history(connection, NUMBER, **only),
    ),
    "changes": (("changes",), helpers.changes),
}
"""The commands that show data, and the helper that knows what they must show."""


def known_rows(site: Site, command: str, environment: str = "default") -> list[dict[str, Any]]:
    """What a command has to show."""
    found = site.mirror.query(READS[command][1], environment=environment)
    assert found
    return [asdict(one) for one in found]


def from_json(text: str) -> list[dict[str, Any]]:
    """Rows as a program reads them from JSON; times are told by their names."""
    rows: list[dict[str, Any]] = read_json(text)
    for row in rows:
        for name in row:
            if name in {"first_seen_at", "valid_from", "missing_since"} or name.endswith("_at"):
                row[name] = row[name] and datetime.fromisoformat(row[name])
            elif name == "sync_run_id":
                row[name] = int(row[name][1])
    return rows


def with_extra_read(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the database, with `extra` as what its JSON says."""
    return [row | ({"extra": read_json(row["extra"])} if row.get("extra") else {}) for row in rows]


@contextmanager
def long_cells() -> Iterator[None]:
    """Let the csv module read cells of any length."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def from_csv(text: str) -> list[dict[str, str]]:
    """Rows as a program reads them from CSV."""
    with long_cells():
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def as_cells(row: dict[str, Any]) -> dict[str, str]:
    """A row of the database as CSV holds it."""
    return {name: as_cell(value) for name, value in row.items()}


def as_cell(value: object) -> str:
    """A value as CSV holds it: nothing for None, times in ISO 8601 with a Z."""
    if isinstance(value, datetime):
        precision = "milliseconds" if value.microsecond else "seconds"
        return value.isoformat(timespec=precision).replace("+00:00", "Z")
    return "" if value is None else str(value)


@pytest.mark.parametrize("command", READS)
def test_json_in_a_pipe_is_what_is_stored(site: Site, command: str) -> None:
    """A program that reads the JSON has exactly what is stored, numbers digit for digit."""
    text = site.read(*READS[command][0], "--format", "json")
    assert from_json(text) == with_extra_read(known_rows(site, command))


@pytest.mark.parametrize("command", READS)
def test_csv_in_a_pipe_is_what_is_stored(site: Site, command: str) -> None:
    """A program that reads the CSV has exactly what is stored."""
    text = site.read(*READS[command][0], "--format", "csv")
    assert from_csv(text) == [as_cells(row) for row in known_rows(site, command)]


@pytest.mark.parametrize("command", READS)
def test_each_row_is_one_line_in_a_pipe(site: Site, command: str) -> None:
    """The tab-separated form has a line for each row and a cell for each column, all visible."""
    lines = site.read(*READS[command][0]).removesuffix("\n").split("\n")
    known = known_rows(site, command)
    cells = [line.split("\t") for line in lines]
    assert len(lines) == len(known) + 1
    assert {len(one) for one in cells} == {len(known[0])}
    assert not harm("".join(map("".join, cells)))


def test_line_breaks_within_a_record_are_kept_in_a_pipe(site: Site) -> None:
    """An API may indent a field that the mirror does not know; a lone return ends no row of CSV."""
    known = known_rows(site, "requests", "odd")
    text = {form: site.read("requests", "--format", form, environment="odd") for form in FORMS}
    assert from_json(text["json"]) == with_extra_read(known)
    assert from_csv(text["csv"]) == [as_cells(row) for row in known]


def test_a_megabyte_is_a_text_like_any_other(mirror: Mirror) -> None:
    """A megabyte in any text is stored whole and comes out whole, in all three forms."""
    long = TEXTS["c0"] + TEXTS["bidi"] + "\0" + "long " * 200_000
    good = entry(reason=long, rejection_reason=long, **{long: long})
    bad = entry(id="bad", status=None, reason=long)
    result = mirror.sync([good, bad])
    assert (result.counts.inserted, result.counts.quarantined) == (1, 1)
    (row,) = mirror.query(helpers.release_requests)
    assert as_said(row) == said(good)
    assert mirror.rows("SELECT raw FROM quarantined_records") == [(bad.decode(),)]
    if mirror.engine.dialect.name == "postgresql":
        return  # how it is written has nothing to do with the database
    command = ("requests", "--database", mirror.url, "--format")
    shown = {form: run_mirror(*command, form).out for form in FORMS}
    assert from_json(shown["json"]) == with_extra_read([asdict(row)])
    assert from_csv(shown["csv"]) == [as_cells(asdict(row))]
    assert shown["table"].count("\n") == 2
    assert not harm(shown["table"].replace("\t", ""))


# On a terminal

FORMS = ("table", "json", "csv")
UNSEEN = {"Cc", "Cf", "Zl", "Zp", "Cs"}
"""Categories of Unicode: controls, formats (bidi and zero-width among them), line ends, halves."""

IGNORABLE = [
    0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810),
    *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x3164,
    *range(0xFE00, 0xFE0F), 0xFEFF, 0xFFA0, *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4),
    *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000),
]  # fmt: skip
"""Default_Ignorable_Code_Point of Unicode, but for U+FE0F, which makes a sign an emoji."""

EVENTS = "requested|reopened|approved|rejected|vanished|returned"
OWN_CODES = re.compile(f"\x1b\\[(?:[01]m|3[1-4]m(?={EVENTS}))")
"""The codes that drawn tables have of their own: bold titles, and events in colour."""


def harm(shown: str) -> set[str]:
    """The characters of a text that a terminal must never receive from the data."""
    return {one for one in set(shown) - {"\n"} if unicodedata.category(one) in UNSEEN}


COMMANDS = """
import functools, json, os, sys
from mirror import cli
from mirror.cli import progress_bar
# Its codes, which come only if a sync is slow, are tested apart.
progress_bar.progress_bars = functools.partial(progress_bar.progress_bars, delay=3600)
for columns, arguments in json.loads(sys.argv[1]):
    os.environ["COLUMNS"] = str(columns)
    sys.argv = ["mirror", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        print(f"<<{ended.code}>>", flush=True)
"""


@dataclass(frozen=True)
class Shown:
    """What a terminal received from a command, and how that ended."""

    code: int
    text: str

    @property
    def lines(self) -> list[str]:
        """The lines, without the codes of drawn tables."""
        return OWN_CODES.sub("", self.text).splitlines()


def on_a_terminal(commands: Sequence[tuple[int, list[str]]]) -> list[Shown]:
    """Run commands one after the other on terminals of so many columns, all in one process."""
    ran, received = run_on_a_terminal(
        "-c", COMMANDS, json.dumps(commands), merge=True, PYTHONUTF8="1"
    )
    assert ran.code == 0
    received = received.replace("\r\n", "\n")
    parts = re.split(r"<<(\d+)>>\n", received)
    assert (len(parts), parts[-1]) == (2 * len(commands) + 1, "")
    return [Shown(int(code), text) for text, code in zip(parts[::2], parts[1::2], strict=False)]


def test_no_command_that_reads_harms_a_terminal(sites: Callable[[str], Site]) -> None:
    """A terminal, wide or narrow, receives no control, bidi or invisible character of the data."""
    forms = (("table", 40), ("table", 80), ("json", 80), ("csv", 80))
    tried = [("sqlite", command, *form) for command in READS for form in forms]
    tried += [("postgresql", command, "table", 80) for command in READS]
    shown = on_a_terminal(
        [
            (columns, sites(kind).reading(*READS[command][0], "--format", form))
            for kind, command, form, columns in tried
        ]
    )
    for (kind, command, form, columns), one in zip(tried, shown, strict=True):
        assert one.code == 0
        known = known_rows(sites(kind), command)
        if form == "table":
            assert not harm(OWN_CODES.sub("", one.text)), (command, columns)
            assert max(map(cell_len, one.lines)) <= columns
        else:
            assert not harm(one.text), (command, form)
        if form == "csv":
            assert len(from_csv(one.text)) == len(known) == one.text.count("\n") - 1
        if form == "json":
            assert from_json(one.text) == with_extra_read(known)


def test_no_sync_harms_a_terminal(sites: Callable[[str], Site]) -> None:
    """Neither what a sync would change nor what the API says of an error acts on a terminal.

    Rich's markup, links and names of emoji in the data are shown letter by letter.
    """
    site, text = sites("sqlite"), TEXTS["markup"]
    final = ("422 nasty flat", "200 nasty nested", "401 nasty", "302 away", "compressed")
    with ExitStack() as stack:

        def serving(answer: HttpResponse) -> str:
            return stack.enter_context(ScriptedServer([answer]).running()).base_url

        same, other = serving(http(200, listing(2))), serving(http(200, listing(1)))
        commands = [
            (80, site.syncing(same)),
            (40, site.syncing(other, "--dry-run")),
            (80, site.syncing(other, "--dry-run")),
            (80, sites("postgresql").syncing(other, "--dry-run")),
            (80, site.syncing(other, "--dry-run", "--json")),
            *((80, site.syncing(serving(FAILURES[name].answer))) for name in final),
            (1000, site.reading("requests", "--status", f"2{text}")),
            (1000, site.reading("requests", "--missing", "--status", text)),
            (1000, site.reading("history", NUMBER)),
            (1000, site.reading("changes")),
        ]
        before = site.kept()
        shown = on_a_terminal(commands)
    for dry_run in shown[1:4]:
        assert f"{2 * len(TEXTS)} updated" in dry_run.text
        assert len(dry_run.lines) > 3 * len(TEXTS)
    for (_, arguments), one in zip(commands, shown, strict=True):
        assert not harm(OWN_CODES.sub("", one.text)), arguments
        assert "Traceback" not in one.text
    assert all(text in one.text for one in shown[-4:])
    codes = [FAILURES[name].code for name in final]
    assert [one.code for one in shown] == [0] * 5 + codes + [0] * 4
    assert without_quarantine(site.kept()) == without_quarantine(before)


def without_quarantine(kept: dict[str, list[str]]) -> dict[str, list[str]]:
    """Rows and versions; a bad record's row also says which sync saw it last."""
    return {table: rows for table, rows in kept.items() if table != "quarantined_records"}


@pytest.mark.parametrize(
    "characters",
    [
        [code for code in range(0x110000) if unicodedata.category(chr(code)) in {"Cc", "Zl", "Zp"}],
        [*range(0xD800, 0xE000)],
        [0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
        [*range(0xE0000, 0xE0080)],
        IGNORABLE,
    ],
    ids=["controls", "halves", "bidi", "tags", "ignorable"],
)
def test_what_cannot_be_seen_is_written_as_an_escape(characters: list[int]) -> None:
    """A character that acts on a terminal or hides on it is shown as its escape, also in JSON."""
    text = "".join(map(chr, characters))
    assert escape_unsafe(text).isascii()
    if not 0xD800 <= characters[0] < 0xE000:
        assert output.json_line({"a": text}).isascii()
        assert json.loads(output.json_line({"a": text})) == {"a": text}


# What the API says when it fails


@dataclass(frozen=True)
class Failure:
    """A hostile answer that is no list.

    Attributes:
        answer: of the server.
        code: how the sync must end.
        said: what the error must hold.
    """

    answer: HttpResponse
    code: int
    said: str


def fails(
    status: int, code: int, said: str, body: dict[str, Any] | bytes, *headers: str
) -> Failure:
    """A failed answer that says something hostile."""
    content = body if isinstance(body, bytes) else json.dumps({"success": False} | body).encode()
    return Failure(http(status, content, *headers), code, said)


def wire(text: str) -> str:
    """A text as `http` must get it, to send it as UTF-8."""
    return text.encode("utf-8", "replace").decode("latin-1")


def shapes(status: int, code: int, text: str, name: str) -> dict[str, Failure]:
    """A text in each of the three documented shapes of an error."""
    errors = {text: [text, {text: text}]}
    nested = {"error": {"code": text, "message": text, "details": errors}}
    start = storable(text)[:6]
    return {
        f"{status} {name} nested": fails(status, code, start, nested),
        f"{status} {name} flat": fails(status, code, start, {"code": text, "message": text}),
        f"{status} {name} fields": fails(status, code, start, {"message": text, "errors": errors}),
    }


def deep(levels: int, inner: bytes = b"") -> bytes:
    """Arrays in arrays."""
    return b"[" * levels + inner + b"]" * levels


MEGABYTE = "\u202e\x1b[31mlong " * 100_000
HTML = f"<html><title>{NASTY}</title>{MEGABYTE}</html>".encode("utf-8", "replace")
DEEP = entry_with("x", deep(100_000))
LONE = "\x9b31m\u202e\u2066\u200b"

FAILURES: dict[str, Failure] = {
    **shapes(422, 1, NASTY, "nasty"),
    **shapes(200, 1, NASTY, "nasty"),
    "500 nasty": fails(500, 75, "\x1b[31m", {"error": {"code": NASTY, "message": NASTY}}),
    "401 nasty": fails(401, 77, "\x1b[31m", {"message": NASTY}),
    "200 long": fails(200, 1, "long", {"error": {"message": MEGABYTE}}),
    "422 long": fails(422, 1, "(JSON without", {"message": MEGABYTE}),
    "422 html": fails(422, 1, "an HTML page", HTML),
    "502 html": fails(502, 75, "an HTML page", HTML),
    "200 html": fails(200, 1, "an HTML page", HTML),
    "403 text": fails(403, 77, "binary data", NASTY.encode("utf-8", "replace")),
    "422 utf-16": fails(422, 1, "422", json.dumps({"message": "x"}).encode("utf-16")),
    "422 no text": fails(422, 1, "OFF", b'{"code":"OFF","message":"\xff\x9b\\u001b\xed\xa0\x80"}'),
    "422 number": fails(422, 1, "-1e-07: 1e+300", b'{"code":-1E-7,"message":1e300}'),
    "422 too large": fails(422, 1, "JSON without", b'{"success":false,"message":1e400}'),
    "422 digits": fails(422, 1, "JSON without", b'{"code":%s}' % (b"9" * 5000)),
    "422 a list": fails(422, 1, "[{", {"message": [{NASTY: None}, [True]]}),
    "422 deep": fails(422, 1, "JSON without", b'{"message":%s}' % deep(100_000)),
    "200 deep message": fails(200, 1, "nested too deeply", b'{"message":%s}' % deep(100_000)),
    "429 wait": fails(429, 75, "429", {}, f"Retry-After: {wire(LONE)}"),
    "429 wait for ever": fails(429, 75, "429", {}, "Retry-After: " + "9" * 5000),
    "302 away": fails(302, 1, "points to", b"", f"Location: https://example.invalid/{wire(LONE)}"),
    **{
        f"302 to {to[:20]!r}": fails(302, 1, "answered 302", b"", f"Location: {to}")
        for to in ("javascript:alert(1)", "http://xn--a/", "http://[::1", "\x1b[31m", "x" * 66_000)
    },
    "compressed": fails(200, 1, "compressed as", b"", f"Content-Encoding: \x1b[31m{wire(LONE)}"),
    "reason phrase": Failure(
        http(422, b'{"message":"No"}').replace(b"Scripted", b"\x1b[31m\x9b\xe2\x80\xae"), 1, "No"
    ),
    "header": Failure(http(200, listing(2), "X: \0"), 75, "not HTTP"),
    "header name": Failure(http(200, listing(2), "\x1b[31m: x"), 75, "not HTTP"),
    "status line": Failure(b"HTTP/1.1 \x1b[31m OK\r\n\r\n", 75, "not HTTP"),
    "an entry too deep": fails(200, 1, "nested too deeply", page([entry(), DEEP])),
    "a list too deep": fails(200, 1, "nested too deeply", b'{"data":%s}' % deep(100_000)),
    "a body too deep": fails(200, 1, "nested too deeply", deep(100_000)),
    "bottomless": fails(200, 1, "nested too deeply", b'{"a":' * 100_000),
    **{
        f"{value} in {field}": fails(
            200, 1, "not valid JSON", page([entry(), entry_with(field, value)])
        )
        for value in ("NaN", "Infinity", "-Infinity")
        for field in ("status", "score")
    },
    "data a text": fails(200, 1, "array", b'{"success":true,"data":"\\u001b[31m\xe2\x80\xae"}'),
    "success a text": fails(200, 1, "`success` is not", b'{"success":"\\u001b[31m","data":[]}'),
    "paging": fails(
        200, 1, "paging", page([], b',"meta":{"last_page":%s}' % json.dumps(NASTY).encode())
    ),
    "page of 400 digits": fails(
        200, 1, "1111 when asked", page([], b',"meta":{"current_page":%s}' % (b"1" * 400))
    ),
    "paging of 5,000 digits": fails(
        200, 1, "`last_page` is not a usable", page([], b',"meta":{"last_page":%s}' % (b"9" * 5000))
    ),
    "many pages": fails(200, 75, "--deadline", page([], b',"meta":{"last_page":%s}' % (b"9" * 20))),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name"),
    [("sqlite", name) for name in FAILURES]
    + [("postgresql", name) for name in ("422 nasty nested", "401 nasty", "200 long")],
)
def test_hostile_failures(sites: Callable[[str], Site], kind: str, name: str) -> None:
    """A failed sync changes nothing, says why in one harmless line, and has just that on record."""
    site, expected = sites(kind), FAILURES[name]
    mirror = site.mirror
    before = site.kept()
    ran = site.sync(expected.answer)
    assert ran.code == expected.code, ran.err
    assert site.kept() == before
    error = json.loads(ran.out)["error"]
    assert expected.said in error
    assert not {"\n", "\r"} & set(error)
    assert mirror.runs("outcome", "error")[-1] == ("failed", error)
    assert (ran.out.count("\n"), ran.err.count("\n")) == (1, 1)
    assert ran.err.startswith("mirror: ")
    assert not harm(ran.out + ran.err)
    assert len(error) < 1500


@pytest.mark.parametrize("paging", ['"last_page":%s', '"per_page":1,"total":%s'])
def test_more_pages_than_can_be_counted(sites: Callable[[str], Site], paging: str) -> None:
    """A number of pages with 400 digits is as hopeless as one with 20, and ends the same way."""
    meta = paging % ("9" * 400)
    ran = sites("sqlite").sync(http(200, page([], b',"meta":{%s}' % meta.encode())))
    assert ran.code in {1, 75}


@pytest.mark.parametrize("other", [b"5", b'"\xff"', b"1e400"])
def test_an_entry_with_two_ids_stops_nobody_else(
    sites: Callable[[str], Site], other: bytes
) -> None:
    """Two entries whose id is read only the second time are not applied as two requests."""
    strange = entry_with("id", other + b',"id":"twice"')
    records = page([entry(id="neighbour"), strange, strange])
    ran = sites("sqlite").sync(http(200, records), "--environment", "twice", "--dry-run")
    assert ran.code == 0, ran.err


def test_an_error_nested_at_the_edge_is_described() -> None:
    """An error that can just be read can be described, or is told to be none."""

    def reads(levels: int) -> bool:
        try:
            msgspec.json.decode(b'{"message":%s}' % nested(levels))
        except RecursionError:
            return False
        return True

    def nested(levels: int) -> bytes:
        return b'{"a":' * levels + b"1" + b"}" * levels

    low, high = 1, 1_000_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reads(middle) else (low, middle)
    for levels in range(low - 20, low + 5):
        assert error_summary(b'{"success":false,"message":%s}' % nested(levels))


# What comes along with a good list

HEADS = {
    "cookies": "Set-Cookie: \x1b[31m=\x9b; Max-Age=" + "9" * 5000,
    "no cookies": "Set-Cookie: =; expires=\x1b",
    "type": f"Content-Type: \x1b[31m; charset={wire(LONE)}",
    "waits": "Retry-After: \x1b[31m\r\nX-RateLimit-Remaining: 1e400",
    "links": "Link: <javascript:alert(1)>; rel=next\r\nLocation: \x1b[31m",
    "much": "\r\n".join(f"X-{number}: {wire(LONE)}" for number in range(1000)),
    "long": "X: " + "\x1b" * 50_000,
}


@pytest.mark.parametrize("name", HEADS)
def test_hostile_headers_do_not_matter(sites: Callable[[str], Site], name: str) -> None:
    """A good list is a good list, whatever stands in the headers and the reason phrase."""
    site = sites("sqlite")
    before = site.kept()
    answer = http(200, listing(2), HEADS[name])
    ran = site.sync(answer.replace(b"200 Scripted", b"200 \x1b[31m\x9b\xe2\x80\xae", 1))
    assert (ran.code, json.loads(ran.out)["outcome"]) == (0, "applied")
    assert without_quarantine(site.kept()) == without_quarantine(before)


@pytest.mark.parametrize(
    "etag",
    [
        '"\x1b[31m\x9b\xad"',
        f'W/"{wire(LONE)}"',
        "'; DROP TABLE sync_runs; --",
        '"' + "x" * 9000 + '"',
    ],
    ids=["codes", "bidi", "sql", "long"],
)
def test_a_hostile_etag_is_given_back_as_it_came(site: Site, etag: str) -> None:
    """An ETag is nobody's business but the API's: byte for byte it goes back, and is obeyed."""
    records = page([entry(id="etag", reason=etag)])

    def answer(question: HttpRequest) -> bytes:
        known = question.headers.get("if-none-match") == etag
        return http(304) if known else http(200, records, f"ETag: {etag}")

    with ScriptedServer([answer]).running() as server:
        commands = [site.syncing(server.base_url, "--json", "--environment", "etag")] * 2
        ran = [run_mirror(*one) for one in commands]
    assert [json.loads(one.out)["outcome"] for one in ran] == ["applied", "unchanged"]
    assert site.mirror.runs("etag")[-2:] == [(etag,), (etag,)]


# Any bytes, and any JSON

SEEDS = (
    page([entry(id=one) for one in "abc"]),
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
"""What is likely to hurt where it is put."""


@dataclass(frozen=True)
class Change:
    """A change to some bytes.

    Attributes:
        kind: what is done.
        at: where.
        to: at what other place.
        size: of the slices that are meant.
        piece: what is put there.
    """

    kind: str
    at: int
    to: int
    size: int
    piece: bytes

    def __call__(self, body: bytes) -> bytes:
        """Return the bytes after the change."""
        at, to = sorted((self.at % (len(body) + 1), self.to % (len(body) + 1)))
        end, last = min(at + self.size, to), to + self.size
        one, other = body[at:end], body[to:last]
        return {
            "flip": body[:at]
            + bytes(byte ^ 1 << self.size % 8 for byte in one[:1])
            + body[at + 1 :],
            "delete": body[:at] + body[at + self.size :],
            "insert": body[:at] + self.piece + body[at:],
            "overwrite": body[:at] + self.piece + body[at + len(self.piece) :],
            "cut": body[:at],
            "duplicate": body[:to] + one + body[to:],
            "swap": body[:at] + other + body[end:to] + one + body[last:],
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
    """So many examples, the same each time."""
    return settings(max_examples=count, deadline=None, database=None, derandomize=True)


def check_list(body: bytes) -> None:
    """What an answer becomes is storable, is counted rightly, and is what the answer says.

    Raises:
        PayloadError: it is no list.
    """
    items = parse_page(body).entries
    told = IdIndex()
    told.add(items)
    found = list(decode(items, told.repeated))
    ids = [one.id if isinstance(one, Record) else one.request_id for one in found]
    assert told.distinct == len(set(ids) - {None}) + ids.count(None)
    assert told.distinct <= len(found) <= len(items)
    stated = read_json(body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"))
    assert (stated["success"], len(stated["data"])) == (True, len(items))
    entries = [storable(one) for one in stated["data"] if isinstance(one, dict)]
    records = [one for one in found if isinstance(one, Record)]
    assert len({one.id for one in records}) == len(records)
    for one in found:
        if isinstance(one, Record):
            check_record(one, [said for said in entries if said.get("id") == one.id])
        else:
            check_reject(one)


def check_record(record: Record, entries: list[dict[str, Any]]) -> None:
    """A record can be stored, and says what each of its entries says."""
    has = msgspec.structs.asdict(record)
    assert entries
    assert UNSTORABLE.search("".join(str(value) for value in has.values())) is None
    for name in ("id", "phone_number", "status"):
        assert 0 < len(has[name]) <= LONGEST
    for entry_ in entries:
        for name in KNOWN - TIMES:
            assert has[name] == entry_.get(name)
        for name in TIMES:
            check_time(has[name], entry_.get(name))
        unknown = {name: value for name, value in entry_.items() if name not in KNOWN}
        assert (read_json(record.extra) if record.extra else {}) == unknown
    assert record.extra == storable(record.extra)


def check_time(time: datetime | None, text: str | None) -> None:
    """A time is in UTC, and the one that was meant."""
    if time is None or text is None:
        assert (time, text) == (None, None)
        return
    assert time.tzinfo is UTC
    assert abs(time - datetime.fromisoformat(text.upper())) <= timedelta(microseconds=1)


def check_reject(reject: InvalidRecord) -> None:
    """A reject can be stored, and says why."""
    assert reject.error
    assert re.fullmatch("[0-9a-f]{64}", reject.fingerprint)
    for text in (reject.request_id or "x", reject.raw, reject.error):
        assert text
        assert UNSTORABLE.search(text) is None
    assert len(reject.request_id or "") <= LONGEST


@pytest.mark.long
def test_broken_answers_are_refused_or_understood(in_full: bool) -> None:
    """However an answer was mangled, it is refused as a whole, or each entry is what it says."""

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
def test_any_json_is_understood_or_put_aside(in_full: bool) -> None:
    """Whatever stands in the list, it is a record that says the same, or a reject."""

    @examples(20_000 if in_full else 100)
    @given(st.lists(entries, max_size=4))
    def check(said: list[Any]) -> None:
        check_list(page([json.dumps(one).encode() for one in said]))

    check()


@pytest.mark.long
def test_any_text_comes_back_from_a_pipe(in_full: bool) -> None:
    """What the three forms write of any text can be read again; CSV has a test for returns."""

    @examples(20_000 if in_full else 150)
    @given(nasty_texts.map(lambda text: storable(text.replace("\r", ""))))
    def check(text: str) -> None:
        extra = json.dumps({text: [text, 1]}, ensure_ascii=False)
        now = datetime(2024, 1, 10, 14, 30, tzinfo=UTC)
        row = ReleaseRequest(
            text, text, text, text, text, text, text, now, None, None, now, now, extra
        )
        written = {form: as_written(row, form) for form in FORMS}
        assert from_json(written["json"]) == with_extra_read([asdict(row)] * 2)
        assert from_csv(written["csv"]) == [as_cells(asdict(row))] * 2
        assert written["table"].count("\n") == 3
        assert written["table"].count("\t") == 3 * (len(fields(row)) - 1)

    check()


def as_written(row: ReleaseRequest, form: str) -> str:
    """A row written twice, into a pipe."""
    out = io.StringIO(newline="")
    output.write_rows([row, row], ReleaseRequest, form, out)
    return out.getvalue()
