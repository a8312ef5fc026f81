"""Hostile responses: failures change nothing and are reported in one line; headers are ignored."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest

from mirror.api.envelope import error_summary
from tests.support.cli_mirror import CliMirror, unsafe
from tests.support.commands import run_mirror
from tests.support.hostile import entry, entry_with, listing, page
from tests.support.hostile_failures import FAILURES, LONE, wire
from tests.support.http_servers import HttpRequest, ScriptedServer, http


@pytest.mark.parametrize(
    ("kind", "name"),
    [("sqlite", name) for name in FAILURES]
    + [("postgresql", name) for name in ("422 nasty nested", "401 nasty", "200 long")],
)
def test_hostile_failures(cli_mirrors: Callable[[str], CliMirror], kind: str, name: str) -> None:
    """A failed sync changes nothing; its error is one harmless line, and is recorded."""
    cli_mirror, expected = cli_mirrors(kind), FAILURES[name]
    before = cli_mirror.mirror.state()
    ran = cli_mirror.sync(expected.response)
    assert ran.code == expected.code, ran.err
    assert cli_mirror.mirror.state() == before
    error = json.loads(ran.out)["error"]
    assert expected.message in error
    assert not {"\n", "\r"} & set(error)
    assert cli_mirror.mirror.runs("outcome", "error")[-1] == ("failed", error)
    assert (ran.out.count("\n"), ran.err.count("\n")) == (1, 1)
    assert ran.err.startswith("mirror: ")
    assert not unsafe(ran.out + ran.err)
    assert len(error) < 1500


@pytest.mark.parametrize("paging", ['"last_page":%s', '"per_page":1,"total":%s'])
def test_a_huge_number_of_pages_fails(cli_mirrors: Callable[[str], CliMirror], paging: str) -> None:
    """A number of pages with 400 digits fails like one with 20."""
    meta = paging % ("9" * 400)
    ran = cli_mirrors("sqlite").sync(http(200, page([], b',"meta":{%s}' % meta.encode())))
    assert ran.code in {1, 75}


@pytest.mark.parametrize("other", [b"5", b'"\xff"', b"1e400"])
def test_an_entry_with_two_ids_does_not_affect_others(
    cli_mirrors: Callable[[str], CliMirror], other: bytes
) -> None:
    """Two entries whose second id is readable are not applied as two requests."""
    strange = entry_with("id", other + b',"id":"twice"')
    records = page([entry(id="neighbour"), strange, strange])
    ran = cli_mirrors("sqlite").sync(http(200, records), "--environment", "twice", "--dry-run")
    assert ran.code == 0, ran.err


def test_the_deepest_readable_error_is_summarised() -> None:
    """An error nested as deep as msgspec can just read, or a little deeper, has a summary."""

    def nested(levels: int) -> bytes:
        return b'{"a":' * levels + b"1" + b"}" * levels

    def is_readable(levels: int) -> bool:
        try:
            msgspec.json.decode(b'{"message":%s}' % nested(levels))
        except RecursionError:
            return False
        return True

    low, high = 1, 1_000_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_readable(middle) else (low, middle)
    for levels in range(low - 20, low + 5):
        assert error_summary(b'{"success":false,"message":%s}' % nested(levels))


HEADERS = {
    "cookies": "Set-Cookie: \x1b[31m=\x9b; Max-Age=" + "9" * 5000,
    "no cookies": "Set-Cookie: =; expires=\x1b",
    "type": f"Content-Type: \x1b[31m; charset={wire(LONE)}",
    "waits": "Retry-After: \x1b[31m\r\nX-RateLimit-Remaining: 1e400",
    "links": "Link: <javascript:alert(1)>; rel=next\r\nLocation: \x1b[31m",
    "much": "\r\n".join(f"X-{number}: {wire(LONE)}" for number in range(1000)),
    "long": "X: " + "\x1b" * 50_000,
}


@pytest.mark.parametrize("name", HEADERS)
def test_hostile_headers_do_not_matter(cli_mirrors: Callable[[str], CliMirror], name: str) -> None:
    """A good list is applied, whatever its headers and reason phrase are."""
    cli_mirror = cli_mirrors("sqlite")
    before = cli_mirror.rows_and_versions()
    response = http(200, listing(2), HEADERS[name])
    ran = cli_mirror.sync(response.replace(b"200 Scripted", b"200 \x1b[31m\x9b\xe2\x80\xae", 1))
    assert (ran.code, json.loads(ran.out)["outcome"]) == (0, "applied")
    assert cli_mirror.rows_and_versions() == before


@pytest.mark.parametrize(
    "etag",
    [
        pytest.param('"\x1b[31m\x9b\xad"', id="codes"),
        pytest.param(f'W/"{wire(LONE)}"', id="bidi"),
        pytest.param("'; DROP TABLE sync_runs; --", id="sql"),
        pytest.param('"' + "x" * 9000 + '"', id="long"),
    ],
)
def test_a_hostile_etag_is_sent_back_unchanged(cli_mirror: CliMirror, etag: str) -> None:
    """An ETag is sent back byte for byte, and a 304 to it is accepted."""
    records = page([entry(id="etag", reason=etag)])

    def respond(request: HttpRequest) -> bytes:
        known = request.headers.get("if-none-match") == etag
        return http(304) if known else http(200, records, f"ETag: {etag}")

    with ScriptedServer([respond]).running() as server:
        command = cli_mirror.sync_arguments(server.base_url, "--json", "--environment", "etag")
        outputs = [run_mirror(*command).out for _ in range(2)]
    assert [json.loads(text)["outcome"] for text in outputs] == ["applied", "unchanged"]
    assert cli_mirror.mirror.runs("etag")[-2:] == [(etag,), (etag,)]
