"""Finds all that the mirror holds of a phone number, in whatever spelling and table it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db import environments, erasures
from mirror.db.models import past_versions, quarantined_records, release_requests, sync_runs
from mirror.errors import UsageError
from mirror.numbers import reading
from mirror.numbers.groups import digits_of
from mirror.numbers.mentions import mentions
from mirror.numbers.text import clean
from mirror.queries.lookup import NumberMatch, find_number
from mirror.queries.select import in_environment
from mirror.text import plural

VERSIONS = (release_requests, past_versions)
"""The tables of versions."""

_MEXICAN_MOBILE = re.compile(r"\+521(?=[2-9][0-9]{9}$)")
_MIN_DIGITS = 7  # of a number without its country code
_AT_ONCE = 1_000  # rows
_quarantine = quarantined_records.c
_runs = sync_runs.c


@dataclass(frozen=True, slots=True)
class Found:
    """What the mirror holds of a number.

    Attributes:
        numbers: the stored numbers that it means, and how each was read.
        possible: other stored numbers that may be it, which are not erased.
        other_numbers: stored numbers that the same requests have or had beside it.
        environments: names of the environments that hold something of it.
        requests: requests that have or had it.
        past_versions: past versions of them.
        quarantined: records in quarantine of these requests, or with the number in their JSON.
        runs: runs whose error has it.
        mentioned_by: ids of other requests with the number in a text, which is not erased.
    """

    numbers: Sequence[NumberMatch]
    possible: Sequence[str]
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
        parts = [
            plural(self.requests, "request"),
            plural(self.past_versions, "past version"),
            f"{plural(self.quarantined, 'record')} in quarantine",
            *([f"{plural(self.runs, 'error')} of runs"] if self.runs else []),
        ]
        return f"{', '.join(parts[:-1])} and {parts[-1]}"


@dataclass(frozen=True, slots=True)
class _Number:
    """A number to erase: as stored, and as it is recognized in a text.

    Attributes:
        matches: the stored numbers that it means.
        possible: other stored numbers that may be it.
        forms: its forms in E.164, or the text that is stored.
        is_in: tells whether a text holds it.
    """

    matches: Sequence[NumberMatch]
    possible: Sequence[str]
    forms: Sequence[str]
    is_in: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Record:
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
class Traces:
    """The rows that hold a number.

    Attributes:
        request_ids: ids of the requests that have or had it.
        records: the records in quarantine.
        run_ids: the runs with the number in their error.
        environments: names of the environments of all these.
    """

    request_ids: frozenset[str]
    records: Sequence[Record]
    run_ids: Sequence[int]
    environments: frozenset[str]


def find_traces(
    connection: Connection, number: str, region: str | None, environment: str | None
) -> tuple[Found, Traces]:
    """Return what the mirror holds of a number: as counts and names, and the rows.

    Args:
        connection: to the mirror's database.
        number: in any usual notation.
        region: ISO 3166 country code, for numbers without a calling code.
        environment: look only there; None for everywhere.

    Raises:
        UsageError: this is no phone number, may be several, or is a mark; or the region or the
            environment does not exist.
    """
    if environment is not None:
        environments.require_on_record(connection, environment)
    wanted = _recognize(connection, number, region, environment)
    search = _search(connection, wanted, environment)
    names = set[str]()
    past = 0
    for ids in batches(search.request_ids):
        for table in VERSIONS:
            select = sa.select(table.c.phone_number).where(table.c.id.in_(ids))
            names.update(connection.scalars(select.distinct()))
        count = sa.select(sa.func.count()).where(past_versions.c.id.in_(ids))
        past += connection.scalar(count) or 0
    found = Found(
        numbers=wanted.matches,
        possible=wanted.possible,
        other_numbers=sorted(names - {match.phone_number for match in wanted.matches}),
        environments=sorted(search.environments),
        requests=len(search.request_ids),
        past_versions=past,
        quarantined=len(search.records),
        runs=len(search.run_ids),
        mentioned_by=_mentioning(connection, wanted, search, environment),
    )
    return found, search


def _recognize(
    connection: Connection, number: str, region: str | None, environment: str | None
) -> _Number:
    """Find the stored numbers that a number means, which must be one number.

    With a region, a stored number without a country code is one of this region.

    Raises:
        UsageError: they are several, or it is a mark.
    """
    if erasures.erasure_of(number.strip()) is not None:
        raise UsageError(f"{number!r} is the mark of an erasure", hint="name a phone number")
    matches = found = find_number(connection, number, region)
    typed = reading.read(number, region)
    is_stored = any(match.phone_number == number.strip() for match in matches)
    if any(map(str.isdigit, typed.left_out)) and not is_stored:  # it may be another number
        raise UsageError(
            f"{number!r} has more digits than a phone number", hint="name the number alone"
        )
    forms = {match.phone_number: _form(match.phone_number, region) for match in matches}
    if len(set(forms.values())) > 1:
        exact = forms.get(number.strip(), number.strip())
        matches = [match for match in matches if forms[match.phone_number] == exact]
        if not matches:
            raise UsageError(
                f"{number!r} may mean {' or '.join(sorted(set(forms.values())))}",
                hint="name one of them",
            )
    means = {forms[match.phone_number] for match in matches} or {
        _form(text, region) for text in typed.numbers[:1]
    }
    mobiles = {form.replace("+52", "+521", 1) for form in means if form.startswith("+52")}
    wanted = sorted(means | mobiles)
    finders = [mentions(form) for form in wanted]

    def is_in(text: str) -> bool:
        return any(finder(text) for finder in finders)

    others = {match.phone_number for match in found}
    others |= _resembling(connection, number, is_in, environment)
    possible = []
    for other in sorted(others - {match.phone_number for match in matches}):
        if region is not None and _form(other, region) in means:
            matches.append(NumberMatch(other, f"read as a number of {region.upper()}"))
        else:
            possible.append(other)
    return _Number(matches, possible, wanted, is_in)


def _form(stored: str, region: str | None) -> str:
    """Return the same text for all notations of a number."""
    e164 = reading.to_e164(stored)
    if e164 is None and region is not None and not stored.startswith("+"):
        e164 = next(iter(reading.read(stored, region).numbers), None)
    return _MEXICAN_MOBILE.sub("+52", e164 or stored)


def _resembling(
    connection: Connection, number: str, is_in: Callable[[str], bool], environment: str | None
) -> set[str]:
    """Return the stored numbers that differ from a number by no more than a country code."""
    digits = digits_of(clean(number)).lstrip("0")
    found = set[str]()
    for table in VERSIONS:
        stored, e164 = table.c.phone_number, table.c.phone_number_e164
        may_be = [sa.and_(e164.is_(None), stored.not_like("+%"))]
        if len(digits) >= _MIN_DIGITS:
            may_be += [stored.like(f"+%{digits}"), e164.like(f"%{digits}")]
        rows = connection.execute(
            sa.select(stored, e164)
            .where(sa.or_(*may_be), *in_environment(table.c, environment))
            .distinct()
            .execution_options(yield_per=_AT_ONCE)
        )
        for text, form in rows:
            known = form or text  # with its country code, or else `is_in` knows its digits
            if is_in(text) or (known.startswith("+") and mentions(known)(number)):
                found.add(text)
    return found


def _search(connection: Connection, wanted: _Number, environment: str | None) -> Traces:
    stored = [match.phone_number for match in wanted.matches]
    rows = connection.execute(
        sa.union(
            *(
                sa.select(table.c.id, table.c.environment).where(
                    table.c.phone_number.in_(stored), *in_environment(table.c, environment)
                )
                for table in VERSIONS
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
    return Traces(ids, records, [run_id for run_id, _ in told], frozenset(names))


def _records(
    connection: Connection, wanted: _Number, ids: frozenset[str], environment: str | None
) -> list[Record]:
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
        found.append(Record(row.id, row.environment, row.request_id, key, error))
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
    connection: Connection, wanted: _Number, search: Traces, environment: str | None
) -> list[str]:
    """Return the ids of other requests with the number in a text of any version.

    The database looks for its last four digits first, which are seldom set apart.
    """
    endings = {form[-4:] for form in wanted.forms if form.startswith("+")}
    found = set[str]()
    for table in VERSIONS if endings else ():
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


def batches(values: Collection[Any]) -> list[list[Any]]:
    """Split values into lists that a statement takes as parameters."""
    everything = sorted(values)
    return [everything[begin : begin + _AT_ONCE] for begin in range(0, len(everything), _AT_ONCE)]
