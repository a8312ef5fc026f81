"""Goes through the entries of a list once, and keeps those that the mirror does not know yet."""

from __future__ import annotations

import re
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, filterfalse, islice, repeat

import msgspec
import xxhash
from msgspec import Raw

from mirror.api.raw_json import decode_fields
from mirror.api.records import (
    InvalidRecord,
    Record,
    decode_entries,
    merge_duplicates,
    request_ids,
    split_block,
)
from mirror.version import __version__

_BLOCK = 1 << 19
"""Bytes of JSON that are processed at once."""

_SORTED_AT_ONCE = 1_500
"""Entries that are decoded at once if they are sorted; some 350 bytes each make a block."""

_BOUNDARY = re.compile(rb"\}[ \t\n\r]*,[ \t\n\r]*(?=\{[ \t\n\r]*\")")
"""Between two objects of an array, which may be nested; seldom the end of a string."""

_FIRST_NUMBER = re.compile(rb'\{[ \t\n\r]*"[0-9]+"')
_BOUNDARY_WITH_NUMBER = re.compile(rb'\}[ \t\n\r]*,[ \t\n\r]*(?="[0-9]+"[ \t\n\r]*:[ \t\n\r]*\{)')
"""Between two values of an object whose keys are numbers, likewise."""

_ATTEMPTS = 8
"""Boundaries that are tried before a block becomes twice as long."""


_SEED = xxhash.xxh3_64_intdigest(__version__.encode())
"""Another version of `mirror` may decode an entry otherwise, so it has another seed.

After an upgrade no digest is the stored one, and each request is compared."""


def digests_of(entries: Iterable[Raw | bytes]) -> array[int]:
    """Return the digest of each entry: 64 bits, as a signed integer."""
    return array("q", array("Q", map(xxhash.xxh3_64_intdigest, entries, repeat(_SEED))).tobytes())


class EntryScan:
    """The entries of a list, compared with the digests that the mirror has of its requests.

    An entry is known if the mirror has its digest for the request of its id. Known entries are
    dropped. A set holds hashes of 61 bits in place of ids and digests, so with a million requests
    a changed one is taken for a known one once in two trillion times.

    Args:
        known: id and digest of each request that the list is expected to hold.

    Attributes:
        known: number of these requests.
        unmatched: number of those that no entry has matched.
        count: number of entries.
        unknown: number of entries that are not known.
        distinct_ids: number of different ids.
        repetitions: number of entries whose id an earlier entry has.
        overlaps: number of those whose id is on an earlier page.
        overlap: the first one: its id, the earlier page and the later one, from 1.
    """

    def __init__(self, known: Iterable[tuple[str, int | None]] = ()) -> None:
        # Hashes of id and digest of the unmatched requests, and of the ids of entries. One set for
        # both: while one half shrinks, the other grows.
        self._hashes = set(map(hash, known))
        self.known = self.unmatched = len(self._hashes)
        self.count = 0
        self.unknown = 0
        self.repetitions = 0
        self.distinct_ids = 0
        self.overlaps = 0
        self.overlap: tuple[str, int, int] | None = None
        self._page_ids: list[array[int]] = []  # hashes of the ids of each page, in its order
        self._kept: deque[tuple[bytes | memoryview, array[int]]] = deque()
        self._duplicates: dict[str | None, list[Raw]] = {}

    def add(self, data: Raw | bytes) -> int:
        """Add the entries of a page; return their number.

        Args:
            data: a JSON array of them.
        """
        before, repetitions = self.count, self.repetitions
        self._page_ids.append(array("q"))
        for text, entries in split(data):
            self._add(text, entries)
        if self.repetitions > repetitions:
            overlaps = self.repetitions - repetitions - self._collect_duplicates(data)
            if overlaps and self.overlap is None:
                self.overlap = self._find_overlap(data)
            self.overlaps += overlaps
        return self.count - before

    @property
    def has_equal_pages(self) -> bool:
        """Whether the first two pages have the same ids in the same order."""
        first_two = self._page_ids[:2]
        return self.overlaps > 0 and first_two[0] == first_two[-1]

    def ids(self) -> list[int]:
        """Return hashes of all ids, sorted; equal lists have the same requests."""
        return sorted(chain.from_iterable(self._page_ids))

    def order(self) -> bytes:
        """Return a digest of the ids of all entries, in the order of pages and entries."""
        digest = xxhash.xxh3_128()
        for hashes in self._page_ids:
            digest.update(len(hashes).to_bytes(8, "big"))
            digest.update(hashes)
        return digest.digest()

    def _add(self, text: memoryview, entries: list[Raw]) -> None:
        digests, ids = digests_of(entries), request_ids(text, entries)
        self.count += len(entries)
        if self.unmatched:
            pairs = list(map(hash, zip(ids, digests, strict=True)))
            unknown = set(filterfalse(self._hashes.__contains__, pairs))
            self._discard(pairs)
            if len(unknown) < len(pairs):
                kept = [index for index, pair in enumerate(pairs) if pair in unknown]
                digests = array("q", [digests[index] for index in kept])
                text = memoryview(b",".join([entries[index] for index in kept]))
        self._keep(text, digests)
        self._add_ids(ids)

    def _discard(self, pairs: Iterable[int]) -> None:
        """Count requests as matched, by the hashes of id and digest."""
        before = len(self._hashes)
        self._hashes.difference_update(pairs)
        self.unmatched -= before - len(self._hashes)

    def _keep(self, text: bytes | memoryview, digests: array[int]) -> None:
        """Keep entries, together with the ones before if both are few."""
        if not digests:
            return
        self.unknown += len(digests)
        if self._kept and len(self._kept[-1][0]) + len(text) < _BLOCK:
            earlier, its_digests = self._kept[-1]
            self._kept[-1] = b",".join((earlier, text)), its_digests + digests
        else:
            self._kept.append((text, digests))

    def _add_ids(self, ids: Sequence[str | None]) -> None:
        before, without_id = len(self._hashes), ids.count(None)
        hashes = array("q", map(hash, ids))
        self._page_ids[-1] += hashes
        self._hashes.update(hashes)
        if without_id:
            self._hashes.discard(hash(None))
        distinct = len(self._hashes) - before
        self.distinct_ids += distinct
        self.repetitions += len(ids) - without_id - distinct

    def _collect_duplicates(self, data: Raw | bytes) -> int:
        """Keep each entry of a page whose id occurs there more than once, also if it is known.

        Returns:
            The number of entries whose id an earlier entry of the page has.
        """
        seen: set[int] = set()
        duplicates: dict[str | None, list[Raw]] = {}
        for text, entries in split(data):
            for request_id in request_ids(text, entries):
                if request_id is not None and hash(request_id) in seen:
                    duplicates[request_id] = []
                seen.add(hash(request_id))
        for text, entries in split(data):
            for request_id, entry in zip(request_ids(text, entries), entries, strict=True):
                if request_id in duplicates:
                    duplicates[request_id].append(entry)
        self._duplicates |= duplicates
        return sum(len(entries) - 1 for entries in duplicates.values())

    def _find_overlap(self, data: Raw | bytes) -> tuple[str, int, int] | None:
        """Return the first id of the last page that is on an earlier one, and both pages."""
        *earlier, last = self._page_ids
        repeated = set(last).intersection(chain.from_iterable(earlier))
        for text, entries in split(data):
            for request_id in request_ids(text, entries):
                if request_id is not None and hash(request_id) in repeated:
                    pages = enumerate(earlier, start=1)
                    first = next(number for number, ids in pages if hash(request_id) in ids)
                    return request_id, first, len(self._page_ids)
        return None

    def match(self, requests: Iterable[tuple[str, int | None]]) -> None:
        """Count known requests as matched, by their id and stored digest."""
        self._discard(map(hash, requests))

    def unmatched_ids(self, requests: Iterable[tuple[str, int | None]]) -> set[str]:
        """Return the ids of those known requests that are unmatched."""
        return {request[0] for request in requests if hash(request) in self._hashes}

    def decode(
        self, *, in_order: bool = False
    ) -> Iterator[list[tuple[Record | InvalidRecord, int]]]:
        """Decode the entries that are not known, some at a time, and drop them.

        Args:
            in_order: in the order of their ids, those whose id occurs more than once at the end.
                Each entry is an object then, until the last one is decoded.

        Yields:
            A record for each request and an invalid record for each invalid entry, with the digest.
            Equal entries with the same id yield one of these, contradicting ones an invalid record
            each.
        """
        if not self.unmatched:
            self._hashes.clear()
        for text, digests in self._sorted() if in_order else self._in_place():
            decoded = zip(decode_entries(text), digests, strict=True)
            yield [pair for pair in decoded if pair[0].id not in self._duplicates]
        for _, entries in sorted(self._duplicates.items()):
            (digest,) = digests_of(entries[:1])
            yield [(record, digest) for record in merge_duplicates(entries)]

    def _in_place(self) -> Iterator[tuple[bytes | memoryview, array[int]]]:
        """Yield the entries as they were kept, and drop them."""
        while self._kept:
            yield self._kept.popleft()

    def _sorted(self) -> Iterator[tuple[bytes, array[int]]]:
        """Yield the entries sorted by id; those without a usable one come first."""
        ids: list[str | None] = []
        entries: list[Raw] = []
        digests = array("q")
        for text, block_digests in self._in_place():
            block = split_block(text)
            ids += request_ids(memoryview(text), block)
            entries += block
            digests += block_digests
        order = sorted(range(len(ids)), key=lambda index: ids[index] or "")
        for begin in range(0, len(order), _SORTED_AT_ONCE):
            indexes = order[begin : begin + _SORTED_AT_ONCE]
            text = b",".join([entries[index] for index in indexes])
            yield text, array("q", [digests[index] for index in indexes])


def split(data: Raw | bytes) -> Iterator[tuple[memoryview, list[Raw]]]:
    """Split a JSON array into blocks, so that a million entries are never objects at once.

    A block ends at what looks like the boundary of two objects. It is one if the block is a list of
    values: what follows cannot change how a JSON text begins.

    Args:
        data: a valid array.

    Yields:
        The text of a block, without brackets, and its entries.

    Raises:
        ApiError: an entry is nested too deeply.
    """
    text = memoryview(data)[1:-1]
    begin = 0
    while begin < len(text):
        for end, next_begin in _possible_ends(text, begin):
            try:
                entries = split_block(text[begin:end])
            except msgspec.MsgspecError:
                continue
            yield text[begin:end], entries
            begin = next_begin
            break


def array_of_values(data: Raw) -> Raw | None:
    """Return the values of an object whose keys are whole numbers, as an array.

    Returns:
        None if it is another object.

    Raises:
        RecursionError: a value is nested too deeply.
    """
    if not _FIRST_NUMBER.match(memoryview(data)):
        return None
    text, begin, blocks = memoryview(data)[1:-1], 0, list[bytes]()
    while begin < len(text):
        for end, next_begin in _possible_ends(text, begin, _BOUNDARY_WITH_NUMBER):
            try:
                fields = decode_fields(b"".join((b"{", text[begin:end], b"}")))
            except msgspec.MsgspecError:
                continue
            if not all(map(str.isdecimal, fields)):
                return None
            blocks.append(b",".join(fields.values()))
            begin = next_begin
            break
    return Raw(b"".join((b"[", b",".join(blocks), b"]")))


def _possible_ends(
    text: memoryview, begin: int, pattern: re.Pattern[bytes] = _BOUNDARY
) -> Iterator[tuple[int, int]]:
    """Yield pairs: where a block may end, and where the next one begins. The last is the end."""
    size = _BLOCK
    while begin + size < len(text):
        for boundary in islice(pattern.finditer(text, begin + size), _ATTEMPTS):
            yield boundary.start() + 1, boundary.end()
        size *= 2  # so all attempts together read no more than 2 * _ATTEMPTS times the text
    yield len(text), len(text)
