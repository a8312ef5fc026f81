#!/usr/bin/env bash
# A column of a SQLite view with UNION has its declared type for one way to ask, and not for another.
#
# What a good engineer expects: a view has one type for each column. The drivers that make a time of
# a column declared TIMESTAMP agree about it, and the order of the members of a UNION ALL does not
# matter.
#
# What happens: PRAGMA table_info, which SQLAlchemy and other tools of schemas read, takes the name
# of the type from the FIRST member. sqlite3_column_decltype(), by which drivers convert values
# (Python's detect_types), takes it from the LAST. If one member has NULL there, such as rows that
# have no time yet, one of the two ways knows no time, and which one depends on the order of the
# members. CAST(NULL AS timestamp) is no help: an expression has no declared type. And where the
# first member has none, newer SQLite makes up a name for the pragma, NUM, which no schema has.
#
# Whom it hurts: those who unite tables or events in a view and read it by a driver that converts.
# The same view gives datetime before and str after its members are put in another order.
#
# What helps: a plain column in the first and in the last member. Add one with no rows where needed:
# UNION ALL SELECT id, at FROM event WHERE 0.
#
# Seen with: SQLite 3.40.0 and 3.54.1 (of apsw 3.40.0.0 and 3.54.1.0, which has a wheel of the former
# up to Python 3.11), Python 3.11 with its SQLite 3.40.1.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for release in 3.40.0.0 3.54.1.0; do
  "$folder/venv/bin/pip" install --quiet --only-binary :all: --target "$folder/$release" "apsw==$release"
done

cat > "$folder/types.sql" <<'SQL'
CREATE TABLE event (id INTEGER PRIMARY KEY, at TIMESTAMP);
INSERT INTO event VALUES (1, '2026-01-01 10:00:00');
CREATE VIEW null_last AS SELECT id, at FROM event UNION ALL SELECT -id, NULL FROM event;
CREATE VIEW null_first AS SELECT -id AS id, NULL AS at FROM event UNION ALL SELECT id, at FROM event;
CREATE VIEW cast_last AS
  SELECT id, at FROM event UNION ALL SELECT -id, CAST(NULL AS TIMESTAMP) FROM event;
CREATE VIEW column_last AS SELECT id, at FROM event UNION ALL SELECT -id, NULL FROM event
  UNION ALL SELECT id, at FROM event WHERE 0;
SQL

cat > "$folder/ask.py" <<'PYTHON'
import sqlite3
import sys
from pathlib import Path

schema = Path(sys.argv[1]).read_text()
view = sys.argv[2]
if len(sys.argv) == 3:
    connection = sqlite3.connect(":memory:", detect_types=sqlite3.PARSE_DECLTYPES)
    sqlite3.register_converter("TIMESTAMP", lambda value: ("datetime", value))
    connection.executescript(schema)
    (value,) = connection.execute(f"SELECT at FROM {view} WHERE id = 1").fetchone()
    print("datetime" if isinstance(value, tuple) else "str")
else:
    sys.path.insert(0, sys.argv[3])
    import apsw

    connection = apsw.Connection(":memory:")
    connection.execute(schema)
    column = connection.execute(f"SELECT at FROM {view}").getdescription()[0]
    info = connection.execute(f"PRAGMA table_info({view})").fetchall()[1]
    print(f"table_info {info[2] or 'none'}, decltype {column[1] or 'none'}")
PYTHON

expect() {
  printf '%-22s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}
types() {
  "$folder/venv/bin/python" "$folder/ask.py" "$folder/types.sql" "$1" ${2:+"$folder/$2"}
}
try() {
  expect "$1 3.40.0" "$(types "$1" 3.40.0.0)" "$2"
  expect "$1 3.54.1" "$(types "$1" 3.54.1.0)" "$3"
  expect "$1 detect_types" "$(types "$1")" "$4"
}

try null_last "table_info TIMESTAMP, decltype none" "table_info TIMESTAMP, decltype none" str
try null_first "table_info none, decltype TIMESTAMP" "table_info NUM, decltype TIMESTAMP" datetime
try cast_last "table_info TIMESTAMP, decltype none" "table_info TIMESTAMP, decltype none" str
try column_last "table_info TIMESTAMP, decltype TIMESTAMP" "table_info TIMESTAMP, decltype TIMESTAMP" datetime
