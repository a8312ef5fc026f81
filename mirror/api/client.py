"""API client: fetches one complete, verified list, or raises.

Facts about the API are from the vendor's public documentation. `mirror.api.completeness` verifies
that a list is complete.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import anyio
from anyio import to_thread
from xxhash import xxh3_128_hexdigest

from mirror.api.body import Redactor
from mirror.api.completeness import (
    Inconsistent,
    Reading,
    inconsistency_error,
    may_be_page,
    verify_only_page,
)
from mirror.api.entries import EntryScan
from mirror.api.envelope import Page, parse_page
from mirror.api.event_loop import run
from mirror.api.http import ApiResponse, HttpSession
from mirror.api.paging import Head, says_something
from mirror.api.prefetch import fetch_in_order
from mirror.api.rate_limit import Clock
from mirror.cancellation import CancellationToken
from mirror.config.settings import ApiSettings
from mirror.errors import ApiError, MirrorError, Stopped
from mirror.progress import Progress

LIST_PATH = "/phone-numbers/release-requests"
PER_PAGE = 100
"""Entries requested per page, the maximum that the API documents."""

MAX_CONSISTENCY_ATTEMPTS = 3

_TELLING_BYTES = 2**18
"""Two bodies that begin alike for so long, hundreds of entries, are the same list."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CachedList:
    """The list of an earlier complete fetch.

    Attributes:
        etag: its latest ETag, if any.
        digest: xxh3_128 of the bytes of all its responses, in hex; empty if this version of
            `mirror` could decode the same bytes otherwise.
        count: number of its entries.
    """

    etag: str | None
    digest: str
    count: int


@dataclass(frozen=True, slots=True)
class NotModified:
    """The list is the cached one, by its ETag or byte for byte.

    Attributes:
        etag: its latest ETag, if any.
    """

    etag: str | None


@dataclass(frozen=True, slots=True)
class FetchedList:
    """A complete list of release requests.

    Attributes:
        scan: its entries; an id may be repeated on its page, not on another one.
        digest: xxh3_128 of the bytes of all responses, in hex.
        etag: its ETag, if it is one response that is known to be the whole list, and has an ETag.
    """

    scan: EntryScan
    digest: str
    etag: str | None


class Client:
    """Fetches the list of release requests, once.

    Args:
        settings: base URL, token and limits.
        clock: monotonic clock and waits.
        progress: counts bytes and pages.
        cancellation: ends `fetch_list` at once, or prevents it.

    Raises:
        UsageError: the host cannot exist in DNS, or the proxy or the certificates that the
            environment variables name are unusable.
    """

    def __init__(
        self,
        settings: ApiSettings,
        clock: Clock | None = None,
        progress: Progress | None = None,
        cancellation: CancellationToken | None = None,
    ) -> None:
        self._progress = progress or Progress()
        self._cancellation = cancellation or CancellationToken()
        self._session = HttpSession(settings, clock or Clock(), self._progress)

    @property
    def pages(self) -> int:
        """Number of pages received so far, in all attempts."""
        return self._session.responses

    @property
    def received(self) -> int:
        """Bytes of those pages, decompressed."""
        return self._session.bytes_received

    def fetch_list(
        self,
        known: CachedList | None = None,
        new_scan: Callable[[], EntryScan] = EntryScan,
    ) -> FetchedList | NotModified:
        """Fetch the complete list.

        Args:
            known: the list of an earlier fetch, if any.
            new_scan: returns a scan that knows the requests that the list should hold; it is called
                in another thread, and only if the list may be another one.

        Raises:
            TokenRefused: the API does not accept the token.
            ApiUnavailable: the API is unreachable, or the list kept changing.
            ApiError: a response is unusable, or the list is inconsistent each time.
            Stopped: the fetch was cancelled.
        """
        self._new_scan = new_scan
        try:
            fetched = run(partial(self._fetch, known), self._cancellation)
        except MirrorError as error:
            if self._cancellation.is_set():  # then the error is not about the API
                raise Stopped from error
            raise
        if self._cancellation.is_set():
            raise Stopped
        return fetched

    async def _fetch(self, known: CachedList | None) -> FetchedList | NotModified:
        """Fetch the list, again if its pages are inconsistent."""
        readings: list[Inconsistent] = []
        async with self._session.fetching():
            for number in range(1, MAX_CONSISTENCY_ATTEMPTS + 1):
                self._progress.begin_reading()
                try:
                    news = readings[-1].news if readings else frozenset[int]()
                    return await self._fetch_once(known, news)
                except Inconsistent as error:
                    readings.append(error)
                    logger.debug("reading %d of %d: %s", number, MAX_CONSISTENCY_ATTEMPTS, error)
                    if number < MAX_CONSISTENCY_ATTEMPTS:
                        again = f"reading it again ({number + 1} of {MAX_CONSISTENCY_ATTEMPTS})"
                        self._progress.wait(self, f"the list was inconsistent, {again}")
            raise inconsistency_error(readings)

    async def _fetch_once(
        self, known: CachedList | None, news: frozenset[int]
    ) -> FetchedList | NotModified:
        """Fetch all pages once, and verify that together they are the list.

        Args:
            known: the list of an earlier fetch, if any.
            news: what only page 2 had in the reading before, if that was inconsistent.
        """
        first = await self._fetch_first_page(known)
        self._progress.resume(self)
        if isinstance(first, NotModified):
            return first
        page = first.parsed
        if page.pages is None and page.continuation.next_page:
            return await self._fetch_pages(first, known)
        if page.pages is not None and page.pages > 1:
            return await self._fetch_pages(first, known)
        return await self._fetch_only_page(first, known, news)

    async def _fetch_first_page(self, known: CachedList | None) -> ApiResponse[Page] | NotModified:
        """Fetch page 1, unless its ETag or its bytes show that the list is the cached one.

        Equal bytes are not decoded again. They are the whole list, as they were then: two responses
        are never one JSON text. Where the headers say something about paging, they are decoded; and
        a list of the requested page size has to be verified again, which needs its entries.
        """
        if known is not None and known.count == PER_PAGE:
            known = None
        cached = known.digest if known else None

        def parse(body: bytearray, redact: Redactor, head: Head) -> Page | None:
            if xxh3_128_hexdigest(body) == cached and not says_something(head):
                return None
            return _parse_page(1, body, redact, head)

        etag = known.etag if known else None
        response = await self._session.get_json(LIST_PATH, page_params(1), parse, etag)
        if response is None:
            return NotModified(etag)
        if response.parsed is None:
            return NotModified(response.etag)
        return ApiResponse(response.parsed, response.body, response.etag)

    async def _fetch_only_page(
        self, first: ApiResponse[Page], known: CachedList | None, news: frozenset[int]
    ) -> FetchedList | NotModified:
        """Return the list of one response; verify by page 2 that it is no page of more."""
        self._progress.expect_pages(1)
        digest, etag = xxh3_128_hexdigest(first.body), first.etag
        if known is not None and digest == known.digest and not first.parsed.states_length:
            reading, count = None, known.count
        else:
            reading = await self._read_only_page(first)
            count = reading.scan.count
        if may_be_page(first.parsed, count):
            self._progress.begin_reading()  # it may be the whole list again
            second = await self._fetch_second_page(first)
            if not verify_only_page(first.parsed, second, count, news):
                # The first page stays as it is when the second one begins to fill.
                etag, digest = None, xxh3_128_hexdigest(digest.encode())
        if known is not None and digest == known.digest:
            return NotModified(etag)
        if reading is None:
            reading = await self._read_only_page(first)
        return FetchedList(reading.scan, digest, etag)

    async def _fetch_second_page(self, first: ApiResponse[Page]) -> Page | None:
        """Fetch page 2; None if there is none.

        If it begins as a page 1 that has no number, it is page 1 again.
        """
        is_telling = first.parsed.paging is None and len(first.body) > _TELLING_BYTES
        start = bytes(first.body[:_TELLING_BYTES]) if is_telling else b""

        def parse(body: bytearray, redact: Redactor, head: Head) -> Page:
            return first.parsed if body == start else _parse_page(2, body, redact, head)

        response = await self._session.get_json(
            LIST_PATH, page_params(2), parse, may_be_absent=True, stop_at=start
        )
        return None if response is None else response.parsed

    async def _read_only_page(self, page: ApiResponse[Page]) -> Reading:
        reading = Reading(await self._begin_scan())
        reading.add(page.parsed, page.body)
        reading.verify()
        return reading

    async def _fetch_pages(
        self, first: ApiResponse[Page], known: CachedList | None
    ) -> FetchedList | NotModified:
        """Fetch the pages after the first one side by side; process them in order.

        If only each page says whether there is another one, they are fetched one by one.
        """
        reading, pages = Reading(await self._begin_scan()), first.parsed.pages

        def process(_number: int, page: ApiResponse[Page]) -> None:
            reading.add(page.parsed, page.body)

        if pages is not None:
            rate_limiter = self._session.rate_limiter
            rate_limiter.check_feasible(pages - 1)
            self._progress.expect_pages(pages)
            process(1, first)
            concurrency = concurrency_for_rate(rate_limiter.limit)
            await fetch_in_order(self._fetch_listed_page, range(2, pages + 1), concurrency, process)
        else:
            process(1, first)
            next_page = first.parsed.continuation.next_page
            while next_page:
                page = await self._fetch_listed_page(next_page)
                process(next_page, page)
                next_page = page.parsed.continuation.next_page
        reading.verify()
        if known is not None and reading.digest == known.digest:
            return NotModified(None)
        return FetchedList(reading.scan, reading.digest, None)

    async def _begin_scan(self) -> EntryScan:
        """Return a new scan; a read of the database that outlasts the fetch is left behind."""
        limiter = self._session.rate_limiter
        with anyio.move_on_after(limiter.remaining_time()):
            return await to_thread.run_sync(self._new_scan, abandon_on_cancel=True)
        raise limiter.deadline_error()

    async def _fetch_listed_page(self, number: int) -> ApiResponse[Page]:
        page = await self._session.get_json(
            LIST_PATH, page_params(number), partial(_parse_page, number)
        )
        assert page is not None, "without an ETag there is no 304"
        return page


def concurrency_for_rate(limit: int) -> int:
    """Return the number of parallel requests that uses up the rate at 2 seconds per response.

    Args:
        limit: requests allowed per minute.
    """
    return max(2, min(32, -(-limit // 30)))


def page_params(page: int) -> dict[str, int]:
    """Return the query of the request for a page of the list."""
    return {"page": page, "per_page": PER_PAGE}


def _parse_page(number: int, body: bytearray, redact: Redactor, head: Head) -> Page:
    """Parse a page, which must be the requested one."""
    page = parse_page(body, redact, head, number)
    received = page.paging.current_page if page.paging else None
    if received not in {None, number}:
        raise ApiError(
            f"the API returned page {received} when asked for page {number}, so the list cannot "
            "be verified",
            hint="report this to the API's operator",
        )
    return page
