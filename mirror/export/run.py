"""Export the tables and views as Parquet, in one snapshot of the mirror."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import msgspec
from sqlalchemy.engine import Connection

from mirror.db import environments, revisions, runs
from mirror.db.models import past_versions, quarantined_records, release_requests, sync_runs
from mirror.db.views import VIEWS
from mirror.errors import MirrorError, UsageError
from mirror.export import batches, files
from mirror.export.folder import replacing
from mirror.queries import empty, helpers
from mirror.version import __version__

RELATIONS = (release_requests, past_versions, sync_runs, quarantined_records, *VIEWS)
"""All tables and views that readers use; each has a column `environment`."""

MANIFEST = "_manifest.json"
"""Its name begins with `_`, so that readers of Parquet folders ignore it."""


class ExportedEnvironment(msgspec.Struct, frozen=True):
    """An environment in the manifest.

    Attributes:
        environment: its name.
        as_of: start of its last complete sync (UTC), or None if there was none.
    """

    environment: str
    as_of: datetime | None


class Manifest(msgspec.Struct, frozen=True):
    """What an export holds, as in its file `_manifest.json`.

    Attributes:
        exported_at: when it began (UTC).
        mirror_version: version of mirror that wrote it.
        schema_revision: of the database.
        environments: those that it holds.
        tables: rows and bytes of each table and view, by name.
    """

    exported_at: datetime
    mirror_version: str
    schema_revision: str | None
    environments: Sequence[ExportedEnvironment]
    tables: dict[str, files.Written]


def export(
    database_url: str, folder: Path, *, environment: str | None = None, now: datetime
) -> Manifest:
    """Replace the contents of a folder by the present state of the mirror.

    Args:
        database_url: of the mirror.
        folder: a new or empty folder, or that of an earlier export. Its parent exists.
        environment: only this environment; None for all.
        now: the present time (UTC).

    Returns:
        What was written.

    Raises:
        DatabaseError: there is no mirror, or its schema is not that of this version.
        UsageError: the environment is not in the mirror, or its name is NULL or too long for
            readers or folders; the folder cannot be written, or holds something else.
        ExportRunning: another export writes to the folder.
        DiskUnavailable: the disk is full.
        MirrorError: nothing was ever synced, or the file system failed.
    """
    with helpers.connect(database_url) as connection:
        names = _environments(connection, environment)
        with replacing(folder, [*(table.name for table in RELATIONS), MANIFEST], now) as new:
            tables = {}
            for table in RELATIONS:
                # Closed first: the transaction would wait for the rest of a COPY that nobody reads.
                with closing(
                    batches.read(connection, table, environment, ordered=len(names) > 1)
                ) as rows:
                    tables[table.name] = files.write(new / table.name, table, rows, names)
            manifest = Manifest(
                now,
                __version__,
                revisions.current(connection),
                [ExportedEnvironment(name, _as_of(connection, name)) for name in names],
                tables,
            )
            text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
            (new / MANIFEST).write_bytes(text + b"\n")
    return manifest


def _environments(connection: Connection, environment: str | None) -> list[str]:
    """Return the names of the environments to export: at least one."""
    names = environments.on_record(connection)
    if not names:
        raise MirrorError(empty.NEVER_SYNCED)
    if environment is not None:
        if environment not in names:
            raise UsageError(str(empty.no_environment(connection, environment)))
        names = [environment]
    for name in names:
        files.check_name(name)
    return names


def _as_of(connection: Connection, environment: str) -> datetime | None:
    completion = runs.last_completion(connection, environment)
    return None if completion is None else completion.observed_at
