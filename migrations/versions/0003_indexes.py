"""Indexes for questions by day.

Revision 0003, after 0002.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the indexes."""
    op.create_index("ix_release_requests_requested_at", "release_requests", ["requested_at"])
    op.create_index("ix_release_requests_resolved_at", "release_requests", ["resolved_at"])


def downgrade() -> None:
    """Drop the indexes."""
    op.drop_index("ix_release_requests_resolved_at", "release_requests")
    op.drop_index("ix_release_requests_requested_at", "release_requests")
