"""Verifies that the pages that were read are together the list.

The rules are in docs/trust.md, "When a list is accepted".
"""

from __future__ import annotations

from collections.abc import Sequence

from xxhash import xxh3_128, xxh3_128_digest

from mirror.api.entries import EntryScan
from mirror.api.envelope import Page
from mirror.errors import ApiError, ApiUnavailable, MirrorError

_SAME_SHARE = 0.9
"""Of a list that changes meanwhile, page 1 and page 2 have at least this share in common."""

UNKNOWN_PAGING = (
    "how this API pages is not known, so the list cannot be read; ask its operator to state "
    "`current_page`, `last_page`, `per_page` and `total`"
)
"""A hint."""


_REPORT = "report this to the API's operator"


class Inconsistent(Exception):
    """The pages of a reading are not a list.

    Args:
        message: what is wrong.
        order: digest of the ids that were read, in their order.
        hint: what to do about it, if it is so in each reading.
        news: ids (`EntryScan.ids`) that only page 2 has of a list that states no paging.
    """

    def __init__(
        self,
        message: str,
        order: bytes,
        hint: str = _REPORT,
        news: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__(message)
        self.order = order
        self.hint = hint
        self.news = news


class Reading:
    """One reading of the list, page by page.

    Args:
        scan: goes through the entries.

    Attributes:
        scan: goes through the entries.
        first: the first page.
    """

    first: Page

    def __init__(self, scan: EntryScan) -> None:
        self.scan = scan
        self._digest = xxh3_128()
        self._sizes: list[int] = []

    @property
    def digest(self) -> str:
        """xxh3_128 of the bytes of all responses, in hex."""
        return self._digest.hexdigest()

    def add(self, page: Page, body: bytes | bytearray) -> None:
        """Add the next page, which has to belong to the list of the first one.

        Raises:
            Inconsistent: it does not.
        """
        number = len(self._sizes) + 1
        if number == 1:
            self.first = page
        elif self._ends_without_link(page, number):
            pass
        elif self.first.pages not in {None, page.pages} or _total(page) != _total(self.first):
            raise self._inconsistent(
                f"page {number} states another length of the list than page 1: {_length(page)}, "
                f"not {_length(self.first)}"
            )
        self._digest.update(body)
        self._sizes.append(self.scan.add(page.data))
        if page.continuation.next_page and (self.scan.overlaps or not self._sizes[-1]):
            self.verify()  # the last page is not known, and might never come

    def _ends_without_link(self, page: Page, number: int) -> bool:
        """Return whether this is the last page by the links of page 1, and has no paging."""
        is_linked = self.first.continuation.next_page is not None
        return is_linked and page.paging is None and number == self.first.pages

    def verify(self) -> None:
        """Verify that the pages hold each request once, and all of them.

        An entry that is repeated on its page, and one without a readable id, count towards the
        total or not. Without a total, each page but the last must be as long as the first one, and
        none empty.

        Raises:
            Inconsistent: they do not.
        """
        scan, sizes = self.scan, self._sizes
        total, count = _total(self.first), f"{scan.count - scan.repetitions} requests were received"
        announced = "" if total is None else f"; {count}, {total} were announced"
        if scan.has_equal_pages:
            raise self._inconsistent(
                "page 2 has the same requests as page 1, so the API ignores the page number",
                hint=UNKNOWN_PAGING,
            )
        if scan.overlap is not None:
            request_id, earlier, later = scan.overlap
            others = f", and {scan.overlaps - 1} more are repeated" if scan.overlaps > 1 else ""
            raise self._inconsistent(
                f"the request {request_id!r} is on page {earlier} and on page {later}{others}"
                f"{announced}",
                hint="the order of the list is ambiguous, or it has requests twice: ask the API's "
                "operator to sort it by a unique field too, such as the id",
            )
        if total is not None and total not in {scan.count, scan.count - scan.repetitions}:
            raise self._inconsistent(f"{count}, {total} were announced")
        if scan.count < self.first.continuation.at_least:
            count = f"{scan.count} requests were received"
            raise self._inconsistent(f"{count}, {self.first.continuation.at_least} were announced")
        if total is None and len(sizes) > 1:
            for number, size in enumerate(sizes, start=1):
                is_last = number == len(sizes)
                if not size or size > sizes[0] or (size < sizes[0] and not is_last):
                    raise self._inconsistent(
                        f"page {number} of {len(sizes)} has {size} entries, not {sizes[0]}"
                    )

    def _inconsistent(self, message: str, hint: str = _REPORT) -> Inconsistent:
        return Inconsistent(message, self.scan.order(), hint)


def _total(page: Page) -> int | None:
    return page.paging.total if page.paging else None


def _length(page: Page) -> str:
    """Return the stated length of the list, in words."""
    total = _total(page)
    return f"{page.pages or 'no number of'} pages and {'no' if total is None else total} requests"


def may_be_page(page: Page, count: int) -> bool:
    """Return whether a response may be a page of a longer list, as it does not say that it ends.

    Args:
        page: the response.
        count: number of its entries.
    """
    return page.pages is None and not page.continuation.ends and count > 0


def verify_only_page(
    first: Page, second: Page | None, count: int, expected: frozenset[int] = frozenset()
) -> bool:
    """Verify that a response that states no number of pages is the whole list, by its page 2.

    An API without paging ignores the page number, so page 2 is the same list, or what has become of
    it since: then page 1 of a later reading has what only page 2 had. One with paging has nothing
    there.

    Args:
        first: the response.
        second: page 2; None if the API says that there is none.
        count: number of entries of the response.
        expected: ids that only page 2 had in the reading before, if any.

    Returns:
        Whether the API ignores the page number.

    Raises:
        Inconsistent: page 2 has other requests, or announces more than page 1 has; or it is the
            same, and page 1 is as long as a limit that it states.
    """
    if second is None:
        return False
    unstated = "no paging" if first.paging is None else "no number of pages"
    announced = max(second.continuation.at_least, _total(second) or 0)
    is_same = xxh3_128_digest(first.data) == xxh3_128_digest(second.data)
    if is_same and announced <= first.continuation.at_least and (second.pages or 1) <= 1:
        _require_below_limit(first, count)
        return True
    scans = EntryScan(), EntryScan()
    for scan, page in zip(scans, (first, second), strict=True):
        scan.add(page.data)
    if announced > count or (second.pages or 1) > 2:
        raise Inconsistent(
            f"page 1 states {unstated} and has {count} entries, but page 2 announces more: "
            f"{max(announced, count)} requests on {second.pages or 'unknown'} pages",
            scans[0].order() + scans[1].order(),
            hint=UNKNOWN_PAGING,
        )
    if scans[1].count == 0:
        return False
    own, others = (set(scan.ids()) for scan in scans)
    news = frozenset(others - own)
    is_similar = len(own & others) >= _SAME_SHARE * max(len(own), len(others))
    if is_similar and (not news or (expected and expected <= own)):
        _require_below_limit(first, count)
        return True
    raise Inconsistent(
        f"it states {unstated}, but page 2 has others than the {count} entries of page 1",
        scans[0].order() + scans[1].order(),
        hint=UNKNOWN_PAGING,
        news=news,
    )


def _require_below_limit(page: Page, count: int) -> None:
    """Refuse a response of an API that ignores the page number, if a limit may have cut it off."""
    if count in page.continuation.limits or (page.paging and count == page.paging.per_page):
        scan = EntryScan()
        scan.add(page.data)
        raise Inconsistent(
            f"it has as many entries as the limit that it states, {count}, and the API ignores the "
            "page number, so more may follow",
            scan.order(),
            hint=UNKNOWN_PAGING,
        )


def inconsistency_error(readings: Sequence[Inconsistent]) -> MirrorError:
    """Return the error for a list of which each reading was inconsistent.

    If all readings have the same fault and the same ids, the list did not change while it was read:
    it is wrong.
    """
    last = readings[-1]
    if len({(str(reading), reading.order) for reading in readings}) == 1:
        return ApiError(
            f"the list of release requests is wrong, in each of {len(readings)} readings alike: "
            f"{last}",
            hint=last.hint,
        )
    return ApiUnavailable(
        "the list of release requests kept changing while it was read: "
        f"{len(readings)} attempts, in the last one {last}",
        hint="try again later",
    )
