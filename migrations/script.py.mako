"""${message}.

Revision ${up_revision}, after ${down_revision or "nothing"}.

House rules: a revision imports nothing from `mirror`, does one thing, is numbered like the file,
has an upgrade and a downgrade, runs on SQLite and Postgres, and is never edited once released. SQL
of views goes to `migrations/sql/${up_revision}/`. SQLite rebuilds a table to alter it: drop its
views before, and create them again after.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Apply the revision."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Take the revision back."""
    ${downgrades if downgrades else "pass"}
