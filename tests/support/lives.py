"""Whole lives of a mirror: whatever upstream does, day after day, it knows what plain Python knows.

Hypothesis makes them up, or a test tells them. In each one an upstream makes, resolves, edits,
loses and garbles requests, is down, forgets half of its list and comes back; between that, the real
mirror syncs from it over real HTTP into a real database, and must know what `PlainMirror` knows. At
its end every day is read back from the versions, and compared with what was known and said on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import count, groupby, pairwise
from operator import itemgetter
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from mirror.config.settings import ApiSettings, Secret
from mirror.db import models, views
from mirror.db.engine import read_transaction
from mirror.db.runs import Counts
from mirror.sync.run import Outcome, Result, sync
from tests.support.http_servers import HttpRequest, ScriptedServer, http
from tests.support.mirrors import Mirror
from tests.support.oracle import Answer, Fields, Paging, PlainMirror, State, cut, parse_list
from tests.support.upstream import request
from tests.support.upstream_generator import (
    ANOTHER_READING,
    EDITS,
    FAILURES,
    GARBLED,
    JUNK,
    NUMBERS,
    PAGINGS,
    REASONS,
    STATUSES,
    TIMES,
    UNKNOWN,
    Style,
    UpstreamGenerator,
    body,
)

Row = dict[str, Any]

PAGE = 20
"""Entries in a page: few, so that a short list has several."""

NEIGHBOUR = "neighbour"
"""An environment whose request turns up in the wrong list now and then."""

COMPLETE = {Outcome.APPLIED, Outcome.UNCHANGED}

TROUBLES = (
    "a dry run",
    "a dry run, accepting",
    "tokens mixed up",
    "tokens mixed up, accepting",
    "a slow run is overtaken",
    "the last list again",
)
"""What else may happen without a change in the mirror."""


@dataclass
class LifeTest:
    """Where lives are led: one database and one upstream, each life in an environment of its own.

    Attributes:
        mirror: how to talk to the upstream.
        elsewhere: an API that fails.
        engine: the database; one for all lives, as it remembers how to write each query.
        numbers: of the lives.
        lives: how many there were.
        outcomes: how the syncs ended, each of which is a day.
        happened: what they counted.
        ended: all that was written by the end of each life, by environment.
    """

    mirror: Mirror
    elsewhere: ScriptedServer
    engine: sa.Engine
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    lives: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    ended: dict[str, list[list[Row]]] = field(default_factory=dict)

    def all_of(self, environment: str) -> list[list[Row]]:
        """All that syncs wrote of an environment."""
        with read_transaction(self.engine) as connection:
            return [
                _in_order(_rows(connection, table, environment))
                for table in (views.versions, models.quarantined_records, models.sync_runs)
            ]


def _rows(
    connection: sa.Connection, table: sa.Table, environment: str, *conditions: Any
) -> list[Row]:
    """The rows of an environment that meet conditions, with the types of Python."""
    found = connection.execute(
        sa.select(table).where(table.c.environment == environment, *conditions)
    )
    return [dict(row) for row in found.mappings()]


@dataclass(frozen=True)
class Day:
    """A day that has passed.

    Attributes:
        when: the time that stands for its sync.
        known: what the mirror had to know after it.
        answer: what upstream said, if it was believed.
    """

    when: datetime
    known: dict[str, State]
    answer: Answer | None


class Life(RuleBasedStateMachine):
    """A life of a mirror, from its first sync on."""

    requests: Bundle[int] = Bundle("requests")

    def __init__(self, town: LifeTest) -> None:
        super().__init__()
        self.town = town
        self.environment = f"life-{next(town.numbers)}"
        self.now = town.mirror.upstream.now
        self.model = PlainMirror()
        self.days: list[Day] = []
        self.broken = False
        self.upstream = UpstreamGenerator(self.environment)
        self.etag = False
        self.asleep = 0
        self.troubles: list[str] = []
        # What was read from the database last, and each version that was ever seen in it.
        self.versions: list[Row] = []
        self.kept: list[Row] = []
        self.ever: dict[tuple[str, datetime], Row] = {}
        self.ever_kept: dict[int, Row] = {}

    # What upstream does.

    @initialize(target=requests, how_many=st.integers(0, 80))
    def is_born(self, how_many: int) -> MultipleResults[int]:
        """A life begins with some requests, and a first sync."""
        made = [self.upstream.make({"status": STATUSES[place % 4]}) for place in range(how_many)]
        self._night(self.upstream.answer())
        return multiple(*made)

    @rule(
        target=requests,
        how_many=st.integers(1, 3),
        fields=st.fixed_dictionaries(
            {
                "phone_number": st.sampled_from(NUMBERS),
                "reason": st.sampled_from(REASONS),
                "status": st.sampled_from(STATUSES),
                "requested_at": st.sampled_from(TIMES),
                "resolved_at": st.sampled_from((None, *TIMES)),
            }
        ),
    )
    def submit(self, how_many: int, fields: Fields) -> MultipleResults[int]:
        """Some new requests are made, perhaps resolved before anybody looks."""
        made = [self.upstream.make(fields) for _ in range(how_many)]
        self._end_day()
        return multiple(*made)

    @precondition(lambda self: bool(self.upstream.records))
    @rule(
        who=st.lists(requests, min_size=1, max_size=5),
        status=st.sampled_from(STATUSES[1:]),
        when=st.sampled_from((None, *TIMES)),
        why=st.sampled_from(REASONS),
    )
    def resolve(self, who: list[int], status: str, when: str | None, why: str | None) -> None:
        """Some requests leave pending, with or without saying when."""
        why = why if status == "rejected" else None
        self._change(who, {"status": status, "resolved_at": when, "rejection_reason": why})

    @precondition(lambda self: bool(self.upstream.records))
    @rule(who=st.lists(requests, min_size=1, max_size=5))
    def reopen(self, who: list[int]) -> None:
        """Some requests become pending again."""
        self._change(who, {"status": "pending", "resolved_at": None, "rejection_reason": None})

    @precondition(lambda self: bool(self.upstream.records))
    @rule(who=st.lists(requests, min_size=1, max_size=5), fields=st.sampled_from(EDITS))
    def edit(self, who: list[int], fields: Fields) -> None:
        """A known field of some requests is changed, or only written in another way."""
        self._change(who, fields)

    @precondition(lambda self: bool(self.upstream.records))
    @rule(who=st.lists(requests, min_size=1, max_size=5), value=st.sampled_from(UNKNOWN))
    def edit_unknown_field(self, who: list[int], value: object) -> None:
        """Some requests get a field that mirror does not know, or another value of it."""
        self._change(who, {"carrier": value})

    @rule(value=st.sampled_from(UNKNOWN))
    def upgrade_upstream(self, value: object) -> None:
        """A release of upstream gives a new field to all requests."""
        self._change(list(self.upstream.records), {"tags": value})

    @precondition(lambda self: bool(self.upstream.records))
    @rule(who=st.lists(requests, min_size=1, max_size=2))
    def vanish(self, who: list[int]) -> None:
        """Some requests are no longer listed."""
        self.upstream.away.update(who)
        self._end_day()

    @precondition(lambda self: bool(self.upstream.away))
    @rule(all_of_them=st.booleans())
    def come_back(self, all_of_them: bool) -> None:
        """Requests that were not listed are listed again."""
        self.upstream.away.difference_update(
            sorted(self.upstream.away)[: None if all_of_them else 1]
        )
        self._end_day()

    @precondition(lambda self: bool(self.upstream.records))
    @rule(who=st.lists(requests, min_size=1, max_size=3), how=st.sampled_from(GARBLED))
    def garble(self, who: list[int], how: Fields) -> None:
        """Some requests can no longer be understood, or not even be told apart."""
        self.upstream.malformed_ids |= dict.fromkeys(who, how)
        self._end_day()

    @precondition(lambda self: bool(self.upstream.malformed_ids))
    @rule(all_of_them=st.booleans())
    def repair(self, all_of_them: bool) -> None:
        """Requests can be understood again."""
        for number in sorted(self.upstream.malformed_ids)[: None if all_of_them else 1]:
            del self.upstream.malformed_ids[number]
        self._end_day()

    @precondition(lambda self: bool(self.upstream.records))
    @rule(
        who=requests,
        others=st.lists(st.sampled_from(ANOTHER_READING), min_size=1, max_size=2),
        days=st.integers(1, 3),
    )
    def repeat(self, who: int, others: list[Fields], days: int) -> None:
        """For some days a request is listed again, the same or contradicting itself."""
        self.upstream.twins[who] = (days, others)
        self._end_day()

    @rule(junk=st.lists(st.sampled_from(JUNK), max_size=3))
    def spill(self, junk: list[str]) -> None:
        """The list holds things that are no requests, or is rid of them."""
        self.upstream.junk = junk
        self._end_day()

    @rule(order=st.integers(0, 9), style=st.builds(Style, *[st.booleans()] * 4))
    def write_differently(self, order: int, style: Style) -> None:
        """Upstream lists the same in another order, and writes it in another way."""
        self.upstream.order, self.upstream.style = order, style
        self._end_day()

    @rule(by=st.sampled_from((-300.5, -1, -1e-6, 1e-6, 24)))
    def set_clock(self, by: float) -> None:
        """The clock of the mirror's machine jumps, back or on."""
        self.now += timedelta(hours=by)

    @rule(paging=st.sampled_from(PAGINGS), etag=st.booleans())
    def answer_differently(self, paging: Paging, etag: bool) -> None:
        """From now on the list comes whole or in pages, and with an ETag or without."""
        self.upstream.paging, self.etag = paging, etag

    @rule(days=st.integers(1, 3))
    def sleep(self, days: int) -> None:
        """Some days pass without a sync."""
        self.asleep = days

    # What the mirror does.

    @rule(what=st.sampled_from(TROUBLES) | st.sampled_from(list(FAILURES)))
    def meet_trouble(self, what: str) -> None:
        """Before the next sync something happens that changes nothing in the mirror."""
        self.troubles.append(what)

    @precondition(lambda self: self.model.outcome(self.upstream.answer()) is Outcome.REFUSED)
    @rule()
    def accept_missing(self) -> None:
        """A person accepts whatever the list lacks."""
        self._night(self.upstream.answer(), accept_missing=True)

    @precondition(lambda self: bool(self.upstream.records))
    @rule(more=st.sampled_from((-1, 0, 1, 20)), accepted=st.booleans(), dry_run=st.booleans())
    def lose_much(self, more: int, accepted: bool, dry_run: bool) -> None:
        """As much as the guard allows is gone, or more, until a person accepts or it comes back."""
        away = set(self.upstream.away)
        self.upstream.lose(max(5, (len(self.upstream.records) - len(away)) // 10) + more)
        result = self._night(self.upstream.answer(), dry_run=dry_run)
        if result.outcome is Outcome.REFUSED and accepted:
            self._night(self.upstream.answer(), accept_missing=True)
        elif result.outcome is not Outcome.APPLIED:
            self.upstream.away = away

    # What must be true of the rows, whatever upstream did.

    @invariant()
    def versions_meet(self) -> None:
        """Each request has one open version, its last; versions count up and meet without gaps."""
        with self._checking():
            for _, group in groupby(self.versions, itemgetter("id")):
                versions = list(group)
                assert [row["version"] for row in versions] == list(range(1, len(versions) + 1))
                assert [row["valid_to"] is None for row in versions][:-1] == [False] * (
                    len(versions) - 1
                )
                assert versions[-1]["valid_to"] is None
                for earlier, later in pairwise(versions):
                    assert earlier["valid_from"] < earlier["valid_to"] == later["valid_from"]
                assert len({row["first_seen_at"] for row in versions}) == 1
                assert versions[0]["first_seen_at"] == versions[0]["valid_from"]

    @invariant()
    def nothing_is_lost(self) -> None:
        """What was once known stays; only `valid_to`, and `extra` while it is open, may change."""
        with self._checking():
            now = {(row["id"], row["valid_from"]): row for row in self.versions}
            for key, was in self.ever.items():
                may_change = {"valid_to", "extra"} if was["valid_to"] is None else set()
                assert {name for name in was if now[key][name] != was[name]} <= may_change
            self.ever = now
            kept = {row["id"]: row for row in self.kept}
            for number, was in self.ever_kept.items():
                same = {"fingerprint", "request_id", "first_run_id", "first_seen_at"}
                assert {name for name in same if kept[number][name] != was[name]} == set()
            self.ever_kept = kept

    def teardown(self) -> None:
        """In the end all is well; then every day of the life is read back."""
        if self.broken:
            return
        self._end_well()
        self._read_back()
        self.town.lives += 1
        self.town.ended[self.environment] = self.town.all_of(self.environment)

    # How it is done.

    def _end_well(self) -> None:
        """Accept what is missing; then let the list be whole again, and so must the mirror be."""
        self.upstream.paging, self.asleep = None, 0
        self._night(self.upstream.answer(), accept_missing=True)
        self.upstream.recover()
        self._night(self.upstream.answer())
        listed = [row["id"] for row in self.current if row["missing_since"] is None]
        with self._checking():
            assert sorted(listed) == sorted(
                str(one["id"]) for one in self.upstream.records.values()
            )
            assert not [row for row in self.kept if row["resolved_at"] is None]

    def _meet(self, trouble: str) -> None:
        """Let something happen that changes nothing in the mirror."""
        said = self.upstream.answer()
        accept = trouble.endswith("accepting")
        if trouble in FAILURES:
            answer = FAILURES[trouble](said.texts)
            self._fail(Outcome.FAILED, lambda: self._sync_elsewhere(answer, self._wake()))
        elif trouble.startswith("tokens mixed up"):
            mixed = Answer((*said.texts, Style().write(request(id=NEIGHBOUR))))
            self._fail(Outcome.REFUSED, lambda: self._sync(mixed, accept_missing=accept))
        elif trouble.startswith("a dry run"):
            self._night(said, dry_run=True, accept_missing=accept)
        elif trouble == "the last list again":
            assert self._night(self.model.answer or said).outcome is Outcome.UNCHANGED
        else:
            self._be_overtaken(said)

    def _fail(self, expected: Outcome, attempt: Callable[[], Result]) -> None:
        """Sync in vain: nothing changes."""
        with self._checking():
            result = attempt()
            assert result.outcome is expected
            assert result.failure is not None
            self._check(result, {})

    def _be_overtaken(self, said: Answer) -> None:
        """Sync while a slow run reads, which then must write nothing of what it has read."""
        if self.model.outcome(said) not in COMPLETE:
            return
        done: list[Result] = []

        def answer(_: HttpRequest) -> bytes:
            done.append(self._sync(said))
            return http(200, body(said.texts[1:]))

        late = self._sync_elsewhere(answer, self._wake())
        with self._checking():
            self._judge(said, done[0])
            assert late.outcome is Outcome.SUPERSEDED
            self._check(late, {})

    def _change(self, who: list[int], fields: Fields) -> None:
        self.upstream.change(who, fields)
        self._end_day()

    def _end_day(self) -> None:
        """Sync, unless the scheduler sleeps; what was to last for some days ends."""
        if self.asleep:
            self.asleep -= 1
        else:
            while self.troubles:
                self._meet(self.troubles.pop())
            self._night(self.upstream.answer())
        self.upstream.end_day()

    def _wake(self) -> datetime:
        """Let an hour pass."""
        self.now += timedelta(hours=1)
        return self.now

    def _sync(self, answer: Answer, **options: Any) -> Result:
        """Let upstream say `answer`, and sync an hour later."""
        mirror, began = self.town.mirror, self._wake()
        mirror.sandbox.config.paging, mirror.sandbox.config.etag = answer.paging, self.etag
        mirror.upstream.records = [text.encode() for text in answer.texts]
        mirror.sandbox.invalidate()
        return self._sync_from(mirror.api, began, **options)

    def _sync_from(self, api: ApiSettings, began: datetime, **options: Any) -> Result:
        return sync(
            self.town.engine,
            api,
            self.environment,
            upgrade=False,
            now=lambda: began,
            **options,
        )

    def _sync_elsewhere(self, answer: Any, began: datetime) -> Result:
        """Sync from an API that says `answer`, byte for byte."""
        self.town.elsewhere.responses[:] = [answer]
        api = ApiSettings(self.town.elsewhere.base_url, Secret("talq_another"))
        return self._sync_from(api, began)

    def _night(self, answer: Answer, **options: Any) -> Result:
        """Sync, and compare what it did with what it must have done."""
        with self._checking():
            result = self._sync(answer, **options)
            self._judge(answer, result, **options)
        return result

    def _judge(
        self,
        answer: Answer,
        result: Result,
        *,
        dry_run: bool = False,
        accept_missing: bool = False,
    ) -> None:
        """Compare what a sync did with what it must have done."""
        expected = self.model.outcome(answer, accept_missing=accept_missing)
        when = self.model.time_of(result.started_at)
        counted = {}
        if dry_run and expected in COMPLETE:
            expected = Outcome.DRY_RUN
            other = self.model.copy()
            counted = other.learn(when, answer, result.run_id)
            changes = [row for row in other.memory.changes() if row["changed_at"] == when]
            assert _like(map(asdict, result.changes), changes) == _in_order(changes)
        elif expected is Outcome.UNCHANGED:
            before, other = self.model.memory.versions(), self.model.copy()
            counted = other.learn(when, answer, result.run_id)
            assert other.memory.versions() == before, "the model would not take this for unchanged"
            self.model.observed_at = when
        elif expected is Outcome.APPLIED:
            counted = self.model.learn(when, answer, result.run_id)
        assert result.outcome is expected
        self._check(result, counted)

    def _check(self, result: Result, counted: dict[str, int]) -> None:
        """Compare the database with the model after a sync, and note the day."""
        counts = asdict(result.counts)
        assert counts == asdict(Counts()) | counted
        parts = ("inserted", "updated", "unchanged", "returned", "quarantined", "duplicates")
        assert sum(counts[name] for name in parts) == counts["fetched"]
        self._read()
        self._check_run(result, counted)
        self._check_rows()
        self._check_quarantine()
        self._note_day(result)
        self.town.outcomes[result.outcome] += 1
        self.town.happened.update(counts)

    def _note_day(self, result: Result) -> None:
        """Note what is known after a sync, and as of when that must be read back."""
        when, said = self.model.time_of(result.started_at), None
        if result.outcome in COMPLETE:
            assert self.model.observed_at is not None
            when, said = self.model.observed_at, self.model.answer
            # Where the clock went back, the time of a sync that changed nothing is told anew.
            self.days = [day for day in self.days if day.when < when]
        known = {key: states[-1] for key, states in self.model.memory.states.items()}
        self.days.append(Day(when, known, said))

    def _read(self) -> None:
        """Read what the mirror knows, in one transaction."""
        with read_transaction(self.town.engine) as connection:
            versions, self.current, self.kept, self.runs = (
                _rows(connection, table, self.environment)
                for table in (
                    views.versions,
                    models.release_requests,
                    models.quarantined_records,
                    models.sync_runs,
                )
            )
        self.versions = sorted(versions, key=itemgetter("id", "valid_from"))

    def _check_run(self, result: Result, counted: dict[str, int]) -> None:
        """The run is on record as it was told, and no other one is left open."""
        (row,) = (one for one in self.runs if one["id"] == result.run_id)
        assert row["outcome"] == result.outcome
        assert row["error"] == (result.failure and str(result.failure))
        assert {name: row[name] for name in asdict(Counts())} == (
            counted or dict.fromkeys(asdict(Counts()))
        )
        complete = result.outcome in COMPLETE
        assert row["observed_at"] == (self.model.observed_at if complete else None)
        assert {one["outcome"] for one in self.runs} <= set(Outcome) - {Outcome.RUNNING}

    def _check_rows(self) -> None:
        """Rows and versions are those of the model, and each has the run that first saw it."""
        model = self.model.memory.versions()
        names = {name for row in model for name in row}
        found = [{name: row[name] for name in names} for row in self.versions]
        assert found == sorted(model, key=itemgetter("id", "version"))
        newest = [row for row in self.versions if row["valid_to"] is None]
        for row, version in zip(sorted(self.current, key=itemgetter("id")), newest, strict=True):
            assert row == {name: version[name] for name in row}
        runs = {run["id"]: run["observed_at"] for run in self.runs}
        assert all(runs[row["sync_run_id"]] == row["valid_from"] for row in self.versions)

    def _check_quarantine(self) -> None:
        """Quarantine holds the records of the model, open and resolved ones."""
        model = [dict(vars(one)) for one in self.model.quarantine.values()]
        assert _like(self.kept, model) == _in_order(model)
        assert all(row["error"] for row in self.kept)

    def _read_back(self) -> None:
        """As of every day, the versions say what was known then, and what upstream said then."""
        with self._checking(), read_transaction(self.town.engine) as connection:
            self._compare_views(connection)
            for day, next_day in pairwise([*self.days, self.days[-1]]):
                found = self._as_of(connection, day.when)
                assert found == day.known
                if day.answer is not None:
                    self._compare_with_list(found, day.answer)
                eve = next_day.when - timedelta(milliseconds=1)
                assert eve < day.when or self._as_of(connection, eve) == day.known

    def _compare_views(self, connection: sa.Connection) -> None:
        """What the views make of the versions is what the model tells."""
        memory = self.model.memory
        for view, model in (
            (views.changes, memory.changes()),
            (views.history, memory.history()),
            (views.numbers, memory.numbers()),
        ):
            assert _like(_rows(connection, view, self.environment), model) == _in_order(model)

    def _as_of(self, connection: sa.Connection, when: datetime) -> dict[str, State]:
        """What the versions say about a time."""
        view = views.versions.c
        rows = _rows(
            connection,
            views.versions,
            self.environment,
            view.valid_from <= when,
            sa.or_(view.valid_to.is_(None), view.valid_to > when),
        )
        found = {
            row["id"]: State(
                {name: row[name] for name in cut({})},
                gone=row["missing_since"] is not None,
                since=row["valid_from"],
                first=row["first_seen_at"],
            )
            for row in rows
        }
        assert len(found) == len(rows)
        return found

    def _compare_with_list(self, found: dict[str, State], answer: Answer) -> None:
        """A list that was believed is what the versions of its day say, no more and no less."""
        heard = parse_list(answer.texts)
        listed = {key: state.fields for key, state in found.items() if not state.gone}
        said = {key: cut(one) for key, one in heard.understood.items()}
        assert said.items() <= listed.items()
        assert listed.keys() - said.keys() <= heard.bad

    @contextmanager
    def _checking(self) -> Iterator[None]:
        """Call the life broken while a check fails: what its end finds would hide the failure."""
        self.broken = True
        yield
        self.broken = False


def _in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: repr(sorted(row.items())))


def _like(rows: Any, model: list[Row]) -> list[Row]:
    """Cut rows to the columns that the model has."""
    names = {name for row in model for name in row}
    return _in_order([{name: row[name] for name in names or row} for row in rows])


@contextmanager
def town(mirror: Mirror) -> Iterator[LifeTest]:
    """Make a database with a neighbour, an upstream in small pages, and one that fails."""
    with pytest.MonkeyPatch.context() as patch, ScriptedServer([b""]).running() as elsewhere:
        patch.setattr("mirror.api.client.PER_PAGE", PAGE)
        mirror.sync([request(id=NEIGHBOUR), "junk"], environment=NEIGHBOUR)
        made = LifeTest(mirror, elsewhere, mirror.engine)
        made.ended[NEIGHBOUR] = made.all_of(NEIGHBOUR)
        yield made
        for environment, rows in made.ended.items():
            assert made.all_of(environment) == rows, "one life has touched another one"


def figures(town: LifeTest) -> str:
    """Say in a sentence how many days there were, and how they went."""
    told = ", ".join(f"{number} {one}" for one, number in town.outcomes.most_common())
    lives = "1 life" if town.lives == 1 else f"{town.lives} lives"
    return f"{town.outcomes.total()} days in {lives}, each day read back in the end: {told}"
