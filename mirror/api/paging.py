"""What a response says about its place in a list: in its envelope and in its headers.

The rule is in docs/trust.md, "What says that there is more".
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from mirror.api.paging_names import (
    AMBIGUOUS,
    BEFORE,
    BOTH_WAYS,
    ECHO,
    ECHOED,
    LAST_LINK,
    LIMIT,
    LINK_HEADER,
    NOT_ALWAYS_NUMBERS,
    PAGE_OBJECT,
    PLAIN_HEADERS,
    RELATIONS,
    VAGUE_END,
    WHOLE_NUMBERS,
    Kind,
    bare_name,
    compact_name,
    kind_of,
    kinds_of_paging,
)
from mirror.api.paging_values import (
    cursor_leads_on,
    leads_on,
    link_target,
    page_of_link,
    parse_links,
    split_relations,
)
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
        limits: numbers that may be the most entries that a response has.
    """

    more: str | None = None
    ends: bool = False
    at_least: int = 0
    next_page: int | None = None
    before: str | None = None
    limits: tuple[int, ...] = ()


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


class InvalidPaging(Exception):
    """A number of the paging is unusable; its name is the argument."""


_YES, _NO = {"true", "1", "yes", "y", "t", "on"}, {"false", "0", "no", "n", "f", "off"}
_MAX_DEPTH = 4
_MAX_OFFSET = 10_000_000  # what is larger is a time
_MAX_OBJECT = 1 << 16  # bytes; what is larger is no paging
_CONTENT_RANGE = re.compile(
    r"(?:(?!bytes)[^\s=:]+[\s=:]+)?(?:([0-9]+)\s*-\s*[0-9]+|\*)\s*/\s*([0-9]{1,18}|\*)",
    re.IGNORECASE,
)

_NUMBER_OR_ZONE = re.compile(rb"(?:UTC|GMT|Z)?[+-]?[0-9:.]*", re.IGNORECASE)
_TARGETS = ("href", "url", "uri", "link")
_links = msgspec.json.Decoder(list[dict[str, Any]])
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
        self._numbers: dict[Kind, int] = {}
        self._more: str | None = None
        self._cursor: str | None = None
        self._denies_more = False
        self._ends = False
        self._stays = False
        self._next_page: int | None = None
        self._before: str | None = None
        self._cursor_before: str | None = None
        self._denies_before = False
        self._limits: list[int] = []

    @property
    def paging(self) -> Paging | None:
        """The paging, if any is stated."""
        paging = Paging(
            self._numbers.get(Kind.CURRENT_PAGE),
            self._numbers.get(Kind.LAST_PAGE),
            self._numbers.get(Kind.PER_PAGE),
            self._numbers.get(Kind.TOTAL),
        )
        return None if paging == Paging() else paging

    @property
    def continuation(self) -> Continuation:
        """What follows; "no more" refutes a cursor, which some APIs give at the end too."""
        cursor = None if self._denies_more else self._cursor
        before = None if self._denies_before else self._cursor_before
        counts_from_1 = Kind.CURRENT_PAGE in self._numbers  # else page 1 may follow page 0
        return Continuation(
            self._more or cursor,
            self._ends or self._denies_more or (self._stays and counts_from_1),
            self._numbers.get(Kind.COUNT, 0),
            self._next_page,
            self._before or before,
            tuple(self._limits),
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
        kinds = kinds_of_paging(members)
        is_about_pages = is_about_pages or len(kinds) > 1
        is_only_echo = is_echo and kinds <= ECHOED
        has_limit = "pag" in path.lower() or Kind.CURRENT_PAGE in kinds
        for name, raw in sorted(members.items(), key=_by_place):
            compact, place = compact_name(name), f"{path}{name}"
            kind = kind_of(compact)
            if is_only_echo or (not is_about_pages and re.fullmatch(AMBIGUOUS, compact)):
                kind = None
            elif bare_name(compact) in {"limit", "size"} and not has_limit:
                kind = None  # it may be that of anything
            if is_about_pages and re.fullmatch(LAST_LINK, compact):
                self._read_last_link(raw)
            if is_about_pages and not is_only_echo and re.fullmatch(LIMIT, compact):
                with suppress(*DECODING_ERRORS):
                    self._limits.append(_number.decode(raw))
            if _first_byte(raw) == b"{":
                self._read_inner_object(kind, compact, place, raw, is_echo=is_echo, depth=depth)
            elif compact in {"link", "links"} and _first_byte(raw) == b"[":
                self._read_list_of_links(place, raw)
            elif kind:
                self._read(kind, compact, place, raw)

    def _read_inner_object(
        self, kind: Kind | None, name: str, place: str, raw: Raw, *, is_echo: bool, depth: int
    ) -> None:
        """Read an object as one of members, and as the value that its own name calls for."""
        is_of_other_page = kind in {Kind.NEXT, Kind.PREVIOUS} or (
            kind is Kind.CURSOR and not re.fullmatch(BOTH_WAYS, name)
        )
        is_small = depth < _MAX_DEPTH and len(memoryview(raw)) <= _MAX_OBJECT
        if is_small and not is_of_other_page:
            is_about_pages = bool(re.fullmatch(PAGE_OBJECT, name))
            with suppress(*DECODING_ERRORS):
                self.read_object(
                    decode_fields(raw),
                    f"{place}.",
                    is_about_pages=is_about_pages,
                    is_echo=is_echo or (not is_about_pages and bool(re.fullmatch(ECHO, name))),
                    depth=depth + 1,
                )
        if kind in {Kind.NEXT, Kind.CURSOR, Kind.PREVIOUS, *WHOLE_NUMBERS}:
            self._read(kind, name, place, raw)

    def _read_last_link(self, raw: Raw) -> None:
        """Read the page that a link to the last one leads to."""
        with suppress(*DECODING_ERRORS):
            last = page_of_link(link_target(msgspec.json.decode(raw)), self._url)
            if last:
                self._add(Kind.LAST_PAGE, last)

    def _read_list_of_links(self, place: str, raw: Raw) -> None:
        """Read an array of links that each have a relation."""
        with suppress(*DECODING_ERRORS):
            for link in _links.decode(raw) if len(memoryview(raw)) <= _MAX_OBJECT else ():
                members = {compact_name(name): value for name, value in link.items()}
                relations = members.pop("rel", None) or members.pop("relation", None)
                targets = [members[name] for name in _TARGETS if name in members]
                target = Raw(msgspec.json.encode(targets[0] if targets else members))
                for relation in split_relations(relations):
                    if relation == "last":
                        self._read_last_link(target)
                    elif kind := RELATIONS.get(relation):
                        self._read(kind, relation, place, target)

    def read_headers(self, fields: list[tuple[str, str]]) -> None:
        """Read names and values of headers."""
        links: list[tuple[str, str]] = []
        sizes: list[tuple[str, Raw]] = []
        for name, value in fields:
            compact, place = compact_name(name), f"the header {name}"
            raw = Raw(msgspec.json.encode(value.strip()))
            if LINK_HEADER.fullmatch(compact):
                links += parse_links(value)
            elif compact in {"xlimit", "xsize", "xapilimit", "xapisize"}:
                sizes.append((place, raw))
            elif compact.removeprefix("x") == "contentrange":
                self._read_content_range(value.strip(), place)
            elif value.startswith("{") and re.fullmatch(PAGE_OBJECT, compact):
                with suppress(*DECODING_ERRORS):
                    members = decode_fields(value.encode())
                    self.read_object(members, f"{place} ", is_about_pages=True, depth=1)
            elif (
                value.strip()
                and not PLAIN_HEADERS.fullmatch(compact)
                and (kind := kind_of(compact))
            ):
                self._read(kind, compact, place, raw)
        self._read_links(links)
        for place, raw in sizes if self.paging else ():  # else they may be of anything
            self._read(Kind.PER_PAGE, "size", place, raw)

    def _read_content_range(self, value: str, place: str) -> None:
        if match := _CONTENT_RANGE.fullmatch(value):
            if match[1]:
                self._read(Kind.OFFSET, "from", place, Raw(match[1].encode()))
            if match[2] != "*":
                self._add(Kind.TOTAL, int(match[2]))

    def _read(self, kind: Kind, name: str, place: str, raw: Raw) -> None:
        """Read a value. An offset in words is a cursor."""
        if kind is Kind.OFFSET and name.endswith("offset") and _is_text(raw):
            kind = Kind.CURSOR
        if kind in WHOLE_NUMBERS:
            if bytes(raw) != b"null":
                self._read_number(kind, name, place, raw)
            return
        if kind in BEFORE:
            if self._number == 1:
                self._read_before(kind, name, place, raw)
            return
        try:
            value = msgspec.json.decode(raw)
        except DECODING_ERRORS:
            return
        if kind is Kind.HAS_MORE or kind is Kind.IS_LAST:
            self._read_flag(name, value, place, means_more=kind is Kind.HAS_MORE)
        elif not (
            cursor_leads_on(value, self._number, both_ways=bool(re.fullmatch(BOTH_WAYS, name)))
            if kind is Kind.CURSOR
            else leads_on(value, self._number)
        ):
            self._stays = True
            self._ends |= not leads_on(value, 0)
        elif kind is Kind.CURSOR:
            self._cursor = self._cursor or place
        else:
            self._more = self._more or place

    def _read_number(self, kind: Kind, name: str, place: str, raw: Raw) -> None:
        if kind is Kind.TOTAL and _first_byte(raw) == b"{":
            with suppress(*DECODING_ERRORS):  # Elasticsearch
                total = decode_fields(raw)
                is_bound = bytes(total.get("relation", b'"eq"')) != b'"eq"'
                kind, raw = Kind.COUNT if is_bound else kind, total.get("value", raw)
        try:
            number = _number.decode(raw)
        except DECODING_ERRORS:
            is_vague = bare_name(name) in NOT_ALWAYS_NUMBERS
            if is_vague or kind in {Kind.COUNT, Kind.REMAINING}:
                return
            raise InvalidPaging(one_line(re.split("[. ]", place)[-1])) from None
        if kind is Kind.REMAINING:
            self._more = self._more or (place if number else None)
        else:
            self._add(kind, number)

    def _add(self, kind: Kind, number: int) -> None:
        if kind in {Kind.CURRENT_PAGE, Kind.PER_PAGE}:
            self._numbers.setdefault(kind, number)
        else:
            self._numbers[kind] = max(number, self._numbers.get(kind, 0))

    def _read_before(self, kind: Kind, name: str, place: str, raw: Raw) -> None:
        """Read whether this is not the first page, though page 1 was requested."""
        try:
            value = msgspec.json.decode(raw)
            offset = _number.decode(raw) if kind is Kind.OFFSET else 0
        except DECODING_ERRORS:
            return
        text = str(value).lower()
        if kind is Kind.OFFSET:
            first = 0 if "offset" in name or "skip" in name else 1
            is_before = first < offset < _MAX_OFFSET
        elif kind is Kind.PREVIOUS:
            is_here = page_of_link(link_target(value), self._url) == self._number
            is_before = not is_here and leads_on(value, self._number)
        elif kind is Kind.HAS_PREVIOUS:
            is_before = text in _YES
            self._denies_before |= text in _NO
        elif text.isdecimal() and name.removeprefix("x").startswith("first"):
            return  # it is the number of a page, or of entries
        else:
            is_before = text in _NO
            self._denies_before |= text in _YES
        if is_before and kind is Kind.PREVIOUS and name.endswith(("cursor", "token", "key", "id")):
            self._cursor_before = self._cursor_before or place
        elif is_before:
            self._before = self._before or place

    def _read_flag(self, name: str, value: Any, place: str, *, means_more: bool) -> None:
        text = str(value).strip().lower()
        is_no = text in _NO
        is_yes = text in _YES or (means_more and not is_no and leads_on(value, 0))
        if not (is_yes or is_no):
            return
        if is_yes == means_more:
            self._more = self._more or place
        elif not re.fullmatch(VAGUE_END, name):
            self._denies_more = True

    def _read_links(self, links: list[tuple[str, str]]) -> None:
        """Read `Link` headers (RFC 8288): only numbers of pages, no target is requested."""
        targets = dict(reversed(links))  # of several with the same relation the first one counts
        if "next" in targets:
            page = page_of_link(targets["next"], self._url)
            if page == self._number + 1:
                self._next_page = page
            elif page is None or page > self._number:
                self._more = self._more or "the header Link"
        if before := targets.get("prev") or targets.get("previous"):
            target = Raw(msgspec.json.encode(before))
            self._read(Kind.PREVIOUS, "prev", "the header Link", target)
        if "last" in targets and (last := page_of_link(targets["last"], self._url)):
            self._add(Kind.LAST_PAGE, last)
        elif self._number > 1 and targets and "next" not in targets:
            self._add(Kind.LAST_PAGE, self._number)  # which seldom has a link to itself


def _first_byte(raw: Raw) -> bytes:
    return bytes(memoryview(raw)[:1])


def _is_text(raw: Raw) -> bool:
    """Return whether a value is a text, and neither empty nor a number nor a time zone."""
    text = bytes(memoryview(raw)[:32]).strip(b'" ')
    return _first_byte(raw) == b'"' and not _NUMBER_OR_ZONE.fullmatch(text)
