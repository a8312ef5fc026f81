"""Hostile responses that are no list, and how a sync must fail on them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.support.cli_mirror import storable
from tests.support.hostile import NASTY, entry, entry_with, listing, page
from tests.support.http_servers import HttpResponse, http


@dataclass(frozen=True)
class Failure:
    """A hostile response, and the exit code and a part of the error of the sync."""

    response: HttpResponse
    code: int
    message: str


def failure(
    status: int, code: int, message: str, body: dict[str, Any] | bytes, *headers: str
) -> Failure:
    """A response with a hostile body or header; a body that is an object is a failed envelope."""
    content = body if isinstance(body, bytes) else json.dumps({"success": False} | body).encode()
    return Failure(http(status, content, *headers), code, message)


def wire(text: str) -> str:
    """Encode a text for a header, so that `http` sends it as UTF-8."""
    return text.encode("utf-8", "replace").decode("latin-1")


def shapes(status: int, code: int, text: str, name: str) -> dict[str, Failure]:
    """A text in each of the three documented shapes of an error."""
    errors = {text: [text, {text: text}]}
    bodies: dict[str, dict[str, Any]] = {
        "nested": {"error": {"code": text, "message": text, "details": errors}},
        "flat": {"code": text, "message": text},
        "fields": {"message": text, "errors": errors},
    }
    return {
        f"{status} {name} {shape}": failure(status, code, storable(text)[:6], body)
        for shape, body in bodies.items()
    }


def deep(levels: int) -> bytes:
    """Nested arrays."""
    return b"[" * levels + b"]" * levels


def paged(name: bytes, value: bytes) -> bytes:
    """An empty page with one field of paging."""
    return page([], b',"meta":{"%s":%s}' % (name, value))


MEGABYTE = "\u202e\x1b[31mlong " * 100_000
HTML = f"<html><title>{NASTY}</title>{MEGABYTE}</html>".encode("utf-8", "replace")
DEEP = entry_with("x", deep(100_000))
LONE = "\x9b31m\u202e\u2066\u200b"

FAILURES: dict[str, Failure] = {
    **shapes(422, 1, NASTY, "nasty"),
    **shapes(200, 1, NASTY, "nasty"),
    "500 nasty": failure(500, 75, "\x1b[31m", {"error": {"code": NASTY, "message": NASTY}}),
    "401 nasty": failure(401, 77, "\x1b[31m", {"message": NASTY}),
    "200 long": failure(200, 1, "long", {"error": {"message": MEGABYTE}}),
    "422 long": failure(422, 1, "(JSON without", {"message": MEGABYTE}),
    "422 html": failure(422, 1, "an HTML page", HTML),
    "502 html": failure(502, 75, "an HTML page", HTML),
    "200 html": failure(200, 1, "an HTML page", HTML),
    "403 text": failure(403, 77, "binary data", NASTY.encode("utf-8", "replace")),
    "422 utf-16": failure(422, 1, "422", json.dumps({"message": "x"}).encode("utf-16")),
    "422 no text": failure(
        422, 1, "OFF", b'{"code":"OFF","message":"\xff\x9b\\u001b\xed\xa0\x80"}'
    ),
    "422 number": failure(422, 1, "-1e-07: 1e+300", b'{"code":-1E-7,"message":1e300}'),
    "422 too large": failure(422, 1, "JSON without", b'{"success":false,"message":1e400}'),
    "422 digits": failure(422, 1, "JSON without", b'{"code":%s}' % (b"9" * 5000)),
    "422 a list": failure(422, 1, "[{", {"message": [{NASTY: None}, [True]]}),
    "422 deep": failure(422, 1, "JSON without", b'{"message":%s}' % deep(100_000)),
    "200 deep message": failure(200, 1, "nested too deeply", b'{"message":%s}' % deep(100_000)),
    "429 wait": failure(429, 75, "429", {}, f"Retry-After: {wire(LONE)}"),
    "429 wait for ever": failure(429, 75, "429", {}, "Retry-After: " + "9" * 5000),
    "302 away": failure(
        302, 1, "points to", b"", f"Location: https://example.invalid/{wire(LONE)}"
    ),
    **{
        f"302 to {to[:20]!r}": failure(302, 1, "answered 302", b"", f"Location: {to}")
        for to in ("javascript:alert(1)", "http://xn--a/", "http://[::1", "\x1b[31m", "x" * 66_000)
    },
    "compressed": failure(200, 1, "compressed as", b"", f"Content-Encoding: \x1b[31m{wire(LONE)}"),
    "reason phrase": Failure(
        http(422, b'{"message":"No"}').replace(b"ScriptedServer", b"\x1b[31m\x9b\xe2\x80\xae"),
        1,
        "No",
    ),
    "header": Failure(http(200, listing(2), "X: \0"), 75, "not HTTP"),
    "header name": Failure(http(200, listing(2), "\x1b[31m: x"), 75, "not HTTP"),
    "status line": Failure(b"HTTP/1.1 \x1b[31m OK\r\n\r\n", 75, "not HTTP"),
    "an entry too deep": failure(200, 1, "nested too deeply", page([entry(), DEEP])),
    "a list too deep": failure(200, 1, "nested too deeply", b'{"data":%s}' % deep(100_000)),
    "a body too deep": failure(200, 1, "nested too deeply", deep(100_000)),
    "bottomless": failure(200, 1, "nested too deeply", b'{"a":' * 100_000),
    **{
        f"{value} in {field}": failure(
            200, 1, "not valid JSON", page([entry(), entry_with(field, value)])
        )
        for value in ("NaN", "Infinity", "-Infinity")
        for field in ("status", "score")
    },
    "data a text": failure(200, 1, "array", b'{"success":true,"data":"\\u001b[31m\xe2\x80\xae"}'),
    "success a text": failure(200, 1, "`success` is not", b'{"success":"\\u001b[31m","data":[]}'),
    "paging": failure(200, 1, "paging", paged(b"last_page", json.dumps(NASTY).encode())),
    "page of 400 digits": failure(200, 1, "1111 when asked", paged(b"current_page", b"1" * 400)),
    "paging of 5,000 digits": failure(
        200, 1, "`last_page` is not a usable", paged(b"last_page", b"9" * 5000)
    ),
    "many pages": failure(200, 75, "--deadline", paged(b"last_page", b"9" * 20)),
}
