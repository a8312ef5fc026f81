#!/usr/bin/env bash
# Alembic's autogenerate makes an empty table of a view that SQLAlchemy 2.1 declares.
#
# What a good engineer expects: SQLAlchemy 2.1 has CreateView(…, metadata=metadata), create_all()
# makes the view, and Alembic makes what create_all() makes, or says that it cannot.
#
# What happens: the view's Table stands among metadata.tables with the mark is_view. create_all()
# looks at the mark, Alembic does not. autogenerate writes op.create_table() with the view's
# columns, and the upgrade makes a table that is empty for ever. From then on autogenerate finds
# nothing to do, and queries through the view's Table succeed, with no rows. A database that has the
# view already gets the same op.create_table(), whose upgrade fails.
#
# Whom it hurts: those who take up the new construct in a project with Alembic. Tests that use
# create_all() have the view, production has the table.
#
# What helps: include_object, the filter of autogenerate, by the mark; and op.execute() of the
# CreateView in the migration, which Alembic accepts as it stands.
#
# Seen with: SQLAlchemy 2.1.9 and 2.1.0, Alembic 1.20.1, on SQLite 3.40.1. Python 3.11.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet sqlalchemy==2.1.9 alembic==1.20.1

cat > "$folder/upgrade.py" <<'PYTHON'
import sys

import sqlalchemy as sa
from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import Operations

metadata = sa.MetaData()
orders = sa.Table(
    "orders", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("state", sa.Text)
)
view = sa.CreateView(
    sa.select(orders.c.id).where(orders.c.state == "open"), "open_orders", metadata=metadata
)


def no_views(item, _name, kind, _reflected, _compared):
    return not (kind == "table" and item.is_view)


def flat(operations):
    for operation in operations:
        if hasattr(operation, "ops"):
            yield from flat(operation.ops)
        else:
            yield operation


options = {"include_object": no_views} if sys.argv[1] == "filtered" else {}
with sa.create_engine("sqlite://").connect() as connection:
    if sys.argv[1] == "create_all":
        metadata.create_all(connection)
    else:
        context = MigrationContext.configure(connection, opts=options)
        operations = Operations(context)
        for operation in flat(produce_migrations(context, metadata).upgrade_ops.ops):
            operations.invoke(operation)
        if options:
            operations.execute(view)
        assert not list(flat(produce_migrations(context, metadata).upgrade_ops.ops))
    kind = connection.exec_driver_sql("SELECT type FROM sqlite_master WHERE name = 'open_orders'")
    connection.execute(orders.insert(), [{"id": 1, "state": "open"}, {"id": 2, "state": "shipped"}])
    found = connection.execute(sa.select(view.table)).all()
    print(f"{kind.scalar()}, {len(found)} open orders of 1")
PYTHON

expect() {
  printf '%-36s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}
upgrade() { "$folder/venv/bin/python" "$folder/upgrade.py" "$1"; }

expect "create_all()" "$(upgrade create_all)" "view, 1 open orders of 1"
expect "autogenerate, upgrade" "$(upgrade autogenerate)" "table, 0 open orders of 1"
expect "autogenerate with include_object" "$(upgrade filtered)" "view, 1 open orders of 1"
