"""What a mirror must hold: a second, plain way to find it out, and an upstream that moves on.

`Ledger` knows nothing of SQL, transactions or the merge. It goes through a list entry by entry and
keeps what the design promises, in the very text that the tables hold.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from sqlalchemy.engine import Connection

from mirror.db.engine import create_engine, read_transaction
from mirror.db.runs import Counts
from tests.support.upstream import request

GARBLED = "yesterday"
"""As `requested_at` of an entry: it cannot be understood."""

_KNOWN = (
    "phone_number_id",
    "phone_number",
    "reason",
    "status",
    "rejection_reason",
    "requested_at",
    "resolved_at",
)
_FIRST_REVIEW = datetime(2024, 1, 12, tzinfo=UTC)
_STATUSES = ("pending", "approved", "rejected", "cancelled")


class Version(NamedTuple):
    """A version of a request, with the columns of its row; no two share the first two."""

    id: str
    valid_from: str
    phone_number_id: str | None
    phone_number: str
    reason: str | None
    status: str
    rejection_reason: str | None
    requested_at: str
    resolved_at: str | None
    extra: str | None
    environment: str
    first_seen_at: str
    missing_since: str | None
    sync_run_id: int

    @property
    def known(self) -> tuple[object, ...]:
        """The fields that make a new version when they change."""
        return self[2 : 2 + len(_KNOWN)]


class Kept(NamedTuple):
    """A record in quarantine, with the columns of its row that do not depend on wordings."""

    raw: str
    request_id: str | None
    environment: str
    first_run_id: int
    last_run_id: int
    first_seen_at: str
    last_seen_at: str
    resolved_at: str | None


@dataclass(frozen=True, slots=True)
class Pull:
    """A run that applied a list.

    Attributes:
        run_id: its number.
        at: the time that stands for it, as the database writes it.
        environment: whose list it is.
    """

    run_id: int
    at: str
    environment: str = "default"


Tables = dict[str, list[tuple[Any, ...]]]


@dataclass(slots=True)
class Ledger:
    """What a mirror must hold after the pulls that were applied to it.

    Attributes:
        current: the open version of each request, by its id.
        past: the versions that were superseded, each as its row: with its `valid_to` in the end.
        quarantine: the records that could not be understood, by what is known of them.
    """

    current: dict[str, Version] = field(default_factory=dict)
    past: list[tuple[str | int | None, ...]] = field(default_factory=list)
    quarantine: dict[str, Kept] = field(default_factory=dict)
    _read: dict[str, dict[str, Any]] = field(default_factory=dict)

    def apply(self, entries: list[dict[str, Any]], pull: Pull) -> Counts:
        """Take in a list; return what the run must say that it did.

        Args:
            entries: with distinct ids; an entry that changes is another object.
            pull: the run.
        """
        readable = [one for one in entries if one["requested_at"] != GARBLED]
        rejected = [one for one in entries if one["requested_at"] == GARBLED]
        did = [self._take(entry, pull) for entry in readable]
        listed = {one["id"] for one in entries}
        missing = self._mark_missing(listed, pull)
        return Counts(
            fetched=len(entries),
            inserted=did.count("inserted"),
            updated=did.count("updated"),
            unchanged=did.count("unchanged"),
            returned=did.count("returned"),
            missing=missing,
            quarantined=len(rejected),
            newly_quarantined=self._quarantine(rejected, pull),
        )

    def follow(self, run: Run, entries: list[dict[str, Any]]) -> None:
        """Take in a list that a run says that it applied; what it counted must be right."""
        assert run.outcome == "applied", run
        assert run.observed_at is not None
        assert run.counts == self.apply(entries, Pull(run.id, run.observed_at, run.environment))

    def _take(self, entry: dict[str, Any], pull: Pull) -> str:
        """Take in what the list says about a request; tell what that is."""
        old = self.current.get(entry["id"])
        if old and old.missing_since is None and self._read[old.id] is entry:
            return "unchanged"  # soon seen, and true of most
        self._read[entry["id"]] = entry
        new = _version(entry, pull)
        if old is None:
            self.current[new.id] = new
            return "inserted"
        if old.missing_since is None and old.known == new.known:
            self.current[new.id] = old._replace(extra=new.extra)
            return "unchanged"
        self._supersede(old, new)
        return "updated" if old.missing_since is None else "returned"

    def _mark_missing(self, listed: set[str], pull: Pull) -> int:
        """Give what the list lacks a version that says so; return how many there were."""
        missing = [
            one
            for one in self.current.values()
            if one.environment == pull.environment
            and one.missing_since is None
            and one.id not in listed
        ]
        for old in missing:
            new = old._replace(missing_since=pull.at, valid_from=pull.at, sync_run_id=pull.run_id)
            self._supersede(old, new)
        return len(missing)

    def _supersede(self, old: Version, new: Version) -> None:
        self.past.append((*old, new.valid_from))
        self.current[new.id] = new._replace(first_seen_at=old.first_seen_at)

    def _quarantine(self, rejected: list[dict[str, Any]], pull: Pull) -> int:
        """Keep the records that cannot be understood; return how many are new."""
        new = 0
        by_known = {_known_text(entry): entry for entry in rejected}
        for known, entry in by_known.items():
            old = self.quarantine.get(known)
            new += old is None or old.resolved_at is not None
            first = (pull.run_id, pull.at) if old is None else (old.first_run_id, old.first_seen_at)
            self.quarantine[known] = Kept(
                raw=msgspec.json.encode(entry).decode(),
                request_id=entry["id"],
                environment=pull.environment,
                first_run_id=first[0],
                last_run_id=pull.run_id,
                first_seen_at=first[1],
                last_seen_at=pull.at,
                resolved_at=None,
            )
        for known, old in self.quarantine.items():
            mine = old.environment == pull.environment
            if mine and known not in by_known and old.resolved_at is None:
                self.quarantine[known] = old._replace(resolved_at=pull.at)
        return new

    def tables(self) -> Tables:
        """What `held` must find in the database."""
        return {
            "release_requests": sorted(self.current.values()),
            "release_request_past_versions": sorted(self.past),
            "quarantined_records": sorted(self.quarantine.values()),
        }


def _version(entry: dict[str, Any], pull: Pull) -> Version:
    """Make the version that an entry of the list tells of."""
    extra = {name: entry[name] for name in sorted(entry.keys() - {"id", *_KNOWN})}
    return Version(
        id=entry["id"],
        valid_from=pull.at,
        phone_number_id=entry.get("phone_number_id"),
        phone_number=entry["phone_number"],
        reason=entry.get("reason"),
        status=entry["status"],
        rejection_reason=entry.get("rejection_reason"),
        requested_at=_stored(entry["requested_at"]),
        resolved_at=_stored(entry["resolved_at"]) if "resolved_at" in entry else None,
        extra=msgspec.json.encode(extra).decode() if extra else None,
        environment=pull.environment,
        first_seen_at=pull.at,
        missing_since=None,
        sync_run_id=pull.run_id,
    )


def _known_text(entry: dict[str, Any]) -> str:
    """Write an entry without what the mirror does not know: that makes no other entry of it."""
    known = {name: value for name, value in entry.items() if name in {"id", *_KNOWN}}
    return msgspec.json.encode(known).decode()


def _stored(time: str) -> str:
    """Write a time of the wire, which has whole seconds in UTC, as the database does."""
    return time.replace("T", " ").replace("Z", ".000")


def difference(found: Tables, expected: Tables) -> str:
    """Tell in a few lines where two states differ; nothing if they are equal."""
    said = []
    for table, rows in expected.items():
        if found[table] != rows:
            more = sorted(set(found[table]) - set(rows))
            fewer = sorted(set(rows) - set(found[table]))
            said.append(
                f"{table} has {len(found[table])} rows, not {len(rows)}; {len(more)} should not be "
                f"there, such as {more[:2]}; {len(fewer)} are not, such as {fewer[:2]}"
            )
    return "\n".join(said)


def held(connection: Connection) -> Tables:
    """Everything that syncs write except the runs: one SELECT a table, times as SQLite's text."""
    return {
        "release_requests": _select(connection, "release_requests", Version._fields),
        "release_request_past_versions": _select(
            connection, "release_request_past_versions", (*Version._fields, "valid_to")
        ),
        "quarantined_records": _select(connection, "quarantined_records", Kept._fields),
    }


class Run(NamedTuple):
    """A run on record, with the columns of its row."""

    id: int
    environment: str
    outcome: str
    completion: int | None
    observed_at: str | None
    finished_at: str | None
    error: str | None
    counts: Counts | None


def runs(connection: Connection) -> list[Run]:
    """The runs on record, the first one first."""
    columns = Run._fields[:-1]
    rows = _select(connection, "sync_runs", (*columns, *Counts.__dataclass_fields__))
    ends = len(columns)
    return [
        Run._make((*row[:ends], None if row[ends] is None else Counts(*row[ends:]))) for row in rows
    ]


def on_record(url: str) -> list[Run]:
    """The runs on record in a mirror, the first one first."""
    with read_transaction(create_engine(url)) as connection:
        return runs(connection)


def content(url: str) -> Tables:
    """What is in a mirror; all of its versions meet."""
    with read_transaction(create_engine(url)) as connection:
        assert torn(connection) == []
        return held(connection)


def _select(connection: Connection, table: str, columns: Iterable[str]) -> list[tuple[Any, ...]]:
    """Read a table, sorted by its first columns, which no two rows share."""
    shown = ", ".join(_text(connection, column) for column in columns)
    # The driver's own rows are tuples already; those of SQLAlchemy would have to be made into some.
    driver: Any = connection.connection.driver_connection
    return sorted(driver.execute(f"SELECT {shown} FROM {table}").fetchall())


def _text(connection: Connection, column: str) -> str:
    """The SQL for a column, whose time or JSON is to come as the text that SQLite keeps."""
    if connection.dialect.name == "sqlite":
        return column
    if column.endswith(("_at", "_since", "_from", "_to")):
        return f"to_char({column}, 'YYYY-MM-DD HH24:MI:SS.MS')"
    return f"{column}::text" if column == "extra" else column


def torn(connection: Connection) -> list[tuple[Any, ...]]:
    """The versions that do not end where the next one begins, or end without a next one.

    A request's last version is open and all others are closed if there is none of these.
    """
    rows = connection.exec_driver_sql(
        """
        SELECT id, valid_from, valid_to, begins FROM (
          SELECT id, valid_from, valid_to,
                 lead(valid_from) OVER (PARTITION BY id ORDER BY valid_from) AS begins
          FROM release_request_versions) AS version
        WHERE (begins IS NULL) <> (valid_to IS NULL) OR begins <> valid_to OR valid_to <= valid_from
        LIMIT 3
        """
    )
    return [tuple(row) for row in rows]


class ChangingList:
    """A list of upstream's that is another one each time that it moves on.

    Args:
        count: its entries at the start.
        chance: decides what happens.
        garbled: the share of its entries that cannot be understood, others each time.
        first: number of its first request.

    Attributes:
        entries: the list now.
    """

    def __init__(
        self, count: int, chance: random.Random, *, garbled: float = 0.0, first: int = 0
    ) -> None:
        self._chance = chance
        self._garbled = garbled
        self._steps = 0
        self._next = first
        self._listed: dict[str, dict[str, Any]] = {}
        self._away: list[dict[str, Any]] = []
        self._add(count)
        self.entries = self._shown()

    def move_on(self) -> None:
        """Change 2, 5 or 20 % of the requests; 1 % are new, 1.5 % vanish, a third returns."""
        self._steps += 1
        self._some(self._chance.choice((0.02, 0.05, 0.2)), self._review)
        self._some(0.005, self._annotate)
        returned = self._away
        self._away = []
        self._some(0.015, self._take_away)
        self._listed |= {one["id"]: one for one in returned[: len(returned) // 3]}
        self._add(max(1, len(self._listed) // 100))
        self.entries = self._shown()

    def _some(self, share: float, change: Callable[[str], None]) -> None:
        """Let something happen to a share of the requests."""
        for one in self._chance.sample(list(self._listed), max(1, int(share * len(self._listed)))):
            change(one)

    def _add(self, count: int) -> None:
        for _ in range(count):
            made = request(self._next, phone_number=f"+1555{self._next:07d}")
            self._listed[made["id"]] = made
            self._next += 1

    def _review(self, one: str) -> None:
        at = (_FIRST_REVIEW + timedelta(minutes=self._steps)).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = self._chance.choice(_STATUSES)
        self._listed[one] = self._listed[one] | {"status": status, "resolved_at": at}

    def _annotate(self, one: str) -> None:
        """Change a field that the mirror does not know."""
        self._listed[one] = self._listed[one] | {"note": self._steps}

    def _take_away(self, one: str) -> None:
        self._away.append(self._listed.pop(one))

    def _shown(self) -> list[dict[str, Any]]:
        entries = list(self._listed.values())
        for at in self._chance.sample(range(len(entries)), int(self._garbled * len(entries))):
            entries[at] = entries[at] | {"requested_at": GARBLED}
        return entries
