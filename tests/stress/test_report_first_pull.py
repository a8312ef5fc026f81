"""What a page makes of the time before the first complete pull, and of unknown times."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mirror.db.engine import read_transaction
from mirror.db.prune import prune
from mirror.report.model import Counts, FirstPull, Undated
from mirror.report.statistics import Statistics, undated
from tests.support.mirrors import Mirror
from tests.support.oracle_statistics import NOTHING
from tests.support.reports import Element, Page, execute, failed_run, render_page
from tests.support.statistics_lists import JANUARY, january
from tests.support.upstream import request

EDGE_CASES = Path(__file__).parent.parent / "data" / "edge-cases.json"
NUMBER = "+15550001234"
NOW = datetime.now(UTC).replace(microsecond=0)


def ago(days: float) -> datetime:
    """A time some days ago."""
    return NOW - timedelta(days=days)


def dates(since: float, until: float | None = None) -> list[str]:
    """The options for the days from one to another, each some days ago."""
    options = ["--since", str(ago(since).date())]
    return options if until is None else [*options, "--until", str(ago(until).date())]


def entry(name: str, days: float, status: str = "pending", **fields: Any) -> dict[str, Any]:
    """A request that was submitted some days ago."""
    requested_at = ago(days).isoformat()
    fields = {"phone_number": f"number of {name}"} | fields
    return request(id=name, status=status, requested_at=requested_at, **fields)


def sync(mirror: Mirror, days: float, entries: list[Any], environment: str = "default") -> datetime:
    """Sync a list some days ago, and return when."""
    mirror.now = ago(days) - timedelta(hours=1)
    result = mirror.sync(entries, environment=environment, accept_missing=True)
    assert result.failure is None
    return result.started_at


def stamp(time: datetime) -> str:
    """A time as a page has it."""
    return f"{time:%Y-%m-%d %H:%M}"


def shaded_widths(chart: Element) -> list[set[float]]:
    """The widths of what is shaded in each drawing of a chart that has any."""
    widths = [
        {float(str(rect.attributes["width"])) for rect in drawing.find_all("rect", class_="shade")}
        for drawing in chart.find_all("svg")
    ]
    return [each for each in widths if each]


def plot_widths(chart: Element) -> list[float]:
    """The width of what a chart plots, in each drawing of it."""
    return [
        float(right) - float(left)
        for drawing in chart.find_all("svg")
        for path in drawing.find_all("path", class_="axis")
        for left, right in [re.findall(r"[ML]([0-9.]+) ", str(path.attributes["d"]))]
    ]


@pytest.mark.calendar
def test_the_first_sync(mirror: Mirror, tmp_path: Path) -> None:
    """What had been resolved at an unknown time is in no figure and on no day, and is counted."""
    approved = {"status": "approved", "resolved_at": ago(25).isoformat()}
    entries = [
        entry("approved", 40) | approved,
        entry("rejected", 40, "rejected", rejection_reason="There are open invoices"),
        entry("cancelled", 39, "cancelled", phone_number=NUMBER),
        entry("cancelled too", 38, "cancelled"),
        entry("approved too", 37, phone_number=NUMBER) | approved,
        entry("pending", 36, phone_number=NUMBER),
    ]
    seen = stamp(sync(mirror, 0, entries))
    page = render_page(mirror.url, into=tmp_path / "page.html")
    assert {card[2:] for card in page.cards.values()} == {("", "")}
    assert page.cards["open"][1] == "1"
    assert page.cards["approval"][1] == "66.7\N{EN DASH}100.0 %"
    text = page.section("figures").text
    assert "6 requested, 2 resolved" in text
    assert f"Nothing to compare with before the first complete pull ({seen} UTC)." in text
    assert "a range, as 1 more may belong to these days" in text
    assert page.charts == ["open", "outcomes", "hours"]
    assert max(page.chart("open").column(1)) == 3
    assert [sum(page.chart("outcomes").column(place)) for place in (1, 2, 3, 4)] == [6, 2, 0, 0]
    for name, omitted in (
        ("open", "resolutions at an unknown time"),
        ("outcomes", "resolutions at an unknown time"),
        ("hours", "resolutions that have no reported time"),
    ):
        note = page.chart(name).find("p", class_="note").text
        assert note == (
            f"Shaded: before the first complete pull ({seen} UTC). Without 3 {omitted}."
        )
    changes = page.section("changes").text
    assert f"known only after the first complete pull ({seen} UTC)." in changes
    events = [event.text for event in page.section("numbers").find("ol").find_all("li")]
    assert [re.sub(r":? Number is.*", "", event) for event in events] == [
        f"{stamp(ago(39))} requested",
        f"unknown time cancelled (after {stamp(ago(39))}, first seen {seen})",
        f"{stamp(ago(37))} requested",
        f"{stamp(ago(36))} requested",
        f"{stamp(ago(25))} approved",
    ]


@pytest.mark.calendar
def test_between_two_pulls(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """What was resolved between two pulls counts at the second; a page says so, and how many."""
    mirror = sqlite_mirror
    first, later = (entry(str(days), days, phone_number=NUMBER) for days in (30, 8))
    sync(mirror, 20, [first])
    last = sync(mirror, 12, [first])
    seen = sync(mirror, 5, [first | {"status": "cancelled"}, later])
    page = render_page(mirror.url, *dates(10), into=tmp_path / "page.html")
    assert page.cards["open"][1:] == ("1", "no change", "before: 1")
    assert "1 requested, 1 resolved" in page.section("figures").text
    notes = [note.text for note in page.section("over-time").find_all("p", class_="note")]
    assert notes == [
        "1 resolution without a reported time counts when a sync saw it.",
    ]
    event = list(page.section("numbers").find("ol").find_all("li"))[-1]
    assert event.text == f"{stamp(seen)} cancelled (observed, after {stamp(last)})"


FIRST_PULLS = {"early": 35, "before": 25, "inside": 15, "after": 5}
"""When the first complete pull of each environment was, in days ago.

The period is from 20 to 10 days ago, and that before it from 30 to 20.
"""


def test_what_is_compared(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """No figure of a page is from before the first pull, and none is compared with one that is.

    Of several environments, the last first pull counts that saw earlier requests.
    """
    mirror = sqlite_mirror
    names = {name: f"{name} <b>" for name in FIRST_PULLS}
    times = {
        name: sync(mirror, days, [entry(name, 40)], names[name])
        for name, days in FIRST_PULLS.items()
    }
    sync(mirror, 1, [entry("no past", 0.5)], "no past")

    def page(*options: str) -> Page:
        return render_page(mirror.url, *dates(20, 10), *options, into=tmp_path / "page.html")

    pages = {name: page("--environment", names[name]) for name in FIRST_PULLS}
    pages["all"] = page()
    assert {name: changes(page) for name, page in pages.items()} == {
        "early": f"=+{NOTHING * 2}",  # without a resolution there is no time and no rate
        "before": f"=+{NOTHING * 2}",
        "inside": NOTHING * 4,
        "after": NOTHING * 4,
        "all": NOTHING * 4,
    }
    pull = {name: f"({stamp(time)} UTC)" for name, time in times.items()}
    for name, sentence in {
        "early": "Compared with the 10 days before",
        "before": f"they began before the first complete pull {pull['before']}.",
        "inside": f"compare with before the first complete pull {pull['inside']}.",
        "after": f"compare with before the first complete pull {pull['after']}.",
        "all": f"before the first complete pull of {names['after']} {pull['after']}.",
    }.items():
        assert sentence in pages[name].section("figures").text
        shaded = ["Shaded" in pages[name].chart(chart).text for chart in ("open", "outcomes")]
        assert shaded == [name in ("inside", "after", "all")] * 2
        known_later = "known only after" in pages[name].section("changes").text
        assert known_later is (name in ("inside", "after", "all"))
    rows = pages["all"].section("environments").rows()
    assert sorted(row[0] for row in rows) == sorted([*names.values(), "no past"])


def changes(page: Page) -> str:
    """The changes of the large figures, a character each: =, a dash (not compared) or +."""
    signs = {"no change": "=", "": NOTHING}
    return "".join(signs.get(card[2], "+") for card in page.cards.values())


@pytest.mark.calendar
def test_shading(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """A chart is shaded up to the first pull, even if a wrong clock has put that in the future."""
    mirror = sqlite_mirror
    requests = [entry(str(days), days) for days in (41, 31)]
    for environment, days, days_shaded in (("past", 36, 5), ("none", 42, 0), ("future", -9, 20)):
        named = [each | {"id": f"{environment} {each['id']}"} for each in requests]
        sync(mirror, days, named, environment)
        options = [*dates(41, 20), "--environment", environment]
        page = render_page(mirror.url, *options, into=tmp_path / "page.html")
        open_widths, outcomes_widths = (
            shaded_widths(page.chart(name)) for name in ("open", "outcomes")
        )
        if not days_shaded:
            assert (open_widths, outcomes_widths) == ([], [])
            continue
        whole = plot_widths(page.chart("open"))
        shaded = [width for (width,) in open_widths]
        assert shaded == pytest.approx([width * days_shaded / 20 for width in whole], abs=0.2)
        assert [len(widths) for widths in outcomes_widths] == [1, 1]
        text = page.section("over-time").text
        assert ("), by a wrong clock" in text) is (environment == "future")


def test_first_pulls(mirror: Mirror) -> None:
    """The first complete pull of an environment is found by its runs, also after a pruning."""
    execute(mirror.url, failed_run("default"), failed_run("never"))
    mirror.now = january(11)
    first = mirror.sync([request(1, requested_at="2024-01-10T09:00:00Z")]).started_at
    mirror.sync()
    mirror.now = january(12)
    empty = mirror.sync([], environment="empty", accept_missing=True).started_at
    expected = [FirstPull("default", first, True), FirstPull("empty", empty, False)]

    def first_pulls() -> list[FirstPull]:
        with read_transaction(mirror.engine) as connection:
            return Statistics(connection).first_pulls(["default", "empty", "never", "nowhere"])

    assert first_pulls() == expected
    assert prune(mirror.engine, before=ago(-1)).removed > 0
    assert first_pulls() == expected


def test_unknown_times_and_a_wrong_clock(mirror: Mirror) -> None:
    """If the clock was behind when a request was first seen, that is no upper bound."""
    mirror.now = january(11).replace(year=2001)
    mirror.sync([request(1, status="cancelled", requested_at="2024-01-10T09:00:00Z")])
    unknown = Counts(requested=0, approved=0, rejected=0, cancelled=1)
    with read_transaction(mirror.engine) as connection:
        assert undated(*Statistics(connection).resolutions([JANUARY])) == Undated(0, unknown)


def test_edge_cases(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """A cancellation without a time stands behind its own request, and before the later ones."""
    seen = stamp(sync(sqlite_mirror, 0, json.loads(EDGE_CASES.read_text("utf-8"))["data"]))
    page = render_page(sqlite_mirror.url, "--since", "2024-01-01", into=tmp_path / "page.html")
    events = page.section("numbers").find("ol").find_all("li")
    assert [re.sub(r"([a-z])(: | \().*", r"\1", event.text) for event in events] == [
        "2024-03-01 09:00 requested",
        "2024-03-02 10:00 rejected",
        "2024-03-03 09:00 requested",
        "unknown time cancelled",
        "2024-03-05 09:00 requested",
        "2024-03-06 12:34 approved",
        "2025-03-01 09:00 requested",
    ]
    assert max(page.chart("open").column(1)) == 3
    assert f"first seen {seen}" in page.section("numbers").text
