"""${message}.

Revision ${up_revision}, after ${down_revision or "nothing"}.

Delete this paragraph once its rules are met: a revision imports nothing from `mirror`, is numbered
like its file, has an upgrade and a downgrade, runs on SQLite and Postgres in one transaction, and
is never edited once released. SQL of views and comments is in `migrations/sql/${up_revision}/`.
Batch mode, which rebuilds tables of SQLite, is not used (docs/contributing.md, "Add a revision").
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}

SQL = Path(__file__).parents[1] / "sql"


def upgrade() -> None:
    """Apply the revision."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Take the revision back."""
    ${downgrades if downgrades else "pass"}


def execute_file(number: str, name: str) -> None:
    """Execute a SQL file of a revision, for the database's dialect."""
    path = SQL / number / op.get_context().dialect.name / f"{name}.sql"
    op.execute(path.read_text(encoding="utf-8").rstrip().removesuffix(";"))
