"""The API of one environment in the soak: a list that changes at random, and random faults.

Each list that was served is kept for a while. So the list that a run has read is known by the
digest that the run has on record, and needs no trust in the mirror.
"""

from __future__ import annotations

import json
import time
import zlib
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, product
from random import Random

import msgspec
from xxhash import xxh3_128, xxh3_128_hexdigest

from mirror.api.client import PER_PAGE
from mirror.sandbox.faults import FAULTS
from mirror.sandbox.server import Sandbox, SandboxConfig
from tests.support.list_parser import Fields
from tests.support.oracle import ListResponse, Paging
from tests.support.soaks.windows import SLACK, Windows
from tests.support.upstream import TOKEN, FakeUpstream
from tests.support.upstream_generator import (
    ANOTHER_READING,
    EDITS,
    GARBLED,
    JUNK,
    PAGINGS,
    REASONS,
    UNKNOWN,
    Style,
    UpstreamGenerator,
)

KEPT = 900.0
"""Seconds that a list is kept after it was served: longer than a sync of the soak takes."""

_OF_THE_LIST = [name for name, fault in FAULTS.items() if fault.entries and not fault.needs_pages]
_OF_PAGES = [name for name, fault in FAULTS.items() if fault.needs_pages]
_OF_RESPONSES = [
    name for name, fault in FAULTS.items() if fault.response and name != "endless"
]  # which takes a gigabyte

_MOST_MIXED = 256


def _recent(fields: Fields) -> bool:
    """Whether an edit keeps to the time of the soak: years of days would make reports long."""
    return not any(str(fields.get(name))[:4] in {"0001", "9999", "2024"} for name in fields)


_EDITS = [fields for fields in EDITS if _recent(fields)]
_GARBLED = [fields for fields in GARBLED if _recent(fields)]


class Version:
    """A list as it was served from a moment on.

    Attributes:
        since, until: seconds of the clock.
        paging: the key of the paging information, or None.
    """

    def __init__(self, texts: tuple[str, ...], paging: Paging) -> None:
        self.since, self.until = time.time(), float("inf")
        self.paging = paging
        self._packed = zlib.compress("\n".join(texts).encode())
        self._digests: set[str] | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The JSON of each entry."""
        text = zlib.decompress(self._packed).decode()
        return tuple(text.split("\n")) if text else ()

    @property
    def response(self) -> ListResponse:
        """The list as the model takes it."""
        return ListResponse(self.texts, self.paging)

    def bodies(self, *, excess: int = 0) -> list[tuple[tuple[str, ...], bytes]]:
        """The texts and the bytes of each page, whose total is too high by `excess`."""
        texts = self.texts
        if self.paging is None:
            return [(texts, f'{{"success":true,"data":[{",".join(texts)}]}}'.encode())]
        last = max(1, -(-len(texts) // PER_PAGE))
        pages = []
        for number in range(1, last + 1):
            part = texts[(number - 1) * PER_PAGE : number * PER_PAGE]
            paging = {
                "current_page": number,
                "per_page": PER_PAGE,
                "total": len(texts) + excess,
                "last_page": last,
            }
            stated = json.dumps(paging, separators=(",", ":"))
            body = f'{{"success":true,"data":[{",".join(part)}],"{self.paging}":{stated}}}'
            pages.append((part, body.encode()))
        return pages

    def digests(self) -> set[str]:
        """The digests that a run may have on record for this list."""
        if self._digests is None:
            bodies = [body for _, body in self.bodies()]
            digest = digest_of(bodies)
            # The second one: the list was read twice, as it may have been a page.
            self._digests = {digest, xxh3_128_hexdigest(digest.encode())}
        return self._digests


def digest_of(bodies: list[bytes]) -> str:
    """The digest of the bytes of all pages."""
    digest = xxh3_128()
    for body in bodies:
        digest.update(body)
    return digest.hexdigest()


class _Count(list[str]):
    """Counts requests instead of keeping them."""

    _count = 0

    def append(self, _: str) -> None:
        self._count += 1

    def __len__(self) -> int:
        return self._count


class SoakApi:
    """The API of an environment.

    Args:
        name: of the environment.
        chance: decides everything.
        size: number of requests at the beginning.

    Attributes:
        sandbox: serves the list.
        faults: when the API had a fault.
        kills: when a sync of the environment ran that got a signal.
        accepting: when a sync ran that accepts whatever is missing.
        counts: changes and faults so far, by name.
        is_refused: whether the last run was refused; then a person may accept the list.
    """

    def __init__(self, name: str, chance: Random, size: int) -> None:
        self.name = name
        self._chance = chance
        self._generator = UpstreamGenerator(name)
        self._upstream = FakeUpstream()
        self.sandbox = Sandbox(self._upstream, SandboxConfig(token=f"{TOKEN}-of-{name}"))
        self.sandbox.request_log = _Count()
        self._limit = 2 * size
        self.faults, self.kills, self.accepting = Windows(), Windows(), Windows()
        self.counts: Counter[str] = Counter()
        self.is_refused = False
        self._versions: deque[Version] = deque()
        self._paging: Paging = chance.choice(PAGINGS)
        self._etag = chance.random() < 0.5
        self._fault: list[float] | None = None
        self._fault_ends = 0.0
        self._page_fault = False
        self._list_fault: str | None = None
        self._list_fault_ends = 0.0
        for _ in range(size):
            self._file()
        self.publish()

    # Changes

    def move_on(self) -> None:
        """Let something happen upstream, once; what it is, is left to chance."""
        acts = {
            "filed": (self._file, 3),
            "resolved": (self._resolve, 8),
            "reopened": (self._reopen, 2),
            "edited": (self._edit, 3),
            "annotated": (self._annotate, 1),
            "vanished": (self._vanish, 2),
            "returned": (self._return, 2),
            "malformed": (self._garble, 1),
            "corrected": (self._repair, 2),
            "repeated": (self._repeat, 1),
            "junk": (self._spill, 1),
            "rewritten": (self._rewrite, 1),
            "paged otherwise": (self._page, 0.5),
        }
        weights = [weight for _, weight in acts.values()]
        [name] = self._chance.choices(list(acts), weights)
        acts[name][0]()
        self.counts[f"list: {name}"] += 1
        self._generator.end_day()
        self.publish()

    def misbehave(self, seconds: float, *, fault: str | None = None) -> None:
        """Begin a fault of the API, unless there is one."""
        if self._fault is not None or self._list_fault is not None:
            return
        if fault is None:
            kind = self._chance.choices(
                (_OF_RESPONSES, _OF_THE_LIST, _OF_PAGES), (len(_OF_RESPONSES), 8, 10)
            )[0]
            fault = self._chance.choice(kind)
        if fault in _OF_PAGES and not self._has_pages():
            fault = self._chance.choice(_OF_RESPONSES)
        self.counts[f"API: {fault}"] += 1
        if fault in _OF_THE_LIST:
            self._list_fault, self._list_fault_ends = fault, time.time() + seconds
            self.publish()
            return
        times = self._chance.choice((None, None, 1, 2, 4))
        self._fault, self._fault_ends = self.faults.open(), time.time() + seconds
        self._page_fault = fault in _OF_PAGES
        self.sandbox.set_fault(fault, times)

    def behave(self, *, at_once: bool = False) -> None:
        """End the faults whose time is over, or all."""
        now = time.time()
        if self._fault is not None and (at_once or now >= self._fault_ends):
            self._end_fault()
        if self._list_fault is not None and (at_once or now >= self._list_fault_ends):
            self._list_fault = None
            self.publish()

    def recover(self) -> None:
        """End all faults; list all requests, each once and valid."""
        self.behave(at_once=True)
        self._generator.recover()
        self.publish()

    def _end_fault(self) -> None:
        self.sandbox.set_fault(None)
        if self._fault is not None:
            self.faults.close(self._fault)
        self._fault, self._page_fault = None, False

    def _has_pages(self) -> bool:
        return self._paging is not None and len(self._upstream.records) > PER_PAGE

    def publish(self) -> None:
        """Serve the list as it is now."""
        texts = self._generator.response().texts
        if self._list_fault is not None:
            change = FAULTS[self._list_fault].entries
            assert change is not None
            try:
                texts = tuple(
                    entry.decode() for entry in change([text.encode() for text in texts], 0)
                )
            except (
                AttributeError,
                TypeError,
                KeyError,
                msgspec.MsgspecError,
            ):  # it needs objects with a text for an id
                self._list_fault = None
        version = Version(texts, self._paging)
        if self._page_fault and (self._paging is None or len(texts) <= PER_PAGE):
            self._end_fault()
        with self.sandbox._lock:
            self._versions.append(version)
            self.sandbox.config.paging, self.sandbox.config.etag = self._paging, self._etag
            self._upstream.records = [text.encode() for text in texts]
            self.sandbox._generation += 1
            if len(self._versions) > 1:
                self._versions[-2].until = time.time()
        while self._versions[0].until < time.time() - KEPT:
            self._versions.popleft()

    def _now(self) -> str:
        when = datetime.now(UTC) - timedelta(seconds=self._chance.randrange(1000))
        return when.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _some(self, most: int) -> list[int]:
        listed = self._generator.listed()
        return self._chance.sample(listed, min(len(listed), self._chance.randint(1, most)))

    def _file(self) -> None:
        if len(self._generator.records) >= self._limit:
            self._resolve()
            return
        number = len(self._generator.records)
        self._generator.make(
            {
                "phone_number": f"+1555{number // 2:07d}",
                "requested_at": self._now(),
                "reason": self._chance.choice(REASONS),
            }
        )

    def _resolve(self) -> None:
        status = self._chance.choice(("approved", "approved", "rejected", "cancelled", "on_hold"))
        self._generator.change(
            self._some(3),
            {
                "status": status,
                "resolved_at": self._chance.choice((None, self._now())),
                "rejection_reason": "In use" if status == "rejected" else None,
            },
        )

    def _reopen(self) -> None:
        fields = {"status": "pending", "resolved_at": None, "rejection_reason": None}
        self._generator.change(self._some(2), fields)

    def _edit(self) -> None:
        self._generator.change(self._some(2), self._chance.choice(_EDITS))

    def _annotate(self) -> None:
        self._generator.change(self._some(4), {"carrier": self._chance.choice(UNKNOWN)})

    def _vanish(self) -> None:
        # Now and then more than the guard allows.
        self._generator.away.update(self._some(30 if self._chance.random() < 0.1 else 2))

    def _return(self) -> None:
        self._generator.away.clear()

    def _garble(self) -> None:
        for number in self._some(2):
            self._generator.malformed_ids[number] = self._chance.choice(_GARBLED)

    def _repair(self) -> None:
        self._generator.malformed_ids.clear()

    def _repeat(self) -> None:
        for number in self._some(1):
            self._generator.twins[number] = (
                2,
                [self._chance.choice(ANOTHER_READING[:1] * 2 + ANOTHER_READING[3:])],
            )

    def _spill(self) -> None:
        self._generator.junk = self._chance.sample(JUNK, self._chance.randrange(3))

    def _rewrite(self) -> None:
        self._generator.order = self._chance.randrange(4)
        self._generator.style = Style(*(self._chance.random() < 0.5 for _ in range(4)))

    def _page(self) -> None:
        self._paging, self._etag = self._chance.choice(PAGINGS), self._chance.random() < 0.5

    # What was served

    def served(self, digest: str, began: float, ended: float) -> ListResponse | None:
        """The list with a digest that was served at a time, also if it changed between pages."""
        versions = self._between(began, ended)
        for version in reversed(versions):
            if digest in version.digests():
                return version.response
        for response, bodies in self._mixed(versions):
            if digest_of(bodies) == digest:
                return response
        return None

    def serves(self, digest: str | None) -> bool:
        """Whether the list that is served now has a digest."""
        return digest in self._versions[-1].digests()

    def candidates(self, began: float, ended: float) -> Iterator[ListResponse]:
        """All lists that a sync may have read at a time."""
        versions = self._between(began, ended)
        for version in versions:
            yield version.response
        for response, _ in self._mixed(versions):
            yield response

    def changed(self, began: float, ended: float) -> bool:
        """Whether the list had pages and changed at a time."""
        versions = self._between(began, ended)
        return len(versions) > 1 and any(version.paging for version in versions)

    def _between(self, began: float, ended: float) -> list[Version]:
        return [
            version
            for version in list(self._versions)
            if version.since <= ended + SLACK and version.until >= began - SLACK
        ]

    def _mixed(self, versions: list[Version]) -> Iterator[tuple[ListResponse, list[bytes]]]:
        """Lists whose first page is of one version, and others of others.

        A total that is too high, as one of the faults has it, is right if a request was filed
        before the next page was read.
        """
        for paging in PAGINGS[1:]:
            paged = [
                version.bodies(excess=excess)
                for version in versions
                if version.paging == paging
                for excess in (0, 1)
            ]
            for first in paged:
                pages = [
                    [pages[number] for pages in paged if len(pages) > number]
                    for number in range(1, len(first))
                ]
                for others in islice(product(*pages), _MOST_MIXED):
                    chosen = [first[0], *others]
                    texts = tuple(text for part, _ in chosen for text in part)
                    yield ListResponse(texts, paging), [body for _, body in chosen]


def config_lines(api: SoakApi, token_file: str) -> list[str]:
    """The table of an environment in the configuration file."""
    return [
        f"[environments.{api.name}]",
        f'base_url = "{api.sandbox.base_url}"',
        f'token_file = "{token_file}"',
    ]
