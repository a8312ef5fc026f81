"""The auditor of the soak: each recorded run against its list, each read against the runs.

For every environment it keeps a model of the mirror in plain Python, which learns the list of each
run that completed. Of each moment it keeps a hash and some counts, so its memory stays small.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from mirror.db import models
from mirror.db.cookbook import RECIPES
from mirror.db.types import UTCDateTime
from mirror.queries import helpers
from tests.support.database_state import difference, read_tables, version_gaps
from tests.support.oracle import PlainMirror, _kinds, expected_tables
from tests.support.soaks.apis import SoakApi
from tests.support.soaks.databases import SoakDatabase
from tests.support.soaks.models import change_key, fields_of, memory_hash, state_hash
from tests.support.soaks.windows import SLACK

COUNTS = (
    *("fetched", "inserted", "updated", "unchanged", "missing", "returned"),
    *("quarantined", "newly_quarantined", "duplicates"),
)
LATE = 60.0
"""Seconds after which a killed run's row, or an outage, is no reason any more."""

Report = Callable[[str], None]
"""Takes the description of a violation."""


@dataclass(frozen=True)
class Moment:
    """A completed run."""

    when: datetime
    finished: float
    state: bytes
    statuses: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Read:
    """What a reader saw of an environment, and when it began and ended."""

    reader: str
    environment: str
    state: bytes
    began: float
    ended: float


@dataclass(frozen=True)
class Printed:
    """The JSON of a sync."""

    command: str
    result: Mapping[str, Any]
    began: float
    ended: float


@dataclass
class Audited:
    """An environment as the auditor knows it."""

    api: SoakApi
    model: PlainMirror = field(default_factory=PlainMirror)
    moments: list[Moment] = field(default_factory=list)
    digest: str | None = None
    version: str | None = None
    changes: set[bytes] = field(default_factory=set)
    completions: int = 0


class Auditor:
    """Checks one database.

    Args:
        database: to read, past poolers.
        report: takes violations.

    Attributes:
        audited: by environment.
        outcomes: of the recorded runs.
        revision: of the schema, when last looked at.
        newest_version: of the program, of the last completed run.
    """

    def __init__(self, database: SoakDatabase, report: Report) -> None:
        self._database = database
        self._report_to = report
        self.audited = {name: Audited(api) for name, api in database.apis.items()}
        self.outcomes: Counter[str] = Counter()
        self.revision = ""
        self.newest_version = ""
        self._floor = 0
        self._settled: set[int] = set()
        self._open: set[int] = set()
        self._abandoned: dict[int, Any] = {}
        self.printed: list[Printed] = []
        self.reads: list[Read] = []

    def _report(self, violation: str) -> None:
        self._report_to(f"{self._database.name}: {violation}")

    def look(self) -> None:
        """Read what has been recorded since, and check it."""
        began = time.time()
        printed, reads = list(self.printed), list(self.reads)
        runs = models.sync_runs
        with self._database.reading() as connection:
            wanted = sa.or_(
                runs.c.id > self._floor,
                runs.c.id.in_(self._open),
                runs.c.id.in_([one.result["run_id"] for one in printed if one.result["run_id"]]),
            )
            rows = {row.id: row for row in connection.execute(sa.select(runs).where(wanted))}
            self.revision = str(
                connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            )
            gaps = version_gaps(connection)
        # Only now, as the reading may fail; threads add to these lists meanwhile.
        del self.printed[: len(printed)], self.reads[: len(reads)]
        if gaps:
            self._report(f"versions do not meet: {gaps}")
        ended = [
            row
            for row in rows.values()
            if row.id not in self._settled and row.outcome not in {"running", "abandoned"}
        ]
        for row in sorted(ended, key=lambda row: (row.finished_at, row.id)):
            self._check_run(row)
            self._settled.add(row.id)
        pending = [row for row in rows.values() if row.outcome in {"running", "abandoned"}]
        self._open = {row.id for row in pending}
        self._abandoned = {row.id: row for row in pending}
        self._floor = max([self._floor, *(number - 1000 for number in rows)])
        self._settled = {
            number for number in self._settled if number > self._floor or number in rows
        }
        for one in printed:
            self._check_printed(one, rows)
        for read in reads:
            if read.ended < began:
                self._check_read(read)
            else:
                self.reads.append(read)

    # Runs

    def _check_run(self, row: Any) -> None:
        """Check that a run is what it was called."""
        audited = self.audited.get(row.environment)
        if audited is None:
            self._report(f"run {row.id} is of an unknown environment {row.environment}")
            return
        self.outcomes[row.outcome] += 1
        audited.api.is_refused = row.outcome == "refused"
        began, ended = row.started_at.timestamp(), row.finished_at.timestamp()
        if row.outcome in {"applied", "unchanged"}:
            self._check_complete(audited, row, began, ended)
        elif row.outcome == "superseded":
            if not any(moment.finished >= began - SLACK for moment in audited.moments[-50:]):
                self._wrong(row, "no other run completed meanwhile")
        elif row.outcome == "refused":
            outcomes = set(map(audited.model.outcome, audited.api.candidates(began, ended)))
            if "refused" not in outcomes:
                self._wrong(row, f"the model has {outcomes}")
        elif row.outcome == "failed":
            self._check_failed(audited, row, began, ended)

    def _check_failed(self, audited: Audited, row: Any, began: float, ended: float) -> None:
        api = audited.api
        if not (
            api.faults.overlap(began, ended)
            or api.kills.overlap(began, ended)
            or self._database.troubles.overlap(began, ended)
            or api.changed(began, ended)
            or any(
                audited.model.outcome(response) == "failed"
                for response in api.candidates(began, ended)
            )
        ):
            self._wrong(row, "nothing was out of order")

    def _check_complete(self, audited: Audited, row: Any, began: float, ended: float) -> None:
        """Check a run that completed against the list that was served, and learn that list."""
        api, model = audited.api, audited.model
        audited.completions += 1
        if row.completion != audited.completions:
            self._wrong(row, f"its completion is not {audited.completions}")
            audited.completions = row.completion
        response = api.served(row.content_digest, began, ended)
        if response is None:
            self._wrong(row, "no such list was served then")
            return
        when = model.observation_time(row.started_at)
        if row.observed_at != when:
            self._wrong(row, f"observed_at is not {when}")
        same = row.content_digest == audited.digest
        if row.outcome == "unchanged":
            if not same:
                self._wrong(row, "the list was another one")
            model.memory.see_again(row.observed_at)
            model.observed_at = row.observed_at
        else:
            if same and row.mirror_version == audited.version:
                self._wrong(row, "the list was the same")
            expected = model.outcome(response)
            if expected == "failed":
                self._wrong(row, "the model refuses such a list")
            if expected == "refused" and not api.accepting.overlap(began, ended):
                self._wrong(row, "the guard had to refuse it")
            counts = model.learn(row.observed_at, response, row.id)
            found = {name: row._mapping[name] for name in COUNTS}
            if counts != found:
                self._wrong(row, f"the counts should be {counts}, not {found}")
            audited.changes |= {
                change_key({"request_id": key, "kind": kind, "changed_at": row.observed_at})
                for key, states in model.memory.states.items()
                if len(states) > 1 and states[-1].since == row.observed_at
                for kind in _kinds(*states[-2:])
            }
        del model.memory.pulls[:-1]
        audited.digest, audited.version = row.content_digest, row.mirror_version
        self.newest_version = row.mirror_version
        statuses = Counter(
            states[-1].status for states in model.memory.states.values() if not states[-1].gone
        )
        audited.moments.append(
            Moment(
                row.observed_at,
                ended,
                memory_hash(model.memory),
                tuple(sorted(statuses.items())),
            )
        )

    def _wrong(self, row: Any, reason: str) -> None:
        self._report(
            f"run {row.id} of {row.environment} is called {row.outcome}, but {reason}; it ran from "
            f"{row.started_at} to {row.finished_at}, version {row.mirror_version}, error: "
            f"{row.error}"
        )

    # What syncs printed, and what readers saw

    def _check_printed(self, one: Printed, rows: Mapping[int, Any]) -> None:
        """Check that a sync printed what is on record."""
        result = one.result
        disturbed = self._database.troubles.overlap(one.began, one.ended)
        if result["run_id"] is None:
            if result["outcome"] != "dry_run" and not disturbed and "--dry-run" not in one.command:
                api = self.audited[result["environment"]].api
                if not api.kills.overlap(one.began, one.ended):
                    self._report(f"{one.command} was not recorded: {result}")
            return
        row = rows.get(result["run_id"])
        if row is None:
            if not disturbed:
                self._report(f"{one.command} printed a run that is not on record: {result}")
            return
        if row.outcome != result["outcome"]:
            # As docs/trust.md says: the answer to its commit was lost, and then the server; or the
            # failure of the API could not be recorded, as the database was away; or a lock
            # prevented that a run that was stopped is recorded as failed.
            stopped = self.audited[result["environment"]].api.kills.overlap(one.began, one.ended)
            is_open = row.outcome in {"running", "abandoned"}
            lost = disturbed and (is_open or result["exit_code"] == 75)
            if result["outcome"] == "failed" and (lost or (stopped and is_open)):
                return
            self._report(f"{one.command} printed {result}, but the run is {row.outcome}")
            return
        for name in COUNTS:
            counted = row._mapping[name]
            if name in result and counted is not None and counted != result[name]:
                self._report(f"{one.command} printed {result}, but {name} is {counted}")

    def _check_read(self, read: Read) -> None:
        """Check that a reader saw the state after one run: the last one, or one meanwhile."""
        moments = self.audited[read.environment].moments
        for place in range(len(moments) - 1, -1, -1):
            if moments[place].finished > read.ended + SLACK:
                continue
            if moments[place].state == read.state:
                return
            if moments[place].finished < read.began - 2 * SLACK:
                break  # it had been replaced, or would have been seen, before the read
        self._report(
            f"{read.reader} saw a state of {read.environment} that no run left, between "
            f"{datetime.fromtimestamp(read.began)} and {datetime.fromtimestamp(read.ended)}"  # noqa: DTZ006
        )

    # The end

    def finish(self, cursors: Mapping[str, Mapping[str, set[bytes]]]) -> int:
        """Check the whole database at the end; return how many moments were read back."""
        for row in self._abandoned.values():
            self.outcomes[row.outcome] += 1
            api = self.audited[row.environment].api
            began = row.started_at.timestamp()
            excused = api.kills.overlap(began, began + LATE) or self._database.troubles.overlap(
                began, began + LATE
            )
            if row.outcome == "running":
                self._wrong(row, "no process is left")
            elif not excused:
                self._wrong(row, "nothing ended its process")
        for name, audited in self.audited.items():
            for cursor, seen in cursors.items():
                if missed := audited.changes - seen[name]:
                    self._report(
                        f"the cursor {cursor} never showed {len(missed)} changes of {name}"
                    )
                if invented := seen[name] - audited.changes:
                    self._report(
                        f"the cursor {cursor} showed {len(invented)} changes of {name} "
                        "that are none"
                    )
        with self._database.reading() as connection:
            for name, audited in self.audited.items():
                wrong = difference(
                    read_tables(connection, name), expected_tables({name: audited.model})
                )
                if wrong:
                    self._report(f"{name} is not what its lists make it: {wrong}")
            return self._read_back(connection)

    def _read_back(self, connection: sa.Connection) -> int:
        """Read the state after each run back, by the helper and by SQL of the cookbook."""
        count = 0
        for name, audited in self.audited.items():
            for moment in audited.moments:
                rows = helpers.release_requests(connection, environment=name, as_of=moment.when)
                found = state_hash(map(fields_of, rows))
                count += 1
                if found != moment.state:
                    self._report(f"{name} as of {moment.when} is another state")
        [sql] = [recipe.sql for recipe in RECIPES if recipe.name == "as-of"]
        query = sa.text(sql)
        times = {
            name: [moment.when for moment in audited.moments]
            for name, audited in self.audited.items()
        }
        for when in sorted({when for moments in times.values() for when in moments}):
            expected: Counter[str] = Counter()
            for name, audited in self.audited.items():
                place = bisect_right(times[name], when)
                if place:
                    expected.update(dict(audited.moments[place - 1].statuses))
            counts = connection.execute(query.bindparams(sa.bindparam("at", when, UTCDateTime)))
            found_counts = {row.status: row.requests for row in counts}
            if found_counts != dict(expected):
                self._report(f"the cookbook's as-of at {when}: {found_counts}, not {expected}")
        return count
