"""The API client: one list, read whole and proven whole, or an error.

The facts about the API are from the vendor's public documentation. What a list must show to be
believed stands in `_read_once`.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from msgspec import Raw

from mirror import payload
from mirror.errors import ApiError, ApiUnavailable
from mirror.payload import Page
from mirror.settings import ApiSettings
from mirror.transport import Answer, Transport

LIST_PATH = "/phone-numbers/release-requests"
PER_PAGE = 100
"""Entries asked for in a page, the most that the API documents."""

READINGS = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of release requests that was read whole.

    Attributes:
        items: the entries, not yet decoded.
        repeated: the ids that occur more than once; only a list that came unpaged may have any.
        sha256: of the bytes of all answers, in hex.
        etag: of the one answer the list came in, if it had one.
    """

    items: list[Raw]
    repeated: frozenset[str]
    sha256: str
    etag: str | None


class _Moved(Exception):
    """The list changed while it was being read."""


class Client:
    """Reads the list of release requests; use it as a context manager, for one pull.

    Args:
        settings: where the API is, and what may be spent on a pull.
        sleep: waits for a number of seconds.

    Raises:
        UsageError: the proxy or the certificates that the surroundings name cannot be used.
    """

    def __init__(self, settings: ApiSettings, *, sleep: Callable[[float], None] = time.sleep):
        self._transport = Transport(settings, sleep=sleep)

    def __enter__(self) -> Self:
        self._transport.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._transport.__exit__(kind, error, traceback)

    @property
    def pages(self) -> int:
        """Answers of the list that have come so far."""
        return self._transport.answers

    @property
    def received(self) -> int:
        """Bytes of them, decompressed."""
        return self._transport.received

    def read_list(self, etag: str | None = None) -> Listing | None:
        """Read the whole list.

        Args:
            etag: of the list as it is known already.

        Returns:
            The list, or None if the API says that it is still the one with that `etag`.

        Raises:
            TokenRefused: the API does not accept the token.
            ApiUnavailable: the API is out of reach, or the list never held still.
            ApiError: the API answered something that cannot be used.
        """
        with self._transport.pull():
            return self._read_until_still(etag)

    def _read_until_still(self, etag: str | None) -> Listing | None:
        """Read the list, again if it moved meanwhile."""
        moved = _Moved()
        for reading in range(1, READINGS + 1):
            try:
                return self._read_once(etag)
            except _Moved as error:
                moved = error
                logger.info("reading %d of %d: %s", reading, READINGS, error)
        raise ApiUnavailable(
            f"the list of release requests kept changing while it was read: {READINGS} readings, "
            f"and in the last one {moved}; try again later"
        )

    def _read_once(self, etag: str | None) -> Listing | None:
        """Read all pages once, and prove that together they are the list."""
        self._transport.begin_reading()
        first = self._ask(1, etag)
        if first is None:
            return None
        digest = hashlib.sha256(first.body)
        items, paging = list(first.said.items), first.said.paging
        if paging is None:
            if len(items) == PER_PAGE:
                self._prove_unpaged(items)
            survey = payload.Survey()
            survey.add(items)
            return Listing(items, survey.repeated, digest.hexdigest(), first.etag)
        if paging.pages is None:
            raise ApiError(
                "the list comes in pages but does not say how many, so it cannot be proven whole; "
                "report this to the API's operator"
            )
        self._transport.expect(paging.pages - 1)
        sizes = [len(items)]
        for number in range(2, paging.pages + 1):
            page = self._page(number)
            _prove_same_list(page.said, number, paging)
            digest.update(page.body)
            items += page.said.items
            sizes.append(len(page.said.items))
        survey = payload.Survey()
        survey.add(items)
        _prove(survey, sizes, paging.total)
        etag_of_all = first.etag if paging.pages == 1 else None
        return Listing(items, survey.repeated, digest.hexdigest(), etag_of_all)

    def _prove_unpaged(self, items: list[Raw]) -> None:
        """Make sure that a list that may be cut off at a page's length is not page 1 of more.

        An API that does not page ignores which page it is asked for.
        """
        if self._page(2).said.items != items:
            raise _Moved(f"it has just the {PER_PAGE} entries of a page, and page 2 holds others")

    def _page(self, number: int) -> Answer[Page]:
        page = self._ask(number, None)
        assert page is not None, "without an ETag there is no 304"
        return page

    def _ask(self, number: int, etag: str | None) -> Answer[Page] | None:
        """Ask for a page; None if it is still the one with the `etag`."""
        params = {"page": number, "per_page": PER_PAGE}
        answer = self._transport.ask(LIST_PATH, params, payload.read_page, etag)
        paging = answer.said.paging if answer else None
        given = paging.current_page if paging else None
        if given not in {None, number}:
            raise ApiError(
                f"the API gave page {given} when asked for page {number}, so the list cannot be "
                "proven whole; report this to the API's operator"
            )
        return answer


def _prove_same_list(page: Page, number: int, first: payload.Paging) -> None:
    """Check that a later page belongs to the list of the first one."""
    if page.paging is None or (page.paging.pages, page.paging.total) != (first.pages, first.total):
        raise _Moved(f"page {number} belongs to a list of another length than page 1")


def _prove(survey: payload.Survey, sizes: list[int], total: int | None) -> None:
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
