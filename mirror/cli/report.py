"""`mirror report`: the page for people who would rather look."""

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
    help="Where to; - is the standard output.",
)
@click.option(
    "--since",
    type=parse_time,
    metavar="TIME",
    help="From the day of this time on.  [default: the Monday twelve weeks before]",
)
@click.option(
    "--until",
    type=parse_time,
    metavar="TIME",
    help="Up to the day of this time, which is left out.  [default: up to now]",
)
@click.option("--open", "opened", is_flag=True, help="Open it in the browser.")
@click.option("--quiet", is_flag=True, help="Say nothing when all is well.")
@environment_option
@database_option
def report(
    path: str,
    since: datetime | None,
    until: datetime | None,
    opened: bool,
    quiet: bool,
    environment: str | None,
    database: str | None,
    config_file: str | None,
) -> None:
    """Make one HTML page with key figures, charts and tables.

    It tells of whole days (UTC), and compares them with as many days before. The page needs
    neither network nor script, and can be mailed or printed. A file of that name is replaced.

    Times are written 2024-01-31, 2024-01-31T14:30:00Z, or as a time ago: 24h, 7d.
    """
    from mirror.cli import output
    from mirror.report import charts, collect, html, svg
    from mirror.report.period import period

    if opened and path == "-":
        raise errors.UsageError("--open needs a file", hint="leave out --open, or --output -")
    if not os.path.isdir(Path(path).absolute().parent):  # noqa: PTH112 (pathlib's raises)
        raise errors.UsageError(
            f"there is no folder for {path}", hint="make it, or change --output"
        )
    svg.check()
    moment_made = now()
    told = collect.collect(
        database_url(database, config_file),
        period(since, until, moment_made),
        environment=environment_filter(environment),
        now=moment_made,
    )
    text = html.render(told, charts.charts(told))
    if path == "-":
        sys.stdout.write(text)
        return
    output.replace(Path(path), text)
    if not quiet:
        echo_status(f"wrote {path} ({len(text.encode()) / 1024:,.0f} KiB)")
    if opened:
        _open(Path(path))


def _open(file: Path) -> None:
    """Show a file in the browser, if there is one."""
    import webbrowser

    if not webbrowser.open(file.absolute().as_uri()):
        echo_status(f"no browser could be opened; open {file} in one", logging.WARNING)
