"""`mirror export`: Parquet files."""

from __future__ import annotations

from pathlib import Path

import click

from mirror import errors
from mirror.cli.log import notify
from mirror.cli.options import (
    database_option,
    database_url,
    environment_filter,
    environment_option,
    now,
)
from mirror.text import plural


@click.command(epilog="Example: mirror export /srv/mirror-parquet")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False))
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["parquet"]),
    default="parquet",
    show_default=True,
    help="Format of the files.",
)
@click.option("--quiet", is_flag=True, help="Print only warnings and errors.")
@environment_option
@database_option
def export(
    folder: str,
    output_format: str,  # noqa: ARG001 (there is one)
    quiet: bool,
    environment: str | None,
    database: str | None,
    config_file: str | None,
) -> None:
    """Write all tables and views as Parquet files.

    They are those of one moment, in DIR/TABLE/environment=NAME. DIR is a new or an empty folder, or
    that of an earlier export, whose files are replaced as a whole.
    """
    if not folder:  # Path would make "." of it
        raise errors.UsageError(
            "DIR is empty", hint="name the folder to write to; a variable may be unset"
        )
    try:
        from mirror.export import run
    except ModuleNotFoundError as error:
        if error.name == "fcntl":
            raise errors.UsageError(
                "the export needs a POSIX system, for the lock of its folder",
                hint="run it on Linux or macOS, or in WSL",
            ) from error
        if error.name != "pyarrow":
            raise
        raise errors.MissingExtra(
            "the export needs pyarrow, which is not installed", "parquet"
        ) from error

    manifest = run.export(
        database_url(database, config_file),
        Path(folder),
        environment=environment_filter(environment),
        now=now(),
    )
    if not quiet:
        rows = sum(table.rows for table in manifest.tables.values())
        size = sum(table.bytes for table in manifest.tables.values())
        notify(
            f"wrote {folder} ({plural(rows, 'row')} of "
            f"{plural(len(manifest.tables), 'table and view', 'tables and views')}, "
            f"{plural(len(manifest.environments), 'environment')}, {size / 1e6:,.1f} MB)"
        )
