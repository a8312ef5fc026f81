"""Tables.

Revision 0001, after nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.TIMESTAMP(timezone=True)
IDENTIFIER = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables and their indexes."""
    op.create_table(
        "sync_runs",
        sa.Column("id", ROW_ID, nullable=False, comment="Number of the run."),
        sa.Column(
            "environment", IDENTIFIER, nullable=False, comment="Label of the token that was used."
        ),
        sa.Column(
            "outcome",
            IDENTIFIER,
            nullable=False,
            comment="running, applied, unchanged, superseded, refused, failed, dry_run, or abandoned for a run that died and was found by a later one.",
        ),
        sa.Column(
            "started_at",
            TIME,
            nullable=False,
            comment="When the run began (UTC, this machine's clock).",
        ),
        sa.Column(
            "finished_at",
            TIME,
            nullable=True,
            comment="When the outcome was recorded (UTC, this machine's clock). Null while running.",
        ),
        sa.Column(
            "observed_at",
            TIME,
            nullable=True,
            comment="The time that stands for this pull in valid_from and valid_to (UTC): started_at, or just after the complete pull before it if the clock went back. Null unless complete.",
        ),
        sa.Column(
            "seconds",
            sa.Float(),
            nullable=True,
            comment="How long the run took, in seconds. Null while running.",
        ),
        sa.Column(
            "completion",
            sa.BigInteger(),
            nullable=True,
            comment="1, 2, … over the complete pulls (applied or unchanged) of the environment, in the order they completed. Null for all others.",
        ),
        sa.Column("fetched", sa.Integer(), nullable=True, comment="Entries of the list."),
        sa.Column(
            "inserted", sa.Integer(), nullable=True, comment="Requests seen for the first time."
        ),
        sa.Column(
            "updated",
            sa.Integer(),
            nullable=True,
            comment="Requests that got a new version because a field changed.",
        ),
        sa.Column(
            "unchanged",
            sa.Integer(),
            nullable=True,
            comment="Requests whose known fields were the same as before.",
        ),
        sa.Column(
            "missing",
            sa.Integer(),
            nullable=True,
            comment="Requests found missing from the list for the first time.",
        ),
        sa.Column(
            "returned",
            sa.Integer(),
            nullable=True,
            comment="Missing requests that were in the list again.",
        ),
        sa.Column(
            "quarantined",
            sa.Integer(),
            nullable=True,
            comment="Entries of the list that could not be understood.",
        ),
        sa.Column(
            "newly_quarantined",
            sa.Integer(),
            nullable=True,
            comment="Those of them that were not in quarantine before the run.",
        ),
        sa.Column(
            "duplicates",
            sa.Integer(),
            nullable=True,
            comment="Entries equal to another one with the same id.",
        ),
        sa.Column(
            "pages",
            sa.Integer(),
            nullable=True,
            comment="Answers of the list that were read, repetitions included.",
        ),
        sa.Column(
            "bytes",
            sa.BigInteger(),
            nullable=True,
            comment="Size of those answers, decompressed, in bytes.",
        ),
        sa.Column(
            "error",
            sa.Text(),
            nullable=True,
            comment="Why the run did not complete. Null if it did.",
        ),
        sa.Column(
            "base_url", sa.Text(), nullable=False, comment="Base URL of the API that was asked."
        ),
        sa.Column(
            "etag",
            sa.Text(),
            nullable=True,
            comment="ETag of the list, if it came in one answer that had one.",
        ),
        sa.Column(
            "content_sha256",
            sa.Text(),
            nullable=True,
            comment="SHA-256 of the list's bytes, in hex.",
        ),
        sa.Column(
            "mirror_version", sa.Text(), nullable=False, comment="Version of mirror that ran."
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sync_runs")),
        sa.UniqueConstraint(
            "environment", "completion", name=op.f("uq_sync_runs_environment_completion")
        ),
        comment="Every run of mirror sync, with its outcome and what it did.",
        sqlite_autoincrement=True,
    )
    op.create_index("ix_sync_runs_environment_id", "sync_runs", ["environment", "id"])
    op.create_index(
        "ix_sync_runs_running",
        "sync_runs",
        ["environment"],
        sqlite_where=sa.text("outcome = 'running'"),
        postgresql_where=sa.text("outcome = 'running'"),
    )
    op.create_table(
        "release_requests",
        sa.Column(
            "id", IDENTIFIER, nullable=False, comment="Id of the request, as upstream gave it."
        ),
        sa.Column(
            "environment",
            IDENTIFIER,
            nullable=False,
            comment="Label of the token whose list holds the request (setting --environment).",
        ),
        sa.Column(
            "phone_number_id",
            IDENTIFIER,
            nullable=True,
            comment="Upstream id of the number's record; a number bought again has a new one. Null if upstream gave none.",
        ),
        sa.Column(
            "phone_number",
            IDENTIFIER,
            nullable=False,
            comment="The number, as upstream gave it; documented as E.164 (+15551234567).",
        ),
        sa.Column(
            "reason",
            sa.Text(),
            nullable=True,
            comment="Why the customer gives the number back. Null if upstream gave none.",
        ),
        sa.Column(
            "status",
            IDENTIFIER,
            nullable=False,
            comment="As upstream gave it; documented: pending, approved, rejected, cancelled.",
        ),
        sa.Column(
            "rejection_reason",
            sa.Text(),
            nullable=True,
            comment="Why the request was denied. Null unless upstream gave one.",
        ),
        sa.Column(
            "requested_at",
            TIME,
            nullable=False,
            comment="When the request was submitted (UTC, reported by upstream).",
        ),
        sa.Column(
            "resolved_at",
            TIME,
            nullable=True,
            comment="When it left pending (UTC, reported by upstream). Null while pending, and where upstream did not say.",
        ),
        sa.Column(
            "extra",
            sa.JSON(),
            nullable=True,
            comment="JSON object of the fields that this version of mirror does not know. Null if there are none.",
        ),
        sa.Column(
            "first_seen_at",
            TIME,
            nullable=False,
            comment="When the pull began that first saw the request (UTC, this machine's clock).",
        ),
        sa.Column(
            "valid_from",
            TIME,
            nullable=False,
            comment="When the pull began that first saw this version (UTC, this machine's clock).",
        ),
        sa.Column(
            "missing_since",
            TIME,
            nullable=True,
            comment="When the pull began that no longer found the request in the list (UTC). Null while it is in the list.",
        ),
        sa.Column(
            "sync_run_id",
            sa.BigInteger(),
            nullable=False,
            comment="The run that first saw this version (sync_runs.id).",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_release_requests")),
        comment="The current version of each release request, one row per id.",
    )
    op.create_index(
        "ix_release_requests_missing_since",
        "release_requests",
        ["missing_since"],
        sqlite_where=sa.text("missing_since IS NOT NULL"),
        postgresql_where=sa.text("missing_since IS NOT NULL"),
    )
    op.create_index("ix_release_requests_phone_number", "release_requests", ["phone_number"])
    op.create_index(
        "ix_release_requests_status_requested_at", "release_requests", ["status", "requested_at"]
    )
    op.create_table(
        "release_request_past_versions",
        sa.Column(
            "id", IDENTIFIER, nullable=False, comment="Id of the request, as upstream gave it."
        ),
        sa.Column(
            "environment",
            IDENTIFIER,
            nullable=False,
            comment="Label of the token whose list holds the request (setting --environment).",
        ),
        sa.Column(
            "phone_number_id",
            IDENTIFIER,
            nullable=True,
            comment="Upstream id of the number's record; a number bought again has a new one. Null if upstream gave none.",
        ),
        sa.Column(
            "phone_number",
            IDENTIFIER,
            nullable=False,
            comment="The number, as upstream gave it; documented as E.164 (+15551234567).",
        ),
        sa.Column(
            "reason",
            sa.Text(),
            nullable=True,
            comment="Why the customer gives the number back. Null if upstream gave none.",
        ),
        sa.Column(
            "status",
            IDENTIFIER,
            nullable=False,
            comment="As upstream gave it; documented: pending, approved, rejected, cancelled.",
        ),
        sa.Column(
            "rejection_reason",
            sa.Text(),
            nullable=True,
            comment="Why the request was denied. Null unless upstream gave one.",
        ),
        sa.Column(
            "requested_at",
            TIME,
            nullable=False,
            comment="When the request was submitted (UTC, reported by upstream).",
        ),
        sa.Column(
            "resolved_at",
            TIME,
            nullable=True,
            comment="When it left pending (UTC, reported by upstream). Null while pending, and where upstream did not say.",
        ),
        sa.Column(
            "extra",
            sa.JSON(),
            nullable=True,
            comment="JSON object of the fields that this version of mirror does not know. Null if there are none.",
        ),
        sa.Column(
            "first_seen_at",
            TIME,
            nullable=False,
            comment="When the pull began that first saw the request (UTC, this machine's clock).",
        ),
        sa.Column(
            "valid_from",
            TIME,
            nullable=False,
            comment="When the pull began that first saw this version (UTC, this machine's clock).",
        ),
        sa.Column(
            "valid_to",
            TIME,
            nullable=False,
            comment="When the pull began that first saw the next version (UTC): the valid_from of that one.",
        ),
        sa.Column(
            "missing_since",
            TIME,
            nullable=True,
            comment="When the pull began that no longer found the request in the list (UTC). Null while it is in the list.",
        ),
        sa.Column(
            "sync_run_id",
            sa.BigInteger(),
            nullable=False,
            comment="The run that first saw this version (sync_runs.id).",
        ),
        sa.PrimaryKeyConstraint("id", "valid_from", name=op.f("pk_release_request_past_versions")),
        comment="Superseded versions of release requests, one row per id and valid_from.",
    )
    op.create_index(
        "ix_release_request_past_versions_phone_number",
        "release_request_past_versions",
        ["phone_number"],
    )
    op.create_index(
        "ix_release_request_past_versions_valid_to", "release_request_past_versions", ["valid_to"]
    )
    op.create_table(
        "quarantined_records",
        sa.Column("id", ROW_ID, nullable=False, comment="Number of the record."),
        sa.Column(
            "environment",
            IDENTIFIER,
            nullable=False,
            comment="Label of the token whose list held the record.",
        ),
        sa.Column(
            "fingerprint",
            IDENTIFIER,
            nullable=False,
            comment="SHA-256 of the record's known fields, in hex, or of all of it if it has none.",
        ),
        sa.Column(
            "request_id",
            IDENTIFIER,
            nullable=True,
            comment="Id of the request, if that much could be read. Null otherwise.",
        ),
        sa.Column("raw", sa.Text(), nullable=False, comment="The record's JSON, as it last came."),
        sa.Column("error", sa.Text(), nullable=False, comment="Why it could not be understood."),
        sa.Column(
            "first_run_id",
            ROW_ID,
            nullable=False,
            comment="The run that first saw it (sync_runs.id).",
        ),
        sa.Column(
            "last_run_id",
            ROW_ID,
            nullable=False,
            comment="The last applied run that saw it (sync_runs.id).",
        ),
        sa.Column(
            "first_seen_at",
            TIME,
            nullable=False,
            comment="When the pull began that first saw it (UTC).",
        ),
        sa.Column(
            "last_seen_at",
            TIME,
            nullable=False,
            comment="When the last applied pull began that saw it (UTC).",
        ),
        sa.Column(
            "resolved_at",
            TIME,
            nullable=True,
            comment="When the pull began that no longer held it (UTC). Null while it occurs.",
        ),
        sa.ForeignKeyConstraint(
            ["first_run_id"],
            ["sync_runs.id"],
            name=op.f("fk_quarantined_records_first_run_id_sync_runs"),
        ),
        sa.ForeignKeyConstraint(
            ["last_run_id"],
            ["sync_runs.id"],
            name=op.f("fk_quarantined_records_last_run_id_sync_runs"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantined_records")),
        sa.UniqueConstraint(
            "environment",
            "fingerprint",
            name=op.f("uq_quarantined_records_environment_fingerprint"),
        ),
        comment="Entries of the list that could not be understood, each once.",
        sqlite_autoincrement=True,
    )
    op.create_index("ix_quarantined_records_first_run_id", "quarantined_records", ["first_run_id"])
    op.create_index("ix_quarantined_records_last_run_id", "quarantined_records", ["last_run_id"])


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("quarantined_records")
    op.drop_table("release_request_past_versions")
    op.drop_table("release_requests")
    op.drop_table("sync_runs")
