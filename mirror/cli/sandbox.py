"""The commands to try everything with: the stand-in for the API, and the demo."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mirror import errors
from mirror.cli.queries import write_history
from mirror.cli.sync_output import summary

if TYPE_CHECKING:
    from mirror.sync.run import Result


def _list_faults(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Print the faults of the sandbox, and exit."""
    if wanted:
        from mirror.sandbox.faults import FAULTS

        for name, fault in FAULTS.items():
            click.echo(f"{name:16} {fault.description}{' (--paged)' if fault.needs_pages else ''}")
        context.exit()


@click.command(epilog="Example: mirror sandbox --requests 1000 --paged meta --day 10")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8787,
    show_default=True,
    help="0 for any free one.",
)
@click.option(
    "--requests",
    "count",
    type=click.IntRange(0, 5_000_000),
    default=200,
    show_default=True,
    help="Requests there are at the start.",
)
@click.option("--seed", default=1, show_default=True, help="Decides everything that happens.")
@click.option("--token", default="talq_sandbox", show_default=True, help="The token it accepts.")
@click.option(
    "--paged",
    type=click.Choice(["meta", "pagination"]),
    help="Give the list in pages, which stand under this key.  [default: give it whole]",
)
@click.option("--etag", is_flag=True, help="Send an ETag, and answer 304 to who has it already.")
@click.option(
    "--day",
    "day_length",
    type=click.FloatRange(0.01),
    help="Let a day pass every so many seconds.",
    metavar="S",
)
@click.option(
    "--new-per-day",
    type=click.IntRange(0, 100_000),
    default=0,
    show_default=True,
    help="Requests made on each day.",
)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Answer the list with this file, as it stands when asked.",
)
@click.option(
    "--latency",
    type=click.FloatRange(0, 3600),
    default=0.0,
    help="Let each answer of the list take so many seconds.",
    metavar="S",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    help="Allow so many requests for the list in a minute, and say so.  [default: any number]",
    metavar="N",
)
@click.option("--fault", metavar="NAME", help="Misbehave when asked for the list.")
@click.option(
    "--times",
    type=click.IntRange(1),
    help="Misbehave in so many answers only.",
    metavar="N",
)
@click.option(
    "--faults",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_faults,
    help="List the faults there are, and exit.",
)
def sandbox(
    port: int,
    count: int,
    seed: int,
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
    """Serve a stand-in for the API on this machine.

    It is there to try everything without a token, alerts included.

    \b
    Besides the documented endpoints it has three of its own:
      POST /api/v1/sandbox/advance  {"days": 3} lets time pass: reviews end
      POST /api/v1/sandbox/fault    {"name": "stall", "times": 2} misbehaves in
                                    two answers, {"name": null} no more
      GET  /api/v1/sandbox          its time, its fault, how many requests
    """
    from mirror.sandbox.server import Sandbox, SandboxConfig
    from mirror.sandbox.simulation import Simulation

    if not token:
        raise errors.UsageError("--token must not be empty")
    upstream = Simulation(count, seed, datetime.now(UTC), new_per_day)
    try:
        server = Sandbox(upstream, SandboxConfig(token, paged, etag, file, latency, limit), port)
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
        what = f"the list of {file}" if file else f"{len(upstream.requests)} requests"
        click.echo(
            f"export TALKOVER_BASE_URL={server.base_url} TALKOVER_TOKEN={shlex.quote(token)}\n"
            f"# {what}; paste the line above into another terminal, then: mirror sync"
        )
        sys.stdout.flush()
        with server.running():
            _let_time_pass(server.advance, day_length)


def _let_time_pass(advance: Callable[[float], None], day_length: float | None) -> None:
    """Let a day pass every `day_length` seconds, until the process is interrupted."""
    from threading import Event

    never = Event()
    while not never.wait(day_length):
        advance(1)


@click.command(epilog="Example: mirror demo")
@click.option(
    "--database",
    metavar="URL",
    help="An empty database.  [default: mirror-demo.db in this folder, made anew]",
)
def demo(database: str | None) -> None:
    """Show the main job: a week in the sandbox.

    Syncs from a sandbox as its days pass, and shows what the mirror knows then. Needs no token and
    no network. Whatever MIRROR_DATABASE_URL says is left alone.
    """
    from mirror import demo as story
    from mirror.db.engine import create_engine, shown_url

    path = Path("mirror-demo.db")
    engine = create_engine(database or story.fresh_file(path), create=True)

    def told(days: float, result: Result) -> None:
        click.echo(f"day {days:g}: {summary(result)}")

    click.echo(
        "A sandbox stands in for the API; its days pass between the syncs. In the end its\n"
        "list lacks a request, and has one that cannot be read: neither is lost.\n"
    )
    end = story.run(engine, told)
    counted = ", ".join(f"{count} {status}" for status, count in end.by_status)
    click.echo(f"\nNow in the mirror: {counted}.")
    click.echo(f"\nWhat happened to {end.approval.phone_number}:\n")
    write_history(end.history, "table")
    click.echo(
        f"\nIts last request was {end.approval.old_status} at first; the sync of "
        f"{end.approval.changed_at:%Y-%m-%d %H:%M} (run {end.approval.sync_run_id}) saw it "
        f"{end.approval.new_status}."
    )
    where = shown_url(database) if database else f"sqlite:///{path}"
    click.echo(f"\nLook further: mirror changes --database {where}")
    click.echo(f"In pictures:  mirror report --open --database {where}")
