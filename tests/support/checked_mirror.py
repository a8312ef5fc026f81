"""A real mirror beside its model in plain Python: each sync is compared with what it must do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import count, groupby, pairwise
from operator import itemgetter
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from mirror.config.settings import ApiSettings, Secret
from mirror.db import environments, models, views
from mirror.db.engine import read_transaction
from mirror.db.runs import Counts, Outcome
from mirror.sync.run import Result, sync
from tests.support.database_state import difference, read_tables
from tests.support.http_servers import HttpRequest, HttpResponse, ScriptedServer, http
from tests.support.list_parser import KNOWN, cut, parse_list
from tests.support.mirrors import Mirror
from tests.support.oracle import PAGE, ListResponse, PlainMirror, Row, State, expected_tables
from tests.support.upstream import request
from tests.support.upstream_generator import body

NEIGHBOUR = "neighbour"
"""An environment whose request turns up in the wrong list now and then."""

COMPLETE = {Outcome.APPLIED, Outcome.UNCHANGED}


@dataclass
class LifeTest:
    """One database and one upstream for many lives, each in its own environment."""

    mirror: Mirror
    failing_api: ScriptedServer
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    lives: int = 0  # completed ones
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    final_rows: dict[str, list[list[Row]]] = field(default_factory=dict)  # by environment

    def rows_of(self, environment: str) -> list[list[Row]]:
        """Everything that syncs wrote of an environment."""
        with read_transaction(self.mirror.engine) as connection:
            return [
                _in_order(_rows(connection, table, environment))
                for table in (views.versions, models.quarantined_records, models.sync_runs)
            ]

    def figures(self) -> str:
        """A sentence with the number of days and the outcomes of their syncs."""
        outcomes = ", ".join(f"{number} {name}" for name, number in self.outcomes.most_common())
        lives = "1 life" if self.lives == 1 else f"{self.lives} lives"
        days = self.outcomes.total()
        return f"{days} days in {lives}, each day read back in the end: {outcomes}"


@contextmanager
def life_test(mirror: Mirror) -> Iterator[LifeTest]:
    """Set up a database with a neighbour, an upstream with small pages, and an API that fails."""
    with pytest.MonkeyPatch.context() as patch, ScriptedServer([b""]).running() as failing_api:
        patch.setattr("mirror.api.client.PER_PAGE", PAGE)
        mirror.sync([request(id=NEIGHBOUR), "junk"], environment=NEIGHBOUR)
        test = LifeTest(mirror, failing_api)
        test.final_rows[NEIGHBOUR] = test.rows_of(NEIGHBOUR)
        yield test
        for environment, rows in test.final_rows.items():
            assert test.rows_of(environment) == rows, "one life has changed another one"


@dataclass(frozen=True)
class Day:
    """A day that has passed: its observation time, the mirror's state, and an accepted list."""

    when: datetime
    known: dict[str, State]
    response: ListResponse | None


class CheckedMirror:
    """The mirror of one environment, and its model."""

    def __init__(self, test: LifeTest) -> None:
        self.environment = f"life-{next(test.numbers)}"
        self.now = test.mirror.upstream.now
        self.model = PlainMirror()
        self.etag = False
        self.broken = False  # by a failed check, which later ones would hide
        self._test = test
        self._engine = test.mirror.engine
        self._days: list[Day] = []
        self._runs: list[Row] = []
        self._runs_before: list[Row] = []
        self._versions: list[Row] = []
        self._quarantine: list[Row] = []
        self._all_versions: dict[tuple[str, datetime], Row] = {}
        self._all_quarantined: dict[int, Row] = {}

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Mark the mirror as broken if a check fails."""
        self.broken = True
        yield
        self.broken = False

    # Syncs

    def sync(self, response: ListResponse, **options: bool) -> Result:
        """Sync, and compare the result with the model."""
        with self.checking():
            result = self._sync(response, **options)
            self._check_expected(response, result, **options)
        return result

    def sync_in_vain(
        self, response: ListResponse | HttpResponse, expected: Outcome, **options: Any
    ) -> None:
        """Sync from a response that changes nothing."""
        with self.checking():
            if isinstance(response, ListResponse):
                result = self._sync(response, **options)
            else:
                result = self._sync_from_failing_api(response)
            assert result.outcome is expected
            assert result.failure is not None
            self._check(result, {})

    def sync_overtaken(self, response: ListResponse) -> None:
        """Sync while a slower run fetches, which then must be superseded."""
        if self.model.outcome(response) not in COMPLETE:
            return
        faster: list[Result] = []

        def respond(received: HttpRequest) -> bytes:
            if received.page == 1:
                faster.append(self._sync(response))
            return http(200, body(response.texts[1:]))

        slower = self._sync_from_failing_api(respond)
        with self.checking():
            self._check_expected(response, faster[0])
            assert slower.outcome is Outcome.SUPERSEDED
            self._check(slower, {})

    # Its name

    def rename(self) -> None:
        """Give the environment a name that a refused sync has put on record already."""
        old, new = self.environment, f"life-{next(self._test.numbers)}"
        with self.checking():
            before = self._test.rows_of(old)
            self._test.mirror.upstream.records = [request(id=NEIGHBOUR)]
            self._test.mirror.sandbox.invalidate()
            refused = sync(self._engine, self._test.mirror.api, new, now=self._next_hour)
            assert refused.outcome is Outcome.REFUSED
            environments.rename(self._engine, old, new, now=self.now)
            assert self._test.rows_of(old) == [[], [], []]
            for rows in before:
                for row in rows:
                    row["environment"] = new
            versions, quarantine, runs = self._test.rows_of(new)
            runs = [run for run in runs if run["id"] != refused.run_id]
            assert [versions, quarantine, runs] == list(map(_in_order, before))
        self.environment = new
        for kept in (self._all_versions, self._all_quarantined):
            for row in kept.values():
                row["environment"] = new
        self._read()

    def forget(self) -> None:
        """Forget the environment; its next sync is the first one."""
        with self.checking():
            environments.forget(self._engine, self.environment, with_requests=True)
            assert self._test.rows_of(self.environment) == [[], [], []]
        self.model = PlainMirror()
        self._days.clear()
        self._all_versions.clear()
        self._all_quarantined.clear()
        self._read()

    def _sync(self, response: ListResponse, **options: bool) -> Result:
        """Sync an hour later, from the sandbox."""
        mirror, started_at = self._test.mirror, self._next_hour()
        mirror.sandbox.config.paging, mirror.sandbox.config.etag = response.paging, self.etag
        mirror.upstream.records = [text.encode() for text in response.texts]
        mirror.sandbox.invalidate()
        return self._sync_from(mirror.api, started_at, **options)

    def _sync_from_failing_api(self, response: HttpResponse) -> Result:
        """Sync an hour later, from an API with this response."""
        api = self._test.failing_api
        api.responses[:] = [response]
        settings = ApiSettings(api.base_url, Secret("talq_another"))
        return self._sync_from(settings, self._next_hour(), accept_base_url=True)

    def _sync_from(self, api: ApiSettings, started_at: datetime, **options: Any) -> Result:
        return sync(
            self._engine, api, self.environment, upgrade=False, now=lambda: started_at, **options
        )

    def _next_hour(self) -> datetime:
        self.now += timedelta(hours=1)
        return self.now

    # Checks after each sync

    def _check_expected(
        self,
        response: ListResponse,
        result: Result,
        *,
        dry_run: bool = False,
        accept_missing: bool = False,
    ) -> None:
        """Compare a sync with the model."""
        expected = self.model.outcome(response, accept_missing=accept_missing)
        when = self.model.observation_time(result.started_at)
        counts = {}
        if dry_run and expected in COMPLETE:
            expected, copy = "dry_run", self.model.copy()
            counts = copy.learn(when, response, result.run_id)
            changes = [row for row in copy.memory.changes() if row["changed_at"] == when]
            assert _like(map(asdict, result.changes), changes) == _in_order(changes)
        elif expected == "unchanged":
            before, copy = self.model.memory.versions(), self.model.copy()
            counts = copy.learn(when, response, result.run_id)
            assert copy.memory.versions() == before, "the model would not take this for unchanged"
            self.model.observed_at = when
            self.model.memory.see_again(when)
        elif expected == "applied":
            counts = self.model.learn(when, response, result.run_id)
        assert result.outcome == expected
        self._check(result, counts, dry_run=dry_run)

    def _check(self, result: Result, counts: dict[str, int], *, dry_run: bool = False) -> None:
        """Compare the database with the model after a sync, and keep the day."""
        actual = msgspec.structs.asdict(result.counts)
        assert actual == msgspec.structs.asdict(Counts()) | counts
        parts = ("inserted", "updated", "unchanged", "returned", "quarantined", "duplicates")
        # A request whose entry is in quarantine may be updated or returned all the same.
        overlap = sum(actual[name] for name in parts) - actual["fetched"]
        assert 0 <= overlap <= min(actual["quarantined"], actual["updated"] + actual["returned"])
        self._read()
        self._check_run(result, counts, dry_run=dry_run)
        self._check_versions()
        self._keep_day(result)
        self._test.outcomes[result.outcome] += 1
        self._test.counts.update(actual)

    def _read(self) -> None:
        """Read and compare all tables, in one transaction."""
        with read_transaction(self._engine) as connection:
            versions, self._quarantine, self._runs = (
                _rows(connection, table, self.environment)
                for table in (views.versions, models.quarantined_records, models.sync_runs)
            )
            tables = read_tables(connection, self.environment)
        self._versions = sorted(versions, key=itemgetter("id", "valid_from"))
        assert difference(tables, expected_tables({self.environment: self.model})) == ""
        assert all(row["error"] for row in self._quarantine)

    def _check_run(self, result: Result, counts: dict[str, int], *, dry_run: bool) -> None:
        """The run is recorded as reported, and no other one is left open; a dry run is not."""
        assert {row["outcome"] for row in self._runs} <= set(Outcome) - {
            Outcome.RUNNING,
            Outcome.DRY_RUN,
        }
        if dry_run:
            assert result.run_id is None
            assert self._runs == self._runs_before
            return
        self._runs_before = self._runs
        (run,) = (row for row in self._runs if row["id"] == result.run_id)
        assert run["outcome"] == result.outcome
        assert run["error"] == (result.failure and str(result.failure))
        names = Counts.__struct_fields__
        assert {name: run[name] for name in names} == (counts or dict.fromkeys(names))
        complete = result.outcome in COMPLETE
        assert run["observed_at"] == (self.model.observed_at if complete else None)

    def _check_versions(self) -> None:
        """The view of versions is that of the model; each version has the run that first saw it."""
        model = self.model.memory.versions()
        names = {name for row in model for name in row}
        found = [{name: row[name] for name in names} for row in self._versions]
        assert found == sorted(model, key=itemgetter("id", "version"))
        runs = {run["id"]: run["observed_at"] for run in self._runs}
        assert all(runs[row["sync_run_id"]] == row["valid_from"] for row in self._versions)

    def _keep_day(self, result: Result) -> None:
        """Keep the state after a sync, and the time as of which it must be read back."""
        when, response = self.model.observation_time(result.started_at), None
        if result.outcome in COMPLETE:
            assert self.model.observed_at is not None
            when, response = self.model.observed_at, self.model.response
            # After the clock went back, a sync that changed nothing has no valid time any more.
            self._days = [day for day in self._days if day.when < when]
        known = {key: states[-1] for key, states in self.model.memory.states.items()}
        self._days.append(Day(when, known, response))

    # Invariants

    def check_versions_meet(self) -> None:
        """Versions of a request count up and meet without gaps; only the last one is open."""
        with self.checking():
            for _, group in groupby(self._versions, itemgetter("id")):
                versions = list(group)
                assert [row["version"] for row in versions] == list(range(1, len(versions) + 1))
                assert [row["version"] for row in versions if row["valid_to"] is None] == [
                    len(versions)
                ]
                for earlier, later in pairwise(versions):
                    assert earlier["valid_from"] < earlier["valid_to"] == later["valid_from"]
                assert {row["first_seen_at"] for row in versions} == {versions[0]["valid_from"]}

    def check_nothing_is_lost(self) -> None:
        """Rows stay; only `valid_to`, and `extra` of an open version, may change."""
        with self.checking():
            versions = {(row["id"], row["valid_from"]): row for row in self._versions}
            for key, old in self._all_versions.items():
                may_change = {"valid_to", "extra"} if old["valid_to"] is None else set()
                assert {name for name in old if versions[key][name] != old[name]} <= may_change
            self._all_versions = versions
            quarantined = {row["id"]: row for row in self._quarantine}
            for number, old in self._all_quarantined.items():
                for name in ("fingerprint", "request_id", "first_run_id", "first_seen_at"):
                    assert quarantined[number][name] == old[name]
            self._all_quarantined = quarantined

    def check_days(self) -> None:
        """As of each day, the versions have the state and the list of that day."""
        with self.checking(), read_transaction(self._engine) as connection:
            self._check_views(connection)
            for day, next_day in pairwise([*self._days, self._days[-1]]):
                states = self._as_of(connection, day.when)
                assert states == day.known
                if day.response is not None:
                    _check_list(states, day.response)
                eve = next_day.when - timedelta(milliseconds=1)
                assert eve < day.when or self._as_of(connection, eve) == day.known

    def finish(self) -> None:
        """Record the end of a life."""
        self._test.lives += 1
        self._test.final_rows[self.environment] = self._test.rows_of(self.environment)

    def _check_views(self, connection: sa.Connection) -> None:
        memory = self.model.memory
        history = _rows(connection, views.history, self.environment)
        for rows, model in (
            (_rows(connection, views.changes, self.environment), memory.changes()),
            (history, memory.history_like(history)),
            (_rows(connection, views.numbers, self.environment), memory.numbers()),
        ):
            assert _like(rows, model) == _in_order(model)

    def _as_of(self, connection: sa.Connection, when: datetime) -> dict[str, State]:
        """The state of each request at a time, from the versions."""
        view = views.versions.c
        is_open = sa.or_(view.valid_to.is_(None), view.valid_to > when)
        rows = _rows(connection, views.versions, self.environment, view.valid_from <= when, is_open)
        states = {
            row["id"]: State(
                {name: row[name] for name in KNOWN},
                gone=row["missing_since"] is not None,
                since=row["valid_from"],
                first=row["first_seen_at"],
            )
            for row in rows
        }
        assert len(states) == len(rows)
        return states


def _check_list(states: dict[str, State], response: ListResponse) -> None:
    """The listed requests are those of an accepted list, and invalid ones."""
    parsed = parse_list(response.texts)
    listed = {key: state.fields for key, state in states.items() if not state.gone}
    valid = {key: cut(entry) for key, entry in parsed.valid.items()}
    assert valid.items() <= listed.items()
    assert listed.keys() - valid.keys() <= parsed.invalid_ids


def _rows(
    connection: sa.Connection, table: sa.Table, environment: str, *conditions: Any
) -> list[Row]:
    """The rows of an environment that meet conditions."""
    query = sa.select(table).where(table.c.environment == environment, *conditions)
    return [dict(row) for row in connection.execute(query).mappings()]


def _in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: repr(sorted(row.items())))


def _like(rows: Any, model: list[Row]) -> list[Row]:
    """Reduce rows to the columns of the model."""
    names = {name for row in model for name in row}
    return _in_order([{name: row[name] for name in names or row} for row in rows])
