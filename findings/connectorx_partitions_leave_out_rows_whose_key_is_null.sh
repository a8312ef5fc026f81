#!/usr/bin/env bash
# connectorx with partition_on leaves out the rows whose key is null.
#
# What a good engineer expects: partition_num only says how many connections read the result at
# once. The rows are those of the query.
#
# What happens: connectorx asks for the least and the greatest key, and sends one query for each
# range between them. A null is in no range, so its row comes with none of them. A result of 1,000
# rows, of which 100 have no key, has 900 rows. There is no error and no warning. With
# partition_num=1 the same option leaves them out too; without partition_on they are there. Spark's
# JDBC reader, which has the same three options, adds "or the key is null" to its first range.
#
# Whom it hurts: those who read a large table by a date that may be missing (resolved_at,
# deleted_at, parent_id) with connectorx, or with polars.read_database_uri, whose default engine it
# is: just the open cases are lost.
#
# What helps: a key that is never null, or a query that replaces the null:
# coalesce(resolved, -1) AS part.
#
# Seen with: connectorx 0.4.6 and 0.4.3, polars 2.1.0, on SQLite 3.40.1. Python 3.11.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet connectorx==0.4.6 polars==2.1.0 pyarrow==26.0.1

cat > "$folder/make.py" <<'PYTHON'
import sqlite3
import sys

connection = sqlite3.connect(sys.argv[1])
connection.execute("CREATE TABLE cases (id INTEGER PRIMARY KEY, resolved INTEGER)")
connection.executemany(
    "INSERT INTO cases VALUES (?, ?)",
    ((id, None if id % 10 == 0 else 20260000 + id) for id in range(1, 1001)),
)
connection.commit()
PYTHON

cat > "$folder/read.py" <<'PYTHON'
import sys

import connectorx
import polars

library, uri, query, key, number = sys.argv[1:]
options = {"partition_on": key, "partition_num": int(number)} if key else {}
if library == "polars":
    rows = polars.read_database_uri(query, uri, **options).height
else:
    rows = connectorx.read_sql(uri, query, return_type="arrow", **options).num_rows
print(rows, "rows")
PYTHON

expect() {
  printf '%-55s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}

python="$folder/venv/bin/python"
"$python" "$folder/make.py" "$folder/cases.db"
read_it() { "$python" "$folder/read.py" "$1" "sqlite://$folder/cases.db" "$2" "$3" "$4"; }
all="SELECT id, resolved FROM cases"
expect "connectorx, no partitions" "$(read_it connectorx "$all" "" 0)" "1000 rows"
expect "connectorx, partition_on=resolved, 1" "$(read_it connectorx "$all" resolved 1)" "900 rows"
expect "connectorx, partition_on=resolved, 4" "$(read_it connectorx "$all" resolved 4)" "900 rows"
expect "polars, partition_on=resolved, 4" "$(read_it polars "$all" resolved 4)" "900 rows"
expect "connectorx, partition_on=id, 4" "$(read_it connectorx "$all" id 4)" "1000 rows"
part="SELECT id, resolved, coalesce(resolved, -1) AS part FROM cases"
expect "connectorx, coalesce(resolved, -1) AS part, 4" "$(read_it connectorx "$part" part 4)" "1000 rows"
