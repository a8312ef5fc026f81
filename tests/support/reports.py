"""Mirrors to report on, the pages of `mirror report`, and what a page says, read from its HTML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa

from mirror.db.engine import create_engine, read_transaction, write_transaction
from mirror.db.models import sync_runs
from mirror.report import svg
from mirror.sandbox.server import Sandbox, SandboxConfig
from tests.support.commands import run_mirror
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, FakeUpstream, request

VOID = {"br", "col", "hr", "img", "input", "link", "meta"}
FATES = (
    *("approved", "rejected") * 6,
    *["waiting"] * 3,
    "cancelled",
    "on_hold",
    "archived",
    "reopened",
    "approved after all",
    "vanished",
    "returned",
    "garbled for a time",
)
"""What becomes of requests: of the first one the first, and so on, and again from the start.

Their number is odd, so that east and west have all of them.
"""

_DAYS = 200
_REQUESTS = 300
_SYNCS = (150, 110, 95, 50, 20, 5, 0.1)
"""Days ago."""


@dataclass
class Element:
    """An element of a page.

    Attributes:
        tag: its name.
        attributes: of the element.
        children: elements and texts in it.
    """

    tag: str
    attributes: dict[str, str | None]
    children: list[Element | str] = field(default_factory=list)

    def all(self, *tags: str, **attributes: str) -> Iterator[Element]:
        """The elements in it of these names, or of any, with these attributes, in order.

        A class is one of several. `class` is written `class_`, and a hyphen as `_`.
        """
        for child in self.children:
            if isinstance(child, Element):
                if (not tags or child.tag in tags) and all(
                    child.has(name, value) for name, value in attributes.items()
                ):
                    yield child
                yield from child.all(*tags, **attributes)

    def has(self, name: str, value: str) -> bool:
        """Tell whether an attribute has a value."""
        said = self.attributes.get(name.rstrip("_").replace("_", "-")) or ""
        return value in said.split() if name == "class_" else said == value

    def one(self, *tags: str, **attributes: str) -> Element:
        """The only one of such elements."""
        (found,) = self.all(*tags, **attributes)
        return found

    @property
    def text(self) -> str:
        """The text in it, with single spaces."""
        return " ".join("".join(self.texts()).split())

    def texts(self) -> Iterator[str]:
        """The pieces of text in it."""
        for child in self.children:
            if isinstance(child, str):
                yield child
            elif child.tag != "style":
                yield from child.texts()
                yield "\n" if child.tag in {"br", "dd", "dt", "li", "p", "td", "text", "th"} else ""

    def rows(self) -> list[list[str]]:
        """The rows of the only table in it, without its titles."""
        body = self.one("tbody")
        return [[cell.text for cell in row.all("th", "td")] for row in body.all("tr")]

    def column(self, place: int) -> list[int]:
        """The whole numbers of a column of the only table in it."""
        return [int(row[place].replace(",", "")) for row in self.rows()]


class Page(HTMLParser):
    """A page, read; what is opened in it must be closed in order.

    Args:
        html: the page.

    Attributes:
        html: likewise.
        root: all there is.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(html)
        self.close()
        assert self._open == [self.root], "something was not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            opened = self._open[-1].children[-1]
            assert isinstance(opened, Element)
            self._open.append(opened)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Have an element without anything in it."""
        assert len(dict(attrs)) == len(attrs), "an attribute is there twice"
        self._open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the element opened last."""
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        """Have a text."""
        self._open[-1].children.append(data)

    @property
    def made_at(self) -> datetime:
        """When it was made."""
        time = self.root.one("footer").one("time").attributes["datetime"]
        assert time is not None
        return datetime.fromisoformat(time)

    @property
    def cards(self) -> list[tuple[str, ...]]:
        """The key figures: what each is called, what it is, its change, and what it was before."""
        return [
            (
                card.one("dt").text,
                card.one(class_="value").text,
                *card.one(class_="change").text.split(" before: "),
            )
            for card in self.root.one("dl").all("div")
        ]

    def section(self, name: str) -> Element:
        """A section, by the id of its title."""
        return self.root.one("section", aria_labelledby=name)

    def chart(self, name: str) -> Element:
        """A chart, with the table behind it."""
        return self.root.one("figure", id=f"chart-{name}")

    @property
    def drawn(self) -> list[str]:
        """The names of the charts."""
        return [
            (one.attributes["id"] or "").removeprefix("chart-") for one in self.root.all("figure")
        ]


def page(url: str, *options: str, into: Path) -> Page:
    """Make a page by the command."""
    ran = run_mirror("report", "--output", str(into), "--database", url, *options)
    assert ran.code == 0, ran.err
    return Page(into.read_text("utf-8"))


@contextmanager
def undrawn() -> Iterator[None]:
    """Have charts without drawings, which take most of the time of a page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(svg, "_svg", lambda *_: "<svg></svg>")
        yield


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    """Run a query as it stands."""
    with read_transaction(create_engine(url)) as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def change(url: str, *statements: sa.Executable) -> None:
    """Run statements."""
    with write_transaction(create_engine(url), "test") as connection:
        for one in statements:
            connection.execute(one)


def failed_run(environment: str, error: str = "the API is out of reach") -> sa.Executable:
    """Have a run on record that failed."""
    return sa.insert(sync_runs).values(
        environment=environment,
        outcome="failed",
        started_at=datetime.now(UTC),
        base_url="https://api.example",
        mirror_version="0",
        error=error,
    )


def fill(url: str, *lists: Sequence[dict[str, Any]], environment: str = "default") -> None:
    """Sync lists, an hour after each other, the last one just now."""
    upstream = FakeUpstream()
    with Sandbox(upstream, SandboxConfig(token=TOKEN)).running() as sandbox:
        mirror = Mirror(url, sandbox, upstream)
        mirror.now = datetime.now(UTC) - timedelta(hours=len(lists))
        for one in lists:
            listed = [json.dumps(each).encode() for each in one]  # may hold half a surrogate pair
            result = mirror.sync(listed, environment=environment, accept_missing=True)
            assert result.failure is None, result.failure


def live(url: str) -> None:
    """Fill a mirror with the last 200 days of three environments, as seven syncs saw them.

    East and west have requests with every fate; the last sync of west failed, and each of north.
    """
    upstream = FakeUpstream()
    with Sandbox(upstream, SandboxConfig(token=TOKEN)).running() as sandbox:
        mirror = Mirror(url, sandbox, upstream)
        now = datetime.now(UTC).replace(microsecond=0)
        for days in _SYNCS:
            for place, environment in enumerate(("east", "west")):
                mirror.now = now - timedelta(days=days, hours=1)
                seen = [_entry(one, now, mirror.now) for one in range(place, _REQUESTS, 2)]
                listed = [one for one in seen if one is not None]
                result = mirror.sync(listed, environment=environment, accept_missing=True)
                assert result.failure is None, result.failure
        sandbox.misbehave("unauthorized")
        for environment in ("west", "north", "north"):
            assert mirror.sync(environment=environment).failure is not None


def _entry(number: int, end: datetime, now: datetime) -> dict[str, Any] | None:
    """What the list says of a request at a time, or None if it does not have it."""
    dice = Random(number)  # noqa: S311 (a test's fate, no cryptography)
    asked = end - timedelta(days=_DAYS * dice.random())
    ended = asked + timedelta(hours=dice.uniform(1, 14) ** 2)
    said = request(
        number,
        phone_number=f"+1555{0 if number % 40 < 2 else number % 170:07d}",
        reason=dice.choice(("Number is no longer in use", "The campaign has ended", None)),
        requested_at=_iso(asked),
    )
    why = round(16 * dice.random() ** 2)
    rejection = f"There is reason {why} against it" if why else None
    if now < asked:
        return None
    if now < ended:
        return said
    return _resolved(said, FATES[number % len(FATES)], ended, now, rejection)


def _resolved(
    said: dict[str, Any], fate: str, ended: datetime, now: datetime, rejection: str | None
) -> dict[str, Any] | None:
    """Tell what the list says of a request after its review had come to an end."""
    since = (now - ended).days
    approved = said | {"status": "approved", "resolved_at": _iso(ended)}
    become: dict[str, dict[str, Any] | None] = {
        "waiting": said,
        "rejected": approved | {"status": "rejected", "rejection_reason": rejection},
        "cancelled": said | {"status": fate},
        "on_hold": said | {"status": fate},
        "archived": approved | {"status": fate},
        "reopened": said if since > 25 else approved,
        "approved after all": said if 25 < since < 60 else approved,
        "vanished": None if since > 25 else approved,
        "returned": None if 25 < since < 60 else approved,
        "garbled for a time": approved | ({"requested_at": "yesterday"} if 10 < since < 70 else {}),
    }
    return become.get(fate, approved)


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def usual_period(made_at: datetime) -> tuple[date, date]:
    """The Monday twelve weeks before this week, and tomorrow: the day after the last one."""
    today = made_at.date()
    year, week, _ = today.isocalendar()
    return date.fromisocalendar(year, week, 1) - timedelta(weeks=12), today + timedelta(days=1)
