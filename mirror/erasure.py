"""Erases a phone number from the mirror: a right of persons (GDPR, article 17).

A request is erased as a whole, with all its versions, if one of them has the number. Its texts
become a mark; its id, status and times stay, and so do all counts. What a sync reads of it later is
hidden by `sync.erased`. No table keeps the number, nor a digest that could be compared with it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mirror.db import environments, erasures, migrate, prune, runs
from mirror.db.engine import read_transaction, write_transaction
from mirror.db.models import (
    erased_requests,
    past_versions,
    quarantined_records,
    release_requests,
    sync_runs,
)
from mirror.db.models import erasures as erasures_table
from mirror.db.vacuum import overwrite_freed, vacuum
from mirror.errors import UsageError
from mirror.numbers import reading
from mirror.numbers.mentions import mentions
from mirror.queries.lookup import NumberMatch, find_number
from mirror.queries.select import in_environment
from mirror.text import plural

_TEXTS = ("phone_number_id", "reason", "rejection_reason")
"""Columns of a version that hold texts about the number and its owner, or null."""

_VERSIONS = (release_requests, past_versions)
_ERASED = (*_VERSIONS, quarantined_records, sync_runs)
_MEXICAN_MOBILE = re.compile(r"\+521(?=[2-9][0-9]{9}$)")
_AT_ONCE = 1_000  # rows
_quarantine = quarantined_records.c
_runs = sync_runs.c
_erasures = erasures_table.c


@dataclass(frozen=True, slots=True)
class Found:
    """What the mirror holds of a number.

    Attributes:
        numbers: the stored numbers that it means, and how each was read.
        other_numbers: stored numbers that the same requests have or had beside it.
        environments: names of the environments that hold something of it.
        requests: requests that have or had it.
        past_versions: past versions of them.
        quarantined: records in quarantine of these requests, or with the number in their JSON.
        runs: runs whose error has it.
        mentioned_by: ids of other requests with the number in a text, which is not erased.
    """

    numbers: Sequence[NumberMatch]
    other_numbers: Sequence[str]
    environments: Sequence[str]
    requests: int
    past_versions: int
    quarantined: int
    runs: int
    mentioned_by: Sequence[str]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to erase."""
        return not (self.requests or self.quarantined or self.runs)

    def __str__(self) -> str:
        errors = f" and {plural(self.runs, 'error')} of runs" if self.runs else ""
        return (
            f"{plural(self.requests, 'request')}, {plural(self.past_versions, 'past version')} and "
            f"{plural(self.quarantined, 'record')} in quarantine{errors}"
        )


@dataclass(frozen=True, slots=True)
class _Number:
    """A number to erase: as stored, and as it is recognized in a text.

    Attributes:
        matches: the stored numbers that it means.
        forms: its forms in E.164, or the text that is stored.
        is_in: tells whether a text holds it.
    """

    matches: Sequence[NumberMatch]
    forms: Sequence[str]
    is_in: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Record:
    """A record in quarantine to erase.

    Attributes:
        id, environment, request_id: of its row.
        key: the id, or else the fingerprint, by which a sync recognizes it.
        error: its error, without the number.
    """

    id: int
    environment: str
    request_id: str | None
    key: str
    error: str


@dataclass(frozen=True, slots=True)
class _Search:
    """The rows that hold a number.

    Attributes:
        request_ids: ids of the requests that have or had it.
        records: the records in quarantine.
        run_ids: the runs with the number in their error.
        environments: names of the environments of all these.
    """

    request_ids: frozenset[str]
    records: Sequence[_Record]
    run_ids: Sequence[int]
    environments: frozenset[str]


def find(
    engine: Engine, number: str, region: str | None = None, environment: str | None = None
) -> Found:
    """Return what the mirror holds of a number.

    Args:
        engine: the mirror's database.
        number: in any usual notation.
        region: ISO 3166 country code, for numbers without a calling code.
        environment: look only there; None for everywhere.

    Raises:
        UsageError: this is no phone number, may be several, or is a mark; or the region or the
            environment does not exist.
        SchemaError: the schema is not the one that this version works with.
    """
    with read_transaction(engine, time_limits=False) as connection:
        migrate.require_current(connection)
        return _find(connection, number, region, environment)[0]


def erase(
    engine: Engine,
    number: str,
    region: str | None = None,
    environment: str | None = None,
    *,
    now: datetime,
) -> tuple[str, Found]:
    """Replace a number, and all that is stored with it, by a mark; `clean` has to follow.

    Everything happens in one transaction, which no sync of these environments overlaps.

    Args:
        engine: the mirror's database.
        number: as for `find`.
        region: likewise.
        environment: likewise.
        now: the present time (UTC).

    Returns:
        The mark, and what was erased.

    Raises:
        UsageError: as for `find`.
        SchemaError: the schema is not the one that this version works with.
        DatabaseError: the database refused, is a logical subscriber, or was busy for too long.
    """
    with environments.changing(engine, *_names(engine, environment)) as connection:
        found, search = _find(connection, number, region, environment)
        overwrite_freed(connection)
        erasure = erasures.next_number(connection)
        connection.execute(
            sa.insert(erasures_table).values(
                id=erasure,
                erased_at=now,
                requests=found.requests,
                past_versions=found.past_versions,
                quarantined=found.quarantined,
                runs=found.runs,
            )
        )
        _erase(connection, erasure, search)
    return erasures.mark(erasure), found


def undo(engine: Engine, mark: str, *, now: datetime) -> int:
    """Take an erasure back: the next sync stores again what the list still has.

    Args:
        engine: the mirror's database.
        mark: of the erasure, such as `erased-1`.
        now: the present time (UTC).

    Returns:
        The number of requests, and of records without an id, that are no longer erased.

    Raises:
        UsageError: there is no such erasure, or it was taken back before.
        SchemaError: the schema is not the one that this version works with.
        DatabaseError: the database refused, is a logical subscriber, or was busy for too long.
    """
    names = _names(engine, None)
    with environments.changing(engine, *names) as connection:
        erasure = erasures.erasure_of(mark)
        undone = connection.execute(
            sa.update(erasures_table)
            .where(_erasures.id == erasure, _erasures.undone_at.is_(None))
            .values(undone_at=now)
        )
        if not undone.rowcount:
            marks = [
                erasures.mark(number)
                for number in connection.scalars(
                    sa.select(_erasures.id)
                    .where(_erasures.undone_at.is_(None))
                    .order_by(_erasures.id)
                )
            ]
            raise UsageError(
                f"there is no erasure {mark!r} that could be taken back",
                hint=f"there is {', '.join(marks)}" if marks else "nothing was erased",
            )
        for name in names:
            runs.forget_list(connection, name)
        return connection.execute(
            sa.delete(erased_requests).where(erased_requests.c.erasure_id == erasure)
        ).rowcount


def is_clean(engine: Engine) -> bool:
    """Return whether the freed space was cleaned after each erasure."""
    with read_transaction(engine) as connection:
        unclean = sa.select(_erasures.id).where(_erasures.cleaned_at.is_(None)).limit(1)
        return connection.scalar(unclean) is None


def clean(engine: Engine, *, now: datetime) -> None:
    """Remove from the freed space of the database what was erased.

    Raises:
        DatabaseError: the database is busy or full, or Postgres reserves this to another role.
    """
    vacuum(engine, _ERASED)
    with write_transaction(engine, prune.LOCK) as connection:
        connection.execute(
            sa.update(erasures_table).where(_erasures.cleaned_at.is_(None)).values(cleaned_at=now)
        )


def _names(engine: Engine, environment: str | None) -> list[str]:
    """Return the names of the environments to lock."""
    with read_transaction(engine) as connection:
        migrate.require_current(connection)
        if environment is not None:
            environments.require_on_record(connection, environment)
            return [environment]
        if names := environments.on_record(connection):
            return names
        raise UsageError("nothing was ever synced, so there is nothing to erase")


def _find(
    connection: Connection, number: str, region: str | None, environment: str | None
) -> tuple[Found, _Search]:
    if environment is not None:
        environments.require_on_record(connection, environment)
    wanted = _recognize(connection, number, region)
    search = _search(connection, wanted, environment)
    names = set[str]()
    past = 0
    for ids in _batches(search.request_ids):
        for table in _VERSIONS:
            select = sa.select(table.c.phone_number).where(table.c.id.in_(ids))
            names.update(connection.scalars(select.distinct()))
        count = sa.select(sa.func.count()).where(past_versions.c.id.in_(ids))
        past += connection.scalar(count) or 0
    found = Found(
        numbers=wanted.matches,
        other_numbers=sorted(names - {match.phone_number for match in wanted.matches}),
        environments=sorted(search.environments),
        requests=len(search.request_ids),
        past_versions=past,
        quarantined=len(search.records),
        runs=len(search.run_ids),
        mentioned_by=_mentioning(connection, wanted, search, environment),
    )
    return found, search


def _recognize(connection: Connection, number: str, region: str | None) -> _Number:
    """Find the stored numbers that a number means, which must be one number.

    Raises:
        UsageError: they are several, or it is a mark.
    """
    if erasures.erasure_of(number.strip()) is not None:
        raise UsageError(f"{number!r} is the mark of an erasure", hint="name a phone number")
    matches = find_number(connection, number, region)
    typed = reading.read(number, region)
    forms = {match.phone_number: _form(match.phone_number) for match in matches}
    if len(set(forms.values())) > 1:
        exact = forms.get(number.strip(), number.strip())
        matches = [match for match in matches if forms[match.phone_number] == exact]
        if not matches:
            raise UsageError(
                f"{number!r} may mean {' or '.join(sorted(set(forms.values())))}",
                hint="name one of them",
            )
    means = {forms[match.phone_number] for match in matches} or {
        _form(text) for text in typed.numbers[:1]
    }
    mobiles = {form.replace("+52", "+521", 1) for form in means if form.startswith("+52")}
    wanted = sorted(means | mobiles)
    finders = [mentions(form) for form in wanted]
    return _Number(matches, wanted, lambda text: any(is_in(text) for is_in in finders))


def _form(stored: str) -> str:
    """Return the same text for all notations of a number."""
    return _MEXICAN_MOBILE.sub("+52", reading.to_e164(stored) or stored)


def _search(connection: Connection, wanted: _Number, environment: str | None) -> _Search:
    stored = [match.phone_number for match in wanted.matches]
    rows = connection.execute(
        sa.union(
            *(
                sa.select(table.c.id, table.c.environment).where(
                    table.c.phone_number.in_(stored), *in_environment(table.c, environment)
                )
                for table in _VERSIONS
            )
        )
    ).all()
    ids = frozenset(request_id for request_id, _ in rows)
    records = _records(connection, wanted, ids, environment)
    failures = connection.execute(
        sa.select(_runs.id, _runs.environment, _runs.error)
        .where(_runs.error.is_not(None), *in_environment(_runs, environment))
        .execution_options(yield_per=_AT_ONCE)
    )
    told = [(run_id, name) for run_id, name, error in failures if wanted.is_in(error)]
    names = {
        *(name for _, name in rows),
        *(record.environment for record in records),
        *(name for _, name in told),
    }
    return _Search(ids, records, [run_id for run_id, _ in told], frozenset(names))


def _records(
    connection: Connection, wanted: _Number, ids: frozenset[str], environment: str | None
) -> list[_Record]:
    """Find the records in quarantine that hold a number.

    A record of a request with another number mentions the number only: of that request no more than
    this record is erased.
    """
    rows = connection.execute(
        sa.select(
            _quarantine.id,
            _quarantine.environment,
            _quarantine.request_id,
            _quarantine.fingerprint,
            _quarantine.raw,
            _quarantine.error,
            release_requests.c.id.is_not(None).label("has_request"),
        )
        .join(release_requests, release_requests.c.id == _quarantine.request_id, isouter=True)
        .where(*in_environment(_quarantine, environment))
        # Open ones first: a sync numbers those of a request as the list has them.
        .order_by(_quarantine.resolved_at.is_not(None), _quarantine.id)
        .execution_options(yield_per=_AT_ONCE)
    )
    found = []
    for row in rows:
        quoted = wanted.is_in(row.error)
        if row.request_id in ids:
            key = row.request_id
        elif not (quoted or wanted.is_in(row.raw)):
            continue
        elif row.request_id is None or row.has_request or _has_other_number(row.raw, wanted):
            key = row.fingerprint
        else:
            key = row.request_id
        error = "erased" if quoted else row.error
        found.append(_Record(row.id, row.environment, row.request_id, key, error))
    return found


def _has_other_number(raw: str, wanted: _Number) -> bool:
    """Return whether the JSON of a record has a phone number, and another one."""
    try:
        entry: Any = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    number = entry.get("phone_number") if isinstance(entry, dict) else None
    return isinstance(number, str) and not wanted.is_in(msgspec.json.encode(number).decode())


def _mentioning(
    connection: Connection, wanted: _Number, search: _Search, environment: str | None
) -> list[str]:
    """Return the ids of other requests with the number in a text of any version.

    The database looks for its last four digits first, which are seldom set apart.
    """
    endings = {form[-4:] for form in wanted.forms if form.startswith("+")}
    found = set[str]()
    for table in _VERSIONS if endings else ():
        texts = (table.c.reason, table.c.rejection_reason, sa.cast(table.c.extra, sa.Text))
        rows = connection.execute(
            sa.select(table.c.id, *texts)
            .where(
                sa.or_(*(text.contains(ending) for text in texts for ending in endings)),
                *in_environment(table.c, environment),
            )
            .execution_options(yield_per=_AT_ONCE)
        )
        for request_id, *values in rows:
            if any(text and wanted.is_in(text) for text in values):
                found.add(request_id)
    return sorted(found - search.request_ids)


def _erase(connection: Connection, erasure: int, search: _Search) -> None:
    """Put the mark in the place of all texts; record which requests stay erased."""
    mark = erasures.mark(erasure)
    keys = {*search.request_ids, *(record.key for record in search.records)}
    for batch in _batches(keys):
        # An entry may have been erased in another environment before.
        connection.execute(
            sa.delete(erased_requests).where(erased_requests.c.request_id.in_(batch))
        )
        rows = [{"request_id": key, "erasure_id": erasure} for key in batch]
        connection.execute(sa.insert(erased_requests), rows)
    erased = sa.select(erased_requests.c.request_id).where(erased_requests.c.erasure_id == erasure)
    for table in _VERSIONS:
        values: dict[str, Any] = {
            name: sa.case((table.c[name] != "", mark), else_=table.c[name]) for name in _TEXTS
        }
        extra = sa.literal(erasures.marked_object(mark), table.c.extra.type)
        values |= {
            "phone_number": mark,
            "phone_number_e164": None,
            "extra": sa.case((table.c.extra.is_not(None), extra)),
        }
        if table is release_requests:
            values["digest"] = None
        connection.execute(sa.update(table).where(table.c.id.in_(erased)).values(values))
    counted: Counter[str] = Counter()
    for record in search.records:
        values = {"raw": erasures.marked_raw(mark), "error": record.error}
        if record.request_id is not None and record.key == record.request_id:
            counted[record.key] += 1
            values["fingerprint"] = erasures.fingerprint(mark, record.key, counted[record.key])
        connection.execute(
            sa.update(quarantined_records).where(_quarantine.id == record.id).values(values)
        )
    for batch in _batches(search.run_ids):
        connection.execute(sa.update(sync_runs).where(_runs.id.in_(batch)).values(error=mark))


def _batches(values: Any) -> list[list[Any]]:
    """Split values into lists that a statement takes as parameters."""
    everything = sorted(values)
    return [everything[begin : begin + _AT_ONCE] for begin in range(0, len(everything), _AT_ONCE)]
