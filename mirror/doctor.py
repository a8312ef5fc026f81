"""Checks of everything that a sync needs: settings, API, database, and how it went so far.

Nothing is changed. A check that fails does not keep the others from being made.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mirror import checks
from mirror.api import health as probe
from mirror.checks import Check, State, private
from mirror.config import file, settings
from mirror.config.sources import API_SETTINGS, DEFAULT, ResolvedSetting, SettingSources
from mirror.db import migrate
from mirror.db.engine import (
    create_engine,
    has_secrets,
    parse_url,
    read_transaction,
    shown_url,
    write_transaction,
)
from mirror.db.models import metadata
from mirror.errors import DatabaseError, DiskUnavailable, MirrorError, SchemaError, UsageError
from mirror.queries import status

_MIB = 1024 * 1024


class Doctor:
    """Makes the checks.

    Args:
        given: options, variables and the configuration file.
        where: the URL of the database, and where that comes from.
        environments: which to look at.
        now: this machine's clock, UTC.

    Attributes:
        failures: the errors behind the checks that failed so far.
    """

    def __init__(
        self,
        given: SettingSources,
        where: ResolvedSetting,
        environments: Sequence[str],
        now: Callable[[], datetime],
    ) -> None:
        self.failures: list[MirrorError] = []
        self._given = given
        self._where = where
        self._environments = environments
        self._now = now

    def checks(self) -> Iterator[Check]:
        """Make the checks, and yield each when it is made."""
        yield self._configuration_file()
        for environment in self._environments:
            yield from self._settings(environment)
            yield from self._api(environment)
        yield from self._database()

    def _failed(self, check: str, error: MirrorError, environment: str | None = None) -> Check:
        self.failures.append(error)
        return Check(State.FAILED, check, environment, error.message, error.hint)

    # Settings

    def _configuration_file(self) -> Check:
        path = self._given.file.path
        if path is None:
            found = f"none; looked for at {file.default_path()}"
            return Check(State.OK, "configuration", None, found)
        if self._where.in_file and has_secrets(self._where.text):
            return private(path, "configuration", f"{path}, with a password in it")
        return Check(State.OK, "configuration", None, str(path))

    def _settings(self, environment: str) -> Iterator[Check]:
        """Tell the settings of an environment, and where each comes from."""
        found = [self._given.find(name, environment) for name in API_SETTINGS]
        for one in found:
            if one.source != DEFAULT:
                yield self._setting(one, environment)
        defaults = ", ".join(f"{one.name} {one.text}" for one in found if one.source == DEFAULT)
        if defaults:
            yield Check(State.OK, "settings", environment, f"by default: {defaults}")

    def _setting(self, one: ResolvedSetting, environment: str) -> Check:
        """Tell a setting, unless it is a base URL that may hold the token."""
        try:
            text = settings.usable_base_url(one.text) if one.name == "base_url" else one.text
        except UsageError as error:
            return self._failed(one.name, error, environment)
        return Check(State.OK, one.name, environment, f"{text} ({one.source})")

    def _token(self, environment: str) -> Check:
        """Look where the token is, and who else may read it."""
        found = self._given.find_token(environment)
        settings.read_token(self._given, environment)
        if found.name == "token_file":
            return private(Path(found.text), "token", f"read from {found.source}", environment)
        return Check(State.OK, "token", environment, f"read from {found.source}")

    # The API

    def _api(self, environment: str) -> Iterator[Check]:
        token_found = False
        try:
            yield self._token(environment)
            token_found = True
            api = settings.api_settings(self._given, environment)
        except UsageError as error:
            if str(error) not in map(str, self.failures):  # else it was told as a setting
                yield self._failed("settings" if token_found else "token", error, environment)
            return
        try:
            seen = probe.check_health(api, self._now)
        except MirrorError as error:
            yield self._failed("API", error, environment)
            return
        yield checks.health(environment, api, seen)
        yield checks.clock(environment, seen)
        try:
            seen = probe.check_token(api, self._now)
        except MirrorError as error:
            yield self._failed("API token", error, environment)
            return
        limit = f"; it allows {seen.limit} requests a minute" if seen.limit else ""
        yield Check(State.OK, "API token", environment, f"accepted{limit}")

    # The database

    def _database(self) -> Iterator[Check]:
        shown = self._where.text
        try:
            shown = shown_url(self._where.text)
            engine = create_engine(self._where.text)
            with read_transaction(engine) as connection:
                yield from self._reached(connection, f"{shown} ({self._where.source})")
        except MirrorError as error:
            yield self._no_database(error, shown)
            return
        yield self._writable(engine)
        yield from self._room(engine)

    def _no_database(self, error: MirrorError, shown: str) -> Check:
        """Tell that there is no database, which is no failure before the first sync."""
        url = parse_url(self._where.text) if not isinstance(error, UsageError) else None
        path = Path(url.database) if url is not None and url.database else None
        if url is None or url.get_backend_name() != "sqlite" or path is None or _is_there(path):
            return self._failed("database", error)
        found = f"{shown} ({self._where.source}) is not there yet"
        return Check(State.WARNING, "database", None, found, "run `mirror sync`, which makes it")

    def _reached(self, connection: Connection, where: str) -> Iterator[Check]:
        yield Check(State.OK, "database", None, where)
        yield from checks.SERVER[connection.dialect.name](connection)
        revision = migrate.current(connection)
        try:
            migrate.require_current(connection)
        except SchemaError as error:
            if revision is not None:
                yield self._failed("schema", error)
                return
            advice = "run `mirror sync`, which makes it"
            yield Check(State.WARNING, "schema", None, "there is no mirror in it yet", advice)
            return
        yield Check(State.OK, "schema", None, f"revision {revision}, the one this version needs")
        yield from self._history(connection)

    def _history(self, connection: Connection) -> Iterator[Check]:
        """Tell how the last runs went, and what is in quarantine."""
        for one in status.status(
            connection, now=self._now(), environments=list(self._environments)
        ):
            yield checks.last_runs(one)
            yield checks.quarantine(one)

    def _writable(self, engine: Engine) -> Check:
        """Find out whether a sync could write, without writing."""
        try:
            with write_transaction(engine, migrate.LOCK) as connection:
                for table in metadata.sorted_tables if migrate.current(connection) else ():
                    # The right is looked at before the rows.
                    nothing = sa.select(table).where(sa.false())
                    connection.execute(sa.insert(table).from_select(list(table.c), nothing))
                    connection.execute(sa.delete(table).where(sa.false()))
                    connection.execute(
                        sa.update(table).where(sa.false()).values({next(iter(table.c)): None})
                    )
        except DatabaseError as error:
            return self._failed("writing", error)
        return Check(State.OK, "writing", None, "a sync may write")

    def _room(self, engine: Engine) -> Iterator[Check]:
        """Look how much room there is for temporary files, and for a database that is a file."""
        if engine.dialect.name == "sqlite":
            path = Path(engine.url.database or "")
            size = path.stat().st_size
            yield private(path, "database file", f"{size / _MIB:,.1f} MiB")
            yield checks.room("room for the database", path.parent, size)
        try:
            folder = Path(tempfile.gettempdir())
        except OSError:
            error = DiskUnavailable(
                "there is no folder for temporary files", hint="name one in TMPDIR"
            )
            yield self._failed("room for temporary files", error)
        else:
            yield checks.room("room for temporary files", folder)


def _is_there(path: Path) -> bool:
    """Tell whether there is something at a path, or nobody could say that there is not."""
    try:
        return path.exists()
    except OSError:
        return True
