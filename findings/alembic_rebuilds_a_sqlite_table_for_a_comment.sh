#!/usr/bin/env bash
# Alembic rebuilds a SQLite table for a comment, and loses triggers, rules of columns and child rows.
#
# What a good engineer expects: a migration that only sets the comment of a column does nothing in
# SQLite, which has no comments; at worst the table is rebuilt as it was.
#
# What happens: in batch mode (render_as_batch=True, the mode for projects that serve SQLite too) the
# comment is a change like any other: the table is copied, dropped and renamed. The new table is made
# of what SQLAlchemy reflects. Gone are its triggers, COLLATE of a column, so a unique text is
# unique by another rule, DESC of an index, and AUTOINCREMENT, so the id of a deleted row is given
# again. With foreign_keys = ON, DROP TABLE deletes its rows first: rows of other tables that
# reference it ON DELETE CASCADE are deleted too. There is no error and no warning. The comment is
# stored nowhere.
#
# Whom it hurts: those who develop on SQLite and run on Postgres, or ship for both: the migration of
# the comment was generated and tried on Postgres, where it is harmless.
#
# What helps: ask the dialect first: if op.get_context().dialect.supports_comments. For changes that
# are more than a comment: foreign_keys = OFF, and a look at sqlite_master before and after.
#
# Seen with: Alembic 1.20.1 and 1.16.5, SQLAlchemy 2.1.9 and 2.0.43, SQLite 3.40.1. Python 3.11.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet sqlalchemy==2.1.9 alembic==1.20.1

cat > "$folder/comment.py" <<'PYTHON'
import sys
import warnings

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

warnings.simplefilter("error")  # there is none
SCHEMA = """
PRAGMA foreign_keys = ON;
CREATE TABLE account (id INTEGER PRIMARY KEY AUTOINCREMENT, mail TEXT COLLATE NOCASE, age INTEGER);
CREATE UNIQUE INDEX account_mail ON account (mail);
CREATE INDEX account_age ON account (age DESC);
CREATE TABLE payment (id INTEGER PRIMARY KEY, account INTEGER REFERENCES account ON DELETE CASCADE);
CREATE TABLE audit (account INTEGER);
INSERT INTO account VALUES (1, 'a@example.com', 30), (2, 'b@example.com', 40);
INSERT INTO payment VALUES (1, 1), (2, 1), (3, 2);
CREATE TRIGGER account_audit AFTER UPDATE ON account BEGIN INSERT INTO audit VALUES (new.id); END
"""


def upgrade(op):
    if sys.argv[1] == "asked" and not op.get_context().dialect.supports_comments:
        return
    with op.batch_alter_table("account") as batch:
        batch.alter_column("age", existing_type=sa.Integer(), comment="in years")


with sa.create_engine("sqlite://").connect() as connection:
    for statement in SCHEMA.split(";\n"):
        connection.exec_driver_sql(statement)
    connection.commit()
    if sys.argv[1] != "before":
        upgrade(Operations(MigrationContext.configure(connection)))

    payments = connection.exec_driver_sql("SELECT count(*) FROM payment").scalar()
    connection.exec_driver_sql("UPDATE account SET age = 41 WHERE id = 2")
    audited = connection.exec_driver_sql("SELECT count(*) FROM audit").scalar()
    index = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'account_age'")
    order = "DESC" if "DESC" in index.scalar() else "ASC"
    connection.exec_driver_sql("DELETE FROM account WHERE id = 2")
    new = "INSERT INTO account (mail) VALUES ('c@example.com') RETURNING id"
    id = connection.exec_driver_sql(new).scalar()
    try:
        connection.exec_driver_sql("INSERT INTO account (mail) VALUES ('A@example.com')")
    except sa.exc.IntegrityError:
        second = "refused"
    else:
        second = "accepted"
    print(f"{payments} payments, {audited} audited, {order}, next id {id}, A@ beside a@ {second}")
PYTHON

expect() {
  printf '%-22s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}
comment() { "$folder/venv/bin/python" "$folder/comment.py" "$1"; }

whole="3 payments, 1 audited, DESC, next id 3, A@ beside a@ refused"
expect "before" "$(comment before)" "$whole"
expect "after the comment" "$(comment batch)" \
  "0 payments, 0 audited, ASC, next id 2, A@ beside a@ accepted"
expect "supports_comments" "$(comment asked)" "$whole"
