"""What a response says about its place in a list: in its envelope and in its headers.

Names are compared without case and separators, so `total_pages`, `totalPages` and `X-Total-Pages`
are one. The rule is in docs/trust.md, "What says that there is more".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import SplitResult, parse_qs, urljoin, urlsplit

import msgspec
from msgspec import Meta, Raw, Struct

from mirror.api.raw_json import DECODING_ERRORS, decode_fields
from mirror.text import one_line


class Paging(Struct, frozen=True):
    """The paging that a response states."""

    current_page: int | None = None
    last_page: int | None = None
    per_page: int | None = None
    total: int | None = None

    @property
    def states_pages(self) -> bool:
        """Whether the number of pages is stated, or follows from `total` and `per_page`."""
        return self.last_page is not None or bool(self.total is not None and self.per_page)

    @property
    def pages(self) -> int | None:
        """Number of pages, as stated or computed from `total` and `per_page`; None if unknown."""
        if self.last_page is not None:
            return max(1, self.last_page)
        if self.total is not None and self.per_page:
            return max(1, -(-self.total // self.per_page))
        return 1 if self.current_page is None and self.per_page is None else None


class Continuation(Struct, frozen=True):
    """What a response says about what follows it, apart from its paging.

    Attributes:
        more: where it says that more follows, in words; None if nowhere.
        ends: it says that nothing follows.
        at_least: a count that may be that of the list or of the page.
        next_page: the number of the next page, from a `Link` header to this same address.
        before: where the answer for page 1 says that another page is before it; None if nowhere.
    """

    more: str | None = None
    ends: bool = False
    at_least: int = 0
    next_page: int | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """What a response has besides its body.

    Attributes:
        url: that was requested.
        fields: names and values of its headers.
    """

    url: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        """Return the value of a header, None if it is not there."""
        return next((value for key, value in self.fields if key.lower() == name.lower()), None)


class _Link(Struct):
    rel: Any = None
    href: Any = None


class InvalidPaging(Exception):
    """A number of the paging is unusable; its name is the argument."""


class _Kind(Enum):
    """What a name states."""

    CURRENT_PAGE = auto()
    LAST_PAGE = auto()
    PER_PAGE = auto()
    TOTAL = auto()
    COUNT = auto()  # of the list or of the page
    REMAINING = auto()
    NEXT = auto()
    CURSOR = auto()  # where to go on, which some APIs give at the end of the list, too
    HAS_MORE = auto()
    IS_LAST = auto()
    PREVIOUS = auto()
    HAS_PREVIOUS = auto()
    IS_FIRST = auto()
    OFFSET = auto()  # entries before this page, or the number of its first one


_PREFIX = "(?:x|wp|ms|odata|hydra|opensearch|pagination|paging|pager|list)*"
_UNIT = "(?:items?|entries|records?|results?|rows?|elements?|objects?|documents?|docs|hits?)"
_REQUESTS = f"(?:{_UNIT}|(?:release)?requests?)"
_NUMBER = "(?:number|num|no|nr)"
_NAMES = {
    kind: re.compile(_PREFIX + f"(?:{names})")
    for kind, names in {
        _Kind.CURRENT_PAGE: f"(?:current)?page{_NUMBER}?",
        _Kind.LAST_PAGE: (
            f"(?:last|max|final)page{_NUMBER}?|total{_NUMBER}?(?:of)?pages?(?:count)?|pages"
            "|pages?(?:count|total)|num(?:ber)?(?:of)?pages|countpages"
        ),
        _Kind.PER_PAGE: f"{_UNIT}?perpage|page(?:size|limit|items)|limit|size",
        _Kind.TOTAL: (
            f"(?:grand)?total{_NUMBER}?(?:of)?{_REQUESTS}?(?:count|size)?|{_REQUESTS}total"
            f"|(?:full|all)count|count(?:total|all)|numfound"
            "|recordsfiltered"
        ),
        _Kind.COUNT: f"(?:{_UNIT}|data)?count|num(?:ber)?(?:of)?{_UNIT}",
        _Kind.REMAINING: (
            f"remaining(?:pages?|{_UNIT})(?:count)?|(?:pages?|{_UNIT})(?:remaining|left)"
        ),
        _Kind.CURSOR: (
            "(?!(?:tokens?|markers|bookmarks)$)"
            "(?:next)?(?:page|end|after|scroll|continuation|continue|pagination|resume)?"
            "(?:cursor|token|marker|bookmark)s?|(?:next)?(?:scroll|continuation)(?:id|key)?"
            "|continue(?:from|with|after)?|(?:next|start)?after(?:id|key)?|lastevaluatedkey|nextkey"
        ),
        _Kind.NEXT: (
            f"(?:link|page|url|cursor)?next(?:page|set|batch|chunk|{_UNIT}|index|url|uri|link|href"
            f"|path|id|offset|start|skip|from|query|params?|cursor|token|key|{_NUMBER})*"
        ),
        _Kind.HAS_MORE: (
            f"(?:has|have|is|are|thereis|thereare)?(?:any)?(?:more|next)(?:pages?|data|{_UNIT})?"
            "(?:available|exists?)?|(?:is|results?)?truncated|(?:is)?(?:incomplete|partial)"
            "(?:results?)?"
        ),
        _Kind.IS_LAST: (
            "(?:is)?(?:the)?(?:last|final|end)(?:page)?(?:reached)?|(?:is)?(?:done|complete|"
            "finished|exhausted|eof)|endof(?:list|stream|results|data|pages)|nomore(?:pages|data)?"
        ),
        _Kind.HAS_PREVIOUS: (
            f"(?:has|have|thereis|thereare)(?:any)?(?:prev(?:ious)?|before|earlier)"
            f"(?:pages?|data|{_UNIT})?(?:available|exists?)?"
        ),
        _Kind.PREVIOUS: (
            f"(?:link|page|url|cursor)?prev(?:ious)?(?:page|set|batch|chunk|{_UNIT}|index|url|uri"
            f"|link|href|path|id|offset|start|skip|from|query|params?|cursor|token|key|{_NUMBER})*"
        ),
        _Kind.IS_FIRST: "(?:is|on|at)?(?:the)?first(?:page)?",
        _Kind.OFFSET: (
            "(?:page|current|start)?(?:offset|skip(?:ped)?)|from|start"
            f"|(?:start|from|first|begin)(?:{_UNIT}|index|at|from|position)"
        ),
    }.items()
}
"""Names without case and separators; the first kind whose pattern matches the whole name counts."""

_AMBIGUOUS = re.compile(
    "x?(?:pages?|limit|size|total|count|next|more|last|end|done|complete|finished|after"
    "|cursor|marker|bookmark|scroll|continue|partial|truncated|final|exhausted|eof"
    f"|prev(?:ious)?|first|(?:{_REQUESTS}|total)*(?:count|total)|total{_REQUESTS}"
    f"|{_NAMES[_Kind.OFFSET].pattern})"
)
"""Names that say something about the list only beside it, or in an object about pages."""

_PAGE_OBJECT = re.compile(
    ".*pag(?:e|in|y).*|.*(?:meta|metadata|links?|cursors?|nav|navigation|info|view|resultset|next)"
    "|(?:list|collection|(?:search)?results|hits|odata|opensearch)"
)
"""Names of objects about pages."""

_ECHO = re.compile(
    ".*(?:request|query|params?|parameters|filters?|args|arguments|input|criteria|options|echo)"
)
"""Names of objects that may repeat the request."""

_LAST_LINK = re.compile(_PREFIX + "last(?:page)?(?:url|uri|link|href)?")
_BOTH_WAYS = re.compile(_PREFIX + "(?:page)?cursors?")
"""Names of cursors that may be objects with the previous and the next one."""

_NOT_AHEAD = re.compile("before.*|prev.*|self|current")
"""Members of such an object that are not about what follows."""

_VAGUE_END = re.compile(
    "(?:is)?(?:done|complete|finished)|(?:is)?(?:incomplete|partial)(?:results?)?"
)
"""Names that may be about the response as well; they do not prove that the list ends."""

_NOTHING = {"", "null", "none", "nil", "undefined", "false", "no", "-1"}
_YES, _NO = {"true", "1", "yes"}, {"false", "0", "no"}
_MAX_DEPTH = 4
_MAX_NAME = 40
_MAX_OFFSET = 10_000_000  # what is larger is a time
_MAX_OBJECT = 1 << 16  # bytes; what is larger is no paging
_LINK = re.compile(r"<([^>]*)>([^<]*)")
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)
_SCHEME, _HTTP = re.compile("[a-zA-Z][a-zA-Z0-9+.-]*:"), re.compile("https?:", re.IGNORECASE)
_CONTENT_RANGE = re.compile(
    r"(?:(?!bytes)\S+\s+)?(?:([0-9]+)-[0-9]+|\*)/([0-9]{1,18}|\*)", re.IGNORECASE
)

_links = msgspec.json.Decoder(list[_Link])
_number = msgspec.json.Decoder(Annotated[int, Meta(ge=0)], strict=False)


def find_paging(
    around: dict[str, dict[str, Raw]], head: Head, number: int
) -> tuple[Paging | None, Continuation]:
    """Find what a response says about its place in the list.

    Args:
        around: the members of the objects around the list, by their path; the nearest one first.
        head: URL and headers.
        number: of the requested page.

    Returns:
        Its paging, if it states any, and what follows it.

    Raises:
        InvalidPaging: a number is unusable.
    """
    found = _Findings(number, head.url)
    for path, members in around.items():
        found.read_object(members, path, is_about_pages=True, depth=0)
    found.read_headers(head.fields)
    return found.paging, found.continuation


def says_something(head: Head) -> bool:
    """Return whether headers say anything about the place in a list."""
    try:
        return find_paging({}, head, 1) != (None, Continuation())
    except InvalidPaging:
        return True


@lru_cache(4096)
def _compact(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


@lru_cache(4096)
def _kind(name: str) -> _Kind | None:
    """Return what a compact name states, if anything."""
    if len(name) > _MAX_NAME:
        return None
    return next((kind for kind, names in _NAMES.items() if names.fullmatch(name)), None)


def _by_place(item: tuple[str, Raw]) -> int:
    """Sort the documented objects first, then other objects, then values."""
    name, raw = item
    return (
        ("meta", "pagination").index(name)
        if name in {"meta", "pagination"}
        else 2 + (bytes(memoryview(raw)[:1]) != b"{")
    )


class _Findings:
    """Collects what the members and headers of a response say.

    Of several totals or numbers of pages the largest counts: so a list is refused rather than
    taken for complete.
    """

    def __init__(self, number: int, url: str) -> None:
        self._number = number
        self._url = url
        self._numbers: dict[_Kind, int] = {}
        self._more: str | None = None
        self._cursor: str | None = None
        self._denies_more = False
        self._ends = False
        self._next_page: int | None = None
        self._before: str | None = None
        self._cursor_before: str | None = None
        self._denies_before = False

    @property
    def paging(self) -> Paging | None:
        """The paging, if any is stated."""
        paging = Paging(
            self._numbers.get(_Kind.CURRENT_PAGE),
            self._numbers.get(_Kind.LAST_PAGE),
            self._numbers.get(_Kind.PER_PAGE),
            self._numbers.get(_Kind.TOTAL),
        )
        return None if paging == Paging() else paging

    @property
    def continuation(self) -> Continuation:
        """What follows; "no more" refutes a cursor, which some APIs give at the end too."""
        cursor = None if self._denies_more else self._cursor
        before = None if self._denies_before else self._cursor_before
        return Continuation(
            self._more or cursor,
            self._ends or self._denies_more,
            self._numbers.get(_Kind.COUNT, 0),
            self._next_page,
            self._before or before,
        )

    def read_object(
        self,
        members: dict[str, Raw],
        path: str,
        *,
        is_about_pages: bool,
        is_echo: bool = False,
        depth: int,
    ) -> None:
        """Read the members of an object, and of the objects in it."""
        kinds = _kinds_of_paging(members)
        is_about_pages = is_about_pages or len(kinds) > 1
        is_only_echo = is_echo and kinds <= _ECHOED
        has_limit = "pag" in path.lower() or _Kind.CURRENT_PAGE in kinds
        for name, raw in sorted(members.items(), key=_by_place):
            compact, place = _compact(name), f"{path}{name}"
            kind = _kind(compact)
            if is_only_echo or (not is_about_pages and _AMBIGUOUS.fullmatch(compact)):
                kind = None
            elif compact in {"limit", "size"} and not has_limit:
                kind = None  # it may be that of anything
            if is_about_pages and _LAST_LINK.fullmatch(compact):
                self._read_last_link(raw)
            if _first_byte(raw) == b"{":
                self._read_inner_object(kind, compact, place, raw, is_echo=is_echo, depth=depth)
            elif compact == "links" and _first_byte(raw) == b"[":
                self._read_list_of_links(place, raw)
            elif kind:
                self._read(kind, compact, place, raw)

    def _read_inner_object(
        self, kind: _Kind | None, name: str, place: str, raw: Raw, *, is_echo: bool, depth: int
    ) -> None:
        """Read an object as one of members, and as the value that its own name calls for."""
        is_of_other_page = kind in {_Kind.NEXT, _Kind.PREVIOUS} or (
            kind is _Kind.CURSOR and not _BOTH_WAYS.fullmatch(name)
        )
        is_small = depth < _MAX_DEPTH and len(memoryview(raw)) <= _MAX_OBJECT
        if is_small and not is_of_other_page:
            is_about_pages = bool(_PAGE_OBJECT.fullmatch(name))
            with suppress(*DECODING_ERRORS):
                self.read_object(
                    decode_fields(raw),
                    f"{place}.",
                    is_about_pages=is_about_pages,
                    is_echo=is_echo or (not is_about_pages and bool(_ECHO.fullmatch(name))),
                    depth=depth + 1,
                )
        if kind in {_Kind.NEXT, _Kind.CURSOR, _Kind.PREVIOUS, *_WHOLE_NUMBERS}:
            self._read(kind, name, place, raw)

    def _read_last_link(self, raw: Raw) -> None:
        """Read the page that a link to the last one leads to."""
        with suppress(*DECODING_ERRORS):
            last = _page_of(_target(msgspec.json.decode(raw)), self._url)
            if last:
                self._add(_Kind.LAST_PAGE, last)

    def _read_list_of_links(self, place: str, raw: Raw) -> None:
        """Read an array of links that each have a relation."""
        with suppress(*DECODING_ERRORS):
            for item in _links.decode(raw) if len(memoryview(raw)) <= _MAX_OBJECT else ():
                relation, target = str(item.rel).lower(), Raw(msgspec.json.encode(item.href))
                if relation == "last":
                    self._read_last_link(target)
                elif kind := _RELATIONS.get(relation):
                    self._read(kind, relation, place, target)

    def read_headers(self, fields: list[tuple[str, str]]) -> None:
        """Read names and values of headers."""
        links: list[tuple[str, str]] = []
        sizes: list[tuple[str, Raw]] = []
        for name, value in fields:
            compact, place = _compact(name), f"the header {name}"
            raw = Raw(msgspec.json.encode(value.strip()))
            if compact == "link":
                links += _parse_links(value)
            elif compact in {"xlimit", "xsize"}:
                sizes.append((place, raw))
            elif compact == "contentrange":
                self._read_content_range(value.strip(), place)
            elif value.startswith("{") and _PAGE_OBJECT.fullmatch(compact):
                with suppress(*DECODING_ERRORS):
                    members = decode_fields(value.encode())
                    self.read_object(members, f"{place} ", is_about_pages=True, depth=1)
            elif value.strip() and compact not in _PLAIN_HEADERS and (kind := _kind(compact)):
                self._read(kind, compact, place, raw)
        self._read_links(links)
        for place, raw in sizes if self.paging else ():  # else they may be of anything
            self._read(_Kind.PER_PAGE, "size", place, raw)

    def _read_content_range(self, value: str, place: str) -> None:
        if match := _CONTENT_RANGE.fullmatch(value):
            if match[1]:
                self._read(_Kind.OFFSET, "from", place, Raw(match[1].encode()))
            if match[2] != "*":
                self._add(_Kind.TOTAL, int(match[2]))

    def _read(self, kind: _Kind, name: str, place: str, raw: Raw) -> None:
        """Read a value."""
        if kind in _WHOLE_NUMBERS:
            if bytes(raw) != b"null":
                self._read_number(kind, name, place, raw)
            return
        if kind in _BEFORE:
            if self._number == 1:
                self._read_before(kind, name, place, raw)
            return
        try:
            value = msgspec.json.decode(raw)
        except DECODING_ERRORS:
            return
        if kind is _Kind.HAS_MORE or kind is _Kind.IS_LAST:
            self._read_flag(name, value, place, means_more=kind is _Kind.HAS_MORE)
        elif not (
            _cursor_leads_on(value, self._number, both_ways=bool(_BOTH_WAYS.fullmatch(name)))
            if kind is _Kind.CURSOR
            else _leads_on(value, self._number)
        ):
            self._ends = True
        elif kind is _Kind.CURSOR:
            self._cursor = self._cursor or place
        else:
            self._more = self._more or place

    def _read_number(self, kind: _Kind, name: str, place: str, raw: Raw) -> None:
        if kind is _Kind.TOTAL and _first_byte(raw) == b"{":
            with suppress(*DECODING_ERRORS):  # Elasticsearch
                total = decode_fields(raw)
                is_bound = bytes(total.get("relation", b'"eq"')) != b'"eq"'
                kind, raw = _Kind.COUNT if is_bound else kind, total.get("value", raw)
        try:
            number = _number.decode(raw)
        except DECODING_ERRORS:
            is_vague = name.removeprefix("x") in _NOT_ALWAYS_NUMBERS
            if is_vague or kind in {_Kind.COUNT, _Kind.REMAINING}:
                return
            raise InvalidPaging(one_line(re.split("[. ]", place)[-1])) from None
        if kind is _Kind.REMAINING:
            self._more = self._more or (place if number else None)
        else:
            self._add(kind, number)

    def _add(self, kind: _Kind, number: int) -> None:
        if kind in {_Kind.CURRENT_PAGE, _Kind.PER_PAGE}:
            self._numbers.setdefault(kind, number)
        else:
            self._numbers[kind] = max(number, self._numbers.get(kind, 0))

    def _read_before(self, kind: _Kind, name: str, place: str, raw: Raw) -> None:
        """Read whether this is not the first page, though page 1 was requested."""
        try:
            value = msgspec.json.decode(raw)
            offset = _number.decode(raw) if kind is _Kind.OFFSET else 0
        except DECODING_ERRORS:
            return
        text = str(value).lower()
        if kind is _Kind.OFFSET:
            first = 0 if "offset" in name or "skip" in name else 1
            is_before = first < offset < _MAX_OFFSET
        elif kind is _Kind.PREVIOUS:
            is_here = _page_of(_target(value), self._url) == self._number
            is_before = not is_here and _leads_on(value, self._number)
        elif kind is _Kind.HAS_PREVIOUS:
            is_before = text in _YES
            self._denies_before |= text in _NO
        elif text.isdecimal() and name.removeprefix("x").startswith("first"):
            return  # it is the number of a page, or of entries
        else:
            is_before = text in _NO
            self._denies_before |= text in _YES
        if is_before and kind is _Kind.PREVIOUS and name.endswith(("cursor", "token", "key", "id")):
            self._cursor_before = self._cursor_before or place
        elif is_before:
            self._before = self._before or place

    def _read_flag(self, name: str, value: Any, place: str, *, means_more: bool) -> None:
        text = str(value).lower()
        if text not in {*_YES, *_NO}:
            return
        if (text in _YES) == means_more:
            self._more = self._more or place
        elif not _VAGUE_END.fullmatch(name):
            self._denies_more = True

    def _read_links(self, links: list[tuple[str, str]]) -> None:
        """Read `Link` headers (RFC 8288): only numbers of pages, no target is requested."""
        links = [link for link in links if not _SCHEME.match(link[1]) or _HTTP.match(link[1])]
        targets = dict(reversed(links))  # of several with the same relation the first one counts
        if "next" in targets:
            page = _page_of(targets["next"], self._url)
            if page == self._number + 1:
                self._next_page = page
            elif page is None or page > self._number:
                self._more = self._more or "the header Link"
        if before := targets.get("prev") or targets.get("previous"):
            target = Raw(msgspec.json.encode(before))
            self._read(_Kind.PREVIOUS, "prev", "the header Link", target)
        if "last" in targets and (last := _page_of(targets["last"], self._url)):
            self._add(_Kind.LAST_PAGE, last)
        elif self._number > 1 and targets and "next" not in targets:
            self._add(_Kind.LAST_PAGE, self._number)  # which seldom has a link to itself


_WHOLE_NUMBERS = {
    _Kind.CURRENT_PAGE,
    _Kind.LAST_PAGE,
    _Kind.PER_PAGE,
    _Kind.TOTAL,
    _Kind.COUNT,
    _Kind.REMAINING,
}
_NOT_ALWAYS_NUMBERS = {"page", "pages", "limit", "size"}
_BEFORE = {_Kind.PREVIOUS, _Kind.HAS_PREVIOUS, _Kind.IS_FIRST, _Kind.OFFSET}
_ECHOED = {_Kind.CURRENT_PAGE, _Kind.PER_PAGE, _Kind.OFFSET}
"""What an object that repeats the request has of paging."""
_RELATIONS = {"next": _Kind.NEXT, "prev": _Kind.PREVIOUS, "previous": _Kind.PREVIOUS}
_READ_ALONE = {*_WHOLE_NUMBERS, *_BEFORE, _Kind.HAS_MORE}
_SAME_KIND = {
    _Kind.CURSOR: _Kind.NEXT,
    _Kind.IS_LAST: _Kind.HAS_MORE,
    _Kind.HAS_PREVIOUS: _Kind.PREVIOUS,
    _Kind.IS_FIRST: _Kind.PREVIOUS,
}
_NO_KIND_ALONE = {"limit", "size", "done", "complete", "finished", "partial"}
_PLAIN_HEADERS = {
    *("limit", "size", "count", "marker", "partial", "after", "from", "start"),
    *("done", "xdone", "finished", "xfinished"),
}
"""Headers that may be about anything."""


def _first_byte(raw: Raw) -> bytes:
    return bytes(memoryview(raw)[:1])


def _kinds_of_paging(members: dict[str, Raw]) -> set[_Kind]:
    """Return the kinds of paging that members have, by their names and the types of their values.

    Two of them in an object cannot mean anything else, whatever its name is.
    """
    found = set()
    for name, raw in members.items():
        compact = _compact(name)
        kind = _kind(compact)
        if kind in {None, _Kind.COUNT, _Kind.REMAINING} or compact in _NO_KIND_ALONE:
            continue
        text = bytes(memoryview(raw)[:8])
        if kind in {*_WHOLE_NUMBERS, _Kind.OFFSET}:
            fits = text == b"null" or text.lstrip(b'"')[:1].isdigit()
            fits = fits or (kind is _Kind.TOTAL and text[:1] == b"{")
        elif kind in {_Kind.IS_LAST, _Kind.IS_FIRST}:
            fits = text.strip(b'"') in {b"true", b"false"}
        else:
            fits = True
        if fits:
            found.add(_SAME_KIND.get(kind, kind))
    return found


def _leads_on(value: Any, number: int) -> bool:
    """Return whether a value of `next` and its like leads on from a page.

    Nothing, an empty text and a page up to this one do not, nor does what has only such values.
    """
    if not isinstance(value, dict | list):
        return _is_beyond(value, number)
    return any(
        _is_beyond(
            leaf, number if name in {"", "number"} or _kind(name) is _Kind.CURRENT_PAGE else 0
        )
        for name, leaf in _leaves(value)
    )


def _cursor_leads_on(value: Any, number: int, *, both_ways: bool) -> bool:
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
        if not both_ways or not (_kind(name) in _READ_ALONE or _NOT_AHEAD.fullmatch(name))
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
            rest += ((_compact(key), inner) for key, inner in one.items())
        elif isinstance(one, list):
            rest += ((name, inner) for inner in one)
        else:
            yield name, one


def _parse_links(value: str) -> Iterator[tuple[str, str]]:
    """Yield relation and target of each link of a `Link` header."""
    for match in _LINK.finditer(value):
        if rel := _REL.search(match[2]):
            for relation in (rel[1] or rel[2] or "").lower().split():
                yield relation, match[1]


def _target(value: Any) -> str:
    """Return the URL of a link in a body, which may be an object with `href`."""
    value = value.get("href") if isinstance(value, dict) else value
    return value if isinstance(value, str) else ""


def _page_of(target: str, url: str) -> int | None:
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
