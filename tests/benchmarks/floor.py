"""The floor: the least that a program can do which keeps the list in a table, with its history.

Nothing is checked, proven or put on record. It does not notice what is missing from the list, and
cannot bear an entry that is not as it should be, or two runs at once. It is there to be compared
with, so it imports only what it needs.

    python floor.py sqlite URL FILE      python floor.py postgres URL DATABASE
    python floor.py hash URL SHA256      (only: is the list the one that is known?)
"""

import os
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

FIELDS = (
    "id",
    "phone_number_id",
    "phone_number",
    "reason",
    "status",
    "requested_at",
    "resolved_at",
    "rejection_reason",
)
NAMES = ", ".join(FIELDS)
CURRENT = "release_requests (id) WHERE valid_to IS NULL"
INDEXES = (
    f"CREATE UNIQUE INDEX IF NOT EXISTS current_request ON {CURRENT}",
    "CREATE INDEX IF NOT EXISTS request_status ON release_requests (status)",
    "CREATE INDEX IF NOT EXISTS request_number ON release_requests (phone_number)",
)


def to_sqlite(url: str, path: str) -> None:
    """Compare the list with the table in Python, and write what differs."""
    import sqlite3
    from datetime import UTC, datetime

    now = datetime.now(UTC).isoformat()
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA cache_size = -262144")
    database.execute("PRAGMA journal_mode = DELETE")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("BEGIN IMMEDIATE")
    database.execute(
        "CREATE TABLE IF NOT EXISTS release_requests (id TEXT, phone_number_id TEXT,"
        " phone_number TEXT, reason TEXT, status TEXT, requested_at TEXT, resolved_at TEXT,"
        " rejection_reason TEXT, valid_from TEXT NOT NULL, valid_to TEXT)"
    )
    for index in INDEXES:
        database.execute(index)
    known = {
        row[0]: row
        for row in database.execute(f"SELECT {NAMES} FROM release_requests WHERE valid_to IS NULL")
    }
    differing = [row for row in rows(url) if known.get(row[0]) != row]
    database.executemany(
        "UPDATE release_requests SET valid_to = ? WHERE id = ? AND valid_to IS NULL",
        ((now, row[0]) for row in differing if row[0] in known),
    )
    database.executemany(
        "INSERT INTO release_requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
        ((*row, now) for row in differing),
    )
    database.execute("COMMIT")
    database.close()


def to_postgres(url: str, dsn: str) -> None:
    """Copy the list beside the table, and let the database find and write what differs."""
    import psycopg

    old, new = (", ".join(f"{which}.{one}" for one in FIELDS[1:]) for which in ("old", "new"))
    with psycopg.connect(dsn) as database:
        run: Any = database.execute
        run(
            "CREATE TABLE IF NOT EXISTS release_requests (id uuid, phone_number_id uuid,"
            " phone_number text, reason text, status text, requested_at timestamptz,"
            " resolved_at timestamptz, rejection_reason text, valid_from timestamptz NOT NULL"
            " DEFAULT now(), valid_to timestamptz)"
        )
        for index in INDEXES:
            run(index)
        run(
            "CREATE TEMPORARY TABLE listed ON COMMIT DROP AS"
            f" SELECT {NAMES} FROM release_requests LIMIT 0"
        )
        with database.cursor().copy("COPY listed FROM STDIN") as copy:
            for row in rows(url):
                copy.write_row(row)
        run("ANALYZE listed")
        run(
            "CREATE TEMPORARY TABLE differing ON COMMIT DROP AS"
            " SELECT new.* FROM listed AS new LEFT JOIN release_requests AS old"
            " ON old.id = new.id AND old.valid_to IS NULL"
            f" WHERE old.id IS NULL OR ({old}) IS DISTINCT FROM ({new})"
        )
        run(
            "UPDATE release_requests AS old SET valid_to = now() FROM differing"
            " WHERE old.id = differing.id AND old.valid_to IS NULL"
        )
        run(f"INSERT INTO release_requests ({NAMES}) SELECT {NAMES} FROM differing")


def compare_hash(url: str, known: str) -> None:
    """Exit with an error unless the list is the one that is known."""
    import hashlib

    digest = hashlib.sha256()
    answer = ask(url)
    while piece := answer.read(1 << 20):
        digest.update(piece)
    if digest.hexdigest() != known:
        sys.exit("the list is another one")


def rows(url: str) -> Iterator[tuple[str | None, ...]]:
    """Download the list, and decode its entries."""
    import msgspec

    class Entry(msgspec.Struct, gc=False):
        id: str
        phone_number_id: str
        phone_number: str
        reason: str
        status: str
        requested_at: str
        resolved_at: str | None = None
        rejection_reason: str | None = None

    class Envelope(msgspec.Struct):
        data: list[Entry]

    listed = msgspec.json.decode(ask(url).read(), type=Envelope)
    return map(msgspec.structs.astuple, listed.data)


def ask(url: str) -> HTTPResponse:
    """Ask for the list."""
    host, path = url.removeprefix("http://").split("/", 1)
    connection = HTTPConnection(host)
    token = os.environ["TALKOVER_TOKEN"]
    connection.request("GET", f"/{path}", headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    if answer.status != 200:
        sys.exit(f"the server answers {answer.status}")
    return answer


if __name__ == "__main__":
    ways = {"sqlite": to_sqlite, "postgres": to_postgres, "hash": compare_hash}
    ways[sys.argv[1]](*sys.argv[2:])
