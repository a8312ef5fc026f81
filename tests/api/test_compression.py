"""Content encodings: which ones are understood, and gzip in any division that is valid."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable, Iterable

import pytest

from mirror.errors import ApiError, ApiUnavailable
from tests.support.api_client import HEAD, assert_fails, fetch, fetch_content
from tests.support.http_servers import HttpRequest, HttpResponse, Serve, envelope, http
from tests.support.upstream import request

BODY = envelope([request(1), request(2)])
GZIP = "Content-Encoding: gzip"


def members(*sizes: int) -> bytes:
    """The body as gzip of several members, of these sizes and the rest."""
    parts, start = [], 0
    for size in (*sizes, len(BODY)):
        parts.append(gzip.compress(BODY[start : start + size], mtime=0))
        start += size
    return b"".join(parts)


COMPLETE = {
    "one": members(),
    "two": members(100),
    "many": members(*[1] * 50),
    "empty ones": gzip.compress(b"") + members(100) + gzip.compress(b""),
    "stored": gzip.compress(BODY[:50], 0) + gzip.compress(BODY[50:], 9),
    "zeros between and after": gzip.compress(BODY[:9]) + bytes(99) + gzip.compress(BODY[9:])
    + bytes(9),
    "other bytes after": members(100) + b"garbage \x1f\x8b",
    "half a magic after": members(100) + b"\x1f",
    "the checksum missing": members(100)[:-8],
}  # fmt: skip


@pytest.mark.parametrize("body", COMPLETE.values(), ids=COMPLETE)
def test_gzip_is_read_to_its_end(serve: Serve, body: bytes) -> None:
    """A body may have several members, and bytes that are none after them."""
    expected = fetch_content(serve(http(200, BODY)))
    assert fetch_content(serve(http(200, body, GZIP))) == expected


def in_chunks(body: bytes, size: int) -> HttpResponse:
    """A response that arrives in chunks of a size."""
    head = HEAD + GZIP.encode() + b"\r\nTransfer-Encoding: chunked\r\n\r\n"

    def respond(_: HttpRequest) -> Iterable[bytes]:
        yield head
        for start in range(0, len(body), size):
            part = body[start : start + size]
            yield b"%x\r\n%b\r\n" % (len(part), part)
        yield b"0\r\n\r\n"

    return respond


@pytest.mark.parametrize("size", [1, 2, 7])
def test_members_may_begin_anywhere_in_what_arrives(serve: Serve, size: int) -> None:
    """A boundary that falls between two reads is found."""
    body = COMPLETE["zeros between and after"]
    assert fetch(serve(in_chunks(body, size))).scan.count == 2


CUT = {
    "in the first": members(100)[:30],
    "between two": members(100)[: len(gzip.compress(BODY[:100], mtime=0))],
    "in the magic": members(100)[: len(gzip.compress(BODY[:100], mtime=0)) + 1],
    "in the second": members(100)[:-30],
    "no member after the magic": gzip.compress(BODY[:100], mtime=0) + b"\x1f\x8bjunk",
    "another checksum": members(100)[:-8] + b"\1" * 8,
}


@pytest.mark.parametrize("body", CUT.values(), ids=CUT)
def test_gzip_that_is_cut_or_damaged_is_requested_again(serve: Serve, body: bytes) -> None:
    """A part of the list is never taken for the list, wherever the connection was cut."""
    cut = http(200, body, GZIP)
    assert fetch(serve(cut, http(200, BODY))).scan.count == 2
    assert_fails(serve(cut), ApiUnavailable, "(tried 5 times); try again later")


@pytest.mark.parametrize("size", [1, 9999])
def test_what_does_not_begin_as_gzip_is_no_gzip(serve: Serve, size: int) -> None:
    """A server that labels its body falsely is read as it is meant, not tried again for ever."""
    assert fetch(serve(in_chunks(BODY, size))).scan.count == 2
    page = in_chunks(b"<html><title>Down for maintenance</title></html>", size)
    assert_fails(serve(page), ApiError, "an HTML page, not JSON (Down for maintenance)")
    assert_fails(serve(in_chunks(zlib.compress(BODY), size)), ApiError, "is binary data, not JSON")


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    " , ": bytes,
    "identity": bytes,
    "Identity, identity": bytes,
    "gzip": gzip.compress,
    "GZip": gzip.compress,
    "x-gzip": gzip.compress,
    "identity, gzip": gzip.compress,
    "gzip,": gzip.compress,
    "gzip\r\nContent-Encoding: identity": gzip.compress,
}


@pytest.mark.parametrize("encoding", ENCODINGS, ids=repr)
def test_encodings(serve: Serve, encoding: str) -> None:
    """The header is a list; `identity` and empty items in it mean nothing."""
    body = ENCODINGS[encoding](BODY)
    assert fetch(serve(http(200, body, f"Content-Encoding: {encoding}"))).scan.count == 2


@pytest.mark.parametrize("encoding", ["x-gzip, gzip", "identity, br", "x-compress", "gzip;q=1"])
def test_other_encodings_are_named(serve: Serve, encoding: str) -> None:
    """What was not requested, and gzip applied twice, is refused in one sentence."""
    server = serve(http(200, BODY, f"Content-Encoding: {encoding}"))
    assert_fails(server, ApiError, "the response is compressed as '", "but gzip was requested")
    assert len(server.requests) == 1


def test_a_bomb_is_decompressed_in_small_steps(serve: Serve) -> None:
    """However well a body is compressed, no step takes much more memory than the size limit."""
    bomb = gzip.compress(bytes(60_000_000), 6)
    assert len(bomb) < 64 * 1024  # it arrives at once
    server = serve(http(200, bomb, GZIP))
    tracemalloc.start()
    try:
        assert_fails(server, ApiError, "--max-bytes", max_bytes=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


def test_many_tiny_members(serve: Serve, chance: random.Random) -> None:
    """Members without content cost no more than their bytes: the time is not quadratic."""
    empty = zlib.compressobj(wbits=31).flush()
    body = empty * chance.randint(40_000, 50_000) + gzip.compress(BODY)
    assert fetch(serve(http(200, body, GZIP))).scan.count == 2
