"""Pages of `mirror report` on mirrors with little in them, or much."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mirror.db.engine import create_engine, write_transaction
from mirror.db.models import release_requests
from tests.support.databases import DATABASES
from tests.support.mirrors import Mirror
from tests.support.oracle_statistics import NOTHING
from tests.support.reports import (
    Page,
    execute,
    failed_run,
    render_page,
    sync_hourly,
)
from tests.support.upstream import request

NO_VALUE = re.compile(r"\b(NaN|None|undefined|Infinity)\b")
"""What programs print in place of a missing value."""


def recent(days: float = 1, **fields: Any) -> dict[str, Any]:
    """A request submitted some days ago."""
    requested_at = datetime.now(UTC) - timedelta(days=days)
    return request(requested_at=requested_at.isoformat()) | fields


@pytest.mark.calendar
def test_a_reopened_request(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """In a past period a request that was reopened later counts as it was then, everywhere."""
    mirror, now = sqlite_mirror, datetime.now(UTC).replace(microsecond=0)
    first = recent(30)
    for ago, entry in (
        (28, first),
        (20, first | {"status": "rejected", "resolved_at": recent(25)["requested_at"]}),
        (5, first | {"status": "pending"}),
    ):
        mirror.now = now - timedelta(days=ago)
        mirror.sync([entry])
    for until, count in (("27d", 1), ("10d", 0), ("0d", 1)):
        page = render_page(mirror.url, "--since", "40d", "--until", until, into=tmp_path / "page")
        assert page.cards["open"][1] == str(count)
        assert page.chart("open").column(1)[-1] == count
        listed = page.section("open-requests").find_all("th", scope="row")
        assert len(list(listed)) == count


@pytest.mark.parametrize("kind", DATABASES)
def test_an_empty_mirror(
    make_ready_database: Callable[[str], str], tmp_path: Path, kind: str
) -> None:
    """A mirror without requests has a page that says so."""
    url = make_ready_database(kind)
    for statements, warning in (
        ([], "This mirror is empty: run mirror sync."),
        ([failed_run("one")], "No sync has succeeded yet."),
        ([failed_run("two")], "No sync has succeeded yet."),
    ):
        execute(url, *statements)
        page = render_page(url, into=tmp_path / "page.html")
        assert warning in page.header.text
        assert "Nothing needs attention." not in page.root.text
        assert page.charts == []
        if not statements:  # one line in place of sections
            assert list(page.root.find_all("section", "nav", "table")) == []
            continue
        assert [card[1:] for card in page.cards.values()] == [
            ("0", "", ""),
            *[(NOTHING, "", "")] * 3,
        ]
        for sentence in (
            "No charts: no request was open or submitted in this period.",
            "No request is open.",
            "No changes in this period.",
            "No number was requested again in this period.",
        ):
            assert sentence in page.root.text
        assert not NO_VALUE.search(page.html)


@pytest.mark.parametrize("kind", DATABASES)
def test_one_request(
    make_ready_database: Callable[[str], str],
    tmp_path: Path,
    kind: str,
) -> None:
    """A single request has a page: while it is pending, when it is resolved, and before."""
    url, pending = make_ready_database(kind), recent(30)

    def page(*options: str) -> Page:
        rendered = render_page(url, *options, into=tmp_path / "page.html")
        assert not NO_VALUE.search(rendered.html)
        return rendered

    sync_hourly(url, [pending])
    before = page()
    assert before.charts == ["open", "outcomes"]
    assert before.cards["open"] == ("Open now", "1", "", "")
    assert before.cards["oldest"] == ("Oldest open", "30 days", "", "")
    assert len(before.section("open-requests").rows()) == 1
    rejected = {"status": "rejected", "resolved_at": recent(29)["requested_at"]}
    sync_hourly(url, [pending | rejected])
    after = page()
    assert after.charts == ["open", "outcomes", "hours"]
    assert "1 requested, 1 resolved" in after.section("figures").text
    assert after.cards["approval"] == ("Approval rate", "0.0 %", "", "")
    assert after.cards["median"] == ("Median time to resolve", "1 day", "", "")
    assert after.section("reasons").rows() == [["none given", "1", "100 %"]]
    for since, until, charts in (("14d", "7d", ["open", "outcomes"]), ("90d", "60d", [])):
        other = page("--since", since, "--until", until)
        assert other.charts == charts
        assert "0 requested, 0 resolved" in other.section("figures").text
        assert "No request was open." in other.section("open-requests").text


def test_a_request_from_the_future(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """In a past period it counts from its first sync on, also in the list and in its ages."""
    sqlite_mirror.now = datetime.now(UTC) - timedelta(days=20)
    sqlite_mirror.sync([recent(-20)])
    page = render_page(sqlite_mirror.url, "--since", "30d", "--until", "10d", into=tmp_path / "p")
    assert [page.cards[name][1] for name in ("open", "oldest")] == ["1", "0 h"]
    assert len(page.section("open-requests").rows()) == 1
    assert page.section("ages").rows() == [["under 1 day", "1", "100 %"]]


def test_an_unchanged_age(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """If the oldest open request is as old as the one before was then, nothing changed."""
    mirror, now = sqlite_mirror, datetime.now(UTC)
    before = recent(25, status="approved", resolved_at=recent(15)["requested_at"])
    mirror.now = now - timedelta(days=22)
    mirror.sync([recent(25, id="before")])
    mirror.now = now - timedelta(hours=1)
    mirror.sync([before | {"id": "before"}, recent(5)])
    page = render_page(mirror.url, "--since", "20d", "--until", "0d", into=tmp_path / "page.html")
    _, age, change, then = page.cards["oldest"]
    assert (f"before: {age}", change) == (then, "no change")
    assert age != NOTHING


def test_many_years(make_ready_database: Callable[[str], str], tmp_path: Path) -> None:
    """However long a period is, its charts cover all of it with about 60 buckets at most."""
    url = make_ready_database("sqlite")
    ages = (365 * 9, 365 * 4, 1700, 400, 1)
    sync_hourly(url, [recent(days, id=f"request-{days}") for days in ages])
    for since in ("2015-01-01", "1000-01-01", "0001-01-01"):
        page = render_page(url, "--since", since, into=tmp_path / "page.html")
        assert f"{len(ages)} requested" in page.section("figures").text
        assert 0 < len(page.chart("outcomes").rows()) <= 61
        assert sum(page.chart("outcomes").column(1)) == len(ages)
        bars = sum(count > 0 for count in page.chart("outcomes").column(1))
        for drawing in page.chart("outcomes").find_all("svg"):
            assert len(list(drawing.find_all("rect", class_="requested"))) == bars
        for drawing in page.chart("open").find_all("svg"):
            line = drawing.find("path", class_="line main")
            assert 0 < str(line.attributes["d"]).count("L") <= 61
        assert not NO_VALUE.search(page.html)


def test_a_page_stays_small(make_ready_database: Callable[[str], str], tmp_path: Path) -> None:
    """However much there is, and however long its texts are, a page is less than a megabyte."""
    url = make_ready_database("sqlite")
    now = datetime.now(UTC)
    text = "\U000e0041" * 400 + "x" * 9600  # each of the first ones is escaped by ten characters
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
    environments = {str(row["environment"]) for row in rows}
    execute(url, *(failed_run(name, text) for name in sorted(environments)))
    with write_transaction(create_engine(url), "test") as connection:
        connection.execute(sa.insert(release_requests), rows)
    page = render_page(url, into=tmp_path / "page.html")
    assert 200_000 < len(page.html.encode()) < 1_000_000
    assert "10 more environments: mirror status lists them." in page.root.text
