"""`mirror report`: the HTML report."""

from __future__ import annotations

import logging
import os
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mirror import errors
from mirror.cli.log import notify
from mirror.cli.options import (
    TIME,
    database_option,
    database_url,
    environment_filter,
    environment_option,
    now,
)
from mirror.config import file as config
from mirror.config import settings
from mirror.files import write_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirror.report.model import Report
    from mirror.report.period import Period


@click.command(epilog="Example: mirror report --since 2026-10-01 --until 2026-11-01 --open")
@click.option(
    "--output",
    "path",
    type=click.Path(dir_okay=False),
    default="mirror-report.html",
    show_default=True,
    metavar="FILE",
    help="File to write; - is standard output.",
)
@click.option(
    "--since", type=TIME, help="Start day, inclusive.  [default: the Monday twelve weeks before]"
)
@click.option("--until", type=TIME, help="End day, exclusive.  [default: up to now]")
@click.option(
    "--lang",
    type=click.Choice(["en", "pt"]),
    default="en",
    show_default=True,
    help="Language of the page: English or Brazilian Portuguese.",
)
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
@click.option("--quiet", is_flag=True, help="Print only warnings and errors.")
@environment_option
@database_option
def report(
    path: str,
    since: datetime | None,
    until: datetime | None,
    lang: str,
    open_browser: bool,
    quiet: bool,
    environment: str | None,
    database: str | None,
    config_file: str | None,
) -> None:
    """Write an HTML page with key figures, charts and tables.

    It covers whole days (UTC), and compares them with as many days before, unless these began
    before the first complete pull. The page needs neither network nor script, and can be mailed or
    printed. An existing file is replaced.

    TIME is 2024-01-31, 2024-01-31T14:30:00Z, or a time ago: 24h, 7d.
    """
    from mirror.report import collect
    from mirror.report.period import period

    if open_browser and path == "-":
        raise errors.UsageError("--open needs a file", hint="leave out --open, or --output -")
    if not os.path.isdir(Path(path).absolute().parent):  # noqa: PTH112 (pathlib's raises)
        raise errors.UsageError(
            f"there is no folder for {path}", hint="make it, or change --output"
        )
    render = _renderer()
    created_at = now()
    url, environment = database_url(database, config_file), environment_filter(environment)
    content = collect.collect(
        url,
        period(since, until, created_at),
        environment=environment,
        now=created_at,
        max_age=partial(settings.max_age, config.load(config_file)),
    )
    if not content.buckets:
        _say_what_there_is(url, content.period, environment)
    text = render(content, lang)
    if path == "-":
        sys.stdout.write(text)
        return
    write_file(Path(path), text)
    if not quiet:
        notify(f"wrote {path} ({len(text.encode()) / 1024:,.0f} KiB)")
    if open_browser:
        _open_in_browser(Path(path))


def _renderer() -> Callable[[Report, str], str]:
    """Return the function that renders the page.

    Raises:
        MissingExtra: its libraries are not installed.
    """
    try:
        from mirror.report import formatting, html
    except ModuleNotFoundError as error:
        raise errors.MissingExtra(
            f"the report needs {error.name}, which is not installed", "report"
        ) from error
    return lambda report, lang: html.render(report, formatting.Language(lang))


def _say_what_there_is(url: str, period: Period, environment: str | None) -> None:
    """Warn that the page is about nothing."""
    from mirror.queries import empty, helpers

    with helpers.connect(url) as connection:
        reason = empty.no_requests(
            connection, environment=environment, since=period.start, until=period.end
        )
    if reason:
        notify(reason, logging.WARNING)


def _open_in_browser(file: Path) -> None:
    """Open a file in the browser, if there is one."""
    import webbrowser

    if not webbrowser.open(file.absolute().as_uri()):
        notify(f"no browser could be opened; open {file} in one", logging.WARNING)
