"""`mirror report` as a command: the file, the messages, and what is left after an error."""

from __future__ import annotations

import re
import sys
import webbrowser
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mirror.errors import DatabaseUnavailable
from mirror.queries import helpers, status
from mirror.report import collect, model
from mirror.report.period import Period
from tests.support.commands import Ran, run_mirror, run_process, run_python
from tests.support.databases import DATABASES, new_database
from tests.support.reports import Page, change, failed_run, fill, page, undrawn, usual_period
from tests.support.upstream import request

LIMIT = 50_000
"""Bytes that a file may have on a full disk; a page has more."""


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A mirror with 40 requests that are pending for weeks, and an approved one."""
    with new_database("sqlite", request) as database:
        pending = [requested(number, days=2 * number) for number in range(1, 41)]
        fill(database, [*pending, requested(41, status="approved")])
        yield database


def requested(number: int, *, days: float = 2, **fields: Any) -> dict[str, Any]:
    """A request submitted some days ago."""
    time = datetime.now(UTC) - timedelta(days=days)
    return request(number, requested_at=time.isoformat(), **fields)


@pytest.fixture(autouse=True)
def _undrawn() -> Iterator[None]:
    """Leave out the drawings of charts."""
    with undrawn():
        yield


def report(url: str, *options: str, cwd: Path, **environment: str) -> Ran:
    """Run the command."""
    return run_mirror("report", "--database", url, *options, cwd=cwd, **environment)


def test_a_file_is_replaced(url: str, tmp_path: Path) -> None:
    """An existing file is replaced, through a link too, and keeps its permissions."""
    ran = report(url, cwd=tmp_path)
    assert (ran.code, ran.out) == (0, "")
    assert re.fullmatch(r"mirror: wrote mirror-report\.html \(\d+ KiB\)\n", ran.err)
    file = tmp_path / "mirror-report.html"
    made_at = Page(file.read_text("utf-8")).made_at
    file.chmod(0o640)
    link = tmp_path / "link.html"
    link.symlink_to(file)
    ran = report(url, "--output", "link.html", cwd=tmp_path)
    assert (ran.code, "wrote link.html" in ran.err) == (0, True)
    assert link.is_symlink()
    assert Page(file.read_text("utf-8")).made_at > made_at
    assert file.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.html", "mirror-report.html"]


def test_standard_output(url: str, tmp_path: Path) -> None:
    """With `--output -` only the page is written, in UTF-8 whatever the locale."""
    ran = run_process(
        *("report", "--database", url, "--output", "-"),
        cwd=tmp_path,
        LC_ALL="C",
        PYTHONIOENCODING="latin-1",
    )
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("<!DOCTYPE html>\n")
    assert Page(ran.out).cards[0][:2] == ("Open now", "40")
    assert list(tmp_path.iterdir()) == []


REFUSED = [
    ("--output nowhere/page.html", 2, "there is no folder for nowhere/page.html; make it, or"),
    ("--output .", 2, "is a directory"),
    ("--since 2016-01-02 --until 2016-01-02", 2, "no day lies between 2016-01-02 and 2016-01-02;"),
    ("--since 9999-01-01", 2, "days to come do not count"),
    ("--since soon", 2, "'soon' is not a time"),
    ("--open --output -", 2, "--open needs a file; leave out --open, or --output -\n"),
    ("--database sqlite:///nothing.db", 1, "mirror: there is no mirror at "),
    ("--output /dev/full", 75, "cannot be written (No space left on device); choose another place"),
]


def test_what_is_refused(url: str, tmp_path: Path) -> None:
    """A report that cannot be written has an error message, and leaves no file behind."""
    for options, code, message in REFUSED:
        ran = report(url, *options.split(), cwd=tmp_path)
        assert (options, ran.code, ran.out) == (options, code, "")
        assert message in ran.err, options
        assert "Traceback" not in ran.err, options
        assert list(tmp_path.iterdir()) == [], options


def test_an_unknown_environment(url: str, tmp_path: Path) -> None:
    """The page of an environment that was never synced says so."""
    content = page(url, "--environment", "nowhere", into=tmp_path / "page.html")
    header = content.root.one("header").text
    assert "environment nowhere" in header
    assert "The mirror never was complete: no sync has succeeded yet." in header
    assert {card[1] for card in content.cards[2:4]} == {"0"}


def test_open(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--open` opens the URL of the file in the browser, or says that there is none."""
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\nprintf %s "$*" >"{opened}"\n')
    browser.chmod(0o755)

    def open_file(file: Path, **environment: str) -> Ran:
        monkeypatch.setattr(webbrowser, "_tryorder", None)  # it has not looked for browsers yet
        monkeypatch.setattr(webbrowser, "_browsers", {})
        return report(url, "--open", "--output", file.name, cwd=tmp_path, **environment)

    file = tmp_path / "a page#1.html"
    ran = open_file(file, BROWSER=str(browser))
    assert (ran.code, ran.err.count("\n")) == (0, 1)
    assert opened.read_text() == file.as_uri()
    ran = open_file(file, BROWSER="/bin/false", PATH="", DISPLAY="", WAYLAND_DISPLAY="")
    assert ran.code == 0
    assert "no browser could be opened; open a page#1.html in one\n" in ran.err


def test_missing_libraries(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without altair the message says how to install it, and the old page stays."""
    monkeypatch.setitem(sys.modules, "altair", None)  # its import fails
    old = tmp_path / "mirror-report.html"
    old.write_text("old")
    ran = report(url, cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "mirror: the report needs altair, which is not installed; install all it needs with: "
        "pip install 'talkover-mirror[report]'\n"
    )
    assert old.read_text() == "old"
    assert run_mirror("changes", "--database", url).code == 0


def test_a_full_disk_leaves_the_old_page(url: str, tmp_path: Path) -> None:
    """A page that cannot be written in full replaces nothing, and no part of it is left."""
    old = tmp_path / "page.html"
    old.write_text("old")
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}));"
        "from mirror import cli; from mirror.report import svg;"
        f"svg._svg = lambda *_: ' ' * {LIMIT};"
        "sys.exit(cli.run(sys.argv[1:]))"
    )
    ran = run_python("-c", code, "report", "--database", url, "--output", "page.html", cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert f"{old} cannot be written (File too large); choose another place for it" in ran.err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("page.html", "old")]


# The second connection, which reads the view of days in parallel


@cache
def period() -> Period:
    """The usual period, the same if midnight passes during the tests."""
    return Period(*usual_period(datetime.now(UTC)))


@pytest.mark.calendar
@pytest.mark.parametrize("kind", DATABASES)
def test_days_of_the_second_connection_are_of_the_same_snapshot(
    make_ready_database: Callable[[str], str], kind: str
) -> None:
    """Days of the second connection are used only if no run completed in between."""
    url = make_ready_database(kind)
    fill(url, [requested(1)])
    with helpers.connect(url) as connection:
        seen = status.last_complete(connection)
        days = helpers.days(connection, since=period().since, until=period().until)
    assert days
    assert collect._days_if_nothing_came(seen, url, period(), None) == days
    assert collect._days_if_nothing_came(seen, url, period(), "nowhere") == []
    change(url, failed_run("default"))
    assert collect._days_if_nothing_came(seen, url, period(), None) == days
    fill(url, [requested(1), requested(2)])
    assert collect._days_if_nothing_came(seen, url, period(), None) is None
    assert collect._days_if_nothing_came(seen, "sqlite:///nothing.db", period(), None) is None


@pytest.mark.parametrize("kind", DATABASES)
def test_the_report_is_the_same_without_the_second_connection(
    make_ready_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The first connection counts the days if a run completed, or if there is no second one."""
    url = make_ready_database(kind)
    fill(url, [requested(1), requested(2, status="approved")], [requested(1, status="rejected")])
    now = datetime.now(UTC)

    def gather() -> model.Report:
        return collect.collect(url, period(), now=now)

    report = gather()
    assert report.figures.counts.requested == 2
    with monkeypatch.context() as patch:
        patch.setattr(collect, "_days_if_nothing_came", lambda *_: None)
        assert gather() == report
    connect, opened = helpers.connect, []

    def connect_once(given: str) -> Any:
        opened.append(given)
        if len(opened) > 1:
            raise DatabaseUnavailable("too many connections")
        return connect(given)

    with monkeypatch.context() as patch:
        patch.setattr(helpers, "connect", connect_once)
        assert gather() == report
    assert opened == [url, url]
