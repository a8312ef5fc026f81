"""A mirror whose syncs are killed, beside the state that it must have."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy.engine import Connection

from mirror.db.engine import create_engine, read_transaction, write_transaction
from mirror.db.runs import lock
from mirror.db.urls import parse_url
from mirror.sync.run import sync
from tests.support.database_state import (
    ExpectedState,
    Run,
    difference,
    read_runs,
    read_tables,
    version_gaps,
)
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN
from tests.support.upstream_generator import ChangingList
from tests.support.workers import Worker


class CrashedMirror:
    """A mirror whose syncs are killed.

    Args:
        mirror: without any run.
        listing: what upstream lists.

    Attributes:
        mirror: the mirror.
        relations: names of its tables, indexes and views at the last check.
    """

    def __init__(self, mirror: Mirror, listing: ChangingList) -> None:
        self.mirror = mirror
        self.relations: set[str] = set()
        self._listing = listing
        self._expected = ExpectedState()
        self._applied: object = None
        self._last_applied_id = 0
        self._known_runs = 0
        self._publish()

    @property
    def is_loaded(self) -> bool:
        """Whether a run has applied a list."""
        return self._applied is not None

    def change_list(self) -> None:
        """Change what upstream lists."""
        self._listing.move_on()
        self._publish()

    def _publish(self) -> None:
        self.mirror.upstream.records = self._listing.entries
        self.mirror.sandbox.invalidate()

    def start_sync(self, worker: Worker, kill_at: str = "") -> None:
        """Let a worker sync."""
        self.mirror.sandbox.invalidate()  # otherwise the list is not fetched again
        worker.start_sync(self.mirror.url, self.mirror.sandbox.base_url, TOKEN, kill_at=kill_at)

    def check_after_kill(self) -> Run | None:
        """Check what a kill has left; return the killed run, if it is on record.

        SQLite recovers when it opens a file. That is left to the next sync: a copy is checked.
        """
        if self.mirror.url.startswith("postgresql"):
            killed = self.check()
            # Postgres may not know of the death yet, and commit after the check.
            with write_transaction(self.mirror.engine, lock("default")) as connection:
                if _relations(connection):
                    self._follow(read_runs(connection))
            return killed
        original = Path(str(parse_url(self.mirror.url).database))
        folder = original.parent / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for suffix in ("", "-wal", "-journal"):  # not -shm, which is memory of the processes
            if original.with_name(original.name + suffix).exists():
                shutil.copy(original.with_name(original.name + suffix), folder)
        if not (folder / original.name).exists():
            return None
        url = f"sqlite:///{folder / original.name}"
        with read_transaction(create_engine(url)) as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").all() == [("ok",)]
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        return self.check(url)

    def sync_to_end(self) -> None:
        """Sync undisturbed: the mirror equals the list, and no dead run is on record as running."""
        is_known = self._applied is self._listing.entries
        result = sync(self.mirror.engine, self.mirror.api, "default")
        assert result.outcome == ("unchanged" if is_known else "applied"), result
        self.check()
        with read_transaction(self.mirror.engine) as connection:
            assert version_gaps(connection) == []
            for run in read_runs(connection):
                assert run.outcome in {"applied", "unchanged", "abandoned"}
                assert (run.error is not None) is (run.outcome == "abandoned"), run

    def check(self, url: str | None = None) -> Run | None:
        """Compare the mirror, or a copy of it, with the expected state; return a new run."""
        with read_transaction(create_engine(url or self.mirror.url)) as connection:
            self.relations = _relations(connection)
            if not self.relations:
                return None
            recorded = read_runs(connection)
            new = recorded[self._known_runs :]
            self._follow(recorded)
            wrong = difference(read_tables(connection), self._expected.tables())
        assert not wrong, f"{wrong}; the last runs: {recorded[-2:]}"
        assert len(new) <= 1, new
        return new[0] if new else None

    def _follow(self, recorded: list[Run]) -> None:
        """Check the runs; enter what a new one applied into the expected state."""
        complete = [run for run in recorded if run.outcome in {"applied", "unchanged"}]
        assert [run.completion for run in complete] == list(range(1, len(complete) + 1))
        for run in recorded:
            assert (run.completion is not None) is (run in complete), run
            assert (run.finished_at is None) is (run.outcome == "running"), run
            if run.outcome == "running":  # a complete run marks dead ones in its transaction
                assert not complete or run.id > complete[-1].id
            if run.outcome == "applied" and run.id > self._last_applied_id:
                self._expected.apply(run, self._listing.entries)
                self._applied, self._last_applied_id = self._listing.entries, run.id
        self._known_runs = len(recorded)


def _relations(connection: Connection) -> set[str]:
    """The names of all tables, indexes and views."""
    query = "SELECT name FROM sqlite_master"
    if connection.dialect.name == "postgresql":
        query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    return set(connection.exec_driver_sql(query).scalars())
