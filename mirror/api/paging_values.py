"""Values of paging: whether a cursor or a link leads on, and to which page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult, parse_qs, urljoin, urlsplit

from mirror.api.paging_names import NOT_AHEAD, READ_ALONE, Kind, compact_name, kind_of

_NOTHING = {"", "null", "none", "nil", "undefined", "false", "no", "-1"}
_LINK = re.compile(r"<([^>]*)>([^<]*)")
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)
_SCHEME, _HTTP = re.compile("[a-zA-Z][a-zA-Z0-9+.-]*:"), re.compile("https?:", re.IGNORECASE)


def leads_on(value: Any, number: int) -> bool:
    """Return whether a value of `next` and its like leads on from a page.

    Nothing, an empty text and a page up to this one do not, nor does what has only such values.
    """
    if not isinstance(value, dict | list):
        return _is_beyond(value, number)
    return any(
        _is_beyond(
            leaf, number if name in {"", "number"} or kind_of(name) is Kind.CURRENT_PAGE else 0
        )
        for name, leaf in _leaves(value)
    )


def cursor_leads_on(value: Any, number: int, *, both_ways: bool) -> bool:
    """Return whether a cursor leads on; of an object any value does that is not empty.

    Args:
        value: the cursor.
        number: of the page.
        both_ways: an object may have the previous one, and more, which is read for itself.
    """
    if not isinstance(value, dict | list):
        return _is_beyond(value, number)
    return any(
        str(leaf).strip().lower() not in _NOTHING
        for name, leaf in _leaves(value)
        if not both_ways or not (kind_of(name) in READ_ALONE or re.fullmatch(NOT_AHEAD, name))
    )


def _is_beyond(value: Any, number: int) -> bool:
    match value:
        case str():
            text = value.strip().lower()
            is_number = text.isdecimal() and len(text) < 20
            return int(text) > number if is_number else text not in _NOTHING
        case None | bool():
            return bool(value)
    return bool(value > number)


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what is in objects and arrays, with the compact name of its member."""
    rest = [("", value)]
    while rest:
        name, one = rest.pop()
        if isinstance(one, dict):
            rest += ((compact_name(key), inner) for key, inner in one.items())
        elif isinstance(one, list):
            rest += ((name, inner) for inner in one)
        else:
            yield name, one


def parse_links(value: str) -> Iterator[tuple[str, str]]:
    """Yield relation and target of each link of a `Link` header that leads to a web page."""
    for match in _LINK.finditer(value):
        is_http = not _SCHEME.match(match[1]) or _HTTP.match(match[1])
        if is_http and (rel := _REL.search(match[2])):
            for relation in split_relations(rel[1] or rel[2]):
                yield relation, match[1]


def split_relations(value: Any) -> list[str]:
    """Return the relations of a link, of a URL its last part."""
    words = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return [word.strip("'").rpartition("/")[2] for word in words.lower().split()]


def link_target(value: Any) -> str:
    """Return the URL of a link in a body, which may be an object with `href`."""
    value = value.get("href") if isinstance(value, dict) else value
    return value if isinstance(value, str) else ""


def page_of_link(target: str, url: str) -> int | None:
    """Return the page that a link leads to, if it leads to the same address as a URL."""
    if not target:
        return None
    try:
        link, own = urlsplit(urljoin(url, target)), urlsplit(url)
        if (link.hostname, _port(link), link.path) != (own.hostname, _port(own), own.path):
            return None
        query = parse_qs(link.query)
        (page,) = query.get("page") or query["page[number]"]
    except (ValueError, KeyError):
        return None
    return int(page) if page.isdecimal() and len(page) < 10 else None


def _port(url: SplitResult) -> int | None:
    """Return the port of a URL, None for the default: a proxy may speak https for the API."""
    return None if url.port == {"http": 80, "https": 443}.get(url.scheme) else url.port
