"""In SQLite, numbers of views have an affinity: a number that is bound as text finds them.

Revision 0002, after 0001. Postgres needs no change.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql"

VIEWS = ("release_request_versions", "release_request_turnaround")


def upgrade() -> None:
    """Create the views again, as this revision has them."""
    replace_views(revision)


def downgrade() -> None:
    """Create the views again, as the revision before has them."""
    replace_views(down_revision)


def replace_views(number: str) -> None:
    """In SQLite, create the views from the files of a revision; no view of mirror reads them."""
    if op.get_context().dialect.name != "sqlite":
        return
    for view in VIEWS:
        op.execute(f"DROP VIEW IF EXISTS {view}")
        execute_file(number, view)


def execute_file(number: str, name: str) -> None:
    """Execute a SQL file of the database's dialect."""
    path = SQL / number / op.get_context().dialect.name / f"{name}.sql"
    op.execute(path.read_text(encoding="utf-8").rstrip().removesuffix(";"))
