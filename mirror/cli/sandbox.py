"""`mirror sandbox` and `mirror demo`: trying everything without a token."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mirror import errors
from mirror.cli.completion import complete_fault
from mirror.cli.options import TIME, now
from mirror.cli.queries import write_history
from mirror.cli.sync_output import summary
from mirror.setup.installation import command_line, has_extra, program
from mirror.text import plural

if TYPE_CHECKING:
    from mirror.sync.run import Result


def _list_faults(context: click.Context, _option: click.Parameter, value: bool) -> None:
    """Print the faults of the sandbox, and exit."""
    if value:
        from mirror.sandbox.faults import FAULTS

        for name, fault in FAULTS.items():
            click.echo(f"{name:16} {fault.description}{' (--paged)' if fault.needs_pages else ''}")
        context.exit()


_START_YEARS = range(1970, 3000)
"""Years in which the clock of the sandbox can start: dates end with the year 9999."""


def _check_start(
    _context: click.Context, _option: click.Parameter, value: datetime | None
) -> datetime | None:
    """Refuse a start that leaves the simulation no room."""
    if value is not None and value.year not in _START_YEARS:
        first, last = _START_YEARS[0], _START_YEARS[-1]
        raise click.BadParameter(f"the year must be from {first} to {last}")
    return value


@click.command(epilog="Example: mirror sandbox --requests 1000 --paged meta --day 10")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8787,
    show_default=True,
    help="Port; 0 for any free one.",
    metavar="PORT",
)
@click.option(
    "--requests",
    "count",
    type=click.IntRange(0, 5_000_000),
    default=200,
    show_default=True,
    help="Number of requests at the start.",
    metavar="N",
)
@click.option(
    "--seed",
    # Python's generator takes a negative seed for its absolute value.
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Random seed; others give requests with other ids.",
    metavar="N",
)
@click.option(
    "--start",
    type=TIME,
    callback=_check_start,
    help="Time of the clock at the start, such as 2026-01-31. With the same seed the list is the "
    "same then, to the byte.  [default: now]",
)
@click.option(
    "--token",
    default="talq_sandbox",
    show_default=True,
    help="Token to accept.",
    metavar="TOKEN",
)
@click.option(
    "--paged",
    type=click.Choice(["meta", "pagination"]),
    help="Serve the list in pages, with their number under this key.  [default: the whole list]",
)
@click.option("--etag", is_flag=True, help="Send an ETag, and 304 if the client has that list.")
@click.option(
    "--day",
    "day_length",
    type=click.FloatRange(0.01),
    help="Advance the clock by a day every S seconds.",
    metavar="S",
)
@click.option(
    "--new-per-day",
    type=click.IntRange(0, 100_000),
    default=0,
    show_default=True,
    help="New requests each day.",
    metavar="N",
)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Serve the content of this file as the list; it is read for each request.",
)
@click.option(
    "--latency",
    type=click.FloatRange(0, 3600),
    default=0.0,
    help="Delay each response of the list by S seconds.",
    metavar="S",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    help="Rate limit of the list, in requests a minute, with headers.  [default: none]",
    metavar="N",
)
@click.option(
    "--fault",
    metavar="NAME",
    shell_complete=complete_fault,
    help="Inject this fault into responses of the list.",
)
@click.option("--times", type=click.IntRange(1), help="Inject the fault N times only.", metavar="N")
@click.option(
    "--faults",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_faults,
    help="List the faults, and exit.",
)
def sandbox(
    port: int,
    count: int,
    seed: int,
    start: datetime | None,
    token: str,
    paged: Any,
    etag: bool,
    day_length: float | None,
    new_per_day: int,
    file: Path | None,
    latency: float,
    limit: int | None,
    fault: str | None,
    times: int | None,
) -> None:
    """Serve a mock of the API on this machine.

    Use it to try everything without a token, alerts included. Its clock stands
    still, unless --day or a request advances it. Requests later than now have
    negative durations: if the clock is to advance, start it in the past.

    \b
    Besides the documented endpoints there are three of its own, with the token:
      POST /api/v1/sandbox/advance  {"days": 3} advances the clock: reviews end
      POST /api/v1/sandbox/fault    {"name": "stall", "times": 2} injects a fault
                                    into two responses, {"name": null} ends it
      GET  /api/v1/sandbox          the clock, the fault, the number of requests
    """
    from mirror.sandbox.server import Sandbox, SandboxConfig
    from mirror.sandbox.simulation import Simulation

    if not token:
        raise errors.UsageError("--token must not be empty")
    simulation = Simulation(count, seed, start or now(), new_per_day)
    try:
        server = Sandbox(simulation, SandboxConfig(token, paged, etag, file, latency, limit), port)
    except OSError as error:
        raise errors.UsageError(
            f"port {port} cannot be used ({error.strerror})", hint="choose another one with --port"
        ) from error
    with closing(server):
        try:
            server.set_fault(fault, times)
        except ValueError as error:
            raise errors.UsageError(
                f"{error}", hint="`mirror sandbox --faults` lists them"
            ) from error
        content = f"the list of {file}" if file else plural(len(simulation.requests), "request")
        click.echo(
            # Everything that could lead to a real mirror, or to settings of a real environment.
            f"export TALKOVER_BASE_URL={server.base_url} TALKOVER_TOKEN={shlex.quote(token)} "
            "MIRROR_DATABASE_URL=sqlite:///mirror-sandbox.db MIRROR_ENVIRONMENT=sandbox "
            f"MIRROR_CONFIG={os.devnull}\n"
            "# paste the line above into another terminal, then: "
            f"{shlex.join([*program(), 'sync'])}\n"
            f"# serving {content}; Ctrl-C ends it"
        )
        sys.stdout.flush()
        with server.running():
            _serve(server.advance, day_length)


def _serve(advance: Callable[[float], None], day_length: float | None) -> None:
    """Advance the clock by a day every `day_length` seconds, until the process is interrupted."""
    from threading import Event

    never = Event()
    while not never.wait(day_length):
        advance(1)


@click.command(epilog="Example: mirror demo")
@click.option(
    "--database",
    metavar="URL",
    help="An empty database.  [default: a new mirror-demo.db in this folder]",
)
def demo(database: str | None) -> None:
    """Run a guided tour: five syncs of a mock API.

    Simulates one week, and shows what the mirror knows at the end. It needs neither token nor
    network, and does not use the database of MIRROR_DATABASE_URL.
    """
    from mirror.db.engine import create_engine
    from mirror.db.urls import shown_url
    from mirror.demo import fresh_file, run

    path = Path("mirror-demo.db")
    engine = create_engine(database or fresh_file(path), create=True)

    def print_result(days: float, result: Result) -> None:
        click.echo(f"day {days:g}: {summary(result)}")

    click.echo(
        "The demo starts a mock API, simulates one week and syncs five times. Before the\n"
        "last sync the mock drops one request and corrupts another; neither is lost.\n"
    )
    end = run(engine, print_result)
    counts = ", ".join(f"{count} {status}" for status, count in end.by_status)
    click.echo(f"\nNow in the mirror: {counts}.")
    click.echo(f"\nWhat happened to {end.approval.phone_number}:\n")
    write_history(end.history, "table")
    click.echo(
        f"\nIts last request was {end.approval.old_status} at first; the sync of\n"
        f"{end.approval.changed_at:%Y-%m-%d %H:%M} (run {end.approval.sync_run_id}) saw it "
        f"{end.approval.new_status}."
    )
    url = shown_url(database) if database else f"sqlite:///{path}"
    click.echo(f"\nNext:         {command_line('changes', '--database', url)}")
    if has_extra("report"):
        click.echo(f"As a report:  {command_line('report', '--open', '--database', url)}")
    else:
        click.echo(f"As a report:  {errors.MissingExtra.hint_for('report')}")
    if url != database and "***" in url:
        click.echo("Write the password in place of ***.")
