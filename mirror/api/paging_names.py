"""Names of paging: what a member of a response or a header is about.

Names are compared without case and separators, so `total_pages`, `totalPages` and `X-Total-Pages`
are one. The rule is in docs/trust.md, "What says that there is more". Patterns that only
members need are text, which `re` compiles at first use: a list that has not changed needs none.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from functools import lru_cache

from msgspec import Raw


class Kind(Enum):
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


_PREFIX = "(?:x|wp|ms|api|odata|hydra|opensearch|pagination|paging|pager|list|collection)*"
_UNIT = "(?:items?|entries|records?|results?|rows?|elements?|objects?|documents?|docs|hits?)"
_REQUESTS = f"(?:{_UNIT}|(?:release)?requests?)"
_NUMBER = "(?:number|num|no|nr)"
_NAMES = {
    kind: re.compile(_PREFIX + f"(?:{names})")
    for kind, names in {
        Kind.CURRENT_PAGE: f"(?:current)?page{_NUMBER}?",
        Kind.LAST_PAGE: (
            f"(?:last|max|final)page{_NUMBER}?|total{_NUMBER}?(?:of)?pages?(?:count)?|pages"
            "|pages?(?:count|cnt|total)|(?:num(?:ber)?|nb)(?:of)?pages|countpages"
        ),
        Kind.PER_PAGE: f"{_UNIT}?perpage|page(?:size|limit|items)|limit|size",
        Kind.TOTAL: (
            f"(?:grand|overall)?total{_NUMBER}?(?:of)?{_REQUESTS}?(?:count|size|length)?"
            f"|{_REQUESTS}total|(?:full|all|overall)count|count(?:total|all)|numfound|nbhits"
            "|itotal(?:display)?records|recordsfiltered"
        ),
        Kind.COUNT: f"(?:{_UNIT}|releaserequests?|data)?count|num(?:ber)?(?:of)?{_UNIT}",
        Kind.REMAINING: (
            f"remaining(?:pages?|{_UNIT})(?:count)?|(?:pages?|{_UNIT})(?:remaining|left)"
        ),
        Kind.CURSOR: (
            "(?!(?:tokens?|markers|bookmarks)$)"
            "(?:next)?(?:page|end|after|scroll|continuation|continue|pagination|resume|resumption"
            "|forward)?(?:cursor|token|marker|bookmark)s?|(?:next)?(?:scroll|continuation)(?:id|key)?"
            "|continue(?:from|with|after)?|(?:next|start(?:ing)?|page|search)?after(?:id|key)?"
            "|lastevaluatedkey|nextkey|(?:exclusive)?startkey|cursormark|(?:page|paging)state"
        ),
        Kind.NEXT: (
            f"(?:link|page|url|cursor)?next(?:page|set|batch|chunk|{_UNIT}|index|url|uri|link|href"
            f"|path|id|offset|start|skip|from|query|params?|cursor|token|key|{_NUMBER}"
            "|max|since|starting|after|position|range|partition|iterator|forward|mark)*"
        ),
        Kind.HAS_MORE: (
            f"(?:has|have|is|are|thereis|thereare)?(?:any)?(?:more|next)(?:pages?|data|{_UNIT})?"
            "(?:available|exists?|link|incollection)?|(?:can)?(?:load|show|fetch)more"
            "|(?:load|show)?more(?:url|uri|link|href)|hasadditional(?:pages?|data|"
            f"{_UNIT})?|additionalpages|(?:is|results?)?truncated|(?:is)?(?:incomplete|partial)"
            "(?:results?)?"
        ),
        Kind.IS_LAST: (
            "(?:is)?(?:the)?(?:last|final|end)(?:page)?(?:reached)?|(?:is)?(?:done|complete|"
            "finished|exhausted|eof)|(?:reached|at)(?:the)?end|(?:all|fully)(?:loaded|fetched)"
            f"|endof(?:the)?(?:list|stream|data|pages?|collection|{_UNIT})|nomore(?:pages|data)?"
        ),
        Kind.HAS_PREVIOUS: (
            f"(?:has|have|thereis|thereare)(?:any)?(?:prev(?:ious)?|before|earlier)"
            f"(?:pages?|data|{_UNIT})?(?:available|exists?)?"
        ),
        Kind.PREVIOUS: (
            f"(?:link|page|url|cursor)?prev(?:ious)?(?:page|set|batch|chunk|{_UNIT}|index|url|uri"
            f"|link|href|path|id|offset|start|skip|from|query|params?|cursor|token|key|{_NUMBER})*"
        ),
        Kind.IS_FIRST: "(?:is|on|at)?(?:the)?first(?:page)?",
        Kind.OFFSET: (
            "(?:page|current|start)?(?:offset|skip(?:ped)?)|from|start"
            f"|(?:start|from|first|begin)(?:{_UNIT}|index|at|from|position)"
        ),
    }.items()
}
"""Names without case and separators; the first kind whose pattern matches the whole name counts."""

AMBIGUOUS = (
    "x?(?:api)?(?:pages?|limit|size|total|count|next|more|last|end|done|complete|finished|after"
    "|cursor|marker|bookmark|scroll|continue|partial|truncated|final|exhausted|eof"
    f"|prev(?:ious)?|first|(?:{_REQUESTS}|total)*(?:count|total)|total{_REQUESTS}"
    f"|{_NAMES[Kind.OFFSET].pattern})"
)
"""Names that say something about the list only beside it, or in an object about pages."""

PAGE_OBJECT = (
    ".*pag(?:e|in|y).*|.*(?:meta|metadata|links?|cursors?|nav|navigation|info|view|resultset|next)"
    "|(?:list|collection|(?:search)?results|hits|odata|opensearch)"
)
"""Names of objects about pages."""

ECHO = ".*(?:request|query|params?|parameters|filters?|args|arguments|input|criteria|options|echo)"
"""Names of objects that may repeat the request."""

LIMIT = _PREFIX + f"(?:limit|take|max(?:keys|{_UNIT}))"
"""Names of the most entries that a response has, where they stand beside the list."""

LAST_LINK = _PREFIX + "last(?:page)?(?:url|uri|link|href)?"
LINK_HEADER = re.compile("(?:x|page|pagination|paging)*links?")
BOTH_WAYS = _PREFIX + "(?:page)?cursors?"
"""Names of cursors that may be objects with the previous and the next one."""

NOT_AHEAD = "before.*|prev.*|self|current"
"""Members of such an object that are not about what follows."""

VAGUE_END = "(?:is)?(?:done|complete|finished)|(?:is)?(?:incomplete|partial)(?:results?)?"
"""Names that may be about the response as well; they do not prove that the list ends."""

_MAX_NAME = 40
WHOLE_NUMBERS = {
    Kind.CURRENT_PAGE,
    Kind.LAST_PAGE,
    Kind.PER_PAGE,
    Kind.TOTAL,
    Kind.COUNT,
    Kind.REMAINING,
}
NOT_ALWAYS_NUMBERS = {"page", "pages", "limit", "size"}
BEFORE = {Kind.PREVIOUS, Kind.HAS_PREVIOUS, Kind.IS_FIRST, Kind.OFFSET}
ECHOED = {Kind.CURRENT_PAGE, Kind.PER_PAGE, Kind.OFFSET}
"""What an object that repeats the request has of paging."""
RELATIONS = {"next": Kind.NEXT, "prev": Kind.PREVIOUS, "previous": Kind.PREVIOUS}
READ_ALONE = {*WHOLE_NUMBERS, *BEFORE, Kind.HAS_MORE}
_SAME_KIND = {
    Kind.CURSOR: Kind.NEXT,
    Kind.IS_LAST: Kind.HAS_MORE,
    Kind.HAS_PREVIOUS: Kind.PREVIOUS,
    Kind.IS_FIRST: Kind.PREVIOUS,
}
_NO_KIND_ALONE = {"limit", "size", "done", "complete", "finished", "partial"}
PLAIN_HEADERS = re.compile(
    "(?:x?api)?(?:limit|size|count|marker|partial|after|from|start)|x?(?:api)?(?:done|finished)"
)
"""Headers that may be about anything."""


@lru_cache(4096)
def compact_name(name: str) -> str:
    """Return a name without case and separators."""
    return re.sub("[^a-z0-9]", "", name.lower())


def bare_name(name: str) -> str:
    """Return a compact name without the prefixes that say only that it is of a response."""
    return name.removeprefix("x").removeprefix("api")


@lru_cache(4096)
def kind_of(name: str) -> Kind | None:
    """Return what a compact name states, if anything."""
    if len(name) > _MAX_NAME:
        return None
    return next((kind for kind, names in _NAMES.items() if names.fullmatch(name)), None)


def kinds_of_paging(members: dict[str, Raw]) -> set[Kind]:
    """Return the kinds of paging that members have, by their names and the types of their values.

    Two of them in an object cannot mean anything else, whatever its name is.
    """
    found = set()
    for name, raw in members.items():
        compact = compact_name(name)
        kind = kind_of(compact)
        if kind in {None, Kind.COUNT, Kind.REMAINING} or bare_name(compact) in _NO_KIND_ALONE:
            continue
        text = bytes(memoryview(raw)[:8])
        if kind in {*WHOLE_NUMBERS, Kind.OFFSET}:
            fits = text == b"null" or text.lstrip(b'"')[:1].isdigit()
            fits = fits or (kind is Kind.TOTAL and text[:1] == b"{")
        elif kind in {Kind.IS_LAST, Kind.IS_FIRST}:
            fits = text.strip(b'"') in {b"true", b"false"}
        else:
            fits = True
        if fits:
            found.add(_SAME_KIND.get(kind, kind))
    return found
