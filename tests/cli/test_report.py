"""`mirror report` as a command: its output, its messages, and what a failure leaves behind."""

from __future__ import annotations

import os
import re
import sys
import webbrowser
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mirror.files import write_file
from tests.support.commands import Ran, run_mirror, run_process, run_python
from tests.support.databases import new_database
from tests.support.reports import Page, render_page, sync_hourly
from tests.support.upstream import request

LIMIT = 34_000
"""Maximum size of a file in bytes; a page is larger."""


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A mirror of 40 requests that were open for weeks, and of one that was approved."""
    with new_database("sqlite", request) as new_url:
        pending = [entry(number, days=2 * number) for number in range(1, 41)]
        sync_hourly(new_url, [*pending, entry(41, status="approved")])
        yield new_url


def entry(number: int, *, days: float = 2, **fields: Any) -> dict[str, Any]:
    """A request submitted some days ago."""
    requested_at = datetime.now(UTC) - timedelta(days=days)
    return request(number, requested_at=requested_at.isoformat(), **fields)


def report(url: str, *options: str, cwd: Path, **environment: str) -> Ran:
    """Run the command."""
    return run_mirror("report", "--database", url, *options, cwd=cwd, **environment)


def test_the_file_is_replaced(url: str, tmp_path: Path) -> None:
    """The page goes to a file that only its owner can read; an old one keeps its permissions."""
    ran = report(url, cwd=tmp_path)
    assert (ran.code, ran.out) == (0, "")
    assert re.fullmatch(r"mirror: wrote mirror-report\.html \(\d+ KiB\)\n", ran.err)
    file = tmp_path / "mirror-report.html"
    assert file.stat().st_mode & 0o777 == 0o600
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
    """With `--output -` the page is the only output, in UTF-8 whatever the locale."""
    ran = run_process(
        *("report", "--database", url, "--output", "-"),
        cwd=tmp_path,
        LC_ALL="C",
        PYTHONIOENCODING="latin-1",
    )
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("<!DOCTYPE html>\n")
    assert Page(ran.out).cards["open"][:2] == ("Open now", "40")
    assert list(tmp_path.iterdir()) == []


ERRORS = [
    ("--output nowhere/page.html", 2, "there is no folder for nowhere/page.html; make it, or"),
    ("--output .", 2, "is a directory"),
    (
        "--since 2016-01-02 --until 2016-01-02",
        2,
        "2016-01-02 and 2016-01-02; choose an earlier --since",
    ),
    ("--since 9999-01-01", 2, "days to come do not count"),
    ("--since soon", 2, "'soon' is not a time"),
    ("--lang fr", 2, "'fr' is not one of 'en', 'pt'"),
    ("--open --output -", 2, "--open needs a file; leave out --open, or --output -\n"),
    ("--database sqlite:///nothing.db", 1, "mirror: there is no mirror at "),
    ("--output /dev/full", 75, "cannot be written (No space left on device); choose another place"),
]


def test_errors(url: str, tmp_path: Path) -> None:
    """An error is one sentence, and leaves nothing behind."""
    for options, code, message in ERRORS:
        ran = report(url, *options.split(), cwd=tmp_path)
        assert (options, ran.code, ran.out) == (options, code, "")
        assert message in ran.err, options
        assert "Traceback" not in ran.err, options
        assert list(tmp_path.iterdir()) == [], options


def test_an_unknown_environment(url: str, tmp_path: Path) -> None:
    """The page of an environment without a sync says that there was none."""
    page = render_page(url, "--environment", "nowhere", into=tmp_path / "page.html")
    header = page.header.text
    assert "environment nowhere" in header
    assert "No sync has succeeded yet." in header
    assert page.cards["open"][1] == "0"


def test_open(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--open` passes the address of the file to the browser, or says that there is none."""
    browser, arguments = tmp_path / "browser", tmp_path / "arguments"
    browser.write_text(f'#!/bin/sh\nprintf %s "$*" >"{arguments}"\n')
    browser.chmod(0o755)

    def open_file(file: Path, **environment: str) -> Ran:
        monkeypatch.setattr(webbrowser, "_tryorder", None)  # forget the browsers found before
        monkeypatch.setattr(webbrowser, "_browsers", {})
        return report(url, "--open", "--output", file.name, cwd=tmp_path, **environment)

    file = tmp_path / "a page#1.html"
    ran = open_file(file, BROWSER=str(browser))
    assert (ran.code, ran.err.count("\n")) == (0, 1)
    assert arguments.read_text() == file.as_uri()
    ran = open_file(file, BROWSER="/bin/false", PATH="", DISPLAY="", WAYLAND_DISPLAY="")
    assert ran.code == 0
    assert "no browser could be opened; open a page#1.html in one\n" in ran.err


def test_language(url: str, tmp_path: Path) -> None:
    """`--lang pt` writes the page in Portuguese, and no other text."""
    ran = report(url, "--lang", "pt", "--output", "-", cwd=tmp_path, LC_ALL="C")
    page = Page(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert page.root.find("html").attributes["lang"] == "pt-BR"
    assert page.cards["open"][:2] == ("Em aberto agora", "40")
    assert re.search(r"dados de \d\d/\d\d/20\d\d \d\d:\d\d UTC", page.header.text)


def test_missing_libraries(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without jinja2 the message says how to install it, and the old page stays."""
    monkeypatch.delitem(sys.modules, "mirror.report.html", raising=False)
    monkeypatch.delattr("mirror.report.html", raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)  # makes its import fail
    old = tmp_path / "mirror-report.html"
    old.write_text("old")
    ran = report(url, cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "mirror: the report needs jinja2, which is not installed; install mirror again with the "
        "extra report, as in '.[report]' (and with those that it has already)\n"
    )
    assert old.read_text() == "old"
    assert run_mirror("changes", "--database", url).code == 0


def test_a_loop_of_links(url: str, tmp_path: Path) -> None:
    """A link that leads to itself is replaced by the page."""
    page = tmp_path / "page.html"
    page.symlink_to("page.html")
    ran = run_mirror("report", "--database", url, "--output", "page.html", cwd=tmp_path)
    assert (ran.code, ran.out, page.is_symlink()) == (0, "", False)


def test_an_open_file_is_written_to(url: str, tmp_path: Path) -> None:
    """What is in an open file stays; neither it nor a link to it or a pipe is replaced."""
    log, link = tmp_path / "app.log", tmp_path / "link"
    log.write_text("old\n")
    with log.open("a") as file:
        link.symlink_to(f"/proc/self/fd/{file.fileno()}")
        assert (
            report(url, "--quiet", "--output", f"/dev/fd/{file.fileno()}", cwd=tmp_path).code == 0
        )
        write_file(link, "<p>the link\n")
    assert re.fullmatch(r"old\n<!DOCTYPE html>\n.*</html><p>the link\n", log.read_text(), re.DOTALL)
    assert link.is_symlink()
    for reader_closed in (False, True):
        reader, writer = os.pipe()
        if reader_closed:
            os.close(reader)
        write_file(Path(f"/dev/fd/{writer}"), "text")
        os.close(writer)
        if not reader_closed:
            assert os.read(reader, 9) == b"text"
            os.close(reader)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.log", "link"]


def test_no_space_left(url: str, tmp_path: Path) -> None:
    """A page that cannot be written in full replaces nothing, and no part of it is left."""
    old = tmp_path / "page.html"
    old.write_text("old")
    limited = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}));"
        "from mirror import cli;"
        "sys.exit(cli.run(sys.argv[1:]))"
    )
    ran = run_python(
        "-c", limited, "report", "--database", url, "--output", "page.html", cwd=tmp_path
    )
    assert (ran.code, ran.out) == (2, "")
    assert f"{old} cannot be written (File too large); choose another place for it" in ran.err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("page.html", "old")]
