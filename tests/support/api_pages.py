"""A list in pages, and responses that serve it."""

from __future__ import annotations

from typing import Any

from xxhash import xxh3_128_hexdigest

from mirror.api.envelope import parse_page
from tests.support.api_client import fetch
from tests.support.api_payloads import entries_of, unknown_entries
from tests.support.http_servers import HttpResponse, ScriptedServer, body_of, by_page, paged
from tests.support.upstream import request

PAGES = [[request(10 * page + place) for place in range(3)] for page in range(1, 9)]
RESPONSES = paged(PAGES)
BODIES = [body_of(response) for response in RESPONSES]
SIZE = sum(map(len, BODIES))
DIGEST = xxh3_128_hexdigest(b"".join(BODIES))
ENTRIES = [entry for body in BODIES for entry in entries_of(parse_page(body).data)]


def assert_complete(server: ScriptedServer, **fields: Any) -> None:
    """Fetch the list of PAGES, byte for byte and entry for entry."""
    listing = fetch(server, **fields)
    assert (listing.digest, listing.etag) == (DIGEST, None)
    assert (listing.scan.count, listing.scan.repetitions) == (24, 0)
    assert unknown_entries(listing.scan) == ENTRIES


def replaced(**responses: HttpResponse) -> HttpResponse:
    """The responses to PAGES, some of them replaced: `p3` is page 3."""
    pages: list[HttpResponse] = list(RESPONSES)
    for name, response in responses.items():
        pages[int(name[1:]) - 1] = response
    return by_page(pages)
