"""The commands that look after the database."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import click

from mirror import errors
from mirror.cli.options import (
    database_option,
    database_url,
    echo_status,
    engine_of,
    now,
    parse_duration,
)


@click.group(epilog="Example: mirror db upgrade")
def db() -> None:
    """Look after the mirror's database."""


@db.command(epilog="Example: mirror db upgrade --database postgresql://mirror@db.example.com/bi")
@database_option
def upgrade(database: str | None, config_file: str | None) -> None:
    """Bring the schema to the revision that this version works with, making it if needed."""
    from mirror.db import migrate

    before, after = migrate.upgrade(engine_of(database, config_file, create=True))
    echo_status(
        f"the schema is at revision {after} already"
        if before == after
        else f"upgraded the schema from {before or 'nothing'} to revision {after}"
    )


@db.command(epilog="Example: mirror db current")
@database_option
def current(database: str | None, config_file: str | None) -> None:
    """Print the schema revision of the database."""
    from mirror.db import migrate
    from mirror.db.engine import read_transaction

    with read_transaction(engine_of(database, config_file)) as connection:
        click.echo(migrate.current(connection) or "none")


@db.command(epilog="Example: mirror db url")
@database_option
def url(database: str | None, config_file: str | None) -> None:
    """Print the URL of the database that would be used, without its password."""
    from mirror.db.engine import shown_url

    click.echo(shown_url(database_url(database, config_file)))


@db.command(
    epilog="Example: mirror db grant-read reader --database postgresql://mirror@db.example.com/bi"
)
@click.argument("role")
@database_option
def grant_read(role: str, database: str | None, config_file: str | None) -> None:
    """Let a ROLE of Postgres read the mirror.

    It gets USAGE on the schema, and SELECT on every table and view that the mirror's owner has
    there or creates there later, by upgrades too. ROLE must exist, and be able to log in:
    CREATE ROLE reader LOGIN PASSWORD '…'. Run this as the mirror's owner.

    Other privileges of ROLE stay. Prints a query that lists what ROLE may do in the database; pipe
    it into psql.
    """
    from mirror.db import grants

    granted = grants.grant_read(engine_of(database, config_file), role)
    echo_status(
        f"{granted.role} may read the {granted.relations} tables and views in the schema "
        f"{granted.schema}, now and after upgrades"
    )
    for warning in granted.warnings:
        echo_status(warning)
    echo_status(f"this query lists what {granted.role} may do in the database:")
    click.echo(granted.query)


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
@database_option
def describe(
    relation: str | None, form: str, database: str | None, config_file: str | None
) -> None:
    """Print the data dictionary: what every table, view and column is.

    NAME is a table or view; without it, all are described. The database itself is not looked at.
    """
    from mirror.cli import output
    from mirror.db import dictionary
    from mirror.db.engine import parse_url

    found = dictionary.entries(relation)
    if form == "markdown":
        click.echo(dictionary.markdown(found), nl=False)
    elif form == "datasette":
        where = parse_url(database_url(database, config_file))
        if where.get_backend_name() != "sqlite":
            raise errors.UsageError("Datasette reads SQLite files", hint="name one with --database")
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


@db.command(epilog="Example: mirror db prune --runs-older-than 90d --dry-run")
@click.option(
    "--runs-older-than",
    type=parse_duration,
    required=True,
    metavar="TIME",
    help="Remove the runs that began longer ago, such as 90d.",
)
@click.option("--dry-run", is_flag=True, help="Say how many there are, and remove nothing.")
@database_option
def prune(
    runs_older_than: timedelta, dry_run: bool, database: str | None, config_file: str | None
) -> None:
    """Remove old runs from the record, and nothing else.

    A run is on record for each sync: one a minute makes half a million in a year. Those that a
    request, a version or a record in quarantine refers to stay, and so do the last run and the
    last complete one of each environment. What is known of requests is never removed.
    """
    from mirror.db import prune as pruning

    before = now() - runs_older_than
    engine = engine_of(database, config_file)
    done = pruning.prune(engine, before=before, dry_run=dry_run)
    echo_status(
        f"{'would remove' if dry_run else 'removed'} {done.removed:,} runs that began before "
        f"{before:%Y-%m-%d %H:%M} UTC; {done.kept:,} as old as that are needed, and "
        f"{done.remaining:,} are on record"
    )
