"""The checks of `mirror doctor`: settings, database, disk, API, list, and the runs so far.

No check changes anything, and a check that fails does not prevent the others.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from sqlalchemy.engine import Connection, Engine

from mirror.api.client import Client, FetchedList
from mirror.api.health import check_health, check_token
from mirror.config import file, settings
from mirror.config.environments import (
    Shard,
    environment_names,
    refuse_shared,
    require_shardable,
)
from mirror.config.resolver import SettingSources
from mirror.config.settings import ApiSettings
from mirror.config.sources import (
    API_DEFAULTS,
    DEFAULT,
    VARIABLES,
    ResolvedSetting,
)
from mirror.db import commands, environments, placement, revisions, runs, sqlite
from mirror.db.engine import create_engine, read_transaction
from mirror.db.urls import has_secrets, parse_url, shown_url
from mirror.doctor import checks
from mirror.doctor.checks import Check, State, check_disk_space, check_private
from mirror.errors import ApiUnavailable, DatabaseError, DiskUnavailable, MirrorError, UsageError
from mirror.queries import status
from mirror.queries.status import EnvironmentStatus
from mirror.sync.run import sync
from mirror.text import plural


class _Record(msgspec.Struct, frozen=True):
    """What the mirror has on record of each environment.

    Attributes:
        statuses: of the environments to check, and of all others on record.
        completions: the last completion of each, if it has one.
    """

    statuses: dict[str, EnvironmentStatus] = {}
    completions: dict[str, runs.Completion | None] = {}


class Doctor:
    """Runs the checks.

    Args:
        sources: options, variables and the configuration file.
        named: the environments to check; if empty, those that a sync would sync, and all others on
            record.
        now: returns the time of this machine's clock (UTC).
        before_first_sync: that there is nothing yet is as it should be.

    Raises:
        UsageError: a named environment is not in the file.

    Attributes:
        failures: the errors behind the checks that failed so far.
    """

    def __init__(
        self,
        sources: SettingSources,
        named: Sequence[str],
        now: Callable[[], datetime],
        *,
        before_first_sync: bool = False,
    ) -> None:
        self.failures: list[MirrorError] = []
        self._sources = sources
        self._options = commands.mirror_options(sources.given)
        self._environments = environment_names(sources.file, named)
        self._named = named
        self._now = now
        self._before_first_sync = before_first_sync
        self._record = _Record()
        self._engine: Engine | None = None

    def checks(self) -> Iterator[Check]:
        """Run the checks, and yield each as soon as it is done."""
        yield self._configuration_file()
        yield from self._database()
        database_failed = bool(self.failures)
        shared = list(self._shared_settings())
        yield from shared
        yield from self._shard()
        for environment in self._environments:
            yield from self._settings(environment)
            if not shared:
                yield from self._api(environment, with_list=not database_failed)
            yield from self._runs(environment)
        if not self._named:
            for environment in sorted(self._record.statuses.keys() - set(self._environments)):
                yield from self._other(environment)

    def _failed(self, check: str, error: MirrorError, environment: str | None = None) -> Check:
        self.failures.append(error)
        return Check(State.FAILED, check, environment, error.message, error.hint, error)

    # Settings

    def _configuration_file(self) -> Check:
        path = self._sources.file.path
        if path is None:
            default = file.default_path()
            place = f"searched at {default}" if default else "there is no home folder"
            return Check(State.OK, "configuration", None, f"none; {place}")
        database = self._sources.given.get("database") or self._sources.file.database
        if database and database.in_file and has_secrets(database.text):
            return check_private(path, "configuration", f"{path}, with a password in it")
        return Check(State.OK, "configuration", None, str(path))

    def _shared_settings(self) -> Iterator[Check]:
        """Yield a failure if one token or host was given for several environments."""
        try:
            refuse_shared(self._sources, self._environments)
        except UsageError as error:
            yield self._failed("settings", error)

    def _shard(self) -> Iterator[Check]:
        """Yield a failure if the variable has a shard that no sync takes."""
        if text := self._sources.environ.get(VARIABLES["shard"]):
            try:
                Shard.parse(text)
                require_shardable(self._sources.file, self._named)
            except UsageError as error:
                yield self._failed("settings", error)

    def _settings(self, environment: str) -> Iterator[Check]:
        """Show the settings of an environment, and the source of each."""
        resolved = [self._sources.resolve(name, environment) for name in API_DEFAULTS]
        for setting in resolved:
            if setting.source != DEFAULT:
                yield self._setting(setting, environment)
        defaults = [f"{item.name} {item.text}" for item in resolved if item.source == DEFAULT]
        if defaults:
            finding = f"by default: {', '.join(defaults)}"
            yield Check(State.OK, "settings", environment, finding)

    def _setting(self, setting: ResolvedSetting, environment: str) -> Check:
        """Show a setting, unless it is an invalid base URL, which may hold the token."""
        text = setting.text
        try:
            if setting.name == "base_url":
                text = settings.usable_base_url(text)
        except UsageError as error:
            return self._failed(setting.name, error, environment)
        return Check(State.OK, setting.name, environment, f"{text} ({setting.source})")

    def _token(self, environment: str) -> Check:
        """Check that the token can be read, and its file by nobody else."""
        setting = self._sources.resolve_token(environment)
        settings.read_token(self._sources, environment)
        finding = f"read from {setting.source}"
        if setting.name == "token_file":
            return check_private(Path(setting.text), "token", finding, environment)
        return Check(State.OK, "token", environment, finding)

    # The API

    def _api(self, environment: str, *, with_list: bool) -> Iterator[Check]:
        check = "token"
        try:
            yield self._token(environment)
            check = "settings"
            api = settings.api_settings(self._sources, environment)
            check = "base_url"
            last = self._record.completions.get(environment)
            runs.require_base_url(environment, last, api.base_url)
            check = "API"
            is_reachable = yield from self._health(environment, api)
            check = "API token"
            yield self._access(environment, api, with_list=with_list and is_reachable)
            check = "list"
            if with_list:
                yield self._list(environment, api)
        except MirrorError as error:
            # A check of a setting may have shown the error already.
            if check not in {"token", "settings"} or str(error) not in map(str, self.failures):
                yield self._failed(check, error, environment)

    def _health(self, environment: str, api: ApiSettings) -> Generator[Check, None, bool]:
        """Request what a sync does not need; return whether there was a response."""
        try:
            probe = check_health(api, self._now)
        except ApiUnavailable as error:
            yield Check(State.WARNING, "API", environment, error.message, error.hint)
            return False
        yield checks.check_health(environment, api, probe)
        yield checks.check_clock(environment, probe)
        return True

    def _access(self, environment: str, api: ApiSettings, *, with_list: bool) -> Check:
        """Request the list once; a sync tries again if that may help, and so `_list` decides."""
        try:
            probe = check_token(api, self._now)
        except ApiUnavailable as error:
            if not with_list:
                raise
            return Check(State.WARNING, "API token", environment, f"unknown: {error.message}")
        return checks.check_token(environment, probe)

    def _list(self, environment: str, api: ApiSettings) -> Check:
        """Read the list and compare it with the mirror, as a sync does; without a mirror, read it.

        Only this finds what the guard refuses, such as the requests of another environment.
        """
        if self._engine is None:
            fetched = Client(api).fetch_list()
            assert isinstance(fetched, FetchedList), "there is no known list"
            return Check(
                State.OK, "list", environment, plural(fetched.scan.count, "entry", "entries")
            )
        result = sync(
            self._engine,
            api,
            environment,
            dry_run=True,
            options=self._options,
            now=self._now,
        )
        if result.failure is not None:
            raise result.failure
        if result.outcome is runs.Outcome.SUPERSEDED:
            finding = "another sync completed while it was read"
        else:
            finding = (
                f"{plural(result.counts.fetched, 'entry', 'entries')}, which a sync would apply"
            )
            if count := result.counts.newly_quarantined:
                finding += f", but {count:,} of them cannot be understood and would be quarantined"
                advice = "after the next `mirror sync`, `mirror quarantine` shows them"
                return Check(State.WARNING, "list", environment, finding, advice)
        return Check(State.OK, "list", environment, finding)

    # The database

    def _database(self) -> Iterator[Check]:
        url = shown = ""
        try:
            setting = self._sources.resolve_database()
            url, source = setting.text, setting.source
            shown = f"{shown_url(url)} ({source})"
            engine = create_engine(url)
            with read_transaction(engine) as connection:
                yield Check(State.OK, "database", None, shown)
                yield from checks.SERVER_CHECKS[connection.dialect.name](connection)
                schema = self._schema(connection)
                yield schema
                if schema.state is State.OK and revisions.current(connection) is not None:
                    yield from checks.check_surroundings(connection)
                    self._engine, self._record = engine, self._read_record(connection)
        except MirrorError as error:
            yield self._no_database(error, url, shown)
            return
        if schema.state is not State.FAILED:
            yield self._write_access(engine)
        yield from self._disk_space(engine)

    def _read_record(self, connection: Connection) -> _Record:
        names = list(self._environments)
        if not self._named:
            names += environments.on_record(connection)
        statuses = status.status(
            connection, now=self._now(), environments=names, max_age=self._max_age
        )
        return _Record(
            {status.environment: status for status in statuses},
            {name: runs.last_completion(connection, name) for name in names},
        )

    def _max_age(self, environment: str) -> timedelta | None:
        """Return the age at which an environment is stale; None also if the file has none."""
        with suppress(UsageError):  # `_runs` reports it
            return settings.max_age(self._sources.file, environment)
        return None

    def _no_database(self, error: MirrorError, text: str, shown: str) -> Check:
        """Report why the database cannot be opened; a missing SQLite file is only a warning."""
        url = None if isinstance(error, UsageError) else parse_url(text)
        if (
            url is None
            or url.get_backend_name() != "sqlite"
            or not url.database
            or _may_exist(Path(url.database))
        ):
            return self._failed("database", error)
        try:
            sqlite.require_creatable(url)
        except DatabaseError as uncreatable:
            return self._failed("database", uncreatable)
        return self._not_yet("database", f"{shown} does not exist yet")

    def _not_yet(self, check: str, finding: str) -> Check:
        """Report that something does not exist, which a sync creates."""
        if self._before_first_sync:
            return Check(State.OK, check, None, f"{finding}; the first sync creates it")
        advice = "run `mirror sync`, which creates it"
        return Check(State.WARNING, check, None, finding, advice)

    def _schema(self, connection: Connection) -> Check:
        try:
            revision = revisions.current(connection)
            if revision is None:
                return self._not_yet("schema", "no mirror in the database yet")
            revisions.require_current(connection)
        except DatabaseError as error:
            return self._failed("schema", error)
        finding = f"revision {revision}, which this version needs"
        if schema := placement.schema(connection):
            finding += f", in the schema {schema}"
        return Check(State.OK, "schema", None, finding)

    def _write_access(self, engine: Engine) -> Check:
        try:
            checks.require_write_access(engine)
        except MirrorError as error:
            return self._failed("write access", error)
        return Check(State.OK, "write access", None, "a sync can write")

    def _disk_space(self, engine: Engine) -> Iterator[Check]:
        """Check the space for the database, if it is a file, and for temporary files."""
        if engine.dialect.name == "sqlite":
            path = Path(engine.url.database or "")
            size = path.stat().st_size
            yield check_private(path, "database file", checks.format_size(size))
            yield check_disk_space("disk space for the database", path.parent, size)
            check = "disk space for temporary files"
            try:
                yield check_disk_space(check, checks.temporary_folder())
            except DiskUnavailable as error:
                yield self._failed(check, error)

    # The runs so far

    def _runs(self, environment: str) -> Iterator[Check]:
        limit = self._sources.file.max_age(environment)
        try:
            settings.max_age(self._sources.file, environment)
        except UsageError as error:
            yield self._failed("max_age", error, environment)
        if status := self._record.statuses.get(environment):
            if self._before_first_sync and status.outcome is None:
                yield Check(State.OK, "runs", environment, "none yet")
            else:
                yield checks.check_runs(status)
            if limit and status.complete_at is not None and status.stale is not None:
                yield checks.check_age(status, limit.source)
            yield checks.check_quarantine(status)
        if last := self._record.completions.get(environment):
            yield from checks.check_dates(environment, last.observed_at, self._now())

    def _other(self, environment: str) -> Iterator[Check]:
        """Check an environment that is on record, but would not be synced."""
        statuses, file = self._record.statuses, self._sources.file
        complete = statuses[environment].complete_at is not None
        if file.path is not None and file.environments:
            new = [name for name in file.environments if statuses[name].complete_at is None]
            finding, advice = environments.unknown_to_file(
                environment, file.path, new, self._options
            )
            yield Check(State.WARNING, "environment", environment, finding, advice)
        elif complete:
            finding = "on record; `mirror sync` syncs it with --environment"
            yield Check(State.OK, "environment", environment, finding)
        else:
            finding = "on record, without a complete pull"
            forget = commands.forget_command(environment, self._options)
            advice = f"if the name was mistyped, run `{forget}`"
            yield Check(State.WARNING, "environment", environment, finding, advice)
            limit = file.max_age(environment)
            if limit and statuses[environment].stale:
                yield checks.check_age(statuses[environment], limit.source)
        if complete:
            yield from self._runs(environment)


def _may_exist(path: Path) -> bool:
    """Return False only if a path certainly does not exist."""
    try:
        return path.exists()
    except OSError:
        return True
