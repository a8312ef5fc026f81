"""The command line: options in, exit codes out. The one place that knows exit codes."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from mirror import __version__, errors, settings

if TYPE_CHECKING:
    from mirror.queries import Change, HistoryEvent
    from mirror.sync import Result

EXIT_CODES: dict[type[errors.MirrorError], int] = {
    errors.UsageError: 2,
    errors.GuardRefused: 4,
    errors.ApiUnavailable: 75,
    errors.DatabaseUnavailable: 75,
    errors.DiskUnavailable: 75,
    errors.TokenRefused: 77,
    errors.MirrorError: 1,
}
"""The first class that fits counts."""

EXIT_NEWLY_QUARANTINED = 3

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_F = TypeVar("_F", bound=Callable[..., Any])


def main() -> NoReturn:
    """Run the command line, and exit."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started us
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif stream.isatty():
            stream.reconfigure(errors="backslashreplace")
        else:  # what programs read is the same whatever the locale
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command; return its exit code. The one boundary between exceptions and people."""
    code: object = 0
    try:
        code = cli.main(arguments, prog_name="mirror", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        _say("interrupted")
        return 1
    except errors.MirrorError as error:
        _say(str(error))
        return exit_code(error)
    except (BrokenPipeError, SystemExit):
        # Whoever read our output has enough (click turns that into SystemExit). What is still in
        # the buffer must not fail once more when the interpreter flushes it.
        sys.stdout = sys.stderr
    except OSError as error:
        sys.stdout = sys.stderr
        _say(f"the output could not be written ({error.strerror})")
        return 1
    return code if isinstance(code, int) else 0


def exit_code(error: errors.MirrorError) -> int:
    """Return the exit code that stands for an error."""
    return next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))


def _say(sentence: str) -> None:
    """Tell something to the person, on stderr."""
    from mirror.output import visible

    click.echo(f"mirror: {visible(sentence)}", err=True)


def moment(text: str) -> datetime:
    """Read a point in time: an ISO 8601 date or time, in UTC unless it says so, or "7d" ago."""
    try:
        if ago := re.fullmatch(r"(\d{1,6})([mhdw])", text):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{text!r} is not a time; write 2024-01-31, 2024-01-31T14:30:00Z, or a time ago such "
            "as 24h or 7d"
        ) from error


def _options(*options: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """Bundle options that several commands share."""

    def decorate(function: _F) -> _F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_database_option = click.option(
    "--database",
    metavar="URL",
    help="sqlite:///PATH or postgresql://USER@HOST/NAME.  [MIRROR_DATABASE_URL; "
    "default: mirror.db in your data folder]",
)
_environment_option = click.option(
    "--environment",
    metavar="NAME",
    help="Only what belongs to this environment.  [MIRROR_ENVIRONMENT; default: all]",
)
_format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="table is drawn on a terminal, and tab-separated in a pipe.",
)
_region_option = click.option(
    "--region", metavar="CODE", help="Country of a national number, such as BR."
)
_reading_options = _options(_environment_option, _format_option, _database_option)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Try it without a token: mirror demo",
)
@click.version_option(__version__, prog_name="mirror", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep a local SQL mirror of Talkover phone-number release requests.

    `mirror sync` pulls the requests into SQLite or Postgres, with every earlier version; the other
    commands, and any SQL tool, read what is there.
    """


@cli.command(epilog="Example: TALKOVER_TOKEN=talq_… mirror sync --database sqlite:///mirror.db")
@_database_option
@click.option(
    "--base-url",
    metavar="URL",
    help=f"Base URL of the API.  [TALKOVER_BASE_URL; default: {settings.DEFAULT_BASE_URL}]",
)
@click.option(
    "--token-file",
    metavar="PATH",
    help="File that holds the API token.  [TALKOVER_TOKEN, TALKOVER_TOKEN_FILE]",
)
@click.option(
    "--environment",
    metavar="NAME",
    help="Label of the token; one database holds many.  [MIRROR_ENVIRONMENT; default: default]",
)
@click.option("--rate", metavar="N", help="Requests allowed a minute.  [MIRROR_RATE; default: 100]")
@click.option(
    "--timeout",
    metavar="SECONDS",
    help="Silence allowed before a request is given up.  [MIRROR_TIMEOUT; default: 30]",
)
@click.option(
    "--deadline",
    metavar="SECONDS",
    help="Time allowed for the whole pull, waits included.  [MIRROR_DEADLINE; default: 900]",
)
@click.option(
    "--max-bytes",
    metavar="N",
    help="Size allowed for the whole list.  [MIRROR_MAX_BYTES; default: 1 GiB]",
)
@click.option("--no-upgrade", is_flag=True, help="Refuse an old schema instead of upgrading it.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option(
    "--accept-missing", is_flag=True, help="Apply the list however many requests it lacks."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def sync(
    database: str | None,
    environment: str | None,
    no_upgrade: bool,
    dry_run: bool,
    accept_missing: bool,
    as_json: bool,
    **api_options: str | None,
) -> int:
    """Make the mirror equal to the list of the API.

    Either the whole list is applied, in one transaction, or nothing is. Made for a scheduler:
    overlapping runs do no harm, and a run that finds nothing new costs next to nothing.

    \b
    Exit codes: 0 done; 1 failed, nothing was changed; 2 wrong usage; 3 done, but
    records were newly quarantined; 4 too many requests would go missing;
    75 failed for now, try again later; 77 the API refused the token.
    """
    from mirror import database as db
    from mirror.sync import sync as run_sync

    label = settings.environment(environment)
    api = settings.api_settings(environ=os.environ, **api_options)
    result = run_sync(
        db.engine(settings.database_url(database), create=not no_upgrade),
        api,
        label,
        upgrade=not no_upgrade,
        dry_run=dry_run,
        accept_missing=accept_missing,
    )
    try:
        _write_result(result, as_json=as_json)
    except OSError as error:  # what was done is done, and its exit code stands
        sys.stdout = sys.stderr
        if not isinstance(error, BrokenPipeError):
            _say(f"the result could not be written ({error.strerror})")
    if result.failure is not None:
        _say(str(result.failure))
        return exit_code(result.failure)
    quarantined = result.outcome == "applied" and result.counts.newly_quarantined
    return EXIT_NEWLY_QUARANTINED if quarantined else 0


@cli.command(epilog='Example: mirror history "+1 (555) 123-4567"')
@click.argument("number")
@_region_option
@_reading_options
def history(
    number: str, region: str | None, environment: str | None, form: str, database: str | None
) -> None:
    """Show what happened to a phone NUMBER.

    The time line goes over all its requests. NUMBER may be written in any usual way.
    """
    from mirror import queries

    with _mirror(database) as connection:
        events = queries.phone_number_history(
            connection, number, region=region, environment=_only(environment)
        )
    _write_history(events, form)
    if not events:
        _say(f"no release request has the number {queries.normalize_number(number, region)} now")


@cli.command(epilog="Example: mirror requests --status pending --until 7d")
@click.option("--status", metavar="STATUS", help="Only those with this status.")
@click.option("--number", metavar="NUMBER", help="Only those of this phone number.")
@_region_option
@click.option(
    "--since", type=moment, metavar="TIME", help="Only those submitted at this time or later."
)
@click.option("--until", type=moment, metavar="TIME", help="Only those submitted before this time.")
@click.option("--as-of", type=moment, metavar="TIME", help="As the mirror knew them at this time.")
@click.option("--missing", is_flag=True, help="Those that are no longer in the list, instead.")
@_reading_options
def requests(environment: str | None, form: str, database: str | None, **filters: Any) -> None:
    """Show the release requests, newest first.

    Times are written 2024-01-31, 2024-01-31T14:30:00Z, or as a time ago: 24h, 7d. Without a zone
    they are UTC.
    """
    from mirror import output, queries

    with _mirror(database) as connection:
        found = queries.release_requests(connection, environment=_only(environment), **filters)
    output.write(
        found,
        queries.ReleaseRequest,
        form,
        sys.stdout,
        drawn={
            "requested (UTC)": lambda one: one.requested_at,
            "number": lambda one: one.phone_number,
            "status": lambda one: one.status,
            "resolved (UTC)": lambda one: one.resolved_at,
            "reason": lambda one: one.rejection_reason or one.reason,
        },
    )


@cli.command(epilog="Example: mirror changes --since 7d --format csv")
@click.option(
    "--since", type=moment, metavar="TIME", help="Only changes seen at this time or later."
)
@_reading_options
def changes(
    since: datetime | None, environment: str | None, form: str, database: str | None
) -> None:
    """Show what the syncs saw change, oldest first.

    A request that is seen for the first time is no change.
    """
    from mirror import queries

    with _mirror(database) as connection:
        found = queries.changes(connection, since=since, environment=_only(environment))
    _write_changes(found, form)


@cli.group()
def db() -> None:
    """Look after the mirror's database."""


@db.command(epilog="Example: mirror db upgrade --database postgresql://mirror@db.example.com/bi")
@_database_option
def upgrade(database: str | None) -> None:
    """Bring the schema to the revision that this version works with, making it if needed."""
    from mirror import database as db
    from mirror import schema

    before, after = schema.upgrade(db.engine(settings.database_url(database), create=True))
    _say(
        f"the schema is at revision {after} already"
        if before == after
        else f"upgraded the schema from {before or 'nothing'} to revision {after}"
    )


@db.command(epilog="Example: mirror db current")
@_database_option
def current(database: str | None) -> None:
    """Print the schema revision of the database."""
    from mirror import database as db
    from mirror import schema

    with db.reading(db.engine(settings.database_url(database))) as connection:
        click.echo(schema.current(connection) or "none")


@db.command(epilog="Example: mirror db url")
@_database_option
def url(database: str | None) -> None:
    """Print the URL of the database that would be used, without its password."""
    from mirror import database as db

    click.echo(db.shown_url(settings.database_url(database)))


@db.command(
    epilog="Example: mirror db grant-read reader --database postgresql://mirror@db.example.com/bi"
)
@click.argument("role")
@_database_option
def grant_read(role: str, database: str | None) -> None:
    """Let a ROLE of Postgres read the mirror, and do nothing else.

    It gets USAGE on the schema, and SELECT on every table and view that the mirror's owner has
    there or makes there later, by upgrades too. ROLE must exist, and have its own way to log in:
    CREATE ROLE reader LOGIN PASSWORD '…'. Run this as the mirror's owner.

    A right to write that ROLE has already stays; it is told with the statement that takes it away.
    """
    from mirror import access
    from mirror import database as db

    granted = access.grant_read(db.engine(settings.database_url(database)), role)
    _say(
        f"{granted.role} may read the {granted.relations} tables and views in the schema "
        f"{granted.schema}, now and after upgrades"
    )
    for warning in granted.warnings:
        _say(warning)


@db.command(epilog="Example: mirror db describe phone_number_history")
@click.argument("relation", metavar="[NAME]", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "markdown", "datasette"]),
    default="table",
    show_default=True,
    help="datasette is a metadata file for Datasette, with the cookbook's queries.",
)
@_database_option
def describe(relation: str | None, form: str, database: str | None) -> None:
    """Print the data dictionary: what every table, view and column is.

    NAME is a table or view; without it, all are described. The database itself is not looked at.
    """
    from mirror import database as db
    from mirror import dictionary, output

    found = dictionary.entries(relation)
    if form == "markdown":
        click.echo(dictionary.markdown(found), nl=False)
    elif form == "datasette":
        where = db.parse_url(settings.database_url(database))
        if where.get_backend_name() != "sqlite":
            raise errors.UsageError("Datasette reads SQLite files; name one with --database")
        click.echo(output.json_text(dictionary.datasette(found, Path(where.database or "").stem)))
    else:
        output.write(
            found,
            dictionary.Entry,
            form,
            sys.stdout,
            drawn={
                "name": lambda one: f"  {one.column}" if one.column else one.relation,
                "type (Postgres)": lambda one: one.postgresql_type or one.kind,
                "what it is": lambda one: one.comment,
            },
        )


def _list_faults(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Print the faults of the sandbox, and exit."""
    if wanted:
        from mirror.faults import FAULTS

        for name, fault in FAULTS.items():
            click.echo(f"{name:16} {fault.does}{' (--paged)' if fault.needs_pages else ''}")
        context.exit()


@cli.command(epilog="Example: mirror sandbox --requests 1000 --paged meta --day 10")
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
    from mirror.sandbox import Manner, Sandbox
    from mirror.upstream import Upstream

    if not token:
        raise errors.UsageError("--token must not be empty")
    upstream = Upstream(count, seed, datetime.now(UTC), new_per_day)
    try:
        server = Sandbox(upstream, Manner(token, paged, etag, file, latency, limit), port)
        server.misbehave(fault, times)
    except ValueError as error:
        raise errors.UsageError(f"{error}; `mirror sandbox --faults` lists them") from error
    except OSError as error:
        raise errors.UsageError(
            f"port {port} cannot be used ({error.strerror}); choose another one with --port"
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


@cli.command(epilog="Example: mirror demo")
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
    from mirror import database as db
    from mirror import demo as story

    path = Path("mirror-demo.db")
    engine = db.engine(database or story.fresh_file(path), create=True)

    def told(days: float, result: Result) -> None:
        click.echo(f"day {days:g}: {_summary(result)}")

    click.echo(
        "A sandbox stands in for the API; its days pass between the syncs. In the end its\n"
        "list lacks a request, and has one that cannot be read: neither is lost.\n"
    )
    end = story.run(engine, told)
    counted = ", ".join(f"{count} {status}" for status, count in end.by_status)
    click.echo(f"\nNow in the mirror: {counted}.")
    click.echo(f"\nWhat happened to {end.approval.phone_number}:\n")
    _write_history(end.history, "table")
    click.echo(
        f"\nIts last request was {end.approval.old_status} at first; the sync of "
        f"{end.approval.changed_at:%Y-%m-%d %H:%M} (run {end.approval.sync_run_id}) saw it "
        f"{end.approval.new_status}."
    )
    where = db.shown_url(database) if database else f"sqlite:///{path}"
    click.echo(f"\nLook further: mirror changes --database {where}")


def _mirror(database: str | None) -> Any:
    """Open the mirror for reading."""
    from mirror import queries

    return queries.connect(settings.database_url(database))


def _only(environment: str | None) -> str | None:
    """Return the environment to look at, or None for all."""
    if environment or os.environ.get("MIRROR_ENVIRONMENT"):
        return settings.environment(environment)
    return None


def _write_history(events: list[HistoryEvent], form: str) -> None:
    from mirror import output, queries

    output.write(
        events,
        queries.HistoryEvent,
        form,
        sys.stdout,
        drawn={
            "when (UTC)": lambda one: one.occurred_at,
            "event": lambda one: one.event,
            "request": lambda one: output.abbreviated(one.request_id),
            "source": lambda one: one.time_source,
            "reason": lambda one: one.rejection_reason or one.reason,
        },
    )


def _write_changes(found: list[Change] | tuple[Change, ...], form: str) -> None:
    from mirror import output, queries

    output.write(
        found,
        queries.Change,
        form,
        sys.stdout,
        drawn={
            "seen (UTC)": lambda one: one.changed_at,
            "number": lambda one: one.phone_number,
            "change": lambda one: one.kind,
            "from": lambda one: one.old_status,
            "to": lambda one: one.new_status,
            "resolved (UTC)": lambda one: one.new_resolved_at,
        },
    )


def _write_result(result: Result, *, as_json: bool) -> None:
    """Write what a sync did: to stdout what was asked for, to stderr what is for the person."""
    if as_json:
        click.echo(_result_as_json(result))
        return
    if result.failure is None:
        _say(_summary(result))
    if result.changes:
        _write_changes(result.changes, "table")
    sys.stdout.flush()


def _summary(result: Result) -> str:
    """Say in one line what a sync did."""
    counts = result.counts
    did = {
        "new": counts.inserted,
        "updated": counts.updated,
        "missing": counts.missing,
        "returned": counts.returned,
        "quarantined": counts.quarantined,
        "duplicates": counts.duplicates,
    }
    told = ", ".join(f"{number:,} {what}" for what, number in did.items() if number)
    head = f"{result.outcome.replace('_', ' ')}: {counts.fetched:,} in the list"
    return f"{head}{', ' + told if told else ''}; {result.seconds:.1f} s"


def _result_as_json(result: Result) -> str:
    from dataclasses import asdict

    from mirror import output

    counts = asdict(result.counts)
    del counts["newly_quarantined"]
    return output.json_line(
        {
            "run_id": result.run_id,
            "environment": result.environment,
            "outcome": result.outcome,
            **counts,
            "pages": result.pages,
            "bytes": result.bytes,
            "seconds": result.seconds,
            "started_at": output.plain(result.started_at),
            "finished_at": output.plain(result.finished_at),
            "error": None if result.failure is None else str(result.failure),
        }
    )
