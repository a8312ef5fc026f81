#!/usr/bin/env bash
# Datasette ends after the first page of a table sorted by a number whose column has no type.
#
# What a good engineer expects: "CSV, all rows" of a sorted table has the rows of the table, as it has
# them without sorting, and a link of a facet leads to the rows that the facet has counted.
#
# What happens: CREATE TABLE ... AS SELECT gives no type to the column of an expression (a * 0.25,
# count(*), coalesce(...)). Datasette puts the last value of a page into its _next token, and compares
# the column of the next page with it, as a text. Without a type SQLite converts neither, and takes
# every number for less than every text. So an ascending order has no second page, without an error;
# the number of rows is the only sign. A table whose primary key has no type loses its rows unsorted.
# For the same reason the link of a facet that counted 14 rows shows none.
#
# Whom it hurts: those who publish summaries that SQL made (CREATE TABLE summary AS SELECT ...) and
# those who download them: the export of 500 rows has 100.
#
# What helps: a type for each such column, CAST(... AS real) AS score; or create the table with types
# and use INSERT INTO ... SELECT. PRAGMA table_info shows which columns have none.
#
# Seen with: Datasette 0.65.5 and 1.0a41, SQLite 3.40.1. Python 3.11.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"

cat > "$folder/make.py" <<'PYTHON'
import sqlite3
import sys

with sqlite3.connect(sys.argv[1]) as connection:
    connection.execute("CREATE TABLE source (id integer PRIMARY KEY, a integer)")
    rows = ((id, id % 37) for id in range(1, 501))
    connection.executemany("INSERT INTO source VALUES (?, ?)", rows)
    connection.execute("CREATE TABLE summary AS SELECT id, a * 0.25 AS score FROM source")
    connection.execute("CREATE TABLE typed AS SELECT id, CAST(a * 0.25 AS real) AS score FROM source")
    connection.execute("CREATE TABLE keyed (id, a integer, PRIMARY KEY (id)) WITHOUT ROWID")
    connection.execute("INSERT INTO keyed SELECT id, a FROM source")
PYTHON
python3 "$folder/make.py" "$folder/cases.db"

expect() {
  printf '%-12s %-34s %s\n' "$1" "$2" "$3"
  [ "$3" = "$4" ] || { echo "this has changed; expected: $4"; exit 1; }
}
get() { "$folder/venv/bin/datasette" --get "/cases/$1" "$folder/cases.db"; }
csv_rows() { get "$1" | tail -n +2 | grep -c '[0-9]'; }
json_rows() { get "$1" | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["rows"]))'; }
counted() { get "$1" | grep -o '"value": 1.25, "label": [^,]*, "count": [0-9]*' | grep -o '[0-9]*$'; }

for version in 0.65.5 1.0a41; do
  "$folder/venv/bin/pip" install --quiet "datasette==$version"
  expect "$version" "summary, all rows" "$(csv_rows 'summary.csv?_stream=on')" 500
  expect "$version" "summary, all rows, by score" "$(csv_rows 'summary.csv?_stream=on&_sort=score')" 100
  expect "$version" "summary, facet of score 1.25" "$(counted 'summary.json?_facet=score&_facet_size=max')" 14
  expect "$version" "summary, link of that facet" "$(json_rows 'summary.json?score=1.25')" 0
  expect "$version" "keyed, all rows" "$(csv_rows 'keyed.csv?_stream=on')" 100
  expect "$version" "typed, all rows, by score" "$(csv_rows 'typed.csv?_stream=on&_sort=score')" 500
  expect "$version" "typed, link of the facet" "$(json_rows 'typed.json?score=1.25')" 14
done
