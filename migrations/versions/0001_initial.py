"""The tables, their indexes and the views.

Revision 0001, after nothing. The SQL of the views is in `migrations/sql/0001/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql" / revision

VIEWS = (
    "release_request_versions",
    "release_request_changes",
    "phone_number_history",
    "phone_numbers",
    "release_request_turnaround",
    "release_requests_daily",
)

TIME = sa.TIMESTAMP(timezone=True)
IDENTIFIER = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create tables, indexes and views; in Postgres also the comments of all columns."""
    create_sync_runs()
    create_release_requests()
    create_past_versions()
    create_quarantined_records()
    create_erasures()
    create_change_cursors()
    for view in VIEWS:
        execute_file(view)
    if op.get_context().dialect.name == "postgresql":
        execute_file("comments")


def downgrade() -> None:
    """Drop everything."""
    for view in reversed(VIEWS):
        op.execute(f"DROP VIEW {view}")
    for table in (
        "erased_requests",
        "erasures",
        "change_cursors",
        "quarantined_records",
        "release_request_past_versions",
        "release_requests",
        "sync_runs",
    ):
        op.drop_table(table)


def execute_file(name: str) -> None:
    """Execute a SQL file of the database's dialect."""
    path = SQL / op.get_context().dialect.name / f"{name}.sql"
    op.execute(path.read_text(encoding="utf-8").rstrip().removesuffix(";"))


def create_sync_runs() -> None:
    """Create the table of runs."""
    op.create_table(
        "sync_runs",
        sa.Column("id", ROW_NUMBER, nullable=False),
        sa.Column("environment", IDENTIFIER, nullable=False),
        sa.Column("outcome", IDENTIFIER, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.Column("observed_at", TIME),
        sa.Column("seconds", sa.Float()),
        sa.Column("completion", sa.BigInteger()),
        sa.Column("fetched", sa.Integer()),
        sa.Column("inserted", sa.Integer()),
        sa.Column("updated", sa.Integer()),
        sa.Column("unchanged", sa.Integer()),
        sa.Column("missing", sa.Integer()),
        sa.Column("returned", sa.Integer()),
        sa.Column("quarantined", sa.Integer()),
        sa.Column("newly_quarantined", sa.Integer()),
        sa.Column("duplicates", sa.Integer()),
        sa.Column("pages", sa.Integer()),
        sa.Column("bytes", sa.BigInteger()),
        sa.Column("error", sa.Text()),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("etag", sa.Text()),
        sa.Column("content_digest", sa.Text()),
        sa.Column("mirror_version", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sync_runs")),
        sa.UniqueConstraint(
            "environment", "completion", name=op.f("uq_sync_runs_environment_completion")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_sync_runs_environment_id", "sync_runs", ["environment", "id"])
    op.create_index(
        "ix_sync_runs_environment_observed_at", "sync_runs", ["environment", "observed_at"]
    )
    create_partial_index(
        "ix_sync_runs_running", "sync_runs", ["environment"], "outcome = 'running'"
    )


def create_release_requests() -> None:
    """Create the table of current versions."""
    table = "release_requests"
    op.create_table(
        table,
        *request_columns(),
        *version_columns(),
        sa.Column("digest", sa.BigInteger()),
        sa.Column("phone_number_e164", IDENTIFIER),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_release_requests")),
    )
    op.create_index("ix_release_requests_environment", table, ["environment"])
    create_partial_index(
        "ix_release_requests_missing_since", table, ["missing_since"], "missing_since IS NOT NULL"
    )
    op.create_index("ix_release_requests_phone_number", table, ["phone_number"])
    create_e164_index(table)
    op.create_index("ix_release_requests_status_requested_at", table, ["status", "requested_at"])
    op.create_index("ix_release_requests_requested_at", table, ["requested_at"])
    op.create_index("ix_release_requests_resolved_at", table, ["resolved_at"])


def create_past_versions() -> None:
    """Create the table of superseded versions."""
    table = "release_request_past_versions"
    op.create_table(
        table,
        *request_columns(),
        sa.Column("valid_to", TIME, nullable=False),
        *version_columns(),
        sa.Column("phone_number_e164", IDENTIFIER),
        sa.PrimaryKeyConstraint("id", "valid_from", name=op.f("pk_release_request_past_versions")),
    )
    op.create_index("ix_release_request_past_versions_phone_number", table, ["phone_number"])
    create_e164_index(table)
    op.create_index("ix_release_request_past_versions_valid_to", table, ["valid_to"])


def create_quarantined_records() -> None:
    """Create the table of invalid entries."""
    table = "quarantined_records"
    op.create_table(
        table,
        sa.Column("id", ROW_NUMBER, nullable=False),
        sa.Column("environment", IDENTIFIER, nullable=False),
        sa.Column("fingerprint", IDENTIFIER, nullable=False),
        sa.Column("request_id", IDENTIFIER),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("first_run_id", ROW_NUMBER, nullable=False),
        sa.Column("last_run_id", ROW_NUMBER, nullable=False),
        sa.Column("first_seen_at", TIME, nullable=False),
        sa.Column("last_seen_at", TIME, nullable=False),
        sa.Column("resolved_at", TIME),
        *(
            sa.ForeignKeyConstraint(
                [column], ["sync_runs.id"], name=op.f(f"fk_{table}_{column}_sync_runs")
            )
            for column in ("first_run_id", "last_run_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantined_records")),
        sa.UniqueConstraint(
            "environment",
            "fingerprint",
            name=op.f("uq_quarantined_records_environment_fingerprint"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_quarantined_records_first_run_id", table, ["first_run_id"])
    op.create_index("ix_quarantined_records_last_run_id", table, ["last_run_id"])
    op.create_index("ix_quarantined_records_request_id", table, ["request_id"])


def create_erasures() -> None:
    """Create the tables of erased numbers, and of the requests that stay erased."""
    op.create_table(
        "erasures",
        sa.Column("id", ROW_NUMBER, nullable=False, autoincrement=False),
        sa.Column("erased_at", TIME, nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("past_versions", sa.Integer(), nullable=False),
        sa.Column("quarantined", sa.Integer(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("cleaned_at", TIME),
        sa.Column("undone_at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    table = "erased_requests"
    op.create_table(
        table,
        sa.Column("request_id", IDENTIFIER, nullable=False),
        sa.Column("erasure_id", ROW_NUMBER, nullable=False),
        sa.ForeignKeyConstraint(
            ["erasure_id"], ["erasures.id"], name=op.f(f"fk_{table}_erasure_id_erasures")
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f(f"pk_{table}")),
    )
    op.create_index(f"ix_{table}_erasure_id", table, ["erasure_id"])


def create_change_cursors() -> None:
    """Create the table of the positions of readers."""
    table = "change_cursors"
    op.create_table(
        table,
        sa.Column("name", IDENTIFIER, nullable=False),
        sa.Column("environment", IDENTIFIER, nullable=False),
        sa.Column("seen_until", TIME),
        sa.Column("moved_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", "environment", name=op.f(f"pk_{table}")),
    )


def request_columns() -> list[sa.Column[Any]]:
    """Return the columns of a version of a request, current or past."""
    return [
        sa.Column("id", IDENTIFIER, nullable=False),
        sa.Column("environment", IDENTIFIER, nullable=False),
        sa.Column("phone_number_id", IDENTIFIER),
        sa.Column("phone_number", IDENTIFIER, nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("status", IDENTIFIER, nullable=False),
        sa.Column("rejection_reason", sa.Text()),
        sa.Column("requested_at", TIME, nullable=False),
        sa.Column("resolved_at", TIME),
        sa.Column("extra", JSON),
        sa.Column("first_seen_at", TIME, nullable=False),
        sa.Column("valid_from", TIME, nullable=False),
    ]


def version_columns() -> list[sa.Column[Any]]:
    """Return the columns for the origin of a version."""
    return [
        sa.Column("missing_since", TIME),
        sa.Column("sync_run_id", sa.BigInteger(), nullable=False),
    ]


def create_e164_index(table: str) -> None:
    """Create the index of the phone numbers that have a normalized form."""
    column = "phone_number_e164"
    create_partial_index(f"ix_{table}_{column}", table, [column], f"{column} IS NOT NULL")


def create_partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    """Create an index of the rows that meet a condition."""
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
