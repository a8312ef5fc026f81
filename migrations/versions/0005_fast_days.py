"""The view that counts days: fast on Postgres, and with each day there was on SQLite.

Revision 0005, after 0004.
"""

from __future__ import annotations

import runpy
from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

VIEW = "release_requests_daily"

# How a request is told to be none of the winding ones: before and after. Where Postgres expects
# more ids than fit into its work_mem, it reads all of them again for each request with the first.
BEFORE = "r.id NOT IN (SELECT id FROM winding_ids)"
AFTER = "NOT EXISTS (SELECT 1 FROM winding_ids w WHERE w.id = r.id)"

# How SQLite is told to add a day: before and after. It takes 1 March 300 for 29 February, which that
# year did not have.
DAY_BEFORE = "date(day, '+1 day')"
DAY_AFTER = "replace(date(day, '+1 day'), '0300-02-29', '0300-03-01')"


def upgrade() -> None:
    """Replace the view; in Postgres nothing that depends on it is lost."""
    replace(select_before().replace(BEFORE, AFTER).replace(DAY_BEFORE, DAY_AFTER))


def downgrade() -> None:
    """Give the view back the form it had."""
    replace(select_before())


def select_before() -> str:
    """The SELECT of the view in revision 0004, which never changes."""
    names = runpy.run_path(str(Path(__file__).with_name("0004_typed_views.py")))
    select: str = names[f"{op.get_context().dialect.name.upper()}_VIEWS"][VIEW]
    return select.strip()


def replace(select: str) -> None:
    """Give the view another SELECT, and leave its columns as they are."""
    if op.get_context().dialect.name == "sqlite":
        op.execute(f"DROP VIEW {VIEW}")
        op.execute(f"CREATE VIEW {VIEW} AS\n{select}")
    else:
        op.execute(f"CREATE OR REPLACE VIEW {VIEW} AS\n{select}")
