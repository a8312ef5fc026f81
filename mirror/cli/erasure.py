"""`mirror db erase-number`: shows what there is, asks, erases, and says what is not reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mirror import errors
from mirror.cli.log import notify
from mirror.cli.options import (
    database_option,
    environment_filter,
    environment_option,
    now,
    number_argument,
    open_database,
    region_option,
)
from mirror.cli.prompt import confirm
from mirror.text import listed, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from mirror.queries.traces import Found

_NOT_CLEAN = "it is erased, but the files of the database may still hold its bytes"


@click.command(epilog="Example: mirror db erase-number +15551234567 --dry-run")
@number_argument
@region_option
@environment_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Print what there is, and erase nothing.")
@click.option("--undo", is_flag=True, help="Take an erasure back; NUMBER is its mark.")
@database_option
def erase_number(
    number: str,
    region: str | None,
    environment: str | None,
    yes: bool,
    dry_run: bool,
    undo: bool,
    database: str | None,
    config_file: str | None,
) -> None:
    """Erase a phone NUMBER and all that is stored with it.

    A mark such as erased-1 takes the place of the number, the reasons, the unknown fields and the
    JSON in quarantine, in every version of its requests. Ids, statuses and times stay, and so do
    all counts. Later syncs keep it so, although the list still has the number. NUMBER may be
    written in any usual way; without its country code it needs --region.

    An erasure cannot be undone in the mirror. --undo lets the next sync store again what the list
    still has.
    """
    from mirror import erasure

    engine, environment = open_database(database, config_file), environment_filter(environment)
    if undo:
        if dry_run or environment or region:
            raise errors.UsageError("--undo takes an erasure back as a whole, with its mark alone")
        count, others = erasure.undo(engine, number, now=now())
        notify(
            f"took {number} back: the next sync stores again what the list still has of "
            f"{plural(count, 'request')}"
        )
        if count and others:
            notify(
                f"that may have a number of {listed(others)} again, if a request had both: after "
                "the sync, erase those numbers again"
            )
        return
    found = erasure.find(engine, number, region, environment)
    for line in _describe_found(number, region, found):
        notify(line)
    if dry_run or (found.is_empty and erasure.is_clean(engine)):
        return
    if not found.is_empty:
        if not yes:
            confirm("Erase all of this for good?", "erased", "erase a number")
        mark, found = erasure.erase(engine, number, region, environment, now=now())
        notify(f"erased as {mark}: {found}")
    notify(
        "not reached: backups, replicas, exports, reports, files of output, logs, BI tools, the "
        "shell's history, and the API itself; docs/operations.md (Erasure) has the list"
    )
    _clean(engine)


def _clean(engine: Engine) -> None:
    """Clean the freed space of the database, and say what that does not reach."""
    from mirror import erasure

    try:
        erasure.clean(engine, now=now())
    except errors.DatabaseUnavailable as error:
        raise errors.DatabaseUnavailable(
            f"{_NOT_CLEAN}: {error.message}", hint="run the same command again later"
        ) from error
    except errors.DatabaseError as error:
        raise errors.DatabaseError(f"{_NOT_CLEAN}: {error.message}", hint=error.hint) from error
    in_postgres = (
        "; the bytes of the replaced rows stay in the files of Postgres until their place is used "
        "again, or until VACUUM FULL"
    )
    notify(
        "cleaned the freed space of the database"
        + (in_postgres if engine.dialect.name == "postgresql" else "")
    )


def _describe_found(number: str, region: str | None, found: Found) -> Iterator[str]:
    """Yield lines on what the mirror holds of a number."""
    from mirror.cli.queries import looked_for

    if found.is_empty and not found.possible:
        yield f"the mirror holds nothing of {looked_for(number, region, found.numbers)}"
    for match in found.numbers if found.requests else ():
        yield f"stored as {match.phone_number}" + (f" ({match.words})" if match.words else "")
    for other in found.other_numbers:
        yield f"stored as {other} in another version of the same requests"
    if not found.is_empty:
        yield f"found in {', '.join(found.environments)}: {found}"
    if found.possible:
        yield (
            f"not erased: {listed(found.possible)} may be this number; name each one itself, or "
            "give its country with --region"
        )
    if found.mentioned_by:
        others = plural(len(found.mentioned_by), "other request mentions", "other requests mention")
        yield f"not erased: {others} the number in a text: {listed(found.mentioned_by)}"
