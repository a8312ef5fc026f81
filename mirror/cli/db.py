"""`mirror db …`: the commands that manage the database."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import click

from mirror import errors
from mirror.cli.completion import (
    complete_environment_of_file,
    complete_environment_on_record,
    complete_relation,
)
from mirror.cli.erasure import erase_number
from mirror.cli.log import notify
from mirror.cli.options import (
    DURATION,
    FORMATS,
    database_option,
    database_url,
    now,
    open_database,
)
from mirror.cli.pager import no_pager_option
from mirror.cli.prompt import confirm
from mirror.config import settings


@click.group(epilog="Example: mirror db upgrade")
def db() -> None:
    """Manage the mirror's database."""


@db.command(epilog="Example: mirror db upgrade --database postgresql://mirror@db.example.com/bi")
@database_option
def upgrade(database: str | None, config_file: str | None) -> None:
    """Create or upgrade the schema."""
    from mirror.db import migrate

    before, after = migrate.upgrade(open_database(database, config_file, create=True))
    notify(
        f"the schema is at revision {after} already"
        if before == after
        else f"upgraded the schema from {before or 'nothing'} to revision {after}"
    )


@db.command(epilog="Example: mirror db current")
@database_option
def current(database: str | None, config_file: str | None) -> None:
    """Print the schema revision of the database."""
    from mirror.db import revisions
    from mirror.db.engine import read_transaction

    with read_transaction(open_database(database, config_file)) as connection:
        click.echo(revisions.current(connection) or "none")


@db.command(epilog="Example: mirror db url")
@database_option
def url(database: str | None, config_file: str | None) -> None:
    """Print the URL of the database, without its password."""
    from mirror.db.urls import shown_url

    click.echo(shown_url(database_url(database, config_file)))


@db.command(epilog="Example: mirror db grant-read reader --database postgresql://mirror@host/bi")
@click.argument("role")
@database_option
def grant_read(role: str, database: str | None, config_file: str | None) -> None:
    """Let a Postgres ROLE read the mirror.

    Grants USAGE on the schema, and SELECT on every table and view that the mirror's owner has or
    will create there, upgrades included. ROLE must exist and be able to log in: CREATE ROLE reader
    LOGIN PASSWORD '…'. Run this as the mirror's owner.

    Other privileges of ROLE stay. Prints a query that lists what ROLE may do in the database; pipe
    it into psql.
    """
    from mirror.db import grants

    granted = grants.grant_read(open_database(database, config_file), role)
    notify(
        f"{granted.role} may read the {granted.relations} tables and views in the schema "
        f"{granted.schema}, now and after upgrades"
    )
    for warning in granted.warnings:
        notify(warning)
    notify(f"this query lists what {granted.role} may do in the database:")
    click.echo(granted.query)


@db.command(epilog="Example: mirror db describe phone_number_history")
@click.argument("relation", metavar="[NAME]", required=False, shell_complete=complete_relation)
@click.option(
    "--format",
    "output_format",
    type=click.Choice([*FORMATS, "markdown", "datasette"]),
    default="table",
    show_default=True,
    help="datasette is a file for its -m, and for -c since 1.0, with the cookbook's queries.",
)
@no_pager_option
@database_option
def describe(
    relation: str | None, output_format: str, database: str | None, config_file: str | None
) -> None:
    """Print the data dictionary: the meaning of each column.

    NAME is a table or view; without it, all are described. No database is opened.
    """
    from mirror.cli import output
    from mirror.db import datasette, dictionary
    from mirror.db.urls import parse_url

    entries = dictionary.entries(relation)
    if output_format == "markdown":
        click.echo(dictionary.markdown(entries), nl=False)
    elif output_format == "datasette":
        url = parse_url(database_url(database, config_file))
        if url.get_backend_name() != "sqlite":
            raise errors.UsageError("Datasette reads SQLite files", hint="name one with --database")
        click.echo(output.json_text(datasette.metadata(entries, Path(url.database or "").stem)))
    else:
        output.write_rows(
            entries,
            dictionary.Entry,
            output_format,
            sys.stdout,
            columns={
                "name": lambda entry: f"  {entry.column}" if entry.column else entry.relation,
                "type (Postgres)": lambda entry: entry.postgresql_type or entry.kind,
                "description": lambda entry: entry.comment,
            },
        )


@db.command(epilog="Example: mirror db prune --runs-older-than 90d --dry-run")
@click.option(
    "--runs-older-than",
    type=DURATION,
    required=True,
    help="Delete runs that began longer ago than this, such as 90d.",
)
@click.option("--dry-run", is_flag=True, help="Print how many there are, and delete nothing.")
@database_option
def prune(
    runs_older_than: timedelta, dry_run: bool, database: str | None, config_file: str | None
) -> None:
    """Delete old rows of sync_runs, and nothing else.

    Each sync adds a row: with one a minute, half a million a year. Runs that a request, a version
    or a quarantined record refers to are kept, as are the last run and the last complete one of
    each environment. Data about requests is never deleted.
    """
    from mirror.db import prune as pruning

    before = now() - runs_older_than
    engine = open_database(database, config_file)
    result = pruning.prune(engine, before=before, dry_run=dry_run)
    if not result.removed and not result.kept:
        notify(
            f"no run is older than {before:%Y-%m-%d %H:%M} UTC; {result.remaining:,} are on record"
        )
        return
    notify(
        f"{'would remove' if dry_run else 'removed'} {result.removed:,} runs that began before "
        f"{before:%Y-%m-%d %H:%M} UTC; {result.kept:,} as old as that are needed, and "
        f"{result.remaining:,} are on record"
    )


@db.command(epilog="Example: mirror db rename-environment default prod")
@click.argument("old", shell_complete=complete_environment_on_record)
@click.argument("new", shell_complete=complete_environment_of_file)
@click.option("--dry-run", is_flag=True, help="Print how many rows there are, and change nothing.")
@database_option
def rename_environment(
    old: str, new: str, dry_run: bool, database: str | None, config_file: str | None
) -> None:
    """Give the environment OLD the name NEW.

    Its requests, past versions, quarantine and runs keep everything but the name, in one
    transaction. NEW may have runs on record that failed or were refused, but no others. A sync of
    OLD that is running fails when it ends, and changes nothing.
    """
    from mirror.db import environments

    if not new:
        raise errors.UsageError("the new name is empty", hint="name the environment")
    engine, new = open_database(database, config_file), settings.environment_name(new)
    renamed = environments.rename(engine, old, new, now=now(), dry_run=dry_run)
    notify(f"{'would rename' if dry_run else 'renamed'} {old!r} to {new!r}: {renamed}")


@db.command(epilog="Example: mirror db forget-environment prdo --dry-run")
@click.argument("name", shell_complete=complete_environment_on_record)
@click.option("--with-requests", is_flag=True, help="Delete its requests and their history too.")
@click.option("--yes", is_flag=True, help="Do not ask before requests are deleted.")
@click.option("--dry-run", is_flag=True, help="Print how many rows there are, and delete nothing.")
@database_option
def forget_environment(
    name: str,
    with_requests: bool,
    yes: bool,
    dry_run: bool,
    database: str | None,
    config_file: str | None,
) -> None:
    """Delete what is on record of the environment NAME.

    Without --with-requests only of one that has no requests, such as after a mistyped
    --environment: its runs and its quarantine. A sync of it that is running fails when it ends,
    and changes nothing.
    """
    from mirror.db import environments

    engine = open_database(database, config_file)
    if with_requests and not yes and not dry_run:
        confirm(
            f"Delete {name!r} for good: {environments.contents(engine, name)}?",
            "deleted",
            "delete requests",
        )
    forgotten = environments.forget(engine, name, with_requests=with_requests, dry_run=dry_run)
    notify(f"{'would delete' if dry_run else 'deleted'} {name!r}: {forgotten}")


db.add_command(erase_number)
