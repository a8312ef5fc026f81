"""`mirror report`: the mirror as an HTML page."""

from __future__ import annotations

import logging
import os
import sys
from datetime import datetime
from pathlib import Path

import click

from mirror import errors
from mirror.cli.options import (
    database_option,
    database_url,
    echo_status,
    environment_filter,
    environment_option,
    now,
    parse_time,
)


@click.command(epilog="Example: mirror report --since 2026-10-01 --until 2026-11-01 --open")
@click.option(
    "--output",
    "path",
    type=click.Path(dir_okay=False),
    default="mirror-report.html",
    show_default=True,
    metavar="FILE",
    help="Output file; - for standard output.",
)
@click.option(
    "--since",
    type=parse_time,
    metavar="TIME",
    help="Start day.  [default: the Monday twelve weeks before]",
)
@click.option(
    "--until",
    type=parse_time,
    metavar="TIME",
    help="End day, exclusive.  [default: up to now]",
)
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
@click.option("--quiet", is_flag=True, help="Print only warnings and errors.")
@environment_option
@database_option
def report(
    path: str,
    since: datetime | None,
    until: datetime | None,
    open_browser: bool,
    quiet: bool,
    environment: str | None,
    database: str | None,
    config_file: str | None,
) -> None:
    """Make one HTML page with key figures, charts and tables.

    The report covers whole days (UTC) and compares them with the same number of days before. The
    page needs neither network nor script, and can be mailed or printed. An existing file is
    replaced.

    Times are written 2024-01-31, 2024-01-31T14:30:00Z, or as a time ago: 24h, 7d.
    """
    from mirror.cli import output
    from mirror.report import charts, collect, html, svg
    from mirror.report.period import period

    if open_browser and path == "-":
        raise errors.UsageError("--open needs a file", hint="leave out --open, or --output -")
    if not os.path.isdir(Path(path).absolute().parent):  # noqa: PTH112 (pathlib's raises)
        raise errors.UsageError(
            f"there is no folder for {path}", hint="make it, or change --output"
        )
    svg.check()
    made_at = now()
    content = collect.collect(
        database_url(database, config_file),
        period(since, until, made_at),
        environment=environment_filter(environment),
        now=made_at,
    )
    page = html.render(content, charts.charts(content))
    if path == "-":
        sys.stdout.write(page)
        return
    output.replace(Path(path), page)
    if not quiet:
        echo_status(f"wrote {path} ({len(page.encode()) / 1024:,.0f} KiB)")
    if open_browser:
        _open_in_browser(Path(path))


def _open_in_browser(file: Path) -> None:
    import webbrowser

    if not webbrowser.open(file.absolute().as_uri()):
        echo_status(f"no browser could be opened; open {file} in one", logging.WARNING)
