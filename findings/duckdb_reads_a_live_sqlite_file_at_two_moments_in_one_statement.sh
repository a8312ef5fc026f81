#!/usr/bin/env bash
# DuckDB reads an attached SQLite file at two moments within one statement.
#
# What a good engineer expects: one SELECT sees one state of the database, and in a transaction so
# do all. SQLite's transactions are serializable, its WAL is made for readers beside a writer, and
# DuckDB's own tables behave so.
#
# What happens: DuckDB scans a large table of the file in several threads, each with a connection of
# its own to the file, and so each with a read transaction of its own, begun when the thread came to
# its part of the table. While another process writes, the parts come from different states. A
# writer raises the number in the first and in the last row together, in one transaction. Most
# statements see two numbers that were never in the file together. BEGIN in DuckDB changes nothing
# in that. Nothing is reported; a file that nobody writes to, or a small table, never shows it.
#
# Whom it hurts: those who report on the live file of an application with DuckDB or dbt-duckdb:
# totals do not add up, a row that moved is counted twice or not at all, and the next run is right
# again.
#
# What helps: SET sqlite_disable_multithreaded_scans = true, before the file is read. All reads of a
# transaction then share one connection. Where the setting is unknown, a copy by SQLite's VACUUM INTO.
#
# Seen with: DuckDB 1.5.5 and its sqlite_scanner 1.5.5. Python 3.11, its SQLite 3.40.1. (1.4.4 reads
# two states too, also with threads = 1, and does not have the setting.)
set -euo pipefail

folder=$(mktemp -d)
writer=
trap '[ -z "$writer" ] || kill "$writer" 2> "$folder/kill" || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet duckdb==1.5.5 duckdb-extensions==1.5.5 \
  duckdb-extension-sqlite-scanner==1.5.5

cat > "$folder/write.py" <<'PYTHON'
import sqlite3
import sys
import time

ROWS = 600_000
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, number INTEGER, note TEXT)")
connection.execute("BEGIN")
connection.executemany(
    "INSERT INTO item VALUES (?, 0, ?)", ((id, "-" * 50) for id in range(1, ROWS + 1))
)
connection.execute("COMMIT")
print("ready", flush=True)
end = time.monotonic() + 120
while time.monotonic() < end:
    connection.execute("UPDATE item SET number = number + 1 WHERE id IN (1, ?)", (ROWS,))
PYTHON

cat > "$folder/read.py" <<'PYTHON'
import sys

import duckdb
from duckdb_extensions import import_extension

import_extension("sqlite_scanner")
connection = duckdb.connect(config={"threads": 4})
connection.execute("LOAD sqlite_scanner")
connection.execute(f"SET sqlite_disable_multithreaded_scans = {sys.argv[2]}")
connection.execute(f"ATTACH '{sys.argv[1]}' AS live (TYPE sqlite, READ_ONLY)")
torn = 0
for _ in range(20):
    connection.execute("BEGIN")
    low, high = connection.execute(
        "SELECT min(number), max(number) FROM live.item WHERE id IN (1, 600000)"
    ).fetchone()
    torn += low != high
    connection.execute("COMMIT")
print("two states in one statement" if torn else "one state in each of 20 statements")
PYTHON

expect() {
  printf '%-43s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}

python="$folder/venv/bin/python"
"$python" "$folder/write.py" "$folder/live.db" > "$folder/written" &
writer=$!
until [ -s "$folder/written" ]; do
  kill -0 "$writer"
  sleep 0.2
done
# The extension is installed in the home folder; a slow step may print a progress bar first.
read_it() { HOME=$folder "$python" "$folder/read.py" "$folder/live.db" "$1" | tail -n 1; }
expect "as installed, BEGIN" "$(read_it false)" "two states in one statement"
expect "sqlite_disable_multithreaded_scans, BEGIN" "$(read_it true)" "one state in each of 20 statements"
