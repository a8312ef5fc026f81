"""API client: fetches one complete, verified list, or raises.

Facts about the API are from the vendor's public documentation. `_fetch_once` and `_fetch_pages`
verify that a list is complete, by the rules in docs/trust.md, "When a list is accepted".
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice

import anyio
from anyio import to_thread
from msgspec import Raw
from xxhash import xxh3_128, xxh3_128_hexdigest

from mirror.api.body import Redactor
from mirror.api.entries import EntryScan, split
from mirror.api.envelope import Page, Paging, parse_page
from mirror.api.event_loop import run
from mirror.api.http import ApiResponse, HttpSession
from mirror.api.prefetch import fetch_in_order
from mirror.api.rate_limit import Clock
from mirror.cancellation import CancellationToken
from mirror.config.settings import ApiSettings
from mirror.errors import ApiError, ApiUnavailable, MirrorError, Stopped
from mirror.progress import Progress

LIST_PATH = "/phone-numbers/release-requests"
PER_PAGE = 100
"""Entries requested per page, the maximum that the API documents."""

MAX_CONSISTENCY_ATTEMPTS = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CachedList:
    """The list of an earlier complete fetch.

    Attributes:
        etag: its latest ETag, if any.
        digest: xxh3_128 of the bytes of all its responses, in hex.
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
        scan: its entries; only an unpaged list may have repeated ids.
        digest: xxh3_128 of the bytes of all responses, in hex.
        etag: its ETag, if it has one page and an ETag.
    """

    scan: EntryScan
    digest: str
    etag: str | None


class _ListChanged(Exception):
    """The list changed while it was fetched."""


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
            known: the list of an earlier fetch; None if this version of `mirror` could decode the
                same bytes otherwise.
            new_scan: returns a scan that knows the requests that the list should hold; it is called
                in another thread, and only if the list may be another one.

        Raises:
            TokenRefused: the API does not accept the token.
            ApiUnavailable: the API is unreachable, or the list kept changing.
            ApiError: a response is unusable.
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
        """Fetch the list, again if it changed meanwhile."""
        changed = _ListChanged()
        async with self._session.fetching():
            for number in range(1, MAX_CONSISTENCY_ATTEMPTS + 1):
                self._progress.begin_reading()
                try:
                    return await self._fetch_once(known)
                except _ListChanged as error:
                    changed = error
                    logger.debug("reading %d of %d: %s", number, MAX_CONSISTENCY_ATTEMPTS, error)
            raise ApiUnavailable(
                "the list of release requests kept changing while it was read: "
                f"{MAX_CONSISTENCY_ATTEMPTS} attempts, in the last one {changed}",
                hint="try again later",
            )

    async def _fetch_once(self, known: CachedList | None) -> FetchedList | NotModified:
        """Fetch all pages once, and verify that together they are the list."""
        first = await self._fetch_first_page(known)
        if isinstance(first, NotModified):
            return first
        data, paging = first.parsed.data, first.parsed.paging
        if paging is not None and paging.pages is None:
            raise ApiError(
                "the list has pages but does not state how many, so it cannot be verified",
                hint="report this to the API's operator",
            )
        if paging is not None and paging.pages != 1:
            return await self._fetch_pages(first, known)
        if paging is None:
            await self._verify_not_truncated(data)
        self._progress.expect_pages(1)
        digest = xxh3_128_hexdigest(first.body)
        if known is not None and digest == known.digest:  # a list as long as a page
            return NotModified(first.etag)
        scan = await self._begin_scan()
        scan.add(data)
        if paging is not None:
            _verify_complete(scan, [scan.count], paging.total)
        return FetchedList(scan, digest, first.etag)

    async def _fetch_first_page(self, known: CachedList | None) -> ApiResponse[Page] | NotModified:
        """Fetch page 1, unless its ETag or its bytes show that the list is the cached one.

        Equal bytes are not decoded again. They are the whole list, as they were then: two responses
        are never one JSON text. A list as long as a page is the exception: whether it ends there
        has to be verified again, and that needs its entries.
        """
        if known is not None and known.count == PER_PAGE:
            known = None
        cached = known.digest if known else None

        def parse(body: bytearray, redact: Redactor) -> Page | None:
            return None if xxh3_128_hexdigest(body) == cached else _parse_page(1, body, redact)

        etag = known.etag if known else None
        response = await self._session.get_json(LIST_PATH, _params(1), parse, etag)
        if response is None:
            return NotModified(etag)
        if response.parsed is None:
            return NotModified(response.etag)
        return ApiResponse(response.parsed, response.body, response.etag)

    async def _fetch_pages(
        self, first: ApiResponse[Page], known: CachedList | None
    ) -> FetchedList | NotModified:
        """Fetch the pages after the first one side by side; process them in order."""
        paging = first.parsed.paging
        assert paging is not None, "the caller checks it"
        assert paging.pages is not None, "the caller checks it"
        rate_limiter = self._session.rate_limiter
        rate_limiter.check_feasible(paging.pages - 1)
        self._progress.expect_pages(paging.pages)
        scan, digest = await self._begin_scan(), xxh3_128()
        sizes: list[int] = []

        def process(number: int, page: ApiResponse[Page]) -> None:
            _verify_same_list(page.parsed, number, paging)
            digest.update(page.body)
            sizes.append(scan.add(page.parsed.data))

        process(1, first)
        numbers = range(2, paging.pages + 1)
        concurrency = concurrency_for_rate(rate_limiter.limit)
        await fetch_in_order(self._fetch_page, numbers, concurrency, process)
        _verify_complete(scan, sizes, paging.total)
        if known is not None and digest.hexdigest() == known.digest:
            return NotModified(None)
        return FetchedList(scan, digest.hexdigest(), None)

    async def _begin_scan(self) -> EntryScan:
        """Return a new scan; a read of the database that outlasts the fetch is left behind."""
        limiter = self._session.rate_limiter
        with anyio.move_on_after(limiter.remaining_time()):
            return await to_thread.run_sync(self._new_scan, abandon_on_cancel=True)
        raise limiter.deadline_error()

    async def _verify_not_truncated(self, data: Raw) -> None:
        """Verify that an unpaged list as long as a page is not page 1 of more.

        An API without paging ignores the page number, so page 2 is the same list.
        """
        entries = _first_entries(data, PER_PAGE + 1)
        if len(entries) != PER_PAGE:
            return
        page = await self._fetch_page(2)
        if _first_entries(page.parsed.data, PER_PAGE + 1) != entries:
            raise _ListChanged(
                f"it has exactly the {PER_PAGE} entries of a page, and page 2 has others"
            )

    async def _fetch_page(self, number: int) -> ApiResponse[Page]:
        parse = partial(_parse_page, number)
        page = await self._session.get_json(LIST_PATH, _params(number), parse)
        assert page is not None, "without an ETag there is no 304"
        return page


def concurrency_for_rate(limit: int) -> int:
    """Return the number of parallel requests that uses up the rate at 2 seconds per response.

    Args:
        limit: requests allowed per minute.
    """
    return max(2, min(32, -(-limit // 30)))


def _first_entries(data: Raw, count: int) -> list[Raw]:
    return list(islice((entry for _, entries in split(data) for entry in entries), count))


def _params(page: int) -> dict[str, int]:
    return {"page": page, "per_page": PER_PAGE}


def _parse_page(number: int, body: bytearray, redact: Redactor) -> Page:
    """Parse a page, which must be the requested one."""
    page = parse_page(body, redact)
    received = page.paging.current_page if page.paging else None
    if received not in {None, number}:
        raise ApiError(
            f"the API returned page {received} when asked for page {number}, so the list cannot "
            "be verified",
            hint="report this to the API's operator",
        )
    return page


def _verify_same_list(page: Page, number: int, first: Paging) -> None:
    """Verify that a later page belongs to the list of the first one."""
    if page.paging is None or (page.paging.pages, page.paging.total) != (first.pages, first.total):
        raise _ListChanged(f"page {number} states another length of the list than page 1")


def _verify_complete(scan: EntryScan, sizes: list[int], total: int | None) -> None:
    """Verify that the pages hold each request once, and all of them.

    Without a total, each page but the last must be as long as the first one, and none empty.

    Args:
        scan: of all pages.
        sizes: number of entries of each page.
        total: number of entries that the API states, if it does.
    """
    if scan.repetitions:
        raise _ListChanged(f"{scan.repetitions} requests were on more than one page")
    if total is not None and scan.count != total:
        raise _ListChanged(f"{scan.count} requests were received, {total} were announced")
    if total is None and len(sizes) > 1:
        for number, size in enumerate(sizes, start=1):
            is_last = number == len(sizes)
            if not size or size > sizes[0] or (size < sizes[0] and not is_last):
                raise _ListChanged(
                    f"page {number} of {len(sizes)} has {size} entries, not {sizes[0]}"
                )
