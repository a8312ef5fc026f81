"""The API client: one list, read whole and proven whole, or an error.

The facts about the API are from the vendor's public documentation. What a list must show to be
believed stands in `_read_once` and `_read_pages`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from msgspec import Raw

from mirror.api.envelope import Page, Paging, Redactor, parse_page
from mirror.api.http import ApiResponse, Body, FetchState, HttpSession
from mirror.api.prefetch import map_ordered
from mirror.api.rate_limit import Cancelled, Clock
from mirror.api.records import IdIndex
from mirror.cancellation import CancellationToken
from mirror.config.settings import ApiSettings
from mirror.errors import ApiError, ApiUnavailable, MirrorError, Stopped
from mirror.progress import Progress

if TYPE_CHECKING:
    from mirror.api.page_store import PageStore

LIST_PATH = "/phone-numbers/release-requests"
PER_PAGE = 100
"""Entries asked for in a page, the most that the API documents."""

MAX_CONSISTENCY_ATTEMPTS = 3

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CachedList:
    """The list as it was read whole before.

    Attributes:
        etag: the last one it came with, if any.
        sha256: of the bytes of all answers, in hex.
        count: number of its entries.
    """

    etag: str | None
    sha256: str
    count: int


@dataclass(frozen=True, slots=True)
class NotModified:
    """The list is the one that is known, byte for byte or by its ETag.

    Attributes:
        etag: the one to remember from now on, if it had one.
    """

    etag: str | None


@dataclass(frozen=True, slots=True)
class FetchedList:
    """A list of release requests that was read whole.

    Attributes:
        count: number of its entries.
        entries: the entries, not yet decoded. They can be iterated more than once, while the client
            that read them is open; those of a list in pages are read from a temporary file.
        repeated: the ids that occur more than once; only a list that came unpaged may have any.
        sha256: of the bytes of all answers, in hex.
        etag: of the one answer the list came in, if it had one.
    """

    count: int
    entries: Iterable[Raw]
    repeated: frozenset[str]
    sha256: str
    etag: str | None


class _Moved(Exception):
    """The list changed while it was being read."""


class Client:
    """Reads the list of release requests; use it as a context manager, for one pull.

    Args:
        settings: where the API is, and what may be spent on a pull.
        clock: tells the time, and waits.
        progress: where bytes and pages are counted.

    Raises:
        UsageError: the proxy or the certificates that the surroundings name cannot be used.
    """

    def __init__(
        self,
        settings: ApiSettings,
        clock: Clock | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._progress = progress or Progress()
        self._transport = HttpSession(settings, clock or Clock(), self._progress)
        self._stopping = CancellationToken()
        self._spool: PageStore | None = None

    def __enter__(self) -> Self:
        self._transport.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._spool is not None:
            self._spool.close()
        self._transport.__exit__(kind, error, traceback)

    @property
    def pages(self) -> int:
        """Answers of the list that have come so far."""
        return self._transport.answers

    @property
    def received(self) -> int:
        """Bytes of them, decompressed."""
        return self._transport.received

    def fetch_list(self, known: CachedList | None = None) -> FetchedList | NotModified:
        """Read the whole list.

        Args:
            known: the list as it is known already, if the same bytes would be understood the same
                way again.

        Returns:
            The list, or that it is the known one.

        Raises:
            TokenRefused: the API does not accept the token.
            ApiUnavailable: the API is out of reach, or the list never held still.
            ApiError: the API answered something that cannot be used.
            DiskUnavailable: its pages cannot be kept.
            Stopped: `cancel` was called.
        """
        with self._transport.pull():
            try:
                found = self._read_until_still(known)
            except (Cancelled, MirrorError) as error:
                if self._stopping.is_set():  # then it tells nothing about the API
                    raise Stopped from error
                raise
            if self._stopping.is_set():
                raise Stopped
            return found

    def cancel(self) -> None:
        """End `fetch_list` at once, wherever it is; any thread may call this, at any time.

        If it has not begun it will not. Where a connection is being made, it takes a second.
        """
        self._stopping.set()

    def _read_until_still(self, known: CachedList | None) -> FetchedList | NotModified:
        """Read the list, again if it moved meanwhile."""
        moved = _Moved()
        for number in range(1, MAX_CONSISTENCY_ATTEMPTS + 1):
            self._progress.begin_reading()
            try:
                return self._read_once(FetchState(), known)
            except _Moved as error:
                moved = error
                logger.debug("reading %d of %d: %s", number, MAX_CONSISTENCY_ATTEMPTS, error)
        raise ApiUnavailable(
            "the list of release requests kept changing while it was read: "
            f"{MAX_CONSISTENCY_ATTEMPTS} readings, and in the last one {moved}",
            hint="try again later",
        )

    def _read_once(
        self, reading: FetchState, known: CachedList | None
    ) -> FetchedList | NotModified:
        """Read all pages once, and prove that together they are the list."""
        first = self._first(reading, known)
        if first is None:
            assert known is not None, "only a known ETag can be answered by 304"
            return NotModified(known.etag)
        if first.said is None:
            return NotModified(first.etag)
        items, paging = first.said.entries, first.said.paging
        if paging is not None and paging.pages is None:
            raise ApiError(
                "the list comes in pages but does not say how many, so it cannot be proven whole",
                hint="report this to the API's operator",
            )
        if paging is not None and paging.pages != 1:
            return self._read_pages(reading, first, known)
        if paging is None and len(items) == PER_PAGE:
            self._prove_unpaged(reading, items)
        self._progress.expect_pages(1)
        sha256 = _sha256(first.body).hexdigest()
        if known is not None and sha256 == known.sha256:
            return NotModified(first.etag)
        survey = IdIndex()
        survey.add(items)
        if paging is not None:
            _prove(survey, [len(items)], paging.total)
        return FetchedList(len(items), items, survey.repeated, sha256, first.etag)

    def _first(
        self, reading: FetchState, known: CachedList | None
    ) -> ApiResponse[Page | None] | None:
        """Ask for page 1; None if the API says that it is still the known one.

        What was said is None where the bytes are those of the known list, which are not decoded
        once more. It came in one answer then too, as no two are one JSON text. But if it is as long
        as a page, whether it ends there has to be proven again.
        """
        # Of a list as long as a page the entries are needed for the proof.
        same = known.sha256 if known is not None and known.count != PER_PAGE else None

        def read(body: Body, hide: Redactor) -> Page | None:
            return None if _sha256(body).hexdigest() == same else _read(1, body, hide)

        etag = known.etag if known else None
        return self._alone(
            reading,
            lambda: self._transport.get_json(
                reading, LIST_PATH, _params(1), read, etag, hashed=True
            ),
        )

    def _read_pages(
        self, reading: FetchState, first: ApiResponse[Page | None], known: CachedList | None
    ) -> FetchedList | NotModified:
        """Read the pages after the first one side by side, but look at them in their order."""
        assert first.said is not None, "the pages of a known list are not known before the last"
        assert first.said.paging is not None, "without paging there are no pages"
        paging = first.said.paging
        assert paging.pages is not None, "how many there are was looked at"
        budget = self._transport.budget
        budget.expect(paging.pages - 1)
        self._progress.expect_pages(paging.pages)
        spool, survey, digest = self._empty_spool(), IdIndex(), _sha256(first.body)
        spool.add(first.body.content)
        survey.add(first.said.entries)
        sizes = [len(first.said.entries)]
        pages = map_ordered(
            partial(self._page, reading),
            range(2, paging.pages + 1),
            concurrency_for_rate(budget.limit),
            partial(self._transport.end, reading),
            self._stopping,
        )
        with closing(pages):
            for number, page in enumerate(pages, start=2):
                _prove_same_list(page.said, number, paging)
                digest.update(page.body.content)
                spool.add(page.body.content)
                survey.add(page.said.entries)
                sizes.append(len(page.said.entries))
        _prove(survey, sizes, paging.total)
        sha256 = digest.hexdigest()
        if known is not None and sha256 == known.sha256:
            return NotModified(None)
        from mirror.api.page_store import StoredEntries

        items = StoredEntries(spool, lambda body: parse_page(body).entries)
        return FetchedList(sum(sizes), items, survey.repeated, sha256, None)

    def _empty_spool(self) -> PageStore:
        """Return the place for pages, which only a list of several needs."""
        from mirror.api.page_store import PageStore

        if self._spool is None:
            self._spool = PageStore()
        self._spool.clear()
        return self._spool

    def _prove_unpaged(self, reading: FetchState, items: list[Raw]) -> None:
        """Make sure that a list that may be cut off at a page's length is not page 1 of more.

        An API that does not page ignores which page it is asked for.
        """
        page = self._alone(reading, lambda: self._page(reading, 2))
        if page.said.entries != items:
            raise _Moved(f"it has just the {PER_PAGE} entries of a page, and page 2 holds others")

    def _alone(self, reading: FetchState, ask: Callable[[], T]) -> T:
        """Ask one question, in a thread that can be left alone.

        Nobody can end a look-up of a host's name, or the making of a connection.
        """
        end = partial(self._transport.end, reading)
        (answer,) = map_ordered(lambda _: ask(), range(1), 1, end, self._stopping)
        return answer

    def _page(self, reading: FetchState, number: int) -> ApiResponse[Page]:
        """Ask for a page."""
        page = self._transport.get_json(reading, LIST_PATH, _params(number), partial(_read, number))
        assert page is not None, "without an ETag there is no 304"
        return page


def concurrency_for_rate(limit: int) -> int:
    """Return how many pages to ask for at once: enough for the rate if an answer takes 2 seconds.

    Args:
        limit: requests allowed in a minute.
    """
    return max(2, min(32, -(-limit // 30)))


def _params(number: int) -> dict[str, int]:
    return {"page": number, "per_page": PER_PAGE}


def _sha256(body: Body) -> hashlib._Hash:
    """Return the SHA-256 of a body that was asked for with it; it may be added to."""
    assert body.sha256 is not None, "it was asked for"
    return body.sha256.copy()


def _read(number: int, body: Body, hide: Redactor) -> Page:
    """Read a page, which must be the one that was asked for."""
    page = parse_page(body.content, hide)
    given = page.paging.current_page if page.paging else None
    if given not in {None, number}:
        raise ApiError(
            f"the API gave page {given} when asked for page {number}, so the list cannot be "
            "proven whole",
            hint="report this to the API's operator",
        )
    return page


def _prove_same_list(page: Page, number: int, first: Paging) -> None:
    """Check that a later page belongs to the list of the first one."""
    if page.paging is None or (page.paging.pages, page.paging.total) != (first.pages, first.total):
        raise _Moved(f"page {number} belongs to a list of another length than page 1")


def _prove(survey: IdIndex, sizes: list[int], total: int | None) -> None:
    """Check that pages of some sizes hold each request once, and all of them.

    Without a total every page but the last must be as full as the first one, and none may be empty.
    """
    if survey.repeated:
        raise _Moved(f"{len(survey.repeated)} requests were on more than one page")
    if total is not None and survey.distinct != total:
        raise _Moved(f"{sum(sizes)} requests came where {total} were announced")
    if total is None and len(sizes) > 1:
        for number, size in enumerate(sizes, start=1):
            may_be_short = number == len(sizes)
            if not size or size > sizes[0] or (size < sizes[0] and not may_be_short):
                raise _Moved(f"page {number} of {len(sizes)} has {size} entries, not {sizes[0]}")
