"""Databases to report on, and the pages of `mirror report`, parsed from their HTML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import sqlalchemy as sa

from mirror.db.engine import create_engine, write_transaction
from mirror.db.models import sync_runs
from mirror.report.period import Period
from mirror.sandbox.server import Sandbox, SandboxConfig
from tests.support.commands import run_mirror
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, FakeUpstream, request

_VOID_TAGS = {"br", "col", "hr", "img", "input", "link", "meta", "wbr"}
_BREAKING_TAGS = {"br", "dd", "dt", "li", "p", "td", "text", "th"}

_FATES = (
    *("approved", "rejected") * 6,
    *["pending"] * 3,
    "cancelled",
    "on_hold",
    "archived",
    "reopened",
    "approved after all",
    "vanished",
    "returned",
    "garbled for a time",
)
"""What becomes of requests, in turns. Odd in number, so that east and west have all of them."""

_DAYS = 200
_REQUESTS = 300
_SYNCS = (150, 110, 95, 50, 20, 5, 0.1)
"""Days ago."""


@dataclass
class Element:
    """An element of a page."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Element | str] = field(default_factory=list)

    def find_all(self, *tags: str, **attributes: str) -> Iterator[Element]:
        """The descendants with one of these tags (or any) and these attributes, in order.

        Classes are some of several. `class` is written `class_`, and a hyphen as `_`.
        """
        for child in self.children:
            if isinstance(child, Element):
                if (not tags or child.tag in tags) and all(
                    child._has(name, value) for name, value in attributes.items()
                ):
                    yield child
                yield from child.find_all(*tags, **attributes)

    def _has(self, name: str, expected: str) -> bool:
        value = self.attributes.get(name.rstrip("_").replace("_", "-")) or ""
        if name == "class_":
            return set(expected.split()) <= set(value.split())
        return value == expected

    def find(self, *tags: str, **attributes: str) -> Element:
        """The only such descendant."""
        (element,) = self.find_all(*tags, **attributes)
        return element

    @property
    def text(self) -> str:
        """The text in it, with single spaces."""
        return " ".join("".join(self._texts()).split())

    def _texts(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield child
            elif child.tag != "style":
                yield from child._texts()
                yield "\n" if child.tag in _BREAKING_TAGS else ""

    def rows(self) -> list[list[str]]:
        """The rows of the only table in it, without its heading."""
        rows = self.find("tbody").find_all("tr")
        return [[cell.text for cell in row.find_all("th", "td")] for row in rows]

    def column(self, place: int) -> list[int]:
        """The whole numbers of a column of the only table in it."""
        return [int(row[place].replace(",", "")) for row in self.rows()]


class Page(HTMLParser):
    """A parsed page; every element must be closed in order.

    Attributes:
        html: the page.
        root: the parent of all elements.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(html)
        self.close()
        assert self._open == [self.root], "an element was not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        self.handle_startendtag(tag, attrs)
        if tag not in _VOID_TAGS:
            element = self._open[-1].children[-1]
            assert isinstance(element, Element)
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Add an element without children."""
        assert len(dict(attrs)) == len(attrs), "an attribute is there twice"
        self._open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element."""
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        """Add a text."""
        self._open[-1].children.append(data)

    @property
    def made_at(self) -> datetime:
        """When it was made."""
        time = self.root.find("footer").find("time").attributes["datetime"]
        assert time is not None
        return datetime.fromisoformat(time)

    @property
    def header(self) -> Element:
        """Its header."""
        return self.root.find("header")

    @property
    def cards(self) -> dict[str, tuple[str, str, str, str]]:
        """The large figures by name: label, value, change and the value before."""

        def part(card: Element, name: str) -> str:
            return next((element.text for element in card.find_all(class_=name)), "")

        return {
            (card.attributes["id"] or "").removeprefix("card-"): (
                card.find("dt").text,
                part(card, "value"),
                part(card, "change").removesuffix(part(card, "muted")).strip(),
                part(card, "muted"),
            )
            for card in self.root.find("dl").find_all("div")
        }

    def section(self, name: str) -> Element:
        """A section, by the id of its title."""
        return self.root.find("section", aria_labelledby=name)

    def chart(self, name: str) -> Element:
        """A chart, with its table."""
        return self.root.find("figure", id=f"chart-{name}")

    @property
    def charts(self) -> list[str]:
        """The names of the charts."""
        figures = self.root.find_all("figure")
        return [(figure.attributes["id"] or "").removeprefix("chart-") for figure in figures]


def render_page(url: str, *options: str, into: Path) -> Page:
    """Render a page with the command."""
    ran = run_mirror("report", "--output", str(into), "--database", url, *options)
    assert ran.code == 0, ran.err
    return Page(into.read_text("utf-8"))


def execute(url: str, *statements: sa.Executable) -> None:
    """Run statements in one transaction."""
    with write_transaction(create_engine(url), "test") as connection:
        for statement in statements:
            connection.execute(statement)


def failed_run(environment: str, error: str = "the API is out of reach") -> sa.Executable:
    """The statement that records a failed run."""
    return sa.insert(sync_runs).values(
        environment=environment,
        outcome="failed",
        started_at=datetime.now(UTC),
        base_url="https://api.example",
        mirror_version="0",
        error=error,
    )


@contextmanager
def _mirror(url: str) -> Iterator[Mirror]:
    upstream = FakeUpstream()
    with Sandbox(upstream, SandboxConfig(token=TOKEN)).running() as sandbox:
        yield Mirror(url, sandbox, upstream)


def sync_hourly(url: str, *lists: Sequence[dict[str, Any]], environment: str = "default") -> None:
    """Sync lists, an hour after each other, the last one just now."""
    with _mirror(url) as mirror:
        mirror.now = datetime.now(UTC) - timedelta(hours=len(lists))
        for entries in lists:
            records = [json.dumps(entry).encode() for entry in entries]  # may hold half a character
            result = mirror.sync(
                records, environment=environment, accept_missing=True, accept_base_url=True
            )
            assert result.failure is None, result.failure


def sync_half_a_year(url: str) -> None:
    """Fill a mirror with 200 days of three environments, seen by seven syncs.

    East and west have requests with every fate; the last sync of west failed, and each of north.
    """
    sync_days(
        url, ("east", "west"), requests=_REQUESTS, syncs=_SYNCS, failed=["west", "north", "north"]
    )


def sync_days(
    url: str,
    environments: Sequence[str],
    *,
    requests: int,
    syncs: Sequence[float],
    failed: Sequence[str] = (),
) -> None:
    """Fill a mirror with the requests of 200 days.

    Args:
        url: of the database.
        environments: their names; each has as many of the requests.
        requests: number of requests.
        syncs: when each environment was synced, in days ago.
        failed: environments of the syncs that fail in the end.
    """
    with _mirror(url) as mirror:
        now = datetime.now(UTC).replace(microsecond=0)
        for days in syncs:
            for place, environment in enumerate(environments):
                mirror.now = now - timedelta(days=days, hours=1)
                numbers = range(place, requests, len(environments))
                entries = [_entry(number, now, mirror.now) for number in numbers]
                records = [entry for entry in entries if entry is not None]
                result = mirror.sync(records, environment=environment, accept_missing=True)
                assert result.failure is None, result.failure
        mirror.sandbox.set_fault("unauthorized")
        for environment in failed:
            assert mirror.sync(environment=environment).failure is not None


def _entry(number: int, end: datetime, now: datetime) -> dict[str, Any] | None:
    """The entry of a request in the list of a time, or None."""
    random = Random(number)  # noqa: S311 (test data, no cryptography)
    requested_at = end - timedelta(days=_DAYS * random.random())
    resolved_at = requested_at + timedelta(hours=random.uniform(1, 14) ** 2)
    pending = request(
        number,
        phone_number=f"+1555{0 if number % 40 < 2 else number % 170:07d}",
        reason=random.choice(("Number is no longer in use", "The campaign has ended", None)),
        requested_at=requested_at.isoformat(timespec="seconds"),
    )
    reason = round(16 * random.random() ** 2)
    rejection = f"There is reason {reason} against it" if reason else None
    if now < requested_at:
        return None
    if now < resolved_at:
        return pending
    return _resolved(pending, _FATES[number % len(_FATES)], resolved_at, now, rejection)


def _resolved(
    pending: dict[str, Any],
    fate: str,
    resolved_at: datetime,
    now: datetime,
    rejection: str | None,
) -> dict[str, Any] | None:
    """The entry of a request after its review, or None."""
    age = (now - resolved_at).days
    approved = pending | {
        "status": "approved",
        "resolved_at": resolved_at.isoformat(timespec="seconds"),
    }
    entries: dict[str, dict[str, Any] | None] = {
        "pending": pending,
        "rejected": approved | {"status": "rejected", "rejection_reason": rejection},
        "cancelled": pending | {"status": fate},
        "on_hold": pending | {"status": fate},
        "archived": approved | {"status": fate},
        "reopened": pending if age > 25 else approved,
        "approved after all": pending if 25 < age < 60 else approved,
        "vanished": None if age > 25 else approved,
        "returned": None if 25 < age < 60 else approved,
        "garbled for a time": approved | ({"requested_at": "yesterday"} if 10 < age < 70 else {}),
    }
    return entries.get(fate, approved)


def default_period(made_at: datetime) -> Period:
    """The period from the Monday twelve weeks before this week up to today."""
    today = made_at.date()
    year, week, _ = today.isocalendar()
    since = datetime.fromisocalendar(year, week, 1).date() - timedelta(weeks=12)
    return Period(since, today + timedelta(days=1))
