"""The page of `mirror report` says what is in the mirror, whatever that is, and says it to all.

What a browser makes of it is looked at in test_report_page.py, and the command around it in
test_report_command.py.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mirror.db.engine import create_engine, write_transaction
from mirror.db.models import release_requests
from tests.support.commands import run_mirror
from tests.support.databases import DATABASES, cached_by_kind, new_database
from tests.support.mirrors import Mirror
from tests.support.oracle_report import NOTHING, Asked, cards, find, moment
from tests.support.reports import Page, change, failed_run, fill, live, page, undrawn, usual_period
from tests.support.upstream import request

NO_TEXT = re.compile(r"\b(NaN|None|undefined|Infinity)\b")
"""What programs write where there is nothing."""


@dataclass(frozen=True)
class Told:
    """A page, and what it is about."""

    page: Page
    asked: Asked


ToldOf = Callable[[str], dict[str, Told]]
"""Gives pages by the kind of database and by what they show."""


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest) -> Iterator[ToldOf]:
    """Pages of the mirror of `live`: of all of it, of a time past, and of an environment."""

    @contextmanager
    def make(kind: str) -> Iterator[dict[str, Told]]:
        into = request.getfixturevalue("tmp_path_factory").mktemp("report") / "report.html"
        today = datetime.now(UTC).date()
        then = today - timedelta(days=120), today - timedelta(days=60)
        with new_database(kind, request, ready=True) as url:
            live(url)
            with nullcontext() if kind == "sqlite" else undrawn():
                now = page(url, into=into)
            with undrawn():
                past = page(url, "--since", str(then[0]), "--until", str(then[1]), into=into)
                east = page(url, "--environment", "east", into=into)
            yield {
                "now": Told(now, Asked(url, *usual_period(now.made_at), now.made_at)),
                "past": Told(past, Asked(url, *then)),
                "east": Told(east, Asked(url, *usual_period(east.made_at), east.made_at, "east")),
            }

    with cached_by_kind(make) as get:
        yield get


@pytest.fixture
def _undrawn() -> Iterator[None]:
    """Charts are without drawings, which nobody looks at."""
    with undrawn():
        yield


@pytest.fixture(scope="module")
def now(told: ToldOf) -> Told:
    """A page that has all that a page may have."""
    return told("sqlite")["now"]


@pytest.mark.calendar
@pytest.mark.parametrize("kind", DATABASES)
def test_key_figures(told: ToldOf, kind: str) -> None:
    """The key figures and those before them are what plain SQL on tables and views says."""
    for name, one in told(kind).items():
        now, before = find(one.asked), find(one.asked.before)
        when = "at the end" if name == "past" else "now"
        assert (name, one.page.cards) == (name, cards(now, before, when))
        assert (
            f"of the {now.timed} requests whose time of resolution was reported"
            in one.page.root.text
        )
        assert min(now.open, now.released, now.missing, now.quarantined, now.cancelled) > 0


@pytest.mark.calendar
@pytest.mark.parametrize("kind", DATABASES)
def test_tables_behind_charts_add_up(told: ToldOf, kind: str) -> None:
    """What the tables behind the charts hold adds up to the key figures, the rest included."""
    for name, one in told(kind).items():
        figures, chart = find(one.asked), one.page.chart
        assert (name, chart("open").column(1)[-1]) == (name, figures.open)
        assert [sum(chart("outcomes").column(place)) for place in range(1, 5)] == [
            figures.requested, figures.approved, figures.rejected, figures.cancelled,
        ]  # fmt: skip
        assert (name, sum(chart("hours").column(1))) == (name, figures.timed)
        assert (name, sum(chart("reasons").column(1))) == (name, figures.rejected)


@pytest.mark.calendar
@pytest.mark.parametrize("kind", DATABASES)
def test_what_is_open(told: ToldOf, kind: str) -> None:
    """The oldest open requests are listed, and it is said how many there are."""
    for name in ("now", "past"):
        waiting = told(kind)[name].asked.waiting
        section = told(kind)[name].page.section("open")
        assert [[row[0], row[2]] for row in section.rows()] == [
            [f"{asked:%Y-%m-%d %H:%M}", f"{number} {environment}"]
            for asked, number, environment in waiting[:30]
        ]
        assert f"The 30 oldest of {len(waiting)} requests." in section.text


@pytest.mark.calendar
@pytest.mark.parametrize("kind", DATABASES)
def test_last_changes(told: ToldOf, kind: str) -> None:
    """The changes listed are the last of `mirror changes`, and it is said how many there are."""
    ran = run_mirror("changes", "--database", told(kind)["now"].asked.url, "--format", "csv")
    changes = list(csv.DictReader(io.StringIO(ran.out)))
    changes.sort(key=lambda one: (one["request_id"], one["kind"]))
    changes.sort(key=lambda one: one["changed_at"], reverse=True)
    for name in ("now", "past"):
        asked, section = told(kind)[name].asked, told(kind)[name].page.section("changes")
        start, end = (f"{day}T" for day in (asked.since, asked.until))
        seen = [one for one in changes if start < one["changed_at"] < end]
        assert section.rows() == [
            [
                one["changed_at"][:16].replace("T", " "),
                f"{one['phone_number']} {one['environment']}",
                one["kind"],
                " → ".join(dict.fromkeys([one["old_status"], one["new_status"]])),
            ]
            for one in seen[:30]
        ]
        versions = len({(one["request_id"], one["changed_at"]) for one in seen})
        counted = f"changed {versions} times in the period; the last 30 are here." in section.text
        assert counted == (versions > 30) == (name == "now")


def test_numbers_asked_for_again(now: Told) -> None:
    """The numbers asked for most are there with their last events, and what is not is counted."""
    section = now.page.section("numbers")
    again = now.asked.ask(
        """SELECT environment, phone_number, count(*) FROM release_requests
GROUP BY environment, phone_number HAVING count(*) > 1 AND max(requested_at) >= '{start}'
ORDER BY 3 DESC, max(requested_at) DESC"""
    )
    assert f"There are {len(again)}; the 10 with the most requests are here." in section.text
    lines = list(section.all("section"))
    assert [one.one("h3").text for one in lines] == [f"{row[1]} {row[0]}" for row in again[:10]]
    environment, number, requests = again[0]
    assert f"{requests} requests, the last one " in lines[0].text
    events = now.asked.ask(
        f"""SELECT occurred_at, event FROM phone_number_history
WHERE phone_number = '{number}' AND environment = '{environment}'
ORDER BY occurred_at, request_id, observed_at"""
    )
    first, *rest = lines[0].all("li")
    assert first.text == f"{len(events) - 8} earlier events"
    assert [(one.one("time").text, one.one("b").text) for one in rest] == [
        (f"{moment(occurred_at):%Y-%m-%d %H:%M}", event) for occurred_at, event in events[-8:]
    ]


def test_rejection_reasons(now: Told) -> None:
    """The reasons given most are there, one of them that none was given, and the rest is a row."""
    found = now.asked.ask(
        """SELECT coalesce(rejection_reason, 'none given'), count(*) FROM phone_number_history
WHERE event = 'rejected' AND occurred_at >= '{start}' AND occurred_at < '{end}'
GROUP BY rejection_reason ORDER BY 2 DESC, rejection_reason"""
    )
    assert "none given" in [reason for reason, _ in found[:10]]
    chart = now.page.chart("reasons")
    assert chart.rows() == [
        *([reason, str(count)] for reason, count in found[:10]),
        [f"{len(found) - 10} other reasons", str(sum(count for _, count in found[10:]))],
    ]
    heard = chart.one(class_="wide").attributes["aria-label"]
    assert f"of which there were {len(found)}" in str(heard)


@pytest.mark.calendar
def test_freshness_and_failures(told: ToldOf) -> None:
    """A page says how old the mirror is, and warns of what failed or is not known."""
    headers = {name: one.page.root.one("header") for name, one in told("sqlite").items()}
    for name, warnings in (
        (
            "now",
            [
                "The mirror of 1 environment never was complete: no sync has succeeded yet.",
                "The last syncs of 2 environments failed: see environments.",
            ],
        ),
        ("east", []),
    ):
        asked = told("sqlite")[name].asked
        others = asked.count(
            "SELECT count(*) FROM release_requests WHERE status IN ('on_hold', 'archived')"
            " AND missing_since IS NULL AND {only}"
        )
        *first, last = (one.text for one in headers[name].all(class_="warning"))
        assert first == warnings
        assert last.startswith(f"{others} requests have a status that is not documented, and are ")
    assert "The mirror of 2 environments is complete as of 20" in headers["now"].text
    assert "2 h before this page was made" in headers["now"].text
    assert "environment east" in headers["east"].text
    rows = told("sqlite")["now"].page.section("environments").rows()
    assert [[row[0], *row[2:]] for row in rows if len(row) > 1] == [
        ["east", "applied", "0"], ["north", "failed", "2"], ["west", "failed", "1"],
    ]  # fmt: skip
    assert [row[0].partition(":")[0] for row in rows if len(row) == 1] == ["north", "west"]


# How it says it


def test_for_those_who_listen(now: Told) -> None:
    """Headings go down step by step, and charts and tables say in words what they are."""
    root = now.page.root
    assert root.one("html").attributes["lang"] == "en"
    assert re.fullmatch(r"Release requests, \d+ \w+ .*20\d\d", root.one("title").text)
    levels = [int(one.tag[1]) for one in root.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(below <= above + 1 for above, below in pairwise(levels))
    charts = [one.attributes["aria-label"] or "" for one in root.all(role="img")]
    assert len(charts) == 8
    assert charts[::2] == charts[1::2]
    assert all(re.search(r"\d", one) for one in charts)
    tables = list(root.all("table"))
    assert len(tables) == 7
    for one in tables:
        for part, scope in (("thead", "col"), ("tbody", "row")):
            assert {head.attributes["scope"] for head in one.one(part).all("th")} == {scope}


@pytest.mark.calendar
@pytest.mark.usefixtures("_undrawn")
def test_what_was_reopened_since_is_told_apart(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """A list of what was open then, which goes by what is known now, owns up to its difference."""
    mirror = sqlite_mirror
    now = datetime.now(UTC).replace(microsecond=0)
    days = {ago: (now - timedelta(days=ago)).isoformat() for ago in (30, 25)}
    first = request(1, requested_at=days[30])
    for ago, entry in (
        (20, first | {"status": "rejected", "resolved_at": days[25]}),
        (5, first | {"status": "pending"}),
    ):
        mirror.now = now - timedelta(days=ago)
        mirror.sync([entry])
    when = [str((now - timedelta(days=ago)).date()) for ago in (40, 10)]
    past = page(mirror.url, "--since", when[0], "--until", when[1], into=tmp_path / "past.html")
    assert past.cards[0][:2] == ("Open at the end", "0")
    assert "counts in the figure above, which says 0." in past.root.text
    current = page(mirror.url, into=tmp_path / "now.html")
    assert "the figure above" not in current.root.text


def test_what_is_pointed_at_is_there(now: Told) -> None:
    """Each id is there once, and so is each one that a link or a title is looked for by."""
    ids = [one.attributes["id"] for one in now.page.root.all() if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    links = [one.attributes["href"] or "" for one in now.page.root.all("a")]
    titles = [one.attributes.get("aria-labelledby") for one in now.page.root.all()]
    assert links == ["#environments"]
    assert {one for one in titles if one} == {
        "figures", "charts", "environments", "open", "changes", "numbers",
    }  # fmt: skip
    assert {one for one in titles if one} <= set(ids)


AXES = {
    "open": ("Open requests", "End of the day (UTC)"),
    "outcomes": ("Requests", "Week beginning (UTC)", "requested", "approved", "cancelled"),
    "hours": ("Hours to resolve", "Week beginning (UTC)", "median", "90th percentile"),
    "reasons": ("Rejected requests", "none given"),
}


def test_charts_say_what_they_show(now: Told) -> None:
    """Each drawing has titles at its axes and a legend of its colours, and no drawing runs."""
    assert now.page.drawn == list(AXES)
    for name, titles in AXES.items():
        drawings = list(now.page.chart(name).all("svg"))
        assert len(drawings) == 2
        for drawing in drawings:
            written = [one.text for one in drawing.all("text")]
            for title in titles:
                assert any(one.startswith(title) for one in written), (name, title)
    assert not list(now.page.root.all("script", "foreignobject", "image", "use", "iframe"))


# Mirrors with little in them


def recent(days: float = 1, **fields: Any) -> dict[str, Any]:
    """A request submitted some days ago."""
    asked = datetime.now(UTC) - timedelta(days=days)
    return request(requested_at=asked.isoformat()) | fields


@pytest.mark.parametrize("kind", DATABASES)
def test_nothing_in_it(
    make_ready_database: Callable[[str], str], tmp_path: Path, kind: str
) -> None:
    """Of a mirror without requests there is a page that says so."""
    url = make_ready_database(kind)
    for statements, warning in (
        ([], "Nothing was ever synced into this mirror: run mirror sync."),
        ([failed_run("one")], "The mirror never was complete: no sync has succeeded yet."),
        ([failed_run("two")], "The mirror of 2 environments never was complete"),
    ):
        change(url, *statements)
        made = page(url, into=tmp_path / "page.html")
        assert warning in made.root.one("header").text
        assert made.drawn == []
        assert [one[1:] for one in made.cards[4:6]] == [(NOTHING, "no comparison", NOTHING)] * 2
        assert {one[1] for one in made.cards} == {"0", NOTHING}
        for sentence in (
            "There is nothing to draw: no request was open or submitted in the period.",
            "No request is open.",
            "In the period no sync saw a request change that it knew before.",
            "No number was asked for more than once with a request in the period.",
        ):
            assert sentence in made.root.text
        assert not NO_TEXT.search(made.html)


@pytest.mark.parametrize("kind", DATABASES)
def test_one_request(
    make_ready_database: Callable[[str], str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    kind: str,
) -> None:
    """Of a single request there is a page: while it is pending, when it is resolved, and before."""
    if kind != "sqlite":
        request.getfixturevalue("_undrawn")
    url, into = make_ready_database(kind), tmp_path / "page.html"
    waiting = recent(30)
    fill(url, [waiting])
    made = page(url, into=into)
    assert made.drawn == ["open", "outcomes"]
    assert made.cards[0] == ("Open now", "1", "+1", "0")
    assert made.cards[1] == ("Oldest open", "30 days", "no comparison", NOTHING)
    assert len(made.section("open").rows()) == 1
    assert not NO_TEXT.search(made.html)
    fill(url, [waiting | {"status": "rejected", "resolved_at": recent(29)["requested_at"]}])
    made = page(url, into=into)
    assert made.drawn == ["open", "outcomes", "hours", "reasons"]
    assert made.cards[3:6] == [
        ("Resolved", "1", "+1", "0"),
        ("Approval rate", "0.0 %", "no comparison", NOTHING),
        ("Median time to resolve", "24.0 h", "no comparison", NOTHING),
    ]
    assert made.chart("reasons").rows() == [["none given", "1"]]
    assert not NO_TEXT.search(made.html)
    for since, until, drawn in (("14d", "7d", ["open", "outcomes"]), ("90d", "60d", [])):
        made = page(url, "--since", since, "--until", until, into=into)
        assert made.drawn == drawn
        assert (made.cards[2][1], made.cards[3][1]) == ("0", "0")
        assert "No request was open." in made.section("open").text
        assert not NO_TEXT.search(made.html)


@pytest.mark.usefixtures("_undrawn")
def test_an_age_that_has_not_changed(
    make_ready_database: Callable[[str], str], tmp_path: Path
) -> None:
    """If the oldest open request of now is as old as that of before was then, nothing changed."""
    url = make_ready_database("sqlite")
    before = recent(25, status="approved", resolved_at=recent(15)["requested_at"])
    fill(url, [before | {"id": "before"}, recent(5)])
    made = page(url, "--since", "20d", "--until", "0d", into=tmp_path / "page.html")
    _, now, change, then = made.cards[1]
    assert (now, change) == (then, "no change")
    assert now != NOTHING


def test_many_years(make_ready_database: Callable[[str], str], tmp_path: Path) -> None:
    """However long a period is, its charts have about 60 steps at most, and tell of all of it."""
    url = make_ready_database("sqlite")
    ages = (365 * 9, 365 * 4, 1700, 400, 1)
    fill(url, [recent(days, id=f"request-{days}") for days in ages])
    for since in ("2015-01-01", "1000-01-01", "0001-01-01"):
        made = page(url, "--since", since, into=tmp_path / "page.html")
        assert made.cards[2][1] == str(len(ages))
        assert 0 < len(made.chart("outcomes").rows()) <= 61
        assert sum(made.chart("outcomes").column(1)) == len(ages)
        for name in ("open", "outcomes"):
            for drawing in made.chart(name).all("svg"):
                marks = [one for one in drawing.all("path") if "var(--" in str(one.attributes)]
                assert marks
                assert all(str(one.attributes["d"]).count("L") <= 61 for one in marks)
        assert not NO_TEXT.search(made.html)


def test_a_page_stays_small(make_ready_database: Callable[[str], str], tmp_path: Path) -> None:
    """However much there is, and however long its texts are, a page is less than a megabyte."""
    url = make_ready_database("sqlite")
    now = datetime.now(UTC)
    text = "\U000e0041" * 400 + "x" * 9600  # each of the first ones is written as ten letters
    rows = [
        {
            "id": f"{place}{text[:200]}",
            "environment": f"{place % 40} {text[:80]}",
            "phone_number": f"{place // 20}{text[:200]}",
            "reason": text,
            "status": f"{text[:200]}{place}" if place % 3 else "rejected",
            "rejection_reason": f"{place % 100}{text}",
            "requested_at": now - timedelta(hours=place),
            "resolved_at": None if place % 3 else now - timedelta(hours=place // 2),
            "first_seen_at": now - timedelta(hours=place),
            "valid_from": now - timedelta(hours=place),
            "sync_run_id": 1,
        }
        for place in range(600)
    ]
    runs = [failed_run(name, text) for name in sorted({str(one["environment"]) for one in rows})]
    change(url, *runs)
    with write_transaction(create_engine(url), "test") as connection:
        connection.execute(sa.insert(release_requests), rows)
    made = page(url, into=tmp_path / "page.html")
    assert 200_000 < len(made.html.encode()) < 1_000_000
    assert "10 more environments: mirror status has all." in made.root.text
